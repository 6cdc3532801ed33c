"""Versions that were refused, and when to try them again.

A version refused for its own bytes waits for new content. One refused from outside (a permission,
a missing distribution, an exception while it was imported) is tried again with back-off, or at
once when what it complained of changed. Polling alone executes nothing twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_hotplug.reloader.dependencies import installed_version
from pytest_hotplug.reloader.errors import Fault
from pytest_hotplug.reloader.kept import KeptOut
from pytest_hotplug.reloader.looking import Look, stamp_of

__all__ = ["Refusal", "Surroundings", "refuse"]

Surroundings = tuple[tuple[str, str, str], ...]  # other plugins: name, digest on disk, digest that serves

FIRST_DELAY = 1.0  # seconds; doubles up to the longest
LONGEST_DELAY = 300.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused version: what was wrong, how often it was tried, when it may be tried again."""

    digest: str  # "" when the files couldn't even be read
    look: Look | None
    fault: Fault
    attempts: int
    next_try: float  # time.monotonic(); infinite for a fault of its own bytes
    installed: tuple[str | None, ...] = ()  # the versions of `fault.all_needs` at the time
    through_dependency: bool = False  # a plugin that this one needs is to blame
    among: Surroundings = ()  # what it was tried with: another version of one of them may be all that it lacks
    executed: bool = True  # code of it may have run; False: its files alone were looked at

    def holds(self, digest: str) -> bool:
        """Tell whether these bytes are still refused now, without another try."""
        waits = self.digest == digest and time.monotonic() < self.next_try
        return waits and self.installed == _installed(self.fault) and not _overtaken(self.fault)

    def for_a_user(self, plugin: str) -> KeptOut | None:
        """Return what is kept out of `plugin` because another one, that serves, could not use it; else None."""
        fault = self.fault
        if fault.plugin == plugin or self.through_dependency:
            return None
        users = (other for other in self.among if other[0] == fault.plugin)
        user, disk, served = next(users, ("", "", ""))
        path = str(fault.path) if fault.path is not None else None
        return KeptOut(self.digest, user, disk, served, fault.slug, fault.message, path, fault.line) if served else None

    def due(self) -> Refusal:
        """Return the same refusal, to be looked into again now, unless that would execute the same bytes once more."""
        return self if self.fault.own_bytes or self.executed else replace(self, next_try=0.0)


def refuse(
    fault: Fault,
    digest: str,
    look: Look | None,
    before: Refusal | None,
    *,
    through_dependency: bool = False,
    among: Surroundings = (),
    executed: bool = True,
) -> Refusal:
    """Record a refusal; the same bytes refused again wait twice as long."""
    again = before is not None and before.digest == digest
    attempts = before.attempts + 1 if before is not None and again else 1
    delay = float("inf") if fault.own_bytes else min(FIRST_DELAY * 2 ** (attempts - 1), LONGEST_DELAY)
    next_try = time.monotonic() + delay
    return Refusal(digest, look, fault, attempts, next_try, _installed(fault), through_dependency, among, executed)


def _installed(fault: Fault) -> tuple[str | None, ...]:
    return tuple(map(installed_version, fault.all_needs))


def _overtaken(fault: Fault) -> bool:
    """Tell whether a file that the fault rests on is another one since."""
    rests_on = (known for each in (fault, *fault.more) for known in each.rests_on)
    return any(stamp_of(Path(path)) != stamp for path, stamp in rests_on)
