"""One line per record, whatever stands in it: as text for people and grep, as JSON for programs.

No plugin can forge a line, colour a terminal or speak to a CI runner: all that is not printable is escaped, newlines
first of all. A value is quoted where it would not stand for itself. Writes nothing; for the worker's logs only.
"""

from __future__ import annotations

import json
import logging
import math
import re
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pytest_hotplug.reloader.errors import visible

__all__ = ["LONGEST", "JsonLines", "TextLines", "lines_of"]

LONGEST = 64 * 1024  # characters of one value; what is longer is cut, and says so
_EVENT = re.compile(r"hotplug\.[a-z_]+")
_BARE = re.compile(r"[^\s\"=\\]+")
_OURS = frozenset(("time", "level", "worker", "pid", "event", "logger", "text", "traceback"))
# What every record carries; whatever else it has came by `extra`.
_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))


def lines_of(log_format: Literal["text", "json"], worker: str) -> logging.Formatter:
    """Return what makes lines of records in this format, each of which names `worker`."""
    return JsonLines(worker) if log_format == "json" else TextLines(worker)


class TextLines(logging.Formatter):
    """`TIME LEVEL worker[pid] EVENT key=value ... text="..." traceback="..."`."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = re.sub(r"[^\w.-]", "_", worker)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record on one line, without its end."""
        facts = _facts(record)
        subject = facts.pop("event", None) or facts["logger"]
        del facts["logger"]
        # Names of loggers are anybody's: one with a space in it could look like a field.
        head = f"{_time(record)} {visible(record.levelname)} {self._worker}[{record.process}] {_quoted(str(subject))}"
        return " ".join((head, *(f"{key}={_quoted(_as_word(value))}" for key, value in facts.items())))


class JsonLines(logging.Formatter):
    """One object per line: `time, level, worker, pid, event, logger`, the fields, `text`, `traceback`."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object on one line, without its end."""
        head = {"time": _time(record), "level": record.levelname, "worker": self._worker, "pid": record.process}
        facts = {key: _as_json(value) for key, value in {**head, **_facts(record)}.items()}
        dumped = json.dumps(facts, ensure_ascii=False)
        if dumped.isprintable():
            return dumped
        # Newlines are escaped already; what a terminal obeys or a reader takes for a line's end is not.
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in dumped)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record says beyond its head: the event if it is one of ours, its fields, then its texts."""
    message = _message(record)
    ours = record.name.partition(".")[0] == "hotplug" and _EVENT.fullmatch(message) is not None
    facts: dict[str, Any] = {"event": message} if ours else {}
    facts["logger"] = record.name
    texts: dict[str, Any] = {} if ours else {"text": message}
    for key, value in _extra(record):
        if ours and key == "text":
            texts["text"] = value
        else:
            facts[f"{key}_" if key in _OURS else key] = value
    return {**facts, **texts, **_traceback(record)}


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  # a plugin's arguments, or its own __str__: a log must not end a call
        return f"{_text(record.msg)} (its arguments can't be put in: {type(error).__name__}: {_text(error)})"


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """Yield the fields that came by `extra`; a name that could pass for two fields is mended."""
    for key, value in vars(record).items():
        if key not in _STANDARD:
            yield re.sub(r"[^\w.-]", "_", str(key)) or "_", value


def _traceback(record: logging.LogRecord) -> Mapping[str, str]:
    told = []
    if record.exc_info and record.exc_info[0] is not None:
        try:
            told.append("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        except Exception as error:  # noqa: BLE001  # an exception's own methods may raise anything
            told.append(f"{record.exc_info[0].__name__} (its traceback can't be told: {type(error).__name__})")
    elif record.exc_text:
        told.append(record.exc_text)
    if record.stack_info:
        told.append(record.stack_info)
    return {"traceback": "\n".join(told)} if told else {}


def _as_word(value: Any) -> str:
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(map(_text, value))
    return _text(value)


def _as_json(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers and flags as they are, lists of words, else its text."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) < 2**63:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [_as_json(item) if not isinstance(item, (list, tuple)) else _text(item) for item in value]
    # A lone surrogate is no UTF-8 and no JSON that others read: shown as the escape that it is.
    return _text(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _text(value: Any) -> str:
    """Return `str(value)`, whatever its methods do, cut to what a log can bear."""
    try:
        text = value if type(value) is str else str(value)
    except Exception as error:  # noqa: BLE001  # a plugin's object
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text) - LONGEST:,} more characters)"


def _quoted(text: str) -> str:
    """Return a word as it is, anything else in quotes, in which quotes and backslashes are escaped."""
    if text.isprintable() and _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{visible(escaped)}"'
