"""Steps that need each other are drawn: under the line that says so, whichever cell said it.

The error may come from the builder, from a workflow file, from a composition or from a step's cell; each carries the graph
(`DefinitionError.circular`), and IPython tells after every cell what it ended with.
"""

from __future__ import annotations

from typing import Any

from IPython.display import display

from wfkernel.errors import DefinitionError
from wfkernel.plan.chart import chart_of_circles
from wfkernel.plan.diagram import mermaid_of_chart
from wfkernel.plan.picture import svg

__all__ = ["draw_circles"]


def draw_circles(result: Any) -> None:
    """For IPython's ``post_run_cell``: draw the graph an error of the cell is about."""
    error = result.error_in_exec
    if isinstance(error, DefinitionError) and error.circular is not None:
        chart = chart_of_circles(error.circular)
        display({"image/svg+xml": svg(chart), "text/plain": mermaid_of_chart(chart)}, raw=True)
