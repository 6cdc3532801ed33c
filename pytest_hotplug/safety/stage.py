"""The plugin on the stage: loaded, used, edited and unloaded in a child that does nothing else."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_hotplug.reloader import retirement, store
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.reloader.events import Event
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.holders import holders_of
from pytest_hotplug.reloader.manager import PluginManager
from pytest_hotplug.reloader.manifest import EntryPoint, parse_entry
from pytest_hotplug.reloader.outcomes import KeptCurrent
from pytest_hotplug.reloader.settings import Layout
from pytest_hotplug.safety.errors import CannotPlay, NoTool, NotTried, fault_of
from pytest_hotplug.safety.evidence import Phase, Span, Survivor, Thing
from pytest_hotplug.safety.files import Files
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.order import Order
from pytest_hotplug.safety.places import Places
from pytest_hotplug.safety.probe import BadProbe, Probe, ProbedPlugin, probe_of
from pytest_hotplug.safety.subject import Subject

if TYPE_CHECKING:
    from pytest_hotplug.safety.upgrade import Upgrade

__all__ = ["CannotPlay", "NoTool", "NotTried", "Stage"]


Take = Callable[[Subject], Mapping[str, Thing]]
_A_COPY = 70  # the exit code of copies of this process that a plugin has made
_PATIENCE = 1.0  # seconds that threads get to come to their end
_STEP = 0.1  # seconds within which one of them must have ended, or the others are not waited for


class Stage:
    """One plugin in its copy, with the manager that serves it.

    `tell` is called with what happens next, for whoever waits; `takes` are what checks see in a snapshot.
    """

    def __init__(
        self, order: Order, tell: Callable[[str], None] = lambda step: None, takes: Mapping[str, Take] | None = None
    ) -> None:
        self.order = order
        self.tell = tell
        self.name = order.plugin
        store.HISTORY_LINES = 1  # what the reloader remembers grows up to a bound; here it must not grow at all
        if order.scenario == "calls":
            retirement.GRACE = 0.0  # reloads wait for no end of an old version: who looks for those waits
        self.manager = PluginManager.from_settings(order.settings, Path(order.root), order.layouts)
        self.manager.discover()
        slot = self.manager._registry.slots.get(self.name)
        if slot is None:
            raise CannotPlay(f"there is no plugin {self.name!r}")
        self._slot = slot
        self.public = slot.found.public
        self.directory = slot.found.path
        self.files = Files(self.directory)
        self.sources = self.files.original  # as the author wrote them, whatever is served first
        self.places = Places(self.public, str(self.directory))
        self.subject = Subject(self.public, self.places, order.settings.verify_registries)
        self._takes = takes or {}
        self.failing: dict[str, str] = {}  # check id -> what it raised itself
        self.not_seen: dict[str, NotTried] = {}  # check id -> why it can't look
        self._probe: Probe | None = None
        self._process = os.getpid()
        self._edits = 0
        self.timeline: list[Span] = []  # what ran when, where a check finds that worth showing
        self._heard: list[Event] = []
        self.upgrade: Upgrade | None = None  # where the scenario plays one

    def listen(self) -> None:
        """Begin to hear what is told about it, and what it does."""
        self.places.listen()
        self.manager.subscribe(lambda event: self._heard.append(event) if event.plugin == self.name else None)

    # -- what it is -----------------------------------------------------------------------------

    @property
    def has_probe(self) -> bool:
        """Whether the manifest says how the plugin is used."""
        return self._probe is not None

    @property
    def serving(self) -> Generation:
        """The generation that serves; raises CannotPlay when none does."""
        serving = self.manager._registry.serving.get(self.name)
        if serving is None:
            raise CannotPlay("nothing serves any more")
        return serving

    @property
    def layout(self) -> Layout:
        """How its plugin dir is laid out."""
        return self._slot.found.layout

    def file_of(self, module: str) -> str | None:
        """Return the relative name of a module's file, None when there is none of ours."""
        place = module.replace(".", "/")
        names = (f"{place}.py", f"{place}/__init__.py") if place else ("__init__.py",)
        return next((name for name in names if name in self.files.original), None)

    def by_name(self, text: str) -> str:
        """Return a text with the plugin's files by their names in it, and not by where the copies lie."""
        return text.replace(f"{self.directory}{os.sep}", "").replace(str(self.directory), self.name)

    def _inside(self, place: str) -> str:
        """Return a place by its name within the plugin; what holds versions knows some by their module alone."""
        return self.by_name(place).removeprefix(f"{self.public.replace('.', '/')}/")

    def errors(self) -> int:
        """Return how many faults of it were told so far."""
        return sum(event.kind == "error" for event in self._heard)

    def loads(self) -> int:
        """Return how many versions of it came to serve so far."""
        return sum(event.kind == "loaded" for event in self._heard)

    @property
    def entry(self) -> EntryPoint | None:
        """Where the entry of the version that serves stands, None when it has none."""
        return parse_entry(self.serving.manifest.entry_point, plugin=self.name, path=self.directory)

    @property
    def entry_file(self) -> str:
        """The relative name of the file with the entry, or of any with code; raises CannotPlay when there is none."""
        of_entry = self.file_of(self.entry.module) if self.entry is not None else None
        found = [of_entry] if of_entry is not None else self.code_files()
        if not found:
            raise CannotPlay("it has no Python file that could be edited")
        return found[0]

    def code_files(self) -> list[str]:
        """Return the relative names of its Python files; those that do not count to its version (tests) left out."""
        return [name for name in self.serving.namespace.source_files() if name in self.files.original]

    # -- what is done with it -------------------------------------------------------------------

    def load(self) -> None:
        """Load the plugin and use it once; raises CannotPlay."""
        try:
            manifest = self.manager.load(self.name).manifest
            verify = manifest.hotplug.get("verify", {})
            said = verify.get("probe") if self.order.probe is None else self.order.probe
            self._probe = probe_of(said, self.directory)
        except (HotplugError, BadProbe) as error:
            raise CannotPlay(str(error)) from None
        self.use()

    def probe(self) -> None:
        """Use it as its probe says, if it has one; what that raises passes."""
        if self._probe is None:
            return
        try:
            self._probe(ProbedPlugin(self.manager, self.name), self.manager._host.get())
        finally:
            if os.getpid() != self._process:  # it forked, and this is the copy: one of us plays on
                os._exit(_A_COPY)

    def failure(self, what: str) -> str:
        """Use it, and say how that fails; "" when it doesn't."""
        try:
            self.probe()
        except Exception as error:  # noqa: BLE001 - the plugin's and the probe's: it is what we ask for
            return f"{what}: {type(error).__name__}: {error}"
        return ""

    def use(self) -> None:
        """Use it as its probe says; raises CannotPlay when that fails."""
        if said := self.failure("its probe failed"):
            raise CannotPlay(said)

    def look(self) -> Generation:
        """Check for changes as each call does, and return what serves then; raises CannotPlay when nothing does."""
        try:
            lease = self.manager._newest.lease(self._slot)
        except HotplugError as error:
            raise CannotPlay(str(error)) from None
        self.manager._leases.give_back(lease)
        return self.serving

    def restore(self) -> None:
        """Lay down the plugin's files as they were, and let them serve; raises CannotPlay when that fails."""
        self.files.restore()
        outcome = self.manager.reload(self.name)
        if isinstance(outcome, KeptCurrent):
            raise CannotPlay(f"its files are as they were, and it can't be reloaded: {_said(outcome)}")
        self.use()

    def reload(self, *, use: bool = True) -> None:
        """Let a version of another digest serve, and use it; raises CannotPlay."""
        self._edits += 1
        with (self.directory / self.entry_file).open("ab") as file:
            file.write(f"\n# reload {self._edits}\n".encode())
        outcome = self.manager.reload(self.name)
        if isinstance(outcome, KeptCurrent):
            raise CannotPlay(f"a comment more, and it can't be reloaded: {_said(outcome)}")
        if use:
            self.use()

    def reset(self) -> None:
        """Unload it and load it anew; raises CannotPlay."""
        self.unload()
        self.load()

    def unload(self) -> None:
        """Let it serve no more, and wait until all that its end takes is done."""
        self.manager.unload(self.name)
        self.let_old_versions_end()

    def let_old_versions_end(self) -> None:
        """Wait until all that the end of versions takes is done, which goes on beside."""
        self.manager._hot_loader._retirement.join(self.manager.settings.retire_timeout)

    def snapshot(self) -> Phase:
        """Look at everything outside that a check wants to see, once garbage is collected and threads have ended."""
        settle()
        self._let_threads_end()
        seen: Phase = {}
        for check, take in self._takes.items():
            try:
                seen[check] = dict(take(self.subject))
            except NotTried as reason:
                self.not_seen[check] = reason
            except CannotPlay:
                raise
            except Exception as error:  # noqa: BLE001 - a check of the project's own may fail, and then proves nothing
                self.failing[check] = fault_of(error)
        return seen

    def _let_threads_end(self) -> None:
        """Wait for threads that were told to end, for as long as some do."""
        deadline = time.monotonic() + _PATIENCE
        left = self.threads()
        while left and time.monotonic() < deadline:
            left[0].join(_STEP)
            before, left = left, self.threads()
            if len(left) == len(before):
                return

    def threads(self) -> list[threading.Thread]:
        """Return the threads that code of the plugin started, and that run."""
        return [thread for thread in list(self.places.threads) if thread.is_alive()]

    def living(self) -> frozenset[int]:
        """Return a number for each version whose code is still in memory, once garbage is collected."""
        settle()
        return frozenset(number_of(canary) for weak in self._slot.living() if (canary := weak()) is not None)

    def survivors(self, after: str, known: frozenset[int] = frozenset()) -> list[Survivor]:
        """Return who holds old versions, those that are `known` to live left out; asked once garbage is collected."""
        serving = self.manager._registry.serving.get(self.name)
        canary = serving.namespace.canary if serving is not None else None
        living = [weak for weak in self._slot.living() if number_of(weak()) not in known]
        return [
            Survivor(after=after, generation=h.generation, held=h.held, place=self._inside(h.place), chain=h.chain)
            for h in holders_of(living, canary, self.public)
        ]


# Which names were looked up in types: Python remembers some thousands of them, and keeps them alive.
_forget_names: Callable[[], None] = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


def settle() -> None:
    """Collect garbage until there is none, at most five times."""
    _forget_names()
    for _ in range(5):
        if not gc.collect():
            break


def _said(outcome: KeptCurrent) -> str:
    return str(outcome.error) if outcome.error is not None else outcome.reason
