"""`Workflow`: a definition that can run.

wf = Workflow("orders", input=Order).then(load).then(check).commit()
wf.run(order)                              # in a script
await wf.create_run().start(order)         # in a coroutine
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from wfkernel.engine.checkpointing import CheckpointPolicy
from wfkernel.engine.clock import SYSTEM_CLOCK, Clock
from wfkernel.engine.core import Core
from wfkernel.engine.drift import DriftPolicy, checked_policy, code_to_keep, meet_drift
from wfkernel.engine.failures import TimeTravelRefused
from wfkernel.engine.hooks import Hooks
from wfkernel.engine.interpreter import run_plan
from wfkernel.engine.limits import Limits
from wfkernel.engine.loop import run_sync
from wfkernel.engine.memory import RunStore
from wfkernel.engine.migration import StateMigration
from wfkernel.engine.options import Callback, Options
from wfkernel.engine.recorder import Durability
from wfkernel.engine.result import RunResult
from wfkernel.engine.run import Run, get_run
from wfkernel.engine.scope import ConflictRule, StateScope
from wfkernel.engine.sessions import Session
from wfkernel.engine.state import INDEX, RunState
from wfkernel.engine.travel import START
from wfkernel.engine.values import Codec
from wfkernel.errors import DefinitionError
from wfkernel.plan import nodes
from wfkernel.plan.builder import Definition, bodies_of
from wfkernel.plan.chart import Chart, chart_of_plan
from wfkernel.plan.duration import Duration, seconds
from wfkernel.plan.reference import did_you_mean
from wfkernel.plan.step import StepSpec

__all__ = ["Workflow"]


class Workflow(Definition):
    """A workflow: define it with the builder's methods, `commit` it, run it any number of times.

    Args:
        id: its name.
        input, output, state: types; `input` and `state` are validated, `output` only describes.
        retries, delay: for steps that say nothing of their own.
        store: where runs are kept; None keeps them in this process.
        codec: how values are stored.
        durability: ``fsync``, ``write`` or ``exit``, see `wfkernel.engine.durability`; default: as the settings say.
        checkpoints: when they are made by themselves: ``every step``, ``10 steps, 5m, keep 3``, ...; see
            `wfkernel.engine.checkpointing`.
        migrations: the way from older versions of the state, see `wfkernel.engine.migration`.
        on_conflict: what happens when parallel arms set one state key: ``last``, ``error`` or ``fn(key, values)``.
        on_drift: what happens to a run under way when steps were edited: ``continue``, ``rerun`` or ``pin``, see
            `wfkernel.engine.drift`.
        limits: iterations, seconds, concurrency.
        validate: whether input of workflow and steps is validated.
        park: sleeps longer than this (seconds or text) end the process's work on the run; `wake` takes it up again.
        on_start, on_finish, on_error: called with a `RunInfo`.
        rollback_to: a step (or a path ``nested.step``); of a workflow inside another, the outermost decides. A run that fails has the state it had when that step ended; what
            finished after it is undone where it has a compensation, and `Run.retry` does it again. With ``start``, or when the
            step was not reached: all of it, and the state the run began with.
    """

    def __init__(
        self,
        id: str,
        *,
        input: Any = None,
        output: Any = None,
        state: Any = None,
        description: str = "",
        retries: int = 0,
        delay: Duration = 0.0,
        metadata: Mapping[str, Any] | None = None,
        store: RunStore | None = None,
        codec: Codec | None = None,
        durability: Durability | None = None,
        checkpoints: CheckpointPolicy | str | None = None,
        migrations: Sequence[StateMigration] = (),
        hooks: Hooks | None = None,
        limits: Limits | None = None,
        on_conflict: ConflictRule = "last",
        on_drift: DriftPolicy = "continue",
        validate: bool = True,
        park: Duration | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_start: Callback | None = None,
        on_finish: Callback | None = None,
        on_error: Callback | None = None,
        rollback_to: str = "",
    ) -> None:
        super().__init__(
            id, input=input, output=output, state=state, description=description, retries=retries, delay=delay,
            metadata=metadata,
        )  # fmt: skip
        chosen: dict[str, Any] = {"durability": durability, "limits": limits, "checkpoints": checkpoints}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        self.options = Options(
            store=store, codec=codec, migrations=migrations, clock=clock, hooks=hooks, **chosen,
            conflict=on_conflict, validate=validate, park=seconds(park) if park is not None else None,
            on_start=on_start, on_finish=on_finish, on_error=on_error, rollback_to=rollback_to,
        )  # fmt: skip
        self.on_drift = checked_policy(id, on_drift)
        self.source = ""
        """What it was loaded from."""
        self.template = ""
        """What the file is for, in words, to be found by."""
        self.imports: list[str] = []
        """Modules that were imported for it: what registered its agents."""

    def commit(self) -> Self:
        """Freeze the flow after checking it as a whole, `rollback_to` included."""
        to = self.options.rollback_to
        if to and to != START and not any(_holds(node, to.partition(".")[0]) for node in self.nodes):
            known = [node.id for node in self.nodes]
            raise DefinitionError(
                f"workflow '{self.id}': rollback_to '{to}' is none of its steps{did_you_mean(to, known)}"
            )
        return super().commit()

    def create_run(
        self, run_id: str | None = None, *, session: Session | None = None, resource: str = "",
        on_drift: DriftPolicy | None = None, durability: Durability | None = None,
        checkpoints: CheckpointPolicy | str | None = None,
    ) -> Run:  # fmt: skip
        """A run of this workflow. With the id of a stored run it is that run.

        `on_drift`, `durability` and `checkpoints` are for this run what they are for the workflow.
        """
        self.check_runnable()
        program = self
        if on_drift is not None and on_drift != self.on_drift:
            program = self.clone(self.id)
            program.on_drift = checked_policy(self.id, on_drift)
        return get_run(program, self.options, run_id, session, resource, durability, checkpoints)

    def run(
        self, input: Any = None, *, session: Session | None = None, durability: Durability | None = None,
        checkpoints: CheckpointPolicy | str | None = None, **options: Any,
    ) -> RunResult:  # fmt: skip
        """Run it and wait for the result: the form for scripts and cells."""
        run = self.create_run(session=session, durability=durability, checkpoints=checkpoints)
        return run_sync(run.start(input, **options))

    # -- what a `Run` asks of it --------------------------------------------------------------------------------------

    mode = "workflow"
    _chart: Chart | None = None

    def kept(self) -> dict[str, Any]:
        """The chart, so that a stored run can be drawn where its definition is not at hand, and the file it came from; the
        code of the steps where runs are to keep to it.
        """
        pinned = {"function": code_to_keep(self)} if self.on_drift == "pin" and self.options.store is not None else {}
        return {
            "chart": self.chart(),
            **pinned,
            **({"source": self.source, "imports": self.imports} if self.source else {}),
        }

    def chart(self) -> Chart:
        """The plan as boxes and arrows."""
        if self._chart is None:
            self._chart = chart_of_plan(self)
        return self._chart

    async def execute(self, core: Core, value: Any, scope: StateScope) -> Any:
        """Run the plan."""
        if self.on_drift != "continue":
            core.on_drift = self.on_drift
        meet_drift(core, self)
        return await run_plan(core, self, "", value, scope)

    def definition_digest(self) -> str:
        """Changes when the flow or the code of a step changes."""
        digest = hashlib.blake2b(digest_size=12)
        for line in _outline(self):
            digest.update(line.encode())
        return digest.hexdigest()

    def spec_at(self, path: str) -> StepSpec | None:
        """The step at a path of a run."""
        plan: Definition = self
        parts = INDEX.sub("", path).split(".")
        for part in parts[:-1]:
            body = _body_of_key(plan, part)
            if not isinstance(body, nodes.Nested):
                return None
            plan = body.plan
        body = _body_of_key(plan, parts[-1])
        return body.spec if isinstance(body, nodes.Step) else None

    def plan_travel(self, state: RunState, target: str, given: Mapping[str, Any], has_input: bool) -> dict[str, Any]:
        """What a run must forget to go back to `target`. Raises `TimeTravelRefused`."""
        body: dict[str, Any] = {"dropped": [], "undecided": [], "reopened": []}
        plan: Definition = self
        prefix, parts = "", target.split(".")
        for depth, whole in enumerate(parts):
            part, item, _ = whole.partition("[")  # an item of a foreach: ``each[2]``
            position = next((n for n, node in enumerate(plan.nodes) if _holds(node, part)), None)
            if position is None:
                raise TimeTravelRefused(
                    f"Cannot time travel to step '{target}': the step does not exist in the current execution graph. "
                    f"It has {', '.join(node.id for node in plan.nodes)}."
                )
            missing = [
                key
                for node in plan.nodes[:position]
                if isinstance(node, nodes.Step | nodes.Nested | nodes.Map | nodes.Parallel | nodes.Graph)
                for key in _keys(node)
                if f"{prefix}{key}" not in given and not _recorded(state, f"{prefix}{key}")
                and not (has_input and depth == len(parts) - 1 and node is plan.nodes[position - 1])
            ]  # fmt: skip
            if missing:
                raise TimeTravelRefused(
                    f"Cannot time travel to step '{target}': step(s) '{', '.join(missing)}' precede the target and were not "
                    "recorded. Give their outputs as context."
                )
            for node in plan.nodes[position + 1 :]:
                for key in {node.id, *_keys(node)}:
                    path = f"{prefix}{key}"
                    step = state.steps.get(path)
                    if step is None or step.status != "suspended":
                        body["dropped"].append(path)
                body["undecided"] += [f"{prefix}{node.id}", f"{prefix}{node.id}:joined"]
            node = plan.nodes[position]
            body["undecided"] += [f"{prefix}{node.id}", f"{prefix}{node.id}:joined"]
            last = depth == len(parts) - 1
            if isinstance(node, nodes.Foreach) and (item or not last):
                if f"{prefix}{whole}" not in state.steps or not item:
                    raise TimeTravelRefused(
                        f"Cannot time travel to step '{target}': '{part}' runs once for every item. Say which one the run "
                        f"goes back to, as in '{prefix}{part}[0]'."
                    )
                if has_input:
                    raise TimeTravelRefused(
                        f"Cannot time travel to step '{target}' with an input: the item is what '{part}' was given. Travel "
                        f"to '{prefix}{part}' and give the list there."
                    )
                body["reopened"].append(f"{prefix}{part}")
            elif item:
                raise TimeTravelRefused(f"Cannot time travel to step '{target}': '{part}' is not a foreach.")
            if last:
                body["dropped"].append(f"{prefix}{whole}")
                if position == 0 and prefix and has_input:
                    raise TimeTravelRefused(
                        f"Cannot time travel to step '{target}' with an input: it is the first of its workflow. Travel to "
                        f"'{prefix.rstrip('.')}' and give the input there."
                    )
                body["predecessor"] = f"{prefix}{_predecessor(plan, position)}" if position else ""
            else:
                body["reopened"].append(f"{prefix}{whole}")
                nested = _body_of_key(plan, part)
                if not isinstance(nested, nodes.Nested):
                    raise TimeTravelRefused(f"Cannot time travel to step '{target}': '{part}' is not a workflow.")
                plan, prefix = nested.plan, f"{prefix}{whole}."
                if plan.program is not None:
                    inside = plan.program.plan_travel(state, target, given, has_input)
                    for what, paths in inside.items():
                        body[what] += [path for path in paths if path.startswith(prefix)]
                    break
        return body


def _holds(node: nodes.Node, part: str) -> bool:
    return node.id == part or any(part in (body.key, body.id) for body in bodies_of(node))


def _keys(node: nodes.Node) -> list[str]:
    return [body.key for body in bodies_of(node)] or [node.id]


def _recorded(state: RunState, path: str) -> bool:
    step = state.steps.get(path)
    return step is not None and (step.status in ("success", "skipped") or step.excused)


def _predecessor(plan: Definition, position: int) -> str:
    before = plan.nodes[position - 1]
    return before.key if isinstance(before, nodes.Step | nodes.Nested) else before.id


def _body_of_key(plan: Definition, key: str) -> nodes.Body | None:
    for node in plan.nodes:
        for body in bodies_of(node):
            if key in (body.key, body.id):
                return body
    return None


def _outline(plan: Definition) -> list[str]:
    lines = [plan.id]
    if plan.program is not None:
        lines.append(plan.program.definition_digest())
    for node in plan.nodes:
        lines.append(f"{type(node).__name__} {node.id}")
        for body in bodies_of(node):
            lines += [f"{body.id} {body.spec.digest()}"] if isinstance(body, nodes.Step) else _outline(body.plan)
    return lines
