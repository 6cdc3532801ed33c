"""One replacement: load beside, verify, let it serve with one assignment; and what serves no more.

Everything that a build brings begins to serve together, or the world is as before. Which bytes it
gets, whose turn it is and what refused versions mean is for `reload`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from pytest_hotplug.reloader import finder, transaction, trial
from pytest_hotplug.reloader.build import Build, Parts, StillThere, event_of
from pytest_hotplug.reloader.dependencies import dependents_of
from pytest_hotplug.reloader.errors import Fault, PluginDisabled, PluginFault
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.outcomes import Outcome, Reloaded, Unloaded
from pytest_hotplug.reloader.registry import Slot
from pytest_hotplug.reloader.reload_thread import ReloadThread
from pytest_hotplug.reloader.stop_first import Handover, StopFirst
from pytest_hotplug.reloader.telling import Telling

__all__ = ["OTHER_LOAD", "Replacement"]

LOG = logging.getLogger("hotplug")
OTHER_LOAD = "another plugin's load did not end in time"


class Replacement:
    """Replaces generations, and takes them down, for one manager."""

    def __init__(self, parts: Parts, telling: Telling) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._slot_of = parts.slot_of
        self._telling = telling
        self._thread = ReloadThread()
        self._stop_first = StopFirst(parts, parts.retirement, self._run, self.withdraw, telling.note)

    def after_fork(self) -> None:
        """Forget, in a child process, what the parent's other threads were loading."""
        self._thread.after_fork()

    def stop(self) -> None:
        """End the thread that loads."""
        self._thread.stop()

    # -- replacing ------------------------------------------------------------------------------

    def what_loads(self, slot: Slot, fresh: dict[str, Snapshot], **how: Any) -> Outcome:
        """Load what is fresh; a plugin that is broken itself, or disabled, holds up nothing but itself."""
        own: Outcome | None = None
        held: frozenset[str] = frozenset()
        while True:
            build = Build(self._parts, fresh, held=held, **how)
            outcome = self._replace(slot, build)
            own = outcome if own is None and slot.name in build.left_out else own
            fresh = {name: found for name, found in fresh.items() if name not in build.left_out}
            held |= build.left_out
            if not build.left_out or not fresh:
                break
        if own is None or own.serving is None:
            return own or outcome
        serving = self._registry.serving.get(slot.name)  # the old bytes may have come along as a dependent's
        return replace(own, serving=serving.number if serving else None)

    def _replace(self, slot: Slot, build: Build) -> Outcome:
        """Load what is fresh and everything that depends on it in one transaction, all or none."""
        handover = self._stop_first.handover(build)
        try:
            outcome = self._load(slot, build, handover)
        finally:
            try:
                handover.finish()
            finally:  # a signal may have cut the first short
                handover.finish()
        serving = self._registry.serving.get(slot.name)
        return replace(outcome, serving=serving.number if serving else None)

    def _load(self, slot: Slot, build: Build, handover: Handover) -> Outcome:
        try:
            build.prepare()
            if trial.is_wanted(self._parts):
                trial.try_build(self._parts, build)
            handover.stop(slot)
            self._run_in_peace(build, handover)
        except PluginFault as fault:
            return self._telling.refused(slot, fault.fault, build)
        except PluginDisabled as disabled:
            return self._disabled(slot, disabled.name, build)
        except Unsettled as unsettled:
            return self._telling.kept(slot, "unsettled", str(unsettled))
        except transaction.GuardTimeout:
            return self._telling.kept(slot, "loading", OTHER_LOAD)
        except TimeoutError:
            return self._telling.refused(slot, self._hung(slot, build), build)
        also = tuple(name for name in build.order if name != slot.name)
        return Reloaded(name=slot.name, also=also)

    def _run_in_peace(self, build: Build, handover: Handover) -> None:
        """Run a build; where it finds a plugin that may not begin yet, wait for that outside the transaction."""
        while True:
            try:
                return self._run(build)
            except StillThere as there:
                handover.wait_for_end(self._slot_of(there.fault.plugin))

    def _run(self, build: Build) -> None:
        """Run a build on the reload thread, inside a transaction of its own."""
        limit = build.time_limit()
        load = transaction.Transaction(limit)
        # No `with`: a signal that hits its first step would leave the guard taken while an old version is set up again.
        try:
            load.begin(self._parts.settings.load_timeout)
            load.work = build
            self._thread.run(lambda: build.run(load), limit)
        finally:
            try:
                load.end()
            finally:
                load.end()

    def _hung(self, slot: Slot, build: Build) -> Fault:
        name = build.at or slot.name
        message = f"the load did not end within {build.time_limit():g} s; its thread can't be killed and is left behind"
        remedy = "Keep long work out of import and on_load, or raise load_timeout."
        return Fault(name, "load-timeout", message, self._slot_of(name).found.path, remedy=remedy, own_bytes=False)

    def _disabled(self, slot: Slot, name: str, build: Build) -> Outcome:
        """Take a plugin down whose manifest says so, and with it everything that depends on it."""
        self._slot_of(name).enabled = False
        try:
            gone = self.withdraw(name)
        except transaction.GuardTimeout:
            return self._telling.kept(slot, "loading", OTHER_LOAD)
        self.forget(gone)
        build.left_out = frozenset({name, *(g.name for g in gone)})
        reason = "disabled" if name == slot.name else f"{name} is disabled"
        return Unloaded(name=slot.name, reason=reason, also=tuple(g.name for g in gone if g.name != slot.name))

    # -- taking down ----------------------------------------------------------------------------

    def withdraw(self, *names: str) -> list[Generation]:
        """Let plugins, and what depends on them, serve no more; return their generations, users first.

        Raises GuardTimeout when another load doesn't end.
        """
        with transaction.alone(self._parts.settings.load_timeout + transaction.GRACE):
            order = dependents_of(names, self._registry.uses())
            gone = [g for n in reversed(order) if (g := self._registry.serving.get(n)) is not None]
            self._registry.swap(dict.fromkeys((g.name for g in gone), None))
            for generation in gone:
                if (owner := self._parts.owner()) is not None:
                    finder.withdraw(owner, generation.namespace.public)
                self._parts.events.post(event_of("unloaded", generation))
                LOG.info("hotplug.unloaded", extra={"plugin": generation.name, "generation": generation.number})
            self._parts.superseded.extend(gone)
        return gone

    def forget(self, gone: list[Generation]) -> None:
        """Let plugins that were taken down be loaded like any that never served: from disk, else as they served."""
        names = {generation.name for generation in gone}
        for slot in list(self._registry.slots.values()):
            if slot.kept_out is not None and slot.kept_out.user in names:
                slot.kept_out = None  # nobody that serves needs the version before any more
        for slot in [self._slot_of(generation.name) for generation in gone if generation.name in self._registry.slots]:
            slot.seen = slot.refusal = None
