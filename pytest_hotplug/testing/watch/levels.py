"""What a parked process holds of the project, and which changes make it hold something old.

Answers are reasons in words, empty while it is true. Knows files only, no process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.testing.watch.affected import CONFIGURES

__all__ = ["Holds", "why_collection_is_old", "why_configuration_is_old"]


@dataclass(frozen=True, slots=True)
class Holds:
    """Files that were imported or read, directories that were listed, and files that existed when it began."""

    files: frozenset[Path]
    listed: frozenset[Path] = frozenset()
    existed: frozenset[Path] = frozenset()


def why_configuration_is_old(changed: Iterable[Path], root: Path, holds: Holds) -> str:
    """Return why pytest must be started again."""
    beside = {path.parent for path in holds.files}
    for path in changed:
        if path.parent == root and path.name in CONFIGURES:
            return f"{path.name} configures pytest"
        if _is_among(path, holds.files):
            return f"{path.name} was imported by pytest's start"
        if path.suffix != ".py" and any(path.is_relative_to(place) for place in beside):
            return f"{path.name} lies beside what pytest's start has imported, which may have read it"
    return ""


def why_collection_is_old(changed: Iterable[Path], holds: Holds, is_test_file: Callable[[Path], bool]) -> str:
    """Return why the tests must be collected again."""
    for path in changed:
        if path.name == "conftest.py" or is_test_file(path):
            return f"{path.name} is collected"
        if _is_among(path, holds.files):
            return f"{path.name} was imported or read by the collection"
        if path.exists() != (path in holds.existed):  # atomic saves look like new files; this is about the name
            state = "new" if path.exists() else "gone"
            if path.suffix in (".py", ".json") or _is_among(path.parent, holds.listed):
                return f"{path.name} is {state}"
    return ""


def _is_among(path: Path, paths: Collection[Path]) -> bool:
    return path in paths or Path(os.path.realpath(path)) in paths
