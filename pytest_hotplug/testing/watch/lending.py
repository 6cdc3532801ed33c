"""Lend the terminal to a debugger in a run, to one process at a time.

Meanwhile the watch reads no keys and keeps what it has to say; the other processes of the run wait.
Belongs to the thread of the watch loop.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_hotplug.testing.watch.keys import Keys
from pytest_hotplug.testing.watch.runs import Run
from pytest_hotplug.testing.watch.screen import Screen

__all__ = ["Lending"]


class Lending:
    """Who has the terminal, and who waits for it.

    `keys` is set once the watch has it; `lends` is told the process that gets it, and 0 when it is back.
    """

    def __init__(self, screen: Screen) -> None:
        self.keys: Keys | None = None
        self.lends: Callable[[int], object] = lambda process: None
        self._screen = screen
        self._holder: tuple[Run, int] | None = None
        self._waiting: list[tuple[Run, int]] = []

    @property
    def busy(self) -> bool:
        """Whether somebody sits at a debugger."""
        return self._holder is not None

    def hear(self, run: Run, kind: str, process: int) -> None:
        """Take in what a process of the run wants; see `messages`."""
        if kind == "debugger":
            self._waiting.append((run, process))
        elif (run, process) == self._holder:
            self._take_back()
            if kind == "suspended":
                self._waiting.insert(0, (run, process))
                if self.keys is not None:
                    self.keys.suspend()  # goes on here when the shell lets us
        self.lend()

    def lend(self) -> None:
        """Lend it to the next who waits, as soon as it is free and ours to lend."""
        if self._holder is None and self._waiting:
            run, process = self._waiting[0]
            if self.keys is not None and self.keys.lend(process):
                self.lends(process)
                self._screen.hold()
                self._holder = self._waiting.pop(0)
                run.go_on_alone(process)
                run.answer(process)

    def go_on(self) -> None:
        """Let who sits at a debugger go on, and nobody else, after the whole watch was stopped."""
        assert self._holder is not None, "somebody has it"
        run, process = self._holder
        run.go_on_alone(process)

    def end(self, run: Run) -> None:
        """Forget a run that is over, and have the terminal again."""
        self._waiting = [each for each in self._waiting if each[0] is not run]
        if self._holder is not None and self._holder[0] is run:
            self._take_back()
        self.lend()

    def holds(self, run: Run) -> bool:
        """Tell whether a debugger in this run has the terminal."""
        return self._holder is not None and self._holder[0] is run

    def _take_back(self) -> None:
        assert self._holder is not None, "it was lent"
        (run, _), self._holder = self._holder, None
        if self.keys is not None:
            self.keys.take_back()
        self.lends(0)
        self._screen.release()
        run.resume()
