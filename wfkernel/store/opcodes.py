"""What a pickle says, read from its opcodes: nothing of it is executed, whoever made it."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator

__all__ = ["blobs_of", "imports_of"]


def imports_of(content: bytes) -> Iterator[str]:
    """What a pickle imports, as ``module.name``. Raises `ValueError` where its opcodes end in none.

    What was made so that it cannot be told by looking, as a name that is taken off the stack or put together, is unknown.
    """
    for opcode, argument, pushed in _walk(content):
        match opcode:
            case "GLOBAL" | "INST":
                yield str(argument).replace(" ", ".", 1)
            case "STACK_GLOBAL":
                module, name = [None, None, *pushed][-2:]
                yield f"{module}.{name}" if module is not None and name is not None else "(unknown)"
            case "EXT1" | "EXT2" | "EXT4":
                yield f"(unknown: extension {argument})"


def blobs_of(content: bytes) -> Iterator[str]:
    """The value files that a pickle of ours refers to (`wfkernel.store.pickles`). Raises `ValueError` like `imports_of`."""
    if b"blob" in content:  # else it refers to none, and a large one takes long
        for _, _, pushed in _walk(content):
            if pushed[-2:-1] == ["blob"] and pushed[-1] is not None:
                yield pushed[-1]


def _walk(content: bytes) -> Iterator[tuple[str, object, list[str | None]]]:
    """Each opcode with its argument and the strings on top of the stack: before it where it imports, after it where it pushes."""
    pushed: list[str | None] = []
    memo: dict[int, str | None] = {}
    for opcode, argument, _ in pickletools.genops(content):
        match opcode.name:
            case "GET" | "BINGET" | "LONG_BINGET":
                pushed.append(memo.get(int(argument or 0)))
            case "MEMOIZE":
                memo[len(memo)] = pushed[-1] if pushed else None
                continue
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[int(argument or 0)] = pushed[-1] if pushed else None
                continue
            case "PROTO" | "FRAME":
                continue
            case name if name.endswith(("STRING", "UNICODE", "UNICODE8")):
                pushed.append(argument if isinstance(argument, str) else None)
            case _:
                yield opcode.name, argument, pushed
                pushed = []
                continue
        yield opcode.name, argument, pushed
