"""The same call on each worker: same result, same exception, same calls on the step. Only the timing differs."""

from __future__ import annotations

import asyncio
import sys
import traceback
from pathlib import Path

import pytest

from tests.workers import steps
from tests.workers.conftest import appeared, run
from tests.workers.steps import Decision, RecordingStep
from wfkernel.engine.context import current_step
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import StepStopped
from wfkernel.errors import DefinitionError, RunSuspended
from wfkernel.workers.shipping import RemoteStepError

CANNOT_REBUILD = {"processes", "dask"}


@pytest.mark.parametrize("function", [steps.add, steps.add_slowly])
def test_functions_and_coroutines_give_their_result(worker, function):
    assert asyncio.run(run(worker, function, 40, b=2)) == 42


def test_functions_that_no_module_holds_are_executed(worker):
    offset = 10

    class Local:
        def __init__(self, value):
            self.value = value

    result = asyncio.run(run(worker, lambda given: Local(given.value + offset), Local(1)))
    assert (type(result), result.value) == (Local, 11)


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_arrays_and_frames_arrive_whole_and_can_be_changed(worker, size):
    import numpy as np
    import pandas as pd

    def work(array, frame):
        array[...] += 1
        return array, frame.assign(text=frame["n"].astype(str) + "x")

    frame = pd.DataFrame({"n": range(size)})
    array, changed = asyncio.run(run(worker, work, np.zeros((size, 3)), frame))
    assert array.shape == (size, 3)
    assert (array == 1).all()
    array += 1  # what came back belongs to the caller
    pd.testing.assert_frame_equal(changed, frame.assign(text=frame["n"].astype(str) + "x"))


@pytest.mark.parametrize("function", [steps.talk, steps.talk_async])
def test_what_a_step_writes_arrives_in_order_and_before_the_result(worker, function):
    step = RecordingStep()
    assert asyncio.run(run(worker, function, 200, step=step)) == "said"
    assert [told for told in step.told if told[0] == "write"] == [("write", f"line {n}") for n in range(200)]
    if function is steps.talk:
        assert step.told[:2] == [("write", "line 0"), ("progress", 1, 200, "talking")]
        assert step.told[-1] == ("progress", 200, 200, "talking")


def test_what_a_step_writes_arrives_while_it_runs(worker, file):
    def write_and_wait(go):
        from wfkernel import write

        write("first")
        return steps.note_and_wait(go + ".notes", go)

    async def scenario():
        step = RecordingStep()
        running = asyncio.ensure_future(run(worker, write_and_wait, file("go"), step=step))
        while not step.told:
            await asyncio.sleep(0.01)
        Path(file("go")).touch()
        return await running

    if worker.name == "inline":
        Path(file("go")).touch()  # a function that blocks the loop: nobody can let it go on later
    assert asyncio.run(scenario()) == "done"


def test_printed_text_is_printed_here(worker, capfd):
    step = RecordingStep()
    asyncio.run(run(worker, steps.print_all, step=step))
    out, err = capfd.readouterr()
    assert (out, err) == ("to stdout: äöü ✓\nno newline", "to stderr\n")
    assert step.told == [("write", "between")]


def test_printed_text_is_printed_in_the_context_of_its_step(worker, monkeypatch):
    printed = []

    class ByStep:
        def write(self, text):
            printed.append((current_step().path, text))

        def flush(self):
            pass

        def __getattr__(self, name):
            return getattr(sys.__stdout__, name)

    async def scenario():
        return await asyncio.gather(*(run(worker, print, "x", step=RecordingStep(path)) for path in "ab"))

    asyncio.run(run(worker, steps.add, 1))  # a Dask worker of this process would take over sys.stdout here
    monkeypatch.setattr(sys, "stdout", ByStep())
    asyncio.run(scenario())
    text = {path: "".join(t for p, t in printed if p == path) for path in "ab"}
    assert text == {"a": "x\n", "b": "x\n"}


def test_suspend_without_an_answer_suspends(worker):
    step = RecordingStep("approve")
    with pytest.raises(RunSuspended, match="step 'approve' suspended the run: really\\?"):
        asyncio.run(run(worker, steps.ask_twice, step=step))
    assert step.told == [("answer", Decision, "really?", {"rows": 3})]


def test_suspend_returns_the_answers_in_order(worker):
    step = RecordingStep("approve", answers=[{"approve": True}, 12])
    result = asyncio.run(run(worker, steps.ask_twice, step=step))
    assert result == (Decision(approve=True), 12)
    assert type(result[0]) is Decision
    assert [told[2] for told in step.told] == ["really?", "how many?"]


def test_an_answered_question_is_followed_by_the_next_one(worker):
    step = RecordingStep("approve", answers=[{"approve": False}])
    with pytest.raises(RunSuspended, match="how many"):
        asyncio.run(run(worker, steps.ask_twice, step=step))
    assert [told[2] for told in step.told] == ["really?", "how many?"]


def test_an_answer_that_does_not_fit_suspends_again(worker):
    step = RecordingStep("approve", answers=[{"approve": "perhaps"}])
    with pytest.raises(RunSuspended, match=r"really\? .*approve: Input should be a valid boolean"):
        asyncio.run(run(worker, steps.ask_twice, step=step))


def test_a_function_that_goes_on_after_a_suspension_has_the_last_word(worker):
    assert asyncio.run(run(worker, steps.ask_and_survive)) == "went on"


@pytest.mark.parametrize(
    ("kind", "type_", "text"),
    [("plain", KeyError, "'who'"), ("chain", ValueError, "outer"), ("custom", steps.CustomError, "custom (7)")],
)
def test_exceptions_keep_their_type_and_text(worker, kind, type_, text):
    with pytest.raises(type_) as caught:
        asyncio.run(run(worker, steps.fail, kind))
    assert type(caught.value) is type_
    assert str(caught.value) == text


def test_exceptions_keep_attributes_causes_and_notes(worker):
    with pytest.raises(steps.CustomError) as custom:
        asyncio.run(run(worker, steps.fail, "custom"))
    assert custom.value.code == 7
    with pytest.raises(ValueError, match="outer") as chained:
        asyncio.run(run(worker, steps.fail, "chain"))
    assert isinstance(chained.value.__cause__, KeyError)
    with pytest.raises(RuntimeError) as noted:
        asyncio.run(run(worker, steps.fail, "note"))
    assert noted.value.__notes__ == ["look here"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("b'\\xff'.decode()", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ("compile('1 +', 'cell', 'exec')", "invalid syntax (cell, line 1)"),
        ("open('/there/is/nothing')", "[Errno 2] No such file or directory: '/there/is/nothing'"),
        (
            "__import__('json').loads('{')",
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
    ],
)
def test_exceptions_of_python_itself_keep_their_text(worker, source, text):
    with pytest.raises((ValueError, SyntaxError, OSError)) as caught:
        asyncio.run(run(worker, eval, source))
    assert str(caught.value) == text


def test_tracebacks_show_the_line_that_failed(worker):
    with pytest.raises(KeyError) as caught:
        asyncio.run(run(worker, steps.fail, "plain"))
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.name, last.line) == (steps.__file__, "fail", 'raise KeyError("who")')


def test_an_exception_that_cannot_travel_is_told_in_full(worker):
    expected = RemoteStepError if worker.name in CANNOT_REBUILD else steps.Unpicklable
    with pytest.raises(expected, match="it holds a lock") as caught:
        asyncio.run(run(worker, steps.fail, "unpicklable"))
    if expected is RemoteStepError:
        assert caught.value.type_name == "tests.workers.steps.Unpicklable"
        assert "raise Unpicklable" in "".join(traceback.format_exception(caught.value))


def test_a_stop_iteration_does_not_hang_the_run(worker):
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(run(worker, steps.fail, "stop"))


def test_sys_exit_in_a_step_is_an_exception_not_a_death(worker):
    async def scenario():
        with pytest.raises(SystemExit) as caught:
            await run(worker, steps.fail, "exit")
        return caught.value.code

    assert asyncio.run(scenario()) == 4


def test_a_set_signal_keeps_a_call_from_beginning(worker, file):
    signal = CancelSignal()
    signal.set("the run was canceled")
    with pytest.raises(StepStopped, match="step 'step' was not begun: the run was canceled"):
        asyncio.run(run(worker, steps.wait_for_signal, file("begun"), signal=signal))
    with pytest.raises(FileNotFoundError):
        Path(file("begun")).read_text()


def test_a_step_hears_its_signal_and_has_the_last_word(worker, file):
    async def scenario(function, begun, *given):
        signal = CancelSignal()
        running = asyncio.ensure_future(
            run(worker, function, begun, *([signal] if function is steps.await_signal else []), signal=signal)
        )
        await appeared(begun)
        signal.set("enough")
        return await running

    assert asyncio.run(scenario(steps.await_signal, file("one"))) == "True: enough"
    if worker.name != "inline":  # there, a function that blocks keeps everybody from setting the signal
        assert asyncio.run(scenario(steps.wait_for_signal, file("two"))) == "True: enough"


def test_generators_are_for_the_inline_worker(worker):
    if worker.name == "inline":
        assert list(asyncio.run(run(worker, steps.yield_some))) == [1, 2]
    else:
        with pytest.raises(DefinitionError, match="yields its results one by one"):
            asyncio.run(run(worker, steps.yield_some))


def test_a_worker_serves_one_event_loop_after_the_other_and_many_calls_at_once(worker):
    async def scenario():
        return await asyncio.gather(*(run(worker, steps.add_slowly, n) for n in range(20)))

    assert asyncio.run(scenario()) == asyncio.run(scenario()) == list(range(1, 21))


def test_a_step_as_an_argument_is_the_running_step_wherever_it_runs(worker):
    step = RecordingStep("ctx", answers=["yes"])
    assert asyncio.run(run(worker, steps.use_context, 3, ctx=step, step=step)) == ("ctx", "the-run", "yes")
    assert step.told == [
        ("write", "by ctx"),
        ("custom", {"type": "mine", "rows": 3}),
        ("set_state", {"rows": 3}),
        ("progress", 1, 2, "half"),
        ("answer", None, "sure?", None),
    ]


def test_what_a_step_has_only_here_is_refused_there(worker):
    step = RecordingStep()
    text = (
        "'step_result' of a step cannot be used in another process" if worker.name in CANNOT_REBUILD else "no attribute"
    )
    with pytest.raises(AttributeError, match=text):
        asyncio.run(run(worker, steps.look_around, step, step=step))
