"""handover: stop-first. The old generation ends before the new one begins: both can't hold one port.

New calls wait at a gate meanwhile, and running ones end in peace. When the new version fails, the old
bytes are loaded again before the gate opens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pytest_hotplug.reloader import transaction
from pytest_hotplug.reloader.build import Build, Parts
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import calling
from pytest_hotplug.reloader.registry import Slot
from pytest_hotplug.reloader.retirement import Retirement

__all__ = ["StopFirst"]

LOG = logging.getLogger("hotplug")


class StopFirst:
    """Takes generations down before their successors begin, for one manager; `run` loads a build."""

    def __init__(
        self, parts: Parts, retirement: Retirement, run: Callable[[Build], None], withdraw: Callable[..., object]
    ) -> None:
        self._parts = parts
        self._retirement = retirement
        self._run = run
        self._withdraw = withdraw

    def stop(self, slot: Slot, stopping: list[Generation], build: Build) -> None:
        """Let new calls wait and running ones end, save states, then take the old generations down.

        Raises PluginFault when calls don't end in time, or a state can't be saved.
        """
        names = [generation.name for generation in stopping]
        limits = [g.manifest.retire_timeout for g in stopping]
        timeout = min(self._parts.settings.retire_timeout if limit is None else limit for limit in limits)
        if set(names) & set(calling()):  # the call that asks is itself in flight: waiting for it would never end
            raise PluginFault(_in_flight(slot.found, "a call of the plugin asked for this reload itself"))
        try:
            if not self._parts.leases.gate(names, timeout):
                raise PluginFault(_in_flight(slot.found, f"running calls did not end within {timeout:g} s"))
            build.save_states(stopping)
            for generation in reversed(stopping):
                self._retirement.take_down(generation)
        except BaseException:
            self._parts.leases.open(names)
            raise

    def start_again(self, stopping: list[Generation], build: Build) -> None:
        """Open the gate; when the new version failed, the old bytes are loaded again first."""
        try:
            failed = [g for g in stopping if self._parts.registry.serving.get(g.name) is g]
            if failed:
                self._run(
                    Build(self._parts, {g.name: g.snapshot for g in failed}, states=build.states, from_disk=False)
                )
        except (PluginFault, TimeoutError, transaction.GuardTimeout) as error:
            LOG.critical("hotplug.restart_failed", extra={"plugins": [g.name for g in stopping], "text": str(error)})
            self._withdraw(*(g.name for g in stopping))
        finally:
            names = [generation.name for generation in stopping]
            try:
                self._parts.leases.open(names)
            finally:  # a signal may have cut the first short
                self._parts.leases.open(names)


def _in_flight(found: Found, why: str) -> Fault:
    message = f"handover is stop-first, and {why}"
    remedy = "It is tried again once they end; raise retire_timeout if they need longer."
    return Fault(found.name, "calls-in-flight", message, found.path, remedy=remedy, own_bytes=False)
