"""Reading workflow files: what is wrong is told with its place, everything at once, and nothing of it is executed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfkernel.plan.expression import FUNCTIONS, evaluate
from wfkernel.plan.load import WorkflowFileInvalid, check_text, read_workflow
from wfkernel.plan.text import Refused, TextLimits, parse_text

FOLDER = Path(__file__).parent


def problems(text: str, file: str = "w.wf.yaml") -> list[str]:
    return [str(problem) for problem in check_text(text, file, FOLDER, agents=["writer"]).problems]


def one(text: str, file: str = "w.wf.yaml") -> str:
    found = problems(text, file)
    assert len(found) == 1, found
    return found[0]


def steps(*lines: str) -> str:
    return "\n".join(["id: w", "steps:", *(f"  {line}" for line in lines)])


# -- texts ----------------------------------------------------------------------------------------------------------------


def test_scalars_mean_what_yaml_1_2_says() -> None:
    text = "a: yes\nb: 2026-01-01\nc: 12:30\nd: 010\ne: 1e3\nf: !!str 12\ng: '12'\nh: true\ni: ~\nj: 0x10\nk: on"
    assert parse_text(text).data == {
        "a": "yes", "b": "2026-01-01", "c": "12:30", "d": 10, "e": 1000.0, "f": "12", "g": "12", "h": True, "i": None, "j": 16,
        "k": "on",
    }  # fmt: skip


def test_anchors_and_merge_keys_work_and_keep_their_places() -> None:
    source = parse_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert source.data["b"] == {"x": 1, "y": 3}
    assert source.place(("b", "y")).line == 2
    assert source.place(("b", "x")).line == 1


@settings(deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**12), 10**12)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=99), inner, max_size=4),
        max_leaves=20,
    )
)
def test_json_reads_as_json_does(data: object) -> None:  # with keys of less than 1,024 characters, YAML's limit
    text = json.dumps({"data": data})
    assert parse_text(text, "w.json").data == {"data": data}
    assert parse_text(json.dumps({"data": data}, ensure_ascii=False), "w.json").data == {"data": data}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "w.wf.yaml:1:1: the file is empty"),
        ("a: [1,\n", "w.wf.yaml:2:1: did not find expected node content"),
        ("\ta: 1", "w.wf.yaml:1:1: found character that cannot start any token"),
        ("a: 1\na: 2", "w.wf.yaml:2:1: the key 'a' is there twice"),
        ("a: 1\n---\nb: 2", "w.wf.yaml:2:1: a file holds one workflow"),
        ("? [a]\n: 1", "w.wf.yaml:1:3: a key is a text"),
        ("a: &x [*x]", "w.wf.yaml:1:4: an alias refers to what it is part of"),
        ("a: *gone", "w.wf.yaml:1:4: found undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "w.wf.yaml:1:4: the tag !!python/object/apply:os.system is refused"),
        ("a: !secret x", "w.wf.yaml:1:4: the tag !secret is refused"),
        ("a: \x00", "w.wf.yaml:1:4: unacceptable character"),
        ("- a", "w.wf.yaml:1:1: a workflow is a mapping"),
        ("[" * 100_000, "w.wf.yaml:1:61: lists and mappings are nested deeper than 60"),
        ("- " * 5_000 + "a", "w.wf.yaml:1:121: lists and mappings are nested deeper than 60"),
        ("a: " + "[" * 70 + "]" * 70, "nested deeper than 60"),
        ("a: .nan", "w.wf.yaml:1:4: .nan is no number that can be written down as JSON"),
        ("a: [-.Inf]", "w.wf.yaml:1:5: -.Inf is no number"),
        ("a: 1e400", "w.wf.yaml:1:4: 1e400 is larger than the largest number"),
        (f"a: {'9' * 5000}", "w.wf.yaml:1:4: a number of 5000 digits"),
    ],
)  # fmt: skip
def test_a_malformed_text_is_refused_with_its_place(text: str, told: str) -> None:
    assert told in one(text)


def test_malformed_json_is_refused_with_its_place() -> None:
    assert one('{"id": "w",\n "steps": [,]}', "w.json").startswith("w.json:2:12: not JSON")
    assert one('{"id": "NaN",\n "vars": NaN}', "w.json") == "w.json:2:10: not JSON: NaN is no number there"


def test_what_only_json_allows_is_read_from_json() -> None:
    assert parse_text('{"id"\n  :"a\x7fb \\": c"}', "w.json").data == {"id": 'a\x7fb ": c'}


def test_a_text_that_only_looks_deep_is_read() -> None:
    assert parse_text(f"a: '{'[' * 600}'").data == {"a": "[" * 600}


def test_a_bomb_of_aliases_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "with its aliases followed the file has more than 500000 values" in one("\n".join(lines))


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        parse_text("a: 1" * 100, "w.yaml", limits=TextLimits(bytes=100))
    assert "the file has 400 bytes" in str(refused.value.problems[0])


# -- the format -------------------------------------------------------------------------------------------------------------

WRONG = [
    ("id: w\ninput: {n: integer}\nsteps: [{id: a, run: ls}]", "w.wf.yaml:2:8: the inputs by name stand under `inputs:`"),
    ("id: w", "w.wf.yaml:1:1: 'steps' is missing"),
    ("id: w\nsteps: []", "w.wf.yaml:2:8: steps is empty"),
    ("id: w\nnmae: x\nsteps: [{id: a, run: ls}]", "w.wf.yaml:2:1: unknown key 'nmae' (did you mean 'name'?)"),
    ("id: a.b\nsteps: [{id: a, run: ls}]", "w.wf.yaml:1:5: the id 'a.b' cannot be used"),
    ("id: w\nwfkernel: 2\nsteps: [{id: a, run: ls}]", "w.wf.yaml:2:11: wfkernel: input should be 1, not 2"),
    (steps("- {id: a, use: 'm:f'}"), "w.wf.yaml:3:5: it is not clear what this entry does"),
    (steps("- {id: a, use: 'm:f'}"), "(did you mean 'uses'?)"),
    (steps("- just text"), "an entry is a mapping with one of uses, run"),
    (steps("- {id: a, run: ls, retires: 2}"), "w.wf.yaml:3:22: unknown key 'retires' (did you mean 'retries'?)"),
    (steps("- {id: a, run: ls, retries: -1}"), "w.wf.yaml:3:31: steps[0].retries: input should be greater than or equal to 0"),
    (steps("- {id: a, run: ls, timeout: 5 parsecs}"), "w.wf.yaml:3:31: '5 parsecs' is not a duration"),
    (steps("- {id: a, run: ls, timeout: 0}"), "w.wf.yaml:3:31: 'timeout' is longer than nothing, not 0"),
    ("id: w\nlimits: {seconds: 3 moons}\nsteps: [{id: a, run: ls}]", "w.wf.yaml:2:19: '3 moons' is not a duration"),
    ("id: w\nlimits: {threads: 3}\nsteps: [{id: a, run: ls}]", "w.wf.yaml:2:10: unknown key 'threads'"),
    (steps("- {run: ls}"), "w.wf.yaml:3:5: 'id' is missing in this 'run' entry"),
    (steps("- {id: a, agent: writer}"), "w.wf.yaml:3:5: 'task' is missing in this 'agent' entry"),
    (steps("- {id: a, task: write}"), "a task is given to an agent: say which with 'agent'"),
    (steps("- {id: a, run: ls, uses: 'm:f'}"), "an entry does one thing, and this has"),
    (steps("- {id: a, run: ls}", "- {id: a, run: ls}"), "w.wf.yaml:4:10: there are two entries named 'a' (the other is number 1)"),
    (steps("- {id: a, run: ls}", "- {id: b#2, run: ls}"), "'b#2' is a further use of 'b', which is not above it"),
    (steps("- {id: a, run: 'echo ${{ inputs.x }}'}"), "a command for the shell holds no ${{ expressions }}"),
    (steps("- {id: a, run: ls, foreach: x}"), "'foreach' is a list or one ${{ expression }}"),
    (steps("- loop: {id: a, run: ls}"), "a loop has one of 'while' and 'until'"),
    (steps("- {id: a, workflow: gone.wf.yaml}"), "there is no workflow file gone.wf.yaml"),
    (steps("- {id: a, notebook: gone.ipynb}"), "there is no notebook gone.ipynb"),
    (steps("- sources: {a: {value: 1}, b: {init: 2, step: x}, c: {x: 1}}"), "map key 'c': unknown source"),
    ("id: w\ninputs: {n: {type: integer, default: x}}\nsteps: [{id: a, run: ls}]", "the default of input 'n' is 'x', which is no integer"),
    ("id: w\ninputs: {n: {type: strnig}}\nsteps: [{id: a, run: ls}]", "w.wf.yaml:2:20: inputs.n.type: input should be 'string'"),
    ("id: w\ninputs: {a b: string}\nsteps: [{id: a, run: ls}]", "the input 'a b' is no name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_mistake_in_the_format_is_told_with_its_place(text: str, told: str) -> None:
    found = problems(text)
    assert any(told in problem for problem in found), found


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = steps(
        "- {id: a, run: ls, retires: 2}",
        "- {id: b, uses: 'tests.files.code:laod'}",
        "- {id: c, run: ls, needs: [d]}",
        "- {id: d, run: ls, needs: [c, e]}",
        "- {id: f, run: [echo, '${{ steps.z }} ${{ 1 + }}']}",
    )
    assert [problem.partition(": ")[0] for problem in problems(text)] == [
        "w.wf.yaml:3:22", "w.wf.yaml:4:19", "w.wf.yaml:5:5", "w.wf.yaml:6:33", "w.wf.yaml:7:26", "w.wf.yaml:7:41",
    ]  # fmt: skip


# -- the graph --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{id: a, run: x, needs: 3}", "step 'a' needs '3', which is not in the graph (known: a)"),
        ("{id: a, run: x, needs: {b: c}}", "steps[0].needs: input should be a valid list"),
        ("{id: '', run: x}", "steps[0].id is empty"),
        (f"{{id: {'w' * 101}, run: x}}", "steps[0].id is longer than 100 characters"),
        ("{id: true, run: x}", "not true"),
        ("", "an entry is a mapping with one of"),
        ("{id: a, run: x, foreach: 3}", "'foreach' is a list or one ${{ expression }} that gives a list"),
        ("{id: a, parallel: true}", "'parallel' is a list of steps here; for a step say also what it does: uses,"),
        ("{branch: []}", "steps[0].branch is empty"),
        ("{sleep: 1e300}", "longer than a thousand years"),
        ("{sleep_until: 1e300}", "is no point in time"),
        ("{id: a, run: x, timeout: 2000000000d}", "longer than a thousand years"),
    ],
)
def test_what_pydantic_says_is_told_in_words_of_the_file(entry: str, told: str) -> None:
    message = one(steps(f"- {entry}"))
    assert told in message
    assert "validat" not in message
    assert len(message) < 250


def test_a_circle_is_told_with_its_path() -> None:
    text = steps("- {id: a, run: ls, needs: b}", "- {id: b, run: ls, needs: c}", "- {id: c, run: ls, needs: a}")
    assert "the steps need each other in a circle: a -> b -> c -> a" in one(text)


def test_a_circle_through_an_expression_is_one_too() -> None:
    text = steps("- {id: a, run: ls, needs: b}", "- {id: b, run: ls, needs: [], when: '${{ steps.a.ok }}'}")
    assert "in a circle: a -> b -> a" in one(text)


def test_a_step_that_needs_itself_or_an_unknown_one() -> None:
    assert "step 'a' needs itself" in one(steps("- {id: a, run: ls, needs: a}"))
    text = steps("- {id: design, run: ls, needs: []}", "- {id: b, run: ls, dependencies: [desing]}")
    assert "step 'b' needs 'desing', which is not in the graph (did you mean 'design'?)" in one(text)


# -- expressions and addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("${{ steps.b.ok }}", "'steps.b.ok' refers to step 'b', which is not above it (known: a)"),
        ("${{ inputs.mnth > 3 }}", "refers to input 'mnth', which the workflow does not have (did you mean 'month'?)"),
        ("${{ 1 + }}", "'1 +' is not an expression"),
        ("${{ }}", "is empty"),
        ("${{ steps.a", "'${{' is never closed"),
        ("${{ item }}", "there is no foreach around it"),
        ("${{ iteration }}", "there is no loop around it"),
        ("${{ stpes.a }}", "'stpes' is unknown in 'stpes.a' (did you mean 'steps'?)"),
        ("${{ __import__('os') }}", "'__import__' is no function of CEL"),
        ("${{ inputs.month.startWith('x') }}", "'startWith' is no function of CEL (did you mean 'startsWith'?)"),
        ("steps.a.ok", "did you mean ${{ steps.a.ok }}?"),
        ("not ${{ steps.a.ok }}", "a condition is one ${{ expression }} and nothing around it"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(when: str, told: str) -> None:
    text = f"id: w\ninputs: {{month: integer}}\nsteps:\n  - {{id: a, run: ls}}\n  - id: c\n    run: ls\n    when: {json.dumps(when)}\n"
    found = problems(text)
    assert any(told in problem and problem.startswith("w.wf.yaml:7:") for problem in found), found


def test_an_id_with_a_dash_needs_brackets() -> None:
    text = steps("- {id: parse-it, run: ls}", "- {id: b, run: [echo, '${{ steps.parse-it.x }}']}")
    assert "subtracts: write steps['parse-it']" in one(text)
    assert not problems(text.replace("steps.parse-it", """steps["parse-it"]"""))


def test_names_bound_by_macros_are_no_mistakes() -> None:
    assert not problems(steps("- {id: a, run: ls}", "- map: '${{ steps.a.rows.filter(r, r.x > 1).map(r, r.x) }}'"))


def test_code_is_looked_up_without_being_imported(tmp_path: Path) -> None:
    (tmp_path / "side_effect.py").write_text("raise SystemExit('imported')\ndef good(): ...\n")
    assert not check_text(steps("- {id: a, uses: 'side_effect:good'}"), "w", tmp_path).problems
    found = check_text(
        steps("- {id: a, uses: 'side_effect:godo'}", "- {id: b, uses: 'nowhere:x'}"), "w", tmp_path
    ).problems
    assert "side_effect has no 'godo' (did you mean 'good'?)" in str(found[0])
    assert "there is no module 'nowhere'" in str(found[1])
    assert "side_effect" not in sys.modules


@pytest.mark.parametrize("address", ["os.system('ls')", "a b:c", "m", "m:f()", "lambda: 1", "../x:f"])
def test_an_address_is_an_address_and_nothing_else(address: str) -> None:
    assert "is no address of code" in one(steps(f"- {{id: a, uses: {json.dumps(address)}}}"))


def test_a_nested_file_is_checked_too_and_may_not_contain_itself(tmp_path: Path) -> None:
    (tmp_path / "outer.wf.yaml").write_text(steps("- {id: a, workflow: inner.wf.yaml}"))
    (tmp_path / "inner.wf.yaml").write_text(
        steps("- {id: b, run: ls, retires: 1}", "- {id: c, workflow: outer.wf.yaml}")
    )
    with pytest.raises(WorkflowFileInvalid) as invalid:
        read_workflow(tmp_path / "outer.wf.yaml")
    told = [str(problem) for problem in invalid.value.problems]
    assert "inner.wf.yaml:3:22: unknown key 'retires'" in told[0]
    assert "it would never end" in told[1]


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WorkflowFileInvalid, match="cannot be read: No such file"):
        read_workflow(tmp_path / "gone.wf.yaml")
    (tmp_path / "latin.wf.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(WorkflowFileInvalid, match="is not UTF-8: byte 9"):
        read_workflow(tmp_path / "latin.wf.yaml")


# -- expressions ----------------------------------------------------------------------------------------------------------

CALLS = {
    "size": "size('ab') == 2", "contains": "'abc'.contains('b')", "startsWith": "'abc'.startsWith('a')",
    "endsWith": "'abc'.endsWith('c')", "matches": "'abc'.matches('b.')", "int": "int('3') == 3", "uint": "uint(3) == 3u",
    "double": "double(3) == 3.0", "string": "string(3) == '3'", "bytes": "bytes('a') == b'a'", "type": "type(1) == type(2)",
    "timestamp": "timestamp('2026-01-02T03:04:05Z') > timestamp('2025-01-02T03:04:05Z')",
    "duration": "duration('90s') > duration('1m')", "dyn": "dyn(1) == 1", "has": "has(inputs.x)",
    "all": "[1].all(x, x > 0)", "exists": "[1].exists(x, x > 0)", "exists_one": "[1, 2].exists_one(x, x > 1)",
    "map": "[1].map(x, x + 1) == [2]", "filter": "[1, 2].filter(x, x > 1) == [2]",
    **{
        f"get{part}": f"timestamp('2026-01-02T03:04:05Z').get{part}() == {value}"
        for part, value in {
            "FullYear": 2026, "Month": 0, "Date": 2, "DayOfMonth": 1, "DayOfWeek": 5, "DayOfYear": 1, "Hours": 3, "Minutes": 4,
            "Seconds": 5, "Milliseconds": 0,
        }.items()
    },
}  # fmt: skip


def test_every_function_that_is_let_through_is_there() -> None:
    assert CALLS.keys() == FUNCTIONS
    for name, source in CALLS.items():
        assert evaluate(source, {"inputs": {"x": 1}}) is True, name
    assert "'min' is no function of CEL" in one(steps('- map: "${{ min(1, 2) }}"'))


def test_outputs_are_made_of_the_result() -> None:
    assert one(steps("- {id: a, run: x, outputs: nothing}")).endswith("this text would be the output always")
    assert "outputs: input should be a valid dictionary" in one(steps("- {id: a, run: x, outputs: 3}"))
    assert not problems(steps('- {id: a, run: x, outputs: "${{ result.stdout }}"}'))
