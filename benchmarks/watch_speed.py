"""Claim: after a save the first verdict of an affected test comes before a fresh pytest has started.

A project of 20 plugins with 50 tests each, every one with a sandbox of its own. One file is edited;
the clock runs from before the save to the first report of a test. Beside it, in the same rounds: the
same watch with a fresh process per run, and a plain pytest of one affected test, to its end. At last
the warm watch over ten times as many plugins.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Contestant, allow_bytecode, run
from benchmarks.watched_project import Watch, WatchedProject

PLUGINS, TESTS = 20, 50
BASELINE = "plain pytest, one test"
EDITS = {
    "plugin": "an edit of a plugin",
    "source": "an edit of a source, one test is affected",
    "test": "an edit of a test file",
}
ONE_TEST = {
    "plugin": "plugins/plugin_00/test_plugin_00.py::test_it_adds[0]",
    "source": "tests/test_words.py",
    "test": "plugins/plugin_00/test_plugin_00.py::test_it_adds[0]",
}


def claims() -> Iterator[Claim]:
    """Yield a claim for each kind of edit, all with the same two watches; then one about ten times as many tests."""
    with ExitStack() as undo:
        projects = {}
        for name in ("plain", "fresh", "warm"):
            root = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            projects[name] = WatchedProject(root, PLUGINS, TESTS)
        fresh = Watch(projects["fresh"], cold=True)
        undo.callback(fresh.close)
        warm = Watch(projects["warm"], cold=False)
        undo.callback(warm.close)
        for kind, title in EDITS.items():
            contestants = [
                plain(kind, projects["plain"]),
                watched("watch, a fresh process per run", kind, projects["fresh"], fresh),
                watched("watch, warm", kind, projects["warm"], warm),
            ]
            yield Claim(f"save to first report, {PLUGINS * TESTS} tests: {title}", BASELINE, contestants)
        many = WatchedProject(Path(undo.enter_context(tempfile.TemporaryDirectory())), 10 * PLUGINS, TESTS)
        big = Watch(many, cold=False)
        undo.callback(big.close)
        few, more = f"{PLUGINS * TESTS} tests of {PLUGINS} plugins", f"{10 * PLUGINS * TESTS} of {10 * PLUGINS}"
        contestants = [watched(few, "plugin", projects["warm"], warm), watched(more, "plugin", many, big)]
        yield Claim("save to first report, warm: an edit of a plugin", few, contestants)


def plain(kind: str, project: WatchedProject) -> Contestant:
    """Edit, then start pytest with one test."""

    def once(number: int) -> int:
        project.edit(kind, number + 1)
        command = [sys.executable, "-m", "pytest", "-q", ONE_TEST[kind]]
        return subprocess.run(
            command, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        ).returncode

    return Contestant(BASELINE, once, lambda _, code: f"exit code {code}" if code else "")


def watched(name: str, kind: str, project: WatchedProject, watch: Watch) -> Contestant:
    """Edit, then wait for the first report; the verdict is awaited off the clock."""

    def once(number: int) -> dict[str, Any]:
        project.edit(kind, number + 1)
        return watch.until("report")

    def verify(number: int, report: Any) -> str:
        verdict = watch.until("verdict")
        good = report["outcome"] == "passed" and verdict["passed"] and not verdict["failed"] and not verdict["errors"]
        return "" if good else f"said {verdict}"

    return Contestant(name, once, verify, lambda _: watch.rest())


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(run("watch_speed", claims))
