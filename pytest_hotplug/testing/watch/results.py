"""What became of the tests: in the run at hand, and what stands of earlier ones.

A test is done when its run came to its end and a report of it arrived; every other test that was
chosen stays pending and counts as outdated. Starts no process and prints nothing; belongs to the
thread of the watch loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_hotplug.testing.watch.affected import Map, Uses
from pytest_hotplug.testing.watch.filters import Filters
from pytest_hotplug.testing.watch.messages import by_file, file_of, function_of, is_below

__all__ = ["Before", "Results", "Verdict"]

_ENDS = (0, 1, 5)  # pytest's exit codes of a run that came to its end: passed, failed, nothing to run
_BAD = ("failed", "error")


@dataclass(frozen=True, slots=True)
class Before:
    """What is known from before the watch: verdicts that stand, and how long tests took."""

    standing: Mapping[str, str] = field(default_factory=dict)  # node id -> outcome
    seconds: Mapping[str, float] = field(default_factory=dict)
    why_again: Mapping[str, str] = field(default_factory=dict)  # tests whose verdicts don't stand -> why


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run came to, and what stands of earlier ones."""

    counts: Mapping[str, int]
    failures: list[dict[str, Any]]
    outdated: int  # tests that were chosen and did not run
    still: list[str]  # failing, and not part of the run


class Results:
    """The outcome of every known test, and what must run. Changes the map as the run tells what tests use."""

    def __init__(self, known: Map, before: Before) -> None:
        self.trouble = ""  # why the last run did not come to its end
        self.seconds = dict(before.seconds)  # that tests took, set-up and teardown included
        self.standing = dict(before.standing)  # tests that "all" leaves out: their verdicts are older than the watch
        self.chosen: dict[str, str] | None = None  # of the run at hand, with reasons; None: all, but those standing
        self.reasons: dict[str, str] | None = None  # why the tests of the run at hand run; None: all of them do
        self._why_again = before.why_again
        self.filters = Filters()
        self.failed_first = False
        self.executed: dict[str, list[int]] | None = None  # lines of files that the run at hand measures
        self._map = known
        self._pending: dict[str, str] = {}  # node id or test file -> why it must run
        self._all_pending = True
        self._outcomes: dict[str, str] = {}
        self._failures: dict[str, Any] = {}
        self._told: list[str] = []  # what the last verdict said that fails
        self._broken: dict[str, Any] = {}  # what could not be collected -> its failure
        # Of the run at hand:
        self._in_run: dict[str, str] = {}
        self._broken_now: dict[str, Any] = {}
        self._done: set[str] = set()
        self._collected: dict[str, list[str]] = {}  # what there is, by test file
        self._planned: list[str] | None = None  # what was to run, once everything is collected
        self._stopped: str | None = None  # how the run says that it ended: "" is well, None is not yet

    # -- what must run --------------------------------------------------------------------------

    def want(self, tests: Mapping[str, str]) -> None:
        """Let these tests, or all of these files, run next time."""
        self._pending.update(tests)

    def want_all(self) -> None:
        """Let all tests run next time, whatever stands."""
        self._all_pending = True
        self.standing.clear()

    @property
    def waiting(self) -> bool:
        """Whether anything must run."""
        return self._all_pending or bool(self._pending)

    def left_out(self) -> int:
        """Return how many known tests the run at hand leaves out."""
        if self.chosen is None:
            return len(self.standing)
        return len(self._map.tests) - len(self._known_among(self.chosen))

    def failing(self) -> list[str]:
        """Return the tests that failed when they last ran, and what could not be collected, in their place."""
        tests = [
            nodeid
            for nodeid, outcome in self._outcomes.items()
            if outcome in _BAD and nodeid in self._map.tests and not self._is_broken(nodeid)
        ]
        return [*tests, *self._broken]

    def otherwise(self, tests: Iterable[str], broken: Iterable[str]) -> dict[str, str]:
        """Return what must run since a collection of everything found other tests, or other errors, than are known."""
        known = set(map(function_of, self._map.tests))
        found = {n: "it is new" for n in tests if n not in self._map.tests and function_of(n) not in known}
        bad = set(broken)
        found |= dict.fromkeys((file_of(n) for n in self._broken if n not in bad), "it can be collected again")
        if missed := sorted(bad - self._broken.keys()):
            found["."] = f"{missed[0]} can't be collected"
        return found

    # -- a run ----------------------------------------------------------------------------------

    def begin_run(self) -> bool:
        """Choose what is pending and may run. It stays pending until the run's end tells what was done.

        Returns False when there is nothing to run.
        """
        if self.filters and self._all_pending and self._map.tests:
            self._pending = dict.fromkeys(self._map.tests, "all tests were asked for") | self._pending
            self._all_pending = False
        may_run = {n: because for n, because in self._pending.items() if self.filters.let_through(n)}
        if not self._all_pending and not may_run:
            return False
        self.chosen = None if self._all_pending else may_run
        for nodeid in [n for n in self.standing if n in self._pending or file_of(n) in self._pending]:
            del self.standing[nodeid]
        self.reasons = {**self._why_again, **self._pending} if self._all_pending and self.standing else self.chosen
        self._forget_run()
        return True

    def ahead(self) -> list[str]:
        """Return the tests that run before all others."""
        return self.failing() if self.failed_first else []

    def forget_outcomes(self) -> None:
        """Drop what the run at hand told of its tests: it is about old bytes."""
        self.executed = None
        self._in_run = {}
        self._broken_now = {}
        self._done = set()

    def hear(self, facts: dict[str, Any]) -> None:
        """Take in one message of the run."""
        getattr(self, f"_heard_{facts['kind']}")(facts)

    def _heard_collected(self, facts: dict[str, Any]) -> None:
        self._collected = by_file(facts["tests"])
        for file, nodeids in self._collected.items():
            self._map.replace_file(file, nodeids)
        if self.chosen is None:
            self._map.keep(facts["tests"])
            self.standing = {n: outcome for n, outcome in self.standing.items() if n in self._map.tests}

    def _heard_planned(self, facts: dict[str, Any]) -> None:
        self._planned = facts["tests"]
        if self.chosen is None and self.reasons is not None:
            self.reasons = {n: self.reasons.get(n, "no verdict of it stands from before") for n in facts["tests"]}

    def _heard_file(self, facts: dict[str, Any]) -> None:
        self._map.learn_file(Path(facts["path"]), _uses(facts))

    def _heard_test(self, facts: dict[str, Any]) -> None:
        nodeid, uses = facts["nodeid"], _uses(facts)
        known = Uses() if facts["ended"] else self._map.tests.get(nodeid, Uses())
        self._map.know(nodeid, known | uses)
        self.seconds[nodeid] = facts["seconds"]
        if facts["ended"] and nodeid in self._in_run:
            self._done.add(nodeid)

    def _heard_report(self, facts: dict[str, Any]) -> None:
        nodeid = facts["nodeid"]
        if facts["collecting"]:
            self._broken_now[nodeid] = facts["failure"]
            return
        if self._in_run.get(nodeid) not in _BAD:
            self._in_run[nodeid] = facts["outcome"]
        if "failure" in facts:
            self._failures[nodeid] = facts["failure"]

    def _heard_lines(self, facts: dict[str, Any]) -> None:
        self.executed = facts["executed"]

    def _heard_finished(self, facts: dict[str, Any]) -> None:
        """Take note only: its output is complete when the process has ended."""
        self._stopped = facts["stopped"]

    # -- its end --------------------------------------------------------------------------------

    def why_unfinished(self, code: int) -> str:
        """Return why the run whose process ended with this exit code did not come to its end, or ""."""
        if code not in _ENDS:
            return f"pytest ended with exit code {code}" + (f": {self._stopped}" if self._stopped else "")
        if self._stopped is None:
            return f"the process ended in the middle of the run, with exit code {code}"
        return f"the run was stopped: {self._stopped}" if self._stopped else ""

    @property
    def done(self) -> dict[str, str]:
        """The outcome of each test that the run at hand brought to its end."""
        return {nodeid: outcome for nodeid, outcome in self._in_run.items() if nodeid in self._done}

    def end_run(self, trouble: str) -> Verdict:
        """Make a verdict of the run; what it did not do stays pending."""
        done = self.done
        self.trouble = trouble
        self._forget_what_is_gone()
        self._keep(done)
        self._settle_pending(trouble)
        outcomes = list(done.values())
        counts = {"passed": outcomes.count("passed"), "failed": outcomes.count("failed")}
        counts["errors"] = outcomes.count("error") + len(self._broken_now) + bool(trouble)
        counts["skipped"] = outcomes.count("skipped")
        failing = self.failing()
        failures = [self._failures.get(nodeid) or self._broken[nodeid] for nodeid in failing]
        if trouble:
            failures.append({"nodeid": "", "path": None, "line": None, "message": trouble})
        still = [nodeid for nodeid in failing if nodeid not in done and nodeid not in self._broken_now]
        self._told = failing
        return Verdict(counts, failures, self._outdated(), still)

    def without_what_is_gone(self) -> Verdict | None:
        """Return another verdict, of no run, if tests that failed were deleted since the last one."""
        if self.trouble:
            return None  # of a run that did not come to its end nothing is known that could be told anew
        told = self._told
        self._forget_run()
        verdict = self.end_run("")
        return verdict if self._told != told else None

    def _forget_what_is_gone(self) -> None:
        """Forget the tests of files that were collected whole, or lie where everything was, and have none any more."""
        if self._planned is None or self.chosen is None:
            return
        places, broken = self._places(), {file_of(nodeid) for nodeid in self._broken_now}
        for file in self._map.files():
            if file not in self._collected and is_below(file, places) and not is_below(file, broken):
                self._map.replace_file(file, ())

    def _places(self) -> set[str]:
        """Return the files and directories that the run at hand collects whole."""
        return set(map(file_of, self.chosen or ()))

    def _keep(self, done: Mapping[str, str]) -> None:
        self._outcomes.update(done)
        self._outcomes = {n: outcome for n, outcome in self._outcomes.items() if n in self._map.tests}
        self._failures = {n: told for n, told in self._failures.items() if self._outcomes.get(n) in _BAD}
        self._broken = {n: told for n, told in self._broken.items() if self._stays_broken(n)} | self._broken_now
        self._map.broken = {self._map.file_of(nodeid) for nodeid in self._broken}

    def _is_broken(self, nodeid: str) -> bool:
        """Tell whether the file of a test, or a directory above it, could not be collected."""
        file = self._map.file_of(nodeid)
        return bool(self._map.broken) and not self._map.broken.isdisjoint((file, *file.parents))

    def _stays_broken(self, nodeid: str) -> bool:
        """Tell whether something that could not be collected was neither collected since nor deleted."""
        collected = self._planned is not None and (self.chosen is None or is_below(nodeid, self._places()))
        return self._map.file_of(nodeid).exists() and not collected

    def _settle_pending(self, trouble: str) -> None:
        left = [nodeid for nodeid in self._planned or () if nodeid not in self._done]
        if self._planned is None or (trouble and not left):
            return  # nobody knows what would have run, or what the trouble was about: all of it again
        reasons = self.chosen or {}
        held_back = {n: because for n, because in self._pending.items() if not self._is_chosen(n)}
        left_over = {n: reasons.get(n) or reasons.get(file_of(n)) or "it did not run" for n in left}
        self._pending = held_back | left_over
        self._all_pending = False
        self._outcomes = self.standing | self._outcomes
        self.standing = {}

    def _outdated(self) -> int:
        """Return how many tests must still run; a file whose tests nobody knows counts as one."""
        if self._all_pending:
            return len(self._map.tests)
        tests = self._known_among(self._pending)
        others = self._pending.keys() - tests - {file_of(n) for n in tests}
        return len(tests) + sum(not any(True for _ in self._map.tests_below(name)) for name in others)

    def _known_among(self, chosen: Iterable[str]) -> set[str]:
        """Return the known tests among these tests and test files."""
        tests: set[str] = set()
        for name in chosen:
            tests.update([name] if name in self._map.tests else self._map.tests_of(name))
        return tests

    def _forget_run(self) -> None:
        self.forget_outcomes()
        self._planned = self._stopped = None
        self._collected = {}

    def _is_chosen(self, nodeid: str) -> bool:
        if self.chosen is None:
            return nodeid not in self.standing
        return nodeid in self.chosen or file_of(nodeid) in self.chosen

    def files_of(self, nodeids: Iterable[str]) -> list[str]:
        """Return what to run for these: a test itself, or the whole file of what could not be collected."""
        return [file_of(nodeid) if nodeid in self._broken else nodeid for nodeid in nodeids]


def _uses(facts: Mapping[str, Any]) -> Uses:
    return Uses(frozenset(facts["plugins"]), frozenset(map(Path, facts["files"])))
