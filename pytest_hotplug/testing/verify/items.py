"""Items such as `plugins/greeter/plugin.json::reload::no_leaked_threads`, beside ordinary tests.

A manifest is collected as a file. Nothing of a plugin is executed here: the first item that needs a
scenario has it played in a child process, the others of that scenario judge the same evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.safety.check import Check, Level, Scenario
from pytest_hotplug.safety.declared import BadDeclaration, Declared, declared_by, excepted
from pytest_hotplug.safety.judging import Evidence, Judged, judge
from pytest_hotplug.safety.runner import Subjects, chosen, play
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.verify.told import told

__all__ = ["MARKER", "Verification"]

MARKER = "hotplug_verify"


class Verification:
    """The pytest plugin that collects manifests; registered by pytest_plugin when a run verifies."""

    def __init__(self, config: pytest.Config, project: TestProject, level: Level) -> None:
        config.addinivalue_line("markers", f"{MARKER}: a check that a plugin is safe to hot-reload")
        if not config.pluginmanager.hasplugin("xdist"):
            config.addinivalue_line("markers", "xdist_group(name): run these tests in one worker, where there are any")
        self._subjects = Subjects(project.settings, project.root, project.layouts)
        self._plugins = project.plugins()
        self.checks = chosen(level)
        self._evidence: dict[tuple[str, Scenario], Evidence] = {}

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        found = self._plugins.get(file_path.parent.name)
        if found is None or file_path.name not in found.layout.manifest or not _is_in(file_path, found):
            return None
        return ManifestFile.from_parent(parent, path=file_path, verification=self, plugin=found.name)

    def judged(self, plugin: str, check: Check) -> Judged:
        """Judge one check of a plugin, as far as its manifest excepts nothing; its scenario is played once."""
        try:
            declared = self.declared(plugin)
        except BadDeclaration as error:
            return Judged(check, "error", reason=str(error))
        key = (plugin, check.scenario)
        if key not in self._evidence:
            self._evidence[key] = play(self._subjects, plugin, check.scenario, declared.timeout)
        found = self._plugins[plugin]
        judged = judge(check, self._evidence[key])
        return excepted(judged, declared.allow.get(check.id), date.today(), found.path / found.layout.manifest[0])

    def declared(self, plugin: str) -> Declared:
        """Return what the plugin's manifest declares; raises BadDeclaration."""
        return declared_by(self._plugins[plugin])


def _is_in(path: Path, found: Found) -> bool:
    return path.parent.resolve() == found.path.resolve()


class ManifestFile(pytest.File):
    """A plugin, as pytest collects it."""

    def __init__(self, *, verification: Verification, plugin: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verification = verification
        self.plugin = plugin

    def collect(self) -> Iterable[pytest.Collector]:
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
        self.add_marker(MARKER)
        # One process plays a scenario, and judges all that it shows.
        self.add_marker(pytest.mark.xdist_group(f"hotplug-verify-{file.plugin}"))

    def runtest(self) -> None:
        judged = self.file.verification.judged(self.file.plugin, self.check)
        self._note(judged)
        if judged.outcome == "xfailed":
            pytest.xfail(judged.reason)
        if judged.outcome == "skipped":
            pytest.skip(judged.reason)
        if judged.outcome in ("failed", "error"):
            raise Unsafe(told(self.file.plugin, judged))

    def _note(self, judged: Judged) -> None:
        properties: Mapping[str, object] = {"hotplug.check": self.check.id, "hotplug.outcome": judged.outcome}
        self.user_properties += properties.items()
        for finding in judged.findings:
            self.user_properties.append(("hotplug.finding", f"{finding.severity}: {finding.message}"))
            if finding.growth:
                self.user_properties.append(("hotplug.growth", finding.growth))
        if judged.outcome == "note":
            self.add_report_section("call", "notes", told(self.file.plugin, judged))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]  # text is fine
        if isinstance(excinfo.value, Unsafe):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.file.plugin}: {self.check.title}"
