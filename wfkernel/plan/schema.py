"""Checking an answer against a JSON schema, where the pydantic model behind it is not at hand.

The process that resumes a run need not be able to import the notebook's model; the run's events hold its JSON schema.
What only the model knows (its validators) is checked when the step runs.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from wfkernel.plan.secrets import has_secrets

__all__ = ["check_schema", "example_answer"]


def problem_of_schema(schema: dict[str, Any]) -> str:
    """Why this is no JSON schema; "" for one."""
    try:
        jsonschema_rs.validator_for(schema, validate_formats=False)
    except ValueError as error:
        return str(error).partition("\n")[0]
    return ""


def check_schema(schema: dict[str, Any], data: Any) -> list[tuple[str, str]]:
    """(path, message) for everything in `data` that does not fit `schema`; an empty schema accepts anything."""
    if not schema:
        return []
    mask = "the value" if has_secrets(schema) else None  # messages quote what does not fit
    validator = jsonschema_rs.validator_for(schema, validate_formats=False, mask=mask)
    problems = [problem for error in validator.iter_errors(data) for problem in _problems(error)]
    return sorted(dict.fromkeys(problems))


def _problems(error: jsonschema_rs.ValidationError) -> list[tuple[str, str]]:
    kind = error.kind.as_dict()
    if "context" in kind:  # none of several alternatives fits: what is wrong with the one that comes closest
        alternatives = [branch for branch in kind["context"] if branch and not _is_null(branch)]
        if len(alternatives) == 1:
            return [problem for inner in alternatives[0] for problem in _problems(inner)]
    path = list(map(str, error.instance_path))
    if error.kind.name == "required":
        return [(".".join([*path, kind["property"]]), "Field required")]
    return [(".".join(path), error.message)]


def _is_null(branch: list[jsonschema_rs.ValidationError]) -> bool:
    """Is this the alternative of an optional field that says "or nothing"?"""
    return any(error.kind.as_dict().get("types") == ["null"] for error in branch)


def example_answer(schema: dict[str, Any]) -> Any:
    """A small answer of the right shape: the required fields only, to show how one looks."""
    definitions = schema.get("$defs", {})

    def example(part: dict[str, Any]) -> Any:
        part = definitions.get(part.get("$ref", "").rpartition("/")[2], part)
        if "default" in part:
            return part["default"]
        if "const" in part:
            return part["const"]
        if "enum" in part:
            return part["enum"][0]
        for choice in part.get("anyOf", ()) or part.get("oneOf", ()):
            return example(choice)
        match part.get("type"):
            case "boolean":
                return True
            case "integer" | "number":
                return part.get("minimum", 0)
            case "string":
                return "..."
            case "array":
                return []
            case "object":
                return {name: example(part["properties"][name]) for name in part.get("required", ())}
        return None

    return example(schema) if schema else {}
