"""What a `parameters` cell declares, and what fits it."""

from __future__ import annotations

import pytest

from wfkernel.errors import DefinitionError
from wfkernel.plan.inputs import check_parameters, declared_inputs, parameter_from_text

CELL = """\
from typing import Literal
month: int = 1  # the month of 2013
carrier: Literal["AA", "UA"]  # needed
limit: int | None = None
threshold = 0.5  # type: float below this nothing counts
rows = 10
tags: list[str] = [
    "a",  # not this
]  # labels
day: datetime.date = datetime.date(2013, 1, 1)
code = "007"
print("not an input")
"""
INPUTS = {one.name: one for one in declared_inputs(CELL)}


def check(**given):
    check_parameters("nb.ipynb", INPUTS.values(), {"carrier": "AA", **given})


def test_names_types_defaults_and_comments():
    assert [(i.name, i.type, i.default, i.comment) for i in INPUTS.values()] == [
        ("month", "int", "1", "the month of 2013"),
        ("carrier", "Literal['AA', 'UA']", None, "needed"),
        ("limit", "int | None", "None", ""),
        ("threshold", "float", "0.5", "below this nothing counts"),
        ("rows", "int", "10", ""),
        ("tags", "list[str]", "['a']", "labels"),
        ("day", "datetime.date", "datetime.date(2013, 1, 1)", ""),
        ("code", "str", "'007'", ""),
    ]


def test_papermill_says_the_same_where_it_understands_the_cell():
    from nbformat.v4 import new_code_cell
    from papermill.translators import PythonTranslator

    simple = "month: int = 1  # the month\nname = 'x'\nthreshold = 0.5  # type: float low"
    theirs = PythonTranslator.inspect(new_code_cell(simple))
    ours = declared_inputs(simple)
    assert [(p.name, p.default, p.help) for p in theirs] == [(i.name, i.default, i.comment) for i in ours]


@pytest.mark.parametrize(
    "given",
    [{"month": 3}, {"limit": 4}, {"limit": None}, {"threshold": 1}, {"rows": 2.5}, {"tags": []}, {"day": "2013-02-01"}],
)
def test_values_that_fit(given):
    check(**given)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"month": "abc"}, "nb.ipynb: parameter 'month' is int, not \"abc\": Input should be a valid integer"),
        ({"month": True}, "parameter 'month' is int, not true"),
        ({"carrier": "DL"}, "is Literal['AA', 'UA'], not \"DL\": Input should be 'AA' or 'UA'"),
        ({"limit": "many"}, "parameter 'limit' is int | None, not \"many\""),
        ({"rows": "ten"}, "parameter 'rows' is int, not \"ten\""),
        ({"tags": ["a", 3]}, "parameter 'tags' is list[str], not [\"a\", 3]: [1]: Input should be a valid string"),
        ({"mnth": 3}, "nb.ipynb has no parameter 'mnth', did you mean 'month'? it declares month, carrier"),
        ({"xyz": 3}, "nb.ipynb has no parameter 'xyz': it declares month, carrier"),
    ],
)
def test_what_does_not_fit_is_one_line(given, line):
    with pytest.raises(DefinitionError) as refused:
        check(**given)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_input_without_a_default_must_be_given():
    with pytest.raises(DefinitionError, match=r"'carrier' .* has no default and must be given"):
        check_parameters("nb.ipynb", INPUTS.values(), {})


def test_a_notebook_without_the_cell_takes_nothing():
    with pytest.raises(DefinitionError, match="has no cell tagged 'parameters'"):
        check_parameters("nb.ipynb", declared_inputs(""), {"month": 1})


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [("3", "month", 3), ("7", "code", "7"), ("007", "code", "007"), ('"7"', "code", "7"), ("abc", "month", "abc"),
     ("null", "limit", None), ("2013-02-01", "day", "2013-02-01"), ("[1]", "unknown", [1])],
)  # fmt: skip
def test_text_of_a_command_line_becomes_what_is_declared(text, name, value):
    assert parameter_from_text(text, INPUTS.get(name)) == value


def test_looking_runs_nothing():
    assert declared_inputs("x: __import__('os').system('touch ran') = 1")[0].type.startswith("__import__")
