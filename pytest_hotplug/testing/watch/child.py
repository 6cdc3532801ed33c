"""Inside a process that runs tests: choose, record, report.

A pytest plugin, registered in the runs of a watch. Tells the watcher what each test used and what
became of it (see `messages`).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_hotplug.testing.opened import OpenedFiles
from pytest_hotplug.testing.stash import CHOSEN_BY_WATCHER, SESSION
from pytest_hotplug.testing.watch.collection import Collection
from pytest_hotplug.testing.watch.debugger import register_debugger
from pytest_hotplug.testing.watch.lifeline import Lifeline
from pytest_hotplug.testing.watch.mentions import mentioned_plugins
from pytest_hotplug.testing.watch.messages import Messages, Order, Tells, file_of
from pytest_hotplug.testing.watch.recording import TellsWhatTestsUse
from pytest_hotplug.testing.watch.writing import TellsWhatIsWritten

if TYPE_CHECKING:
    from pytest_hotplug.testing.watch.unrun import Measurement

__all__ = ["Child", "register_child", "run_what_was_chosen"]


def run_what_was_chosen(config: pytest.Config) -> None:
    """Make this process, started by a watcher for one run, run what the watcher chose."""
    told = json.loads(os.environ.pop(CHOSEN_BY_WATCHER))
    for name in ("pipe", "answers"):
        os.set_inheritable(told[name], False)
    Lifeline(told["lifeline"]).guard()
    messages = Messages(told["pipe"])
    register_debugger(config, told["debugger"]).connect(messages, told["answers"])
    register_child(config, messages).narrow(Order(**told["order"]))


def register_child(config: pytest.Config, tells: Tells) -> Child:
    """Let pytest's hooks tell the watcher."""
    child = Child(config, tells)
    config.pluginmanager.register(child, "hotplug-child")
    return child


class Child:
    """Runs the chosen tests and tells the watcher; without an order it only collects, everything."""

    def __init__(self, config: pytest.Config, tells: Tells) -> None:
        session = config.stash.get(SESSION, None)
        self._config = config
        self._tells = tells
        self._order = Order(None)
        self._held_back: set[str] = set()  # chosen, and pending still when other options leave it out
        self._stopped = ""  # what interrupted the run
        self.code: int | None = None  # the session's exit status, once it is over
        self._root = config.rootpath
        self._plugins = session.project.plugins() if session else {}
        self._places = {name: Path(os.path.realpath(found.path)) for name, found in self._plugins.items()}
        self._fixtures: dict[int, frozenset[Path]] = {}
        self._opened = OpenedFiles()
        self._running: list[set[Path]] = []
        self._measurement: Measurement | None = None
        self._debugged = False
        self._used = TellsWhatTestsUse()
        self._writing = TellsWhatIsWritten([self._root, *self._places.values()], tells)

    def narrow(self, order: Order) -> None:
        """Collect and run only what was chosen."""
        self._order = order
        if order.chosen is not None:
            files = [self._root / file for file in dict.fromkeys(map(file_of, order.chosen))]
            if all(file.suffix == ".py" for file in files):
                self._config.args = [str(file) for file in files if file.exists()]
            else:  # pytest's own rules say what of it is collected
                self._config.pluginmanager.register(Below(files), "hotplug-below")
        if not order.first:
            self._config.option.no_header = True
        if order.measure:
            from pytest_hotplug.testing.watch.unrun import Measurement

            self._measurement = Measurement(order.measure)

    def take_over(self, order: Order, tells: Tells, items: list[pytest.Item], collected: Collection) -> None:
        """Go on where another process has collected `items`; what is not needed is left alone, untouched."""
        self._order, self._tells = order, tells
        self._writing.speak_to(tells)
        files = None if order.chosen is None else {file_of(nodeid) for nodeid in order.chosen}
        items[:] = collected.items_of(files)
        if order.leads:  # ids may be others than when the watcher heard of them last
            self._tells.send("collected", tests=[item.nodeid for item in items])
            for facts in collected.facts_of(files):
                self._tells.send("file", **facts)
        self._keep_chosen(items)
        if order.leads:
            self._tells.send("planned", tests=[item.nodeid for item in items])
        if order.part is not None:
            part = set(order.part)
            items[:] = [item for item in items if item.nodeid in part]

    # -- choosing -------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True, specname="pytest_collection_modifyitems")
    def pytest_hold_back(self, items: list[pytest.Item]) -> None:
        """Note what of the chosen is there: earlier results (--lf, --sw) may leave some out, but not for good."""
        option = self._config.option
        if getattr(option, "lf", False) or getattr(option, "stepwise", False):
            there = [item.nodeid for item in items]
            files = set(map(file_of, there))
            skipped = {n for n in self._order.chosen or () if file_of(n) not in files}  # --lf collects no other files
            self._held_back = {*filter(self._order.holds(), there), *filter(self._is_in_a_file, skipped)}

    def _is_in_a_file(self, nodeid: str) -> bool:
        return (self._root / file_of(nodeid)).exists()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        here = [item.nodeid for item in items]
        left_out = {nodeid for nodeid in self._held_back.difference(here) if "::" in nodeid}
        self._tells.send("collected", tests=[*here, *left_out])
        dropped = self._keep_chosen(items)
        if dropped:
            config.hook.pytest_deselected(items=dropped)

    def _keep_chosen(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Drop what was not chosen, and return it; what the order wants ahead comes first."""
        if ahead := frozenset(self._order.ahead):
            items.sort(key=lambda item: item.nodeid not in ahead)
        is_chosen = self._order.holds()
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            (kept if is_chosen(item.nodeid) else dropped).append(item)
        items[:] = kept
        return dropped

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        planned = [item.nodeid for item in session.items]
        self._tells.send("planned", tests=[*planned, *self._held_back.difference(planned)])

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
            self._tells.send("file", path=str(collector.path), **facts)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        ended, began = False, time.perf_counter()
        self._start()
        try:
            result = yield
            ended = True
        finally:
            files = self._stop() | self._of_fixtures(item)
            seconds = round(time.perf_counter() - began, 6)
            self._tells.send("test", nodeid=item.nodeid, ended=ended, seconds=seconds, **self._uses(files))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Credit what a wider fixture used to every test that uses the fixture, not to the first one alone."""
        __tracebackhide__ = True
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
        self._used.tell(report, self._tells)
        if report.when == "call" or report.outcome != "passed":
            outcome = "error" if report.when != "call" and report.failed else report.outcome
            self._report(report, outcome)

    def _report(self, report: Any, outcome: str, collecting: bool = False) -> None:
        facts: dict[str, Any] = {"nodeid": report.nodeid, "outcome": outcome, "collecting": collecting}
        facts["duration"] = round(getattr(report, "duration", 0.0), 6)
        if outcome in ("failed", "error"):
            facts["failure"] = {"nodeid": report.nodeid, **_crash(report)}
        self._tells.send("report", **facts)

    # -- the end --------------------------------------------------------------------------------

    def pytest_enter_pdb(self) -> None:
        self._debugged = True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """Say what repeats a failure, as the header that is left out would."""
        seed = getattr(self._config.option, "randomly_seed", None)
        if exitstatus and isinstance(seed, int) and not self._order.first:
            terminalreporter.write_line(f"Using --randomly-seed={seed}")

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._stopped = str(excinfo.value) or excinfo.typename

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Iterator[None]:
        yield
        self.code = int(exitstatus)
        if self._stopped and session.testsfailed and getattr(self._config.option, "stepwise", False):
            # --sw ends a run as Ctrl-C does, but means what -x means
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.code, self._stopped = int(session.exitstatus), ""

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Say that the run came to its end; the exit code alone could be anybody's who left the process."""
        if self._measurement is not None:
            executed = self._measurement.stop()
            if not self._debugged:  # a debugger has taken coverage's place
                self._tells.send("lines", executed=executed)
        if self.code is not None:
            self._tells.send("finished", stopped=self._stopped)
        self._tells.close()


class Below:
    """The pytest plugin of a run that collects some places only, and these as a run of everything would."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = frozenset(os.path.normpath(place) for place in places)
        self._on_the_way = frozenset(str(above) for place in self._places for above in Path(place).parents)

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Ignore what neither lies below one of the places nor on the way to it."""
        if str(collection_path) in self._on_the_way:
            return None
        wanted = not self._places.isdisjoint(map(str, (collection_path, *collection_path.parents)))
        return None if wanted else True


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
