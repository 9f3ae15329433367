"""What looks like a secret is neither written down with an error nor found by a search; what steps need again is stored."""

from __future__ import annotations

import pytest

from wfkernel import Workflow
from wfkernel.engine.redaction import is_secret_name, redactor

TOKEN = "tok-4711-tok-4711"
PASSWORD = "hunter-hunter"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"login with {TOKEN} refused", "login with ********** refused"),
        (f"password={PASSWORD}, user=ann", "password=**********, user=ann"),
        ("input_value={'api_key': 'abc', 'n': 1}", "input_value={'api_key': **********, 'n': 1}"),
        ("Conn(host='a', password=SecretStr('**********'))", "Conn(host='a', password=SecretStr('**********'))"),
        ("postgresql://ann:abc@db:5432/x", "postgresql://ann:**********@db:5432/x"),
        ("http://localhost:8888/a@b", "http://localhost:8888/a@b"),
        ("    connect(password=given, token='abc')", "    connect(password=given, token=**********)"),
        ("unexpected token: }, token == x, max_tokens=100", "unexpected token: }, token == x, max_tokens=100"),
        ("KeyError: 'password'", "KeyError: 'password'"),
    ],
)
def test_only_what_is_secret_is_left_out(monkeypatch, text, shown):
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    assert redactor()(text) == shown


@pytest.mark.parametrize(
    "name", ["password", "PGPASSWORD", "clientSecret", "api-key", "AWS_SECRET_ACCESS_KEY", "apiKey"]
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokens", "max_tokens", "author", "primary_key", "keyword", "secretary", "key"])
def test_other_names(name):
    assert not is_secret_name(name)


def settings_of(x: int) -> dict[str, str]:
    return {"user": "ann", "api_key": PASSWORD}


def log_in(given: dict[str, str]) -> None:
    import os

    try:
        raise ConnectionError(f"token {os.environ['MY_TOKEN']} is not known")
    except ConnectionError as error:
        raise ValueError(f"refused: password={given['api_key']}") from error


def test_no_view_of_errors_and_no_search_shows_one_and_steps_get_it(store, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    result = Workflow("w", input=int, store=store).then(settings_of).then(log_in).commit().run(1)
    assert result.error["message"] == "refused: password=**********"
    for view in ("runs", "steps", "attempts", "context"):
        told = str(store.query(f"SELECT * FROM {view}"))
        assert TOKEN not in told
        assert PASSWORD not in told
    assert TOKEN not in str(store.query("SELECT payload FROM events"))
    assert "api_key: **********" in store.context.search("api key of ann", 1, kind="output")[0].text
    assert all(PASSWORD not in found.text for found in store.context.search(PASSWORD, 9))
