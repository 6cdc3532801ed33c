"""The watch of one worker: begun, begun anew when it has ended or goes by other settings, and told of.

Calls check for themselves, whatever becomes of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_hotplug.reloader.asking import WATCHER, asking
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.worker.newcomers import and_load_the_rest
from pytest_hotplug.worker.service import Service, outcome_facts

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager

__all__ = ["Lookout"]

LOG = logging.getLogger("hotplug")


class Lookout:
    """Keeps the manager's watch alive; `say` hears of each reload, refusal and first load that it starts."""

    def __init__(self, manager: PluginManager, service: Service, say: Callable[[dict[str, Any]], None]) -> None:
        self._manager = manager
        self._service = service
        self._say = say

    def begin(self) -> None:
        """Watch, and reload what was edited while nobody did."""
        self._manager.start_watching(and_load_the_rest(self._manager, self._load), tell=self._tell)
        self._manager._watched.catch_up(self._tell)

    def begin_anew(self) -> None:
        """End the watch, if one lives, and begin another one; it waits for a load that is under way."""
        try:
            self._manager.stop_watching()
            self.begin()
        except Exception:
            if not self._manager._registry.closed:  # else the worker is being stopped
                LOG.exception("hotplug.watcher_down", extra={"text": "the watcher could not be started"})

    @property
    def has_ended(self) -> bool:
        """Tell whether a watch that was begun is no longer there."""
        watching = self._manager._watched.running
        return watching is not None and not watching.alive

    def _load(self, name: str) -> None:
        with asking(WATCHER):
            facts = self._service._loaded(name)
        if facts is not None:
            self._say({"event": "loaded" if facts["ok"] else "refused", **facts})

    def _tell(self, outcome: Outcome) -> None:
        facts = outcome_facts(outcome)
        first = facts["outcome"] == "reloaded" and outcome.serving == 1
        self._say({"event": "loaded" if first else facts["outcome"], **facts})
