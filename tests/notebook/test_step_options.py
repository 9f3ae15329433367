"""`--when`, `--foreach`, `--timeout` and `--worker` on a step cell."""

from __future__ import annotations

import pytest


def sql(k, query: str) -> list[tuple]:
    return eval(k.value(f"__import__('wfkernel').open_store().query({query!r})[1]"))


class TestWhen:
    def test_a_step_is_skipped_where_its_condition_is_false(self, kernel):
        k = kernel()
        k.run("month = 1")
        result = k.run("%%step summer --when month in (6, 7) and 'a' == 'a'\nx = 1")
        assert result.status == "ok", result.text
        assert "skipped" in result.text
        assert k.value("'x' in globals()") == "False"
        assert sql(k, "SELECT step, status FROM steps") == [("summer", "skipped")]
        k.run("month = 7")
        k.run("%%step summer --when month in (6, 7) and 'a' == 'a'\nx = 1")
        assert k.value("x") == "1"

    def test_steps_below_say_that_it_was_skipped(self, kernel):
        k = kernel()
        k.run("%%step a --when False\nx = 1")
        result = k.run("%%step b\ny = x")
        assert result.error[0] == "StepWaiting"
        assert "skipped by its --when" in result.text

    def test_an_error_in_the_condition_is_shown(self, kernel):
        assert kernel().run("%%step a --when 1 / 0\nx = 1").error[0] == "ZeroDivisionError"


class TestForeach:
    CELL = "%%step fetch --foreach city in cities --concurrency 2\nopen('ran', 'a').write(city + ' ')\nname = city.upper()\nsize = len(city)"

    def test_what_the_body_binds_becomes_lists_in_the_order_of_the_items(self, kernel):
        k = kernel()
        k.run("cities = ['rome', 'oslo', 'bern', 'kyiv']")
        result = k.run(self.CELL)
        assert result.status == "ok", result.text
        assert k.value("name, size") == "(['ROME', 'OSLO', 'BERN', 'KYIV'], [4, 4, 4, 4])"
        assert k.run(self.CELL).restored

    def test_a_crash_costs_only_the_items_that_were_not_finished(self, kernel, tmp_path):
        cell = self.CELL + "\nimport time\nif city == 'bern' and len(open('ran').read().split()) <= 4: time.sleep(60)"
        cell = cell.replace("--concurrency 2", "--concurrency 1")
        k = kernel()
        k.run("cities = ['rome', 'oslo', 'bern', 'kyiv']")
        k.send(cell)
        while "bern" not in ((tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else ""):
            pass
        k.kill()
        (tmp_path / "ran").write_text("x x x x x ")
        k = kernel()
        k.run("cities = ['rome', 'oslo', 'bern', 'kyiv']")
        result = k.run(cell)
        assert result.status == "ok", result.text
        assert (tmp_path / "ran").read_text().split()[5:] == ["bern", "kyiv"]
        assert k.value("name") == "['ROME', 'OSLO', 'BERN', 'KYIV']"

    def test_a_failing_item_fails_the_step(self, kernel):
        k = kernel()
        result = k.run("%%step inverse --foreach n in [1, 2, 0, 4]\nvalue = 1 / n")
        assert result.error == ("ZeroDivisionError", "division by zero")
        statuses = dict(sql(k, "SELECT step, status FROM steps"))
        assert statuses["inverse"] == statuses["inverse[2]"] == "failed"
        assert statuses["inverse[0]"] == statuses["inverse[1]"] == "success"

    def test_no_items_give_empty_lists(self, kernel):
        k = kernel()
        assert k.run("%%step none --foreach n in []\nvalue = n").status == "ok"
        assert k.value("value") == "[]"

    @pytest.mark.parametrize("items", ["5", "str(1)", "{'a': 1}"])
    def test_what_is_no_list_is_refused(self, kernel, items):
        result = kernel().run(f"%%step s --foreach n in {items}\nvalue = n")
        assert result.error[0] == "DefinitionError"
        assert "--foreach needs a list of items" in result.text

    def test_items_run_at_the_same_time(self, kernel):
        k = kernel()
        k.run("import threading\nbarrier = threading.Barrier(3, timeout=20)")
        result = k.run(
            "%%step together --foreach n in [1, 2, 3] --concurrency 3 --in barrier\nbarrier.wait()\ndone = n"
        )
        assert result.status == "ok", result.text
        assert k.value("done") == "[1, 2, 3]"


class TestWorker:
    @pytest.mark.parametrize("worker", ["inline", "threads", "processes"])
    def test_the_body_runs_there_and_its_names_come_back(self, kernel, worker):
        k = kernel()
        k.run("import os\nbase = 40\ndef add(a, b):\n    return a + b")
        result = k.run(
            f"%%step far --worker {worker}\nvalue = add(base, 2)\nwhere = os.getpid()\nprint('printed')\nvalue"
        )
        assert result.status == "ok", result.text
        assert k.value("value") == "42"
        assert (k.value("where == os.getpid()") == "True") == (worker != "processes")
        assert "printed" in result.text
        assert "42" in result.text

    def test_write_and_suspend_work_from_another_process(self, kernel):
        k = kernel()
        k.run("from wfkernel import suspend, write")
        result = k.run("%%step ask --worker processes\nwrite('from afar')\nanswer = suspend(message='how many?')")
        assert result.error[0] == "RunSuspended"
        assert "from afar" in result.text
        k.run("%workflow resume --data 3")
        assert (
            k.run("%%step ask --worker processes\nwrite('from afar')\nanswer = suspend(message='how many?')").status
            == "ok"
        )
        assert k.value("answer") == "3"

    def test_a_process_that_dies_is_told_apart_from_an_exception(self, kernel):
        result = kernel().run("%%step die --worker processes\nimport os\nos._exit(7)")
        assert result.error[0] == "WorkerDied"
        assert "7" in result.text

    def test_an_error_is_the_steps_own(self, kernel):
        result = kernel().run("%%step bad --worker processes --retries 1 --delay 0\n1 / 0")
        assert result.error[0] == "ZeroDivisionError"

    def test_await_in_a_worker(self, kernel):
        k = kernel()
        result = k.run("%%step later --worker threads\nimport asyncio\nawait asyncio.sleep(0.01)\nz = 1")
        assert result.status == "ok", result.text
        assert k.value("z") == "1"


class TestTimeout:
    @pytest.mark.parametrize("options", ["", "--worker threads", "--worker processes"])
    def test_an_attempt_that_takes_too_long_fails(self, kernel, options):
        k = kernel()
        k.run("import time")
        result = k.run(f"%%step slow --timeout 0.3 {options}\ntime.sleep(30)", timeout=25)
        assert result.error[0] == "StepTimeout"
        assert "step 'slow' took longer than 0.3 s" in result.text
        assert k.value("1 + 1") == "2"

    def test_an_awaiting_body_is_stopped_too(self, kernel):
        result = kernel().run("%%step slow --timeout 0.3\nimport asyncio\nawait asyncio.sleep(30)", timeout=25)
        assert result.error[0] == "StepTimeout"

    def test_what_is_fast_enough_passes(self, kernel):
        k = kernel()
        assert k.run("%%step fast --timeout 20\nx = 1").status == "ok"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a --timeout 0", "must be more than 0 seconds"),
        ("a --worker moon", "--worker: 'moon' is not one of inline, threads"),
        ("a --foreach x of y", "is not 'NAME in EXPR'"),
        ("a --when x ==", "is not an expression"),
        ("a --concurrency 0", "--concurrency: '0' is not a whole number of 1 or more"),
    ],
)
def test_mistakes_are_one_line(kernel, line, words):
    result = kernel().run(f"%%step {line}\nx = 1")
    assert result.error[0] == "DefinitionError"
    assert words in result.text
