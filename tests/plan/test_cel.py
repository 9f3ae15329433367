"""A condition of a cell means the same in a workflow file, or is not put into one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfkernel.plan.cel import condition_in_cel, list_in_cel
from wfkernel.plan.expression import ExpressionFailed, evaluate

NAMES = {
    "n": "inputs.n",
    "x": "inputs.x",
    "text": "steps.text",
    "rows": "steps.rows",
    "table": "steps.table",
    "yes": "inputs.yes",
}
VALUES: dict[str, Any] = {
    "n": 3,
    "x": 2.5,
    "text": "a 'b",
    "rows": [1, 2],
    "table": {"k": 3, "none": None},
    "yes": True,
}
FLAGS = frozenset(["yes"])

values = st.recursive(
    st.sampled_from(
        [
            *sorted(NAMES.keys() - FLAGS),
            "1",
            "2.5",
            "-3",
            "'a'",
            "None",
            "len(rows)",
            "table['k']",
            "table['none']",
            "rows[0]",
        ]
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=3,
)
comparisons = st.tuples(
    values, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not"]), values
).map(" ".join)
conditions = st.recursive(
    comparisons | st.sampled_from(["yes", "True", "1 < n < 5"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda p: f"({p[0]}){p[1]}({p[2]})")
        | inner.map(lambda one: f"not ({one})")
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=300)
@given(conditions)
def test_what_is_translated_means_the_same(source: str) -> None:
    translated = condition_in_cel(source, NAMES, FLAGS)
    if translated is None:
        return
    try:
        expected = eval(source, {}, dict(VALUES))
    except TypeError:
        return  # a mistake in both
    sees = {
        "inputs": {name: VALUES[name] for name in ("n", "x", "yes")},
        "steps": {name: VALUES[name] for name in ("text", "rows", "table")},
    }
    try:
        found = evaluate(translated, sees)
    except ExpressionFailed:
        return  # a condition of a file that CEL will not decide fails the step, and is not taken for false
    assert found is bool(expected), translated


@pytest.mark.parametrize(
    "source",
    [
        "rows",
        "n",
        "n + 1 > 3",
        "n / 2 > 1",
        "text.lower() == 'a'",
        "df.empty",
        "any(rows)",
        "unknown > 1",
        "rows[-1] > 1",
        "n is 3",
    ],
)
def test_what_means_something_else_is_not_translated(source: str) -> None:
    assert condition_in_cel(source, NAMES, FLAGS) is None


def test_lists_are_names_items_and_constants() -> None:
    assert list_in_cel("rows", NAMES) == "steps.rows"
    assert list_in_cel("table['k']", NAMES) == 'steps.table["k"]'
    assert list_in_cel("[1, n]", NAMES) == "[1, inputs.n]"
    assert list_in_cel("range(3)", NAMES) is None
