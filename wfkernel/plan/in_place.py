"""Which objects a call is likely to change in place, guessed from its shape.

Nothing in Python's syntax tells ``model.fit(X)`` from ``model.predict(X)``. What does tell is whether anybody
looks at the result: a call whose result is thrown away is there for what it changes. So a discarded method
call may change the object before its last dot, and a discarded call of a plain function may change its
arguments. Tables of names correct the guess both ways. Whether ``tools.clean(df)`` is a method or a function
of a module can only be told where the same body imports ``tools``; elsewhere it is taken for a method.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

__all__ = ["CHANGING_FUNCTIONS", "CHANGING_METHODS", "READING_METHODS", "changed_by", "root_name"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Methods that look at their object, or make a new one from it, and leave it as it was.
READING_METHODS = _words("""
    agg aggregate all any assign astype bar boxplot copy corr count cov critical debug decode describe diff drop
    drop_duplicates dropna encode endswith error exception exists fillna filter first format get groupby head hist
    index info is_dir is_file isin isna items join keys last line lower mean median melt merge min max mode notna
    nunique pivot pivot_table plot predict predict_proba print quantile query rename reset_index round sample savefig
    scatter score select set_index show sort_values split startswith std strip sum tail to_csv to_dict to_excel
    to_feather to_html to_json to_list to_markdown to_numpy to_pandas to_parquet to_pickle to_sql to_string tolist
    unique upper value_counts values var warning with_columns write_csv write_parquet
""")

# Methods that change their object even where their result is used.
CHANGING_METHODS = _words("fit fit_predict fit_transform partial_fit pop popitem popleft setdefault")

# Functions, called as ``module.function(x)``, that change the objects they are given.
CHANGING_FUNCTIONS = _words("""
    copyto fill_diagonal heapify heappop heappush heappushpop heapreplace insort insort_left insort_right place put
    putmask shuffle
""")


def root_name(node: ast.expr) -> str | None:
    """The ``a`` of ``a.b[c].d``; None for anything that does not start with a name."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def changed_by(call: ast.Call, discarded: bool, imported: Collection[str]) -> Iterator[str]:
    """The names of objects that `call` may change in place.

    `discarded` says that nobody uses the call's result, `imported` which names the body imports. Which of the
    names come from outside is for the caller to tell.
    """
    arguments: list[ast.expr] = []
    changed: list[ast.expr] = []
    if isinstance(call.func, ast.Attribute):
        receiver, method = call.func.value, call.func.attr
        if (discarded and method not in READING_METHODS) or method in CHANGING_METHODS or _inplace(call):
            changed.append(receiver)
        if method in CHANGING_FUNCTIONS or (discarded and root_name(receiver) in imported):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    elif isinstance(call.func, ast.Name):
        if call.func.id in ("setattr", "delattr"):
            changed += call.args[:1]
        elif discarded:
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    changed += [argument for argument in arguments if isinstance(argument, ast.Name | ast.Starred)]
    yield from filter(None, map(root_name, changed))


def _inplace(call: ast.Call) -> bool:
    return any(
        keyword.arg == "inplace" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
        for keyword in call.keywords
    )
