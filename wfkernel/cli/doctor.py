"""``wf doctor``: one screen that tells what is wrong with an installation and its store, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import typer

from wfkernel.cli.shared import FAILED, SUCCESS, JsonOption, StoreOption, family, megabytes, print_json, print_table
from wfkernel.errors import EmbedderError, WorkflowError

commands = family()

Verdict = Literal["ok", "note", "wrong"]
LITTLE_SPACE: Final = 1_000_000_000
ELSEWHERE: Final = "change who may write there, or name another file with WFKERNEL_STORE"
LOCK_SECONDS: Final = 3.0
"""How long the doctor waits for another process to let go of the database."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do where it is not well."""

    what: str
    verdict: Verdict
    found: str
    todo: str = ""


@commands.command()
def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check the installation, the settings and the store. Exit status 1 if something is wrong."""
    findings: list[Finding] = []
    for check in _CHECKS:
        if check in _BY_SETTINGS and any(f.what == "settings" and f.verdict == "wrong" for f in findings):
            continue  # it would only say the same again
        findings += _checked(check, store)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        signs = {"ok": "ok", "note": "note", "wrong": "WRONG"}
        print_table(["", "what", "found"], [(signs[f.verdict], f.what, f.found) for f in findings])
        todo = [finding for finding in findings if finding.todo]
        for finding in todo:
            typer.echo(f"{finding.what}: {finding.todo}")
        typer.echo("" if todo else "nothing is wrong")
    raise typer.Exit(FAILED if any(finding.verdict == "wrong" for finding in findings) else SUCCESS)


def _checked(check: Callable[[Path | None], Iterator[Finding]], store: Path | None) -> Iterator[Finding]:
    """The findings of one check; what it cannot do is one more."""
    try:
        yield from check(store)
    except WorkflowError as error:
        first, *rest = str(error).splitlines()
        yield Finding(check.__name__.strip("_"), "wrong", first, "; ".join([first, *rest]))
    except Exception as error:  # the check itself broke, on an installation nobody has seen: that is a finding
        yield Finding(check.__name__.strip("_"), "wrong", f"{type(error).__name__}: {error}", "please report this")


def _versions(store: Path | None) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    from wfkernel import __version__

    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("wfkernel", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    try:
        required = _requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "wrong", "wfkernel is not installed, only on the path", "pip install wfkernel")
        return
    missing: list[str] = []
    needed = [Requirement(line) for line in required]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        try:
            have = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{one} is not installed")
            continue
        if not one.specifier.contains(have, prereleases=True):
            missing.append(f"{one} is needed, there is {have}")
    if missing:
        yield Finding("packages", "wrong", "; ".join(missing), "pip install -U wfkernel")
    else:
        yield Finding("packages", "ok", f"all {len(needed)} it needs")


def _requirements() -> list[str]:
    """What wfkernel needs. What an editable installation has noted is as old as the installation: its source counts."""
    source = Path(__file__).parents[2] / "pyproject.toml"
    if source.is_file():
        import tomllib

        project = tomllib.loads(source.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "wfkernel":
            return list(project["dependencies"])
    return importlib.metadata.requires("wfkernel") or []


def _duckdb(store: Path | None) -> Iterator[Finding]:
    import duckdb

    yield Finding("duckdb", "ok", duckdb.__version__)
    for package in importlib.metadata.distributions():
        name = package.metadata["Name"] or ""
        if name.lower().startswith("duckdb-extension-") and package.version.split(".post")[0] != duckdb.__version__:
            todo = f"pip install {name}=={duckdb.__version__}"
            yield Finding(name, "wrong", f"{package.version} is for another DuckDB than {duckdb.__version__}", todo)


def _search(store: Path | None) -> Iterator[Finding]:
    from wfkernel.settings import settings
    from wfkernel.store.embedders import DEFAULT, load_embedder
    from wfkernel.store.second_look import encoder

    try:
        chosen = settings().embedder or DEFAULT
    except WorkflowError:  # which the settings are told of
        chosen = DEFAULT
    try:
        load_embedder(chosen).embed(["whether it can be loaded"])
    except WorkflowError as error:
        yield Finding("search", "wrong", "no text can be embedded, so nothing is found", str(error))
        return
    try:
        encoder().embed(["whether it can be loaded"])
    except EmbedderError as error:
        yield Finding("search", "note", "without a second look by a sentence encoder: it finds less", str(error))
    else:
        yield Finding("search", "ok", f"with a second look by a sentence encoder ({encoder().name})")


def _jupyter(store: Path | None) -> Iterator[Finding]:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.paths import jupyter_path

    kernels = KernelSpecManager().find_kernel_specs()
    if kernels:
        yield Finding("kernels", "ok", ", ".join(sorted(kernels)))
    else:
        yield Finding("kernels", "wrong", "none: no notebook can run", "python -m ipykernel install --sys-prefix")
    engines = {point.name for point in importlib.metadata.entry_points(group="papermill.engine")}
    if "wfkernel" in engines:
        yield Finding("papermill", "ok", "has the engine wfkernel")
    else:
        yield Finding(
            "papermill", "wrong", "does not know the engine wfkernel", "pip install --force-reinstall wfkernel"
        )
    try:
        lab = importlib.metadata.version("jupyterlab")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("jupyterlab", "note", "not installed here; nothing needs it but people")
        return
    places = [Path(folder) / "anywidget" for folder in jupyter_path("labextensions")]
    if any((place / "package.json").is_file() for place in places):
        yield Finding("jupyterlab", "ok", f"{lab}, with the extension of the run view (anywidget)")
    else:
        todo = "pip install --force-reinstall anywidget in the environment JupyterLab runs in"
        yield Finding("jupyterlab", "wrong", f"{lab}, without anywidget's extension: the run view stays empty", todo)


def _settings(store: Path | None) -> Iterator[Finding]:
    from wfkernel.settings import load

    loaded = load()
    told = [f"{name} from {origin}" for name, origin in loaded.origins.items() if origin != "default"]
    yield Finding("settings", "ok", "; ".join(told) or "all defaults")


def _key(store: Path | None) -> Iterator[Finding]:
    from wfkernel.engine.userkey import key_path
    from wfkernel.store.trust import sign

    if key_path().exists():
        sign("0")  # raises for a key that cannot be used, and says what to do
        yield Finding("key", "ok", str(key_path()))
    else:
        there = _nearest(key_path())
        if os.access(there, os.W_OK):
            yield Finding("key", "note", f"none yet; the first value that is pickled makes {key_path()}")
        else:
            todo = "change who may write there, or name another file with WFKERNEL_KEY_FILE"
            yield Finding("key", "wrong", f"none yet, and {there} cannot be written", todo)


def _nearest(path: Path) -> Path:
    """The folder around a file that is there already."""
    return next(folder for folder in path.absolute().parents if folder.exists())


def _store(store: Path | None) -> Iterator[Finding]:
    from wfkernel.store.backup import size
    from wfkernel.store.claims import CLAIMED
    from wfkernel.store.locate import find_store_path
    from wfkernel.store.owner import is_alive
    from wfkernel.store.store import open_store

    path = store.absolute() if store is not None else find_store_path()
    if path.is_dir():
        yield Finding("store", "wrong", f"{path} is a folder", "name a file in it")
        return
    if not path.is_file():
        verdict: Verdict = "wrong" if store is not None else "note"
        yield Finding("store", verdict, f"none at {path}", "" if store is None else "check the path after --store")
        there = _nearest(path)
        if store is None and not os.access(there, os.W_OK):
            yield Finding("folder", "wrong", f"{there} cannot be written", ELSEWHERE)
        return
    for place in (path.parent, path):
        if not os.access(place, os.W_OK):
            yield Finding("store", "wrong", f"{place} cannot be written", ELSEWHERE)
            return
    kept = open_store(path)
    with kept.database.open(wait=LOCK_SECONDS):
        pass
    found = size(kept)
    free = shutil.disk_usage(path.parent).free
    yield Finding("store", "ok", f"{path}: {found.runs} run{'s' * (found.runs != 1)}, {megabytes(found.total)}")
    owners = [file.stem for file in kept.owners.glob("*.lock")] if kept.owners.is_dir() else []
    alive = sum(is_alive(kept.owners, owner) for owner in owners if owner != CLAIMED)
    others = "1 other writes" if alive == 1 else f"{alive} others write"
    yield Finding("processes", "ok", f"{others} to it")
    if free < LITTLE_SPACE:
        yield Finding("disk", "wrong", f"{megabytes(free)} free", "make room, or `wf prune --older-than 30d`")
    else:
        yield Finding("disk", "ok", f"{megabytes(free)} free")
    dead = [row["run_id"] for row in kept.runs(limit=1_000, status="running") if row["interrupted"]]
    if dead:
        todo = f"continue with `wf resume {dead[0]}`, or end them with `wf cancel RUN`"
        yield Finding("runs", "note", f"{len(dead)} were interrupted: their processes are gone", todo)


_CHECKS: Final = (_versions, _duckdb, _search, _jupyter, _settings, _key, _store)
_BY_SETTINGS: Final = (_key, _store)
"""Checks that read settings."""
