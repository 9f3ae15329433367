"""``wf fsck``: is everything in the store as it was written, and what is affected where it is not?

Looked at are the DuckDB file itself, the events (every one is linked to the one before it, see
`wfkernel.store.projection`), the projections, the checkpoints, the value files and the journals. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from wfkernel.errors import StoreCorrupt, ValueUnreadable
from wfkernel.store.blobs import BlobDir
from wfkernel.store.checkpoints import checksum
from wfkernel.store.journal import SUFFIX, TornTail, owner_of, read_frames
from wfkernel.store.opcodes import blobs_of
from wfkernel.store.owner import is_alive
from wfkernel.store.projection import DIGEST, LINK, NO_DIGEST
from wfkernel.store.references import pickles_in
from wfkernel.store.sql import execute

if TYPE_CHECKING:
    import duckdb

    from wfkernel.store.store import Store

__all__ = ["UNFINISHED", "Problem", "check", "first_bad_events"]

UNFINISHED: Final = ".unfinished"
"""Marks, in quarantine, the database of which `wf recover` has not brought back everything yet."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `seq`, `step` and `at` (seconds since the epoch) say where, as far as that is known."""

    kind: Literal["database", "event", "tail", "checkpoint", "value", "journal", "quarantine"]
    what: str
    advice: str
    run_id: str = ""
    seq: int | None = None
    step: str = ""
    at: float | None = None

    @property
    def is_damage(self) -> bool:
        """False for what `wf recover` has set aside: nobody misses it."""
        return self.kind != "quarantine"

    def __str__(self) -> str:
        where = f"run {self.run_id}" if self.run_id else ""
        where += f", event {self.seq}" if self.seq is not None else ""
        where += f", step '{self.step}'" if self.step else ""
        where += f", {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(self.at))} UTC" if self.at is not None else ""
        return f"{self.kind}: {self.what}{f' ({where})' if where else ''}. {self.advice}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_BAD_EVENTS: Final = f"""
SELECT run_id, seq, before, path, ts, type, link <> expected, seq <> before + 1, readable,
       (SELECT count(*) FROM wf.events a WHERE a.run_id = e.run_id AND a.seq >= e.seq) AS behind
FROM (
    SELECT *, {LINK} AS expected FROM (
        SELECT *, coalesce(lag(seq) OVER w, 0) AS before, coalesce(lag(digest) OVER w, {NO_DIGEST}) AS previous,
               json_valid(payload::VARCHAR) AS readable
        FROM (SELECT *, {DIGEST} AS digest FROM wf.events WHERE $1 IS NULL OR run_id = $1)
        WINDOW w AS (PARTITION BY run_id ORDER BY seq))) e
WHERE link <> expected OR seq <> before + 1 OR NOT readable
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq) = 1
ORDER BY ts
"""

_TAILS: Final = """
SELECT r.run_id, r.last_seq, coalesce(max(e.seq), 0) FROM wf.runs r LEFT JOIN wf.events e USING (run_id)
WHERE $1 IS NULL OR r.run_id = $1 GROUP BY ALL HAVING coalesce(max(e.seq), 0) < r.last_seq
"""

_BLOB: Final = re.compile(r'"blob":"([0-9a-f]{64})"')


def check(store: Store) -> list[Problem]:
    """Everything that is wrong with the store, the most basic first, and what was set aside. Empty: all is well."""
    try:
        with store.database.open() as connection:
            _read_everything(connection)
            problems = [
                *first_bad_events(connection),
                *_bad_checkpoints(connection),
                *_bad_values(connection, store.blobs),
            ]
    except StoreCorrupt as error:
        problems = [Problem("database", str(error).partition(" `wf recover`")[0].rstrip("!."), _DATABASE_ADVICE)]
    if any(store.quarantine.glob(f"*{UNFINISHED}")):
        what = "wf recover was stopped before it was through, what it has not read yet is in quarantine"
        problems.insert(0, Problem("database", what, "Run it again: wf recover"))
    return [*problems, *_bad_journals(store), *_quarantined(store)]


def _read_everything(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB notices damage where it reads, and only there: have it read every block of every table."""
    tables = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'wf'"
    for (table,) in connection.execute(tables).fetchall():
        connection.execute(f'SELECT bit_xor(hash(t)) FROM wf."{table}" t').fetchall()


_DATABASE_ADVICE: Final = (
    "Bring back what can be read: wf recover (with a backup: wf recover --from FILE). The file itself is kept in quarantine, "
    "and the value files stay as they are"
)


def first_bad_events(connection: duckdb.DuckDBPyConnection, run_id: str | None = None) -> list[Problem]:
    """For every run that is damaged, or for one run, the first event that is not as it was written."""
    problems = []
    for run, seq, before, path, at, type_, changed, jumps, readable, behind in execute(
        connection, _BAD_EVENTS, [run_id]
    ).fetchall():
        if jumps and seq <= before:
            what, bad = f"the event is there twice ({type_})", seq
        elif jumps:
            missing = (
                f"event {before + 1} is missing"
                if seq == before + 2
                else f"events {before + 1} to {seq - 1} are missing"
            )
            what, bad = missing, before + 1
        elif not readable:
            what, bad = f"the payload of the event is not JSON ({type_})", seq
        else:
            assert changed
            what, bad = f"the event was changed after it was written ({type_})", seq
        advice = f"{behind} events from there on are in doubt: wf recover {run} --to {bad - 1}"
        problems.append(Problem("event", what, advice, run, bad, path, at))
    known = {p.run_id for p in problems}
    for run, last, reached in execute(connection, _TAILS, [run_id]).fetchall():
        if run not in known:
            what = f"the last {last - reached} events are missing: it had {last}"
            problems.append(
                Problem("tail", what, f"Accept what is left: wf recover {run} --to {reached}", run, reached + 1)
            )
    return problems


def _bad_checkpoints(connection: duckdb.DuckDBPyConnection) -> list[Problem]:
    rows = connection.execute(
        "SELECT checkpoint_id, run_id, seq, created, state, checksum FROM wf.checkpoints"
    ).fetchall()
    return [
        Problem(
            "checkpoint", f"checkpoint {id_} is damaged", f"Nothing is lost: wf checkpoint rm {id_}", run, seq, "", at
        )
        for id_, run, seq, at, state, known in rows
        if checksum(state) != known
    ]


def _bad_values(connection: duckdb.DuckDBPyConnection, blobs: BlobDir) -> list[Problem]:
    rows = connection.execute(
        "SELECT run_id, path, seq, ts, payload FROM wf.events "
        'WHERE payload LIKE \'%"blob":"%\' OR payload LIKE \'%"codec":"pickle"%\' ORDER BY ts'
    ).fetchall()
    problems: dict[str, Problem | None] = {}
    for run, path, seq, at, payload in rows:
        waiting = [*_BLOB.findall(payload), *(name for content in pickles_in(payload) for name in _blobs_of(content))]
        while waiting:
            digest = waiting.pop()
            if digest not in problems:
                problems[digest] = None
                try:
                    content = blobs.read(digest)
                    waiting += _blobs_of(content) if content[:1] == b"\x80" else ()
                except ValueUnreadable as error:
                    what = str(error).partition(";")[0]
                    problems[digest] = Problem("value", what, "Run the step that made it again", run, seq, path, at)
    return [problem for problem in problems.values() if problem is not None]


def _blobs_of(pickle: bytes) -> list[str]:
    with contextlib.suppress(ValueError):  # it is no pickle, or one that nobody can open
        return list(blobs_of(pickle))
    return []


def _bad_journals(store: Store) -> list[Problem]:
    problems = []
    for file in sorted(store.journals.glob(f"*{SUFFIX}")):
        if is_alive(store.owners, owner_of(file)):
            continue  # it is being written: its end may not be there yet
        try:
            for _ in read_frames(file, 0):
                pass
        except TornTail as tail:
            if tail.complete:
                what = f"journal {file.name} is damaged at byte {tail.offset}"
                problems.append(
                    Problem("journal", what, "What was before is in the store; the file is kept in quarantine")
                )
    return problems


def _quarantined(store: Store) -> list[Problem]:
    """What lies in quarantine: a journal was damaged, and nobody was told then; the rest was set aside by `wf recover`."""
    folder, problems = store.quarantine, []
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix == UNFINISHED or Path(f"{file}{UNFINISHED}").exists():
            continue
        if file.suffix == SUFFIX:
            what = f"journal {file.name} was damaged, what follows the damage is not in the store"
            problems.append(Problem("journal", what, f"Look at it, and then: rm {shlex.quote(str(file))}"))
        else:
            what = f"{file.name} was set aside by wf recover"
            problems.append(
                Problem(
                    "quarantine", what, f"Nothing needs it. When it is of no more use: rm -r {shlex.quote(str(file))}"
                )
            )
    return problems
