"""What is left of a run that verified: reports in files, a line in the summary, annotations on GitHub.

Each item's part travels with its report, so that all of them arrive where the run is summed up, from whichever
process.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_hotplug import __version__
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.safety.report.github import tell_github
from pytest_hotplug.safety.report.record import Checked, Report, Verified
from pytest_hotplug.safety.report.recording import report_of
from pytest_hotplug.safety.report.summary import summary
from pytest_hotplug.safety.report.writing import write_report
from pytest_hotplug.testing.verify.items import SafetyItem

__all__ = ["HandsOver", "Output"]

_PART = "hotplug_verified"  # the attribute of a report that carries what an item found


class HandsOver:
    """The pytest plugin that gives each report what its item found."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if isinstance(item, SafetyItem) and (call.when == "call" or report.failed):
            part = item.verified if item.verified is not None else _not_judged(item, call)
            setattr(report, _PART, msgspec.to_builtins(part))
        return report


def _not_judged(item: SafetyItem, call: pytest.CallInfo[None]) -> Verified:
    """Return what to say of an item that came to no judgement: that it failed, and how."""
    why = str(call.excinfo.value) if call.excinfo is not None else ""
    check = Checked(id=item.check.id, outcome="failed", reason=why or "it was not judged", title=item.check.title)
    return Verified(name=item.file.plugin, manifest=item.nodeid.partition("::")[0], checks=(check,))


class Output:
    """The pytest plugin that puts the parts together at the end of the run; a worker's have gone to who sums up."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self._files = files
        self._parts: list[Verified] = []
        self._problems: list[str] = []

    def report(self) -> Report:
        """Return what has arrived so far."""
        return report_of(self._parts, __version__)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        part: Any = getattr(report, _PART, None)
        if part is not None:
            self._parts.append(msgspec.convert(part, Verified))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        report = self.report()
        for file in self._files:
            try:
                write_report(report, file)
            except HotplugError as error:
                self._problems.append(str(error))
        if self._problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if hasattr(config, "workerinput"):  # its words go nowhere, and what it would tell GitHub is a part
            return
        report = self.report()
        terminalreporter.write_line(f"hotplug: {summary(report)}")
        try:
            tell_github(report, self._root, terminalreporter.write_line)
        except HotplugError as error:
            self._problems.append(str(error))
        for problem in self._problems:
            terminalreporter.write_line(f"hotplug: {problem}", red=True)
