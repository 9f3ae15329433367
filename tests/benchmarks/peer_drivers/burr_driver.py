"""Apache Burr with its `SQLitePersister` (rollback journal, synchronous=FULL): one commit per action."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from burr.core import ApplicationBuilder, State, action, default, expr
from burr.core.persistence import InMemoryPersister, SQLitePersister
from cells import bytes_on_disk, crash_step, executed_again, median_ms, run_cell, since_spawn, timed


def persister_in(folder: str) -> SQLitePersister:
    persister = SQLitePersister(f"{folder}/state.sqlite", connect_kwargs={"check_same_thread": False, "timeout": 60})
    persister.initialize()
    return persister


@action(reads=["i"], writes=["i"])
def count(state: State) -> State:
    return state.update(i=state["i"] + 1)


@action(reads=["i"], writes=["i"])
def end(state: State) -> State:
    return state


@action(reads=[], writes=["answer"])
def before(state: State) -> State:
    return state.update(answer="")


@action(reads=["answer"], writes=["answer"])
def ask(state: State, answer: str) -> State:
    return state.update(answer=answer)


@action(reads=["answer"], writes=["answer"])
def after(state: State) -> State:
    return state


def counting(persister: Any, steps: int, name: str, body: Any = count) -> Any:
    builder = ApplicationBuilder().with_actions(count=body, end=end)
    builder = builder.with_transitions(("count", "count", expr(f"i < {steps}")), ("count", "end", default))
    builder = builder.with_identifiers(app_id=name)
    builder = builder.initialize_from(
        persister, resume_at_next_action=True, default_state={"i": 0}, default_entrypoint="count"
    )
    return builder.with_state_persister(persister).build()


def asking(persister: Any, name: str) -> Any:
    builder = ApplicationBuilder().with_actions(before=before, ask=ask, after=after)
    builder = builder.with_transitions(("before", "ask"), ("ask", "after")).with_identifiers(app_id=name)
    builder = builder.initialize_from(
        persister, resume_at_next_action=True, default_state={"answer": ""}, default_entrypoint="before"
    )
    return builder.with_state_persister(persister).build()


def seq(folder: str, number: int, persister: Any = None) -> dict[str, float]:
    application = counting(persister or persister_in(folder), number, "run")
    return {"ms": timed(lambda: application.run(halt_after=["end"])) / number * 1e3}


def fan(folder: str, number: int) -> dict[str, float]:
    from burr.core.parallelism import MapStates

    class Fan(MapStates):
        reads, writes = ["i"], ["found"]

        def action(self, state: State, inputs: dict[str, Any]) -> Any:
            return count

        def states(self, state: State, context: Any, inputs: dict[str, Any]) -> Any:
            return (state.update(i=i) for i in range(number))

        def reduce(self, state: State, states: Any) -> State:
            return state.update(found=[each["i"] for each in states])

    builder = ApplicationBuilder().with_actions(fan=Fan(), end=end).with_transitions(("fan", "end"))
    builder = builder.with_identifiers(app_id="run").with_parallel_executor(lambda: ThreadPoolExecutor(8))
    builder = builder.with_state(i=0).with_entrypoint("fan").with_state_persister(persister_in(folder))
    application = builder.build()
    return {"rate": number / timed(lambda: application.run(halt_after=["fan"]))}


def many(folder: str, number: int) -> dict[str, float]:
    persister_in(folder)

    def one(k: int) -> None:
        counting(persister_in(folder), 10, f"run{k}").run(halt_after=["end"])

    with ThreadPoolExecutor(8) as pool:
        return {"rate": 1000 / timed(lambda: list(pool.map(one, range(100))))}


def answer(folder: str, number: int) -> dict[str, float]:
    persister = persister_in(folder)
    suspended, answered = [], []
    for n in range(number):
        application = asking(persister, f"r{n}")
        suspended.append(timed(lambda a=application: a.run(halt_before=["ask"])) * 1e3)
        answered.append(timed(lambda a=application: a.run(halt_after=["after"], inputs={"answer": "yes"})) * 1e3)
    return {"suspend": statistics.median(suspended), "ms": statistics.median(answered)}


def wait(folder: str, number: int) -> dict[str, float]:
    asking(persister_in(folder), "run").run(halt_before=["ask"])
    return {}


def go_on(folder: str, number: int) -> dict[str, float]:
    *_, state = asking(persister_in(folder), "run").run(halt_after=["after"], inputs={"answer": "yes"})
    assert state["answer"] == "yes"
    return {"s": since_spawn()}


def crashing(folder: str) -> Any:
    @action(reads=["i"], writes=["i"])
    def crash(state: State) -> State:
        return state.update(i=crash_step(folder, state["i"]) + 1)

    return counting(persister_in(folder), 100, "run", crash)


def crash(folder: str, number: int) -> dict[str, float]:
    crashing(folder).run(halt_after=["end"])
    return {}


def recover(folder: str, number: int) -> dict[str, float]:
    crashing(folder).run(halt_after=["end"])
    return executed_again(folder)


def history(folder: str, number: int) -> dict[str, float]:
    persister = persister_in(folder)
    for k in range(number // 100):
        counting(persister, 100, f"run{k}").run(halt_after=["end"])
    return {  # it keeps each step's state but has nothing to read the steps of a run with
        "list": median_ms(lambda: persister.list_app_ids(None)),
        "bytes": bytes_on_disk(folder) / number,
    }


if __name__ == "__main__":
    run_cell(
        {
            "seq": seq,
            "seq_unsynced": lambda folder, number: seq(folder, number, InMemoryPersister()),
            "fan": fan,
            "many": many,
            "answer": answer,
            "wait": wait,
            "go_on": go_on,
            "crash": crash,
            "recover": recover,
            "history": history,
        }
    )
