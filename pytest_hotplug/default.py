"""The process-wide default manager, and the watcher that managers use unless told otherwise.

The one place where reloader and watcher meet. The default manager is made from the project's
settings when it is first used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.manager import PluginManager
from pytest_hotplug.reloader.reload import HotLoader
from pytest_hotplug.reloader.settings import Settings, read_settings
from pytest_hotplug.reloader.watching import Batch, Watching

__all__ = ["PluginManager", "get_hot_loader", "plugin_manager"]


STEP = 0.05  # seconds; nobody waits for a manager's watcher, since every call checks: it may well sleep


def _watch(paths: Sequence[Path], on_batch: Callable[[Batch], None], settings: Settings) -> Watching:
    """Start the real watcher with a project's settings; nothing of it is imported before."""
    from pytest_hotplug.watcher import watch

    return watch(
        paths,
        on_batch,
        debounce=settings.debounce,
        settle_max=settings.settle_max,
        poll_interval=settings.poll_interval,
        force_polling=settings.force_polling,
        step=STEP,
    )


PluginManager.default_watch = staticmethod(_watch)


class _Default:
    """Stands for the default manager until somebody needs it, then is it."""

    def __init__(self) -> None:
        self.__dict__["_lock"] = threading.Lock()  # guards the making of _made
        self.__dict__["_made"] = None

    def _manager(self) -> PluginManager:
        with self._lock:
            if self._made is None:
                project = read_settings()
                self.__dict__["_made"] = PluginManager.from_settings(project.settings, project.root, keeps="on-disk")
            made: PluginManager = self._made
            return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._manager(), name, value)

    def __enter__(self) -> PluginManager:
        return self._manager().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._manager().__exit__(*error)

    def __repr__(self) -> str:
        return f"<the default PluginManager{'' if self._made else ', not made yet'}>"


plugin_manager: PluginManager = _Default()  # type: ignore[assignment]  # it is one as soon as it is used


def get_hot_loader() -> HotLoader:
    """Return the default manager's loader."""
    return plugin_manager._hot_loader
