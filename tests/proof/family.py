"""Plugins that use each other, as a simple model: what lies on disk, what must serve, and what that answers.

The rules are those that the documentation gives to people. A look takes the plugin and everything that it
uses; what is new there loads together with all that use it. A version that is broken by itself never holds up
another plugin. Where the others don't fit together, a part of them may serve, as long as that is one whole
set. What serves nowhere is loaded from disk, or from the version that is pinned; where that is broken by
itself, from the version that served last. A version that was refused since those that use the one before
can't use it does not serve after a restart either, as long as they may come back. Where one of those that
change hands is stop-first, nothing changes hands before the calls have ended; nor does one come back before.
State goes from what served to what serves. Knows nothing of how the reloader works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "NAMES", "Family", "KeptOut", "Pinned", "Version", "files_of"]

NAMES = ("base", "left", "right", "top")
DIAMOND = {"base": (), "left": ("base",), "right": ("base",), "top": ("left", "right")}
BROKEN = ("syntax", "raises", "on_load raises", "no helper", "bad manifest")  # by itself, whatever it is loaded with
KINDS = (*BROKEN, "withholds", "refuses state", "disabled")


@dataclass(frozen=True, slots=True)
class Version:
    """The files of one plugin at one moment.

    The kind "withholds" lacks the function that users import, "refuses state" takes none of other versions.
    """

    number: int
    uses: frozenset[str] = frozenset()
    kind: str = "good"  # or one of KINDS
    declares: bool = True  # what it uses stands in its manifest, not only in its imports
    alone: bool = False  # its handover is stop-first


@dataclass(frozen=True, slots=True)
class Pinned:
    """A rollback: this version serves for as long as that one lies on disk."""

    version: Version
    disk: Version


@dataclass(frozen=True, slots=True)
class KeptOut:
    """A version that was refused for users' sake, with what lay on disk of each; None: who knows for whose."""

    version: Version
    users: Mapping[str, Version] | None


def files_of(name: str, version: Version, package: str) -> dict[str, str | None]:
    """Return the files of a version by their name; None where there is no such file."""
    own = "g" if version.kind == "withholds" else "f"
    uses = sorted(version.uses)
    lines = [
        "from tests.proof.port import opened",
        "from . import helper",
        *(f"from {package}.{used}.main import f as {used}" for used in uses),
        f"N = {version.number}",
        "COUNTED = 0",
        f"def {own}():",
        f"    return {name!r}, N, helper.N, ({''.join(f'{used}(), ' for used in uses)})",
        "def run():",
        *(f"    from ..{used} import main as late_{used}" for used in uses),
        *(f"    assert late_{used}.f() == {used}(), 'a late import finds another version'" for used in uses),
        f"    return {own}()",
        *_LIFE.format(alone=version.alone, refuses=version.kind == "refuses state").splitlines(),
        "def is_up():",
        *(f"    from ..{used} import main as late_{used}" for used in uses),
        f"    return PLACE.is_open{''.join(f' and late_{used}.is_up()' for used in uses)}",
    ]
    if version.kind.endswith("raises"):
        lines.append("raise RuntimeError(N)" if version.kind == "raises" else "def on_load(): raise RuntimeError(N)")
    main = "def run(:\n" if version.kind == "syntax" else "\n".join(lines) + "\n"
    manifest: dict[str, Any] = {"version": str(version.number), "enabled": version.kind != "disabled"}
    if version.declares:
        manifest["depends_on"] = uses
    if version.alone:
        manifest["handover"] = "stop-first"
    text = json.dumps(manifest)
    return {
        "helper.py": None if version.kind == "no helper" else f"N = {version.number}\n",
        "plugin.json": text[:-1] if version.kind == "bad manifest" else text,
        "main.py": main,
    }


_LIFE = """
def on_load():
    global PLACE
    PLACE = opened(__name__, N, alone={alone})
def on_unload():
    PLACE.close()
def save_state():
    return N, COUNTED
def load_state(state, from_version):
    global COUNTED
    number, COUNTED = state
    assert from_version == str(number), "the state comes from another version than it says"
    assert number == N or not {refuses}
def count():
    global COUNTED
    COUNTED += 1
def stream():
    while True:
        assert is_up(), "what a call uses was taken down"
        yield run()
"""


class Family:
    """What lies on disk and what must serve."""

    def __init__(self) -> None:
        self.number = 0
        self.disk = {name: self.new(DIAMOND[name]) for name in NAMES}
        self.serving: dict[str, Version] = {}
        self.counted: dict[str, int] = {}  # the state of what serves
        self.paused: set[str] = set()
        self.pinned: dict[str, Pinned] = {}
        self.last: dict[str, Version] = {}  # what served last, whether or not it still does
        self.calls: list[Mapping[str, Version]] = []  # in flight: the versions whose code each one runs
        self.refused: dict[str, KeptOut] = {}  # for the sake of users
        self.kept_out: dict[str, KeptOut] = {}  # the same, as it was before the last restart
        self.offered: dict[str, set[Version]] = {}  # what did not fit together, or had to wait, at the last step

    def new(self, uses: Iterable[str], kind: str = "good", *, declares: bool = True, alone: bool = False) -> Version:
        self.number += 1
        return Version(self.number, frozenset(uses), kind, declares, alone)

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

    def is_pinned(self, name: str) -> bool:
        return name in self.pinned and self.pinned[name].disk == self.disk[name]

    def waits_for_users(self, name: str) -> bool | None:
        """Tell whether what lies on disk must not serve before the users that could not use it do; None: who knows."""
        out = self.kept_out.get(name)
        if out is None or out.version != self.disk[name] or name not in self.last:
            return False
        if out.users is None:
            return None
        away = {user not in self.serving and self.disk[user] == then for user, then in out.users.items()}
        return None if len(away) > 1 else away.pop()

    def is_new(self, name: str) -> bool:
        return self.disk[name] != self.serving.get(name) and not self.is_pinned(name)

    def is_broken(self, name: str, version: Version) -> bool:
        """Tell whether a version can't serve, whatever it is loaded with."""
        refuses = version.kind == "refuses state" and self.serving.get(name, version) != version
        return version.kind in BROKEN or refuses

    def comes_back(self, name: str) -> bool:
        """Tell whether a plugin must serve after a restart, since nothing of what it ran on is replaced.

        Its own version and those that it ran on lie on disk, are pinned, or something broken lies there instead.
        What it then runs on, where other good versions lie there, is left open.
        """
        reached, pending = {name}, [name]
        while pending:
            fresh = self.last[pending.pop()].uses - reached
            reached |= fresh
            pending += fresh
        return all(self.last[n] in (self.sound(n), self.wanted(n)) for n in reached)

    # -- what must become of it -----------------------------------------------------------------

    def look(self, name: str) -> None:
        """Act on what is new in a plugin and in all that it uses."""
        self.offered = {}
        looked = {n for n in self.with_used(name) if n == name or n not in self.paused}
        for n in looked & self.pinned.keys():
            if not self.is_pinned(n):
                del self.pinned[n]  # new files end a rollback, whatever becomes of them
        new = {n for n in looked if self.is_new(n)}
        gone = self.with_users({n for n in new if self.disk[n].kind == "disabled"})
        self.withdraw(gone)
        waits = {n: self.waits_for_users(n) for n in new}
        wanted = {n for n in new - gone if not waits[n] and not self.is_broken(n, self.disk[n])}
        self.load({n: self.disk[n] for n in wanted if waits[n] is False})
        for n in self.with_users(wanted) if None in waits.values() else ():
            if n in wanted or self.comes_along(n):
                self.offered.setdefault(n, set()).add(self.disk[n])

    def restart(self) -> set[str]:
        """Let everything end; return what must serve again, in whatever order that is asked for."""
        before = set(self.serving)
        self.withdraw(before)
        self.kept_out = dict(self.refused)
        return {name for name in before if self.comes_back(name)}

    def unload(self, name: str) -> None:
        """Withdraw by hand: what served is wanted no more, and keeps nothing out."""
        gone = self.with_users([name]) & self.serving.keys()
        self.withdraw([name])
        for n, out in list(self.kept_out.items()):
            users = set(out.users or ())
            if users and users <= gone:
                del self.kept_out[n]
            elif users & gone or (out.users is None and gone):
                self.kept_out[n] = KeptOut(out.version, None)

    def withdraw(self, names: Iterable[str]) -> None:
        """Let plugins, and what uses them, serve no more; their state is lost."""
        for n in self.with_users(names):
            self.serving.pop(n, None)
            self.counted.pop(n, None)

    def load(self, wanted: Mapping[str, Version]) -> bool:
        """Load versions and all that use them, in one step; False when they don't fit together, or must wait."""
        together = dict(wanted)
        for n in self.with_users(wanted) - wanted.keys():
            together[n] = self.disk[n] if self.comes_along(n) else self.serving[n]
        concerned = set(together)
        if not self.complete(together, self.disk.__getitem__) or self.waits(concerned, together):
            self.offered = {n: {version} for n, version in together.items()}
            self._refuse(wanted, together)
            return False
        self.serves(together)
        return True

    def _refuse(self, wanted: Mapping[str, Version], together: Mapping[str, Version]) -> None:
        """Remember for whose sake versions were refused, where that is plain: one alone is new, and lacks something."""
        users = together.keys() - wanted.keys()
        plain = len(wanted) == 1 and users and not self.waits(set(together), together)
        plain = plain and all(together[n] == self.serving.get(n) for n in users)
        for n, version in wanted.items():
            lacking = plain and version.kind == "withholds" and not _leads_back(n, {**self.serving, **together})
            direct = {user: self.disk[user] for user in users if n in together[user].uses}
            self.refused[n] = KeptOut(version, direct if lacking else None)

    def comes_along(self, name: str) -> bool:
        """Tell whether new bytes of a user are loaded with what it uses."""
        new = name not in self.paused and self.is_new(name) and not self.is_broken(name, self.disk[name])
        return new and self.disk[name].kind != "disabled"

    def waits(self, concerned: set[str], together: Mapping[str, Version]) -> bool:
        """Tell whether plugins that are stop-first, or are tried with such, have calls in flight."""
        busy = concerned & self.serving.keys() & {name for names in self.calls for name in names}
        serving = {self.serving[n] for n in concerned & self.serving.keys()}
        tried = serving | {version for n in concerned for version in (together[n], self.disk[n])}
        return (bool(busy) and any(version.alone for version in tried)) or self.meets(together)

    def meets(self, together: Mapping[str, Version]) -> bool:
        """Tell whether what comes back meets calls of before that it must not overlap, though nothing serves."""
        back = {n: version for n, version in together.items() if n not in self.serving}
        old = ((n, call[n]) for call in self.calls for n in back.keys() & call.keys())
        return any(then.alone or back[n].alone for n, then in old)

    def load_first(self, name: str, *, looks: bool) -> bool:
        """Load a plugin that doesn't serve, and what it needs; False when none of it fits together as it should.

        With `looks`, what it uses and serves already is then looked at as well.
        """
        unclear = [n for n in NAMES if n not in self.serving and self.waits_for_users(n) is None]
        for choose in (self.wanted, self.sound) if not unclear else ():
            together = {name: choose(name)}
            if self.complete(together, choose) and not self.meets(together):
                self.serves(together)
                if looks:
                    self.look(name)
                return True
        self.offered = {n: {self.disk[n]} for n in self.serving if looks and n not in self.paused and self.is_new(n)}
        self.offered |= {
            n: {version for version in (self.wanted(n), self.disk[n], self.last.get(n)) if version is not None}
            for n in NAMES
            if n not in self.serving and self.disk[n].kind != "disabled"
        }
        return False

    def wanted(self, name: str) -> Version:
        """Return what must serve of a plugin that doesn't: what lies on disk, is pinned, or is not kept out."""
        if self.waits_for_users(name) and not self.is_pinned(name):
            return self.last[name]
        return self.pinned[name].version if self.is_pinned(name) else self.disk[name]

    def sound(self, name: str) -> Version:
        """Return the same, or what served last where that is broken."""
        wanted = self.wanted(name)
        return self.last.get(name, wanted) if self.is_broken(name, wanted) else wanted

    def part_serves(self, actual: Mapping[str, Version]) -> None:
        """Take over which part of the last step serves; raises AssertionError where it is none, or no whole set."""
        changed = {n: v for n, v in actual.items() if self.serving.get(n) != v}
        asked = all(version in self.offered.get(n, ()) for n, version in changed.items())
        assert asked, f"{changed} was never asked for"
        gone = self.serving.keys() - actual.keys()
        assert gone <= self.with_users({n for n in NAMES if self.disk[n].kind == "disabled"}), f"{gone} no longer serve"
        self.withdraw(gone)
        assert self.complete(dict(changed), self.disk.__getitem__), f"{changed} is no whole set"
        self.serves(changed)

    def serves(self, together: Mapping[str, Version]) -> None:
        for n, version in together.items():
            if version == self.disk[n]:
                self.pinned.pop(n, None)
                self.refused.pop(n, None)
                self.kept_out.pop(n, None)
            self.counted.setdefault(n, 0)
        self.serving.update(together)
        self.last.update(together)
        self.offered = {}

    def complete(self, together: dict[str, Version], choose: Callable[[str], Version]) -> bool:
        """Add what is used and doesn't serve; tell whether all of it fits together."""
        pending = list(together)
        while pending:
            for used in together[pending.pop()].uses:
                if used not in together and used not in self.serving:
                    together[used] = choose(used)
                    pending.append(used)
        world = {**self.serving, **together}
        whole = all(v.kind != "disabled" and not self.is_broken(n, v) for n, v in together.items())
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
