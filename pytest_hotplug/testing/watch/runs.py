"""How a run begins: from what is warm as far as that is true, in a fresh process otherwise, with the reason.

`collected`: forked where all tests are collected; `configured`: forked where pytest is configured,
collects what it needs; `cold`: a fresh process. All of them run the same tests and tell the same
messages. Chooses no tests.
"""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_hotplug.testing.watch.chain import Chain, Place
from pytest_hotplug.testing.watch.messages import Order, file_of
from pytest_hotplug.testing.watch.peer import Peer
from pytest_hotplug.testing.watch.processes import Message, TestRun
from pytest_hotplug.testing.watch.shards import split
from pytest_hotplug.testing.watch.surprises import why_never_warm
from pytest_hotplug.testing.watch.warm import WarmRun

__all__ = ["Run", "Runs"]

Run = TestRun | WarmRun
COLD = "HOTPLUG_WATCH_COLD"  # set to anything: every run gets a fresh process


class Runs:
    """Begins runs and keeps the warm processes ready. `log` takes events, `say` lines for people."""

    def __init__(
        self,
        config: pytest.Config,
        place: Place,
        child_out: IO[Any] | None,
        inbox: queue.SimpleQueue[Message],
        tell: Callable[[str], None],
        log: Callable[..., None],
        known_of: Callable[[str], Iterable[str]],
    ) -> None:
        self._place = place
        self._child_out = child_out
        self._inbox = inbox
        self._told: set[str] = set()
        self._tell = tell
        self._log = log
        self._known_of = known_of  # the tests of a test file, as far as the watch knows
        self._never = _why_always_cold(config)
        self._asked_for: int | str | None = getattr(config.option, "numprocesses", None)
        self._one = _wants_one_process(config)
        self._processes = 1 if self._one else _processes(self._asked_for)
        self._chain = Chain(place, inbox, self._tell_once)

    def explain(self) -> None:
        """Say what is slower for the whole watch."""
        if self._never:
            self._tell_once(f"each run is a fresh process: {self._never}")
        elif self._asked_for and self._one:
            self._tell_once(f"-n {self._asked_for} is not heeded: with {self._one} each run is one process")
        elif self._asked_for:
            self._tell_once(
                f"-n {self._asked_for}: runs that are worth it are split over {self._processes} forked "
                "processes, without pytest-xdist"
            )

    def _tell_once(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            self._tell(reason)

    # -- runs -----------------------------------------------------------------------------------

    def begin(self, order: Order, seconds: Mapping[str, float]) -> Run:
        """Begin a run; `seconds` is how long tests took."""
        self._chain.disarm()
        self._chain.look_at_environment()
        files = _files(order)
        if files is not None:
            order = replace(order, known=[nodeid for file in files for nodeid in self._known_of(file)])
        run, level, because = self._begin(order, seconds)
        processes = run.processes if isinstance(run, WarmRun) else 1
        self._log("run", level=level, because=because, processes=processes)
        return run

    def _begin(self, order: Order, seconds: Mapping[str, float]) -> tuple[Run, str, str]:
        because = self._never or _why_cold(order) or self._chain.why_not_configured()
        if because:
            return self._cold(order), "cold", because
        because = self._chain.why_not_collected(_files(order))
        if not because:
            run = self._chain.run_collected(self._split(order, seconds))
            if not isinstance(run, str):
                return run, "collected", ""
            self._tell_once(f"{run}: this run collects for itself")
            because = run
        run = self._chain.run_configured(order)
        if not isinstance(run, str):
            return run, "configured", because
        self._tell_once(f"{run}: this run is a fresh process")
        return self._cold(order), "cold", run

    def _cold(self, order: Order) -> TestRun:
        place = self._place
        return TestRun(place.arguments, place.directory, order, self._inbox, self._child_out, place.debugger)

    def _split(self, order: Order, seconds: Mapping[str, float]) -> Sequence[Order]:
        """Return an order for each process; the first one speaks for all."""
        facts = self._chain.facts
        assert facts is not None, "asked for after why_not_collected"
        if self._processes == 1 or facts["once"]:
            return [order]
        there = self._chain.collected_in(_files(order))
        parts = split(list(filter(order.holds(), there)), seconds, self._processes)
        if len(parts) == 1:
            return [order]
        return [replace(order, part=part, leads=number == 0) for number, part in enumerate(parts)]

    # -- between runs ---------------------------------------------------------------------------

    def changed(self, paths: Iterable[Path]) -> None:
        """Note files of new content."""
        self._chain.changed(paths)

    def saved(self, paths: Iterable[Path]) -> None:
        """Note files that were saved, also with the same content: it may have been another one for a moment."""
        self._chain.saved(paths)

    def rest(self) -> None:
        """Use the time while nothing runs."""
        if not self._never:
            self._chain.arm()

    def renew(self) -> str:
        """Let the warm processes be started anew by the next `rest`; return why there are none, or ""."""
        self._told.clear()  # what is slower may not be so any more, and may be said again
        self._chain.renew()
        return self._never

    def hear(self, peer: Peer, facts: dict[str, Any]) -> bool:
        """Take in what a warm process says of its own; tell whether everything has been collected now."""
        armed = self._chain.hear(peer, facts)
        if armed:
            self._log("armed", tests=len(facts["tests"]))
        return armed

    def stop(self) -> None:
        """End the warm processes."""
        self._chain.stop()


def _why_cold(order: Order) -> str:
    if order.first:
        return "it is the first one"
    return "lines are measured" if order.measure else ""


def _why_always_cold(config: pytest.Config) -> str:
    if os.environ.get(COLD):
        return f"{COLD} is set"
    if not sys.platform.startswith("linux"):
        return "warm processes need Linux"
    return why_never_warm(config)


def _wants_one_process(config: pytest.Config) -> str:
    """Return the option because of which a run is never split: order counts, or somebody debugs."""
    option = config.option
    reasons = {"--maxfail": option.maxfail, "--basetemp": option.basetemp, "--pdb": option.usepdb}
    return next((name for name, given in {**reasons, "--trace": option.trace}.items() if given), "")


def _processes(asked_for: int | str | None) -> int:
    """Return how many processes a run may use: as `-n` says, or as many as cores (`auto`, `logical`, nothing)."""
    return max(1, asked_for) if isinstance(asked_for, int) else len(os.sched_getaffinity(0))


def _files(order: Order) -> frozenset[str] | None:
    return None if order.chosen is None else frozenset(map(file_of, order.chosen))
