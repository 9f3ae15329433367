"""Workflow files run on the one engine there is: what a file says happens, and every kind of entry does its work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.files import code
from wfkernel import Store, Workflow, load_workflow, placed, register_agent
from wfkernel.engine import agents
from wfkernel.engine.failures import InputInvalid
from wfkernel.plan.load import WorkflowFileInvalid

SIGN_UP = """\
id: sign-up
name: Sign-up form
version: 1.0.0
steps:
  - id: plan
    name: Plan it
    agentId: planner
    task: Plan a sign-up form
    dependencies: []

  - id: server
    name: Server side
    agentId: server
    task: Store new users
    dependencies: [plan]

  - id: page
    name: Page
    agentId: page
    task: Draw the form
    dependencies: [plan]
    parallel: true

  - id: tests
    name: Tests
    agentId: tester
    task: Try it out
    dependencies: [server, page]

  - id: audit
    name: Audit
    agentId: auditor
    task: Look for holes
    dependencies: [tests]
"""


@pytest.fixture(autouse=True)
def no_agents_are_left() -> Iterator[None]:
    yield
    for name in agents.registered_agents():
        agents.unregister_agent(name)


def load(folder: Path, text: str, **options: Any) -> Workflow:
    path = folder / "w.wf.yaml"
    path.write_text(text)
    return load_workflow(path, **options)


def run(folder: Path, steps: str, input: Any = None, **options: Any) -> Any:
    lines = "\n".join(f"  {line}" for line in steps.strip("\n").splitlines())
    return load(folder, f"id: w\nsteps:\n{lines}\n", **options).run(input)


# -- limits -----------------------------------------------------------------------------------------------------------------


def test_a_run_goes_as_far_as_the_file_says_also_inside_another(tmp_path: Path) -> None:
    limited = "id: w\nlimits: {iterations: 3}\nsteps:\n  - loop: {id: a, run: [echo, x]}\n    while: '${{ true }}'\n"
    ended = load(tmp_path, limited).run()
    assert (ended.status, ended.error["type"]) == ("failed", "IterationLimit")
    (tmp_path / "inner.wf.yaml").write_text(limited)
    ended = run(tmp_path, "- {id: b, workflow: inner.wf.yaml}")
    assert (ended.status, ended.error["type"]) == ("failed", "IterationLimit")


# -- agents -----------------------------------------------------------------------------------------------------------------


def test_five_agents_do_their_tasks_in_the_order_of_their_dependencies(tmp_path: Path) -> None:
    called: list[tuple[str, str, Any]] = []
    at: dict[str, tuple[float, float]] = {}

    def agent(name: str) -> Any:
        def work(task: str, inputs: Any) -> str:
            began = time.perf_counter()
            called.append((name, task, inputs))
            time.sleep(0.1)
            at[name] = (began, time.perf_counter())
            return f"{name} did"

        return work

    for name in ("planner", "server", "page", "tester", "auditor"):
        register_agent(name, agent(name))
    result = load(tmp_path, SIGN_UP).run()
    assert (result.status, result.result) == ("success", "auditor did")
    assert called[0][0] == "planner"
    assert {name for name, _, _ in called[1:3]} == {"server", "page"}
    assert max(at["server"][0], at["page"][0]) < min(at["server"][1], at["page"][1])  # at the same time
    assert called[3] == ("tester", "Try it out", {"server": "server did", "page": "page did"})
    assert called[4] == ("auditor", "Look for holes", "tester did")


def test_an_agent_nobody_registered_is_an_error_at_load_time(tmp_path: Path) -> None:
    register_agent("planer", code.writer)
    with pytest.raises(WorkflowFileInvalid) as invalid:
        load(tmp_path, SIGN_UP)
    told = [str(problem) for problem in invalid.value.problems]
    assert len(told) == 5
    assert "w.wf.yaml:7:14: no agent 'planner' is registered (did you mean 'planer'?)" in told[0]


def test_agents_are_functions_or_objects_that_run_and_a_file_can_name_them(tmp_path: Path) -> None:
    text = """
id: w
agents: {reviewer: "tests.files.code:reviewer", writer: "tests.files.code:writer"}
inputs: {topic: string}
steps:
  - {id: write, agent: writer, task: "about ${{ inputs.topic }}"}
  - {id: review, agent: reviewer, task: "be kind to ${{ steps.write }}"}
"""
    result = load(tmp_path, text).run({"topic": "owls"})
    assert result.result == "reviewed 'wrote: about owls': be kind to wrote: about owls"
    assert result.steps["review"].input == {"task": "be kind to wrote: about owls", "inputs": "wrote: about owls"}


# -- kinds of entries ---------------------------------------------------------------------------------------------------------


def test_functions_get_what_with_names(tmp_path: Path) -> None:
    result = run(tmp_path, """
- {id: load, uses: "tests.files.code:load", with: {month: 4}}
- {id: twice, uses: "tests.files.code:double", foreach: "${{ steps.load.rows }}", concurrency: 2}
- {id: total, uses: "tests.files.code:total", with: {rows: "${{ steps.twice }}", scale: 10}}
""")  # fmt: skip
    assert result.result == 120
    assert result.steps["twice.twice[2]"].output == 6


def test_a_parameter_a_function_does_not_have_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        WorkflowFileInvalid, match=r"w.wf.yaml:3:\d+: .* has no parameter 'scael' \(did you mean 'scale'\?\)"
    ):
        run(tmp_path, '- {id: total, uses: "tests.files.code:total", with: {rows: [], scael: 1}}')


def test_code_in_a_file_beside_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "my_steps.py").write_text("def hello(name): return f'hello {name}'\n")
    assert run(tmp_path, '- {id: a, uses: "my_steps.py:hello", with: {name: owl}}').result == "hello owl"


def test_commands_get_values_through_their_environment_and_never_as_code(tmp_path: Path) -> None:
    result = run(tmp_path, """
- id: shell
  run: printf '%s' "$WHAT"
  env: {WHAT: "${{ input.text }}"}
- id: program
  run: [printf, "%s|%s", "${{ input.stdout }}", "${{ [1, 2] }}"]
  outputs: {said: "${{ result.stdout }}"}
""", {"text": "'; rm -rf / #"})  # fmt: skip
    assert result.result == {"said": "'; rm -rf / #|[1, 2]"}


def test_a_command_that_fails_fails_the_step_with_what_it_said_last(tmp_path: Path) -> None:
    result = run(tmp_path, '- {id: a, run: "echo first; echo no such luck; exit 3", retries: 1}')
    assert result.status == "failed"
    assert result.error["message"] == "the command ended with exit status 3: no such luck"
    assert result.steps["a"].attempts == 2


def test_a_command_that_takes_too_long_ends_with_everything_it_started(tmp_path: Path) -> None:
    result = run(tmp_path, f'- {{id: a, run: "(sleep 1; touch {tmp_path}/late) & wait", timeout: 300ms}}')
    assert result.error["type"] == "StepTimeout"
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()


def test_control_blocks_do_what_the_builder_does(tmp_path: Path) -> None:
    result = run(tmp_path, """
- loop: {id: grow, uses: "tests.files.code:increase"}
  while: tests.files.code:is_small
- branch:
    - if: ${{ input > 3 }}
      then: {id: big, uses: "tests.files.code:double"}
    - if: ${{ input <= 3 }}
      then: {id: little, uses: "tests.files.code:double"}
- map: ${{ [input.big, 1] }}
- foreach: {id: each, steps: [{id: one, uses: "tests.files.code:double"}, {id: two, run: [echo, "${{ item }} ${{ steps.one }}"]}]}
  concurrency: 2
- id: m
  map: {said: "${{ input.map(one, one.stdout) }}", first: "${{ steps.grow }}"}
- sources: {said: {step: m, path: said}, start: {init: ""}, fixed: {value: 1}}
- sleep: 1ms
- parallel:
    - {id: x, uses: "tests.files.code:load", with: {month: "${{ input.start }}"}}
    - {id: y, workflow: {id: y, inputs: {n: integer}, steps: [{id: z, map: "${{ inputs.n + 1 }}"}]}, with: {n: "${{ steps.grow }}"}}
""", 0)  # fmt: skip
    assert result.status == "success", result.error
    assert result.steps["m"].output == {"said": ["10 20\n", "1 2\n"], "first": 5}
    assert result.result == {"x": {"rows": [1, 2, 3], "month": 0}, "y": 6}


def test_a_condition_skips_a_step_and_what_follows_gets_the_value_before(tmp_path: Path) -> None:
    result = run(tmp_path, """
- {id: a, uses: "tests.files.code:increase"}
- {id: b, uses: "tests.files.code:double", when: "${{ input > 100 }}"}
- {id: c, uses: "tests.files.code:increase", when: "${{ status.b == 'skipped' && steps.b == null }}"}
""", 1)  # fmt: skip
    assert (result.result, result.steps["b"].status) == (3, "skipped")


def test_a_failure_that_is_excused_leaves_null_and_the_run_goes_on(tmp_path: Path) -> None:
    result = run(tmp_path, """
- {id: a, uses: "tests.files.code:boom", continue_on_error: true, needs: []}
- {id: b, run: "true", needs: []}
- {id: c, steps: [{map: {a: "${{ steps.a }}", how: "${{ status.a }}"}}], needs: [a, b]}
""")  # fmt: skip
    assert result.status == "success", result.error
    assert result.steps["a"].error["message"] == "out of paper"
    assert result.result == {"a": None, "how": "failed"}


def test_an_expression_that_mentions_a_step_of_a_graph_waits_for_it(tmp_path: Path) -> None:
    result = run(tmp_path, """
- {id: slow, run: "sleep 0.2; echo done", needs: []}
- {id: quick, run: [echo, "${{ steps.slow.stdout }}"]}
""")  # fmt: skip
    assert result.steps["quick"].output["stdout"] == "done\n\n"


def test_a_step_that_is_not_parallel_runs_alone(tmp_path: Path) -> None:
    line = "date +%s%N; sleep 0.15; date +%s%N"
    result = run(tmp_path, f"""
- {{id: a, run: "{line}", needs: []}}
- {{id: alone, run: "{line}", needs: [], parallel: false}}
- {{id: b, run: "{line}", needs: []}}
""")  # fmt: skip
    times = {id_: [int(x) for x in result.steps[id_].output["stdout"].split()] for id_ in ("a", "alone", "b")}
    begin, end = times["alone"]
    assert all(other[1] <= begin or other[0] >= end for other in (times["a"], times["b"]))


def test_a_fast_arm_does_not_wait_for_a_slow_one_of_its_batch(tmp_path: Path) -> None:
    result = run(tmp_path, """
- {id: fast, run: "true", needs: []}
- {id: slow, run: "sleep 0.6", needs: []}
- {id: after, run: "true", needs: [fast]}
- {id: last, run: "true", needs: [after, slow]}
""")  # fmt: skip
    assert result.steps["after"].ended_at < result.steps["slow"].ended_at


# -- inputs -------------------------------------------------------------------------------------------------------------------


def test_inputs_have_types_and_defaults(tmp_path: Path) -> None:
    text = """
id: w
inputs:
  month: {type: integer, minimum: 1, maximum: 12, default: 3}
  kind: {type: string, enum: [a, b], default: a}
  name: string
  note: {type: string, required: false}
steps: [{id: all, map: "${{ inputs }}"}]
"""
    workflow = load(tmp_path, text)
    assert workflow.run({"name": "x"}).result == {"month": 3, "kind": "a", "name": "x", "note": None}
    for wrong, told in [
        ({}, "name: Field required"),
        ({"name": "x", "month": 13}, "month: Input should be less than or equal to 12"),
        ({"name": "x", "month": "3"}, "month: Input should be a valid integer"),
        ({"name": "x", "kind": "c"}, "kind: Input should be 'a' or 'b'"),
        ({"name": "x", "nmae": 1}, "nmae: Extra inputs are not permitted"),
    ]:
        with pytest.raises(InputInvalid, match=told):
            workflow.run(wrong)


# -- terms, with the builder ----------------------------------------------------------------------------------------------------


def test_the_builder_has_the_same_terms() -> None:
    workflow = (
        Workflow("w")
        .then(code.double, when=lambda value: value > 10)
        .then(code.boom, continue_on_error=True)
        .then(code.increase, given="${{ inputs }}")
        .parallel(placed(code.double, when="${{ input > 100 }}"), placed(code.increase, given=lambda value: value * 2))
        .commit()
    )
    result = workflow.run(4)
    assert result.result == {"double": None, "increase": 11}


def test_what_was_decided_is_not_decided_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    asked: list[int] = []

    def once(value: int) -> bool:
        asked.append(value)
        return False

    def make() -> Workflow:
        return (
            Workflow("w", store=store)
            .then(code.increase)
            .then(code.double, when=once)
            .then(code.boom, continue_on_error=True)
            .then(_ask)
            .commit()
        )

    first = make().create_run()
    assert first.sync.start(1).status == "suspended"
    again = make().create_run(first.run_id)
    result = again.sync.resume({"approve": True})
    assert (result.status, result.result, len(asked)) == ("success", True, 1)
    assert result.steps["boom"].attempts == 1


def _ask(ctx: Any) -> bool:
    answer: code.Answer = ctx.suspend(code.Answer, "good?")
    return answer.approve
