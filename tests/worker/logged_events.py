"""Find the events that the code logs, by reading it: names, levels and fields.

Shared by the tests of this directory."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

EVENT = re.compile(r"hotplug\.[a-z_]+")
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "critical": "critical"}


@dataclass
class Logged:
    """What is known of one event: where it may be logged, how loud, and with which fields."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def events_in(sources: Iterable[Path]) -> dict[str, Logged]:
    """Return every event by its name; one that is built has a `*` for its open part."""
    found: dict[str, Logged] = {}
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            for name in _names(node.args[0]):
                levels = set(_levels(node))
                if levels:  # else it is the name of a logger or a thread
                    logged = found.setdefault(name, Logged())
                    logged.levels |= levels
                    logged.fields |= set(_fields(node))
    return found


def _names(node: ast.expr) -> Iterator[str]:
    """Yield the events that an argument may be: a literal, either side of a conditional, a name that is built."""
    if isinstance(node, ast.IfExp):
        yield from _names(node.body)
        yield from _names(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        if re.fullmatch(r"hotplug\.\*", text):
            yield text
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and EVENT.fullmatch(node.value):
        yield node.value


def _levels(call: ast.Call) -> Iterator[str]:
    if not isinstance(call.func, ast.Attribute):
        return
    if call.func.attr == "exception":
        yield "error"
    elif call.func.attr in LEVELS:
        yield LEVELS[call.func.attr]
    for argument in call.args[1:]:
        if isinstance(argument, ast.Attribute) and argument.attr.lower() in LEVELS:
            yield LEVELS[argument.attr.lower()]


def _fields(call: ast.Call) -> Iterator[str]:
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr == "exception":
        yield "traceback"
    for keyword in call.keywords:
        if keyword.arg != "extra":
            yield str(keyword.arg)
            continue
        assert isinstance(keyword.value, ast.Dict), "fields of an event are written where it is logged"
        yield from (str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant))
