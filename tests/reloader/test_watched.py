"""Reloads that the watcher starts: storms of git, plugins that change themselves, edits that events did not tell."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded, Unchanged
from pytest_hotplug.reloader import git_lock
from pytest_hotplug.reloader.outcomes import Outcome
from tests.reloader.workshop import PATIENCE, Workshop, eventually, kinds, running

ONE, TWO = "def run():\n    return 1\n", "def run():\n    return 2\n"


@pytest.fixture
def repository(shop: Workshop) -> Workshop:
    """Give a plugin dir inside a git work tree."""
    subprocess.run(["git", "init", "-q", str(shop.root)], check=True)
    return shop


def test_git_at_work_is_waited_for(repository: Workshop) -> None:
    """W18: while `index.lock` is there nothing is loaded; the call that noticed waits, then serves the end of it."""
    shop = repository
    shop.plugin("subject", ONE)
    manager = shop.manager(settle_max=PATIENCE)
    manager.load("subject")
    lock = shop.root / ".git" / "index.lock"
    lock.touch()
    shop.write("subject", "main.py", "half-way(\n")
    answers: list[int] = []
    with running(lambda: answers.append(manager.execute("subject"))) as errors:
        eventually(lambda: manager.why("subject")["verdict"] == "held-by-git", "the verdict held-by-git")
        shop.write("subject", "main.py", TWO)
        lock.unlink()
    assert (errors, answers) == ([], [2])
    assert manager.why("subject")["verdict"] == "current"


def test_a_lock_that_stays_is_waited_for_no_longer_than_settle_max(repository: Workshop) -> None:
    """W18: the current version serves on, and the outcome says that git is at work."""
    shop = repository
    shop.plugin("subject", ONE)
    manager = shop.manager(settle_max=0.05)
    manager.load("subject")
    (shop.root / ".git" / "index.lock").touch()
    shop.write("subject", "main.py", TWO)
    outcome = manager.reload("subject")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.reason == "unsettled"
    assert manager.execute("subject") == 1


def test_a_lock_that_a_killed_git_left_counts_for_a_while_only(
    repository: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W18: bounded: an old lock stops nobody for ever."""
    shop = repository
    monkeypatch.setattr(git_lock, "LONGEST", 0.05)
    shop.plugin("subject", ONE)
    manager = shop.manager()
    manager.load("subject")
    (shop.root / ".git" / "index.lock").touch()
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2


def test_what_was_edited_while_nobody_watched_is_caught_up_with(shop: Workshop) -> None:
    """Whoever begins to watch asks once for what lies there already, and hears of nothing that did not change."""
    shop.plugin("edited", ONE)
    shop.plugin("broken", "def run(:\n")
    shop.plugin("same", ONE)
    shop.plugin("paused", ONE)
    manager = shop.manager()
    for name in ("edited", "same", "paused"):
        manager.load(name)
    with pytest.raises(PluginLoadError):
        manager.load("broken")
    manager.pause("paused")
    told: list[Outcome] = []
    manager._watched.catch_up(told.append)
    assert told == []
    for name in ("edited", "broken", "paused"):
        shop.write(name, "main.py", TWO)
    manager._watched.catch_up(told.append)
    assert {(type(outcome), outcome.name) for outcome in told} == {(Reloaded, "edited"), (Reloaded, "broken")}
    assert manager.get_plugin_hot_info("edited")["loaded"]


def test_the_lock_of_a_linked_work_tree_is_found(shop: Workshop) -> None:
    """W18: `git worktree` keeps its lock elsewhere, and a file says where."""
    (shop.root / "real").mkdir()
    (shop.root / ".git").write_text("gitdir: real\n")
    lock = git_lock.GitLock(shop.plugins)
    assert not lock.is_held()
    (shop.root / "real" / "index.lock").touch()
    assert lock.is_held()


def test_a_plugin_that_changes_itself_is_left_alone_by_the_watcher(shop: Workshop) -> None:
    """W23 W24: a plugin that writes its own data.json at every load is reloaded a few times, then named and left."""
    code = (
        "from pathlib import Path\nplace = Path(__file__).with_name('data.json')\n"
        "COUNT = int(place.read_text()) + 1\nplace.write_text(str(COUNT))\ndef run():\n    return COUNT\n"
    )
    shop.plugin("subject", {"main.py": code, "data.json": "0"})
    manager = shop.manager()
    events: list[Any] = []
    tripped = threading.Event()
    manager.subscribe(events.append)
    manager._hot_loader.register_callback("error", lambda name, text: tripped.set())
    manager.load("subject")
    with watched(manager):
        shop.write("subject", "data.json", "100")
        assert tripped.wait(PATIENCE)
        error = next(event for event in events if event.kind == "error")
        assert error.error.slug == "breaker"
        assert "data.json" in error.message
        assert manager.why("subject")["verdict"] == "breaker"
        loads = kinds(events).count("loaded")
        assert loads <= 10
        shop.write("subject", "other.json", "1")
        assert isinstance(manager.reload("subject"), Reloaded), "an explicit reload is never held back"
        assert manager.execute("subject") > 0


def test_edits_of_people_never_trip_the_breaker(shop: Workshop) -> None:
    """W23: however quickly somebody saves, only a plugin's own writing counts."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    events: list[Any] = []
    manager.subscribe(events.append)
    manager.load("subject")
    with watched(manager):
        for number in range(12):
            shop.write("subject", "main.py", f"def run():\n    return {number}\n")
            eventually(lambda number=number: kinds(events).count("loaded") == number + 2)  # type: ignore[misc]
    assert "error" not in kinds(events)


def test_the_moment_in_which_a_file_is_missing_is_waited_out(shop: Workshop) -> None:
    """W14: an editor that renames the old file away, then the new one in: nobody sees the plugin without it."""
    subject = shop.plugin("subject", {"main.py": "from . import helper\ndef run():\n    return helper.N\n"})
    shop.write("subject", "helper.py", "N = 1\n")
    manager = shop.manager(debounce=0.1, settle_max=PATIENCE)
    assert manager.execute("subject") == 1
    (subject / "helper.py___jb_tmp___").write_text("N = 2\n")
    answers: list[int] = []
    errors: list[str] = []
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    os.rename(subject / "helper.py", subject / "helper.py___jb_old___")
    with running(lambda: answers.append(manager.execute("subject"))) as raised:
        eventually(lambda: manager.get_plugin_hot_info("subject")["state"] == "settling", "the state settling")
        os.rename(subject / "helper.py___jb_tmp___", subject / "helper.py")
        (subject / "helper.py___jb_old___").unlink()
    assert (raised, errors, answers) == ([], [], [2])


class watched:  # noqa: N801  # reads like a verb
    """Watch for the length of a block."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager

    def __enter__(self) -> None:
        self._manager.start_watching()

    def __exit__(self, *error: object) -> None:
        self._manager.stop_watching()


def test_correctness_does_not_depend_on_events(shop: Workshop) -> None:
    """W2 W5 W6: without any watcher at all, the check before a call sees every edit."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    for number in range(20):
        shop.write("subject", "main.py", f"def run():\n    return {number}\n")
        assert manager.execute("subject") == number
    assert isinstance(manager.reload("subject"), Unchanged)
