"""Edits without end under a watch: after each, what stands is what a fresh pytest says of all tests."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proof.edits import Editor
from tests.testing.watched import Watched

EXAMPLES = Path(__file__).parents[2] / "example_plugins"
EDITS = 12  # times --soak
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
_CONFIG = """\
[tool.hotplug]
plugin_dirs = ["example_plugins"]

[tool.pytest.ini_options]
testpaths = ["example_plugins"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, root / "example_plugins", ignore=ignored)
    shutil.copytree(EXAMPLES, tmp_path / "originals", ignore=ignored)
    (root / "pyproject.toml").write_text(_CONFIG)
    return root


@pytest.fixture
def lean_environment() -> dict[str, str]:
    """Let pytest load our plugin alone, and keep no bytecode that could be stale in the cold runs."""
    return {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_hotplug.testing.pytest_plugin"}


def failing_when_cold(project: Path, environment: dict[str, str]) -> set[str] | None:
    """Return what fails or can't be collected in a fresh pytest of all tests; None: it can't even begin."""
    told = project.parent / "failing.json"
    (project.parent / "tells_failing.py").write_text(_TELLS)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "tells_failing", "-p", "no:cacheprovider",
         "--continue-on-collection-errors"],
        cwd=project, capture_output=True, text=True, timeout=120, check=False,
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

    def wait(self) -> None:
        """Wait until the watch is at rest."""
        for event in self._events():
            if event["event"] == "selected":
                self._runs = self._runs or bool(event["tests"]) or event["left_out"] == 0
            elif event["event"] == "verdict":
                self._runs, self._verdict = False, event

    def _events(self) -> Iterator[dict[str, object]]:
        while True:
            event = self._watched.next_within(40.0 if self._runs else QUIET)
            if event is None:
                return
            yield event

    @property
    def failing(self) -> set[str] | None:
        """What fails; None: the watch says that it doesn't know."""
        if self._verdict["outdated"] or any(not failure["nodeid"] for failure in self._verdict["failures"]):
            return None
        return {failure["nodeid"] for failure in self._verdict["failures"]}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", [int(os.environ.get("HOTPLUG_SOAK_SEED", "1"))])
def test_after_any_edits_what_stands_is_what_a_fresh_run_says(
    seed: int,
    project: Path,
    lean_environment: dict[str, str],
    soak: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Single edits and several at once, at any moment of a run: no verdict is ever missing, old or wrong."""
    editor = Editor(project, "example_plugins", project.parent / "originals", seed)
    moments = random.Random(seed)
    story: list[str] = []
    unknown = 0
    with Watched(project, environment=lean_environment) as watched:
        standing = Standing(watched)
        while len(story) < EDITS * soak:
            for _ in range(moments.choice([1, 1, 1, 2, 4])):
                story.append(editor.edit())
                time.sleep(moments.choice([0.0, 0.0, 0.02, 0.1, 0.4]))  # whatever the run is doing by then
            standing.wait()
            cold = failing_when_cold(project, lean_environment)
            if standing.failing is None:
                unknown += 1  # it says itself that tests are outdated
                assert cold is None or cold, "\n".join(story[-12:])
            else:
                assert standing.failing == cold, "\n".join([*story[-12:], *watched.said[-30:]])
    record_property("edits", len(story))
    record_property("verdicts that were not known", unknown)
