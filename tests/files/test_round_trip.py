"""Whatever the builder can make of code that has an address is written to a file and comes back as an equal plan."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.files import code
from wfkernel import Limits, Workflow, placed
from wfkernel.engine.agents import AskAgent
from wfkernel.engine.compile import compile_workflow
from wfkernel.engine.export import document_of, to_yaml
from wfkernel.errors import DefinitionError
from wfkernel.plan.builder import Definition
from wfkernel.plan.load import check_text
from wfkernel.plan.step import _make_spec

FUNCTIONS = [code.load, code.double, code.increase, code.boom]


def back(text: str, file: str = "w.wf.yaml") -> Definition:
    loaded = check_text(text, file, Path(__file__).parent, agents=["writer"])
    assert not loaded.problems, "\n".join([*map(str, loaded.problems), text])
    return compile_workflow(loaded)


names = st.text("abcdefgh_-", min_size=1, max_size=6).filter(lambda text: text.strip("-_"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=5).filter(lambda t: "${{" not in t)
    | st.just("${{ input }}"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
conditions = st.sampled_from([code.is_small, "${{ input > 3 }}", "${{ run.id != '' && true }}"])


@st.composite
def bodies(draw: Any, depth: int = 1) -> Any:
    made: Any
    if depth and draw(st.integers(0, 4)) == 0:
        made = draw(plans(depth - 1))
        if draw(st.booleans()):
            made.inline = True
            made.description, made.metadata, made.vars = "", {}, {}
            made.retry = type(made.retry)()
    else:
        made = draw(st.sampled_from(FUNCTIONS))
    options: dict[str, Any] = {"id": draw(names), "name": draw(st.sampled_from(["", "A name"]))}
    if draw(st.booleans()):
        options["when"] = draw(conditions)
    if draw(st.booleans()):
        options["given"] = draw(values)
    options["continue_on_error"] = draw(st.booleans())
    if isinstance(made, Definition) and made.inline:  # a group of steps has no id but that of its place
        made.id = options["id"]
    return placed(made, **options)


def distinct(draw: Any, depth: int, most: int = 3) -> list[Any]:
    return draw(st.lists(bodies(depth), min_size=1, max_size=most, unique_by=lambda body: body.id))  # type: ignore[no-any-return]


@st.composite
def plans(draw: Any, depth: int = 2) -> Definition:
    plan = Definition(
        draw(names), description=draw(st.sampled_from(["", "What it does"])), retries=draw(st.integers(0, 2)),
        delay=draw(st.sampled_from([0.0, 1.5])), metadata=draw(st.sampled_from([{}, {"name": "N", "x": [1]}])),
    )  # fmt: skip
    plan.vars = draw(st.sampled_from([{}, {"limit": 3}]))
    kinds = st.sampled_from(
        [
            "then",
            "parallel",
            "branch",
            "do_while",
            "do_until",
            "foreach",
            "map",
            "sources",
            "sleep",
            "sleep_until",
            "graph",
        ]
    )
    for number, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=4))):
        match kind:
            case "then":
                plan.then(draw(bodies(depth)))
            case "parallel":
                plan.parallel(*distinct(draw, depth), fail_fast=draw(st.booleans()))
            case "branch":
                plan.branch(*[(code.is_small, body) for body in distinct(draw, depth)])
            case "do_while":
                plan.do_while(draw(bodies(depth)), code.is_small)
            case "do_until":
                plan.do_until(draw(bodies(depth)), code.is_small)
            case "foreach":
                plan.foreach(draw(bodies(depth)), concurrency=draw(st.sampled_from([1, 4, code.increase])))
            case "map":
                plan.map(code.increase)
            case "sources":
                plan.map(
                    {
                        "a": {"value": draw(values)},
                        "b": {"init": "x"},
                        "c": {"template": "${input.x}"},
                        "d": code.increase,
                    }
                )
            case "sleep":
                plan.sleep(draw(st.sampled_from([0, 1.5, "2h", code.half_a_second])))
            case "sleep_until":
                plan.sleep_until(draw(st.sampled_from([1e9, "2026-05-01T09:00:00+00:00"])))
            case "graph":
                before: list[str] = []
                for body in distinct(draw, depth, 4):
                    needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=2)) if before else []
                    plan.add(body, needs=needs, exclusive=draw(st.booleans()), graph=f"graph_{number}")
                    before.append(body.id)
    return plan.commit()


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(plans())
def test_a_plan_comes_back_from_yaml_and_from_json(plan: Definition) -> None:
    assert different(back(to_yaml(plan)), plan) == ""
    assert different(back(json.dumps(document_of(plan)), "w.json"), plan) == ""


def different(one: Definition, other: Definition) -> str:
    """Which node of the two is not the same, as text."""
    if one == other:
        return ""
    pairs = zip(one.nodes, other.nodes, strict=False)
    return next((f"{a!r}\n{b!r}" for a, b in pairs if a != b), f"{vars(one)}\n{vars(other)}")


def test_the_options_of_steps_come_back() -> None:
    plan = Workflow("w", input=code.Order, state=code.State, output=code.Order)
    for number, options in enumerate(
        [
            {
                "retries": 3,
                "delay": "2s",
                "backoff": 2.0,
                "jitter": 0.5,
                "cap": "1m",
                "retry_on": (ValueError, code.Flaky),
            },
            {"retries": 2, "retry_on": code.is_flaky, "timeout": "5m", "worker": "processes", "restarts": 2},
            {
                "compensate": code.undo,
                "resume": code.Answer,
                "suspend": code.Order,
                "state": code.State,
                "metadata": {"a": 1},
            },
        ]
    ):
        plan.then(_make_spec(code.increase, options), id=f"s{number}")
    plan.commit()
    assert back(to_yaml(plan)) == plan


def test_limits_come_back_and_no_limits_are_none() -> None:
    limits = Limits(iterations=7, seconds=90.0, concurrency=3, memory=2**30, cpu=12.5)
    text = to_yaml(Workflow("w", limits=limits).then(code.increase).commit())
    made = back(text)
    assert isinstance(made, Workflow)
    assert made.options.limits == limits
    assert "limits" not in to_yaml(Workflow("w").then(code.increase).commit())


def test_where_a_failed_run_rolls_back_to_comes_back_and_has_to_be_a_step() -> None:
    text = to_yaml(Workflow("w", rollback_to="increase").then(code.increase).commit())
    made = back(text)
    assert isinstance(made, Workflow)
    assert made.options.rollback_to == "increase"
    wrong = check_text(
        text.replace("rollback_to: increase", "rollback_to: increse"), "w.wf.yaml", Path(__file__).parent
    )
    assert "w.wf.yaml:2:14: 'increse' is none of the steps (did you mean 'increase'?)" in str(wrong.problems[0])


def test_agents_and_commands_come_back() -> None:
    text = """
id: w
inputs: {n: {type: integer, default: 1}}
agents: {writer: "tests.files.code:writer"}
steps:
  - {id: a, agent: writer, task: "hello ${{ inputs.n }}", with: {x: 1}, retries: 2}
  - {id: b, run: "echo $N", env: {N: "${{ inputs.n }}"}, timeout: 5, outputs: {said: "${{ result.stdout }}"}}
  - {id: c, run: [echo, "${{ steps.b.said }}"], foreach: [1, 2]}
output: {said: "${{ steps.b.said }}"}
"""
    plan = back(text)
    assert back(to_yaml(plan)) == plan
    assert isinstance(plan.nodes[0].spec.function, AskAgent)  # type: ignore[union-attr]


def test_what_has_no_address_is_told() -> None:
    with pytest.raises(DefinitionError, match="has no address, so a file cannot name it"):
        to_yaml(Workflow("w").then(code.increase).do_while(code.increase, lambda value: value < 3).commit())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "vars.x is nan, and a workflow file holds what JSON holds"),
        ([1, float("-inf")], "vars.x\\[1\\] is -inf"),
        (10**450, "vars.x is a int"),
        ({1: 2}, "vars.x is a dict with keys that are no texts"),
        ({"y": date(2026, 1, 1)}, "vars.x.y is a date"),
        ({3}, "vars.x is a set"),
        (b"x", "vars.x is a bytes"),
    ],
)
def test_a_value_that_would_not_come_back_is_not_written(value: object, told: str) -> None:
    plan = Definition("w").then(code.increase)
    plan.vars = {"x": value}
    with pytest.raises(DefinitionError, match=f"workflow 'w': {told}"):
        to_yaml(plan.commit())


@pytest.mark.parametrize(
    "text", [".nan", "-.Inf", "9" * 500, "1e999", "~", "0x10", "12:30", "<<", "- a", "a: b", "#x", " x", "\t", "a\nb", "\x85", "\ufeff", "!x", "*a"]
)  # fmt: skip
def test_texts_that_look_like_something_else_come_back_as_texts(text: str) -> None:
    plan = Definition("w").then(code.increase)
    plan.vars = {"x": text, "y": {text: [text]}}
    assert back(to_yaml(plan.commit())).vars == plan.vars
