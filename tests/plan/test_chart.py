"""The plan as boxes and arrows, and where the boxes are put."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from wfkernel import Workflow, step
from wfkernel.plan.chart import chart_of_circles, chart_of_needs, chart_of_plan, chart_of_spans, needs_of
from wfkernel.plan.diagram import mermaid_of_chart
from wfkernel.plan.graph import batches, circular
from wfkernel.plan.picture import batches_of, svg
from wfkernel.plan.placing import HEIGHT, WIDTHS, place


@step
def a(x: Any) -> Any:
    return x


@step
def b(x: Any) -> Any:
    return x


def arrows(level: Any) -> list[tuple[str, ...]]:
    paths = [box["path"] for box in level["boxes"]]
    return [(paths[one], paths[other], *words) for one, other, *words in level["arrows"]]


def test_every_construct_of_a_plan_is_a_box_with_the_path_its_results_are_kept_under():
    inner = Workflow("inner").then(a).commit()
    plan = (
        Workflow("w").then(a).parallel(b, inner).branch((lambda v: True, clone("yes")), (lambda v: False, clone("no")))
        .map(lambda v: [1], id="pick").foreach(inner).do_while(clone("again"), lambda v: False).sleep(0).commit()
    )  # fmt: skip
    chart = chart_of_plan(plan)
    kinds = {box["path"]: box["kind"] for box in chart[""]["boxes"]}
    assert kinds["a"] == "step"
    assert kinds["inner"] == "nested"
    assert kinds["pick"] == "map"
    assert {"branch", "foreach", "loop", "sleep"} <= set(kinds.values())
    assert ("a", "b") in arrows(chart[""])
    opened = {box["opens"] for box in chart[""]["boxes"] if "opens" in box}
    assert opened == chart.keys() - {""}
    assert [box["path"] for box in chart["inner."]["boxes"]] == ["inner.a"]


def clone(name: str) -> Any:
    @step(id=name)
    def made(x: Any) -> Any:
        return x

    return made


def test_the_arms_of_a_branch_are_named_as_its_decision_names_them():
    plan = Workflow("w").branch((lambda v: True, clone("yes")), (lambda v: False, clone("no"))).commit()
    [yes, no] = arrows(chart_of_plan(plan)[""])
    assert (yes[2], no[2]) == ("yes", "no")


def test_steps_that_pass_values_by_name_hang_on_the_last_to_bind_it():
    needs = needs_of([("load", [], ["x"]), ("clean", ["x"], ["x"]), ("plot", ["x"], [])])
    assert needs == {"load": [], "clean": ["load"], "plot": ["clean"]}
    assert arrows(chart_of_needs(needs)[""]) == [("load", "clean"), ("clean", "plot")]


def test_what_happened_is_drawn_from_each_end_to_what_began_next():
    chart = chart_of_spans({"a": (0, 1), "b": (1, 2), "c": (1.1, 3), "d": (3.1, None)})
    assert arrows(chart[""]) == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


def test_a_plan_is_placed_from_left_to_right():
    level = place(chart_of_plan(Workflow("w").then(a).then(b).commit())[""])
    (x1, y1), (x2, y2) = level["at"]
    assert x2 > x1 + WIDTHS["step"]
    assert y1 == y2


graphs = st.integers(1, 25).flatmap(
    lambda n: st.tuples(*[st.sets(st.integers(0, i - 1), max_size=3) if i else st.just(set()) for i in range(n)])
)


@settings(deadline=None)
@given(graphs)
def test_no_box_lies_on_another_and_every_arrow_points_to_the_right(needs: tuple[set[int], ...]):
    level = place(chart_of_needs({str(i): [str(one) for one in sorted(ones)] for i, ones in enumerate(needs)})[""])
    at, width = level["at"], WIDTHS["step"]
    for i, (x, y) in enumerate(at):
        assert 0 <= x <= level["size"][0] - width
        assert 0 <= y <= level["size"][1] - HEIGHT
        for u, v in at[:i]:
            assert abs(x - u) >= width or abs(y - v) >= HEIGHT
    assert all(at[one][0] + width <= at[other][0] for one, other in level["arrows"])


circular_graphs = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, n - 1), max_size=3, unique=True) for _ in range(n)])
)


@settings(deadline=None, max_examples=60)
@given(circular_graphs)
def test_steps_that_need_each_other_are_drawn_with_what_leads_in_a_circle_marked(needs: tuple[list[int], ...]):
    graph = {str(i): [str(one) for one in ones] for i, ones in enumerate(needs)}
    found = circular(graph)
    if found is None:
        batches(graph)  # raises where there is a circle
        return
    for circle in found.circles:
        assert circle[0] == circle[-1]
        assert all(needed in graph[step] for step, needed in pairwise(circle))
    chart = chart_of_circles(found)
    marked = {arrows(chart[""])[number] for number in chart[""]["circle"]}
    assert marked == {(needed, step) for circle in found.circles for step, needed in pairwise(circle)}
    drawn = ElementTree.fromstring(svg(chart))
    assert len(drawn.findall(".//*[@class='circle']")) == len(marked)
    [style] = [line for line in mermaid_of_chart(chart).splitlines() if "linkStyle" in line]
    assert [int(number) for number in style.split()[1].split(",")] == chart[""]["circle"]
    assert batches_of(chart) == []
