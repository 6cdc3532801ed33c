"""Why does this version serve, and why is an old one still there? One word of a closed list, then the facts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pytest_hotplug.reloader.breaker import Breaker
from pytest_hotplug.reloader.holders import chains, holders_of
from pytest_hotplug.reloader.info import state_of
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.pauses import spoken
from pytest_hotplug.reloader.registry import Registry, Slot
from pytest_hotplug.reloader.reload import HotLoader
from pytest_hotplug.reloader.watching import Watching

__all__ = ["VERDICTS", "Verdict", "why"]

Verdict = Literal[
    "current", "paused", "rolled-back", "refused", "settling", "held-by-git", "breaker", "ignored-file", "same-content",
    "unreadable", "dependency-refused", "root-missing", "watcher-down",
]  # fmt: skip
VERDICTS: tuple[str, ...] = get_args(Verdict)
_BY_A_REFUSAL = ("refused", "unreadable", "dependency-refused")
_FROM_OUTSIDE = ("unreadable", "plugin-missing")


def why(
    slot: Slot,
    registry: Registry,
    hot: HotLoader,
    leases: Leases,
    watching: Watching | None,
    breaker: Breaker,
) -> dict[str, Any]:
    """Return the verdict on one plugin, what it rests on, and who holds old generations; see PluginManager.why."""
    serving = registry.serving.get(slot.name)
    verdict, text = _verdict(slot, registry, hot, watching, breaker)
    current = serving.number if serving is not None else None
    canary = serving.namespace.canary if serving is not None else None
    holders = holders_of(slot.canaries, canary, slot.found.public)
    refusal = slot.refusal
    return {
        "name": slot.name,
        "verdict": verdict,
        "text": text,
        "remedy": refusal.fault.remedy if refusal is not None and verdict in _BY_A_REFUSAL else None,
        "state": state_of(slot, registry),
        "generation": current,
        "version": serving.version if serving is not None else None,
        "holders": [
            {"generation": h.generation, "held": h.held, "place": h.place, "chain": list(h.chain)} for h in holders
        ],
        "lines": list(chains(holders)),
        "in_flight": leases.calls_of(slot.name),
        "next_try": _next_try(refusal.next_try) if refusal is not None else None,
        "limits": list(slot.limits.lines),
    }


def _next_try(at: float) -> float | None:
    """Return the seconds until a refused version is tried again, None when only new content helps."""
    return None if at == float("inf") else max(0.0, at - time.monotonic())


def _verdict(
    slot: Slot, registry: Registry, hot: HotLoader, watching: Watching | None, breaker: Breaker
) -> tuple[Verdict, str]:
    changed = slot.name in registry.serving and hot.check_plugin_updates(slot.name)  # may clear a refusal
    refusal = slot.refusal
    if not slot.found.layout.path.is_dir():
        return "root-missing", f"the plugin dir {slot.found.layout.path} is gone; what was loaded serves from memory"
    if slot.paused is not None or not registry.hot_reload:
        why = slot.paused if slot.paused is not None else "hot reload is disabled"
        until = slot.paused_until if slot.paused is not None else registry.off_until
        return "paused", f"nothing is checked{spoken(until)} ({why or 'no reason was given'})"
    if slot.held_by_git:
        return "held-by-git", "git is at work in its tree (index.lock is there); it is looked at when that is over"
    if slot.settling:
        return "settling", "its files are waited for until they rest"
    if refusal is not None:
        verdict: Verdict = "unreadable" if refusal.fault.slug in _FROM_OUTSIDE else "refused"
        return ("dependency-refused" if refusal.fault.plugin != slot.name else verdict), str(refusal.fault)
    if slot.pin is not None and slot.name in registry.serving:
        return "rolled-back", f"version {slot.pin.digest[:12]} was asked for; it serves until the files change"
    if breaker.is_open(slot.name):
        return "breaker", "it keeps changing itself by being loaded; the watcher leaves it alone for a while"
    if watching is not None and not watching.alive:
        return "watcher-down", "the watcher has ended; plugins are still checked before each execution"
    return _unchanged(slot, registry, changed)


def _unchanged(slot: Slot, registry: Registry, changed: bool) -> tuple[Verdict, str]:
    serving = registry.serving.get(slot.name)
    if not slot.found.path.is_dir():
        return "unreadable", f"its directory {slot.found.path} is gone; what was loaded serves from memory"
    if serving is None:
        return "current", "it was not loaded yet; the next execution loads what is on disk"
    if changed:
        return "current", "new content lies on disk; the next execution loads it"
    newest = _newest_other(slot, serving.snapshot.look.files)
    if newest and newest[1] > serving.loaded_at:
        return "ignored-file", f"{newest[0]} changed since the load, and does not count to the version"
    if slot.seen is not None and dict(slot.seen.look.files) != dict(serving.snapshot.look.files):
        return "same-content", "its files were saved since the load with the content that serves"
    return "current", "what is on disk serves"


def _newest_other(slot: Slot, counted: Mapping[str, object]) -> tuple[str, float] | None:
    """Return the file of the plugin's directory that changed last and is not counted, with its mtime."""
    newest: tuple[str, float] | None = None
    for directory, directories, names in os.walk(slot.found.path):
        directories[:] = [d for d in directories if d != "__pycache__" and not d.startswith(".")]
        for name in names:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, slot.found.path).replace(os.sep, "/")
            if relative not in counted and not name.endswith(".pyc"):
                try:
                    at = os.stat(path).st_mtime
                except OSError:
                    continue  # it vanished meanwhile, and is no answer then
                newest = (relative, at) if newest is None or at > newest[1] else newest
    return newest
