"""A record is one line, whatever stands in it, and what stood in it can be read back."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hotplug.worker.log_lines import LONGEST, lines_of

FORGED = "2026-11-27T05:01:02.123Z INFO worker[1] hotplug.loaded plugin=greeter"
HOSTILE = [
    f"calm\n{FORGED}",
    f"calm\r\n{FORGED}",
    f"calm\r{FORGED}",
    f"calm\u2028{FORGED}",
    f"calm\x85{FORGED}",
    "\n::error file=main.py::forged",
    "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "null \x00 bell \x07 delete \x7f back \b",
    "lone \ud800 surrogate",
    "right to left \u202e no width \u200b mark \ufeff",
]
FIELD = re.compile(r' ([\w.-]+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]*)')


def record(
    message: object = "hotplug.kept", *args: object, logger: str = "hotplug", **fields: Any
) -> logging.LogRecord:
    facts = {"name": logger, "msg": message, "args": args, "levelname": "ERROR", "created": 1795755662.123}
    return logging.makeLogRecord({**facts, "process": 123, **fields})


def text(*arguments: Any, **fields: Any) -> str:
    return lines_of("text", "worker").format(record(*arguments, **fields))


def parsed(*arguments: Any, **fields: Any) -> dict[str, Any]:
    line = lines_of("json", "worker").format(record(*arguments, **fields))
    assert line.isprintable()
    line.encode("utf-8")
    found: dict[str, Any] = json.loads(line)
    return found


def fields_of(line: str) -> dict[str, str]:
    """Read the fields back as any reader of `key=value` would."""

    def plain(value: str) -> str:
        if not value.startswith('"'):
            return value
        escape = r"\\(?:(u[0-9a-f]{4}|U[0-9a-f]{8}|x[0-9a-f]{2})|(.))"
        short = {"n": "\n", "r": "\r", "t": "\t"}
        return re.sub(escape, lambda m: chr(int(m[1][1:], 16)) if m[1] else short.get(m[2], m[2]), value[1:-1])

    return {name: plain(value) for name, value in FIELD.findall(line)}


def test_an_event_is_told_with_its_fields() -> None:
    """Time, level, worker, process, event, and the fields in their order with the text last."""
    line = text(text="two\nlines", plugin="greeter", slug="syntax-error")
    assert line == (
        '2026-11-27T05:01:02.123Z ERROR worker[123] hotplug.kept plugin=greeter slug=syntax-error text="two\\nlines"'
    )


def test_json_tells_the_same() -> None:
    """Numbers and lists stay what they are."""
    assert parsed(text="two\nlines", plugin="greeter", generation=3, late=True, plugins=["a", "b"], load=0.5) == {
        "time": "2026-11-27T05:01:02.123Z", "level": "ERROR", "worker": "worker", "pid": 123, "event": "hotplug.kept",
        "logger": "hotplug", "plugin": "greeter", "generation": 3, "late": True, "plugins": ["a", "b"], "load": 0.5,
        "text": "two\nlines",
    }  # fmt: skip


def test_a_record_of_somebody_else_names_its_logger() -> None:
    """What a plugin logs is its text, even when it reads like an event of ours."""
    assert text("%d prices", 3, logger="shop").endswith(' shop text="3 prices"')
    assert text(FORGED, logger="root").partition(" root ")[2].startswith('text="2026')
    assert text("hotplug.loaded", logger="shop").endswith(" shop text=hotplug.loaded")
    told = parsed("hotplug.loaded", logger="shop")
    assert ("event" in told, told["logger"], told["text"]) == (False, "shop", "hotplug.loaded")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_forges_a_line_or_reaches_the_terminal(hostile: str) -> None:
    """S24, S25: newlines, escapes and `::error` are shown, wherever they stand; a lone surrogate kills no log."""
    places: list[dict[str, Any]] = [
        {"text": hostile},
        {"plugin": hostile},
        {"plugins": [hostile, hostile]},
        {hostile: "by key"},
        {"logger": hostile},
        {"message": hostile, "logger": "shop"},
        {"levelname": hostile},
        {"exc_text": hostile},
        {"stack_info": hostile},
    ]
    for place in places:
        line = text(**place)
        assert line.isprintable(), place
        assert line.startswith("2026-11-27T05:01:02.123Z "), place
        line.encode("utf-8")
        assert parsed(**place)["level"] == place.get("levelname", "ERROR").encode("utf-8", "backslashreplace").decode()
    assert lines_of("text", hostile).format(record()).isprintable()
    assert lines_of("json", hostile).format(record()).isprintable()


def test_a_field_can_not_be_forged() -> None:
    """Values with spaces, quotes or an equals sign stand in quotes: a parser finds the fields that were given."""
    given = {"plugin": 'x" slug=forged', "slug": "a=b", "path": "C:\\new dir", "empty": "", "text": 'end" plugin=evil'}
    assert fields_of(text(**given)) == given
    assert set(fields_of(text(**{"a b=c": "1", "": "2"}))) == {"a_b_c", "_"}


@given(st.text(), st.text())
def test_what_was_logged_can_be_read_back(value: str, said: str) -> None:
    """Escapes lose nothing: any text comes back from a line, and from JSON but for lone surrogates."""
    assert fields_of(text(value=value, text=said)) == {"value": value, "text": said}
    assert parsed(value=value)["value"] == value.encode("utf-8", "backslashreplace").decode()


def test_a_field_of_a_name_of_ours_does_not_hide_it() -> None:
    """A plugin that logs with extra={"level": ...} changes nothing at the head of the line."""
    told = parsed("hello", logger="shop", level="NONE", pid=1, text="other", event="hotplug.loaded", traceback="none")
    assert (told["level"], told["pid"], told["text"]) == ("ERROR", 123, "hello")
    assert "event" not in told
    renamed = {"level_": "NONE", "pid_": 1, "text_": "other", "event_": "hotplug.loaded", "traceback_": "none"}
    assert told.items() >= renamed.items()


def test_an_exception_is_told_on_the_same_line() -> None:
    """A traceback is one field; the exception's own text can't leave it."""
    try:
        raise ValueError(f"bad\n{FORGED}")
    except ValueError:
        line = text(exc_info=sys.exc_info())
    told = fields_of(line)["traceback"]
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith(f"ValueError: bad\n{FORGED}")
    assert line.isprintable()


def test_arguments_that_do_not_fit_are_still_logged() -> None:
    """A plugin's wrong call of its logger hurts neither the call nor the log."""

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "%d prices (its arguments can't be put in: TypeError" in text("%d prices", "x", logger="shop")
    assert "can't be put in: RuntimeError: no" in text("%s", Rude(), logger="shop")
    assert fields_of(text(plugin=Rude()))["plugin"] == "<Rude: its text raised RuntimeError>"
    assert parsed(plugin=[Rude(), 10**5000])["plugin"] == [
        "<Rude: its text raised RuntimeError>", "<int: its text raised ValueError>",
    ]  # fmt: skip
    assert parsed(load=float("nan"))["load"] == "nan"


def test_a_text_without_end_is_cut() -> None:
    """A plugin that logs a whole file fills no disk by one line; the line says what is missing."""
    assert len(text("x" * 10**6, logger="shop")) < LONGEST + 200
    assert f"({10**6 - LONGEST:,} more characters)" in text("x" * 10**6, logger="shop")
