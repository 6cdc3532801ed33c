"""Plugins that use each other, as a simple model: what lies on disk, what must serve, and what that answers.

The rules are those that the documentation gives to people. A look takes the plugin and everything
that it uses; what is new there loads together with all that use it. A version that is broken by
itself never holds up another plugin. Where the others don't fit together, a part of them may serve,
as long as that is one whole set. Knows nothing of how the reloader works.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BROKEN", "NAMES", "Family", "Version", "files_of"]

NAMES = ("base", "left", "right", "top")
DIAMOND = {"base": (), "left": ("base",), "right": ("base",), "top": ("left", "right")}
BROKEN = ("syntax", "raises", "no helper", "bad manifest")  # by itself, whatever it is loaded with


@dataclass(frozen=True, slots=True)
class Version:
    """The files of one plugin at one moment. The kind "withholds" lacks the function that users import."""

    number: int
    uses: frozenset[str] = frozenset()
    kind: str = "good"  # or one of BROKEN, "withholds", "disabled"
    declares: bool = True  # what it uses stands in its manifest, not only in its imports


def files_of(name: str, version: Version, package: str) -> dict[str, str | None]:
    """Return the files of a version by their name; None where there is no such file."""
    own = "g" if version.kind == "withholds" else "f"
    uses = sorted(version.uses)
    lines = [
        "from . import helper",
        *(f"from {package}.{used}.main import f as {used}" for used in uses),
        f"N = {version.number}",
        f"def {own}():",
        f"    return {name!r}, N, helper.N, ({''.join(f'{used}(), ' for used in uses)})",
        "def run():",
        *(f"    from ..{used} import main as late_{used}" for used in uses),
        *(f"    assert late_{used}.f() == {used}(), 'a late import finds another version'" for used in uses),
        f"    return {own}()",
    ]
    if version.kind == "raises":
        lines.append("raise RuntimeError(N)")
    main = "def run(:\n" if version.kind == "syntax" else "\n".join(lines) + "\n"
    manifest: dict[str, Any] = {"version": str(version.number), "enabled": version.kind != "disabled"}
    if version.declares:
        manifest["depends_on"] = uses
    text = json.dumps(manifest)
    return {
        "helper.py": None if version.kind == "no helper" else f"N = {version.number}\n",
        "plugin.json": text[:-1] if version.kind == "bad manifest" else text,
        "main.py": main,
    }


class Family:
    """What lies on disk and what must serve."""

    def __init__(self) -> None:
        self.number = 0
        self.disk = {name: self.new(DIAMOND[name]) for name in NAMES}
        self.serving: dict[str, Version] = {}
        self.paused: set[str] = set()
        self.pinned: dict[str, Version] = {}  # what lay on disk when an older version was asked for
        self.offered: dict[str, Version] = {}  # what did not fit together at the last step

    def new(self, uses: Iterable[str], kind: str = "good", *, declares: bool = True) -> Version:
        self.number += 1
        return Version(self.number, frozenset(uses), kind, declares)

    def answer(self, name: str) -> Any:
        """Return what a plugin answers that is bound to exactly what serves."""
        version = self.serving[name]
        return name, version.number, version.number, tuple(self.answer(used) for used in sorted(version.uses))

    # -- who is concerned -----------------------------------------------------------------------

    def with_used(self, name: str) -> set[str]:
        reached, pending = {name}, [name]
        while pending:
            version = self.serving.get(pending.pop())
            fresh = (version.uses if version else frozenset()) - reached
            reached |= fresh
            pending += fresh
        return reached

    def with_users(self, names: Iterable[str]) -> set[str]:
        reached = set(names)
        while more := {name for name, v in self.serving.items() if name not in reached and v.uses & reached}:
            reached |= more
        return reached

    def is_new(self, name: str) -> bool:
        return self.disk[name] not in (self.serving.get(name), self.pinned.get(name))

    # -- what must become of it -----------------------------------------------------------------

    def look(self, name: str) -> None:
        """Act on what is new in a plugin and in all that it uses."""
        self.offered = {}
        looked = {n for n in self.with_used(name) if n == name or n not in self.paused}
        for n in looked & self.pinned.keys():
            if self.disk[n] != self.pinned[n]:
                del self.pinned[n]  # new files end a rollback, whatever becomes of them
        new = {n for n in looked if self.is_new(n)}
        disabled = {n for n in new if self.disk[n].kind == "disabled"}
        gone = self.with_users(disabled)
        for n in gone:
            self.serving.pop(n, None)
        self.load({n: self.disk[n] for n in new - gone if self.disk[n].kind not in BROKEN})

    def load(self, wanted: Mapping[str, Version]) -> bool:
        """Load versions and all that use them, in one step; False when they don't fit together."""
        together = dict(wanted)
        for n in self.with_users(wanted) - wanted.keys():
            along = n not in self.paused and self.is_new(n) and self.disk[n].kind not in (*BROKEN, "disabled")
            together[n] = self.disk[n] if along else self.serving[n]
        if not self.complete(together):
            self.offered = together
            return False
        self.serves(together)
        return True

    def part_serves(self, actual: Mapping[str, Version]) -> None:
        """Take over which part of the last step serves; raises AssertionError where it is none, or no whole set."""
        changed = {n: v for n, v in actual.items() if self.serving.get(n) != v}
        assert changed.items() <= self.offered.items(), f"{changed} was never asked for"
        assert actual.keys() >= self.serving.keys(), "a plugin no longer serves"
        assert self.complete(dict(changed)), f"{changed} is no whole set"
        self.serves(changed)

    def serves(self, together: Mapping[str, Version]) -> None:
        for n in together:
            if together[n] == self.disk[n]:
                self.pinned.pop(n, None)
        self.serving.update(together)
        self.offered = {}

    def complete(self, together: dict[str, Version]) -> bool:
        """Add what is used and doesn't serve; tell whether all of it fits together."""
        pending = list(together)
        while pending:
            for used in together[pending.pop()].uses:
                if used not in together and used not in self.serving:
                    together[used] = self.disk[used]
                    pending.append(used)
        world = {**self.serving, **together}
        whole = all(version.kind in ("good", "withholds") for version in together.values())
        offered = all(world[used].kind != "withholds" for version in together.values() for used in version.uses)
        return whole and offered and not any(_leads_back(n, world) for n in together)


def _leads_back(name: str, world: Mapping[str, Version]) -> bool:
    reached: set[str] = set()
    pending = list(world[name].uses)
    while pending:
        if (n := pending.pop()) not in reached:
            reached.add(n)
            pending += world[n].uses
    return name in reached
