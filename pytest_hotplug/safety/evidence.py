"""What a child process writes down about a plugin, as plain facts that survive its end."""

from __future__ import annotations

import msgspec

from pytest_hotplug.safety.finding import Finding

__all__ = ["Attempts", "Cycle", "Memory", "Span", "Survivor", "Thing"]


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that there is outside the plugin: a thread, a variable, a handler.

    `place` is the `file:line` of the plugin's that made it, `own` whether it is the plugin's to take back,
    `value` what it is set to where that can change.
    """

    text: str
    place: str = ""
    own: bool = False
    value: str = ""


class Survivor(msgspec.Struct, frozen=True, kw_only=True):
    """A version that lives on although nothing of it serves, and who holds it."""

    after: str  # "reloads" or "unload"
    generation: int | None
    held: str
    place: str
    chain: tuple[str, ...]


Phase = dict[str, dict[str, Thing]]  # check id -> key -> thing


class Cycle(msgspec.Struct, kw_only=True):
    """One life of a plugin: loaded, reloaded `reloads` times with changed content, unloaded.

    `failed` says why that could not be done. The phases in order: cold, baseline (after a
    first life, the warm-up), loaded, reload 1 to n, unloaded. `skipped` says why a check could not look,
    and `without_tool` for which of them that is for lack of something on this machine.
    """

    reloads: int = 0
    phases: dict[str, Phase] = {}
    survivors: list[Survivor] = []
    unraisable: list[Thing] = []
    permanent: list[Thing] = []
    skipped: dict[str, str] = {}
    without_tool: list[str] = []
    broken: dict[str, str] = {}
    failed: str = ""


class Memory(msgspec.Struct, kw_only=True):
    """What the process holds after each reload, once garbage is collected; RSS in bytes."""

    blocks: list[int] = []
    objects: list[int] = []
    rss: list[int] = []
    failed: str = ""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that took from `start` to `end` (seconds), one of several in its lane; kinds differ in colour."""

    lane: str
    start: float
    end: float
    kind: str = ""
    text: str = ""


class Attempts(msgspec.Struct, kw_only=True):
    """What came of trying promises out, by check: how many attempts there were, and what they found.

    `skipped` says why a check does not apply, or what there would have to be to try it (`without_tool`),
    `broken` why it could not be tried to its end. `timeline` is what ran when.
    """

    counts: dict[str, int] = {}
    found: dict[str, list[Finding]] = {}
    skipped: dict[str, str] = {}
    without_tool: list[str] = []
    broken: dict[str, str] = {}
    timeline: list[Span] = []
    failed: str = ""
