"""Which names the scopes of a body use without having bound them.

A name that is looked up where it is not bound for certain (see `wfkernel.plan.flow`) comes from outside the scope.
Every inner scope (function, class, lambda, comprehension) is walked on its own, and what it does not bind itself is
handed to the scope around it: at once where Python runs it at once, else when the function is first used. "Used" is any
mention that could lead to a call (not as a base class or in an annotation; decorating is no use). So the body on the
left uses nothing from outside and the one on the right uses ``k``:

    def f():                    def f():
        return k                    return k
    k = 1                       f(); k = 1

Functions still unused when the body ends use what is not bound for certain by then.

Scoping follows the language reference, 4.2 (naming and binding) and 8.10 (annotation scopes, PEP 695 and 649).
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Collection, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

from wfkernel.errors import DefinitionError
from wfkernel.plan.flow import Flow, FlowWalker, called_name
from wfkernel.plan.in_place import changed_by, root_name

__all__ = ["Kind", "Scope", "Use", "is_environment"]

_BUILTINS = frozenset(dir(builtins))

# What IPython and the import system put into every namespace: neither read from nor left to other steps.
_ENVIRONMENT = re.compile(
    r"_{1,3}|_\d+|_i{1,3}|_i\d+|_ih|_oh|_dh|_exit_code|In|Out|get_ipython|display|exit|quit|"
    r"__(name|file|doc|builtin|builtins|package|loader|spec|path|annotations|class|module|qualname|IPYTHON)__"
)

_DYNAMIC = frozenset({"exec", "eval", "globals", "locals", "vars", "get_ipython"})  # may bind names unseen
_LEAVING = frozenset({"exit", "_exit", "quit"})
_HARMLESS_MAGICS = frozenset({"autoreload", "cd", "conda", "config", "env", "matplotlib", "pip", "timeit"})
_DEFERRED_ANNOTATIONS = sys.version_info >= (3, 14)  # PEP 649

Kind: TypeAlias = Literal["read", "need", "store", "mutate"]
_ScopeKind: TypeAlias = Literal["module", "class", "function"]
_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Use(NamedTuple):
    """A name used where the scope has not bound it for certain."""

    kind: Kind
    name: str
    explicit: bool = False  # named in a `global` statement: no enclosing function's variable is meant


class Scope(FlowWalker):
    """Walks one scope and collects its uses; comprehensions and lambdas are functions here."""

    def __init__(self, kind: _ScopeKind, lazy_annotations: bool) -> None:
        super().__init__()
        self.kind = kind
        self.lazy_annotations = lazy_annotations
        self.uses: set[Use] = set()
        self.late: dict[str, set[Use]] = {}  # function or class -> the uses that wait until it is used
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.writes: set[str] = set()  # globals bound by this scope or those inside
        self.imports: set[str] = set()
        self.dynamic = False  # names may have been bound unseen
        self.mentioning = False  # what is walked now is not called

    # -- names -------------------------------------------------------------------------------------

    def touch(self, kind: Kind, name: str, explicit: bool = False) -> None:
        """Note a use at this point of the walk, unless the scope has bound the name for certain."""
        if self.flow.dead:
            return
        if not explicit or self.kind == "module":
            if not self.mentioning:
                self.release(name)
            if name in self.flow.bound:
                return
        if kind == "need" and (not self.certain or self.dynamic or name in self.flow.maybe):
            kind = "read"
        if not _is_always_there(name):
            self.uses.add(Use(kind, name, explicit))

    def absorb(self, uses: Iterable[Use]) -> None:
        """Note the uses of an inner scope whose body may be run at this point."""
        for kind, name, explicit in uses:
            kind = "read" if kind == "need" else kind
            if self.kind == "class":  # inner scopes do not see the names of the class around them
                self.uses.add(Use(kind, name, explicit))
            else:
                self.touch(kind, name, explicit)

    def defer(self, name: str, uses: set[Use]) -> None:
        self.late[name] = self.late.get(name, set()) | uses

    def release(self, name: str) -> None:
        if uses := self.late.pop(name, None):  # put back afterwards: functions may use each other in a circle
            self.absorb(uses)
            self.late[name] = uses

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bind(node.id)
            return
        self.dynamic |= node.id in _DYNAMIC
        self.touch("need", node.id)
        if isinstance(node.ctx, ast.Del):
            self.delete(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        self.globals.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.nonlocals.update(node.names)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.bind(name)
            self.imports.add(name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.names[0].name == "*":
            module = "." * node.level + (node.module or "")
            raise DefinitionError(
                f"`from {module} import *` hides which names this step binds (line {node.lineno}): "
                "import the names you use"
            )
        self.visit_Import(node)

    # -- assignments and changes in place ----------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        self.assign(node.value, node.targets)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit_all([node.value, node.target])

    def assign(self, value: ast.expr, targets: list[ast.expr]) -> None:
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        late: set[Use] = set()
        if isinstance(value, ast.Lambda) and len(names) == len(targets):
            late = self.lambda_uses(value)
        elif isinstance(value, ast.GeneratorExp) and len(names) == len(targets):
            late = self.comprehension_uses(value)
        else:
            self.visit(value)
            if names == ["_"]:
                self.discard(value)
        self.visit_all(targets)
        for name in names:
            self.defer(name, late)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.assign(node.value, [node.target])
        elif isinstance(node.target, ast.Name):
            self.ever.add(node.target.id)  # makes it a variable of the function, binds nothing
        else:
            self.generic_visit(node.target)
        if self.kind != "function":  # where annotations of variables are never evaluated
            self.defer("__annotations__", self.annotation_uses([node.annotation]))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.touch("need", node.target.id)
            self.touch("mutate", node.target.id)
        self.visit_all([node.value, node.target])

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) and (root := root_name(node)):
            self.touch("store", root)

    visit_Subscript = visit_Attribute

    def visit_Expr(self, node: ast.Expr) -> None:
        self.visit(node.value)
        self.discard(node.value)

    def discard(self, value: ast.expr) -> None:
        """Note what an expression may be there to change, given that nobody uses its result."""
        call = value.value if isinstance(value, ast.Await) else value
        match call:
            case ast.Call(func=ast.Name(id=name)) if _is_always_there(name):
                pass
            case ast.Call():
                self.touch_changed(call, discarded=True)

    def touch_changed(self, call: ast.Call, discarded: bool) -> None:
        for name in changed_by(call, discarded, self.imports):
            self.touch("mutate", name)

    def visit_Call(self, node: ast.Call) -> None:
        if _is_harmless_magic(node):
            self.visit_all(node.args)
            return
        self.generic_visit(node)
        self.touch_changed(node, discarded=False)
        self.left |= called_name(node) in _LEAVING

    def visit_Await(self, node: ast.Await) -> None:
        self.awaits = True
        self.generic_visit(node)

    # -- inner scopes ------------------------------------------------------------------------------

    def inner(self, kind: _ScopeKind) -> Scope:
        return Scope(kind, self.lazy_annotations)

    def close(self, local: Collection[str] = ()) -> set[Use]:
        """End the walk: the uses that go out to the scope around, all but those of its `local` names."""
        if self.kind == "function":
            self.flow = Flow()  # its end may be any of its returns
        if self.kind != "class":
            self.flow.dead = False
            for name, uses in list(self.late.items()):
                self.late[name] = {use for use in uses if use.kind in ("read", "need")}  # it was not called
                self.release(name)
        # What a class body binds it looks up as a global where it is unbound, past any enclosing function.
        own = self.globals | (self.ever - self.nonlocals if self.kind == "class" else set())
        return _without({use._replace(explicit=use.explicit or use.name in own) for use in self.uses}, local)

    def enter(self, inner: Scope) -> None:
        """Note what walking an inner scope found, besides its uses."""
        self.dynamic |= inner.dynamic
        self.left |= inner.left and inner.kind == "class"
        writes = inner.writes | (inner.ever & inner.globals)
        self.writes |= writes
        if self.kind == "module":
            for name in writes:
                self.bind(name, certain=False)

    def aside(self, nodes: Iterable[ast.AST | None], params: Collection[str]) -> set[Use]:
        """The uses of expressions that see the names of a type parameter list."""
        scope = self.inner("function")
        scope.visit_all(nodes)
        for name in scope.ever:
            self.bind(name)
        self.awaits |= scope.awaits
        self.enter(scope)
        return scope.close(params)

    def mention(self, uses: Iterable[Use]) -> None:
        """Note uses that cannot be calls."""
        self.mentioning = True
        for use in uses:
            self.touch(*use)
        self.mentioning = False

    def lazy_uses(self, nodes: Iterable[ast.AST | None], params: Collection[str]) -> set[Use]:
        """The uses of expressions that are evaluated later, if ever."""
        uses = self.aside(nodes, params)
        # Unlike functions, these see the names of the class around them.
        return _without(uses, self.flow.bound) if self.kind == "class" else uses

    def annotation_uses(self, nodes: Iterable[ast.AST | None], params: Collection[str] = ()) -> set[Use]:
        """Walk annotations; the uses that are left for later."""
        if self.lazy_annotations:
            return set()
        if _DEFERRED_ANNOTATIONS:
            return self.lazy_uses(nodes, params)
        self.mention(use._replace(kind="read") for use in self.aside(nodes, params))
        return set()

    def type_params(self, node: ast.AST) -> tuple[set[str], set[Use]]:
        """The names of a type parameter list (PEP 695) and the uses of its bounds and defaults."""
        params = getattr(node, "type_params", [])
        names = {param.name for param in params}
        values = [getattr(param, part, None) for param in params for part in ("bound", "default_value")]
        return names, self.lazy_uses(values, names)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])
        params, late = self.type_params(node)
        late |= self.annotation_uses([*(p.annotation for p in _parameters(node.args)), node.returns], params)
        late |= _without(self.function_uses(node.args, node.body), params)
        self.bind(node.name)
        self.defer(node.name, late)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.absorb(self.lambda_uses(node))

    def lambda_uses(self, node: ast.Lambda) -> set[Use]:
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        return self.function_uses(node.args, [node.body])

    def function_uses(self, args: ast.arguments, body: Iterable[ast.AST]) -> set[Use]:
        function = self.inner("function")
        for parameter in _parameters(args):
            function.bind(parameter.arg)
        function.visit_all(body)
        self.enter(function)
        return function.close(function.ever - function.globals - function.nonlocals)

    def visit_ListComp(self, node: _Comprehension) -> None:
        self.absorb(self.comprehension_uses(node))

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def comprehension_uses(self, node: _Comprehension) -> set[Use]:
        self.visit(node.generators[0].iter)  # evaluated by the scope around
        inner = self.inner("function")
        for position, generator in enumerate(node.generators):
            inner.awaits |= bool(generator.is_async)
            inner.visit_all([generator.iter if position else None, generator.target])
            for condition in generator.ifs:
                inner.flow, _ = inner.test(condition)
        inner.visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.awaits |= inner.awaits and not isinstance(node, ast.GeneratorExp)
        targets = {
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        for name in inner.ever - targets:  # `:=` binds around the comprehension
            self.bind(name, certain=False)
        self.enter(inner)
        return inner.close(targets)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all(node.decorator_list)
        params, late = self.type_params(node)
        self.mention(self.aside([*node.bases, *node.keywords], params))
        body = self.inner("class")
        body.visit_all(node.body)
        uses = body.close(params)
        if self.kind == "class" or node.bases or node.keywords:  # a metaclass may provide some of the names
            self.absorb(uses)
        else:
            for use in uses:
                self.touch(*use)
        self.enter(body)
        self.bind(node.name)
        self.defer(node.name, late | _without(set().union(*body.late.values()), params))

    def visit_TypeAlias(self, node: Any) -> None:  # ast.TypeAlias, new in 3.12
        params, late = self.type_params(node)
        late |= self.lazy_uses([node.value], params)
        self.visit(node.name)
        self.defer(node.name.id, late)


def _without(uses: Iterable[Use], names: Collection[str]) -> set[Use]:
    return {use for use in uses if use.explicit or use.name not in names}


def _parameters(args: ast.arguments) -> list[ast.arg]:
    starred = [parameter for parameter in (args.vararg, args.kwarg) if parameter is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *starred]


def _is_harmless_magic(call: ast.Call) -> bool:
    """Whether a call, made of a magic by IPython, neither reads nor binds names that could be seen here."""
    match call.func:
        case ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attr):
            magic = call.args[0] if call.args else None
            harmless = isinstance(magic, ast.Constant) and magic.value in _HARMLESS_MAGICS
            return attr in ("system", "getoutput") or (attr == "run_line_magic" and harmless)
    return False


def is_environment(name: str) -> bool:
    """Whether the name is one that IPython or the import system puts into every namespace."""
    return _ENVIRONMENT.fullmatch(name) is not None


def _is_always_there(name: str) -> bool:
    return name in _BUILTINS or is_environment(name)
