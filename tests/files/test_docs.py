"""Every workflow file in the documents is valid."""

from __future__ import annotations

import re
from pathlib import Path

from wfkernel.plan.load import check_text

REPOSITORY = Path(__file__).parents[2]


def test_every_workflow_in_the_documents_is_valid() -> None:
    found = 0
    for document in REPOSITORY.glob("*.md"):
        for block in re.findall(r"^```yaml\n(.*?)^```", document.read_text("utf-8"), re.M | re.S):
            found += 1
            assert not check_text(block, document.name, REPOSITORY).problems
    assert found
