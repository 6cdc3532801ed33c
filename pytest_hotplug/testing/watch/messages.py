"""What a process that runs tests is told by the watcher, and what it tells: the protocol in one place.

The order comes once. The messages are JSON lines in a pipe, each with a `kind`:

- `collected` tests; `planned` tests: what is there, what will run;
- `file` path, plugins, files: what the collection of a test file used;
- `test` nodeid, ended, seconds, plugins, files: what a test used, and whether it came to its end;
- `part` name, part: something that tests use, told before the first of them that does;
- `used` nodeid, parts, written: what one test used, down to functions, as names of parts;
- `writes` path: a file of the project is about to be written;
- `report` nodeid, outcome, collecting, duration, failure: what became of it;
- `lines` executed: which lines of the files to measure were executed, by path;
- `debugger` process: a debugger waits there for the terminal, which it gets with a byte in another pipe;
  `suspended` process: it gives it back for as long as the whole watch is suspended; `debugged` process: for good;
- `finished` stopped: the run came to its end, or why it was stopped.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

__all__ = ["Messages", "Order", "Remembered", "Tells", "by_file", "file_of", "function_of", "is_below"]


@dataclass(frozen=True, slots=True)
class Order:
    """What to run: node ids and whole test files, None for all; `part` is what one of several processes does of it.

    Of a directory, and of a file that may or may not be collected, runs what the watcher does not know: they
    are collected as in a run of everything, by pytest's own rules.

    Tests that stand in `ahead` come before all others; those in `standing` don't run even among all. Of
    the files in `measure` the run tells which lines it executed. `known` are the tests of the chosen files
    that the watcher knows: others there are new, or have another id each time, and run as well.
    """

    chosen: Sequence[str] | None
    first: bool = False  # the first run of a watch shows pytest's header
    part: Sequence[str] | None = None
    leads: bool = True  # tells what is collected and planned for all parts
    ahead: Sequence[str] = ()
    standing: Sequence[str] = ()
    measure: Sequence[str] = ()
    known: Sequence[str] = ()

    def holds(self) -> Callable[[str], bool]:
        """Return what tells whether a test is to run, by its node id."""
        if self.chosen is None:
            standing = frozenset(self.standing)
            return lambda nodeid: nodeid not in standing
        chosen, known = frozenset(self.chosen), frozenset(self.known)
        places = frozenset(map(file_of, chosen))
        return lambda nodeid: (
            nodeid in chosen or file_of(nodeid) in chosen or (nodeid not in known and is_below(nodeid, places))
        )

    def facts(self) -> dict[str, Any]:
        """Return what `Order(**facts)` makes the same order of."""
        return asdict(self)


class Tells(Protocol):
    """Takes messages."""

    def send(self, kind: str, **facts: Any) -> None:
        """Pass on one message."""
        ...

    def close(self) -> None:
        """Say that no more will come."""
        ...


class Messages:
    """Writes messages into a pipe, from the process that made it and no other."""

    def __init__(self, pipe: int) -> None:
        self._pipe = os.fdopen(pipe, "w", buffering=1, encoding="utf-8")
        self._process = os.getpid()
        self._lock = threading.RLock()  # threads of tests tell what they write; again: so may a finalizer

    def send(self, kind: str, **facts: Any) -> None:
        """Write one line."""
        if os.getpid() == self._process:  # else a test has forked, and its child came back into pytest
            line = json.dumps({"kind": kind, **facts}) + "\n"
            with self._lock:
                if not self._pipe.closed:
                    self._pipe.write(line)

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()


class Remembered:
    """Keeps messages of a process that collects tests for others to run."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **facts: Any) -> None:
        """Keep one."""
        self.kept.append((kind, facts))

    def close(self) -> None:
        """Do nothing: there is no pipe yet."""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the facts of all messages of one kind."""
        return [facts for other, facts in self.kept if other == kind]


def file_of(nodeid: str) -> str:
    """Return the test file of a node id."""
    return nodeid.partition("::")[0]


def function_of(nodeid: str) -> str:
    """Return a node id without its parameters, which may be others in each run: a clock, an address."""
    file, _, test = nodeid.partition("::")
    return f"{file}::{test.partition('[')[0]}"


def is_below(nodeid: str, places: Container[str]) -> bool:
    """Tell whether the file of a node id, or a directory above it, is one of the places; "." is the root."""
    place = file_of(nodeid)
    while place and place not in places:
        place = place.rpartition("/")[0]
    return bool(place) or "." in places


def by_file(nodeids: Iterable[str]) -> dict[str, list[str]]:
    """Return node ids by their test file, so that a run of one file need not look at those of thousands."""
    found: dict[str, list[str]] = {}
    for nodeid in nodeids:
        found.setdefault(file_of(nodeid), []).append(nodeid)
    return found
