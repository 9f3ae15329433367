"""Which fields of an answer are secret is told by its schema."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretStr

from wfkernel.plan.schema import check_schema
from wfkernel.plan.secrets import MASK, masked


class Login(BaseModel):
    user: str
    password: SecretStr


class Everything(BaseModel):
    first: Login
    more: list[Login] = []
    pair: tuple[str, SecretStr] | None = None
    by_name: dict[str, SecretStr] = {}
    maybe: SecretStr | None = None
    either: Login | int = 0
    pin: Secret[int] | None = None


FULL: dict[str, Any] = {
    "first": {"user": "ann", "password": "hush"},
    "more": [{"user": "bob", "password": "hush"}],
    "pair": ["left", "hush"],
    "by_name": {"db": "hush"},
    "maybe": "hush",
    "either": {"user": "cat", "password": "hush"},
}


def test_every_secret_is_masked_wherever_it_stands_and_nothing_else_is():
    assert masked(FULL, Everything.model_json_schema()) == {
        "first": {"user": "ann", "password": MASK},
        "more": [{"user": "bob", "password": MASK}],
        "pair": ["left", MASK],
        "by_name": {"db": MASK},
        "maybe": MASK,
        "either": {"user": "cat", "password": MASK},
    }


def test_nothing_is_no_secret():
    assert masked({"first": {}, "maybe": None}, Everything.model_json_schema()) == {"first": {}, "maybe": None}


def test_a_model_that_contains_itself_is_masked_to_the_bottom():
    class Node(BaseModel):
        token: SecretStr
        child: Node | None = None

    Node.model_rebuild(_types_namespace={"Node": Node})
    data = {"token": "a", "child": {"token": "b", "child": None}}
    assert masked(data, Node.model_json_schema()) == {"token": MASK, "child": {"token": MASK, "child": None}}


@pytest.mark.parametrize("secret", [["hush"], {"a": "hush"}, "hush"])
def test_what_is_said_about_a_secret_that_does_not_fit_does_not_quote_it(secret):
    schema = {"type": "object", "properties": {"pin": {"type": "integer", "writeOnly": True}}}
    [(path, message)] = check_schema(schema, {"pin": secret})
    assert path == "pin"
    assert "hush" not in message
