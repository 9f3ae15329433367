"""The workflow files in the documents (Markdown): found, laid out in a folder, and their tables of keys.

A block of YAML is a file named in its first line, which may go on with commands that run it (``# a.wf.yaml: wf run a.wf.yaml``);
its last line may say what comes out (``# result: 3``, or ``# fails``). A block of Python is a file or a notebook's cell where its
first line says so. ``python -m tests.files.documents --write`` brings the tables of keys in the guide up to date: they are the
descriptions in `wfkernel.plan.document`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from pydantic import BaseModel

from wfkernel.plan import document

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "wfkernel" / "plan" / "workflow-files.md"
_BLOCK = re.compile(r"^```(yaml|python)\n(.*?)^```", re.M | re.S)
_TABLE = re.compile(r"(<!-- keys ([\w ]+) -->\n).*?(<!-- keys -->)", re.S)


def sources(pattern: str) -> list[Path]:
    """The files of the project, without what is installed or made beside them."""
    told = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern]
    listed = subprocess.run(told, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [
        *REPOSITORY.glob(pattern),
        *(path for room in ("wfkernel", "tests", "notebooks") for path in (REPOSITORY / room).rglob(pattern)),
    ]


@dataclass(frozen=True)
class Shown:
    """A workflow file in a document."""

    file: Path
    text: str

    @property
    def commands(self) -> list[str]:
        first = self.text.partition("\n")[0].partition(": ")[2]
        return [command.removeprefix("wf ") for command in first.split(" && ") if command]

    @property
    def ends(self) -> str:
        last = self.text.rstrip().rpartition("\n")[2]
        return last.removeprefix("# ") if last.startswith("# ") else ""


def lay_out(page: Path, folder: Path) -> list[Shown]:
    """Write the files a document shows into a folder. Returns its workflow files."""
    found, cells = [], dict[str, list[str]]()
    for language, text in _BLOCK.findall(page.read_text("utf-8")):
        first = text.partition("\n")[0]
        if language == "yaml":
            name = re.match(r"# ([\w-]+\.wf\.yaml)\b", first)
            assert name, f"{page.name}: a block of YAML begins with the name of its file, not with {first!r}"
            found.append(Shown(folder / name[1], text))
            found[-1].file.write_text(text)
        elif name := re.fullmatch(r"# (\w+\.py)", first):
            (folder / name[1]).write_text(text)
        elif name := re.fullmatch(r"# a cell of (\w+\.ipynb)", first):
            cells.setdefault(name[1], []).append(text.partition("\n")[2])
    for name, sources_ in cells.items():
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources_])
        nbformat.write(made, folder / name)
    return found


def blocks() -> list[str]:
    """The YAML in the documents."""
    return [
        text for page in sources("*.md") for kind, text in _BLOCK.findall(page.read_text("utf-8")) if kind == "yaml"
    ]


def with_tables(text: str) -> str:
    """A document with its tables of keys as the format has them."""
    return _TABLE.sub(lambda match: match[1] + _table(match[2].split()) + match[3], text)


def _table(models: list[str]) -> str:
    rows = [
        f"| `{field.alias or name}` | {(field.description or '').replace(chr(10), ' ')} |\n"
        for model in map(document.__dict__.__getitem__, models)
        for name, field in _own_fields(model).items()
    ]
    return "".join(["| key | |\n|---|---|\n", *rows])


def _own_fields(model: type[BaseModel]) -> dict[str, object]:
    """The fields a model adds to what every entry, or every step, can say."""
    common = {document.Placed: (), document.Work: (document.Placed,)}.get(
        model, (document.Work, document.Placed, document.Entry)
    )
    inherited = {name for base in common if issubclass(model, base) for name in base.model_fields}
    return {name: field for name, field in model.model_fields.items() if name not in inherited}


if __name__ == "__main__":
    now = with_tables(GUIDE.read_text("utf-8"))
    if "--write" in sys.argv:
        GUIDE.write_text(now, "utf-8")
    else:
        print(now)
