"""Runs many ``wf`` commands one after the other in this one process, for commands that are expected to refuse.

Standard input is a JSON list of argument lists; standard output the JSON list of how each ended. An exception that
leaves ``main`` is what a person would see as a traceback: it is reported as one.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback


def run(arguments: list[str]) -> dict[str, object]:
    from wfkernel.cli import main

    out, err, status = io.StringIO(), io.StringIO(), 0
    sys.argv = ["wf", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = 1
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    print(json.dumps([run(line) for line in json.load(sys.stdin)]))
