"""``wf fsck``, ``recover``, ``prune``, ``trust``: looking after a store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wfkernel.cli.shared import (
    FAILED,
    USAGE,
    JsonOption,
    StoreOption,
    counted,
    family,
    megabytes,
    opened,
    print_json,
    print_table,
    utc,
)
from wfkernel.errors import StoreError

if TYPE_CHECKING:
    from wfkernel.store.store import Store

commands = family()


@commands.command()
def fsck(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check that everything in the store is as it was written. Exit status 1 if something is not.

    What wf recover has set aside is listed, with how to clear it.
    """
    from wfkernel.store.fsck import check

    kept = opened(store)
    problems = check(kept)
    damaged = any(problem.is_damage for problem in problems)
    if as_json:
        print_json([problem.to_json() for problem in problems])
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not damaged:
            typer.echo(f"{kept.path}: all is well")
    if damaged:
        raise typer.Exit(FAILED)


@commands.command()
def recover(
    run: Annotated[
        str | None,
        typer.Argument(help="The run: its id or the beginning of it. None: the store, if it cannot be read."),
    ] = None,
    to: Annotated[int | None, typer.Option("--to", metavar="SEQ", min=0, help="Default: the last good event.")] = None,
    backup: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A backup of an unreadable store to start from.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a damaged run back to its last good event; the rest goes to a file in quarantine.

    Without a run: bring back what can be read of a store whose file is damaged, from a backup, the journals and itself.
    """
    from wfkernel.store.recover import recover as recover_run

    kept = opened(store)
    if run is None:
        if to is not None:
            raise StoreError("--to goes with a run: wf recover RUN --to SEQ")
        return _recover_store(kept, backup, as_json)
    if backup is not None:
        raise StoreError("--from is for a store that cannot be read: wf recover --from FILE, without a run")
    done = recover_run(kept, kept.find(run), to)
    if as_json:
        status = done.state.status if done.state else None
        print_json(
            {"run_id": done.run_id, "seq": done.seq, "removed": done.removed, "kept_in": done.kept_in, "status": status}
        )
        return
    aside = f"; what was taken out is in {done.kept_in}" if done.kept_in else ""
    taken = f"{counted(done.removed, 'event')} {'was' if done.removed == 1 else 'were'} taken out"
    typer.echo(f"run {done.run_id} is as it was at event {done.seq}, {taken}{aside}")
    if done.state is not None and done.state.status not in ("success", "canceled"):
        typer.echo(f"go on with it: wf resume {done.run_id}")


def _recover_store(store: Store, backup: Path | None, as_json: bool) -> None:
    from wfkernel.store.salvage import salvage

    if backup is not None and not backup.is_file():
        raise StoreError(f"there is no backup {backup}")
    done = salvage(store, backup)
    if as_json:
        print_json({**asdict(done), "complete": done.complete})
    else:
        typer.echo(f"the unreadable file is kept: {done.kept_in}")
        typer.echo(f"{done.from_backup:6} events from {done.backup or 'no backup (wf recover --from FILE names one)'}")
        typer.echo(f"{done.from_journals:6} events from journals")
        typer.echo(f"{done.from_file:6} events that could be read in the file")
        typer.echo(f"{done.runs:6} runs are in {store.path} now")
        if done.unread is None:
            typer.echo("lost: what stood in the file alone; nothing in it can be read, not even which runs it had")
        for run_id in done.unread or ():
            typer.echo(f"lost: events of run {run_id} that stood in the file alone")
        if done.unread_log:
            typer.echo(f"lost: {done.unread_log} bytes at the end of DuckDB's log, which is damaged there")
        for problem in done.problems:
            typer.echo(str(problem))
    if not done.complete:
        raise typer.Exit(FAILED)


@commands.command()
def prune(
    older_than: Annotated[
        str | None,
        typer.Option(help="Delete ended runs older than this: 30d, 12h, 90m; default: the setting retention."),
    ] = None,
    keep_last: Annotated[
        int | None, typer.Option(min=0, help="Keep this many of each workflow's newest runs; default: the setting.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old runs and the value files nothing refers to any more."""
    from wfkernel.plan.duration import seconds
    from wfkernel.settings import settings
    from wfkernel.store.retention import prune as prune_store

    if older_than is None and keep_last is None:
        older_than, keep_last = settings().retention, settings().keep_last
    age = None if older_than is None else seconds(older_than)
    done = prune_store(opened(store), older_than=age, keep_last=keep_last, dry_run=dry_run)
    if as_json:
        print_json({**asdict(done), "dry_run": dry_run})
        return
    for run in done.runs:
        typer.echo(f"{run['run_id']}  {run['status']}  {utc(run['updated'])}  {run['workflow'] or ''}")
    told = f"{counted(len(done.runs), 'run')} and {counted(done.values, 'value file')} ({megabytes(done.bytes)})"
    typer.echo(f"{'would delete' if dry_run else 'deleted'} {told}")


@commands.command()
def trust(
    store: Annotated[Path, typer.Argument(help="The store file whose values to trust.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a store from elsewhere could run when its values are opened, and sign it as yours."""
    from wfkernel.store.resign import trust as trust_store
    from wfkernel.store.resign import untrusted

    kept = opened(store)
    found = untrusted(kept)
    if not as_json:
        rows = [(u.run_id, u.step, u.name, u.type, u.codec, u.size, ", ".join(u.imports)) for u in found]
        if rows:
            print_table(["run", "step", "name", "type", "codec", "bytes", "opening it imports"], rows)
    if found and not yes:
        if as_json:
            print_json({"signed": 0, "untrusted": [asdict(one) for one in found]})
            return
        typer.echo("Opening these values runs code of whoever saved them.", err=True)
        if not typer.confirm(f"Trust all {len(found)}?", err=True):
            raise typer.Exit(USAGE)
    signed = trust_store(kept)
    if as_json:
        print_json({"signed": signed, "untrusted": [asdict(one) for one in found]})
    else:
        typer.echo(
            f"signed {counted(signed, 'value')}; kernels that use it: restart them"
            if signed
            else "every value in it can be opened already"
        )
