"""Sessions: state, artifacts and history that several runs and notebooks share, and that survive restarts.

A session is a file of JSON lines, one per change, appended under a lock between processes and synced to disk. Whoever
reads it reads what was added since; two processes therefore see each other's changes, and a change of several keys is
seen whole. Without a folder a session lives in this process. A line cut off by a crash is ignored. A session of an older
version is migrated when it is first used, see `wfkernel.engine.migration`.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, runtime_checkable

from wfkernel.engine.failures import SessionError
from wfkernel.engine.migration import FIRST, StateMigration, Version, migrated, newest
from wfkernel.engine.values import Codec

__all__ = ["ERRORS", "Inheritance", "Session"]

ERRORS: Final = 100
"""How many failures a session remembers."""


@runtime_checkable
class Referring(Protocol):
    """A codec that would delete as unused what is named nowhere it knows of."""

    def referred_from(self, file: Path) -> None:
        """The file names values of the codec from now on."""


Inheritance = Literal["inherit", "isolate", "copy"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Session:
    """The session `id`, kept in `folder`. Values are JSON-safe, or anything the `codec` takes."""

    def __init__(
        self, id: str, folder: Path | str | None = None, codec: Codec | None = None, *,
        migrations: Sequence[StateMigration] = (),
    ) -> None:  # fmt: skip
        if not _NAME.fullmatch(id):
            raise SessionError(
                f"'{id}' cannot be the name of a session: letters, digits, '.', '_' and '-', at most 100."
            )
        self.id = id
        self._codec = codec
        self._folder = Path(folder) if folder is not None else None
        self._file = self._folder / f"{id}.jsonl" if self._folder is not None else None
        self._read = 0
        self._told = False
        """Whether the codec knows of the file."""
        self._lock = threading.RLock()
        self._state: dict[str, Any] = {}
        self._artifacts: dict[str, Any] = {}
        self._history: list[dict[str, Any]] = []
        self._errors: deque[dict[str, Any]] = deque(maxlen=ERRORS)
        self._migrations = migrations
        self._wanted = newest(migrations, f"session '{id}'")
        self._version: Version = FIRST

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """What the session remembers, as of now; a copy."""
        with self._lock:
            self._take_up()
            return dict(self._state)

    def get(self, key: str, default: Any = None) -> Any:
        """One key of the state."""
        return self.state.get(key, default)

    def set(self, **changes: Any) -> None:
        """Set keys of the state, all at once."""
        self._append({"set": {key: self._encode(value) for key, value in changes.items()}})

    def update(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Set what ``change(state)`` returns, with no other change in between: for counters and the like."""
        with self._lock, self._locked():
            self._catch_up()
            self._migrate()
            changes = change(dict(self._state))
            self._write({"set": {key: self._encode(value) for key, value in changes.items()}})
            return dict(self._state)

    # -- artifacts and history ----------------------------------------------------------------------------------------

    def keep(self, name: str, value: Any) -> None:
        """Keep an artifact under a name; an artifact of that name is replaced."""
        self._append({"artifact": name, "value": self._encode(value)})

    def artifact(self, name: str) -> Any:
        """The artifact of that name. Raises `SessionError`."""
        with self._lock:
            self._catch_up()
            if name not in self._artifacts:
                raise SessionError(
                    f"session '{self.id}' has no artifact '{name}'. It has: {', '.join(self._artifacts) or 'none'}."
                )
            return self._artifacts[name]

    @property
    def artifacts(self) -> list[str]:
        """Names of the artifacts."""
        with self._lock:
            self._catch_up()
            return list(self._artifacts)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The runs of the session: `run_id`, `workflow`, `status`, `ts`, in the order they stopped."""
        with self._lock:
            self._catch_up()
            return list(self._history)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What failed last in the runs of the session, at most `ERRORS`, oldest first: `run_id`, `workflow`, `step` (empty for
        the run itself), `type`, `message`, `kind`, `retryable`, `hint`, `ts`.

        Those of all runs in a store are found by their words: ``store.context.search(words, kind="error", session=id)``.
        """
        with self._lock:
            self._catch_up()
            return [dict(error) for error in self._errors]

    def note_run(self, run_id: str, workflow: str, status: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add a run to the history, and what failed in it; the engine does this."""
        about = {"run_id": run_id, "workflow": workflow}
        entry: dict[str, Any] = {"run": {**about, "status": status, "ts": time.time()}}
        if errors:
            entry["errors"] = [{**about, **error} for error in errors[-ERRORS:]]
        self._append(entry)

    # -- runs that go on elsewhere -------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Where it is kept, for `reopened`; empty for one that lives in this process alone."""
        if self._folder is None:
            return {}
        return {"folder": str(self._folder.resolve()), **({"encoded": True} if self._codec is not None else {})}

    @classmethod
    def reopened(cls, id: str, kept: Mapping[str, Any], codec: Codec | None) -> Session:
        """The session `id` of a run that says it is kept there. Raises `SessionError` if it is not there any more."""
        if not Path(kept["folder"]).is_dir():
            raise SessionError(
                f"session '{id}' was kept in {kept['folder']}, which is not there any more. Give the run its session: "
                "create_run(run_id, session=Session(...))."
            )
        return cls(id, kept["folder"], codec if kept.get("encoded") else None)

    # -- nested runs --------------------------------------------------------------------------------------------------

    def child(self, id: str, how: Inheritance = "inherit") -> Session:
        """The session for a run started inside this one.

        ``inherit`` is this session itself; ``copy`` a session `id` that begins with this one's state and then goes its own
        way; ``isolate`` one that begins empty.
        """
        if how == "inherit":
            return self
        if how not in ("copy", "isolate"):
            raise SessionError(f"a session is passed on by 'inherit', 'copy' or 'isolate', not {how!r}.")
        child = Session(id, self._folder, self._codec, migrations=self._migrations)
        if how == "copy":
            child.set(**self.state)
        return child

    # -- the file -------------------------------------------------------------------------------------------------------

    def _append(self, entry: dict[str, Any]) -> None:
        with self._lock, self._locked():
            self._catch_up()
            self._migrate()
            self._write(entry)

    def _take_up(self) -> None:
        """Catch up, and migrate what is of another version."""
        self._catch_up()
        if self._version != self._wanted:
            with self._locked():
                self._catch_up()
                self._migrate()

    def _migrate(self) -> None:
        """Bring the state to the version of the code. The caller holds the lock and has caught up."""
        if self._version != self._wanted:
            new = not self._state and not self._read
            state = {} if new else migrated(self._state, self._version, self._migrations, f"session '{self.id}'")
            self._write({"version": self._wanted, "state": {key: self._encode(value) for key, value in state.items()}})

    def _locked(self) -> Any:
        from contextlib import nullcontext

        if self._file is None:
            return nullcontext()
        from filelock import FileLock

        self._file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._file.with_suffix(".lock"), thread_local=False)

    def _write(self, entry: dict[str, Any]) -> None:
        """Add one entry. The caller holds the lock and has caught up."""
        if self._file is None:
            self._apply(entry)
            return
        try:
            line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        except TypeError as error:
            raise SessionError(f"session '{self.id}' cannot keep this value: {error}") from None
        with self._file.open("r+b" if self._file.exists() else "wb") as handle:
            handle.seek(self._read)
            handle.truncate()  # the rest of a line that a crash cut off
            handle.write(line + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
            self._read = handle.tell()
        self._apply(json.loads(line))

    def _catch_up(self) -> None:
        if self._file is None or not self._file.exists():
            return
        with self._file.open("rb") as handle:
            handle.seek(self._read)
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                self._apply(json.loads(line))
                self._read += len(line)

    def _apply(self, entry: dict[str, Any]) -> None:
        if "version" in entry:
            self._version = entry["version"]
            self._state = {key: self._decode(value) for key, value in entry["state"].items()}
        elif "set" in entry:
            self._state.update({key: self._decode(value) for key, value in entry["set"].items()})
        elif "artifact" in entry:
            self._artifacts[entry["artifact"]] = self._decode(entry["value"])
        elif "run" in entry:
            self._history.append(entry["run"])
            self._errors.extend(entry.get("errors", ()))

    def _encode(self, value: Any) -> Any:
        if self._codec is None or self._file is None:
            return value
        if not self._told:
            if isinstance(self._codec, Referring):
                self._codec.referred_from(self._file.resolve())
            self._told = True
        return self._codec.encode(value, durable=True)

    def _decode(self, value: Any) -> Any:
        return self._codec.decode(value) if self._codec is not None and self._file is not None else value
