"""Checking an answer against a JSON schema, where the pydantic model behind it is not at hand.

The process that resumes a run need not be able to import the notebook's model; the run's events hold its JSON schema.
What only the model knows (its validators) is checked when the step runs.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["check_schema", "example_answer"]


def check_schema(schema: dict[str, Any], data: Any) -> list[tuple[str, str]]:
    """(path, message) for everything in `data` that does not fit `schema`; an empty schema accepts anything."""
    if not schema:
        return []
    problems = []
    for error in sorted(
        Draft202012Validator(schema).iter_errors(data), key=lambda e: [str(p) for p in e.absolute_path]
    ):
        path = ".".join(map(str, error.absolute_path))
        if error.validator == "required":
            for name in error.validator_value:
                if isinstance(error.instance, dict) and name not in error.instance:
                    problems.append((f"{path}.{name}".strip("."), "Field required"))
        else:
            problems.append((path, error.message))
    return list(dict.fromkeys(problems))


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
