"""Whatever is in a workflow file, reading it ends: with a workflow, or with problems that each have a place and one line."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.files.documents import blocks
from tests.files.test_running import SIGN_UP
from wfkernel.engine.compile import compile_workflow
from wfkernel.plan.document import KINDS, Document
from wfkernel.plan.load import WorkflowFileInvalid, check_text
from wfkernel.plan.text import Problem

EVERYTHING = """\
id: w
inputs: {n: integer}
vars: {a: 1}
agents: {w: "os:getcwd"}
steps:
  - {id: a, uses: "os:getcwd", with: {x: "${{ inputs.n }}"}, when: "${{ vars.a > 0 }}", retries: 1, timeout: 5m}
  - loop: {id: b, run: "true"}
    while: ${{ iteration < 3 }}
  - branch: [{if: "${{ input }}", then: {id: c, run: ls}}]
  - foreach: {id: d, steps: [{id: e, run: ls}]}
    concurrency: 2
  - parallel: [{id: f, run: ls}, {id: g, workflow: {id: x, steps: [{id: h, sleep: 1s}]}}]
  - graph: [{id: i, run: ls, needs: []}, {id: j, agent: w, task: t, needs: i, restarts: {within: 1}}]
  - {id: k, map: {a: "${{ steps.j }}"}}
  - sources: {q: {step: k, path: a}, r: {init: ""}}
  - {id: l, sleep_until: "2027-01-01"}
  - {id: n, notebook: "x.ipynb#s", outputs: {a: "${{ result.b }}"}, retry_on: "builtins:OSError"}
output: {a: "${{ steps.k }}"}
"""
TEXTS = [SIGN_UP, EVERYTHING, *blocks()]
PIECES = [
    "", ":", "-", " ", "\n", "  ", "{", "}", "[", "]", '"', "'", "&a ", "*a", "!!x ", "${{", "}}", "null", "1", "true", "~", "#", "|",
    ">", "? ", "steps: ", "id: a", "\t", "<<: *a", "[]", "{}", "- ", "\u00e9",
]  # fmt: skip
WORDS = [
    "a", "b", "os:getcwd", "builtins:str", "m:f", "${{ steps.a }}", "${{ inputs.x }}", "5m", "ls", "string", "", ".", "a.b", "${{",
    "x.ipynb#a", "book.ipynb", "../w.wf.yaml",
]  # fmt: skip
KEYS = sorted({*KINDS, *Document.model_fields, "id", "needs", "dependencies", "when", "with", "if", "then", "while", "until", "task",
               "type", "default", "enum", "outputs", "retry_on", "restarts", "concurrency", "env", "step", "path", "fn", "timeout"})  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip
often = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def is_told_well(problem: Problem) -> bool:
    return (
        problem.place.line >= 1
        and problem.place.column >= 1
        and 0 < len(problem.message) < 2000
        and "\n" not in problem.message
    )


def read(text: str, file: str) -> None:
    loaded = check_text(text, file, Path(__file__).parent)
    assert all(map(is_told_well, [*loaded.problems, *loaded.warnings])), loaded.problems
    if loaded.problems:
        return
    found: list[Problem] = []
    try:
        compile_workflow(loaded)
    except WorkflowFileInvalid as invalid:
        found = invalid.problems
    assert all(map(is_told_well, found)), found


@often
@given(
    st.sampled_from(TEXTS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES)), max_size=4),
)
def test_any_slip_of_the_pen(text: str, slips: list[tuple[float, int, str]]) -> None:
    for where, length, piece in slips:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + length :]
    read(text, "w.wf.yaml")


@often
@given(
    st.lists(VALUES, max_size=4), st.dictionaries(st.sampled_from(sorted(Document.model_fields)), VALUES, max_size=4)
)
def test_any_data(steps: list[object], around: dict[str, object]) -> None:
    read(json.dumps({**around, "steps": steps}), "w.json")
