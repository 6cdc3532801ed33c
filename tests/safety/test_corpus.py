"""Every unsafe plugin is caught by its check, and no clean one by any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.judging import judge
from pytest_hotplug.safety.runner import Subjects, play
from tests.safety.corpus import CLEAN, UNSAFE
from tests.safety.corpus_calls import UNSAFE_CALLS
from tests.safety.corpus_edits import UNSAFE_EDITS

_PLUGINS: dict[str, dict[str, dict[str, str]]] = {
    **{check: {name: {"main.py": source} for name, source in plugins.items()} for check, plugins in UNSAFE.items()},
    **UNSAFE_EDITS,
    **UNSAFE_CALLS,
}
_CASES = [(check, name) for check, plugins in _PLUGINS.items() for name in plugins]


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "hostapp.py").write_text("HANDLERS = []\nHOOKS = {}\n")
    settings = Settings(verify_registries=("hostapp:HANDLERS", "hostapp:HOOKS"))
    return Subjects(settings, tmp_path, (Layout(tmp_path / "plugins", "plugins"),))


def write(subjects: Subjects, files: Mapping[str, str]) -> str:
    place = subjects.root / "plugins" / "subject"
    manifest = {"name": "subject", **json.loads(files.get("plugin.json", "{}"))}
    manifest["hotplug"] = {"verify": {"probe": {"expect": 1}}}
    for name, text in {**files, "plugin.json": json.dumps(manifest)}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return "subject"


@pytest.mark.parametrize(("check", "name"), _CASES, ids=[f"{check}-{name}" for check, name in _CASES])
def test_an_unsafe_plugin_is_caught(check: str, name: str, subjects: Subjects, tmp_path: Path) -> None:
    """Its own check fails, and says what to do."""
    plugin = write(subjects, _PLUGINS[check][name])
    (wanted,) = [one for one in ALL if one.id == check]
    judged = judge(wanted, play(subjects, plugin, wanted.scenario))
    assert judged.outcome == "failed", judged
    assert judged.findings[0].remedy
    assert str(tmp_path) not in str(judged), "a copy's path helps nobody"


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_plugin_passes_every_check(name: str, subjects: Subjects) -> None:
    """However much it does meanwhile."""
    plugin = write(subjects, {"main.py": CLEAN[name]})
    for scenario in dict.fromkeys(check.scenario for check in ALL):
        evidence = play(subjects, plugin, scenario)
        judged = [judge(check, evidence) for check in ALL if check.scenario == scenario]
        assert [one for one in judged if one.outcome in ("failed", "error")] == []


def test_every_check_has_plugins_that_it_must_catch() -> None:
    """At least two of different kinds."""
    assert {check.id: len(_PLUGINS.get(check.id, ())) >= 2 for check in ALL} == {check.id: True for check in ALL}
