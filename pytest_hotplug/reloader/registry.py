"""What a manager knows of each plugin: where it lies, what serves, what was refused.

The one mutable object of a manager. `serving` is replaced as a whole, so that a swap is one
assignment even when several plugins change together. Decides nothing.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.kept import KeptOut, Pin
from pytest_hotplug.reloader.ledger import Canary
from pytest_hotplug.reloader.limits import Limits
from pytest_hotplug.reloader.looking import Look, Signature
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.reloader.refusals import Refusal
from pytest_hotplug.reloader.trust import Trusted

if TYPE_CHECKING:
    from pytest_hotplug.reloader.quick_look import QuickLook

__all__ = ["Registry", "Seen", "Slot"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at the files, and the digest that their bytes had at that moment."""

    look: Look
    digest: str
    racy: bool  # taken so soon after an edit that another one could hide behind the same signature


@dataclass(slots=True)
class Slot:
    """One plugin's changing state. Fields are replaced whole; `turn` lets one reload work at a time."""

    name: str
    found: Found
    seen: Seen | None = None
    quick: QuickLook | None = None  # at the places of `seen`
    read: Snapshot | None = None  # what was read last: the next reading takes from it what nobody touched since
    refusal: Refusal | None = None
    in_vain: tuple[Refusal, Refusal] | None = None  # what serves instead of these refused bytes was refused as well
    paused: str | None = None  # the reason
    paused_until: float | None = None  # `time.time()`; None: until it is said otherwise
    pin: Pin | None = None  # a rollback that lasts; changes with what serves, under the transaction guard
    kept_out: KeptOut | None = None  # what was refused for a user's sake before the last restart
    number: int = 0  # of the newest generation that served
    reloads: int = 0
    settling: bool = False
    held_by_git: bool = False  # the last look found git at work in the tree
    written: Mapping[str, Signature] = field(default_factory=dict)  # counted files that changed during the last load
    self_made: str | None = None  # what the load before had written and led to the last one; None once it was counted
    trusted: Trusted | None = None  # whose owners and modes were looked at when a version was last let in
    limits: Limits = field(default_factory=Limits)  # what is said of the version that was looked at last; see `limits`
    ignore: Sequence[str] = ()  # `watch_ignore` of the manifest that was read last
    enabled: bool = True
    canaries: list[weakref.ref[Canary]] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)
    last: tuple[float, bool, Outcome] | None = None  # when it began (monotonic), whether forced, what became of it

    def alive(self) -> int:
        """Return how many generations' code is still in memory."""
        return len(self.living())

    def living(self) -> list[weakref.ref[Canary]]:
        """Return the canaries of generations whose code is still in memory."""
        return [ref for ref in self.canaries if ref() is not None]


class Registry:
    """Slots by name, and the generations that serve."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self.serving: Mapping[str, Generation] = {}
        self.names: dict[str, str] = {}  # public name -> plugin
        self._closures: dict[str, tuple[str, ...]] = {}
        self.lock = threading.RLock()  # guards slots, names and pauses; `serving` changes under the transaction guard
        self.since = time.time()
        self.hot_reload = True  # executions and the watch look for changes
        self.off_until: float | None = None  # the same for that
        self.closed = False

    def after_fork(self) -> None:
        """Forget, in a child process, what the parent's other threads were doing."""
        self.lock = threading.RLock()
        for slot in self.slots.values():
            slot.turn = threading.Lock()
            slot.settling = False

    def learn(self, found: Mapping[str, Found]) -> list[Found]:
        """Take over what discovery found; return what is new."""
        with self.lock:
            new = [plugin for name, plugin in found.items() if name not in self.slots]
            for plugin in new:
                self.slots[plugin.name] = Slot(plugin.name, plugin)
                self.names[plugin.public] = plugin.name
            return new

    def forget(self, names: set[str]) -> list[Found]:
        """Drop plugins that are gone from disk and don't serve; return them."""
        with self.lock:
            gone = [self.slots.pop(name).found for name in names if name in self.slots and name not in self.serving]
            for found in gone:
                self.names.pop(found.public, None)
            return gone

    def swap(self, changed: Mapping[str, Generation | None]) -> None:
        """Let other generations serve: one assignment, all of them or none."""
        serving = {**self.serving, **changed}
        self.serving = {name: generation for name, generation in serving.items() if generation is not None}
        self._closures = {}  # last: whoever still reads what served before writes into the dict that goes

    def stands_in(self, slot: Slot) -> bool:
        """Tell whether a kept copy serves because what lies on disk was refused, even if the bytes are the same."""
        serving = self.serving.get(slot.name)
        return serving is not None and serving.snapshot.home is not None and slot.pin is None

    def uses(self) -> dict[str, set[str]]:
        """Return which plugins each serving one uses: from manifests, and from imports that were seen."""
        return {name: {*g.manifest.depends_on, *g.bound} for name, g in self.serving.items()}

    def with_dependencies(self, name: str) -> tuple[str, ...]:
        """Return a plugin and everything that it depends on, directly or not."""
        closures = self._closures
        known = closures.get(name)
        if known is None:
            reached: dict[str, None] = {name: None}
            pending = [name]
            while pending:
                generation = self.serving.get(pending.pop())
                for used in (*generation.manifest.depends_on, *generation.bound) if generation else ():
                    if used not in reached and used in self.slots:
                        reached[used] = None
                        pending.append(used)
            known = closures[name] = tuple(reached)
        return known

    def rebound(self) -> None:
        """Drop what was derived from edges: a lazy import made a new one."""
        self._closures = {}

    def plugin_of(self, module: str) -> str | None:
        """Return the plugin that an absolute module name lies in."""
        names = self.names
        end = module.find(".")
        while end >= 0:
            found = names.get(module[:end])
            if found is not None:
                return found
            end = module.find(".", end + 1)
        return names.get(module)
