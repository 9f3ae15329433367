"""`wf resume RUN` at a terminal asks for the answer field by field."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pexpect

from tests.cli.conftest import REPOSITORY
from wfkernel import open_store
from wfkernel.engine.values import reveal

JOBS = """
from datetime import date
from typing import Literal, Optional
from pydantic import BaseModel, Field, SecretStr, model_validator
from wfkernel import Workflow, step, suspend

class Where(BaseModel):
    city: str = Field(min_length=3)

class Release(BaseModel):
    sure: bool
    share: float = Field(gt=0, lt=1, description="of the users")
    kind: Literal["minor", "major"]
    where: Where
    tags: list[str] = []
    note: Optional[str] = None
    day: date = date(2026, 11, 21)
    password: SecretStr

    @model_validator(mode="after")
    def _major_is_small(self):
        if self.kind == "major" and self.share > 0.5:
            raise ValueError("a major release goes to half of the users at most")
        return self

@step(resume=Release)
def ask(ctx) -> str:
    r = ctx.resume_data
    if r is None:
        ctx.suspend(message="release?", payload={"build": 7})
    return f"{r.sure} {r.share} {r.kind} {r.where.city} {r.tags} {r.note} {r.day} {len(r.password.get_secret_value())}"

release = Workflow("release").then(ask).commit()
"""


def test_every_field_is_asked_for_until_it_fits(tmp_path: Path):
    (tmp_path / "jobs.py").write_text(JOBS)
    own = {"WFKERNEL_STORE": str(tmp_path / "store.duckdb"), "WFKERNEL_KEY_FILE": str(tmp_path / "key")}
    environment = {**os.environ, **own, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"}

    def wf(*arguments: str) -> pexpect.spawn:
        command = ["-m", "wfkernel", *arguments]
        return pexpect.spawn(sys.executable, command, cwd=tmp_path, env=environment, encoding="utf-8", timeout=30)

    begun = wf("run", "jobs.py:release", "--run-id", "r")
    begun.expect(pexpect.EOF)
    begun.close()
    assert begun.exitstatus == 75

    asked = wf("resume", "r")
    for question, typed in [
        ("step 'ask' asks: release\\?.*\"build\": 7.*sure \\(y/n\\): ", "perhaps"),
        ("answer y or n\r\nsure \\(y/n\\): ", "y"),
        ("share \\(of the users\\): ", "1.5"),
        ("1.5 is greater than or equal to.*share \\(of the users\\): ", "0.75"),
        ("kind \\(one of minor, major\\): ", "huge"),
        ("is not one of.*kind \\(one of minor, major\\): ", "major"),
        ("where.city: ", "X"),
        ("shorter than 3 characters.*where.city: ", "Oslo"),
        ("tags: give it\\? \\[y/N\\]: ", "y"),
        ("tags.0 \\(empty line: no more\\): ", "a"),
        ("tags.1 \\(empty line: no more\\): ", ""),
        ("note \\(default null\\): ", ""),
        ('day \\(default "2026-11-21"\\): ', ""),
        ("password: ", "hush-hush"),
        # What only the model knows is said when all is there; then everything is asked for again.
        ("a major release goes to half.*sure \\(y/n\\): ", "y"),
        ("share \\(of the users\\): ", "0.25"),
        ("kind \\(one of minor, major\\): ", "major"),
        ("where.city: ", "Rome"),
        ("tags: give it\\? \\[y/N\\]: ", ""),
        ("note \\(default null\\): ", "go"),
        ('day \\(default "2026-11-21"\\): ', ""),
        ("password: ", "hush-hush"),
    ]:
        asked.expect(question)
        asked.sendline(typed)
    asked.expect(pexpect.EOF)
    asked.close()
    assert asked.exitstatus == 0, asked.before
    assert "hush" not in (asked.before or "")

    with closing(open_store(tmp_path / "store.duckdb")) as store:
        assert reveal(store.load("r").result, store) == "True 0.25 major Rome [] go 2026-11-21 9"
