"""Every hazard of hot reloading, as a scenario on real trees and real threads.

The list is in `scenarios/`; `benchmarks/hazards.py` plays the same one for other reloaders, and
`docs/reference/hazards.md` shows what came of it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hazards import PAGE, RESULT, page
from tests.hazards.adapter import Said
from tests.hazards.child import play_in_child
from tests.hazards.ours import Ours
from tests.hazards.stage import Stage
from tests.hazards.suite import Hazard, every_hazard, play, play_without
from tests.threads import eventually

HAZARDS = every_hazard()
LIMIT = 60.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scenarios use links, forks and signals")


def slug(one: Hazard) -> str:
    return one.slug


@pytest.fixture
def undone() -> Iterator[None]:
    """A scenario leaves no module, path entry or thread of ours behind."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    gc.collect()
    assert [name for name in set(sys.modules) - modules if name.startswith("hazards_")] == []
    assert sys.path == path
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("hotplug-")]
    eventually(lambda: not any(thread.is_alive() for thread in ours), f"the end of {ours}")


def passes(one: Hazard, place: Path, *, without: bool = False) -> None:
    """Play a scenario for ours, here or in a child, and fail if it does."""
    if one.child:
        verdict = play_in_child(one.id, without=without, limit=LIMIT)
        assert verdict.passed, verdict.why
        return
    stage = Stage(place, Ours(), one.settings)
    try:
        (play_without if without else play)(one, stage)
    finally:
        stage.close()


@pytest.mark.parametrize("one", HAZARDS, ids=slug)
@pytest.mark.usefixtures("undone")
def test_a_user_is_safe_from(one: Hazard, tmp_path: Path) -> None:
    """What the sentence of the hazard says is so; with the plugin's help where the page says that it takes some."""
    passes(one, tmp_path)


@pytest.mark.parametrize("one", [one for one in HAZARDS if one.outcome == "passes with help"], ids=slug)
@pytest.mark.usefixtures("undone")
def test_a_plugin_that_gives_no_help_breaks_nothing_and_is_told(one: Hazard, tmp_path: Path) -> None:
    """Without the plugin's help the old version still serves or ends in peace, and what stays behind is visible."""
    passes(one, tmp_path, without=True)


def test_the_list_is_whole() -> None:
    """No hazard of the design was left out."""
    expected = [f"D{n:02}" for n in range(1, 17)] + [f"L{n:02}" for n in range(1, 21)]
    expected += [f"F{n:02}" for n in range(1, 12)] + [f"X{n:02}" for n in range(1, 12)]
    expected += [f"M{n:02}" for n in range(1, 4)] + [f"C{n:02}" for n in range(1, 9)]
    expected += [f"A{n}" for n in range(1, 7)] + [f"N{n:02}" for n in range(1, 19)] + [f"T{n}" for n in range(1, 5)]
    assert sorted(one.id for one in HAZARDS) == sorted(expected)


def test_a_scenario_can_fail(tmp_path: Path) -> None:
    """A reloader that never reloads passes next to nothing: the scenarios look."""

    class Sleeping(Ours):
        name = "sleeping"

        def reload(self, plugin: str) -> Said:
            return "unchanged"

    passed = []
    for one in HAZARDS:
        if one.child or one.group not in ("detection", "loading", "memory"):
            continue
        place = tmp_path / one.id
        place.mkdir()
        stage = Stage(place, Sleeping(), one.settings)
        try:
            play(one, stage)
            passed.append(one.id)
        except (AssertionError, AttributeError):
            pass
        finally:
            stage.close()
    assert passed == ["D03", "D04"]


def test_a_child_that_hangs_or_crashes_is_a_failure() -> None:
    """Whoever never answers, or dies, has not passed."""
    hangs = play_in_child("D06", reloader="nobody", module="tests.hazards.child")
    assert not hangs.passed
    assert "ended with" in hangs.why


def test_the_page_tells_what_the_run_stored() -> None:
    """docs/reference/hazards.md shows the stored run, every hazard of it, and promises what the suite does."""
    stored = json.loads(RESULT.read_text(encoding="utf-8"))
    shown = PAGE.read_text(encoding="utf-8")
    assert shown == page(stored)
    told = {row["id"]: row for row in stored["hazards"]}
    assert {one.id for one in HAZARDS} == set(told)
    for one in HAZARDS:
        row = told[one.id]
        assert (row["sentence"], row["ours"], row["how"]) == (one.sentence, one.outcome, one.how)
        assert row["results"][Ours.name]["passed"], f"{one.id}: the page shows that ours failed"
        assert f"| {one.id} | {one.sentence} |" in shown
    assert os.linesep == "\n" or sys.platform == "win32"
