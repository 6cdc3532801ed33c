"""What a worker knows and does, as plain facts for whoever asks: over the socket, on the page, in a test.

Each method may take its time, and is called on a thread. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from pytest_hotplug import __version__
from pytest_hotplug.reloader.asking import asking
from pytest_hotplug.reloader.errors import HotplugError, PluginDisabled, UnknownPlugin
from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Reloaded, Unchanged
from pytest_hotplug.worker.journal import past

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager

__all__ = ["Service", "outcome_facts"]

Phase = Literal["starting", "serving", "stopping"]
Facts = dict[str, Any]


class Service:
    """One worker's plugins. `log_problem` says why the logs can't be written, "" while they can."""

    def __init__(self, manager: PluginManager, name: str, *, log_problem: Callable[[], str] = str) -> None:
        self.manager = manager
        self.name = name
        self.phase: Phase = "starting"
        self.page = ""  # the address of the status page
        self._log_problem = log_problem
        self._since = time.time()

    # -- what is known --------------------------------------------------------------------------

    def about(self) -> Facts:
        """Return who this worker is, and which of its plugins are behind the disk."""
        plugins = self.plugins()
        return {
            "pid": os.getpid(),
            "version": __version__,
            "python": platform.python_version(),
            "phase": self.phase,
            "started_at": self._since,
            "plugins": len(plugins),
            "behind": [info["name"] for info in plugins if info["has_updates"]],
            "hot_reload_enabled": self.manager.hot_reload_enabled,
            "page": self.page or None,
        }

    def plugins(self) -> list[Facts]:
        """Return what is known of each plugin, also of one that serves on although its directory is gone."""
        self.manager.discover()
        known = []
        for name in sorted(self.manager._registry.slots):
            with suppress(UnknownPlugin):  # it ended meanwhile
                known.append(self.manager.get_plugin_hot_info(name))
        return known

    def plugin(self, name: str) -> Facts:
        """Return what is known of one plugin, with what its manifest says of the version that serves.

        `refused` is the digest of what lies on disk if that was refused, None if not, or not yet.
        """
        info = self.manager.get_plugin_hot_info(name)
        slot = self.manager._registry.slots.get(name)
        info["refused"] = self.manager._hot_loader.checker.refused(slot) if slot is not None else None
        serving = self.manager._registry.serving.get(name)
        if serving is not None:
            manifest = serving.manifest
            info["description"] = manifest.description
            info["entry_point"] = manifest.entry_point
            info["parameters"] = {key: parameter.type for key, parameter in manifest.parameters.items()}
        return info

    def history(self, name: str) -> Facts:
        """Return the kept versions and the records of one plugin."""
        self.manager.get_plugin_hot_info(name)  # raises UnknownPlugin
        return {"versions": self.manager.kept_versions(name), "records": self.manager.history(name)}

    def past(self, plugin: str | None = None, since: float | None = None, tail: int | None = None) -> list[Facts]:
        """Return what happened before, of one plugin or of all, the oldest first."""
        if plugin is not None:
            self.manager.get_plugin_hot_info(plugin)
        return past(self.manager._recorder.store, plugin, since=since, tail=tail)

    def health(self, names: Sequence[str] = ()) -> Facts:
        """Return status and reasons, over these plugins alone if any are named."""
        for name in names:
            self.manager.get_plugin_hot_info(name)
        facts = self.manager.health()
        problem = self._log_problem()
        if names:
            facts = _narrowed(facts, names)
        if problem:
            facts["reasons"] = [*facts["reasons"], f"{problem} [log-unwritable]"]
            facts["status"] = "degraded" if facts["status"] == "ok" else facts["status"]
        return {**facts, "phase": self.phase, "logs": problem or "ok"}

    def ready(self, names: Sequence[str] = ()) -> Facts:
        """Tell whether the enabled plugins (or these) serve something each, and this worker takes calls."""
        for name in names:
            self.manager.get_plugin_hot_info(name)
        states = {info["name"]: info["state"] for info in self.plugins() if not names or info["name"] in names}
        missing = [name for name, state in states.items() if state in ("failed", "not-loaded")]
        return {"ready": self.phase == "serving" and not missing, "phase": self.phase, "missing": missing}

    def why(self, name: str) -> Facts:
        return self.manager.why(name)

    def switches(self) -> Facts:
        """Return whether changes are looked for, and which plugins are paused, why and until when."""
        store = self.manager._recorder.store
        slots = sorted(self.manager._registry.slots.items())
        paused = {name: slot.paused for name, slot in slots if slot.paused is not None}
        return {
            "hot_reload_enabled": self.manager.hot_reload_enabled,
            "disabled_until": store.switch.until,
            "paused": paused,
            "paused_until": {name: store.notes(name).paused_until for name in paused},
            "warnings": self._not_remembered(),
        }

    def _not_remembered(self) -> list[str]:
        """Say that what was asked for holds no longer than this process, where it could not be written down."""
        problem = self.manager._recorder.problem
        return [f"until it can be written down it is lost at a restart: {problem} [state-unusable]"] if problem else []

    # -- what is done ---------------------------------------------------------------------------

    def load_all(self) -> list[Facts]:
        """Load every enabled plugin; one that can't be loaded is told, and keeps nobody from serving."""
        return [facts for name in self.manager.discover() if (facts := self._loaded(name)) is not None]

    def _loaded(self, name: str) -> Facts | None:
        try:
            generation = self.manager.load(name)
        except PluginDisabled:
            return None
        except HotplugError as error:
            return {"plugin": name, "ok": False, "serving": None, "text": str(error)}
        text = f"{name}: version {generation.version} serves ({generation.digest[:12]})"
        refusal = self.manager._registry.slots[name].refusal
        refused = str(refusal.fault) if refusal is not None else None
        return {"plugin": name, "ok": refused is None, "serving": generation.number, "text": text, "refused": refused}

    def reload(self, name: str, who: str) -> Facts:
        """Load a plugin anew even if nothing changed; returns once it serves or was refused."""
        with asking(who):
            return self._after(self.manager._hot_loader.reload(name, force=True, by_hand=True))

    def bring_up(self, name: str, who: str) -> Facts:
        """Act on changed content, or load what nothing serves of yet; a plugin that is gone from disk is unloaded."""
        with asking(who):
            if name not in self.manager.discover():
                outcome = self.manager.unload(name)
                self.manager.discover()  # what no longer serves is forgotten with this look
                return self._after(outcome)
            with suppress(HotplugError):  # the outcome below tells of it
                self.manager.load(name)
            return self._after(self.manager.reload(name))

    def unload(self, name: str, who: str) -> Facts:
        """Let a plugin serve no more."""
        with asking(who):
            return self._after(self.manager.unload(name))

    def rollback(self, name: str, to: str | None, who: str, *, end: bool = False) -> Facts:
        """Serve an older version, or end that."""
        with asking(who):
            outcome = self.manager.end_rollback(name) if end else self.manager.rollback(name, to)
        facts = self._after(outcome, "rolled back")
        if end and isinstance(outcome, KeptCurrent):
            facts["text"] = outcome.told_of_end()
        if facts["outcome"] == "reloaded":
            facts["outcome"] = "ended" if end else "rolled-back"
        return {**facts, "warnings": self._not_remembered()}

    def enable(self, names: Sequence[str] = ()) -> Facts:
        """Check for changes again: everything, or the named plugins; what waited is applied at once."""
        if not names:
            self.manager.enable_hot_reload()
        for name in names:
            self.manager.resume(name)
        for name in names or self.manager.discover():
            if self.manager._registry.serving.get(name) is not None:
                self.manager.reload(name)
        return self.switches()

    def disable(self, names: Sequence[str] = (), reason: str = "", lasts: float | None = None) -> Facts:
        """Check for changes no more: nothing, or not the named plugins."""
        if not names:
            self.manager.disable_hot_reload(lasts=lasts)
        for name in names:
            self.manager.pause(name, reason, lasts=lasts)
        return self.switches()

    def _after(self, outcome: Outcome, done: str = "reloaded") -> Facts:
        info: Facts = {}
        with suppress(HotplugError):  # a plugin that is gone has none
            info = self.manager.get_plugin_hot_info(outcome.name)
        return {**outcome_facts(outcome, done), "version": info.get("version"), "digest": info.get("digest")}


def outcome_facts(outcome: Outcome, done: str = "reloaded") -> Facts:
    """Return an outcome as plain facts with a text; `ok` tells whether what was to be `done` is."""
    name, serving = outcome.name, outcome.serving
    what, text = "unloaded", f"{name}: no longer serves"
    if isinstance(outcome, Reloaded):
        also = f", with {', '.join(outcome.also)}" if outcome.also else ""
        what, text = "reloaded", f"{name}: generation {serving} serves{also}"
    elif isinstance(outcome, Unchanged):
        what, text = "unchanged", f"{name}: same content, not reloaded [same-content]"
    elif isinstance(outcome, KeptCurrent):
        what, text = "kept", outcome.told(done)
    return {
        "plugin": name,
        "outcome": what,
        "ok": what != "kept",
        "serving": serving,
        "reason": outcome.reason,
        "slug": outcome.slug if isinstance(outcome, KeptCurrent) else None,
        "text": text,
        "also": list(outcome.also),
    }


def _narrowed(facts: Facts, names: Sequence[str]) -> Facts:
    """Return health over some plugins alone; every reason of a plugin begins with its name."""
    states = {name: facts["plugins"].get(name, "not-loaded") for name in names}
    reasons = [reason for reason in facts["reasons"] if reason.partition(":")[0] in states]
    failed = any(state == "failed" for state in states.values())
    status = "failed" if failed else "degraded" if reasons else "ok"
    return {**facts, "status": status, "reasons": reasons, "plugins": states}
