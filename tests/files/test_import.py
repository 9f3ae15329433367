"""`wf import`: another program's workflow becomes a workflow file, and what is lost on the way is told with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.files.test_commands import wf
from wfkernel import load_workflow
from wfkernel.plan.automatosx import import_automatosx
from wfkernel.plan.load import WorkflowFileInvalid, check_text
from wfkernel.plan.writing import as_yaml

PROMPTS = """\
# Nightly digest
# of what was said

name: nightly-digest
description: Collects and sums up
version: 2.1.0
tags: [digest]

config:
  maxRetries: 2
  parallelism: 3   # at a time
  region: north

steps:
  # Read everything
  - key: read-all
    agent: reader
    prompt: |
      Read {{source}} of {{from-day}}.
      Keep {braces} and ${{ dollars as they are.
    dependencies: []
    parallel: false
    timeoutMs: 90000
    retryPolicy: {maxRetries: 3, retryDelayMs: 2500, retryBackoffMultiplier: 1.5, jitter: full}

  - key: sum_up
    agent: writer
    prompt: "Sum up {{read-all.result.text}} and {{ read-all }} {{#each parts}}"
    dependencies: [read-all]
    optional: true
    when: friday
"""

ACTIONS = """\
name: pipeline
steps:
  - key: lint
    agent: quality
    action: lint-it
    provider: some
    timeout: 30000
    continueOnError: false
    retries: 2
  - key: ship
    description: Off it goes
    agent: ops
    action: ship-it
    continueOnError: true
    dependsOn:
      - lint
"""

PROVIDERS = """\
name: batch
config: {defaultTimeout: 1500}
errorHandling: {continueOnError: true}
steps:
  - name: first
    provider: some
    prompt: begin
    required: true
    retryable: false
  - name: second
    prompt: end
    dependsOn: [first]
    timeout: 60000
    retryable: true
"""


def notes(text: str) -> list[str]:
    return [str(note) for note in import_automatosx(text, "w.yaml").notes]


def test_prompts_and_what_they_refer_to() -> None:
    assert import_automatosx(PROMPTS, "w.yaml").document == {
        "id": "nightly-digest", "description": "Collects and sums up", "version": "2.1.0", "tags": ["digest"], "retries": 2,
        "inputs": {"source": "any", "from_day": "any"},
        "metadata": {"config": {"parallelism": 3, "region": "north"}},
        "steps": [
            {
                "id": "read-all", "agent": "reader", "needs": [], "parallel": False, "timeout": "90s", "retries": 3,
                "delay": "2500ms", "backoff": 1.5,
                "task": "Read ${{ inputs.source }} of ${{ inputs.from_day }}.\n"
                        "Keep {braces} and ${{ \"${{\" }} dollars as they are.\n",
            },
            {
                "id": "sum_up", "agent": "writer", "needs": ["read-all"], "continue_on_error": True,
                "task": "Sum up ${{ steps['read-all'].text }} and ${{ steps['read-all'] }} {{#each parts}}",
                "metadata": {"when": "friday"},
            },
        ],
    }  # fmt: skip


def test_what_has_no_counterpart_is_told_with_its_place() -> None:
    assert notes(PROMPTS) == [
        "w.yaml:11:3: a limit of steps at a time has no counterpart: `parallel: false` lets a step run alone",
        "w.yaml:12:3: 'config.region' has no counterpart: kept under metadata, without effect",
        "w.yaml:19:26: the input 'from-day' is called 'from_day'",
        "w.yaml:24:83: 'retryPolicy.jitter' has no counterpart and is left out: 'full'",
        "w.yaml:28:65: '{{#each parts}}' has no counterpart: it stays as it is",
        "w.yaml:31:5: 'when' has no counterpart: kept under metadata, without effect",
    ]


def test_comments_before_steps_stay() -> None:
    text = import_automatosx(PROMPTS, "w.yaml").text
    assert text.startswith("# Nightly digest\n# of what was said\n")
    assert "  # Read everything\n  - id: read-all\n" in text
    assert "    task: |\n      Read ${{ inputs.source }}" in text


def test_steps_with_actions() -> None:
    assert import_automatosx(ACTIONS, "w.yaml").document["steps"] == [
        {"id": "lint", "agent": "quality", "task": "lint-it", "needs": [], "retries": 2, "timeout": "30s",
         "metadata": {"provider": "some"}},
        {"id": "ship", "description": "Off it goes", "agent": "ops", "task": "ship-it", "needs": ["lint"],
         "continue_on_error": True},
    ]  # fmt: skip


def test_steps_with_providers() -> None:
    assert import_automatosx(PROVIDERS, "w.yaml").document["steps"] == [
        {"id": "first", "agent": "some", "task": "begin", "needs": [], "continue_on_error": True, "retries": 0,
         "timeout": "1500ms"},
        {"id": "second", "agent": "default", "task": "end", "needs": ["first"], "continue_on_error": True, "timeout": "1m"},
    ]  # fmt: skip
    assert notes(PROVIDERS) == [
        "w.yaml:6:5: the step names no agent: its provider 'some' is taken for one",
        "w.yaml:10:5: the step names no agent: it asks the agent 'default'",
        "w.yaml:14:5: 'retryable' does not say how often: it is not tried again, add `retries:`",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: x", "w.yaml:1:1: a workflow has a list of `steps:`"),
        ("steps: [{agent: a, prompt: p}]", "w.yaml:1:9: a step has a `key:`"),
        ("steps:\n- {prompt: p}\n- {key: a, agent: b}", "w.yaml:2:3: a step has a `key:`\nw.yaml:3:3: a step says what to do: `prompt:`"),
        ("steps: [{key: a, prompt: p, agent: b, dependsOn: [c]}]", "w.yaml:1:9: step 'a' needs 'c', which is not in the graph"),
        (
            "steps:\n- {key: a, prompt: p, agent: b, dependsOn: [b]}\n- {key: b, prompt: p, agent: b, dependsOn: [a]}",
            "w.yaml:2:3: the steps need each other in a circle: a -> b -> a",
        ),
        ("steps: [", "w.yaml:2:1: did not find expected node content"),
    ],
)  # fmt: skip
def test_what_is_no_workflow_of_the_dialect_is_refused(text: str, told: str) -> None:
    with pytest.raises(WorkflowFileInvalid) as refused:
        import_automatosx(text, "w.yaml")
    assert told in str(refused.value)


@given(st.dictionaries(st.text(max_size=5), st.text("a b\n\t#:-'\"{}|>\x85é", max_size=40), max_size=3))
def test_every_text_comes_back_from_yaml(data: dict[str, str]) -> None:
    found = check_text(as_yaml({"metadata": data}), "w.yaml").source
    assert found is not None
    assert found.data == {"metadata": data}


def test_an_imported_workflow_runs(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(PROMPTS)
    told = json.loads(wf(tmp_path, "import", "--from", "automatosx", "old.yaml", "--json"))
    assert told["file"] == "old.wf.yaml"
    assert [note["line"] for note in told["notes"]] == [11, 12, 19, 24, 28, 31]
    assert "old.wf.yaml is there already" in wf(tmp_path, "import", "--from", "automatosx", "old.yaml", status=2)
    asked: list[str] = []

    def reader(task: str) -> dict[str, str]:
        asked.append(task)
        return {"text": "all of it"}

    def writer(task: str) -> str:
        asked.append(task)
        return "done"

    workflow = load_workflow(tmp_path / "old.wf.yaml", agents={"reader": reader, "writer": writer})
    result = workflow.run({"source": "letters", "from_day": 5})
    assert (result.status, result.result) == ("success", "done")
    assert asked == [
        "Read letters of 5.\nKeep {braces} and ${{ dollars as they are.\n",
        'Sum up all of it and {"text": "all of it"} {{#each parts}}',
    ]
