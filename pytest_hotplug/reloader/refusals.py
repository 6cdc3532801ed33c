"""Versions that were refused, and when to try them again.

A version refused for its own bytes waits for new content. One refused from outside (a permission,
a missing distribution, an exception while it was imported) is tried again with back-off, or at
once when what it complained of changed. Polling alone executes nothing twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pytest_hotplug.reloader.dependencies import installed_version
from pytest_hotplug.reloader.errors import Fault
from pytest_hotplug.reloader.fingerprint import Look

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

    def holds(self, digest: str) -> bool:
        """Tell whether these bytes are still refused now, without another try."""
        return self.digest == digest and time.monotonic() < self.next_try and self.installed == _installed(self.fault)


def refuse(
    fault: Fault,
    digest: str,
    look: Look | None,
    before: Refusal | None,
    *,
    through_dependency: bool = False,
    among: Surroundings = (),
) -> Refusal:
    """Record a refusal; the same bytes refused again wait twice as long."""
    again = before is not None and before.digest == digest
    attempts = before.attempts + 1 if before is not None and again else 1
    delay = float("inf") if fault.own_bytes else min(FIRST_DELAY * 2 ** (attempts - 1), LONGEST_DELAY)
    return Refusal(
        digest, look, fault, attempts, time.monotonic() + delay, _installed(fault), through_dependency, among
    )


def _installed(fault: Fault) -> tuple[str | None, ...]:
    return tuple(map(installed_version, fault.all_needs))
