"""Which step a scenario takes, shown on a terminal while it is played, behind what stands in the line already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["progress_of"]

_SAVE, _RESTORE, _ERASE = "\x1b7", "\x1b8", "\x1b[K"
_LEAST = 20  # columns; in less room there is nothing to read
_QUIET: Callable[[str], None] = lambda step: None  # noqa: E731


@contextmanager
def progress_of(config: pytest.Config) -> Iterator[Callable[[str], None]]:
    """Give a function that shows a step; what it shows is taken away at the end. Without a terminal it does nothing."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    # Found out at the start, since output leads elsewhere by now; before pytest 9 it can't be called.
    if reporter is None or hasattr(config, "workerinput") or not reporter.isatty:
        yield _QUIET
        return
    line = _Line(reporter, config.pluginmanager.getplugin("capturemanager"))
    try:
        yield line.show
    finally:
        line.show("")


class _Line:
    """The rest of the terminal's current line. pytest counts its columns, so it is written past its back."""

    def __init__(self, reporter: Any, capture: Any) -> None:
        self._writer = reporter._tw
        self._capture = capture
        self._shown = ""

    def show(self, step: str) -> None:
        room = self._writer.fullwidth - self._writer.width_of_current_line - 2
        step = _cut(step, room) if room >= _LEAST else ""
        if step == self._shown:
            return
        self._shown = step
        if self._capture is None:
            self._write(step)
            return
        with self._capture.global_and_fixture_disabled():
            self._write(step)

    def _write(self, step: str) -> None:
        text = f" {step}" if step else ""
        self._writer._file.write(f"{_SAVE}{_ERASE}{text}{_RESTORE}")
        self._writer._file.flush()


def _cut(step: str, columns: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return step if cell_len(step) <= columns else set_cell_size(step, columns)
