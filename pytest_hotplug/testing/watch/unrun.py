"""Lines that somebody changed and no test runs: what differs from the last commit, measured by coverage.py.

Asks git and looks at files; runs no test itself. A run that is to measure takes a `Measurement` along.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_hotplug.testing.affected.first_party import FirstParty
from pytest_hotplug.testing.affected.revision import Revision

__all__ = ["Measurement", "changed_lines", "unrun_lines"]


def changed_lines(root: Path) -> dict[Path, frozenset[int]]:
    """Return the lines of each Python file that are not as in the last commit; raises UsageError without git."""
    revision = Revision("HEAD", root, FirstParty(root))
    found = {}
    for name in revision.changed:
        path = root / name
        if path.suffix == ".py" and path.is_file():
            before = (revision.read(name) or b"").splitlines()
            found[path] = frozenset(_new_lines(before, path.read_bytes().splitlines()))
    return {path: lines for path, lines in found.items() if lines}


def _new_lines(before: list[bytes], now: list[bytes]) -> Iterator[int]:
    matcher = difflib.SequenceMatcher(None, before, now, autojunk=False)
    for what, _, _, start, end in matcher.get_opcodes():
        if what != "equal":
            yield from range(start + 1, end + 1)


def unrun_lines(changed: Mapping[Path, frozenset[int]], executed: Mapping[str, Iterable[int]]) -> dict[Path, list[int]]:
    """Return the changed lines that hold code, and were not executed."""
    found = {}
    for path, lines in changed.items():
        left = lines & _lines_with_code(path) - set(executed.get(os.path.realpath(path), ()))
        if left:
            found[path] = sorted(left)
    return found


def _lines_with_code(path: Path) -> frozenset[int]:
    """Return the lines on which a statement begins; none of a file that can't be compiled."""
    from coverage import Coverage
    from coverage.exceptions import CoverageException

    try:
        return frozenset(Coverage(data_file=None, config_file=False).analysis2(str(path))[1])
    except CoverageException:
        return frozenset()  # its tests say what is wrong with it


class Measurement:
    """Coverage of a few files in this process, from now until `stop`."""

    def __init__(self, files: Iterable[str]) -> None:
        from coverage import Coverage

        self._files = [os.path.realpath(file) for file in files]
        self._coverage: Any = Coverage(data_file=None, config_file=False, include=self._files, messages=False)
        self._coverage.set_option("run:disable_warnings", ["no-data-collected"])
        self._coverage.start()

    def stop(self) -> dict[str, list[int]]:
        """Return the lines of each file that were executed."""
        self._coverage.stop()
        data = self._coverage.get_data()
        return {file: sorted(data.lines(file) or ()) for file in self._files}
