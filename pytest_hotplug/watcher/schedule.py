"""When the tree is looked at although, or because, events are heard.

Events can get lost, but only while some are heard, so a look after them finds what is missing. While
nothing happens nobody looks. Knows a clock, which is given to it, and no file. For `events` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A check follows events once they rest, and while they don't, still this often. Seconds.
_AFTER_QUIET = 0.2
_AT_LEAST_EVERY = 2.0

# In a storm looks take at most one part in so many of the time: few for the checks, which find
# something once in a blue moon, more where directories are known to have changed.
_CHECK_SHARE = 20
_CHANGE_SHARE = 4


class LookSchedule:
    """Decide when to look again; belongs to one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._last_heard = 0.0
        self._last_look = clock()
        self._look_took = 0.0
        self._first_unchecked: float | None = None
        self._changed = False

    @property
    def directories_changed(self) -> bool:
        """Tell whether the next look is for directories that are known to have changed, not a check."""
        return self._changed

    def heard(self, *, directories_changed: bool = False) -> None:
        """Note that events came, or that some may have been lost; a look will follow."""
        self._last_heard = self.now()
        self._changed |= directories_changed
        if self._first_unchecked is None:
            self._first_unchecked = self._last_heard

    def looked(self, began: float) -> None:
        """Note a look that began then, on the same clock, and has just ended."""
        self._last_look = self.now()
        self._look_took = self._last_look - began
        self._first_unchecked = None
        self._changed = False

    def remaining(self, *, blind: bool) -> float | None:
        """Tell the seconds until a look is due, 0 when it is, None while there is no need for one.

        `blind`: some directory cannot be listened to, so that looks never end.
        """
        due = self._due(blind)
        return None if due is None else max(0.0, due - self.now())

    def _due(self, blind: bool) -> float | None:
        if self._changed:
            return self._last_look + (_CHANGE_SHARE - 1) * self._look_took
        patience = max(_AT_LEAST_EVERY, _CHECK_SHARE * self._look_took)
        if self._first_unchecked is None:
            return self._last_look + patience if blind else None
        return min(self._last_heard + _AFTER_QUIET, self._first_unchecked + patience)
