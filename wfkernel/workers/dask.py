"""The `dask` worker: a step's function runs on a Dask cluster, on one machine or many.

The cluster is that of the current `dask.distributed.Client`. Dask moves calls and results and watches its workers; here
is what a step needs beyond that. `write`, `progress`, questions and printed text come back while the function runs, as
Dask events on one topic per client; the result says how many there were, so none is missed that arrives after it. The
cancel signal is set by a function run on all Dask workers, which costs a call that is not cancelled nothing.

What Dask decides: a function whose Dask worker died is executed again on another one, up to the cluster's
`distributed.scheduler.allowed-failures` (3) times, and only then ends here in `WorkerDied`; a running function cannot be
ended, only left behind; messages are not held back when the reader is slow.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import pickle
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from wfkernel.engine.context import running
from wfkernel.engine.restarts import WorkerDied
from wfkernel.engine.signal import CancelSignal
from wfkernel.engine.worker import Call, StepStopped
from wfkernel.errors import DefinitionError, WorkflowError
from wfkernel.workers.capture import capturing, print_here
from wfkernel.workers.execute import Outcome, begin, execute
from wfkernel.workers.remote import Relay, RemoteStep, open_call
from wfkernel.workers.shipping import pack_call, pack_outcome, unpack_outcome

if TYPE_CHECKING:
    from wfkernel.engine.context import StepContext

__all__ = ["DaskWorker"]

Message = tuple[str, list[bytes]]
"""What came from the function: "step", "stdout" or "stderr", and its parts."""

_LARGE: Final = 1 << 20
_INSTALL: Final = 'worker="dask" needs dask.distributed: pip install "wfkernel[dask]"'


class DaskWorker:
    """Executes calls on the cluster of `client`, or else of the client that is current when a call is made.

    `grace`: seconds a function has, once its signal is set, to end by itself; then it is left behind.
    """

    name = "dask"

    def __init__(self, client: Any = None, grace: float = 2.0) -> None:
        self._given = client
        self._grace = grace
        self._calls: dict[str, Callable[[Message], None]] = {}
        self._subscribed: set[str] = set()

    async def run(self, call: Call, step: StepContext, signal: CancelSignal) -> Any:
        """See `Worker.run`. Raises `DefinitionError` when Dask is not installed or no client is there."""
        begin(call, signal)
        client = self._client()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Message | None] = asyncio.Queue()

        def arrive(message: Message | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(arrived.put_nowait, message)

        number = uuid.uuid4().hex
        self._calls[number] = arrive
        parts = await asyncio.to_thread(_ship, client, call)
        key = f"{call.path or 'step'}-{number}"
        future = client.submit(_execute, parts, self._topic(client), number, key=key, pure=False)
        future.add_done_callback(lambda _: arrive(None))
        stopping = asyncio.ensure_future(self._stop(client, number, signal, arrived))
        try:
            with running(step):
                return (await self._follow(call, future, arrived, step, stopping)).get()
        except asyncio.CancelledError:
            signal.set()
            threading.Thread(target=_ask_to_end, args=(client, number, signal.reason), daemon=True).start()
            raise
        finally:
            stopping.cancel()
            del self._calls[number]
            future.cancel()  # frees the result on the cluster

    async def close(self) -> None:
        """Nothing to free: client and cluster belong to the user."""

    async def _follow(
        self,
        call: Call,
        future: Any,
        arrived: asyncio.Queue[Message | None],
        step: StepContext,
        stopping: asyncio.Future[None],
    ) -> Outcome:
        relay = Relay(step)
        text = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        received = 0
        expected: int | None = None
        parts: list[bytes] = []
        while expected is None or received < expected:
            message = await arrived.get()
            if message is None:
                if not future.done():
                    how = f"step '{call.path}' did not end when asked to: it was left behind in its Dask worker."
                    return Outcome(error=StepStopped(how))
                expected, parts = await asyncio.to_thread(_result, call.path, future)
                continue
            received += 1
            kind, data = message
            if kind == "step":
                relay.receive(list(data))
            else:
                print_here("stderr" if kind == "stderr" else "stdout", text[kind].decode(data[0]))
        return relay.settle(unpack_outcome([bytearray(part) for part in parts]))

    async def _stop(
        self, client: Any, number: str, signal: CancelSignal, arrived: asyncio.Queue[Message | None]
    ) -> None:
        await signal.wait()
        await asyncio.to_thread(_ask_to_end, client, number, signal.reason)
        await asyncio.sleep(self._grace)
        arrived.put_nowait(None)

    def _client(self) -> Any:
        try:
            import distributed
        except ImportError:
            raise DefinitionError(_INSTALL) from None
        try:
            client = self._given or distributed.default_client()  # type: ignore[no-untyped-call]
        except ValueError:
            raise DefinitionError(
                'worker="dask" needs a Dask client: make one first, `from dask.distributed import Client; Client()`.'
            ) from None
        if client.asynchronous:
            raise DefinitionError('worker="dask" needs a Dask client that was not made with asynchronous=True.')
        return client

    def _topic(self, client: Any) -> str:
        topic = f"wfkernel-{client.id}"
        if topic not in self._subscribed:
            self._subscribed.add(topic)
            client.subscribe_topic(topic, self._receive)
        return topic

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        """In the client's thread: a message of some call."""
        message = event[1]
        arrive = self._calls.get(message["call"])
        if arrive is not None:
            arrive((message["kind"], message["parts"]))


def _ship(client: Any, call: Call) -> Any:
    """The pickled call as an argument for `_execute`; a large one goes to a Dask worker at once, not by the scheduler."""
    parts = [pickle.PickleBuffer(part) for part in pack_call(call)]
    if sum(len(part.raw()) for part in parts) < _LARGE:
        return parts
    return client.scatter([parts], hash=False)[0]


def _result(path: str, future: Any) -> tuple[int, list[bytes]]:
    """Number of messages and packed outcome; blocks while the result is fetched."""
    from distributed import CancelledError, KilledWorker

    try:
        count, parts = future.result()
    except KilledWorker as killed:
        raise WorkerDied(path, None, "", [str(killed)]) from None
    except CancelledError as lost:
        raise WorkflowError(f"step '{path}': the Dask cluster dropped it ({lost})") from None
    return count, parts


# -- in the Dask worker --------------------------------------------------------------------------------------------------

_signals: dict[str, CancelSignal] = {}
"""Signals of the calls this process executes."""


def _execute(parts: list[Any], topic: str, number: str) -> tuple[int, list[bytes]]:
    from distributed import get_worker

    worker = get_worker()
    sent = 0
    sending = threading.Lock()

    def send(kind: str, parts: list[bytes]) -> None:
        nonlocal sent
        with sending:
            worker.log_event(topic, {"call": number, "kind": kind, "parts": parts})
            sent += 1

    signal = _signals.setdefault(number, CancelSignal())
    path = ""
    try:
        with capturing(lambda name, data: send(name, [data])):
            try:
                remote = RemoteStep(lambda parts: send("step", [bytes(part) for part in parts]))
                call = open_call([bytearray(part) for part in parts], remote, signal)
                path = call.path
                outcome = execute(call, remote, signal)
            except Exception as error:  # the call cannot be opened here: a module that is missing, say
                outcome = Outcome(error=error)
        reply = [bytes(part) for part in pack_outcome(outcome, path)]
    finally:
        del _signals[number]
    return sent, reply


def _set_signal(number: str, reason: str) -> None:
    signal = _signals.get(number)
    if signal is not None:
        signal.set(reason)


def _ask_to_end(client: Any, number: str, reason: str) -> None:
    client.run(_set_signal, number, reason, on_error="ignore")
