"""A `%%step` cell is a plain cell that is remembered."""

from __future__ import annotations

import pytest

RAN = "open('ran', 'a').write('{0} ')\n"


def ran(tmp_path) -> list[str]:
    """Names of the steps whose bodies were executed, in order."""
    file = tmp_path / "ran"
    return file.read_text().split() if file.exists() else []


def step(name: str, body: str, options: str = "") -> str:
    return f"%%step {name} {options}\n{RAN.format(name)}{body}"


class TestLikeAPlainCell:
    def test_runs_in_the_users_namespace(self, kernel):
        k = kernel()
        k.run("a = 20")
        assert k.run("%%step add\nb = a + 1").status == "ok"
        assert k.value("b") == "21"

    def test_shows_prints_and_the_last_expression(self, kernel):
        k = kernel()
        result = k.run("%%step show\nprint('printed')\nx = 5\nx * 2")
        kinds = [o["type"] for o in result.outputs]
        assert "execute_result" in kinds
        assert "printed" in result.text
        assert "10" in result.text
        assert k.value("_") == "10"

    def test_a_semicolon_hides_the_last_expression(self, kernel):
        result = kernel().run("%%step quiet\nx = 5\nx * 2;")
        assert "execute_result" not in [o["type"] for o in result.outputs]

    def test_await_at_top_level(self, kernel):
        k = kernel()
        result = k.run("%%step later\nimport asyncio\nawait asyncio.sleep(0.01)\nz = 'awaited'\nz")
        assert result.status == "ok", result.text
        assert "awaited" in result.text
        assert k.value("z") == "'awaited'"

    def test_an_error_has_the_cells_own_line_numbers_and_no_frame_of_ours(self, kernel):
        result = kernel().run("%%step broken\nx = 1\n\ndef f():\n    return x / 0\n\nf()")
        assert result.error[0] == "ZeroDivisionError"
        assert "----> 7 f()" in result.text
        assert "5     return x / 0" in result.text
        assert "wfkernel/" not in result.text
        assert "contextlib" not in result.text

    def test_debug_magic_enters_the_failed_frame(self, kernel):
        k = kernel()
        k.run("%%step broken\ninside = 41\n1 / 0")
        frames = "[f for f, _ in __import__('traceback').walk_tb(__import__('sys').last_traceback)]"
        assert k.value(frames + "[-1].f_globals['inside']") == "41"
        assert k.value("__import__('sys').last_value.__class__.__name__") == "'ZeroDivisionError'"

    def test_a_syntax_error_is_pythons_own(self, kernel):
        result = kernel().run("%%step bad\nx = = 1")
        assert result.error[0] == "SyntaxError"

    @pytest.mark.parametrize("body", ["break", "return 1", "continue", "yield 1"])
    def test_what_python_refuses_in_a_cell_is_refused_in_a_step(self, kernel, body):
        assert kernel().run(f"%%step bad\nx = 1\n{body}").error[0] == "SyntaxError"

    def test_ipython_syntax_works_in_the_body(self, kernel):
        k = kernel()
        result = k.run("%%step shell\nwords = !echo one two\n%time y = 3")
        assert result.status == "ok", result.text
        assert k.value("list(words)") == "['one two']"

    def test_future_imports_stay_first(self, kernel):
        result = kernel().run("%%step future\nfrom __future__ import annotations\ndef f(x: Unknown): ...\nok = f")
        assert result.status == "ok", result.text

    def test_help_of_the_magic(self, kernel):
        k = kernel()
        reply_id = k.client.inspect("%%step")
        reply = k._reply(reply_id)
        assert "--retries" in reply["data"]["text/plain"]

    def test_nothing_of_ours_is_left_in_the_namespace(self, kernel):
        k = kernel()
        before = set(eval(k.value("sorted(globals())")))
        k.run("%%step one\nx = 1")
        after = set(eval(k.value("sorted(globals())")))
        assert {n for n in after - before if not n.startswith("_")} == {"x"}


class TestRestoring:
    def test_a_finished_step_is_not_executed_again_in_a_new_kernel(self, kernel, tmp_path):
        cells = ["seed = 3", step("load", "data = list(range(seed))"), step("total", "result = sum(data)")]
        first = kernel()
        for cell in cells:
            assert first.run(cell).status == "ok"
        first.close()
        second = kernel()
        results = [second.run(cell) for cell in cells]
        assert [r.restored for r in results] == [False, True, True]
        assert "restored" in results[1].text
        assert second.value("data, result") == "([0, 1, 2], 3)"
        assert ran(tmp_path) == ["load", "total"]

    def test_changed_code_runs_again_and_so_does_what_depends_on_it(self, kernel, tmp_path):
        k = kernel()
        for cell in (step("a", "x = 1"), step("b", "y = x + 1"), step("c", "z = 10")):
            k.run(cell)
        for cell in (step("a", "x = 2"), step("b", "y = x + 1"), step("c", "z = 10")):
            k.run(cell)
        assert ran(tmp_path) == ["a", "b", "c", "a", "b"]
        assert k.value("y") == "3"

    def test_a_changed_step_that_gives_the_same_value_changes_nothing_below(self, kernel, tmp_path):
        k = kernel()
        for cell in (step("a", "x = 2"), step("b", "y = x + 1"), step("a", "x = 1 + 1"), step("b", "y = x + 1")):
            k.run(cell)
        assert ran(tmp_path) == ["a", "b", "a"]

    def test_comments_and_formatting_are_not_changes(self, kernel, tmp_path):
        k = kernel()
        k.run(step("a", "x = [1, 2]"))
        assert k.run(step("a", "# a comment\nx = [1,2]   # another")).restored
        assert ran(tmp_path) == ["a"]

    def test_a_changed_parameter_from_a_plain_cell_runs_the_step_again(self, kernel, tmp_path):
        k = kernel()
        for month in (1, 1, 2):
            k.run(f"month = {month}")
            k.run(step("load", "data = month * 10"))
        assert ran(tmp_path) == ["load", "load"]
        assert k.value("data") == "20"

    def test_a_changed_helper_function_runs_the_step_again(self, kernel, tmp_path):
        k = kernel()
        for body in ("v + 1", "v + 1  # same", "v + 2"):
            k.run(f"def helper(v):\n    return {body}")
            k.run(step("use", "out = helper(1)"))
        assert ran(tmp_path) == ["use", "use"]
        assert k.value("out") == "3"

    def test_always_executes_regardless(self, kernel, tmp_path):
        k = kernel()
        for _ in range(2):
            k.run(step("a", "x = 1", "--always"))
        assert ran(tmp_path) == ["a", "a"]

    def test_in_and_out_override_what_was_inferred(self, kernel, tmp_path):
        k = kernel()
        k.run("a = 1; noise = 1")
        cell = step("s", "b = a + noise * 0\ntemp = object()", "--in a --out b")
        k.run(cell)
        k.run("noise = 2")
        assert k.run(cell).restored
        assert ran(tmp_path) == ["s"]

    def test_deleted_names_are_deleted_by_a_restore(self, kernel):
        k = kernel()
        k.run("%%step make\nbig = [1]\nsmall = 2\ndel big")
        k.run("big = 'again'")
        assert k.run("%%step make\nbig = [1]\nsmall = 2\ndel big").restored
        assert k.value("'big' in globals()") == "False"

    def test_names_sharing_an_object_come_back_sharing_it(self, kernel):
        cell = "%%step share\na = [1]\nb = a\nc = {'inner': a}"
        first = kernel()
        first.run(cell)
        first.close()
        second = kernel()
        assert second.run(cell).restored
        assert second.value("a is b and c['inner'] is a") == "True"

    def test_a_new_run_executes_everything(self, kernel, tmp_path):
        k = kernel()
        k.run(step("a", "x = 1"))
        assert k.run("%workflow new").status == "ok"
        k.run(step("a", "x = 1"))
        assert ran(tmp_path) == ["a", "a"]


class TestChangingInPlace:
    def test_storing_into_an_input_counts_as_binding_it(self, kernel, tmp_path):
        cells = [
            "import pandas as pd",
            step("load", "df = pd.DataFrame({'a': [1, 2]})"),
            step("widen", "df['b'] = df['a'] * 2"),
            step("sum", "total = int(df['b'].sum())"),
        ]
        first = kernel()
        for cell in cells:
            assert first.run(cell).status == "ok"
        first.close()
        second = kernel()
        results = [second.run(cell) for cell in cells]
        assert [r.restored for r in results] == [False, True, True, True]
        assert second.value("list(df.columns), total") == "(['a', 'b'], 6)"

    def test_running_such_a_cell_twice_does_not_apply_it_twice(self, kernel):
        k = kernel()
        k.run("%%step start\nnumbers = [1]")
        for _ in range(2):
            k.run("%%step grow\nnumbers.append(2)")
        assert k.value("numbers") == "[1, 2]"

    def test_editing_such_a_cell_starts_from_the_value_above(self, kernel):
        k = kernel()
        k.run("%%step start\nx = 1")
        k.run("%%step grow\nx = x + 10")
        k.run("%%step grow\nx = x + 100")
        assert k.value("x") == "101"

    def test_a_change_by_a_plain_cell_is_noticed(self, kernel, tmp_path):
        k = kernel()
        k.run(step("make", "settings = {'a': 1}"))
        k.run(step("use", "out = dict(settings)"))
        k.run("settings['a'] = 2")
        k.run(step("use", "out = dict(settings)"))
        assert ran(tmp_path) == ["make", "use", "use"]
        assert k.value("out") == "{'a': 2}"


class TestWhatCannotBeSaved:
    CELLS = [
        "import threading",
        step("connect", "lock = threading.Lock()\nn = 1"),
        step("use", "kind = type(lock).__name__"),
    ]

    def test_it_does_not_fail_the_step_and_says_why(self, kernel):
        k = kernel()
        for cell in self.CELLS:
            result = k.run(cell)
            assert result.status == "ok", result.text
        rows = eval(
            k.value("__import__('wfkernel').open_store().query(\"SELECT name, why_not_saved FROM step_values "
                    "WHERE step = 'connect' ORDER BY name\")[1]")
        )  # fmt: skip
        assert rows[0][0] == "lock"
        assert "pickle" in rows[0][1]
        assert rows[1] == ("n", None)

    def test_the_step_runs_again_only_when_somebody_needs_the_value(self, kernel, tmp_path):
        first = kernel()
        for cell in self.CELLS:
            first.run(cell)
        first.close()
        second = kernel()
        for cell in self.CELLS:
            assert second.run(cell).status == "ok"
        assert ran(tmp_path) == ["connect", "use"]  # nobody needed it: `use` was restored
        second.run(step("other", "again = lock.locked()"))
        assert ran(tmp_path) == ["connect", "use", "connect", "other"]

    def test_a_plain_cell_gets_it_too(self, kernel, tmp_path):
        first = kernel()
        for cell in self.CELLS[:2]:
            first.run(cell)
        first.close()
        second = kernel()
        for cell in self.CELLS[:2]:
            second.run(cell)
        assert second.run("lock.locked()").text.endswith("False")
        assert ran(tmp_path) == ["connect", "connect"]


class TestRetries:
    FLAKY = "%%step flaky --retries 2 --delay 0\nopen('tries', 'a').write('x')\nif len(open('tries').read()) < {0}:\n    raise OSError('not yet')\nvalue = 'there'"

    def test_runs_again_after_an_error(self, kernel, tmp_path):
        k = kernel()
        result = k.run(self.FLAKY.format(3))
        assert result.status == "ok", result.text
        assert result.error is None
        assert k.value("value") == "'there'"
        outcomes = k.value(
            "[r[0] for r in __import__('wfkernel').open_store().query('SELECT outcome FROM attempts')[1]]"
        )
        assert outcomes == "['failed', 'failed', 'success']"

    def test_gives_up_after_the_last(self, kernel, tmp_path):
        result = kernel().run(self.FLAKY.format(9))
        assert result.error == ("OSError", "not yet")
        assert len((tmp_path / "tries").read_text()) == 3


class TestMistakes:
    """One line: what, where, what to do. Nothing is executed and nothing is lost."""

    def refused(self, k, source: str, *words: str) -> str:
        result = k.run(source)
        assert result.status == "error"
        assert len(result.text.strip().splitlines()) == 1, result.text
        for word in words:
            assert word in result.text
        return result.text

    def test_an_unknown_option(self, kernel):
        self.refused(
            kernel(),
            "%%step clean --retires 2\nx = 1",
            "DefinitionError",
            "no option '--retires'",
            "did you mean '--retries'?",
        )

    def test_no_name(self, kernel):
        self.refused(kernel(), "%%step\nx = 1", "NAME is missing", "usage: %%step")

    def test_a_name_nothing_defines(self, kernel):
        self.refused(kernel(), "%%step use\ny = nowhere + 1", "'nowhere'", "no step or cell defines")

    def test_a_star_import(self, kernel):
        self.refused(kernel(), "%%step all\nfrom math import *", "math", "import the names")

    def test_two_cells_with_one_name(self, kernel):
        k = kernel(live=True)
        k.run("%%step same\nx = 1", cell_id="one")
        self.refused(k, "%%step same\ny = 1", "two steps named 'same'")

    def test_renaming_a_cell_is_not_a_second_step(self, kernel):
        k = kernel(live=True)
        k.run("%%step old\nx = 1", cell_id="one")
        assert k.run("%%step new\nx = 1", cell_id="one").status == "ok"
        assert k.run("%%step old\ny = 2", cell_id="two").status == "ok"

    def test_a_cycle(self, kernel, tmp_path):
        import nbformat

        cells = ["%%step a\nx = y + 1", "%%step b\ny = x + 1"]
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), tmp_path / "analysis.ipynb"
        )
        said, *drawing = kernel().run(cells[0]).text.strip().splitlines()
        assert said == "DefinitionError: the steps need each other: a -> b -> a"
        assert (drawing[0], drawing[-1].split()[0]) == ("flowchart LR", "linkStyle")

    def test_suspend_outside_a_step(self, kernel):
        self.refused(kernel(), "from wfkernel import suspend\nsuspend()", "%%step")

    def test_a_store_that_cannot_be_read(self, kernel, tmp_path):
        (tmp_path / ".wfkernel").mkdir()
        (tmp_path / ".wfkernel" / "store.duckdb").write_bytes(b"not a database" * 1000)
        self.refused(kernel(), "%%step a\nx = 1", "StoreCorrupt", "cannot be read", "move the file away")
