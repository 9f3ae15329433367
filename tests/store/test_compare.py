"""What differs between two runs, from what the store keeps."""

from __future__ import annotations

from wfkernel import Workflow, step
from wfkernel.notebook.rundiff import render_comparison_html, render_comparison_text
from wfkernel.store.compare import Change, compare_runs


def states(store, factor: int, *inputs: int):
    """Runs of load -> scale, where the code of `scale` holds `factor`."""

    @step
    def load(x: int) -> list[int]:
        return [x, 1]

    if factor == 2:

        @step(id="scale")
        def scale(x: list[int]) -> int:
            return sum(x) * 2
    else:

        @step(id="scale")
        def scale(x: list[int]) -> int:
            return sum(x) * 3

    wf = Workflow("w", input=int, store=store).then(load).then(scale).commit()
    return [store.load(wf.run(given).run_id) for given in inputs]


def test_the_same_work_differs_in_times_only(store):
    first, second = states(store, 2, 5, 5)
    compared = compare_runs(first, second)
    assert not compared.differs
    assert [step.step for step in compared.steps] == ["load", "scale"]
    assert all(seconds is not None for step in compared.steps for seconds in step.seconds)
    assert "nothing differs but times" in render_comparison_text(compared)


def test_other_values_are_shown_with_their_text(store):
    first, second = states(store, 2, 5, 6)
    compared = compare_runs(first, second)
    assert {step.step: step.values for step in compared.steps} == {
        "load": [Change("output", "[5, 1]", "[6, 1]")],
        "scale": [Change("output", "12", "14")],
    }
    text = render_comparison_text(compared)
    assert "output: [5, 1] → [6, 1]" in text
    assert f"{first.run_id} success → {second.run_id} success" in text
    assert "<strong>scale</strong>" in render_comparison_html(compared)


def test_other_code_is_told(store):
    (first,) = states(store, 2, 5)
    (second,) = states(store, 3, 5)
    load, scale = compare_runs(first, second).steps
    assert not load.code_changed
    assert not load.differs
    assert scale.values == [Change("output", "12", "18")]
