"""What is known of plugins, as plain data for commands, health checks and tests. Changes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from pytest_hotplug.reloader.digests import algorithm_in_use
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.registry import Registry, Slot
from pytest_hotplug.reloader.reload import HotLoader
from pytest_hotplug.reloader.watching import Watching

__all__ = ["health_of", "info_of", "state_of"]


def state_of(slot: Slot, registry: Registry) -> str:
    """Return serving, degraded, rolled-back, paused, settling, disabled, not-loaded or failed."""
    serving = slot.name in registry.serving
    if not slot.enabled and not serving:
        return "disabled"
    if slot.paused is not None:
        return "paused"
    if slot.settling:
        return "settling"
    if slot.refusal is not None:
        return "degraded" if serving else "failed"
    if slot.pin is not None and serving:
        return "rolled-back"
    return "serving" if serving else "not-loaded"


def info_of(slot: Slot, registry: Registry, hot: HotLoader, leases: Leases) -> dict[str, Any]:
    """Return everything that is known of one plugin; see PluginManager.get_plugin_hot_info."""
    serving = registry.serving.get(slot.name)
    has_updates = serving is not None and hot.check_plugin_updates(slot.name)  # first: it may clear a refusal
    if serving is None and slot.refusal is None:
        hot.checker.read_enabled(slot)
    return {
        "name": slot.name,
        "version": serving.version if serving else None,
        "state": state_of(slot, registry),
        "loaded": serving is not None,
        "has_updates": has_updates,
        "load_time": serving.loaded_at if serving else None,
        "digest": serving.digest if serving else None,
        "generation": serving.number if serving else None,
        "reload_count": slot.reloads,
        "error": str(slot.refusal.fault) if slot.refusal else None,
        "in_flight": leases.calls_of(slot.name),
        "generations_alive": slot.alive(),
        "depends_on": sorted(registry.uses().get(slot.name, ())),
        "path": str(slot.found.path),
    }


def health_of(
    registry: Registry,
    hot: HotLoader,
    leases: Leases,
    watching: Watching | None,
    complaints: Mapping[str, str],
    store_problem: str,
) -> dict[str, Any]:
    """Return status, reasons and counts over all plugins; `complaints` are their own, see PluginManager.health."""
    states = {name: state_of(slot, registry) for name, slot in sorted(registry.slots.items())}
    failed = [f"{name}: nothing serves" for name, state in states.items() if state == "failed"]
    degraded = [f"{n}: {registry.slots[n].refusal.fault}" for n, s in states.items() if s == "degraded"]  # type: ignore[union-attr]
    degraded += [f"{name}: {said}" for name, said in complaints.items()]
    if store_problem:
        degraded.append(f"the state directory can't be used: {store_problem}")
    if watching is not None and not watching.alive:
        degraded.append("the watcher is down; plugins are still checked before each execution")
    return {
        "status": "failed" if failed else "degraded" if degraded else "ok",
        "reasons": failed + degraded,
        "plugins": states,
        "hot_reload_enabled": registry.hot_reload,
        "watching": None if watching is None else _watching(watching),
        "calls_in_flight": leases.calls(),
        "digest": f"{algorithm_in_use(hot.settings.digest)} (detects change; it is no signature)",
        "privileged": hasattr(os, "geteuid") and os.geteuid() == 0,
        "pid": os.getpid(),
        "python": sys.version.split()[0],
    }


def _watching(watching: Watching) -> dict[str, Any]:
    return {
        "backend": watching.backend,
        "reason": watching.reason,
        "restarts": watching.restarts,
        "missed_by_events": watching.missed_by_events,
    }
