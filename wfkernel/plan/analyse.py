"""Which names a cell body needs and which it leaves behind, found without running it.

What can be relied on, in the order in which it matters:

* ``reads`` may hold too many names, not too few. Out of reach are names that only a string mentions (``eval``,
  ``!ls {folder}``, ``df.query("a > @t")``, SQL over frames), ``globals()["x"]``, decorators and metaclasses that call
  what they are given before the rest of the body has run, context managers other than ``suppress`` that swallow
  exceptions, and builtins that another step binds anew.
* ``needs`` may hold too few names, not too many: without one of them the body cannot finish.
* ``binds`` holds what may be bound at the end, ``deletes`` what is deleted for certain: no name is in both.
* ``stores`` is exact but for aliases (``d = df; d["x"] = 1``); ``mutates`` is a guess (see `wfkernel.plan.in_place`). A
  function's stores and changes count once the body uses the function.

Names that IPython or the import system put into every namespace (``_``, ``In``, ``display``, ``__name__``, ...) are in
none of them. The walk itself is in `wfkernel.plan.scopes`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from hashlib import blake2b

from wfkernel.errors import DefinitionError
from wfkernel.plan.scopes import Kind, Scope, is_environment

__all__ = ["CellNames", "analyse", "code_digest"]


@dataclass(frozen=True, slots=True)
class CellNames:
    """The names of a body's top level, by what the body does with them."""

    reads: frozenset[str]
    """Needed from outside, while the body runs or when a function it defines is called; without builtins."""
    needs: frozenset[str]
    """The reads without which the body cannot finish."""
    binds: frozenset[str]
    """May be bound by the body when it has ended."""
    deletes: frozenset[str]
    """Deleted, and not bound again, when the body has ended."""
    stores: frozenset[str]
    """The reads into whose objects the body stores: ``x[...] = ``, ``x.a = ``, ``del x[...]``."""
    mutates: frozenset[str]
    """Further reads whose objects the body may change in place."""
    uses_await: bool
    """Whether the body awaits at top level."""


def analyse(source_or_tree: str | ast.Module) -> CellNames:
    """Find the names a cell body reads and binds.

    The body is Python source or its tree, IPython's own syntax already turned into Python. Raises `SyntaxError`
    for source that does not parse and `DefinitionError` for a star import or code nested hundreds of levels deep.
    """
    try:
        tree = ast.parse(source_or_tree) if isinstance(source_or_tree, str) else source_or_tree
        body = Scope("module", lazy_annotations=_postpones_annotations(tree))
        body.visit_all(tree.body)
    except RecursionError:
        raise DefinitionError("an expression or chain of elifs is too long to be analysed: split it") from None
    end = body.flow
    uses = body.close()

    def of(kind: Kind) -> frozenset[str]:
        return frozenset(use.name for use in uses if use.kind == kind)

    return CellNames(
        reads=frozenset(use.name for use in uses),
        needs=of("need"),
        binds=frozenset(name for name in end.maybe if not is_environment(name)),
        deletes=frozenset(name for name in end.gone if not is_environment(name)),
        stores=of("store"),
        mutates=of("mutate") - of("store"),
        uses_await=body.awaits,
    )


def code_digest(source_or_tree: str | ast.Module) -> str:
    """Digest what a body says: 32 hex digits (blake2b, 16 bytes) that comments and formatting do not change.

    The digest is of ``ast.unparse``'s text. Raises `SyntaxError` for source that does not parse.
    """
    tree = ast.parse(source_or_tree) if isinstance(source_or_tree, str) else source_or_tree
    try:
        text = ast.unparse(tree)
    except ValueError:  # before 3.12 some f-strings could be parsed but not written again
        text = ast.dump(tree)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _postpones_annotations(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )
