"""Arguments are checked and completed before the entry runs."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pytest_hotplug import ParameterError
from pytest_hotplug.reloader.generation import Entry
from pytest_hotplug.reloader.manifest import Parameter
from pytest_hotplug.reloader.parameters import complete

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def finish(given: dict[str, Any], declared: dict[str, Any], accepted: Any = None, required: Any = ()) -> dict[str, Any]:
    tables = {name: msgspec.convert(table, Parameter) for name, table in declared.items()}
    return complete("demo", given, tables, accepted, required)


def test_defaults_are_filled_in() -> None:
    """What isn't given has the manifest's default; what is given stays."""
    declared = {"message": {"type": "string", "default": "hi"}, "count": {"type": "integer", "default": 1}}
    assert finish({"count": 3}, declared) == {"message": "hi", "count": 3}


def test_a_mutable_default_is_new_for_each_call() -> None:
    """R40: no call can change the default of the next one."""
    declared = {"items": {"type": "list", "default": [{"a": []}]}}
    first = finish({}, declared)
    first["items"][0]["a"].append(1)
    assert finish({}, declared) == {"items": [{"a": []}]}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "x"], [1, b"x"]),
        ("integer", [0, -3], [1.5, True, "1"]),
        ("int", [1], ["1"]),
        ("number", [1, 1.5], [True, "1"]),
        ("boolean", [True, False], [1, "true"]),
        ("array", [[], (1,)], ["ab", {}]),
        ("object", [{}], [[]]),
        ("any", [object(), None], []),
    ],
)
def test_types_are_checked(kind: str, good: list[Any], bad: list[Any]) -> None:
    """Each type takes what JSON would call so; a boolean is no number."""
    declared = {"p": {"type": kind, "required": True}}
    for value in good:
        assert finish({"p": value}, declared) == {"p": value}
    for value in bad:
        with pytest.raises(ParameterError, match=r"demo: parameter 'p' must be .*\[bad-parameter\]"):
            finish({"p": value}, declared)


def test_none_stands_for_nothing_where_nothing_is_required() -> None:
    """An optional parameter may be None, a required one not."""
    assert finish({"p": None}, {"p": {"type": "string"}}) == {"p": None}
    with pytest.raises(ParameterError):
        finish({"p": None}, {"p": {"type": "string", "required": True}})


def test_options_are_listed() -> None:
    """A value that is no option is told the options."""
    with pytest.raises(ParameterError, match=r"must be one of 'a', 'b', got 'c'"):
        finish({"p": "c"}, {"p": {"type": "string", "options": ["a", "b"]}})


def test_what_is_missing_is_named() -> None:
    """By the manifest's word or by the entry's own signature."""
    with pytest.raises(ParameterError, match=r"'p' is required.*\[missing-parameter\]"):
        finish({}, {"p": {"required": True}})
    with pytest.raises(ParameterError, match=r"the entry needs 'q'.*\[missing-parameter\]"):
        finish({}, {}, {"q"}, {"q"})


def test_what_nobody_knows_is_refused_with_the_near_name() -> None:
    """Unless the entry takes anything (`**kwargs`): then it gets it."""
    with pytest.raises(ParameterError, match=r"'mesage'; did you mean 'message'\?.*\[unknown-parameter\]"):
        finish({"mesage": 1}, {}, {"message"})
    with pytest.raises(ParameterError, match="known: none"):
        finish({"x": 1}, {}, set())
    assert finish({"x": 1}, {}) == {"x": 1}


def test_a_default_that_the_entry_does_not_take_is_left_out() -> None:
    """A manifest may describe more than the function asks for."""
    declared = {"used": {"default": 1}, "unused": {"default": 2}}
    assert finish({}, declared, {"used"}) == {"used": 1}


def _plain(a: int, /, b: int, c: int = 1, *more: int, d: int, e: int = 2) -> None: ...


def _any(context: object, b: int = 1, **rest: int) -> None: ...


def _only_keywords(*, host: object = None, bot: object) -> None: ...


def _nothing() -> None: ...


@pytest.mark.parametrize("function", [_plain, _any, _only_keywords, _nothing, lambda x, y=1, /, z=2: None])
def test_what_an_entry_takes_is_read_as_inspect_reads_it(function: Callable[..., object]) -> None:
    """Whether a function is plain, or carries marks that may speak of another signature, it takes the same."""
    injectable = frozenset({"context", "host", "bot"})
    marked = types.FunctionType(function.__code__, globals(), argdefs=function.__defaults__)
    marked.__kwdefaults__ = function.__kwdefaults__
    marked.__dict__["mark"] = 1
    plain, asked = Entry.of(function, injectable), Entry.of(marked, injectable)
    assert dataclasses.replace(asked, function=function) == plain
    parameters = inspect.signature(function).parameters.values()
    assert plain.required == {p.name for p in parameters if p.default is p.empty and p.kind in NAMED}


def test_what_a_decorated_entry_takes_is_what_the_function_inside_takes() -> None:
    """A wrapper that says what it wraps is called as that would be."""

    @functools.wraps(_plain)
    def wrapper(*args: object, **kwargs: object) -> None: ...

    assert Entry.of(wrapper, frozenset()).accepted == Entry.of(_plain, frozenset()).accepted == frozenset("bcde")
