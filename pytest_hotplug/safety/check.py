"""What a check is, and what it finds.

A check judges what a child process wrote down about one plugin (its scenario's evidence), and may say
what that child is to look at. Executes nothing of the plugin's in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.order import Scenario

if TYPE_CHECKING:
    from pytest_hotplug.safety.stage import Stage
    from pytest_hotplug.safety.subject import Subject

__all__ = ["Check", "Finding", "Level", "Scenario"]

Level = Literal["fast", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise about every plugin, and how it is judged.

    Two kinds. `take` is called in the child, in every phase of the cycle, and returns what there is by a key
    that stays the same for the same thing. `attempt` plays the check's own part of its scenario there, and
    yields what came of each attempt: a finding, or None when the promise held; it may raise `NotTried`.
    `judge` gets the whole evidence of the scenario.
    """

    id: str
    title: str  # the promise, as a sentence
    how: str  # what is done and looked at to prove it
    remedy: str  # what the plugin's author does when it doesn't hold
    judge: Callable[[Check, Any], Iterable[Finding]]
    scenario: Scenario = "cycle"
    level: Level = "fast"
    take: Callable[[Subject], Mapping[str, Thing]] | None = None
    attempt: Callable[[Stage], Iterator[Finding | None]] | None = None
