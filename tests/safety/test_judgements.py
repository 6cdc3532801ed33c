"""What counts as proved: a judgement by itself, and a strict one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety import judgements
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Attempts, Memory
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.judgements import Judgements
from pytest_hotplug.safety.judging import Evidence
from pytest_hotplug.safety.report.record import Checked, Verified
from pytest_hotplug.safety.runner import Subjects

TRIED = Check(id="change_is_seen", title="A change is seen", how="", remedy="", judge=attempted, scenario="edits")
PROBE = {"probe": {"expect": 1}}


class Played:
    """Stands for the child processes: what they would have seen, and how often one was asked."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.times = 0

    def __call__(self, *arguments: Any) -> Evidence:
        self.times += 1
        return self.evidence


@pytest.fixture
def verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Judge a check of a plugin whose scenario was played with this evidence."""

    def judge(evidence: Evidence, verify: Any, *, strict: bool = False, check: Check = TRIED) -> Verified:
        place = tmp_path / "plugins" / "subject"
        place.mkdir(parents=True, exist_ok=True)
        (place / "plugin.json").write_text(json.dumps({"name": "subject", "hotplug": {"verify": verify}}))
        layouts = (Layout(tmp_path / "plugins", "plugins"),)
        monkeypatch.setattr(judgements, "play", Played(evidence))
        judging = Judgements(Subjects(Settings(), tmp_path, layouts), find_plugins(layouts), [check], strict=strict)
        return judging.verified("subject", check)

    return judge


def told(verified: Verified) -> tuple[str, str]:
    (check,) = verified.checks
    assert isinstance(check, Checked)
    return check.outcome, check.reason


def test_a_check_that_does_not_apply_is_skipped_even_when_strict(verified: Any) -> None:
    """Nothing is missing: there is nothing to prove."""
    evidence = Attempts(counts={TRIED.id: 0}, skipped={TRIED.id: "it has no entry"})
    assert told(verified(evidence, PROBE)) == ("skipped", "it has no entry")
    assert told(verified(evidence, PROBE, strict=True)) == ("skipped", "it has no entry")


def test_a_check_that_lacks_a_tool_fails_only_when_strict(verified: Any) -> None:
    """Elsewhere it could find something: a strict gate is never green for lack of proof."""
    evidence = Attempts(counts={TRIED.id: 0}, skipped={TRIED.id: "there is no git"}, without_tool=[TRIED.id])
    assert told(verified(evidence, PROBE)) == ("skipped", "there is no git")
    assert told(verified(evidence, PROBE, strict=True)) == ("failed", "it could not be tried here: there is no git")


def test_a_plugin_that_nobody_uses_passes_only_when_not_strict(verified: Any) -> None:
    """And is counted as one without a probe."""
    evidence = Attempts(counts={TRIED.id: 3})
    assert told(verified(evidence, {})) == ("passed", "")
    assert not verified(evidence, {}).has_probe
    outcome, reason = told(verified(evidence, {}, strict=True))
    assert (outcome, "hotplug.verify.probe" in reason) == ("failed", True)
    assert told(verified(evidence, PROBE, strict=True)) == ("passed", "")


def test_exceptions_count_until_their_day(verified: Any) -> None:
    """The summary tells how many are in force; one that has ended is none."""
    allow = {
        "no_leaked_threads": {"reason": "known", "until": "2099-01-01"},
        "no_leaked_fds": {"reason": "old", "until": "2020-01-01"},
    }
    assert verified(Attempts(counts={TRIED.id: 1}), {**PROBE, "allow": allow}).exceptions == 1


def test_what_cannot_be_judged_has_failed(verified: Any) -> None:
    """A manifest that makes no sense, a child that ended: the report says why, and what cannot be seen is shown."""
    outcome, reason = told(verified(Attempts(failed="it ended\x1b[31m"), PROBE))
    assert (outcome, reason) == ("failed", "it ended\\x1b[31m")
    outcome, reason = told(verified(Attempts(), {"porbe": {}}))
    assert (outcome, "unknown field `porbe`" in reason) == ("failed", True)


def test_what_was_measured_is_a_series(verified: Any) -> None:
    """Blocks, objects and resident memory after each reload, for the plots."""
    from pytest_hotplug.safety.checks.memory_slope import CHECK

    memory = Memory(blocks=[10, 11, 12], objects=[5, 5, 5], rss=[1024 * 1024] * 3)
    series = {one.title: one for one in verified(memory, PROBE, check=CHECK).series}
    assert series["Memory"].points == ((1.0, 10.0), (2.0, 11.0), (3.0, 12.0))
    assert (series["Resident memory"].unit, series["Resident memory"].points[0]) == ("MiB", (1.0, 1.0))
    assert set(series) == {"Memory", "Objects", "Resident memory"}
