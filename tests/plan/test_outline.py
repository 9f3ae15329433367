"""Reading a notebook's steps without running anything."""

from __future__ import annotations

import pytest

from wfkernel.errors import DefinitionError
from wfkernel.plan.cell import parse_cell, parse_line, split_cell
from wfkernel.plan.outline import find_cycle, outline
from wfkernel.plan.schema import check_schema, example_answer


class TestTheStepLine:
    def test_options(self):
        options = parse_line("clean --retries 2 --delay 0.5 --always --in a,b --out c")
        assert (options.name, options.retries, options.delay, options.always) == ("clean", 2, 0.5, True)
        assert (options.reads, options.binds) == (("a", "b"), ("c",))

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("", "NAME is missing. usage: %%step"),
            ("a b", "'b' is one word too many"),
            ("a --retries x", "--retries: 'x' is not a whole number of 0 or more"),
            ("a --retries -1", "--retries: '-1' is not a whole number"),
            ("a --retries", "--retries needs a value: --retries N"),
            ("a --retires 1", "there is no option '--retires', did you mean '--retries'?"),
            ("a --worker proceses", "not one of inline, threads, processes, dask, did you mean 'processes'?"),
            ("a --in 1x", "'1x' is not a name"),
            ("1a", "'1a' is not a step name"),
            ("a.b", "'a.b' is not a step name"),
            ("'open", "No closing quotation"),
        ],
    )
    def test_a_mistake_says_what_and_how(self, line, words):
        with pytest.raises(DefinitionError, match="%%step") as caught:
            parse_line(line)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value).strip()

    @pytest.mark.parametrize(
        "source", ["x = 1", "%%time\nx", "%%steps a\nx", "# %%step a\nx", "%%step?", "", "%%step a?\n"]
    )
    def test_other_cells_are_not_steps(self, source):
        assert split_cell(source) is None

    def test_leading_blank_lines_do_not_matter(self):
        assert split_cell("\n\n%%step a --always\nx = 1") == ("a --always", "x = 1")


class TestACell:
    def test_what_it_reads_and_binds(self):
        step = parse_cell("%%step s\ny = [x * k for x in xs]\n!ls\n%matplotlib inline", 4)
        assert (set(step.names.reads), set(step.names.binds), step.position) == ({"k", "xs"}, {"y"}, 4)

    def test_a_syntax_error_names_the_cells_own_line(self):
        with pytest.raises(DefinitionError, match=r"step 's' does not parse: .* \(line 3\)"):
            parse_cell("%%step s\nx = 1\ny = = 2")

    def test_the_code_digest_ignores_comments_but_not_meaning(self):
        code = [parse_cell(f"%%step s\n{body}").code for body in ("x = 1", "# why\nx  =  1", "x = 2")]
        assert code[0] == code[1] != code[2]


class TestNeeds:
    def test_come_from_the_nearest_cell_above(self):
        found = outline(["%%step a\nx = 1", "%%step b\nx = x + 1", "%%step c\ny = x", "%%step d\nz = 0"])
        assert found.needs() == {"a": [], "b": ["a"], "c": ["b"], "d": []}
        assert found.problems == []

    def test_changing_an_object_in_place_counts_as_binding_it(self):
        found = outline(["%%step a\ndf = f()", "%%step b\ndf['x'] = 1", "%%step c\nprint(df)", "def f(): ..."])
        assert found.needs()["c"] == ["b"]


class TestProblems:
    def problems(self, *sources: str) -> list[str]:
        return outline(sources).problems

    def test_a_name_nothing_defines(self):
        assert self.problems("import a", "%%step s\nx = a.b(missing)") == [
            "step 's' (cell 2) reads 'missing', which no step or cell defines: define it, or list what the step reads with --in"
        ]

    def test_a_name_bound_only_further_down(self):
        assert (
            "bound only further down, by step 'b' (cell 2): move that cell up"
            in self.problems("%%step a\ny = x", "%%step b\nx = 1")[0]
        )
        assert "bound only further down, in cell 2" in self.problems("%%step a\ny = x", "x = 1")[0]

    def test_a_cycle_with_its_path(self):
        assert self.problems("%%step a\nx = y", "%%step b\nz = x", "%%step c\ny = z") == [
            "step 'a' (cell 1): the steps need each other: a -> c -> b -> a"
        ]

    def test_two_steps_of_one_name(self):
        assert "two steps named 's' (cells 1 and 3)" in self.problems("%%step s\nx = 1", "pass", "%%step s\ny = 1")[0]

    def test_every_problem_is_reported_at_once(self):
        assert len(self.problems("%%step a --bad\nx=1", "%%step b\ny = = 1", "%%step c\nx = 1", "%%step c\nx = 1")) == 3

    @pytest.mark.parametrize(
        "sources",
        [
            ("from math import *", "%%step s\nx = pi"),
            ("%run other.py", "%%step s\nx = thing"),
            ("%%sql result <<\nselect 1", "%%step s\nx = result"),
            ("%%step s\nif False:\n    x = never",),
            ("%%step s\ntry:\n    x = maybe\nexcept NameError:\n    x = 1",),
            ("%%step s\ndef f():\n    return later_on",),
            ("import os", "%%step s\nx = os.getcwd()\nprint(x, __name__)"),
        ],
    )
    def test_nothing_is_refused_that_might_work(self, sources):
        assert self.problems(*sources) == []


def test_find_cycle():
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, "a") == ["a", "b", "c", "a"]
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["b"]}, "a") == []


class TestAnswers:
    SCHEMA = {
        "type": "object", "required": ["approve", "who"],
        "properties": {"approve": {"type": "boolean"}, "limit": {"type": "integer", "maximum": 10},
                       "who": {"$ref": "#/$defs/Who"}},
        "$defs": {"Who": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
    }  # fmt: skip

    def test_every_field_that_does_not_fit_is_named(self):
        assert check_schema(self.SCHEMA, {"limit": 11, "who": {}}) == [
            ("approve", "Field required"),
            ("limit", "11 is greater than the maximum of 10"),
            ("who.name", "Field required"),
        ]
        assert check_schema(self.SCHEMA, {"approve": True, "who": {"name": "me"}}) == []
        assert check_schema({}, object()) == []

    def test_an_example_fits(self):
        example = example_answer(self.SCHEMA)
        assert example == {"approve": True, "who": {"name": "..."}}
        assert check_schema(self.SCHEMA, example) == []
