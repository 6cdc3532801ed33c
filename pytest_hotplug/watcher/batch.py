"""What the watcher tells: a batch of paths worth another look.

A hint, never a proof: whoever receives it compares content before believing it. Imports nothing of
the package; anybody may import it through `pytest_hotplug.watcher`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold the paths that may have changed since the batch before.

    `paths` are absolute and spelled below the roots as the caller named them. `first_seen` is
    `time.time()` of the first hint, in seconds. `overflow` means that events were lost or the
    watcher was restarted: look at everything below the roots, `paths` then names the roots.
    """

    paths: frozenset[Path]
    first_seen: float
    overflow: bool = False
