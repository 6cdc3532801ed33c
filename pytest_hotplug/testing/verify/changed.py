"""`--hotplug-since` for verification: plugins that nothing concerns have no items, and are listed."""

from __future__ import annotations

import pytest

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.safety.changed import plugins_changed_since
from pytest_hotplug.testing.options import given_option
from pytest_hotplug.testing.project import TestProject

__all__ = ["Unchanged", "unchanged_by"]


class Unchanged:
    """The plugins that are left out, and the pytest plugin that says so."""

    def __init__(self, since: str, names: frozenset[str], changed: int) -> None:
        self.since = since
        self.names = names
        self._changed = changed

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.names and not self._changed:
            session.exitstatus = pytest.ExitCode.OK  # nothing changed, and that is well

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.names:
            said = "not verified, unchanged" if self._changed else "no plugin to verify, nothing concerns one"
            terminalreporter.write_line(f"hotplug: {said} since {self.since}: {', '.join(sorted(self.names))}")


def unchanged_by(config: pytest.Config, project: TestProject) -> Unchanged:
    """Find out which plugins options or ini leave out; raises pytest.UsageError."""
    given = given_option(config, "hotplug_since")
    since = config.getini("hotplug_since") if given is None else given
    if not since:
        return Unchanged("", frozenset(), 0)
    try:
        changed = plugins_changed_since(since, project.settings, project.root, project.layouts)
    except UsageError as error:
        raise pytest.UsageError(f"--hotplug-since={since}: {error}") from None
    return Unchanged(since, frozenset(project.plugins().keys() - changed.keys()), len(changed))
