"""What a watch says to stand, and what a fresh pytest says of all tests: the two that must agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.testing.watched import Watched

__all__ = ["Standing", "failing_when_cold"]

QUIET = 0.7  # seconds without an event after which nothing more is expected
_TELLS = """\
import json, os, pytest

failing = set()


@pytest.hookimpl
def pytest_runtest_logreport(report):
    if report.failed:
        failing.add(report.nodeid)


pytest_collectreport = pytest_runtest_logreport


def pytest_sessionfinish():
    with open(os.environ["TELL_FAILING"], "w") as file:
        json.dump(sorted(failing), file)
"""


def failing_when_cold(
    project: Path, environment: Mapping[str, str], python: str = sys.executable, options: Sequence[str] = ()
) -> set[str] | None:
    """Return what fails or can't be collected in a fresh pytest of all tests; None: it can't even begin.

    It keeps no bytecode: what it finds stale would be the fault of nobody here.
    """
    told = project.parent / "failing.json"
    (project.parent / "tells_failing.py").write_text(_TELLS)
    done = subprocess.run(
        [python, "-B", "-m", "pytest", "-q", "-p", "tells_failing", "-p", "no:cacheprovider",
         "--continue-on-collection-errors", *options],
        cwd=project, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1",
             "PYTHONPATH": os.fspath(project.parent), "TELL_FAILING": os.fspath(told)},
    )  # fmt: skip
    if done.returncode not in (0, 1, 2, 5):
        return None
    return set(json.loads(told.read_text()))


class Standing:
    """What a watch says to stand, once it has nothing more to say."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._verdict = watched.verdict()
        self._runs = False

    def wait(self, *, changed: bool = False) -> None:
        """Wait until the watch is at rest; first until it has noticed a change, if there was one."""
        if changed:
            self._watched.next("change")
        for event in self._events():
            if event["event"] == "selected":
                self._runs = self._runs or bool(event["tests"]) or event["left_out"] == 0
            elif event["event"] == "verdict":
                self._runs, self._verdict = False, event

    def _events(self) -> Iterator[dict[str, Any]]:
        while True:
            event = self._watched.next_within(self._watched.patience if self._runs else QUIET)
            if event is None:
                return
            yield event

    @property
    def failing(self) -> set[str] | None:
        """What fails; None: the watch says that it doesn't know."""
        if self._verdict["outdated"] or any(not failure["nodeid"] for failure in self._verdict["failures"]):
            return None
        return {failure["nodeid"] for failure in self._verdict["failures"]}
