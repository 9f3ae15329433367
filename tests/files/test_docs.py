"""Every workflow file of the repository, in documents or by itself, is valid: for the loader and for the published schema."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from wfkernel.plan.document import json_schema
from wfkernel.plan.load import check_text

REPOSITORY = Path(__file__).parents[2]


def blocks() -> list[str]:
    """The YAML in the documents."""
    found = [re.findall(r"^```yaml\n(.*?)^```", file.read_text("utf-8"), re.M | re.S) for file in sources("*.md")]
    return [block for in_one in found for block in in_one]


def sources(pattern: str) -> list[Path]:
    """The files of the project, without what is installed or made beside them."""
    told = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern]
    listed = subprocess.run(told, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [
        *REPOSITORY.glob(pattern),
        *(path for room in ("tests", "notebooks") for path in (REPOSITORY / room).rglob(pattern)),
    ]


def test_every_workflow_of_the_repository_is_valid() -> None:
    files = [path for kind in ("*.wf.yaml", "*.wf.yml", "*.wf.json") for path in sources(kind)]
    texts = [("in a document", text) for text in blocks()] + [(str(path), path.read_text("utf-8")) for path in files]
    assert texts
    schema = Draft202012Validator(json_schema())
    for where, text in texts:
        assert not check_text(text, where, REPOSITORY).problems
        assert not [str(error) for error in schema.iter_errors(yaml.safe_load(text))], where
