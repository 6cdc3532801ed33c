"""A watch begins with what changed since the last one: what stood then still stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reloader.workshop import eventually
from tests.testing.watched import Watched, make_project, save


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that was watched before, with every test green."""
    root = make_project(tmp_path / "project")
    with Watched(root) as watched:
        assert watched.verdict()["passed"] == 4
    return root


def ran(watched: Watched) -> set[str]:
    """Return the tests that the next verdict is made of."""
    watched.verdict()
    return {event["nodeid"].rpartition("::")[2] for event in watched.events if event["event"] == "report"}


def test_a_watch_over_unchanged_files_runs_nothing(project: Path) -> None:
    """I quit and start again: no test runs, and it says how many verdicts stand."""
    with Watched(project) as watched:
        assert ran(watched) == set()
        verdict = watched.events[-1]
        assert (verdict["passed"], verdict["outdated"], verdict["failures"]) == (0, 0, [])
        watched.wait_for_text("4 verdicts stand from before; Enter runs all tests")
        save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
        verdict = watched.verdict()
        assert (verdict["failed"], verdict["passed"]) == (1, 0)


def test_what_changed_meanwhile_runs_first(project: Path) -> None:
    """I edit while nobody watches: what the edit affects runs at the start, a new test as well."""
    save(project / "plugins" / "greeter" / "text.py", "{WORD} {name}", "{WORD}, {name}")
    (project / "tests" / "test_new.py").write_text("def test_new():\n    pass\n")
    with Watched(project) as watched:
        chosen = watched.next("selected")
        assert {test["because"] for test in chosen["tests"]} == {"plugins/greeter/text.py: hello() changed"}
        assert ran(watched) == {"test_it_greets", "test_it_pipes", "test_new"}


def test_a_failure_is_told_again(project: Path) -> None:
    """What failed last time runs at the start, changed or not."""
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
    for _ in range(2):
        with Watched(project) as watched:
            assert ran(watched) == {"test_it_counts"}
            assert watched.events[-1]["failed"] == 1


def test_a_part_of_the_tests_leaves_the_others_known(project: Path) -> None:
    """A watch over one directory takes nothing from what is known of the rest."""
    with Watched(project, "tests") as watched:
        assert ran(watched) == set()
    save(project / "tests" / "test_apart.py", "pass", "assert True")
    with Watched(project, "tests") as watched:
        assert ran(watched) == {"test_apart"}
    with Watched(project) as watched:
        assert ran(watched) == set()


def test_a_verdict_of_other_options_does_not_stand(project: Path) -> None:
    """With warnings as errors everything runs: nobody knows what they do."""
    with Watched(project, "-W", "error") as watched:
        assert len(ran(watched)) == 4


def test_a_save_during_the_first_run_is_not_lost(project: Path) -> None:
    """What stood before runs after all if it is edited before the first verdict."""
    began = project.parent / "began"
    (project / "tests" / "test_slow.py").write_text(
        f"import pathlib, threading\n\n\ndef test_slow():\n    began = pathlib.Path({str(began)!r})\n"
        "    if not began.exists():\n        began.touch()\n        threading.Event().wait(60)\n"
    )
    with Watched(project) as watched:
        eventually(began.exists, "the begin of the test")  # which does not end by itself
        save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
        verdict = watched.verdict()
        assert [failure["nodeid"].rpartition("::")[2] for failure in verdict["failures"]] == ["test_it_counts"]
        assert verdict["outdated"] == 0
