"""A process that a plugin forks is no worker: it answers nobody, and hears the signals of an ordinary process.

It inherits every descriptor and handler. With the socket among them, whoever connects after the worker's
end would wait for a process that never answers, and no other worker could take the place. With the
worker's handlers it could not be terminated.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

__all__ = ["ordinary_children"]

Sockets = Callable[[], Iterable[int]]

_sockets: Sockets | None = None  # those of the one worker of this process
_forking = threading.local()  # which signals its thread had blocked before, while it forks


@contextmanager
def ordinary_children(sockets: Sockets) -> Iterator[None]:
    """Let forked children close these descriptors, and end as ordinary processes do, as long as this lasts."""
    global _sockets
    _sockets = sockets
    try:
        yield
    finally:
        _sockets = None


def _handlers() -> dict[int, signal.Handlers | Callable[..., object]]:
    """Return what Python itself does about the signals that a worker hears."""
    names = ("SIGTERM", "SIGHUP")
    ends = {getattr(signal, name): signal.SIG_DFL for name in names if hasattr(signal, name)}
    return {**ends, signal.SIGINT: signal.default_int_handler}


def _before_fork() -> None:
    """Let a signal to the new process wait until it is an ordinary one: the worker's handler would swallow it."""
    if _sockets is not None:
        _forking.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers())


def _after_fork_in_parent() -> None:
    blocked = _forking.__dict__.pop("blocked", None)
    if blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _after_fork_in_child() -> None:
    global _sockets
    sockets, _sockets = _sockets, None
    if sockets is not None:
        for number, handler in _handlers().items():
            signal.signal(number, handler)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in sockets():
            os.dup2(nowhere, descriptor, inheritable=False)  # it stays taken: objects here believe that it is theirs
        os.close(nowhere)
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
