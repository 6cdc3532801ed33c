"""Every unsafe plugin is caught by its check, and no clean one by any."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pytest_hotplug.safety import bounds
from pytest_hotplug.safety.check import Scenario
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.evidence import Attempts
from pytest_hotplug.safety.judging import judge
from pytest_hotplug.safety.runner import Subjects, chosen, play
from tests.safety.corpus import CLEAN, PLUGINS, subjects_in, write
from tests.safety.corpus_upgrade import BAD
from tests.safety.page import PAGE, failure_of, is_shown_as, looks

_AGAIN: tuple[Scenario, ...] = ("cycle", "memory")  # what counts and measures, and so may take chance for a fault
_CASES = [(check, name) for check, plugins in PLUGINS.items() for name in plugins]


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    return subjects_in(tmp_path)


@pytest.mark.parametrize(("check", "name"), _CASES, ids=[f"{check}-{name}" for check, name in _CASES])
def test_an_unsafe_plugin_is_caught(check: str, name: str, subjects: Subjects, tmp_path: Path) -> None:
    """Its own check fails, asked by itself, and says what to do.

    In a whole run it does so too: benchmarks/verification.
    """
    plugin = write(subjects, PLUGINS[check][name])
    (wanted,) = [one for one in ALL if one.id == check]
    judged = judge(wanted, play(subjects, plugin, wanted.scenario, checks=[wanted]))
    assert judged.outcome == "failed", judged
    assert judged.findings[0].remedy
    assert str(tmp_path) not in str(judged), "a copy's path helps nobody"
    if name == next(iter(PLUGINS[check])) and is_shown_as(wanted):
        assert looks(failure_of(judged)) in looks(PAGE.read_text(encoding="utf-8")), "python -m tests.safety.page"


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_plugin_passes_every_check(name: str, subjects: Subjects) -> None:
    """However much it does meanwhile."""
    plugin = write(subjects, {"main.py": CLEAN[name]})
    once = dict.fromkeys(check.scenario for check in chosen(subjects, "full"))
    for scenario in (*once, *_AGAIN, *_AGAIN):
        evidence = play(subjects, plugin, scenario)
        judged = [judge(check, evidence) for check in ALL if check.scenario == scenario]
        assert [one for one in judged if one.outcome in ("failed", "error")] == []
        if isinstance(evidence, Attempts) and scenario == "calls":  # what ran when is there to be shown
            assert {span.lane for span in evidence.timeline} == {"versions", "caller 1", "caller 2", "caller 3"}


def test_every_check_has_plugins_that_it_must_catch() -> None:
    """At least two of different kinds."""
    caught = {**{check: len(PLUGINS[check]) for check in PLUGINS}, **{check: len(BAD[check]) for check in BAD}}
    assert {check.id: caught.get(check.id, 0) >= 2 for check in ALL} == {check.id: True for check in ALL}


@pytest.mark.parametrize(
    "source",
    [
        "import tempfile\nFILE = tempfile.NamedTemporaryFile()\nwhile True:\n    FILE.write(bytes(1 << 16))\n",
        "import sys\nwhile True:\n    print('x' * (1 << 16))\n    sys.stdout.flush()\n",
    ],
    ids=["a file", "what it prints"],
)
def test_a_plugin_that_fills_the_disk_is_ended(
    source: str, subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before it is full, and nothing of it is left."""
    monkeypatch.setattr(bounds, "MOST_WRITTEN", 8 << 20)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    seen = play(subjects, write(subjects, {"main.py": source}), "edits")
    assert seen.failed.startswith("it wrote more than 8 MiB")
    assert list((tmp_path / "temporary").iterdir()) == []
