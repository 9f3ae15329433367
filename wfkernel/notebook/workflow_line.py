"""What can stand on a ``%workflow`` line: one parser for parsing, help, errors and completion."""

from __future__ import annotations

import argparse
import functools
from typing import Final, get_args

from wfkernel.engine.durability import Durability
from wfkernel.plan.oneline import OneLineParser

__all__ = ["workflow_help", "workflow_parser"]

SHOW: Final = "show the current run, and what an edit made stale"


@functools.cache
def workflow_parser() -> OneLineParser:
    """The parser of the ``%workflow`` line. Metavars say what completes an argument: RUN, STEP, WORKFLOW, ..."""
    parser = OneLineParser(prog="%workflow")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    def action(name: str, does: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, prog=f"%workflow {name}", help=does)

    action("new", "begin a new run, in which no step is finished")
    show = action("show", "show a run, as it is or was")
    show.add_argument("run", nargs="?", metavar="RUN", help="an id, the beginning of one, or 'latest'")
    action("list", "list the runs in the store")
    run = action("run", "run steps, independent ones at the same time")
    run.add_argument("name", nargs="?", metavar="WORKFLOW", help="made by %%%%workflow; without it all steps")
    run.add_argument("--stale", action="store_true", help="only the steps an edit made stale")
    graph = action("graph", "draw the steps and what they read from each other")
    graph.add_argument(
        "name", nargs="?", metavar="WORKFLOW", help="made by %%%%workflow, or a file; without it all steps"
    )
    graph.add_argument("--mermaid", action="store_true", help="as Mermaid text, to copy")
    diff = action("diff", "compare two runs: values, durations, code")
    diff.add_argument("before", metavar="RUN1", help="an id, the beginning of one, or 'latest'")
    diff.add_argument("after", metavar="RUN2", help="the same")
    export = action("export", "write the saved notebook as a Python module with @step functions, or as a workflow file")
    export.add_argument(
        "file", nargs="?", metavar="FILE", help="a .py or .wf.yaml file; without it the module is shown"
    )
    replay = action("replay", "load the values a run had when a step began, as names of this notebook")
    replay.add_argument("run", metavar="RUN", help="an id, the beginning of one, or 'latest'")
    replay.add_argument("--to", metavar="STEP", help="the step; without it, at the end of the run")
    replay.add_argument("--store", metavar="FILE", help="the store the run is in, where it is not this notebook's")
    resume = action("resume", "answer the suspended step and run it; without --data show the form")
    resume.add_argument("--data", metavar="JSON", help="the answer")
    resume.add_argument("--step", metavar="SUSPENDED", help="which step, where several are suspended")
    point = action("checkpoint", "make a checkpoint of the run as it is now, to go back to")
    point.add_argument("label", nargs="?", metavar="LABEL", default="", help="a name to find it by")
    action("checkpoints", "list the checkpoints of this notebook's runs")
    back = action("restore", "go on from a checkpoint, in a new run; the old one stays as it was")
    back.add_argument("checkpoint", metavar="CHECKPOINT", help="its id, the beginning of it, or its label")
    back.add_argument("--allow-drift", action="store_true", help="also when the code of finished steps has changed")
    setting = action("set", "set how the run is kept; without options show it")
    setting.add_argument(
        "--durability", choices=get_args(Durability), help="a finished step survives: a power cut, kill -9, nothing"
    )
    setting.add_argument(
        "--checkpoints", metavar="WHEN", help="'every step', '10 steps', '5m', '10 steps, keep 3', 'manual'"
    )
    return parser


def workflow_help() -> str:
    """The help of ``%workflow?``, made from the parser."""
    lines = ["Show, run, compare and export the workflow of this notebook.", "", f"%workflow{'':31}{SHOW}"]
    for usage, does, arguments in _actions():
        lines.append(f"{usage:<40}{does}")
        lines += [f"    {name:<36}{meaning}" for name, meaning in arguments]
    return "\n".join(lines)


def _actions() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(usage, what it does, [(argument, its meaning)]) of every action."""
    found = []
    group = next(a for a in workflow_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for said in group._choices_actions:
        parser = group.choices[said.dest]
        usage = " ".join(parser.format_usage().split()).removeprefix("usage: ")
        arguments = [
            ("/".join(a.option_strings) or str(a.metavar), (a.help or "").replace("%%", "%")) for a in parser._actions
        ]
        found.append((usage, said.help or "", arguments))
    return found
