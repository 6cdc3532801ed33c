"""Reload in the background when files change.

The watcher only says "look again"; correctness never depends on it, since every execution checks
for itself. The watcher itself is injected: nothing here imports watchfiles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pytest_hotplug.reloader.settings import Settings

__all__ = ["Batch", "Watch", "Watching", "plugins_touched"]

LOG = logging.getLogger("hotplug")


class Batch(Protocol):
    """Paths that may have changed; `overflow` says that some were lost."""

    @property
    def paths(self) -> frozenset[Path]: ...

    @property
    def overflow(self) -> bool: ...


class Watching(Protocol):
    """A running watch."""

    @property
    def alive(self) -> bool: ...

    @property
    def backend(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def restarts(self) -> int: ...

    @property
    def missed_by_events(self) -> int: ...

    def stop(self) -> None: ...


class Watch(Protocol):
    """Starts a watch; `reloader` never imports the one that does."""

    def __call__(self, paths: Sequence[Path], on_batch: Callable[[Batch], None], settings: Settings) -> Watching: ...


def plugins_touched(batch: Batch, places: dict[str, Path]) -> list[str]:
    """Return the plugins whose directory holds one of the batch's paths, or is one; all of them on overflow."""
    if batch.overflow:
        return sorted(places)
    return sorted(
        name
        for name, place in places.items()
        if any(path == place or place in path.parents or path in place.parents for path in batch.paths)
    )
