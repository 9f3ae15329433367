"""LangGraph's graph API with `SqliteSaver` (WAL, synchronous=FULL), durability "sync": a checkpoint is committed per step."""

from __future__ import annotations

import operator
import os
import sqlite3
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

from cells import bytes_on_disk, crash_step, executed_again, median_ms, run_cell, since_spawn, timed
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt


class Count(TypedDict):
    i: int
    n: int


class Gathered(TypedDict):
    n: int
    found: Annotated[list, operator.add]


class Asked(TypedDict):
    answer: str


def saver_in(folder: str) -> SqliteSaver:
    saver = SqliteSaver(sqlite3.connect(f"{folder}/state.sqlite", check_same_thread=False))
    saver.setup()
    return saver


def counting(saver: SqliteSaver, body: Any = lambda i: i) -> Any:
    graph = StateGraph(Count)
    graph.add_node("step", lambda state: {"i": body(state["i"]) + 1})
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["i"] >= state["n"] else "step", ["step", END])
    return graph.compile(checkpointer=saver)


def asking(saver: SqliteSaver) -> Any:
    graph = StateGraph(Asked)
    graph.add_node("before", lambda state: {"answer": ""})
    graph.add_node("ask", lambda state: {"answer": interrupt("approve?")})
    graph.add_node("after", lambda state: state)
    graph.add_edge(START, "before")
    graph.add_edge("before", "ask")
    graph.add_edge("ask", "after")
    graph.add_edge("after", END)
    return graph.compile(checkpointer=saver)


def of_run(name: str, steps: int = 10) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}, "recursion_limit": steps + 10}


def count_to(graph: Any, steps: int, name: str, durability: str = "sync") -> None:
    graph.invoke({"i": 0, "n": steps}, of_run(name, steps), durability=durability)


def seq(folder: str, number: int, durability: str = "sync") -> dict[str, float]:
    graph = counting(saver_in(folder))
    count_to(graph, 3, "warm", durability)
    return {"ms": timed(lambda: count_to(graph, number, "run", durability)) / number * 1e3}


def fan(folder: str, number: int) -> dict[str, float]:
    graph = StateGraph(Gathered)
    graph.add_node("arm", lambda state: {"found": [state["i"]]})
    graph.add_conditional_edges(START, lambda state: [Send("arm", {"i": i}) for i in range(state["n"])], ["arm"])
    graph.add_edge("arm", END)
    compiled = graph.compile(checkpointer=saver_in(folder))
    compiled.invoke({"n": 3}, of_run("warm"), durability="sync")
    return {"rate": number / timed(lambda: compiled.invoke({"n": number}, of_run("run"), durability="sync"))}


def many(folder: str, number: int) -> dict[str, float]:
    graph = counting(saver_in(folder))
    count_to(graph, 3, "warm")
    with ThreadPoolExecutor(8) as pool:
        seconds = timed(lambda: list(pool.map(lambda k: count_to(graph, 10, f"run{k}"), range(100))))
    return {"rate": 1000 / seconds}


def answer(folder: str, number: int) -> dict[str, float]:
    graph = asking(saver_in(folder))
    suspended, answered = [], []
    for n in range(number):
        start = lambda n=n: graph.invoke({"answer": ""}, of_run(f"r{n}"), durability="sync")  # noqa: E731
        go_on = lambda n=n: graph.invoke(Command(resume="yes"), of_run(f"r{n}"), durability="sync")  # noqa: E731
        suspended.append(timed(start) * 1e3)
        answered.append(timed(go_on) * 1e3)
    return {"suspend": statistics.median(suspended), "ms": statistics.median(answered)}


def wait(folder: str, number: int) -> dict[str, float]:
    asking(saver_in(folder)).invoke({"answer": ""}, of_run("run"), durability="sync")
    return {}


def go_on(folder: str, number: int) -> dict[str, float]:
    found = asking(saver_in(folder)).invoke(Command(resume="yes"), of_run("run"), durability="sync")
    assert found["answer"] == "yes"
    return {"s": since_spawn()}


def crash(folder: str, number: int) -> dict[str, float]:
    count_to(counting(saver_in(folder), lambda i: crash_step(folder, i)), 100, "run")
    return {}


def recover(folder: str, number: int) -> dict[str, float]:
    counting(saver_in(folder), lambda i: crash_step(folder, i)).invoke(None, of_run("run", 100), durability="sync")
    return executed_again(folder)


def history(folder: str, number: int) -> dict[str, float]:
    saver = saver_in(folder)
    graph = counting(saver)
    for k in range(number // 100):
        count_to(graph, 100, f"run{k}")
    middle = of_run(f"run{number // 200}")
    return {
        "list": median_ms(lambda: list(saver.list(None, limit=100)), 3),  # checkpoints: it has no list of runs
        "steps": median_ms(lambda: list(graph.get_state_history(middle))),
        "bytes": bytes_on_disk(folder) / number,
    }


if __name__ == "__main__":
    os.environ["LANGSMITH_TRACING"] = "false"
    run_cell(
        {
            "seq": seq,
            "seq_unsynced": lambda folder, number: seq(folder, number, "exit"),
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
