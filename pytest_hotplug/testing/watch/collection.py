"""What a process has collected, by test file: a run of one file need not look at the items of thousands.

To look at an item is to write to its memory, which costs a forked process a copy of the page.
"""

from __future__ import annotations

import os
from collections.abc import Collection as Files
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.testing.watch.messages import file_of

__all__ = ["Collection"]


class Collection:
    """Made once; `facts` tell what the collection of each file used (see `messages`)."""

    def __init__(self, items: Sequence[pytest.Item], facts: Iterable[dict[str, Any]], root: Path) -> None:
        self._items = list(items)
        self._places: dict[str, list[int]] = {}  # test file -> where its items are
        for place, item in enumerate(items):
            self._places.setdefault(file_of(item.nodeid), []).append(place)
        self._facts: dict[str, list[dict[str, Any]]] = {}
        for each in facts:
            self._facts.setdefault(Path(os.path.relpath(each["path"], root)).as_posix(), []).append(each)

    def items_of(self, files: Files[str] | None) -> list[pytest.Item]:
        """Return the items of these test files, in the order in which they were collected; None: all."""
        if files is None:
            return list(self._items)
        places = sorted(place for file in files for place in self._places.get(file, ()))
        return [self._items[place] for place in places]

    def facts_of(self, files: Files[str] | None) -> list[dict[str, Any]]:
        """Return what the collection of these test files used; None: of all."""
        return [facts for file in (self._facts if files is None else files) for facts in self._facts.get(file, ())]
