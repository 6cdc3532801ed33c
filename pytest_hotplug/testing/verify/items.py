"""Items such as `plugins/greeter/plugin.json::reload::no_leaked_threads`, beside ordinary tests.

A manifest is collected as a file. Nothing of a plugin is executed here: the first item that needs a
scenario has it played in a child process, the others of that scenario judge the same evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.safety.check import Check, Level
from pytest_hotplug.safety.judgements import Judgements
from pytest_hotplug.safety.report.as_text import told
from pytest_hotplug.safety.report.record import Checked, Verified
from pytest_hotplug.safety.runner import Subjects, Tell, chosen
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.stash import MARKER
from pytest_hotplug.testing.verify.changed import unchanged_by
from pytest_hotplug.testing.verify.deployed import deployed_by
from pytest_hotplug.testing.verify.progress import progress_of

__all__ = ["Verification"]


class Verification:
    """The pytest plugin that collects manifests; registered by pytest_plugin when a run verifies."""

    def __init__(self, config: pytest.Config, project: TestProject, level: Level, *, strict: bool = False) -> None:
        config.addinivalue_line("markers", f"{MARKER}: a check that a plugin is safe to hot-reload")
        if not config.pluginmanager.hasplugin("xdist"):
            config.addinivalue_line("markers", "xdist_group(name): run these tests in one worker, where there are any")
        deployed = deployed_by(config, project)
        self.unchanged = unchanged_by(config, project)
        config.pluginmanager.register(self.unchanged, "hotplug-unchanged")
        self._plugins = project.plugins()
        subjects = Subjects(project.settings, project.root, project.layouts, deployed)
        try:
            self.checks = chosen(subjects, level)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
        self.judgements = Judgements(subjects, self._plugins, self.checks, strict=strict)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Of each scenario, let only those checks be played that any item asks for."""
        asked = {item.check.id for item in session.items if isinstance(item, SafetyItem)}
        self.judgements.checks = [check for check in self.checks if check.id in asked]

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        found = self._plugins.get(file_path.parent.name)
        if found is None or file_path.name not in found.layout.manifest or not _is_in(file_path, found):
            return None
        return ManifestFile.from_parent(parent, path=file_path, verification=self, plugin=found.name)


def _is_in(path: Path, found: Found) -> bool:
    return path.parent.resolve() == found.path.resolve()


class ManifestFile(pytest.File):
    """A plugin, as pytest collects it."""

    def __init__(self, *, verification: Verification, plugin: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verification = verification
        self.plugin = plugin

    def collect(self) -> Iterable[pytest.Collector]:
        if self.plugin not in self.verification.unchanged.names:
            yield ReloadOf.from_parent(self, name="reload")


class ReloadOf(pytest.Collector):
    """The group of checks in a plugin's node ids."""

    def collect(self) -> Iterator[pytest.Item]:
        assert isinstance(self.parent, ManifestFile), "it is made there"
        for check in self.parent.verification.checks:
            yield SafetyItem.from_parent(self, name=check.id, check=check, file=self.parent)


class Unsafe(Exception):
    """A check that fails; its text is what people read."""


class SafetyItem(pytest.Item):
    """One check of one plugin."""

    def __init__(self, *, check: Check, file: ManifestFile, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.file = file
        self.verified: Verified | None = None  # once it has run
        self.add_marker(MARKER)
        # One process plays a scenario, and judges all that it shows.
        self.add_marker(pytest.mark.xdist_group(f"hotplug-verify-{file.plugin}"))
        for marker in file.verification.judgements.declared(file.plugin).markers:
            self.add_marker(marker)

    def runtest(self) -> None:
        with progress_of(self.config) as tell:
            checked = self._run(tell)
        self._note(checked)
        if checked.outcome == "xfailed":
            pytest.xfail(checked.reason)
        if checked.outcome == "skipped":
            pytest.skip(checked.reason)
        if checked.outcome == "failed":
            raise Unsafe(told(self.file.plugin, checked))

    def _run(self, tell: Tell) -> Checked:
        plugin = self.file.plugin
        self.verified = self.file.verification.judgements.verified(
            plugin, self.check, lambda step: tell(f"{plugin}, {self.check.scenario}: {step}")
        )
        return self.verified.checks[0]

    def _note(self, checked: Checked) -> None:
        properties: Mapping[str, object] = {"hotplug.check": checked.id, "hotplug.outcome": checked.outcome}
        self.user_properties += properties.items()
        for finding in checked.findings:
            self.user_properties.append(("hotplug.finding", f"{finding.severity}: {finding.message}"))
            if finding.growth:
                self.user_properties.append(("hotplug.growth", finding.growth))
        if checked.outcome == "note":
            self.add_report_section("call", "notes", told(self.file.plugin, checked))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]  # text is fine
        if isinstance(excinfo.value, Unsafe):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.file.plugin}: {self.check.title}"
