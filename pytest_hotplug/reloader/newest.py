"""What a call does before it begins: look for changes, bring the plugin up to date, lease what serves then.

Who waits for a reload is decided here, by the setting `on_change`; how one works is for `reload` to know.
"""

from __future__ import annotations

from pytest_hotplug.reloader.asking import CALL, START, asking
from pytest_hotplug.reloader.background import Background
from pytest_hotplug.reloader.errors import Fault, PluginDisabled, PluginLoadError, UsageError
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.kept import is_over
from pytest_hotplug.reloader.leases import Lease, Leases
from pytest_hotplug.reloader.outcomes import Outcome, Reloaded, Unchanged, Unloaded
from pytest_hotplug.reloader.pauses import is_paused, lift
from pytest_hotplug.reloader.registry import Registry, Slot
from pytest_hotplug.reloader.reload import HotLoader

__all__ = ["Newest"]

_MOST_TRIES = 50  # of a first load while other threads keep unloading the plugin


class Newest:
    """Finds, for the calls of one manager, the newest generation that may serve them."""

    def __init__(self, registry: Registry, leases: Leases, hot: HotLoader) -> None:
        self._registry = registry
        self._leases = leases
        self._hot = hot
        self._background = Background(self._reload_for_call)

    def after_fork(self) -> None:
        """Forget, in a child process, the reloads that a thread of the parent was to do."""
        self._background = Background(self._reload_for_call)

    def stop(self) -> None:
        """Begin no more reloads beside calls, and wait for the one that runs."""
        self._background.stop()

    # -- for a call -----------------------------------------------------------------------------

    def lease(self, slot: Slot) -> Lease:
        """Bring the plugin up to date as `on_change` says, and lease what serves then.

        Raises PluginDisabled, PluginLoadError.
        """
        if self._needs_look(slot.name):
            self._act_on_change(slot)
        while (lease := self._leases.take(slot.name, lambda: self._registry.serving.get(slot.name))) is None:
            self.first_load(slot)
        return lease

    async def alease(self, slot: Slot) -> Lease:
        """Lease like `lease`; loads and gates never hold up the event loop."""
        import asyncio

        name = slot.name
        if self._needs_look(name):
            await asyncio.to_thread(self._act_on_change, slot)
        while (lease := self._leases.take(name, lambda: self._registry.serving.get(name), wait=False)) is None:
            await asyncio.to_thread(self._wait_until_served, slot)
        return lease

    def _wait_until_served(self, slot: Slot) -> None:
        self._leases.wait_open(slot.name)
        self.load(slot)

    # -- when nothing serves --------------------------------------------------------------------

    def load(self, slot: Slot) -> Generation:
        """Return the generation that serves, loading the plugin if none does; checks nothing."""
        serving = self._registry.serving.get(slot.name)
        return serving if serving is not None else self.first_load(slot)

    def first_load(self, slot: Slot) -> Generation:
        """Load a plugin of which nothing serves; raises PluginDisabled, PluginLoadError, UsageError `[closed]`."""
        with asking(START):
            return self._first_load(slot)

    def _first_load(self, slot: Slot) -> Generation:
        outcome = self._hot.reload(slot.name)
        for _ in range(_MOST_TRIES):
            serving = self._registry.serving.get(slot.name)
            if serving is not None:
                return serving
            if not isinstance(outcome, (Reloaded, Unchanged)):
                break
            outcome = self._hot.reload(slot.name)  # another thread unloaded it since
        if self._registry.closed:
            raise UsageError("this manager is closed", "closed")
        error = outcome.error
        refused_as_such = error is not None and (error.plugin, error.slug) == (slot.name, "disabled")
        if isinstance(outcome, Unloaded) or refused_as_such:  # the latter when another plugin needed it
            raise PluginDisabled(slot.name)
        raise PluginLoadError(error or _not_loaded(slot, outcome))

    # -- when something serves ------------------------------------------------------------------

    def _needs_look(self, name: str) -> bool:
        """Tell, as cheaply as possible, whether the plugin or something that it depends on may have changed."""
        registry = self._registry
        if name not in registry.serving:
            return True
        slots = registry.slots
        if not registry.hot_reload:
            if not is_over(registry.off_until):
                return False
            lift(registry)
        quiet = self._hot.checker.quiet
        for needed in registry.with_dependencies(name):
            slot = slots.get(needed)
            if slot is None:
                return True  # close() takes them away at any moment
            paused = slot.paused is not None and is_paused(registry, slot)
            if not (paused or quiet(slot)):
                return True
        return False

    def _act_on_change(self, slot: Slot) -> None:
        lift(self._registry)
        on_change = self._hot.settings.on_change
        if slot.name not in self._registry.serving:
            self.first_load(slot)
        elif not self._anything_changed(slot) or slot.paused is not None:
            return
        elif on_change == "all-wait":
            self._reload_for_call(slot.name)
        elif on_change == "first-waits":
            with asking(CALL):
                self._hot.reload_unless_busy(slot.name)
        else:
            self._background.reload(slot.name)

    def _reload_for_call(self, name: str) -> None:
        with asking(CALL):
            self._hot.reload(name)

    def _anything_changed(self, slot: Slot) -> bool:
        slots = self._registry.slots
        known = [slots.get(name) for name in self._registry.with_dependencies(slot.name)]
        return any(s is not None and s.paused is None and self._hot.checker.changed(s) for s in known)


def _not_loaded(slot: Slot, outcome: Outcome) -> Fault:
    """Say why nothing serves although no version was refused."""
    if isinstance(outcome, Reloaded):
        message, remedy = "it was unloaded as soon as it was loaded", "Look for a callback that unloads it."
    elif outcome.reason == "loading":
        message = "another plugin is being imported, and nothing of this one serves yet"
        remedy = "Name it in depends_on of the plugin that needs it, or execute it later than at import."
    else:
        message, remedy = f"nothing serves yet ({outcome.reason})", "Try again once its files rest."
    return Fault(slot.name, "not-loaded", message, slot.found.path, remedy=remedy, own_bytes=False)
