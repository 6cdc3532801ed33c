"""One load at a time: the process-wide guard, and the journal that puts sys.modules back.

While new code executes, its modules stand in sys.modules under their public names (dataclasses,
pickle and typing look there); the journal remembers what stood there before. The guard belongs to
the transaction, not to a thread: whoever waits for a load that hangs may abandon it, which
restores sys.modules and lets the next load begin, while the hung thread is lost.

Knows module names, and nothing of plugins.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

from pytest_hotplug.reloader.waiting import Bell

__all__ = [
    "GuardTimeout",
    "Journal",
    "LoadAbandoned",
    "Transaction",
    "alone",
    "current",
    "exclusive",
    "open_transaction",
]


GRACE = 2.0  # seconds that a load has for ending itself before others do


class LoadAbandoned(BaseException):
    """Ends a load that took too long, at its next import: its world was put back already."""


class GuardTimeout(Exception):
    """Another load didn't end in time."""


class Journal:
    """What stood in sys.modules before modules were staged there."""

    def __init__(self) -> None:
        self.abandoned = False
        self._before: dict[str, ModuleType | None] = {}
        self._staged: dict[str, ModuleType] = {}

    def stage(self, name: str, module: ModuleType) -> None:
        """Put `module` into sys.modules; the first entry that it replaces is remembered. Raises LoadAbandoned."""
        if self.abandoned:
            raise LoadAbandoned
        self._before.setdefault(name, sys.modules.get(name))
        self._staged[name] = module
        sys.modules[name] = module

    def replaced(self) -> Mapping[str, ModuleType]:
        """Return what stood where modules were staged."""
        return {name: module for name, module in self._before.items() if module is not None}

    def staged(self, name: str) -> ModuleType | None:
        """Return what was staged under a name."""
        return self._staged.get(name)

    def unstage(self, name: str, module: ModuleType) -> None:
        """Put back what stood under one name: its module failed, and whoever imported it may go on without."""
        if self._staged.get(name) is module:
            del self._staged[name]
            before = self._before.pop(name)
            if before is not None:
                sys.modules[name] = before
            else:
                sys.modules.pop(name, None)

    def restore(self) -> Mapping[str, ModuleType]:
        """Put everything back and return what was staged, for the caller to drop outside any lock."""
        staged, self._staged = self._staged, {}
        for name, before in self._before.items():
            if before is not None:
                sys.modules[name] = before
            else:
                sys.modules.pop(name, None)
        self._before = {}
        return staged

    def keep(self) -> None:
        """Leave what was staged where it is."""
        self._before, self._staged = {}, {}


class Transaction:
    """One load from its first staged module to its swap or its end.

    `limit` are the seconds that it may take: past them, whoever waits for the guard abandons it.
    """

    def __init__(self, limit: float) -> None:
        self.journal = Journal()
        self.candidates: dict[str, object] = {}  # public name -> the Namespace that is being loaded
        self.work: object = None  # what whoever opened it is doing in it
        # The load of another plugin that this one's code asked for runs inside it.
        self.outer = current()
        self._before = _CURRENT.get()
        self._overdue = time.monotonic() + limit + GRACE
        self._ended = False

    @property
    def abandoned(self) -> bool:
        return self.journal.abandoned

    @property
    def overdue(self) -> float:
        """Return the `time.monotonic()` at which nobody need wait for this load any longer."""
        return self._overdue

    @property
    def is_open(self) -> bool:
        return not self._ended

    def inside(self) -> bool:
        """Tell whether the calling thread or task works for this load, or for one inside it."""
        own = _CURRENT.get()
        while own is not None and own is not self:
            own = own.outer
        return own is self and self.is_open

    def wait(self, timeout: float | None) -> bool:
        """Wait until the load has ended; False when it hasn't within `timeout` seconds."""
        return _GUARD.changed.wait_for(lambda: self._ended, timeout)

    def stage(self, name: str, module: ModuleType) -> None:
        """Put a module that is about to execute into sys.modules; raises LoadAbandoned."""
        with _GUARD.changed.lock:
            self.journal.stage(name, module)

    def unstage(self, name: str, module: ModuleType) -> None:
        """Take a module out of sys.modules whose execution failed while the load goes on."""
        with _GUARD.changed.lock:
            if not self.abandoned:
                self.journal.unstage(name, module)

    def abandon(self) -> None:
        """Put the world back and let the next load begin; the thread that hangs in this one is lost.

        Without effect once the load has ended. May be repeated when a signal cut it short.
        """
        with _GUARD.changed.lock:
            if _GUARD.open is not self:
                return
            self.journal.abandoned = True
            dropped = self.journal.restore()
            _GUARD.end(self)
        _hand_over(dropped)

    def end_in_fork(self) -> None:
        """Count as ended in a child process; a lock that the parent's threads may have held is not touched."""
        self._ended = True

    def begin(self, timeout: float) -> None:
        """Take the guard for this thread or task; raises GuardTimeout. Whatever it raises, `end` follows."""
        _GUARD.take(self, timeout)
        _CURRENT.set(self)

    def end(self) -> None:
        """Give the guard back, and put sys.modules back unless the load was committed; may be repeated."""
        self.abandon()
        _CURRENT.set(self._before)

    def commit(self, swap: Callable[[], None]) -> None:
        """Run `swap` and keep what was staged, in one step that no abandonment can cut in two.

        Raises LoadAbandoned when the load was given up before.
        """
        with _GUARD.changed.lock:
            if self.abandoned:
                raise LoadAbandoned
            swap()
            self.journal.keep()
            _GUARD.end(self)


class _Guard:
    """The one open transaction of the process."""

    def __init__(self) -> None:
        self.changed = Bell()
        self.open: Transaction | None = None

    def take(self, transaction: Transaction, timeout: float) -> None:
        """Open `transaction` once no other is; raises GuardTimeout after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.changed.wait_for(lambda: self._let_in(transaction), self._patience(transaction, deadline)):
            other, now = self.open, time.monotonic()
            if other is not None and other is not transaction.outer and now >= other.overdue:
                other.abandon()
            elif now >= deadline:
                raise GuardTimeout

    def _let_in(self, transaction: Transaction) -> bool:
        if self.open is None or self.open is transaction.outer:
            self.open = transaction
            return True
        return False

    def _patience(self, transaction: Transaction, deadline: float) -> float:
        """Return for how long to wait before looking whether the load at hand is overdue."""
        other = self.open
        until = deadline if other is None else min(deadline, other.overdue)
        return max(0.0, until - time.monotonic())

    def end(self, transaction: Transaction) -> None:
        """Free the guard, or give it back to the load around; the caller holds `changed`."""
        outer = transaction.outer
        # Modules of what was loaded keep the transaction, and must keep nothing else: not those loaded beside them.
        transaction.work, transaction.candidates = None, {}
        transaction._ended = True
        self.changed.ring()
        # Last: until then an end that a signal cuts short is done again.
        self.open = outer if outer is not None and outer.is_open else None


_GUARD = _Guard()
_forks = 0
_CURRENT: ContextVar[Transaction | None] = ContextVar("hotplug_transaction", default=None)


def current() -> Transaction | None:
    """Return the open transaction that the calling thread or task works for."""
    transaction = _CURRENT.get()
    return transaction if transaction is not None and transaction.is_open else None


def mend(name: str, module: ModuleType) -> None:
    """Undo an import of the public name that slipped between a load's check and its staging of `name`."""
    with _GUARD.changed.lock:
        load = _GUARD.open
        staged = load.journal.staged(name) if load is not None else None
        if staged is not None and sys.modules.get(name) is module:
            sys.modules[name] = staged


def open_loads() -> Iterator[Transaction]:
    """Yield the open transaction of the process, whoever works for it, and those that it is inside of."""
    load = _GUARD.open
    while load is not None:
        yield load
        load = load.outer


def forks() -> int:
    """Return how many forks lie between this process and the one that imported this module."""
    return _forks


def other_load() -> Transaction | None:
    """Return the open transaction when somebody else's load is under way."""
    transaction = _GUARD.open
    return transaction if transaction is not None and not transaction.inside() else None


@contextmanager
def open_transaction(timeout: float, limit: float | None = None) -> Iterator[Transaction]:
    """Hold the guard for one load; sys.modules is put back unless the block commits.

    `limit` are the seconds that the load may take (default: `timeout`). Raises GuardTimeout when
    another load holds the guard for `timeout` seconds.
    """
    transaction = Transaction(timeout if limit is None else limit)
    try:  # around the taking, too: a signal may raise as soon as the guard is taken
        transaction.begin(timeout)
        yield transaction
    finally:
        try:
            transaction.end()
        finally:  # a signal may have cut the first short
            transaction.end()


@contextmanager
def exclusive(timeout: float) -> Iterator[Journal]:
    """Hold the guard for a small change of sys.modules, or join the load that this thread works for.

    The journal is put back when the block raises; otherwise its user decides. Raises ImportError
    when another load holds the guard for `timeout` seconds.
    """
    try:
        with alone(timeout) as journal:
            yield journal
    except GuardTimeout:
        raise ImportError(f"another plugin's load did not end within {timeout:g} s") from None


@contextmanager
def alone(timeout: float) -> Iterator[Journal]:
    """Hold the guard like `exclusive`; raises GuardTimeout instead of ImportError."""
    if current() is not None:
        yield from _journalled(Journal())
        return
    with open_transaction(timeout) as own:
        yield from _journalled(own.journal)


def _journalled(journal: Journal) -> Iterator[Journal]:
    try:
        yield journal
    except BaseException:
        _hand_over(journal.restore())
        raise


def _hand_over(dropped: Mapping[str, ModuleType]) -> None:
    """Give importers that waited for a refused module the one that serves: they hold the wrong object."""
    for name, module in dropped.items():
        serving = sys.modules.get(name)
        if serving is not None and getattr(getattr(module, "__spec__", None), "awaited", False):
            module.__dict__.clear()
            module.__dict__.update(serving.__dict__)


def _after_fork_in_child() -> None:
    """The thread that was loading doesn't exist in the child: fresh guard, journal put back."""
    global _GUARD, _forks
    _forks += 1
    interrupted = _GUARD.open
    _GUARD = _Guard()
    while interrupted is not None and not interrupted.inside():
        interrupted.journal.abandoned = True
        interrupted.journal.restore()
        interrupted.end_in_fork()
        interrupted = interrupted.outer
    _GUARD.open = interrupted  # the load whose own thread forked goes on in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
