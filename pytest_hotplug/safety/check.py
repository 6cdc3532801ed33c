"""What a check is, and what it finds.

A check judges what a child process wrote down about one plugin (its scenario's evidence), and may say
what that child is to look at. Executes nothing of the plugin's in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pytest_hotplug.safety.evidence import Thing

if TYPE_CHECKING:
    from pytest_hotplug.safety.subject import Subject

__all__ = ["Check", "Finding", "Level", "Scenario"]

Level = Literal["fast", "full"]
Scenario = Literal["cycle", "memory"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    `severity`: only an "error" fails the check; a "note" is told. `path` and `line` lead to the plugin's
    code as far as they are known, `chain` from who holds something to what is held, `growth` is how much
    more of it there is with each reload, `count` how many there are of one version.
    """

    message: str
    severity: Literal["error", "note"] = "error"
    path: str = ""
    line: int | None = None
    chain: tuple[str, ...] = ()
    remedy: str = ""
    growth: float | None = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise about every plugin, and how it is judged.

    `take` is called in the child, in every phase of the cycle, and returns what there is by a key that
    stays the same for the same thing; `judge` gets the whole evidence of the scenario.
    """

    id: str
    title: str  # the promise, as a sentence
    remedy: str  # what the plugin's author does when it doesn't hold
    judge: Callable[[Check, Any], Iterable[Finding]]
    scenario: Scenario = "cycle"
    level: Level = "fast"
    take: Callable[[Subject], Mapping[str, Thing]] | None = None
