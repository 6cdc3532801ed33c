"""One ordinary pytest run that records what tests use, and runs only what is affected when asked to.

The selection is made from the map and the disk before anything is collected; an item that the map
doesn't know runs. Under xdist the controller selects and writes, workers record and leave out. What
other options leave out (`-k`, `-m`, `--lf`, node ids) stays pending by itself: its content still
differs from what was recorded. Exactly one of these is registered in a run that asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.affected.annotations import annotations_of
from pytest_hotplug.testing.affected.circumstances import circumstances_of
from pytest_hotplug.testing.affected.contents import Contents
from pytest_hotplug.testing.affected.learning import Began, Learner
from pytest_hotplug.testing.affected.recorder import Recorder
from pytest_hotplug.testing.affected.recording import FACTS, Recording
from pytest_hotplug.testing.affected.revision import ContentsAt, Revision
from pytest_hotplug.testing.affected.select import Selection, affected_now, affected_since, merged, users_of
from pytest_hotplug.testing.affected.storage import Stored
from pytest_hotplug.testing.affected.surroundings import Surroundings, surroundings_of
from pytest_hotplug.testing.bytecode import drop_bytecode, drop_racy_bytecode
from pytest_hotplug.testing.stash import MARKER

__all__ = ["AffectedRun", "Wish", "begin"]

_LEFT_OUT = "hotplug_left_out"
_COLLECTED = "hotplug_collected"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options ask for."""

    since: str = ""
    related: tuple[str, ...] = ()
    affected: bool = False
    record: bool = False
    why: bool = False

    @property
    def selects(self) -> bool:
        return bool(self.since or self.related or self.affected or (self.why and not self.record))


def begin(config: pytest.Config, wish: Wish) -> None:
    """Record from here on, before the first conftest; raises pytest.UsageError."""
    basetemp = config.known_args_namespace.basetemp
    try:
        around = surroundings_of(config.rootpath, [Path(basetemp)] if basetemp else [])
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    recorder = Recorder(around.first_party, around.import_roots())
    run = AffectedRun(config, wish, around, recorder)
    note = recorder.start()
    if note:
        run.notes.append(f"{note}; functions of plugins and modules are told from each other in another way")
    config.add_cleanup(recorder.stop)
    config.pluginmanager.register(run, "hotplug-affected")
    config.pluginmanager.register(Recording(recorder), "hotplug-recording")


@dataclass
class _Told:
    """What reports told of one test so far."""

    outcome: str = "passed"
    duration: float = 0.0
    failures: list[Any] = field(default_factory=list)


class AffectedRun:
    """The pytest plugin of such a run, in the controller as in a worker."""

    def __init__(self, config: pytest.Config, wish: Wish, around: Surroundings, recorder: Recorder) -> None:
        self.notes: list[str] = []
        self._config = config
        self._wish = wish
        self._around = around
        self._recorder = recorder
        self._circumstances = circumstances_of(config)  # conftests and tests may change the environment
        self._began = None if self._is_worker else self._begin()
        self._stored = Stored()
        self._selection = Selection()
        self._leave_out: frozenset[str] = frozenset()
        self._left_out = 0
        self._collected: list[str] = []
        self._pending_elsewhere = 0
        self._told: dict[str, _Told] = {}
        self._learner: Learner | None = None

    def _begin(self) -> Began:
        """Note how things are before the first conftest is read, and let Python read the newest of each."""
        moment, tree = time.time_ns(), self._around.contents({}).tree()
        drop_racy_bytecode(map(self._around.first_party.path, tree))
        return Began(moment, tree)

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    # -- choosing -------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        if self._is_worker:
            self._leave_out = frozenset(self._config.workerinput.get(_LEFT_OUT, ()))  # type: ignore[attr-defined]
            return
        self._stored = self._around.storage.read()
        self._learner = Learner(self._around, self._stored, self._circumstances, self._began)
        if self._stored.note:
            self.notes.append(self._stored.note)
        if self._wish.selects and self._stored.map.tests:
            self._selection = self._select()
            self._leave_out = frozenset(self._stored.map.tests.keys() - self._selection.chosen.keys())

    def _select(self) -> Selection:
        known, first_party = self._stored.map, self._around.first_party
        contents = self._around.contents(self._stored.blocks, self._circumstances)
        edited = self._stored.edited(contents)
        drop_bytecode(map(self._around.first_party.path, edited))
        selections = []
        if self._wish.related:
            files = (name for file in self._wish.related for name in self._named(file, contents))
            selections.append(users_of(known, filter(None, files)))
        if self._wish.since:
            selections.append(self._since(contents))
        if self._wish.since or not self._wish.related:
            selections.append(affected_now(known, contents, first_party, edited))
        return merged(known, selections)

    def _named(self, file: str, contents: Contents) -> Iterable[str]:
        """Return the names of a given file, or of all files below a directory."""
        path = self._given(file)
        name = self._around.first_party.name(str(path))
        if not path.is_dir():
            return [name]
        return [each for each in contents.tree() if name == "." or each.startswith(f"{name}/")]

    def _given(self, file: str) -> Path:
        path = self._config.invocation_params.dir / file
        if not path.exists() and self._around.first_party.name(str(path)) not in self._stored.map.paths():
            raise pytest.UsageError(f"--hotplug-related={file}: there is no such file [no-such-file]")
        return path

    def _since(self, contents: Contents) -> Selection:
        try:
            revision = Revision(self._wish.since, self._config.rootpath, self._around.first_party)
        except UsageError as error:
            raise pytest.UsageError(f"--hotplug-since={self._wish.since}: {error}") from None
        before = self._around.contents(self._stored.blocks, self._circumstances, partial(ContentsAt, revision))
        assert isinstance(before, ContentsAt), "that is what was asked for"
        return affected_since(
            self._stored.map,
            revision.changed,
            lambda seen: before.differs(seen.what, contents),
            revision.came_or_went,
            contents,
            self._around.first_party,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[_LEFT_OUT] = sorted(self._leave_out)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
        self._collected = [self._plain(item.nodeid) for item in items]
        result = yield
        tests = [item for item in items if item.get_closest_marker(MARKER) is None]
        left_out = [item for item in tests if self._plain(item.nodeid) in self._leave_out]
        if left_out:
            gone = set(left_out)
            items[:] = [item for item in items if item not in gone]
            config.hook.pytest_deselected(items=left_out)
        self._left_out = len(left_out)
        here = {self._plain(item.nodeid) for item in items}
        self._pending_elsewhere = len(self._selection.chosen.keys() - here)
        return result

    def _plain(self, nodeid: str) -> str:
        """Return a node id without the group that xdist's loadgroup appends."""
        if self._config.getoption("dist", default="no") == "loadgroup" and "@" in nodeid.rpartition("]")[2]:
            return nodeid.rpartition("@")[0]
        return nodeid

    # -- learning -------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._learner is None or MARKER in report.keywords:  # what is verified is another question
            return
        nodeid = self._plain(report.nodeid)
        told = self._told.setdefault(nodeid, _Told())
        told.duration += report.duration
        if report.failed:
            told.failures.append(report)
        if report.outcome != "passed" and told.outcome != "failed":
            told.outcome = report.outcome
        facts = getattr(report, FACTS, None)
        if facts is not None:
            path = str(self._config.rootpath / nodeid.split("::")[0])
            self._learner.learn(nodeid, path, facts, told.outcome, told.duration)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", None) or {}  # a worker that crashed has none
        self._left_out = max(self._left_out, output.get(_LEFT_OUT, 0))
        self._collected = self._collected or output.get(_COLLECTED, [])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._recorder.stop()
        if self._is_worker:
            output = self._config.workeroutput  # type: ignore[attr-defined]  # xdist's
            output[_LEFT_OUT] = self._left_out
            output[_COLLECTED] = self._collected
            return
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self._left_out:
            session.exitstatus = pytest.ExitCode.OK  # nothing is affected, and that is well
        if self._learner is not None:
            note = self._learner.keep(self._gone())
            if note:
                self.notes.append(note)

    def _gone(self) -> Iterable[str]:
        """Return the known tests that are no more: their file is gone, or was collected without them."""
        partly = any("::" in str(argument) for argument in self._config.args)
        here = set(self._collected)
        files = set() if partly else {nodeid.split("::")[0] for nodeid in here}
        for nodeid in self._stored.map.tests:
            file = nodeid.split("::")[0]
            if nodeid not in here and (file in files or not (self._config.rootpath / file).exists()):
                yield nodeid

    # -- telling --------------------------------------------------------------------------------

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for note in self.notes:
            terminalreporter.write_line(f"hotplug: {note}")
        terminalreporter.write_line(f"hotplug: {self._summary()}")
        if self._wish.why:
            for line in self._reasons():
                terminalreporter.write_line(f"  {line}")
        failures = [report for told in self._told.values() for report in told.failures]
        for line in annotations_of(failures, str(self._config.rootpath)):
            terminalreporter.write_line(line)

    def _summary(self) -> str:
        ran = len(self._told)
        if not self._wish.selects:
            return f"recorded what {_tests(ran)} used"
        if not self._stored.map.tests:
            return f"no map yet: everything runs and is recorded ({_tests(ran)})"
        stand = f"{self._left_out} verdict{'s' * (self._left_out != 1)} still stand{'s' * (self._left_out == 1)}"
        failed = sum(1 for nodeid in self._leave_out if self._stored.map.tests[nodeid].outcome == "failed")
        stand += f" ({failed} failed)" if failed else ""
        pending = self._pending_elsewhere
        more = f"; {_tests(pending)} more are affected and stay pending" if pending and not self._partly_unknown else ""
        return (f"{_tests(ran)} affected, {stand}" if ran else f"nothing is affected, {stand}") + more

    @property
    def _partly_unknown(self) -> bool:
        """Whether workers collected: the controller doesn't know what other options left out."""
        return not self._collected

    def _reasons(self) -> Iterator[str]:
        for nodeid in self._told:
            yield f"{nodeid}: {self._selection.chosen.get(nodeid, 'the map does not know it yet')}"
        for path, why in self._selection.chose_none.items():
            yield f"{path} chose no test: {why}"


def _tests(count: int) -> str:
    return f"{count} test{'s' * (count != 1)}"
