"""Every command as a process: what it does, how it exits, and the keys of what it prints with ``--json``."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from tests.cli.conftest import JOBS, REPOSITORY, Wf
from tests.cli.test_mistakes import COMMANDS
from wfkernel.cli import FAMILIES

RUN_KEYS = {
    "run_id", "status", "workflow", "notebook", "output", "mode", "parameters", "started_at", "ended_at", "error",
    "resume", "interrupted", "steps", "result",
}  # fmt: skip
STEP_KEYS = {
    "step", "status", "executions", "restored", "undone", "seconds", "error", "message", "schema", "saved", "not_saved",
}  # fmt: skip
JSON_KEYS = {
    ("show", "small"): RUN_KEYS,
    ("ls",): {"run_id", "workflow", "notebook", "output_notebook", "mode", "status", "parameters", "started_at",
              "updated_at", "ended_at", "seconds", "error", "interrupted"},
    ("events", "small"): {"run_id", "seq", "ts", "type", "path", "attempt", "payload"},
    ("logs", "small"): {"run_id", "lines", "process"},
    ("history",): {"run_id", "seq", "at", "actor", "via", "what", "step", "detail"},
    ("diff", "small", "large"): {"runs", "status", "seconds", "parameters", "steps", "differs"},
    ("replay", "small"): {"run_id", "step", "names", "missing", "notebook"},
    ("search", "rows"): {"text", "score", "kind", "run_id", "step"},
    ("index", "book.ipynb"): {"notebooks", "templates", "forgotten", "problems"},
    ("session", "ls"): {"session", "runs", "last_used"},
    ("db", "path"): {"path", "exists"},
    ("stats",): {"workflow", "step", "count", "succeeded", "failed", "repeats", "mean", "median", "p95", "longest"},
    ("db", "migrate"): {"path", "from", "to", "backup"},
    ("db", "size"): {"database", "journals", "values", "value_files", "runs", "events", "checkpoints", "total"},
    ("db", "sql", "SELECT 1 AS one"): {"one"},
    ("checkpoint", "create", "small"): {"checkpoint_id", "run_id", "seq", "label", "made_by", "created"},
    ("checkpoint", "create", "spare", "--label", "here"): {"checkpoint_id", "run_id", "seq", "label", "made_by", "created"},
    ("checkpoint", "ls"): {"checkpoint_id", "run_id", "seq", "label", "made_by", "created"},
    ("checkpoint", "show", "here"): {"checkpoint_id", "run_id", "seq", "label", "made_by", "created", "status", "steps"},
    ("checkpoint", "restore", "here"): {"checkpoint", "run_id", "status"},
    ("checkpoint", "rm", "here"): {"checkpoint_id", "run_id", "seq", "label", "made_by", "created"},
    ("checkpoint", "prune", "--keep", "0"): {"checkpoint_id", "run_id", "seq", "label", "made_by", "created"},
    ("fsck",): set(),
    ("prune", "--dry-run"): {"runs", "values", "bytes", "dry_run"},
    ("config",): {"store", "key_file", "durability", "checkpoints", "context", "embedder", "worker", "concurrency", "retention",
                  "keep_last", "answers"},
    ("doctor",): {"what", "verdict", "found", "todo"},
    ("validate", "flow.wf.yaml"): {"file", "line", "column", "path", "message", "severity"},
    ("import", "--from", "automatosx", "other.yaml"): {"file", "notes"},
    ("export", "jobs.py:orders"): {"file", "text"},
    ("graph", "jobs.py:orders"): {"workflow", "levels", "batches", "circles"},
    ("guide",): {"format", "text"},
    ("schema",): {"$schema", "title", "$defs", "$ref"},
    ("machine",): {"states", "events", "transitions"},
    ("inspect", "book.ipynb"): {"notebook", "inputs", "steps", "problems"},
    ("trust", "store.duckdb"): {"signed", "untrusted"},
    ("session", "show", "work"): {"session", "runs"},
    ("run", "jobs.py:orders", "-p", "rows=1"): RUN_KEYS,
    ("restart", "small"): RUN_KEYS,
    ("retry", "failing"): RUN_KEYS,
    ("resume", "waits", "--data", '{"approve": true}'): RUN_KEYS,
    ("start", "jobs.py:orders", "-p", "rows=1"): {"run_id", "pid", "log"},
    ("cancel", "gone"): {"run_id", "status"},
    ("db", "backup", "elsewhere"): {"path", "value_files", "bytes"},
    ("recover", "spare", "--to", "5"): {"run_id", "status", "seq", "removed", "kept_in"},
}  # fmt: skip
"""Command -> keys its JSON document, or every entry of it, has at least. Keys are added, never taken away."""

ELSEWHERE = {("pause",), ("batch",), ("wake",)}
"""What needs a run that is executing, many notebooks or a run that sleeps is tested there."""

FILES = {
    "flow.wf.yaml": "steps:\n  - id: a\n    uses: nothing\n",
    "other.yaml": "name: other\nsteps:\n  - {key: a, agent: writer, prompt: Write}\n",
    "together.py": "from jobs import Order, load\nfrom wfkernel import Session, Workflow, open_store\n"
    "flow = Workflow('together', input=Order, store=open_store()).then(load).commit()\n"
    "flow.create_run(session=Session('work')).sync.start(Order(rows=1))\n",
}


@pytest.fixture(scope="module")
def furnished(world: Wf) -> Wf:
    """The runs, with others to do something to, one of a session, and files to look at."""
    for name, content in FILES.items():
        (world.folder / name).write_text(content)
    cells = [nbformat.v4.new_code_cell("%load_ext wfkernel"), nbformat.v4.new_code_cell("%%step load\nrows = 3")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), world.folder / "book.ipynb")
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **world.variables}
    subprocess.run([sys.executable, "together.py"], cwd=world.folder, env=variables, check=True)
    for name in ("gone", "waits"):
        assert world("run", "jobs.py:asking", "-p", "rows=3", "--run-id", name).status == 75
    assert world("run", "jobs.py:orders", "-p", "rows=3", "--run-id", "spare").status == 0
    (world.folder / "broken").touch()
    assert world("run", "jobs.py:orders", "-p", "rows=3", "--run-id", "failing").status == 1
    (world.folder / "broken").unlink()
    return world


def test_a_query_takes_values_by_their_names_and_tells_json_as_json(furnished: Wf):
    sql = "SELECT run_id, payload FROM events WHERE run_id = $run AND type = 'run.start' AND seq < $most"
    (found,) = furnished("db", "sql", sql, "-p", "run=small", "-p", "most=9", "--json").json
    assert (found["run_id"], found["payload"]["workflow"]) == ("small", "orders")
    assert "-p run: expected NAME=VALUE" in furnished("db", "sql", sql, "-p", "run").err
    assert "the query asks for $most" in furnished("db", "sql", sql, "-p", "run=small").err


def test_a_search_takes_words_as_they_are_typed(furnished: Wf):
    typed = furnished("search", "something", "broken", "-k", "1", "--json").json
    assert typed == furnished("search", "something broken", "-k", "1", "--json").json
    assert "something is broken" in typed[0]["text"]


@pytest.mark.parametrize("command", JSON_KEYS, ids=" ".join)
def test_json_is_one_document_with_the_keys_it_always_had(furnished: Wf, command: tuple[str, ...]):
    done = furnished(*command, "--json")
    assert "Traceback" not in done.err
    assert done.status in (0, 1), done.err
    assert done.json or command == ("fsck",)  # nothing found
    for entry in done.json if isinstance(done.json, list) else [done.json]:
        assert set(entry) >= JSON_KEYS[command]


def test_every_command_has_json_and_is_among_them():
    for command in COMMANDS:
        path = command.path
        assert path in ELSEWHERE or any(key[: len(path)] == path for key in JSON_KEYS), path
    assert all(command.has("--json") for command in COMMANDS)


def test_a_step_in_json_has_the_keys_it_always_had(world):
    assert all(set(step) >= STEP_KEYS for step in world("show", "small", "--json").json["steps"])


def test_the_help_lists_every_command_with_what_it_does(wf):
    said = wf("--help").out
    for files in FAMILIES.values():
        for names in files.values():
            for name in names:
                assert f"\n  {name} " in said


class TestRunning:
    def test_a_workflow_of_a_file_gets_its_input_from_the_line(self, world):
        shown = world("show", "large", "--json").json
        assert (shown["status"], shown["mode"]) == ("success", "workflow")
        assert [step["step"] for step in shown["steps"]] == ["load", "total", "check"]

    @pytest.mark.parametrize(
        ("target", "options", "result"),
        [
            ("greet", ["--input", "Ada Lovelace"], "str Ada Lovelace"),
            ("greet", ["--input", "42"], "str 42"),
            ("greet", ["--input", '"42"'], "str 42"),
            ("double", ["--input", "42"], "int 42"),
            ("label", ["-p", "name=007", "-p", "count=3"], "str 007, int 3"),
            ("label", ["--input", '{"count": 3}', "-p", "name=true"], "str true, int 3"),
        ],
    )
    def test_a_text_is_taken_as_it_is_where_the_input_is_one(self, wf, target, options, result):
        (wf.folder / "words.py").write_text(
            "from pydantic import BaseModel\nfrom wfkernel import Workflow\n"
            "class Label(BaseModel):\n    name: str\n    count: int\n"
            "def shown(x) -> str: return f'{type(x).__name__} {x}'\n"
            "def both(x) -> str: return f'{shown(x.name)}, {shown(x.count)}'\n"
            "greet = Workflow('greet', input=str).then(shown).commit()\n"
            "double = Workflow('double', input=int).then(shown).commit()\n"
            "label = Workflow('label', input=Label).then(both).commit()\n"
        )
        assert wf("run", f"words.py:{target}", *options, "--json").json["result"] == result
        refused = wf("run", "words.py:double", "--input", "Ada")
        assert (refused.status, "--input is not JSON" in refused.err) == (2, True)

    def test_a_failed_run_is_tried_again_where_it_failed(self, wf):
        (wf.folder / "broken").touch()
        failed = wf("run", "jobs.py:orders", "-p", "rows=2", "--run-id", "again", "--json")
        assert (failed.status, failed.json["error"]["message"]) == (1, "something is broken")
        (wf.folder / "broken").unlink()
        done = wf("retry", "again", "--json")
        assert (done.status, done.json["status"]) == (0, "success")
        executed = {step["step"]: step["executions"] for step in done.json["steps"]}
        assert executed["load"] == 1
        starts = [e for e in wf("events", "again", "--type", "step.start", "--json").json if e["path"] == "check"]
        assert len(starts) == 2

    @pytest.mark.parametrize(("name", "told"), [
        ("asks", "it is suspended: `wf resume asks` goes on"), ("bad", "it is failed: `wf resume bad` goes on"),
        ("small", "it is success: `wf restart small` runs it anew"),
    ])  # fmt: skip
    @pytest.mark.parametrize("target", ["jobs.py:orders", "book.ipynb"])
    def test_what_a_run_is_called_no_other_run_is(self, world, name, told, target):
        cells = [nbformat.v4.new_code_cell("rows = 1", metadata={"tags": ["parameters"]})]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), world.folder / "book.ipynb")
        before = world("events", name, "--json").json
        refused = world("run", target, "-p", "rows=3", "--run-id", name)
        assert (refused.status, refused.out) == (2, "")
        assert refused.err == f"wf: there is a run '{name}' already, {told}; a new run needs another id.\n"
        assert world("events", name, "--json").json == before

    def test_what_no_command_goes_on_with_is_told_where_to_go_on(self, wf):
        (wf.folder / "script.py").write_text(
            "from wfkernel import Workflow, open_store\n"
            "def broken(x): raise ValueError('no')\n"
            "store = open_store()\n"
            "run = Workflow('own', store=store).then(broken).commit().create_run('of-code')\n"
            "run.sync.start(1)\n"
            "store.checkpoint('of-code', 'there')\n"
        )
        environment = {**os.environ, **wf.variables, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "script.py"], cwd=wf.folder, env=environment, check=True)
        where = "create_run('of-code'), in the code that has the workflow 'own'"
        assert wf("show", "of-code").out.endswith(f"\ncontinue with: {where}\n")
        assert wf("show", "of-code", "--json").json["resume"] is None
        assert wf("resume", "of-code").status == 2
        restored = wf("checkpoint", "restore", "there", "--run-id", "restored").out
        assert restored.endswith(f"Go on with it: {where.replace('of-code', 'restored')}\n")

    def test_a_suspended_run_waits_for_an_answer_that_fits(self, world):
        assert world("resume", "asks").status == 2
        refused = world("resume", "asks", "--data", '{"approve": "perhaps"}')
        assert refused.status == 2
        assert "approve" in refused.err
        done = world("resume", "asks", "--data", '{"approve": true}', "--json")
        assert (done.status, done.json["status"]) == (0, "success")

    def test_a_run_that_waits_for_several_says_how_each_is_answered(self, wf):
        waits = wf("run", "jobs.py:both", "-p", "rows=2", "--run-id", "both")
        hints = [line.removeprefix("continue with: ") for line in waits.out.splitlines() if "wf resume" in line]
        assert hints == [
            "wf resume both --step ask --data '{\"approve\": true}'",
            "wf resume both --label boss --data '{\"approve\": true}'",
        ]
        assert "really? (label boss)" in waits.out
        assert wf("show", "both", "--json").json["steps"][-1]["labels"] == ["boss"]
        refused = wf("resume", "both", "--data", '{"approve": true}')
        assert (refused.status, [line[4:] for line in refused.err.splitlines()[1:]]) == (2, hints)
        for hint in hints:
            last = wf(*shlex.split(hint)[1:])
        assert (last.status, '"ask_the_boss": true' in last.out) == (0, True)

    def test_the_result_is_told(self, world):
        assert world("show", "small", "--json").json["result"] == 3
        assert "\nresult   3\n" in world("show", "small").out
        assert world("show", "bad", "--json").json["result"] is None

    def test_a_result_json_has_no_place_for_is_told_by_its_repr(self, wf):
        (wf.folder / "vault.py").write_text(
            "from pydantic import SecretStr\nfrom wfkernel import Workflow\n"
            "def opened(x) -> dict[str, SecretStr]: return {'key': SecretStr('hush')}\n"
            "vault = Workflow('vault', input=int).then(opened).commit()\n"
        )
        done = wf("run", "vault.py:vault", "--input", "1")
        assert (done.status, "{'key': SecretStr('**********')}" in done.out) == (0, True)

    def test_restart_is_a_new_run_with_the_same_input(self, world):
        again = world("restart", "large", "--json").json
        assert again["run_id"] != "large"
        assert world("diff", "large", again["run_id"]).status == 0  # it made the same of it

    def test_a_run_in_the_background_is_followed_paused_and_resumed_by_others(self, wf):
        (wf.folder / "go").unlink(missing_ok=True)
        started = wf("start", "jobs.py:slow", "-p", "rows=4", "--json").json
        run_id = started["run_id"]
        assert wf("pause", run_id, "--json").json == {"run_id": run_id, "status": "pausing"}
        (wf.folder / "go").touch()
        followed = [json.loads(line) for line in wf("events", run_id, "--follow", "--json").out.splitlines()]
        assert followed[-1]["type"] == "run.paused"
        assert [e["path"] for e in followed if e["type"] == "step.result"] == ["wait"]
        done = wf("resume", run_id, "--json")
        assert (done.status, done.json["status"]) == (0, "success")
        assert {step["executions"] for step in done.json["steps"]} == {1}
        assert Path(started["log"]).is_file()

    def test_a_run_in_the_background_is_canceled_and_says_by_whom(self, wf):
        (wf.folder / "go").unlink(missing_ok=True)
        run_id = wf("start", "jobs.py:slow", "-p", "rows=4", "--json").json["run_id"]
        assert wf("cancel", run_id, "--reason", "not today").status == 0
        (wf.folder / "go").touch()
        assert json.loads(wf("events", run_id, "-f", "--json").out.splitlines()[-1])["payload"]["status"] == "canceled"
        last = [deed for deed in wf("history", run_id, "--json").json if deed["what"] == "canceled"][-1]
        assert last["via"] == "cli"
        assert "@" in last["actor"]
        assert last["detail"] == "not today"
        assert wf("cancel", run_id).status == 2  # it has ended

    def test_what_cannot_begin_is_told_before_anything_is_started(self, wf):
        assert wf("start", "jobs.py:nothing").err.strip() == (
            "wf: jobs.py has no workflow 'nothing'. It has orders, asking, both, slow."
        )
        (wf.folder / "torn.py").write_text("import json\nx = undefined\n")
        assert "torn.py:2: NameError: name 'undefined' is not defined" in wf("run", "torn.py:wf").err


class TestLooking:
    def test_logs_are_what_steps_wrote(self, world):
        assert [line["text"] for line in world("logs", "small", "--json").json["lines"]] == ["loading 3 rows"]

    def test_diff_says_which_values_differ(self, world):
        found = world("diff", "small", "large", "--json")
        assert found.status == 1
        steps = {step["step"]: step["values"] for step in found.json["steps"]}
        assert [(change["before"], change["after"]) for change in steps["total"]] == [("3", "36")]

    def test_history_tells_who_did_what(self, world):
        deeds = world("history", "small", "--json").json
        assert [deed["what"] for deed in deeds] == ["started"]
        assert deeds[0]["via"] == "cli"

    def test_history_tells_what_was_done_to_the_store_and_who_paused(self, tmp_path):
        wf = Wf(tmp_path)
        (tmp_path / "jobs.py").write_text(JOBS)
        code = "from jobs import Order, slow; from wfkernel import open_store; slow.options.store = open_store(); "
        code += "print(slow.create_run('paused').sync.start(Order(rows=1)).status)"
        variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **wf.variables}
        script = subprocess.Popen(
            [sys.executable, "-c", code], cwd=wf.folder, env=variables, stdout=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 60
        while wf("pause", "paused").status and time.monotonic() < until:
            time.sleep(0.1)
        (wf.folder / "go").touch()
        assert script.communicate()[0] == "paused\n"
        assert [(d["what"], d["via"]) for d in wf("history", "paused", "--json").json] == [
            ("started", "python"),
            ("paused", "cli"),
        ]
        assert wf("run", "jobs.py:orders", "-p", "rows=1", "--run-id", "old").status == 0
        assert wf("prune", "--older-than", "0s").out.endswith("deleted 1 run and 0 value files (0.0 MB)\n")
        last = wf("history", "--json").json[-1]
        assert (last["run_id"], last["what"], last["detail"]) == ("", "pruned", "runs: 1, value files: 0")
        assert wf("prune", "--older-than", "0s").out == "deleted 0 runs and 0 value files (0.0 MB)\n"
        assert wf("history", "--json").json[-1] == last  # nothing was done
        wf.close()

    def test_ls_knows_the_statuses_there_are(self, world):
        assert {row["status"] for row in world("ls", "--status", "failed", "--json").json} == {"failed"}
        assert world("ls", "--status", "paused").out == "No run is paused.\n"
        assert all(row["interrupted"] for row in world("ls", "--status", "interrupted", "--json").json)
        assert "did you mean 'success'?" in world("ls", "--status", "sucess").err

    def test_replay_shows_what_there_was_when_a_step_began(self, world):
        found = world("replay", "large", "--to", "total", "--json").json
        assert {one["name"]: one["value"] for one in found["names"]}["input"] == "[0, 1, 2, 3, 4, 5, 6, 7, 8]"
        assert "check" not in {one["name"] for one in found["names"]}

    def test_a_name_is_completed_from_the_store(self, world):
        from wfkernel.cli.complete import complete_run, complete_step

        class Line:
            params = {"store": str(world.folder / "store.duckdb"), "run": "small"}

        assert ("small", "orders, success") in complete_run(Line, "sm")
        assert ("total", "success") in complete_step(Line, "to")


class TestKeeping:
    def test_a_backup_is_a_store_of_its_own(self, world):
        made = world("db", "backup", "copy", "--json").json
        assert world("show", "small", "--store", made["path"], "--json").json["status"] == "success"
        assert world("fsck", "--store", made["path"], "--json").json == []
        again = world("db", "backup", "copy")
        assert (again.status, "already" in again.err) == (2, True)

    def test_a_setting_has_a_value_and_an_origin(self, wf):
        found = wf("config", "--json").json
        assert found["store"] == {"value": str(wf.folder / "store.duckdb"), "from": "WFKERNEL_STORE"}
        assert found["durability"] == {"value": "fsync", "from": "default"}
        assert wf("config", "durability").out == "fsync\n"

    def test_the_doctor_names_what_is_wrong_and_what_to_do(self, world):
        (world.folder / "wfkernel.toml").write_text('durabilty = "write"\n')
        try:
            done = world("doctor")
            assert done.status == 1
            assert "wfkernel.toml:1: there is no setting 'durabilty'; did you mean durability?" in done.out
        finally:
            (world.folder / "wfkernel.toml").unlink()
