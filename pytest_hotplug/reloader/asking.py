"""Who asked for what happens now, and when: a call, the watch, a first load, or whomever the host names.

Travels with the context, so that a load on the reload thread, and an old version's end much later, are
told of whoever began the reload. Knows nothing of plugins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["CALL", "START", "WATCHER", "asked_by", "asked_for", "asking", "begun_at", "on_behalf"]

CALL = "call"  # a check before an execution noticed a change
WATCHER = "watcher"  # the watch did
START = "start"  # nothing served yet
_WHO: ContextVar[str] = ContextVar("hotplug_asked_by", default="")
_SINCE: ContextVar[float | None] = ContextVar("hotplug_asked_since", default=None)


def asked_by() -> str:
    """Return who asked for what this thread or task does, an empty string when nobody said."""
    return _WHO.get()


@contextmanager
def asking(who: str) -> Iterator[None]:
    """Let `who` count as the one who asked, for everything that the block leads to.

    A host says so in its own words, e.g. `with asking("reload by uid 1000 (pid 4242)"): manager.reload(name)`.
    """
    before = _WHO.get()
    try:  # around the setting, too: a signal may raise as soon as it is set
        _WHO.set(who)
        yield
    finally:
        _WHO.set(before)


def asked_for() -> float | None:
    """Return the seconds since the request that this thread or task works for, None when it works for none."""
    since = _SINCE.get()
    return None if since is None else time.monotonic() - since


@contextmanager
def begun_at(asked: float) -> Iterator[None]:
    """Let the request that the block works for count as made at `asked` (`time.monotonic()`)."""
    before = _SINCE.get()
    try:
        _SINCE.set(asked)
        yield
    finally:
        _SINCE.set(before)


def on_behalf(function: Callable[..., object]) -> Callable[..., None]:
    """Return what runs `function` later, on whatever thread, for the one who asks now."""
    who = _WHO.get()

    def asked(*args: object) -> None:
        with asking(who):
            function(*args)

    return asked
