"""Which of the files that change during a run are what the run itself leaves behind, and no edit.

A file that has ended a run already, and that the next run is seen to write, would end every run: a log
with the time in it, a report. Of what child processes write nobody tells; a file that is no code is
taken for an output once it has ended several runs in a row. Belongs to the thread of the watch loop.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["Outputs"]

OFTEN = 3  # runs in a row that a file ends


class Outputs:
    """What the runs since the last verdict wrote, and which files ended them."""

    def __init__(self, is_code: Callable[[Path], bool]) -> None:
        self._is_code = is_code
        self._written: set[Path] = set()  # by the run at hand
        self._ended: Counter[Path] = Counter()

    def begin_run(self) -> None:
        """Forget what the run before wrote."""
        self._written.clear()

    def end_round(self) -> None:
        """Forget all of it: there is a verdict."""
        self._ended.clear()

    def hear(self, path: str) -> None:
        """Take in that the run at hand has opened a file to write into it."""
        self._written.add(Path(os.path.realpath(path)))

    def count(self, changed: Iterable[Path]) -> None:
        """Remember that a run was ended because of these files."""
        self._ended.update(changed)

    def are(self, changed: Iterable[Path]) -> bool:
        """Tell whether none of these files is an edit."""
        return all(map(self._is_output, changed))

    def _is_output(self, path: Path) -> bool:
        if not self._ended[path]:
            return False
        seen = Path(os.path.realpath(path)) in self._written
        return seen or (self._ended[path] >= OFTEN and not self._is_code(path))
