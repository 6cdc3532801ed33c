"""A watch that also loads what nobody has asked for yet: plugins that are new, or were broken until now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.reloader.watching import Batch, Watch, Watching, plugins_touched

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager

__all__ = ["and_load_the_rest"]


def and_load_the_rest(manager: PluginManager, load: Callable[[str], None]) -> Watch:
    """Return the manager's watch, which after each batch also gives to `load` what nothing serves of."""
    start = manager.default_watch
    assert start is not None, "the front door of the package has set it"

    def watch(paths: Sequence[Path], on_batch: Callable[[Batch], None], settings: Settings) -> Watching:
        def on_any(batch: Batch) -> None:
            on_batch(batch)
            places = {name: manager.get_plugin_hot_info(name) for name in manager.discover()}
            idle = {name: Path(info["path"]) for name, info in places.items() if not info["loaded"]}
            for name in plugins_touched(batch, idle):
                load(name)

        return start(paths, on_any, settings)

    return watch
