"""Tell objects apart for as long as the process lives: the place of a dead one in memory is soon another's."""

from __future__ import annotations

import weakref
from itertools import count

__all__ = ["number_of"]

_numbers = count(1)
_known: dict[int, tuple[weakref.ref[object], int]] = {}


def number_of(value: object) -> int:
    """Return a number that no other object had or will have, and keep nothing alive for it.

    What can't be referred to weakly (a tuple, say) is told by its place alone: a negative number.
    """
    if (known := _known.get(id(value))) is not None and known[0]() is value:
        return known[1]
    try:
        reference = weakref.ref(value)
    except TypeError:
        return -id(value)
    number = next(_numbers)
    _known[id(value)] = (reference, number)
    return number
