"""The host process of watch mode: the production reloader over the real plugin dirs.

Reads commands as JSON lines from stdin, answers events on stdout. A plugin that hangs or kills its
process hurts only this one; the watcher starts it again. By default plugins are imported and
swapped, but not started.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.reloader.events import Event
from pytest_hotplug.reloader.settings import Settings, layouts

__all__ = ["main"]


def main() -> int:
    """Serve until stdin ends."""
    order = json.loads(sys.stdin.readline())
    # What plugins print must not mix with our answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    settings = msgspec.convert(order["settings"], Settings)
    root = Path(order["root"])
    sys.path[:0] = [str((root / path).resolve()) for path in settings.pythonpath]
    starts = settings.watch_host == "live"
    refused: set[str] = set()
    manager = PluginManager.from_settings(settings, root, layouts(settings, root), starts=starts)

    def answer(told: dict[str, Any]) -> None:
        answers.write(json.dumps(told) + "\n")

    def hear(event: Event) -> None:
        if event.kind in ("loaded", "error"):
            (refused.add if event.kind == "error" else refused.discard)(event.plugin)
            answer(_told(event))

    manager.subscribe(hear)
    with manager:
        manager.discover()
        for line in sys.stdin:
            command = json.loads(line)
            for name in command["plugins"]:
                _look(manager, name)
            for name in sorted(refused):
                if again := _serves_again(manager, name):
                    refused.discard(name)
                    answer(again)
            answer({"kind": "looked", "plugins": command["plugins"]})
    return 0


def _look(manager: PluginManager, name: str) -> None:
    """Load a plugin, or reload it if it changed; what goes wrong is told by its event."""
    try:
        manager.reload(name)
    except HotplugError as error:
        sys.stderr.write(f"hotplug host: {error}\n")


def _serves_again(manager: PluginManager, name: str) -> dict[str, Any] | None:
    """Tell of a refused version that was taken back, down to the bytes that serve: no reload tells of it."""
    info = manager.get_plugin_hot_info(name)
    if info["error"] is not None or not info["loaded"] or info["has_updates"]:
        return None
    facts = {"plugin": name, "generation": info["generation"], "digest": info["digest"]}
    return {"kind": "reloaded", "again": True, **facts}


def _told(event: Event) -> dict[str, Any]:
    return {
        "kind": "reloaded" if event.kind == "loaded" else "refused",
        "again": False,
        "plugin": event.plugin,
        "generation": event.generation,
        "digest": event.digest,
        "error": event.message,
        "at": event.at,
    }


if __name__ == "__main__":
    raise SystemExit(main())
