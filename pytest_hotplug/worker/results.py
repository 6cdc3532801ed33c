"""What a plugin returned, as JSON can hold it, whatever it is and does. For commands and workers alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["SCHEMA_VERSION", "jsonable"]

SCHEMA_VERSION = 1  # of every object that is printed or sent
DEEPEST = 100  # levels of a result; far below what Python's own recursion allows


def jsonable(value: Any, around: tuple[int, ...] = ()) -> Any:
    """Return a value as JSON can hold it, whatever it is and does.

    What JSON has no word for (NaN, an object) becomes its repr, a cycle or what lies too deep
    "...", and an integer that Python won't write in decimal its hexadecimal digits.
    """
    try:
        return _jsonable(value, around)
    except BaseException:  # noqa: BLE001  # a plugin's object: its methods may raise anything
        return _repr(value)


def _jsonable(value: Any, around: tuple[int, ...]) -> Any:
    if isinstance(value, int):
        int.__repr__(value)  # raises for more digits than Python converts
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else float.__repr__(value)
    if id(value) in around or len(around) > DEEPEST:
        return "..."
    around = (*around, id(value))
    if isinstance(value, Mapping):
        items = list(value.items())
        names = _names([key for key, _ in items])
        return {name: jsonable(item, around) for name, (_, item) in zip(names, items, strict=True)}
    if isinstance(value, (list, tuple)):
        return [jsonable(item, around) for item in value]
    return repr(value)


def _names(keys: Sequence[Any]) -> list[str]:
    """Return a name for each key, no two the same: 1 and "1" are different keys."""
    taken = {key for key in keys if isinstance(key, str)}
    names = []
    for key in keys:
        name = key if isinstance(key, str) else _repr(key)
        while not isinstance(key, str) and name in taken:
            name = f"{name} ({type(key).__name__})"
        taken.add(name)
        names.append(name)
    return names


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except BaseException as error:  # noqa: BLE001  # as in jsonable
        return (
            hex(value)
            if isinstance(value, int)
            else f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
        )
