"""The plugin on the stage: loaded, used, edited and unloaded in a child that does nothing else."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_hotplug.reloader import limits, store
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.holders import holders_of
from pytest_hotplug.reloader.manager import PluginManager
from pytest_hotplug.reloader.outcomes import KeptCurrent
from pytest_hotplug.safety.evidence import Survivor
from pytest_hotplug.safety.files import Files
from pytest_hotplug.safety.order import Order
from pytest_hotplug.safety.probe import BadProbe, Probe, ProbedPlugin, probe_of

__all__ = ["CannotPlay", "NotTried", "Stage"]


class CannotPlay(Exception):
    """The plugin can't be verified; the text says why."""


class NotTried(Exception):
    """A check does not apply to this plugin, or can't be tried here; the text says why."""


class Stage:
    """One plugin in its copy, with the manager that serves it.

    `tell` is called with what happens next, for whoever waits.
    """

    def __init__(self, order: Order, tell: Callable[[str], None] = lambda step: None) -> None:
        self.order = order
        self.tell = tell
        self.name = order.plugin
        # What the reloader remembers grows up to a bound; here it must not grow at all.
        store.HISTORY_LINES = limits._MOST_KNOWN = 1
        self.manager = PluginManager.from_settings(order.settings, Path(order.root), order.layouts)
        self.manager.discover()
        slot = self.manager._registry.slots.get(self.name)
        if slot is None:
            raise CannotPlay(f"there is no plugin {self.name!r}")
        self._slot = slot
        self.public = slot.found.public
        self.directory = slot.found.path
        self.files = Files(self.directory)
        self._probe: Probe | None = None
        self._edits = 0

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
    def entry_file(self) -> Path:
        """The file with the entry, or any with code; raises CannotPlay when there is none."""
        entry = self._slot.found.layout.entry_module.replace(".", "/") or "__init__"
        wanted = [self.directory / f"{entry}.py", self.directory / entry / "__init__.py"]
        there = [path for path in (*wanted, *sorted(self.directory.rglob("*.py"))) if path.is_file()]
        if not there:
            raise CannotPlay("it has no Python file that could be edited")
        return there[0]

    # -- what is done with it -------------------------------------------------------------------

    def load(self) -> None:
        """Load the plugin and use it once; raises CannotPlay."""
        try:
            manifest = self.manager.load(self.name).manifest
            verify = manifest.hotplug.get("verify", {})
            self._probe = probe_of(verify.get("probe"), self.directory)
        except (HotplugError, BadProbe) as error:
            raise CannotPlay(str(error)) from None
        self.use()

    def probe(self) -> None:
        """Use it as its probe says, if it has one; what that raises passes."""
        if self._probe is not None:
            self._probe(ProbedPlugin(self.manager, self.name), self.manager._host.get())

    def use(self) -> None:
        """Use it as its probe says; raises CannotPlay when that fails."""
        try:
            self.probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be proved with it
            raise CannotPlay(f"its probe failed: {type(error).__name__}: {error}") from None

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

    def reload(self) -> None:
        """Let a version of another digest serve, and use it; raises CannotPlay."""
        self._edits += 1
        with self.entry_file.open("ab") as file:
            file.write(f"\n# reload {self._edits}\n".encode())
        outcome = self.manager.reload(self.name)
        if isinstance(outcome, KeptCurrent):
            raise CannotPlay(f"a comment more, and it can't be reloaded: {_said(outcome)}")
        self.use()

    def unload(self) -> None:
        """Let it serve no more, and wait until all that its end takes is done."""
        self.manager.unload(self.name)
        self.manager._hot_loader._retirement.join(self.manager.settings.retire_timeout)

    def survivors(self, after: str) -> list[Survivor]:
        """Return who holds old versions, once garbage is collected."""
        settle()
        serving = self.manager._registry.serving.get(self.name)
        canary = serving.namespace.canary if serving is not None else None
        return [
            Survivor(after=after, generation=h.generation, held=h.held, place=h.place, chain=h.chain)
            for h in holders_of(self._slot.living(), canary, self.public)
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
