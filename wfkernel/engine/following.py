"""A run that another process executes, as if it were executed here: its events reach this process's watchers and streams.

The values in them are revealed as far as this process can read them; one it cannot read (an object of a class that is not
here, a pickle somebody else signed) stands there as the error that says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wfkernel.engine import events as ev
from wfkernel.engine.commands import Reachable
from wfkernel.engine.events import Event
from wfkernel.engine.recorder import Recorder
from wfkernel.engine.values import revealed_payload

__all__ = ["Following"]

_STOPS: Final = frozenset({ev.RUN_FINISH, ev.RUN_SUSPENDED, ev.RUN_PAUSED})


class Following:
    """Keeps `recorder` up to date with a run that is executed elsewhere, until `stop`."""

    def __init__(self, recorder: Recorder, store: Reachable, run_id: str, interrupted: Callable[[], bool]) -> None:
        self._recorder, self._interrupted = recorder, interrupted
        self.active = True
        history = recorder.hub.history
        self._told = history[-1].seq if history else recorder.state.seq
        self._leave = store.follow(run_id, self._told, self._take, self._idle)

    def stop(self) -> None:
        """The run is executed here from now on, or nobody watches any more."""
        with self._recorder.lock:
            self.active = False
        self._leave()

    def _take(self, events: list[Event]) -> None:
        recorder = self._recorder
        for event in events:
            with recorder.lock:
                if not self.active:
                    return
                history = recorder.hub.history
                if event.seq <= (history[-1].seq if history else self._told):
                    continue
                if event.seq > recorder.state.seq:
                    recorder.state.apply(event)
                payload = revealed_payload(event.type, event.payload, recorder.codec)
                recorder.hub.publish(event._replace(payload=payload))
            if event.type in _STOPS or (event.type == ev.RUN_WAITING and event.payload.get("parked")):
                recorder.hub.close()  # streams end here; who watches sees how the run goes on

    def _idle(self) -> None:
        if self.active and self._interrupted():  # its process died: nothing more will come
            self._recorder.hub.close()
