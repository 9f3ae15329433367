"""Does a store whose bytes were changed still say what the undamaged one says, or does it say what is wrong?"""

from __future__ import annotations

import hashlib
import sys

from wfkernel.errors import WorkflowError
from wfkernel.store.fsck import check
from wfkernel.store.store import Store

SAME, NAMED, UNNOTICED = 0, 10, 11


def content(store: Store) -> str:
    """Everything the views say, as one digest."""
    queries = (
        "SELECT * FROM events ORDER BY ALL",
        "SELECT * FROM runs ORDER BY ALL",
        "SELECT * FROM steps ORDER BY ALL",
    )
    return hashlib.sha256(repr([store.query(query) for query in queries]).encode()).hexdigest()


def compare(damaged: str, expected: str) -> int:
    try:
        store = Store(damaged)
        if problems := check(store):
            print(problems[0])
            return NAMED
        return SAME if content(store) == expected else UNNOTICED
    except WorkflowError as error:
        print(error)
        return NAMED


if __name__ == "__main__":
    sys.exit(compare(sys.argv[1], sys.argv[2]))
