"""What a cell body reads, needs, binds, deletes, stores into and may change, as tables and as properties.

The tables say what we want to be told. The properties hold it against what Python does: bodies are executed with
stand-ins for the names they are found to read, whose truth value, length and failures are drawn at random so that
different runs take different paths. No other name may be missed, and no name they are found to need may be left out.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import random
import re
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from wfkernel.errors import DefinitionError
from wfkernel.plan.analyse import analyse, code_digest


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ------------------------------------------------------------------------------------------------- reads and binds

# body, what it reads, what it binds
READS_AND_BINDS = [
    # assignments
    ("y = x + 1", "x", "y"),
    ("x = x + 1", "x", "x"),
    ("x += 1", "x", "x"),
    ("x = 1\nx += y", "y", "x"),
    ("print(x); x = 1", "x", "x"),
    ("x = 1; print(x)", "", "x"),
    ("(a, (b, *c)) = t", "t", "a b c"),
    ("a = b = c", "c", "a b"),
    ("a, b = b, a", "a b", "a b"),
    ("[a, *b] = c", "c", "a b"),
    ("x: int = 1\ny: Foo", "Foo", "x"),
    ("x: Foo = f(x)", "Foo f x", "x"),
    ("from __future__ import annotations\ny: Foo = 1", "", "annotations y"),
    ("from __future__ import annotations\ndef f(a: Foo = b) -> Bar: return c", "b c", "annotations f"),
    ("obj.a: int", "obj", ""),
    ("if (n := len(d)) > 3: m = n", "d", "n m"),
    ("f(a := b, a)", "f b", "a"),
    ("df['a'] = df.b * 2", "df", ""),
    ("obj.attr = 1", "obj", ""),
    ("a[i].b, c = d", "a i d", "c"),
    ("for df['x'] in xs: pass", "df xs", ""),
    ("'no names at all'", "", ""),
    ("", "", ""),
    # deleting
    ("del x", "x", ""),
    ("x = 1; del x", "", ""),
    ("x = 1; del x; x = 2", "", "x"),
    ("x = 1; del x; print(x)", "x", ""),
    ("del a, b[c]", "a b c", ""),
    ("x = 1\nif c: del x\nprint(x)", "c x", "x"),
    # branches
    ("if c:\n    v = 1\nprint(v)", "c v", "v"),
    ("if c:\n    v = 1\nelse:\n    v = 2\nprint(v)", "c", "v"),
    ("if c:\n    v = 1\nelse:\n    raise E\nprint(v)", "c E", "v"),
    ("if a: v = 1\nelif b: v = 2\nelse: v = 3\nprint(v)", "a b", "v"),
    ("if a: v = 1\nelif b: v = 2\nprint(v)", "a b v", "v"),
    ("if True: v = 1\nprint(v)", "", "v"),
    ("if a and (b := f(a)): print(b)", "a f", "b"),
    ("if a and (b := f(a)): pass\nprint(b)", "a f b", "b"),
    ("if not a or not (b := f(a)): raise E\nprint(b)", "a f E", "b"),
    ("if not (a or (b := c)): print(b)", "a c", "b"),
    ("x = (y := a) if b else c\nprint(y)", "a b c y", "x y"),
    ("a < (b := c) < (d := e)\nb, d", "a c e d", "b d"),
    ("assert (x := f()), x\nprint(x)", "f", "x"),
    ("raise E\nprint(x)", "E", ""),
    # loops
    ("for i in it: s = i", "it", "i s"),
    ("for i in it: pass\nprint(i)", "it i", "i"),
    ("for k in ks:\n    pass\nelse:\n    z = k", "ks k", "k z"),
    ("for i in it:\n    t = f(i)\n    del t", "it f", "i"),
    ("for i in it:\n    if c: break\nelse:\n    x = 1\nprint(x)", "it c x", "i x"),
    ("for i in it: pass\nelse: x = 1\nprint(x)", "it", "i x"),
    ("for i in it:\n    print(last)\n    last = i", "it last", "i last"),
    ("for x in x: print(x)", "x", "x"),
    ("while c: v = 1\nprint(v)", "c v", "v"),
    ("while True:\n    v = f()\n    if v: break\nprint(v)", "f", "v"),
    ("while True:\n    if c: break\n    v = f()\nprint(v)", "c f v", "v"),
    ("while (line := read()): use(line)\nprint(line)", "read use", "line"),
    ("while c:\n    if d: continue\n    v = 1\nelse: print(v)", "c d v", "v"),
    ("while True: f()\nprint(x)", "f", ""),
    # exceptions
    ("try:\n    v = f()\nexcept E as e:\n    v = None", "f E", "v"),
    ("try:\n    v = f()\nexcept E:\n    pass\nprint(v)", "f E v", "v"),
    ("try:\n    v = f()\nexcept E:\n    raise\nprint(v)", "f E", "v"),
    ("try:\n    v = f()\nexcept E:\n    v = 0\nelse:\n    w = v\nprint(v, w)", "f E w", "v w"),
    ("try: f()\nexcept E as e: print(e)\nprint(e)", "f E e", ""),
    ("e = 1\ntry: f()\nexcept E as e: pass\nprint(e)", "f E e", "e"),
    ("for i in it:\n    e = 1\n    try: f()\n    except E as e: break\nelse: e = 2\nprint(e)", "it f E e", "i e"),
    ("e = 1\ntry:\n    try: f()\n    except E as e: raise\nfinally: print(e)", "f E e", "e"),
    ("try: v = f()\nfinally: g()\nprint(v)", "f g", "v"),
    ("try: fh = f()\nfinally: fh.close()", "f fh", "fh"),
    ("try: f()\nfinally: v = 1\nprint(v)", "f", "v"),
    ("while True:\n    try:\n        v = f()\n        break\n    finally: w = 1\nprint(v, w)", "f", "v w"),
    ("x = 1\nfor i in it:\n    try: continue\n    finally: del x\nprint(x)", "it x", "i x"),
    ("try: import fast as m\nexcept ImportError: m = None\nm", "", "m"),
    ("try: old\nexcept NameError: old = 1", "old", "old"),
    ("x = 1\ntry:\n    del x\n    f()\n    x = 2\nexcept E: print(x)", "f E x", "x"),
    ("try:\n    f()\nexcept* (A, B) as g:\n    v = g", "f A B", "v"),
    ("try:\n    t = f()\n    g(t)\n    del t\nexcept E: pass", "f g E", "t"),
    # with
    ("with open(p) as fh: t = fh.read()", "p", "fh t"),
    ("with a as x, b(x) as y: z = y\nprint(z)", "a b", "x y z"),
    ("with a as (x, y[k]): pass", "a y k", "x"),
    ("with suppress(E): v = f()\nprint(v)", "suppress E f v", "v"),
    # imports
    ("import a.b as q, os.path\nfrom z import w as ww", "", "q os ww"),
    ("from . import thing", "", "thing"),
    # functions
    ("def f(a, b=c):\n    d = 1\n    return a + d + g", "c g", "f"),
    ("def f():\n    return h()\ndef h(): return 1", "", "f h"),
    ("def f():\n    return h()\nf()\ndef h(): return 1", "h", "f h"),
    ("def f(): return f()", "", "f"),
    ("def a(): return b()\ndef b(): return a() + k\na()\nk = 1", "k", "a b k"),
    ("def f():\n    return h\nif c: h = 1", "c h", "f h"),
    ("def f():\n    return h\nh = 1\ndel h", "h", "f"),
    ("def f():\n    global G\n    G = 1", "", "f G"),
    ("def f():\n    global G\n    G += 1", "G", "f G"),
    ("def f():\n    global G\n    G = 1\n    return G", "", "f G"),
    ("def f():\n    global G\n    G = 1\nf()\nprint(G)", "G", "f G"),
    ("def f():\n    def g():\n        global x\n        x = y\n    x = 1", "y", "f x"),
    ("def f():\n    def g():\n        global x\n        return x\n    x = 1", "x", "f"),
    ("def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += k\n    return g", "k", "f"),
    ("def f():\n    print(x)\n    x = 1", "", "f"),
    ("def f(*a, k, **kw): return a, k, kw, z", "z", "f"),
    ("def f(a, /, b: T = d, *c: U, e: V = g, **h: W) -> R: pass", "T d U V g W R", "f"),
    ("def f():\n    x: Foo = 1\n    y: Bar\n    return x, y", "", "f"),
    ("def f():\n    import m\n    with m as w: pass\n    for i in w: pass\n    return [i for j in i]", "", "f"),
    ("def f():\n    try: pass\n    except E as e: print(e)\n    return (w := 1), w", "E", "f"),
    ("def f():\n    class C:\n        def g(self): return x, y\n    x = 1\n    return C", "y", "f"),
    ("def f(x):\n    match x:\n        case [a, *b]: return a, b, q", "q", "f"),
    ("def f():\n    if c: return\n    global G\n    G = 1", "c", "f G"),
    ("@deco(opt)\nasync def k(): ...", "deco opt", "k"),
    ("@deco\ndef f(): return h()\ndef h(): return 1", "deco", "f h"),
    ("def gen():\n    yield from xs\n    yield y", "xs y", "gen"),
    ("f = lambda q: q + z", "z", "f"),
    ("f = lambda q: q + z\nz = 1", "", "f z"),
    ("r = map(lambda q: q + z, xs)\nz = 1", "z xs", "r z"),
    ("f = lambda a, b=c: (a, b, (d := e), d)", "c e", "f"),
    ("x = x if x else (lambda: x)()", "x", "x"),
    # classes
    ("class A(B):\n    k = m\n    def go(self): return self.k + o", "B m o", "A"),
    ("class A:\n    k = 1\n    def go(self): return k", "k", "A"),
    ("class A:\n    k = 1\n    j = k\n    k, k2 = j, k", "", "A"),
    ("class A:\n    n = 3\n    xs = [n for i in range(n)]", "n", "A"),
    ("class A(B, metaclass=M, opt=o):\n    x: T = d", "B M o T d", "A"),
    ("class A:\n    if c: k = 1\n    print(k)", "c k", "A"),
    ("class A:\n    def make(self): return C()\nclass C(A): pass", "", "A C"),
    ("class A:\n    def make(self): return C()\nA().make()\nclass C(A): pass", "C", "A C"),
    ("class A:\n    def me(self): return __class__, super().me()", "", "A"),
    ("class A:\n    global g\n    g = 1", "", "A g"),
    ("class A:\n    class B:\n        def f(self): return A, B, k\n    k = 1", "B k", "A"),
    ("class A:\n    k = 1\n    class B: j = k", "k", "A"),
    ("class A:\n    name = __qualname__ + __module__", "", "A"),
    ("@d\nclass A: x = y", "d y", "A"),
    ("def f(a, b):\n    class C: a = a, b", "a", "f"),  # the class's `a` is not the function's
    # comprehensions
    ("r = [i*k for i in xs if i > t]", "k xs t", "r"),
    ("r = [y for x in xs for y in x]", "xs", "r"),
    ("r = [y for x in y for y in x]", "y", "r"),
    ("r = {k: v for k, v in d.items() if k not in skip}", "d skip", "r"),
    ("r = {x for x in xs if (y := f(x))}\nprint(y)", "xs f y", "r y"),
    ("r = [(p, p := x) for x in xs]", "xs p", "r p"),
    ("r = [[j for j in range(i)] for i in range(n)]", "n", "r"),
    ("r = [x for x in xs]\nprint(x)", "xs x", "r"),
    ("g = (x * k for x in xs)\nk = 1", "xs", "g k"),
    ("g = (x * k for x in xs)\nnext(g)\nk = 1", "xs k", "g k"),
    ("s = sum(x * k for x in xs)\nk = 1", "xs k", "s k"),
    ("fs = [lambda: i + j for i in xs]", "xs j", "fs"),
    # match
    (
        "match cmd:\n    case {'a': v, **rest}: out = v\n    case Point(x=px): out = px",
        "cmd Point",
        "v rest px out",
    ),
    ("match c:\n    case Color.RED: x = 1\n    case _: x = 2\nprint(x)", "c Color", "x"),
    ("match c:\n    case 1: x = 1\n    case other: x = other\nprint(x)", "c", "x other"),
    ("match c:\n    case 1: x = 1\nprint(x)", "c x", "x"),
    ("match c:\n    case [a, *b] if t(a): pass\n    case _: print(a)", "c t a", "a b"),
    ("match c:\n    case (1 as n) | (2 as n): print(n)", "c", "n"),
    ("match c:\n    case 1 | _: x = 1\nprint(x)", "c", "x"),
    ("match c:\n    case y if y: x = 1\nprint(x)", "c x", "x y"),
    # strings, awaiting, names that are always there
    ("s = f'{name!r:>{width}}'", "name width", "s"),
    ("s = 'x' f'{x}' f'{(lambda: y)()}'", "x y", "s"),
    ("await go(p)", "go p", ""),
    ("async for a in s: b = a", "s", "a b"),
    ("async with s as a: b = a", "s", "a b"),
    ("r = [x async for x in s if await ok(x)]", "s ok", "r"),
    ("display(In, Out, _, __, ___, _i, _ii, _12, _i3, __name__, __file__, __doc__)", "", ""),
    ("for _ in range(3): a, _ = f()", "f", "a"),
    ("get_ipython().run_line_magic('timeit', 'f(x)')", "", ""),
    ("get_ipython().system('ls {folder}')", "", ""),
    ("get_ipython().system(command)", "command", ""),
    ("files = get_ipython().getoutput('ls')", "", "files"),
    ("list = list(xs)", "xs", "list"),
    ("print(*args, **options)", "args options", ""),
]  # fmt: skip

if sys.version_info >= (3, 12):
    READS_AND_BINDS += [
        ("type X = list[T]", "T", "X"),
        ("type X[T] = dict[T, U]", "U", "X"),
        ("type X = list[X] | Y\ntype Y = X", "", "X Y"),
        ("def f[T: B](a: T, b: U = d) -> T: return T, k", "B U d k", "f"),
        ("class A[T](Base[T]):\n    def f(self, x: T): return T, k", "Base k", "A"),
        ("class A[*Ts, **P]:\n    x = Ts, P, k", "k", "A"),
        ("class A:\n    K = int\n    type L[T: K] = K\n    def f[T: K](self): return K", "K", "A"),
        ("f'{x!r:{'a' + y}} {f'{z}'}'", "x y z", ""),
    ]
if sys.version_info >= (3, 13):
    READS_AND_BINDS += [("def f[T = D](a: T): return T", "D", "f")]
if sys.version_info >= (3, 14):
    READS_AND_BINDS += [
        ("s = t'{name!r:>{width}}'", "name width", "s"),
        ("def f(a: A) -> B: pass\nclass A: b: B\nclass B: pass", "", "f A B"),
        ("try: f()\nexcept A, B: v = 1", "f A B", "v"),
    ]
else:
    READS_AND_BINDS += [("def f(a: A): pass\nclass A: b: B\nclass B: pass", "A B", "f A B")]


@pytest.mark.parametrize(("body", "reads", "binds"), READS_AND_BINDS)
def test_reads_and_binds(body: str, reads: str, binds: str) -> None:
    found = analyse(body)
    assert (found.reads, found.binds) == (names(reads), names(binds))


# ----------------------------------------------------------------------------------------------------- needs

NEEDS = [
    ("y = x + 1", "x"),
    ("x += 1", "x"),
    ("print(x); x = 1", "x"),
    ("del x", "x"),
    ("f(a)[b].c = d", "f a b d"),
    ("if a: b\nelse: c", "a"),
    ("if c: v = 1\nprint(v)", "c"),
    ("x = a if b else c", "b"),
    ("a and b or c", "a"),
    ("not a", "a"),
    ("a < b < c", "a b"),
    ("for i in a: b(i)", "a"),
    ("for i in a: b(i)\nelse: c", "a c"),
    ("for i in a:\n    if b: break\nelse: c", "a"),
    ("for i in a: pass\nprint(i, d)", "a d"),
    ("while a: b", "a"),
    ("assert a, b", "a"),
    ("r = [x * k for x in xs if t]", "xs"),
    ("r = (x for x in xs for y in ys)", "xs"),
    ("f = lambda a=b: c", "b"),
    ("@d\ndef f(a=b): return c\nf()", "d b"),
    ("def f(a: T) -> R: pass", ""),
    ("y: Foo = x", "x"),
    (
        "class A(B, metaclass=M):\n    k = m\n    def f(self): return z",
        "B M",
    ),  # a metaclass may provide names
    ("class A:\n    k = m\n    if k: n\n    def f(self): return z", "m"),
    ("match a:\n    case b.C: d\n    case _: e", "a"),
    ("f'{a:{b}}'", "a b"),
    ("await f(x)", "f x"),
    ("async for a in s: b", "s"),
    # an exception may be caught
    ("try: f(x)\nexcept NameError: pass", ""),
    ("try: f(x)\nexcept Exception: pass", ""),
    ("try: f(x)\nexcept: pass", ""),
    ("try: f(x)\nexcept (KeyError, mylib.Error): pass", ""),
    ("try: f(x)\nexcept E: g\nelse: h\nfinally: i", "i"),
    ("try: f(x)\nfinally: g", "f x g"),
    ("try:\n    a = f(x)\n    b = g(y)\nexcept (KeyError, ValueError): pass\nz", "f x z"),
    ("KeyError = Exception\ntry: f(x)\nexcept KeyError: pass", ""),
    ("with open(p) as fh: t = parse(fh)", "p parse"),
    ("with a: b\nc", "a c"),
    ("with suppress(NameError): b\nc", "suppress c"),
    # a name may have been bound, or the body left, before
    ("get_ipython().system('ls')\nb", "b"),
    ("x = get_ipython().getoutput('ls')\nb", "b"),
    ("def f():\n    global b\n    b = 1\nf()\nb", ""),
    ("if a: raise E\nb", "a"),
    ("if a: sys.exit()\nb", "a"),
    ("if not ready: exit()\nb", "ready"),
    ("def f(): raise E\nb", "b"),
]

UNSEEN_BINDINGS = [
    ("a\nexec(code)\nb", "a"),
    ("globals().update(d)\nb", ""),
    ("get_ipython().run_line_magic('run', 'setup.py')\nb", ""),
    ("def f():\n    globals()['b'] = 1\nf()\nb", ""),
]


@pytest.mark.parametrize(("body", "needs"), NEEDS + UNSEEN_BINDINGS)
def test_needs_are_the_reads_the_body_cannot_do_without(body: str, needs: str) -> None:
    assert analyse(body).needs == names(needs)


# --------------------------------------------------------------------------------------- changes to objects in place

STORES = [
    ("df['x'] = 1", "df"),
    ("obj.a = 1", "obj"),
    ("del df['x'], obj.a", "df obj"),
    ("df.x += 1", "df"),
    ("df.loc[mask, 'x'] = y", "df"),
    ("a.b.c[0] = 1", "a"),
    ("a[0], (b.x, *c[i]) = t", "a b c"),
    ("df = load()\ndf['x'] = 1", ""),
    ("df['x'] = 1\ndf = load()", "df"),
    ("if c: df = load()\ndf['x'] = 1", "df"),
    ("df = df.copy()\ndf['x'] = 1", ""),
    ("for cfg.lr in rates: pass", "cfg"),
    ("with a as b.c: pass", "b"),
    ("f(x).a = 1", ""),
    ("obj.a: int", ""),
    ("obj.a: int = 1", "obj"),
    ("def f(df): df['x'] = 1", ""),
    ("def f(): cache['x'] = 1", ""),
    ("def f(): cache['x'] = 1\nf()", "cache"),
    ("class A:\n    def f(self): self.x = cache.y = 1\nA().f()", "cache"),
    ("class A: registry['A'] = 1", "registry"),
    ("x = 1", ""),
]

MUTATES = [
    ("model.fit(X)", "model"),
    ("lst.append(1)", "lst"),
    ("lst.append(1)\nprint(lst)", "lst"),
    ("a.b[0].c.update(d)", "a"),
    ("await queue.put(x)", "queue x"),
    ("_ = model.fit(X)", "model"),
    ("history = model.fit(X)", "model"),
    ("job = queue.pop()", "queue"),
    ("y = model.predict(X)", ""),
    ("n = obj.compute()", ""),
    ("obj.compute()", "obj"),
    ("model.compile('adam')", "model"),
    ("lst = []\nlst.append(x)", ""),
    ("if c: lst.append(x)", "lst"),
    ("df.drop(columns='x', inplace=True)", "df"),
    ("x = df['a'].fillna(0, inplace=flag)", "df"),
    ("df.drop(columns='x', inplace=False)", ""),
    ("df.drop(columns='x')", ""),
    ("df.head()", ""),
    ("df.tail(); df.describe(); df.info(); df.plot(); df.hist()", ""),
    ("df.sample(3); s.value_counts(); df.to_csv(p); df.to_parquet(p); d.keys(); d.items(); plt.show()", ""),
    ("df.groupby('k').mean()", ""),
    ("add_features(df)", "df"),
    ("add_features(df, by=keys, n=3)", "df keys"),
    ("add_features(df['x'], [other])", ""),
    ("add_features(*dfs, **options)", "dfs options"),
    ("df2 = add_features(df)", ""),
    ("df = load()\nadd_features(df)", ""),
    ("print(df); len(df); display(df); isinstance(df, T); repr(df)", ""),
    ("setattr(obj, 'a', 1)", "obj"),
    ("random.shuffle(xs)", "random xs"),
    ("top = heapq.heappop(heap)", "heap"),
    ("import tools\ntools.clean(df)", "df"),
    ("tools.clean(df)", "tools"),
    ("df['x'] = 1\ndf.sort()", ""),  # told already by `stores`
    ("total += 1", "total"),
    ("def f(x): x.append(seen)", ""),
    ("def f(x): seen.append(x)\nf(1)", "seen"),
    ("def f(x): x.append(1)\nf(xs)", "xs"),
    ("get_ipython().run_line_magic('matplotlib', 'inline')", ""),
]


@pytest.mark.parametrize(("body", "stores"), STORES)
def test_stores_are_the_outside_objects_the_body_stores_into(body: str, stores: str) -> None:
    assert analyse(body).stores == names(stores)


@pytest.mark.parametrize(("body", "mutates"), MUTATES)
def test_mutates_are_the_outside_objects_a_call_may_change(body: str, mutates: str) -> None:
    assert analyse(body).mutates == names(mutates)


# ------------------------------------------------------------------------------------------------ deletes and awaits

DELETES = [
    ("del x", "x"),
    ("del x, y", "x y"),
    ("x = 1; del x", "x"),
    ("del x; x = 1", ""),
    ("del df['x'], obj.a", ""),
    ("if c: del x", ""),  # it may still be there
    ("if c: del x\nelse: del x", "x"),
    ("for x in xs: pass\ndel x", "x"),
    ("for x in xs: del y", ""),
    ("try: f()\nexcept E as e: pass", ""),
    ("try: del x\nexcept NameError: pass", ""),
    ("del x\nif c: x = 1", ""),
    ("def f(x): del x", ""),
    ("del _", ""),
]

AWAITS = [
    ("await f()", True),
    ("x = 1 + await f()", True),
    ("async for x in xs: pass", True),
    ("async with a: pass", True),
    ("if c:\n    async with a: pass", True),
    ("r = [x async for x in xs]", True),
    ("r = {k: await v for k, v in d}", True),
    ("r = [y for x in [1] for y in [z async for z in x]]", True),
    ("f(a=await b)", True),
    ("g = (x async for x in xs)", False),
    ("g = (x for x in await xs)", True),
    ("async def f(): await g()", False),
    ("async def f():\n    async with a: return [x async for x in y]", False),
    ("@deco(await x)\ndef f(): pass", True),
    ("x = f()", False),
]


@pytest.mark.parametrize(("body", "deletes"), DELETES)
def test_deletes_are_the_names_gone_for_certain(body: str, deletes: str) -> None:
    assert analyse(body).deletes == names(deletes)


@pytest.mark.parametrize(("body", "awaits"), AWAITS)
def test_uses_await_tells_whether_the_top_level_awaits(body: str, awaits: bool) -> None:
    assert analyse(body).uses_await is awaits


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("body", "statement"),
    [
        ("x = 1\n\nfrom tools.text import *", "from tools.text import *"),
        ("\n\nfrom .. import *", "from .. import *"),
    ],
)
def test_a_star_import_is_refused_with_one_line(body: str, statement: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        analyse(body)
    assert str(caught.value) == (f"`{statement}` hides which names this step binds (line 3): import the names you use")


def test_source_that_does_not_parse_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        analyse("x = = 1")
    with pytest.raises(SyntaxError):
        code_digest("x = = 1")


def test_statements_only_the_compiler_refuses_are_analysed_all_the_same() -> None:
    assert analyse("break\ncontinue").reads == set()
    assert analyse("return x").reads == {"x"}


def test_code_too_deep_to_walk_is_refused_with_one_line() -> None:
    with pytest.raises(DefinitionError, match="too long to be analysed: split it"):
        analyse("x = " + " + ".join(["a"] * 2000))


@pytest.mark.parametrize(
    ("cell", "reads", "needs", "binds"),
    [
        ("%matplotlib inline\nx = f(a)", "f a", "f a", "x"),
        ("!pip install {package}\nx = a", "a", "a", "x"),
        ("files = !ls\nn = len(files) + a", "a", "a", "files n"),
        ("%timeit f(x)\ny = a", "a", "a", "y"),
        ("%time x = f()\ny = a", "a", "", "y"),
        ("y = %env HOME", "", "", "y"),
        ("%run setup.py\nx = a", "a", "", "x"),
        ("model.fit?\nx = a", "a", "", "x"),
        ("%%bash\necho $x", "", "", ""),
    ],
)
def test_what_ipython_makes_of_magics_is_analysed(cell: str, reads: str, needs: str, binds: str) -> None:
    found = analyse(TransformerManager().transform_cell(cell))
    assert (found.reads, found.needs, found.binds) == (names(reads), names(needs), names(binds))


def test_a_tree_and_its_source_are_analysed_alike() -> None:
    for body, _, _ in READS_AND_BINDS:
        assert analyse(ast.parse(body)) == analyse(body)


def test_analysing_leaves_the_tree_as_it_was() -> None:
    for body, _, _ in READS_AND_BINDS:
        tree = ast.parse(body)
        before = ast.dump(tree, include_attributes=True)
        analyse(tree)
        assert ast.dump(tree, include_attributes=True) == before


# ----------------------------------------------------------------------------------------------------------- digests


def test_comments_and_formatting_do_not_change_the_digest() -> None:
    tidy = "x = f('a', 1)\nif x:\n    y = 2\n"
    messy = '# first\nx = f(  "a",\n   1,  # one\n)\n\n\nif (x):\n  y = 2'
    assert code_digest(tidy) == code_digest(messy) == code_digest(ast.parse(messy))


@pytest.mark.parametrize("other", ["x = f('b')", "y = f('a')", "x = f(a)", "x = f('a');f", "x = f(b'a')", ""])
def test_another_meaning_has_another_digest(other: str) -> None:
    assert code_digest("x = f('a')") != code_digest(other)


def test_the_digest_is_sixteen_bytes_in_hex() -> None:
    assert len(bytes.fromhex(code_digest("x = 1"))) == 16


def test_bodies_that_cannot_be_unparsed_have_a_digest() -> None:
    newline = "f'''{\"\"\"\n\"\"\"}'''"
    assert code_digest(newline) == code_digest(f"{newline}  # comment") != code_digest(newline + " + a")
    assert code_digest("'\\ud800'") != code_digest("'\\ud801'")


# ------------------------------------------------------------------------------------------- what Python itself does


class Failure(Exception):
    """What stand-ins raise, and the only thing that bodies catch."""


class Enough(BaseException):
    """A run drew too often: it may be in an endless loop."""


class Chance:
    """Draws at random, a limited number of times."""

    def __init__(self, seed: int) -> None:
        self._random, self._left = random.Random(seed), 200

    def pick(self, *options: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Enough
        return self._random.choice(options)


class StandIn:
    """Does for any object; whether it is true, how long it is and whether calling it fails is drawn at random."""

    chance: Chance

    def __init__(self, chance: Chance) -> None:
        vars(self)["chance"] = chance

    def itself(self, *_: Any, **__: Any) -> StandIn:
        return self

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __or__ = __ror__ = itself
    __lt__ = __gt__ = __le__ = __getattr__ = __getitem__ = __enter__ = itself

    def __call__(self, *_: Any, **__: Any) -> StandIn:
        if self.chance.pick(True, *[False] * 7):
            raise Failure
        return self

    def __bool__(self) -> bool:
        return bool(self.chance.pick(True, False))

    __contains__ = lambda self, _: bool(self)  # noqa: E731

    def __iter__(self) -> Iterator[StandIn]:
        return iter([self] * self.chance.pick(0, 1, 2, 2, 3))

    def __index__(self) -> int:
        return 2

    def __format__(self, _: str) -> str:
        return ""

    def __mro_entries__(self, _: Any) -> tuple[()]:
        return ()

    def __setattr__(self, *_: Any) -> None: ...
    def __delattr__(self, *_: Any) -> None: ...
    def __setitem__(self, *_: Any) -> None: ...
    def __delitem__(self, *_: Any) -> None: ...
    def __exit__(self, *_: Any) -> None: ...

    def __await__(self) -> Iterator[None]:
        return iter(())

    async def __aenter__(self) -> StandIn:
        return self

    async def __aexit__(self, *_: Any) -> None: ...

    async def __aiter__(self) -> AsyncIterator[StandIn]:
        for item in self:
            yield item


ALWAYS_THERE = [
    "display",
    "get_ipython",
    "In",
    "Out",
    "_",
    "__",
    "___",
    "_i",
    "_ii",
    "_12",
    "_i3",
    "__file__",
    "__doc__",
]


@dataclass
class Run:
    """One execution of a body in a namespace that holds the given names."""

    body: str
    given: Collection[str]
    seed: int
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.stand_in = StandIn(Chance(self.seed))
        special = {"E": Failure, "A": Failure, "suppress": contextlib.suppress}
        self.before = {name: special.get(name, self.stand_in) for name in self.given}
        harmless = {"__import__": self.stand_in.itself, "open": self.stand_in, "print": self.stand_in.itself}
        self.space: dict[str, Any] = dict.fromkeys(ALWAYS_THERE, self.stand_in)
        self.space |= {"__name__": "body", "__builtins__": vars(builtins) | harmless, **self.before}
        self.there = set(self.space) - set(self.given) | {
            "__annotations__",
            "__annotate__",
            "__conditional_annotations__",
        }
        code = compile(self.body, "<body>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        self.error = self.error_of(lambda: eval(code, self.space))
        self.after = dict(self.space)

    def error_of(self, call: Callable[[], Any]) -> BaseException | None:
        try:
            result = call()
            if inspect.iscoroutine(result):
                result.send(None)
            elif inspect.isgenerator(result):
                list(result)
        except StopIteration:  # the end of a coroutine
            return None
        except (Exception, Enough, SystemExit) as error:
            return error
        return None

    @property
    def bound(self) -> set[str]:
        """The names that were not there before, or stand for something else now."""
        new = {name for name, value in self.after.items() if self.before.get(name) is not value}
        return new - self.there

    def missing_later(self) -> Iterator[str]:
        """The names in vain looked up by the functions the body has defined."""
        made = [self.after[name] for name in self.bound]
        made += [inner for outer in made if isinstance(outer, type) for inner in vars(outer).values()]
        for function in made:
            if isinstance(function, FunctionType):
                code = function.__code__
                keywords = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
                arguments = [self.stand_in] * code.co_argcount
                options = dict.fromkeys(keywords, self.stand_in)
                error = self.error_of(partial(function, *arguments, **options))
                yield from missing(error)


def missing(error: BaseException | None) -> set[str]:
    """The global names that an error, or one it was raised in the wake of, missed."""
    found = set()
    while error is not None:
        if isinstance(error, NameError) and str(error).startswith("name '"):  # not a variable of a function
            found.add(str(error.name))
        error = error.__context__
    return found


def check_against_python(body: str, seed: int) -> Run:
    """Run a body with just the names it is found to read and hold all that happens against what was found."""
    found = analyse(body)
    run = Run(body, found.reads, seed)
    assert missing(run.error) <= found.reads, "a name is looked up that was not found to be read"
    assert found.needs | found.stores | found.mutates <= found.reads
    assert not found.stores & found.mutates
    assert not found.binds & found.deletes
    if run.error is None:
        assert run.bound <= found.binds
        assert not found.deletes & run.after.keys()
        assert set(run.missing_later()) <= found.reads
        for name in found.needs:
            without = Run(body, found.reads - {name}, seed)
            assert name in missing(without.error), f"the body can do without {name}"
    return run


@pytest.mark.parametrize(
    "body", [*dict.fromkeys(row[0] for row in [*READS_AND_BINDS, *NEEDS, *STORES, *MUTATES, *DELETES])]
)
def test_python_agrees_with_the_tables(body: str) -> None:
    for seed in range(4):
        check_against_python(body, seed)


VARIABLES = st.sampled_from("abcd")
FUNCTIONS = st.sampled_from("fg")


@st.composite
def straight_lines(draw: st.DrawFn) -> str:
    """Programs of assignments that all run to the end."""
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        x, y, z, w = (draw(VARIABLES) for _ in range(4))
        lines.append(
            draw(
                st.sampled_from(
                    [
                        f"{x} = {y} + {z}",
                        f"{x} += {y}",
                        f"{x}, {y} = {z}, {w}",
                        f"{x} = ({y} := {z}) + {y}",
                        f"{x} = [{y} for {y} in [{z}, {w}]][0]",
                        f"{x} = (lambda {y}: {y} + {z})({w})",
                        f"{x}: int = {y}",
                        f"for {x} in [{y}]: pass",
                        f"import {x}",
                        f"({x} := {y})",
                    ]
                )
            )
        )
    return "\n".join(lines)


@settings(deadline=None)
@given(straight_lines(), st.integers(0, 100))
def test_straight_lines_run_with_exactly_what_they_read_and_bind_exactly_what_was_found(body: str, seed: int) -> None:
    run = check_against_python(body, seed)
    found = analyse(body)
    assert run.error is None
    assert set(run.after) - run.there == found.reads | found.binds


# <x> and <y> are variables, the same ones throughout a production; <f> is a function. What could go on forever draws in
# every round (`_` is a stand-in), and no `finally` can swallow the exception that ends it when it has drawn too often.
GRAMMAR = {
    "atom": ["<x>", "<x>", "<f>(<x>)"],
    "expr": [
        "<x>",
        "<f>(<expr>)",
        "(<expr> + <expr>)",
        "(<x> := <expr>)",
        "(<expr> and <expr> or <expr>)",
        "(<expr> if <expr> else <expr>)",
        "(not <expr>)",
        "_([<expr> + i for i in <y> if <expr>])",
        "_(<atom> for <x> in <y> for <y> in <x>)",
        "(<expr> < <expr> < <expr>)",
        "(lambda <x>=<expr>: <expr>)(<y>)",
        "<f>(<x>, <f>)",
    ],
    "simple": [
        "<x> = <expr>",
        "<x> = <y> = <expr>",
        "<x> += <expr>",
        "<x>[<expr>] = <expr>",
        "<expr>",
        "del <x>",
        "<f> = lambda <x>: _() + <expr>",
        "<x> = (<expr> for <y> in <expr>)",
        "import <x>",
        "assert <expr>, <expr>",
        "raise E",
        "break",
        "continue",
        "return <expr>",
    ],
    "statement": [
        "<simple>",
        "<simple>",
        "<simple>",
        "if <expr>:<block>\nelse:<block>",
        "for <x> in <expr>:<block>\nelse:\n <y> = <expr>",
        "while <expr> and _:<block>\nelse:\n <x> = <expr>",
        "while True:\n _()<block>",
        "try:<block>\nexcept E as <x>:<block>\nelse:<block>",
        "try:<block>\nexcept E:<block>\nfinally:\n <x> = <expr>",
        "try:<block>\nfinally:\n <x> = <expr>",
        "with <expr> as <x>:<block>",
        "with suppress(E):<block>",
        "def <f>(<x>=None, **kw):\n _()<block>",
        "def <f>():\n global <x>\n _()<block>",
        "class <f>:<block>",
        "match <expr>:\n case {'k': <x>}: <simple>\n case <x> if <expr>: <y> = <expr>\n case _: <simple>",
    ],
}
SMALLER = {"expr": "atom", "statement": "simple"}
ONLY_IN = {"break": "loop", "continue": "loop", "return <expr>": "function", "del <x>": "may delete"}


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Bodies with branches, loops, handlers and functions; what only works in a loop or function stands there."""

    def grow(symbol: str, depth: int, around: set[str]) -> str:
        symbol = symbol if depth > 0 else SMALLER.get(symbol, symbol)
        production = draw(st.sampled_from([o for o in GRAMMAR[symbol] if ONLY_IN.get(o, "body") in around]))
        if production.startswith("class"):
            around = {"body"}
        elif production.startswith("def"):
            around = {"body", "function"} | (set() if "global" in production else {"may delete"})
        elif production.startswith(("for", "while")):
            around = around | {"loop"}
        chosen: dict[str, str] = {}

        def fill(hole: re.Match[str]) -> str:
            if hole[1] == "block":
                lines = [grow("statement", depth - 1, around) for _ in range(draw(st.integers(1, 2)))]
                return "\n" + textwrap.indent("\n".join(lines), " ")
            if hole[1] in GRAMMAR:
                return grow(hole[1], min(depth, 3) - 1, around)
            if hole[1] not in chosen:
                chosen[hole[1]] = draw(FUNCTIONS if hole[1] == "f" else VARIABLES)
            return chosen[hole[1]]

        return re.sub("<(\\w+)>", fill, production)

    return "\n".join(grow("statement", 3, {"body", "may delete"}) for _ in range(draw(st.integers(2, 5))))


@settings(max_examples=200, deadline=None)
@given(programs(), st.integers(0, 100))
def test_python_agrees_whatever_the_body(body: str, seed: int) -> None:
    try:
        compile(body, "<body>", "exec")
    except SyntaxError:  # such as `:=` in a comprehension of a class
        analyse(body)
    else:
        check_against_python(body, seed)
