"""Who asked for what happens now: a call, the watch, a first load, or whomever the host names.

Travels with the context, so that a load on the reload thread, and an old version's end much later, are
told of whoever began the reload. Knows nothing of plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["CALL", "START", "WATCHER", "asked_by", "asking", "on_behalf"]

CALL = "call"  # a check before an execution noticed a change
WATCHER = "watcher"  # the watch did
START = "start"  # nothing served yet
_WHO: ContextVar[str] = ContextVar("hotplug_asked_by", default="")


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


def on_behalf(function: Callable[..., object]) -> Callable[..., None]:
    """Return what runs `function` later, on whatever thread, for the one who asks now."""
    who = _WHO.get()

    def asked(*args: object) -> None:
        with asking(who):
            function(*args)

    return asked
