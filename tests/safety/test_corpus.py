"""Every unsafe plugin is caught by its check, and no clean one by any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.judging import judge
from pytest_hotplug.safety.runner import Subjects, play
from tests.safety.corpus import CLEAN, UNSAFE

_CASES = [(check, name) for check, plugins in UNSAFE.items() for name in plugins]


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    (tmp_path / "plugins").mkdir()
    return Subjects(Settings(), tmp_path, (Layout(tmp_path / "plugins", "plugins"),))


def write(subjects: Subjects, source: str) -> str:
    place = subjects.root / "plugins" / "subject"
    place.mkdir()
    (place / "main.py").write_text(source)
    manifest = {"name": "subject", "hotplug": {"verify": {"probe": {"expect": 1}}}}
    (place / "plugin.json").write_text(json.dumps(manifest))
    return "subject"


@pytest.mark.parametrize(("check", "name"), _CASES, ids=[f"{check}-{name}" for check, name in _CASES])
def test_an_unsafe_plugin_is_caught(check: str, name: str, subjects: Subjects) -> None:
    """Its own check fails, and says what to do."""
    plugin = write(subjects, UNSAFE[check][name])
    (wanted,) = [one for one in ALL if one.id == check]
    judged = judge(wanted, play(subjects, plugin, wanted.scenario))
    assert judged.outcome == "failed", judged
    assert judged.findings[0].remedy


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_plugin_passes_every_check(name: str, subjects: Subjects) -> None:
    """However much it does meanwhile."""
    plugin = write(subjects, CLEAN[name])
    for scenario in dict.fromkeys(check.scenario for check in ALL):
        evidence = play(subjects, plugin, scenario)
        judged = [judge(check, evidence) for check in ALL if check.scenario == scenario]
        assert [one for one in judged if one.outcome != "passed"] == []


def test_every_check_has_plugins_that_it_must_catch() -> None:
    """At least two of different kinds."""
    assert {check.id: len(UNSAFE.get(check.id, ())) >= 2 for check in ALL} == {check.id: True for check in ALL}
