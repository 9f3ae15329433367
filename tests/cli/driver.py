"""Runs ``wf`` commands as processes of their own, without importing everything anew for each.

Every line on standard input is a JSON list of arguments; for each this process forks, and the child becomes ``wf``. The
answer is a JSON line with its exit status and what it printed. Only what starts no threads is imported before a fork.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading


def run(arguments: list[str]) -> dict[str, object]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["wf", *arguments]
            from wfkernel.cli import main

            main()  # ends the process itself, or is done
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "out": out.read().decode(errors="replace"),
            "err": err.read().decode(errors="replace"),
        }


if __name__ == "__main__":
    from wfkernel.cli.shared import quick_jsonschema

    quick_jsonschema()
    import nbformat  # noqa: F401
    import rich.table  # noqa: F401

    import wfkernel.cli
    import wfkernel.cli.running
    import wfkernel.engine.workflow
    import wfkernel.settings
    import wfkernel.store.store  # noqa: F401

    assert threading.active_count() == 1

    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
