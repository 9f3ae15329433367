"""What kind of failure an exception is, whether trying again may help, and a line on what to do where there is more to say.

Events hold this beside an error's type, message and traceback:

- ``kind``: one of `KINDS`;
- ``retryable``: whether the same call may well succeed when it is simply made once more. Never true where the step's retry policy
  would not repeat it (`PermanentError`, what `retry_on` leaves out, a worker that died); but the policy, which does as it was
  told, may repeat what is hopeless, a failed validation for one;
- ``hint``: only where the message itself does not say what to do. None for an ordinary ``ValueError``.

An exception is known by the names of its classes, the most special first, so that no library is imported to recognise its
errors; then by what it carries (an HTTP status, an ``errno``); then by what caused it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from os.path import isabs
from typing import Any, Final, Literal, get_args

from wfkernel.engine.failures import Tripwire

__all__ = ["KINDS", "ErrorKind", "causes", "classified"]

ErrorKind = Literal[
    "timeout", "validation", "tool_failure", "agent_failure", "workflow_logic", "resource_exhaustion", "network_failure",
    "unknown",
]  # fmt: skip
KINDS: Final[tuple[ErrorKind, ...]] = get_args(ErrorKind)

_HOPELESS: Final = frozenset({"validation", "workflow_logic"})
"""Kinds of failures that the same code meets again with the same values."""
_FINAL: Final = frozenset({
    "wfkernel.engine.failures.PermanentError", "wfkernel.engine.restarts.WorkerDied",
    *(f"builtins.{name}" for name in (
        "ImportError", "FileNotFoundError", "FileExistsError", "PermissionError", "NotADirectoryError", "IsADirectoryError",
    )),
})  # fmt: skip
"""Failures of other kinds that trying again does not help, or that no policy tries again."""
_OUTSIDE: Final = frozenset({"timeout", "tool_failure", "agent_failure", "resource_exhaustion", "network_failure"})
"""Kinds that say what an exception is about that was raised from one of them."""

_AGAIN: Final = "let the step try again by itself (retries 3, delay 5)"
_COMES_AND_GOES: Final = f"if it comes and goes, {_AGAIN}"
_TIME: Final = "give the step more time (its timeout), or less to do at once"
_MEMORY: Final = "it needs more memory than there is: take smaller pieces, or fewer at once (concurrency)"
_REACH: Final = f"is the address right, and the service up and reachable from here? If it comes and goes, {_AGAIN}"

_BY_NAME: Final[dict[str, tuple[ErrorKind, str]]] = {
    # of wfkernel: their messages say what to do
    "wfkernel.engine.failures.StepTimeout": ("timeout", _TIME),
    "wfkernel.engine.failures.RunTimeout": ("timeout", ""),
    "wfkernel.engine.failures.MemoryLimit": ("resource_exhaustion", ""),
    "wfkernel.engine.failures.CpuLimit": ("resource_exhaustion", ""),
    "wfkernel.engine.failures._Invalid": ("validation", ""),
    "wfkernel.engine.failures.StateConflict": ("workflow_logic", ""),
    "wfkernel.engine.failures.IterationLimit": ("workflow_logic", ""),
    "wfkernel.engine.failures.PermanentError": ("unknown", ""),  # a step's own; what it was raised from says more
    "wfkernel.errors.AnswerInvalid": ("validation", ""),
    "wfkernel.engine.restarts.WorkerDied": ("tool_failure", ""),
    "wfkernel.engine.shell.CommandFailed": ("tool_failure", ""),
    "wfkernel.notebook.notebook_step.NotebookFailed": ("tool_failure", ""),
    "wfkernel.errors.StoreError": ("tool_failure", ""),
    "wfkernel.errors.WorkflowError": ("workflow_logic", ""),
    # time
    "builtins.TimeoutError": ("timeout", _COMES_AND_GOES),
    "subprocess.TimeoutExpired": ("timeout", ""),
    "requests.exceptions.Timeout": ("timeout", _COMES_AND_GOES),
    "httpx.TimeoutException": ("timeout", _COMES_AND_GOES),
    "urllib3.exceptions.TimeoutError": ("timeout", _COMES_AND_GOES),
    "openai.APITimeoutError": ("timeout", _COMES_AND_GOES),
    "anthropic.APITimeoutError": ("timeout", _COMES_AND_GOES),
    # what came does not have the form it should have
    "pydantic_core._pydantic_core.ValidationError": ("validation", ""),
    "pydantic.error_wrappers.ValidationError": ("validation", ""),
    "jsonschema.exceptions.ValidationError": ("validation", ""),
    "pandera.errors.SchemaError": ("validation", ""),
    "pandera.errors.SchemaErrors": ("validation", ""),
    "json.decoder.JSONDecodeError": ("validation", ""),
    "pandas.errors.ParserError": ("validation", ""),
    "builtins.UnicodeError": ("validation", ""),
    # the network
    "builtins.ConnectionError": ("network_failure", _REACH),
    "socket.gaierror": ("network_failure", _REACH),
    "socket.herror": ("network_failure", _REACH),
    "ssl.SSLError": ("network_failure", ""),
    "urllib.error.URLError": ("network_failure", _REACH),
    "http.client.HTTPException": ("network_failure", _COMES_AND_GOES),
    "requests.exceptions.InvalidJSONError": ("validation", ""),
    "requests.exceptions.ConnectionError": ("network_failure", _REACH),
    "requests.exceptions.RequestException": ("network_failure", ""),
    "httpx.TransportError": ("network_failure", _REACH),
    "urllib3.exceptions.HTTPError": ("network_failure", _REACH),
    "aiohttp.client_exceptions.ClientConnectionError": ("network_failure", _REACH),
    "aiohttp.client_exceptions.ClientError": ("network_failure", ""),
    "botocore.exceptions.HTTPClientError": ("network_failure", _REACH),
    "openai.APIConnectionError": ("network_failure", _REACH),
    "anthropic.APIConnectionError": ("network_failure", _REACH),
    # there is not enough of something
    "builtins.MemoryError": ("resource_exhaustion", _MEMORY),
    "torch.OutOfMemoryError": ("resource_exhaustion", _MEMORY),
    "torch.cuda.OutOfMemoryError": ("resource_exhaustion", _MEMORY),
    "duckdb.OutOfMemoryException": ("resource_exhaustion", _MEMORY),
    # what the step works with
    "builtins.ImportError": ("tool_failure", ""),
    "builtins.OSError": ("tool_failure", ""),
    "subprocess.CalledProcessError": ("tool_failure", ""),
    "sqlite3.Error": ("tool_failure", ""),
    "duckdb.Error": ("tool_failure", ""),
    "sqlalchemy.exc.SQLAlchemyError": ("tool_failure", ""),
    "psycopg.Error": ("tool_failure", ""),
    "psycopg2.Error": ("tool_failure", ""),
    "botocore.exceptions.BotoCoreError": ("tool_failure", ""),
    "botocore.exceptions.ClientError": ("tool_failure", ""),
    # models that answer
    "openai.OpenAIError": ("agent_failure", ""),
    "anthropic.AnthropicError": ("agent_failure", ""),
    "pydantic_ai.exceptions.AgentRunError": ("agent_failure", ""),
    "langchain_core.exceptions.LangChainException": ("agent_failure", ""),
    # the code itself: it will do the same again
    **{f"builtins.{name}": ("workflow_logic", "") for name in (
        "NameError", "AttributeError", "TypeError", "AssertionError", "NotImplementedError", "SyntaxError", "ArithmeticError",
        "LookupError", "RecursionError",
    )},
}  # fmt: skip
"""Kind and hint by the class's module and name."""
_BY_BARE_NAME: Final = {name.rpartition(".")[2]: found for name, found in reversed(_BY_NAME.items())}
"""For what comes from a notebook's kernel, which says no more than the class's name."""

_BY_ERRNO: Final[dict[int | None, tuple[ErrorKind, str]]] = {
    errno.ENOSPC: ("resource_exhaustion", "the disk is full: `wf db size` says what the store takes, `wf prune` gives some of it back"),
    errno.EDQUOT: ("resource_exhaustion", "the disk quota is used up: `wf db size` says what the store takes, `wf prune` gives some of it back"),
    errno.EMFILE: ("resource_exhaustion", "too many files are open at once: close them, run fewer at once (concurrency), or raise `ulimit -n`"),
    errno.ENFILE: ("resource_exhaustion", "too many files are open on this machine: run fewer at once (concurrency)"),
    errno.ENOMEM: ("resource_exhaustion", _MEMORY),
    errno.ENETUNREACH: ("network_failure", _REACH),
    errno.EHOSTUNREACH: ("network_failure", _REACH),
    errno.ETIMEDOUT: ("timeout", _COMES_AND_GOES),
}  # fmt: skip


def classified(error: BaseException) -> dict[str, Any]:
    """``kind``, ``retryable`` and, where there is one, ``hint`` of an exception, for the event that tells of it."""
    told = _look_up(error)
    if told["kind"] == "unknown":
        cause = next((found for one in causes(error) if (found := _look_up(one))["kind"] in _OUTSIDE), told)
        told = {**cause, "retryable": told["retryable"] and cause["retryable"]}
    if isinstance(error, Tripwire):
        told["retryable"] = error.retry
    return told


def _look_up(error: BaseException) -> dict[str, Any]:
    held = vars(error)
    known = held.get("error")
    if isinstance(known, dict) and "kind" in known:  # it tells of a failure that was looked at before
        return {name: known[name] for name in ("kind", "retryable", "hint") if name in known}
    names = list(_names(error))
    status = _http_status(held)
    kind: ErrorKind = "unknown"
    hint, again = "", True
    if status is not None and isinstance(error, Exception):
        kind, hint, again = _of_status(status)
    elif isinstance(error, OSError) and error.errno in _BY_ERRNO:
        kind, hint = _BY_ERRNO[error.errno]
    else:
        found = (_BY_NAME.get(name) or (None if "." in name else _BY_BARE_NAME.get(name)) for name in names)
        kind, hint = next(filter(None, found), (kind, hint))
        hint = hint or _more(error)
    told: dict[str, Any] = {"kind": kind, "retryable": again and kind not in _HOPELESS and _FINAL.isdisjoint(names)}
    return {**told, "hint": hint} if hint else told


def _more(error: BaseException) -> str:
    """A hint that depends on what is in the exception."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        return (
            f"install what brings `{module}` where the step runs; if it is a file of yours, put its folder on sys.path"
        )
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str) and not isabs(error.filename):
        return "a relative path starts in the folder the step runs in: os.getcwd()"
    return ""


def _names(error: BaseException) -> Iterator[str]:
    """Its classes' names, the most special first; before them that of the exception it stands for, if that is elsewhere."""
    for name in ("type_name", "ename"):  # of another process, of a notebook's kernel
        if isinstance(foreign := vars(error).get(name), str):
            yield foreign
    for kind in type(error).__mro__:
        yield f"{kind.__module__}.{kind.__qualname__}"


def _http_status(held: Mapping[str, Any]) -> int | None:
    """The status of a refused HTTP request, as the client libraries carry it."""
    for holder in (held, getattr(held.get("response"), "__dict__", {})):
        for name in ("status_code", "status", "code"):
            if isinstance(status := holder.get(name), int) and 400 <= status <= 599:
                return status
    return None


def _of_status(status: int) -> tuple[ErrorKind, str, bool]:
    """Kind, hint, and whether trying again may help."""
    if status in (401, 403):
        return "tool_failure", "the service refuses the credentials: are they set, and good for this?", False
    if status == 429:
        return (
            "resource_exhaustion",
            "the service is asked too often: fewer at once, or with retries that wait longer each time",
            True,
        )
    if status in (408, 504):
        return "timeout", _COMES_AND_GOES, True
    if status >= 500:
        return "network_failure", f"the service failed, not the step; {_COMES_AND_GOES}", True
    return "tool_failure", "", False


def causes(error: BaseException) -> Iterator[BaseException]:
    """What the exception was raised from, the nearest first."""
    seen = {id(error)}
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        if id(cause) in seen:
            return
        seen.add(id(cause))
        yield cause
        error = cause
