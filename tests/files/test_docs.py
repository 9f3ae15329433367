"""Every workflow file of the repository, in documents or by itself, is valid, and what documents say of running them happens."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from tests.cli.conftest import Wf
from tests.files.documents import GUIDE, lay_out, sources, with_tables
from wfkernel.plan import document
from wfkernel.plan.document import json_schema
from wfkernel.plan.load import check_text

PAGES = [page for page in sources("*.md") if "```yaml" in page.read_text("utf-8")]


def test_every_workflow_of_the_repository_is_valid(tmp_path: Path) -> None:
    shown = [one for number, page in enumerate(PAGES) for one in lay_out(page, _made(tmp_path / str(number)))]
    files = [path for kind in ("*.wf.yaml", "*.wf.yml", "*.wf.json") for path in sources(kind)]
    assert len(shown) > 12
    assert files
    schema = Draft202012Validator(json_schema())
    for file, text in [(one.file, one.text) for one in shown] + [(path, path.read_text("utf-8")) for path in files]:
        assert not check_text(text, str(file), file.parent).problems
        assert not [str(error) for error in schema.iter_errors(yaml.safe_load(text))], file


def test_what_the_documents_run_ends_as_they_say(tmp_path: Path) -> None:
    for number, page in enumerate(PAGES):
        folder = _made(tmp_path / str(number))
        shown = lay_out(page, folder)
        wf = Wf(folder)
        for one in shown:
            for command in one.commands:
                done = wf(*shlex.split(command), *(["--json"] if command.startswith("run") else []))
                assert done.status == (1 if one.ends == "fails" else 0), (one.text, done)
                if one.ends.startswith("result: "):
                    assert done.json["result"] == yaml.safe_load(one.ends.removeprefix("result: ")), one.text
        wf.close()
        if page == GUIDE:
            assert all(one.commands for one in shown if "month.ipynb" not in one.text)
            assert (folder / "undone").read_text().splitlines() == ["booked a hotel", "booked a train"]


def test_the_guide_tells_of_every_key_what_the_format_says() -> None:
    text = GUIDE.read_text("utf-8")
    assert text == with_tables(text), "python -m tests.files.documents --write"
    for model in (*document.KINDS.values(), document.Document, document.InputField, document.LimitsEntry, document.Arm):
        for name, field in model.model_fields.items():
            assert field.description, (model, name)
            assert f"| `{field.alias or name}` |" in text, (model, name)


def test_wf_guide_prints_it(tmp_path: Path) -> None:
    wf = Wf(tmp_path)
    assert wf("guide").out.rstrip() == GUIDE.read_text("utf-8").rstrip()
    assert wf("guide", "--json").json["text"] == GUIDE.read_text("utf-8")
    wf.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
