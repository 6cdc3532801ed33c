"""`hotplug demo`: the whole story, with the real parts, leaving nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.architecture.project import plugin_is_installed
from tests.cli.terminal import User
from tests.reloader.workshop import eventually
from tests.testing.watched import children_of, is_alive

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now"),
    pytest.mark.skipif(not plugin_is_installed(), reason="the demo runs pytest, which finds installed plugins only"),
]


def test_the_story_is_told_and_nothing_is_left(user: User, tmp_path: Path) -> None:
    """R20: 1.0, an edit, 2.0 in the same process, a broken version refused while 2.0 serves, recovery."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = user.types("demo", "--json", TMPDIR=str(temporary))
    assert done.code == 0, done.err
    told = done.lines
    executed = [event for event in told if event["event"] == "executed"]
    assert [event["version"] for event in executed] == ["1.0", "2.0", "2.0", "2.0"]
    assert ["update_note" in event["result"] for event in executed] == [False, True, True, True]
    states = [(event["state"], event["generation"]) for event in told if event["event"] == "status"]
    assert states == [("serving", 2), ("degraded", 2), ("serving", 2)]
    tests = [(event["failed"] == 0, event["left_out"] > 0) for event in told if event["event"] == "tests"]
    assert tests == [(True, False), (True, True), (False, True), (True, True)]
    assert told[-1]["ok"] is True
    assert not list(temporary.glob("hotplug-demo-*"))
    assert list(user.here.iterdir()) == []


def test_a_terminated_demo_leaves_nothing(user: User, tmp_path: Path) -> None:
    """`kill` in the middle: no process, no temporary copy; exit code 2 as after Ctrl-C."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with user.starts("demo", "--json", TMPDIR=str(temporary)) as demo:
        demo.until(event="tests-begin")
        children = children_of(demo.process.pid)
        assert children
        demo.process.terminate()
        assert demo.process.wait(60) == 2
    eventually(lambda: not [pid for pid in children if is_alive(pid)], "the end of the watch")
    assert not list(temporary.glob("hotplug-demo-*"))


def test_a_killed_demo_takes_its_watch_along(user: User, tmp_path: Path) -> None:
    """SIGKILL leaves the copy, nobody can help that, but no process: the watch sees that nobody reads on."""
    with user.starts("demo", "--json", TMPDIR=str(tmp_path)) as demo:
        demo.until(event="tests-begin")
        children = children_of(demo.process.pid)
        demo.process.kill()
        demo.process.wait()
        eventually(lambda: not [pid for pid in children if is_alive(pid)], "the end of the watch")


def test_a_copy_may_be_kept_but_never_overwrites(user: User) -> None:
    """--keep into a directory that holds something of that name already is refused in words."""
    user.write("kept/example_plugins/mine.txt", "mine")
    done = user.types("demo", "--keep", "kept")
    assert done.code == 4
    assert "[already-exists]" in done.err
    assert [path.name for path in (user.here / "kept/example_plugins").iterdir()] == ["mine.txt"]
