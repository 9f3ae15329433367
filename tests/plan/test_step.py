"""What a step takes, and what `@step` refuses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from wfkernel.errors import DefinitionError
from wfkernel.plan.retry import RetryPolicy
from wfkernel.plan.shape import Misfit
from wfkernel.plan.step import code_digest, spec_of, step


class Order(BaseModel):
    id: int
    rush: bool = False


class Anything(BaseModel):
    pass


class Handle:
    """A class pydantic knows nothing about."""


@dataclass
class Point:
    x: int
    y: int


def test_step_returns_the_function_itself() -> None:
    def double(x: int) -> int:
        return 2 * x

    assert step(double) is double
    assert double(4) == 8
    assert spec_of(double).id == "double"


def test_one_parameter_gets_the_whole_input_validated() -> None:
    @step
    def take(order: Order) -> None: ...

    (order,), _ = spec_of(take).bind({"id": "7"})
    assert order == Order(id=7, rush=False)
    with pytest.raises(Misfit) as misfit:
        spec_of(take).bind({"rush": True})
    assert misfit.value.problems == [("id", "Field required")]


def test_several_parameters_are_the_keys_of_the_input_and_defaults_apply() -> None:
    @step
    def add(a: int, b: int = 10, *, ctx: Any = None) -> None: ...

    assert spec_of(add).bind({"a": "1", "unknown": 0}) == ((), {"a": 1})
    assert spec_of(add).bind({"a": 1, "b": 2}) == ((), {"a": 1, "b": 2})
    assert spec_of(add).takes_context
    with pytest.raises(Misfit, match="a: Field required"):
        spec_of(add).bind({})


def test_dataclasses_and_models_give_their_fields_to_several_parameters() -> None:
    @step
    def distance(x: int, y: int) -> None: ...

    assert spec_of(distance).bind(Point(1, 2)) == ((), {"x": 1, "y": 2})
    with pytest.raises(Misfit, match="Input should be an object with x, y, not int"):
        spec_of(distance).bind(3)


def test_arbitrary_classes_are_checked_by_isinstance() -> None:
    @step
    def use(handle: Handle) -> None: ...

    handle = Handle()
    assert spec_of(use).bind(handle) == ((handle,), {})
    with pytest.raises(Misfit, match="Handle"):
        spec_of(use).bind("no handle")


def test_a_model_without_fields_accepts_anything_unchanged() -> None:
    @step
    def take(value: Anything) -> None: ...

    assert spec_of(take).bind({"kept": 1}) == (({"kept": 1},), {})


def test_a_missing_input_takes_the_parameters_default() -> None:
    @step
    def take(n: int = 3) -> int:
        return n

    args, kwargs = spec_of(take).bind(None)
    assert take(*args, **kwargs) == 3


@given(st.text(min_size=1))
def test_an_id_is_either_usable_in_a_path_or_refused(name: str) -> None:
    try:
        spec = spec_of(step(id=name)(lambda x: x))
    except DefinitionError:
        assert not name.strip() or name != name.strip() or set(name) & set(".[]#")
    else:
        assert spec.id == name
        assert not set(name) & set(".[]#")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retires": 3}, "@step has no option 'retires'"),
        ({"retries": -1}, "retries must be a whole number"),
        ({"backoff": 0.5}, "backoff >= 1"),
        ({"timeout": 0}, "timeout must be longer than nothing"),
        ({"timeout": "soon"}, "'soon' is not a duration"),
        ({"resume": int}, "resume= takes a pydantic model class"),
        ({"id": "a.b"}, "the id 'a.b' cannot be used"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError) as error:
        step(**options)(test_step_returns_the_function_itself)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(DefinitionError, match="a lambda has no name"):
        spec_of(lambda x: x)


def test_the_digest_of_code_ignores_layout_and_sees_changes() -> None:
    def one(x: int) -> int:
        return x + 1

    def same(x: int) -> int:
        # with a comment
        return (
            x + 1
        )  # fmt: skip

    def other(x: int) -> int:
        return x + 2

    assert code_digest(one) == code_digest(same)
    assert code_digest(one) != code_digest(other)


def test_waits_grow_up_to_the_cap_and_jitter_only_shortens_them() -> None:
    policy = RetryPolicy(5, delay=1, backoff=2, cap=5)
    assert [policy.wait(n) for n in range(1, 6)] == [1, 2, 4, 5, 5]
    jittered = RetryPolicy(5, delay=4, jitter=0.5)
    assert jittered.wait(1, lambda: 1.0) == 2
    assert jittered.wait(1, lambda: 0.0) == 4


def test_retry_on_is_a_class_several_or_a_function() -> None:
    assert RetryPolicy(1, retry_on=OSError).applies_to(FileNotFoundError())
    assert not RetryPolicy(1, retry_on=(OSError, KeyError)).applies_to(ValueError())
    assert RetryPolicy(1, retry_on=lambda e: "503" in str(e)).applies_to(ValueError("503"))


def test_what_cannot_carry_its_options_is_refused_with_what_to_do() -> None:
    with pytest.raises(DefinitionError, match="call it in a function of your own"):
        step(id="nap")(time.sleep)
