"""What a loop has to do at its time: each thing by name, put off when it is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Agenda"]


class Agenda:
    """Deadlines of one thread."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}

    def put_off(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Do it so many seconds from now, instead of when it was due before."""
        self._due[name] = (time.monotonic() + seconds, act)

    def strike(self, name: str) -> bool:
        """Don't do it; tell whether it was to be done."""
        return self._due.pop(name, None) is not None

    def left(self) -> float:
        """Return the seconds until the next thing is due; there must be one."""
        return max(0.0, min(due for due, _ in self._due.values()) - time.monotonic())

    def do_what_is_due(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        for name in [name for name, (due, _) in self._due.items() if due <= now]:
            _, act = self._due.pop(name)
            act()
