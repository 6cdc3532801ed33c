"""Read JSON as it is written down, and nothing that Python's json lets pass beside it.

Duplicate keys, NaN, huge numbers, endless depth, other encodings and lone surrogates are refused, for
manifests and for what is asked of a worker alike. Knows nothing of what the JSON means.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["NotStrict", "json_name", "loads"]

MAX_DEPTH = 32
MAX_INTEGER = 2**63


class NotStrict(ValueError):
    """What is wrong with a text, as the rest of a sentence that begins with its name; and where, if it is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def loads(
    data: bytes, *, most: int, decoded: Callable[[str], object] | None = None,
    on_duplicate: Callable[[str], object] | None = None,
) -> Any:  # fmt: skip
    """Return the value that at most `most` bytes of JSON hold; raises NotStrict.

    `decoded` is told the text once it is one; `on_duplicate` the keys that stand twice in an object,
    without it they are refused as well.
    """
    if len(data) > most:
        raise NotStrict(f"{len(data):,} bytes; at most {most:,} are read")
    if data.startswith(b"\xef\xbb\xbf"):
        raise NotStrict("starts with a byte order mark; save it as plain UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrict(f"is not UTF-8 ({error.reason})", data.count(b"\n", 0, error.start) + 1) from None
    if decoded is not None:
        decoded(text)
    if _depth(data) > MAX_DEPTH:
        raise NotStrict(f"is nested deeper than {MAX_DEPTH} levels")
    value = _parsed(text, on_duplicate or _refuse_duplicate)
    if _has_surrogate(value):
        raise NotStrict("holds a lone surrogate (\\ud800-\\udfff), which no UTF-8 text can hold")
    return value


def json_name(value: Any) -> str:
    """Return what JSON calls the type of a value that is no object, with its article."""
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _parsed(text: str, on_duplicate: Callable[[str], object]) -> Any:
    def pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            seen: set[str] = set()
            on_duplicate(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
        return table

    try:
        return json.loads(
            text, object_pairs_hook=pairs, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise NotStrict(f"is no JSON: {error.msg}", error.lineno) from None
    except RecursionError as error:
        raise NotStrict(str(error)) from None


def _refuse_duplicate(key: str) -> NoReturn:
    raise NotStrict(f"key {key!r} stands twice; which one counts?")


def _constant(word: str) -> NoReturn:
    raise NotStrict(f"{word} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= MAX_INTEGER:
        raise NotStrict(f"the integer {digits[:12]}... does not fit into 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotStrict(f"the number {digits[:20]} is not finite")
    return number


def _depth(data: bytes) -> int:
    """Return how deep the brackets nest, by a scan of bytes: json itself may overflow the stack."""
    depth = deepest = 0
    for mark in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', data, re.DOTALL):
        first = mark.group()[:1]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return any(_has_surrogate(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_has_surrogate, value))
