"""What a notebook or a workflow file is a template for, in words."""

from __future__ import annotations

import nbformat

from wfkernel.plan.load import check_text
from wfkernel.plan.template import file_template, notebook_template


def cell(source: str, *tags: str, markdown: bool = False) -> nbformat.NotebookNode:
    make = nbformat.v4.new_markdown_cell if markdown else nbformat.v4.new_code_cell
    return make(source, metadata={"tags": list(tags)})


def test_a_notebook_says_what_it_is_for_takes_and_does() -> None:
    cells = [
        cell("# Flight delays\n\nMean delay of each carrier.", markdown=True),
        cell("month: int = 3  # of 2013\ncarrier = 'AA'\ntoken: SecretStr = 'abc123'", "parameters"),
        cell("%%step load --retries 2\nflights = read(month)"),
        cell("%%step report\nprint(flights)"),
    ]
    assert notebook_template("delays", cells) == (
        "delays: Flight delays Mean delay of each carrier.\n"
        "inputs: month: int (of 2013), carrier: str, token: SecretStr\n"
        "steps: load, report"
    )


def test_a_notebook_without_inputs_is_no_template() -> None:
    assert notebook_template("plain", [cell("# Prose", markdown=True), cell("%%step a\nx = 1")]) == ""
    assert notebook_template("empty", [cell("# nothing declared", "parameters")]) == ""


def test_a_workflow_file_says_the_same() -> None:
    text = """
id: nightly
description: Counts and reports
tags: [daily, sales]
inputs: {month: {type: integer, default: 3, description: of the year}, region: string}
steps:
  - {id: fetch, run: [echo, hello]}
  - {map: 1}
  - {id: report, run: [echo, there]}
"""
    document = check_text(text, "n.wf.yaml").document
    assert document is not None
    assert file_template("n", document) == (
        "nightly: Counts and reports. daily, sales\n"
        "inputs: month: integer (of the year), region: string\n"
        "steps: fetch, report"
    )


def test_a_file_that_says_nothing_of_itself_goes_by_its_name() -> None:
    document = check_text("steps: [{id: a, run: [echo, hello]}]", "quiet.wf.yaml").document
    assert document is not None
    assert file_template("quiet", document) == "quiet\nsteps: a"
