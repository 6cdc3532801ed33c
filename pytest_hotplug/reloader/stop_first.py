"""handover: stop-first. The old generation ends before the new one begins: both can't hold one port.

New calls wait at a gate meanwhile, and running ones end in peace. When the new version fails, or the
old one's end hangs, the old bytes are loaded again before the gate opens. What an old version's
`save_state` and `on_unload` do is waited for within limits; its thread is lost after that.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping

from pytest_hotplug.reloader import transaction
from pytest_hotplug.reloader.build import Build, Parts
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import calling
from pytest_hotplug.reloader.loader import State
from pytest_hotplug.reloader.registry import Slot
from pytest_hotplug.reloader.reload_thread import ReloadThread
from pytest_hotplug.reloader.retirement import Retirement
from pytest_hotplug.reloader.waiting import Latch

__all__ = ["Handover", "StopFirst"]

LOG = logging.getLogger("hotplug")


class StopFirst:
    """Takes generations down before their successors begin, for one manager.

    `run` loads a build, `note` says a fault.
    """

    def __init__(
        self,
        parts: Parts,
        retirement: Retirement,
        run: Callable[[Build], None],
        withdraw: Callable[..., object],
        note: Callable[[Slot, Fault], None],
    ) -> None:
        self.parts = parts
        self.retirement = retirement
        self.run = run
        self.withdraw = withdraw
        self.note = note

    def handover(self, build: Build) -> Handover:
        """Return the handover that a build needs; nothing is done yet."""
        return Handover(self, build)


class Handover:
    """One build's handover: `stop`, then the load, and `finish` whatever happened."""

    def __init__(self, means: StopFirst, build: Build) -> None:
        self._means = means
        self._build = build
        self._gated: set[str] = set()
        self._ends: list[_End] = []
        self._set_up_again = False
        self._thread = ReloadThread("hotplug-stop")

    def stop(self, slot: Slot) -> None:
        """Let new calls wait and running ones end, save states, then take down what must not overlap.

        Raises PluginFault when calls don't end in time, a state can't be saved, or a version doesn't end.
        """
        for name in self._build.fresh:
            self.wait_for_end(self._means.parts.slot_of(name))
        stopping = self._build.stop_first()
        if not stopping:
            return
        self._close_gate(slot, stopping)
        # Another handover may have come first; what began to serve meanwhile is not stopped for us.
        stopping = [generation for generation in self._build.stop_first() if generation.name in self._gated]
        self._save_states(slot, stopping)
        for generation in reversed(stopping):
            self._take_down(generation)

    def wait_for_end(self, slot: Slot) -> None:
        """Wait until a plugin of which nothing serves may begin again; raises PluginFault while calls of it run.

        What holds on to its end although its calls are over is waited for no longer than it may take.
        """
        build, retirement = self._build, self._means.retirement
        old = build.still_there(slot.name)
        if not old:
            return
        timeout = min(map(retirement.limit_of, old))
        if slot.name in calling():
            raise PluginFault(_in_flight(slot.found, "a call of the plugin asked for this load itself"))
        if transaction.current() is not None:  # other loads wait for the one around
            raise PluginFault(_in_flight(slot.found, "what served before has not ended"))
        if retirement.wait_until(lambda: not build.still_there(slot.name), timeout):
            return
        if self._means.parts.leases.is_running(slot.name):
            raise PluginFault(_in_flight(slot.found, f"running calls did not end within {timeout:g} s"))
        retirement.wait_until(
            lambda: not build.still_there(slot.name), max(map(retirement.patience_with, old)) - timeout
        )
        build.may_overlap.add(slot.name)

    def finish(self) -> None:
        """Open the gate; what was taken down and has no successor is set up again first, from its old bytes.

        May be repeated when a signal cut it short.
        """
        try:
            if not self._set_up_again:
                self._set_up_again = True
                self._set_up()
        finally:
            try:
                self._let_go()
            finally:
                self._means.parts.leases.open(self._gated, self)

    # -- the old version's end ------------------------------------------------------------------

    def _close_gate(self, slot: Slot, stopping: list[Generation]) -> None:
        names = {generation.name for generation in stopping}
        if names & set(calling()):  # the call that asks is itself in flight: waiting for it would never end
            raise PluginFault(_in_flight(slot.found, "a call of the plugin asked for this reload itself"))
        timeout = min(self._means.retirement.limit_of(generation) for generation in stopping)
        self._gated = names
        if not self._means.parts.leases.gate(names, timeout, self):
            raise PluginFault(_in_flight(slot.found, f"running calls did not end within {timeout:g} s"))

    def _save_states(self, slot: Slot, stopping: list[Generation]) -> None:
        limit = self._build.time_limit()
        try:
            self._thread.run(lambda: self._build.save_states(stopping), limit)
        except TimeoutError:
            of = next((g for g in stopping if g.name not in self._build.states), stopping[0])
            raise PluginFault(_unsaved(self._means.parts.slot_of(of.name).found, of, limit)) from None

    def _take_down(self, generation: Generation) -> None:
        end = _End(generation, self._means.retirement.take_down)
        self._ends.append(end)  # first: a version whose end may have begun must not be called again
        try:
            self._thread.run(end.run, self._means.retirement.patience_with(generation))
        except TimeoutError:
            end.is_lost = True
            found = self._means.parts.slot_of(generation.name).found
            raise PluginFault(_unended(found, generation, self._means.retirement.limit_of(generation))) from None

    # -- setting it up again --------------------------------------------------------------------

    def _down(self) -> list[_End]:
        """Return the ends of what counts as serving all the same."""
        serving = self._means.parts.registry.serving
        return [end for end in self._ends if serving.get(end.generation.name) is end.generation]

    def _set_up(self) -> None:
        for end in self._down():
            if end.revoke():
                self._ends.remove(end)  # an interrupt came before it began
            else:  # an interrupt may have come while it was under way
                end.wait(self._means.retirement.patience_with(end.generation))
        again = {end.generation.name: end.generation.snapshot for end in self._down()}
        if not again:
            return
        states = dict(self._build.states)
        try:
            while refused := self._run_again(again, states):
                states[refused.plugin] = None  # the version comes before its state, however old both are
                self._means.note(self._means.parts.slot_of(refused.plugin), _lost(refused))
        except (PluginFault, Unsettled, TimeoutError, transaction.GuardTimeout) as error:
            LOG.critical("hotplug.restart_failed", extra={"plugins": [*again], "text": str(error) or "not in time"})

    def _run_again(self, again: Mapping[str, Snapshot], states: Mapping[str, State | None]) -> Fault | None:
        """Load the old bytes; return the fault where one of them refuses its state, None where all is well."""
        try:
            self._means.run(Build(self._means.parts, again, states=states, from_disk=False))
        except PluginFault as fault:
            if fault.fault.slug != "state-refused" or states.get(fault.fault.plugin) is None:
                raise
            return fault.fault
        return None

    def _let_go(self) -> None:
        """Let what could not be set up again serve no more; what holds on to its end is better than nothing."""
        names = [end.generation.name for end in self._down() if not end.is_lost]
        if names:
            try:
                self._means.withdraw(*names)
            except transaction.GuardTimeout as error:
                LOG.critical("hotplug.restart_failed", extra={"plugins": names, "text": repr(error)})


class _End:
    """The end of one generation, on a thread that is lost when it hangs."""

    def __init__(self, generation: Generation, take_down: Callable[[Generation], None]) -> None:
        self.generation = generation
        self.is_lost = False
        self._take_down = take_down
        self._ticket = deque([generation])  # whoever takes it out decides: the thread begins, or never will
        self._over = Latch()
        self._waited = False

    def run(self) -> None:
        if self.revoke():
            try:
                self._take_down(self.generation)
            finally:
                self._over.open()

    def revoke(self) -> bool:
        """Take the right to begin away, and tell whether it was still there."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def wait(self, timeout: float) -> None:
        """Wait for an end that has begun; one that takes longer is lost."""
        if not self.is_lost and not self._waited:
            self._waited = True
            self.is_lost = not self._over.wait(timeout)


def _in_flight(found: Found, why: str) -> Fault:
    message = f"handover is stop-first, and {why}"
    remedy = "It is tried again once they end; raise retire_timeout if they need longer."
    return Fault(found.name, "calls-in-flight", message, found.path, remedy=remedy, own_bytes=False)


def _lost(refused: Fault) -> Fault:
    message = (
        f"the version that is started again refuses the state that it saved, and serves without: {refused.message}"
    )
    remedy = "Let load_state take whatever save_state of the same version returns."
    return Fault(
        refused.plugin, "state-lost", message, refused.path, refused.line, refused.source, remedy, own_bytes=False
    )


def _unsaved(found: Found, generation: Generation, limit: float) -> Fault:
    message = (
        f"save_state of generation {generation.number} did not end within {limit:g} s; "
        "its thread can't be killed and is left behind"
    )
    remedy = "Keep waiting out of save_state, or raise load_timeout."
    return Fault(found.name, "load-timeout", message, found.path, remedy=remedy, own_bytes=False)


def _unended(found: Found, generation: Generation, limit: float) -> Fault:
    message = (
        f"handover is stop-first, and on_unload (or an undo) of generation {generation.number} "
        f"did not end within {limit:g} s; its thread can't be killed and is left behind"
    )
    remedy = "Let on_unload wait for nothing without a time limit, or raise retire_timeout."
    return Fault(found.name, "unload-timeout", message, found.path, remedy=remedy, own_bytes=False)
