"""Inside the fresh process that runs tests: choose, record, report.

A pytest plugin, registered when the environment names a watch run. Sends JSON lines through a pipe
to the watcher: what each test used and what became of it.
"""

from __future__ import annotations

import json
import os
import pdb
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.testing.opened import OpenedFiles
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.stash import CHOSEN_BY_WATCHER
from pytest_hotplug.testing.watch.mentions import mentioned_plugins

__all__ = ["Child"]


class Child:
    """Runs the chosen tests and tells the watcher."""

    def __init__(self, config: pytest.Config, project: TestProject | None) -> None:
        order = json.loads(os.environ.pop(CHOSEN_BY_WATCHER))
        os.set_inheritable(order["fd"], False)
        os.set_inheritable(order["lifeline"], False)
        threading.Thread(
            target=_end_with_watcher, args=(order["lifeline"],), name="hotplug-lifeline", daemon=True
        ).start()
        self._pipe = os.fdopen(order["fd"], "w", buffering=1, encoding="utf-8")
        self._process = os.getpid()
        self._stopped = ""  # what interrupted the run
        self._finished = False
        self._chosen: list[str] | None = order["chosen"]
        self._ahead = frozenset(order["ahead"])
        self._root = config.rootpath
        self._plugins = project.plugins() if project else {}
        self._places = {name: Path(os.path.realpath(found.path)) for name, found in self._plugins.items()}
        self._fixtures: dict[int, frozenset[Path]] = {}
        self._opened = OpenedFiles()
        self._running: list[set[Path]] = []
        if self._chosen is not None:
            files = dict.fromkeys(nodeid.split("::")[0] for nodeid in self._chosen)
            config.args = [str(self._root / file) for file in files if (self._root / file).exists()]
        if not order["first"]:
            config.option.no_header = True
        config.option.usepdb = config.option.trace = False  # the watcher has said that there is no debugger

    def send(self, kind: str, **facts: Any) -> None:
        if os.getpid() != self._process:
            return  # a test has forked, and its child came back into pytest
        self._pipe.write(json.dumps({"kind": kind, **facts}) + "\n")

    # -- choosing -------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self.send("collected", tests=[item.nodeid for item in items])
        items.sort(key=lambda item: item.nodeid not in self._ahead)
        if self._chosen is None:
            return
        files = {chosen for chosen in self._chosen if "::" not in chosen}
        tests = set(self._chosen)
        kept = [item for item in items if item.nodeid in tests or item.nodeid.split("::")[0] in files]
        dropped = [item for item in items if item not in kept]
        if dropped:
            items[:] = kept
            config.hook.pytest_deselected(items=dropped)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.send("planned", tests=[item.nodeid for item in session.items])

    # -- recording ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        if not isinstance(collector, pytest.File):
            return (yield)
        self._start()
        try:
            report = yield
        finally:
            files = self._stop()
            facts = self._uses(files)
            facts["plugins"] = sorted({*facts["plugins"], *mentioned_plugins(collector.path, self._plugins)})
            self.send("file", path=str(collector.path), **facts)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        ended = False
        self._start()
        try:
            result = yield
            ended = True
        finally:
            files = self._stop() | self._of_fixtures(item)
            self.send("test", nodeid=item.nodeid, ended=ended, **self._uses(files))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Credit what a wider fixture used to every test that uses the fixture, not to the first one alone."""
        if fixturedef.scope == "function":
            return (yield)
        self._start()
        try:
            return (yield)
        finally:
            files = self._stop()
            self._fixtures[id(fixturedef)] = files
            if self._running:
                self._running[-1].update(files)

    def _of_fixtures(self, item: pytest.Item) -> frozenset[Path]:
        info = getattr(item, "_fixtureinfo", None)
        definitions = [d for ds in info.name2fixturedefs.values() for d in ds] if info else []
        return frozenset().union(*(self._fixtures.get(id(d), frozenset()) for d in definitions))

    def _start(self) -> None:
        if self._running:
            self._running[-1].update(self._opened.stop())
        self._running.append(set())
        self._opened.start()

    def _stop(self) -> frozenset[Path]:
        files = self._running.pop() | self._opened.stop()
        if self._running:
            self._running[-1].update(files)
            self._opened.start()
        return frozenset(files)

    def _uses(self, files: frozenset[Path]) -> dict[str, Any]:
        sources = {_source_of(file) for file in files}
        plugins = {
            name
            for name, place in self._places.items()
            for file in sources
            if file.suffix in (".py", ".json") and file.is_relative_to(place)
            if not _is_test_below(file, place)
        }
        return {"plugins": sorted(plugins), "files": sorted(map(str, sources))}

    # -- reporting ------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._report(report, "error", collecting=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "error" if report.when != "call" and report.failed else report.outcome
            self._report(report, outcome)

    def _report(self, report: Any, outcome: str, collecting: bool = False) -> None:
        facts: dict[str, Any] = {"nodeid": report.nodeid, "outcome": outcome, "collecting": collecting}
        facts["duration"] = round(getattr(report, "duration", 0.0), 6)
        if outcome in ("failed", "error"):
            facts["failure"] = {"nodeid": report.nodeid, **_crash(report)}
        self.send("report", **facts)

    # -- the end --------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Let a breakpoint fail its test with a reason: there is nobody to type into a debugger."""
        pdb.set_trace = _no_debugger
        if os.environ.get("PYTHONBREAKPOINT") != "0":
            sys.breakpointhook = _no_debugger

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._stopped = str(excinfo.value) or excinfo.typename

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Iterator[None]:
        yield
        self._finished = True

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Say that the run came to its end; the exit code alone could be anybody's who left the process."""
        if self._finished:
            self.send("finished", stopped=self._stopped)
        self._pipe.close()


def _no_debugger(*_: Any, **__: Any) -> None:
    __tracebackhide__ = True
    pytest.fail("a breakpoint, but watch mode has no debugger yet: run this test with plain pytest [no-debugger]")


def _end_with_watcher(lifeline: int) -> None:
    """End this process and those that tests started once the watcher is gone: nobody wants the verdict."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _crash(report: Any) -> dict[str, Any]:
    """Return where a test failed, in pytest's words."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return {"path": crash.path, "line": crash.lineno, "message": crash.message.splitlines()[0]}
    lines = str(report.longrepr).strip().splitlines() or [""]
    return {"path": report.nodeid.split("::")[0], "line": None, "message": lines[-1]}


def _source_of(file: Path) -> Path:
    """Return the source that a .pyc was compiled from."""
    if file.suffix == ".pyc" and file.parent.name == "__pycache__":
        return file.parent.parent / (re.split(r"\.(cpython|pypy)", file.name)[0] + ".py")
    return file


def _is_test_below(file: Path, plugin: Path) -> bool:
    from pytest_hotplug.reloader.names import is_test

    return any(is_test(part) for part in file.relative_to(plugin).parts)
