"""Directories that may not be read end nothing, and are seen once they may."""

from __future__ import annotations

import sys
import tempfile

import pytest

from tests.watcher.listening import run_script

LOCKED = """
import os, sys
from pathlib import Path
import watchfiles
from pytest_hotplug.watcher import bell, schedule, watch
from tests.watcher.listening import Listener, save

schedule._AT_LEAST_EVERY = 0.5
if os.geteuid() == 0:
    # Nothing is unreadable to root: what is promised is promised to ordinary users.
    os.chown(sys.argv[1], 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)
base = Path(sys.argv[1])
root = base / "parent" / "plugins"
(root / "locked").mkdir(parents=True)
(root / "open").mkdir()
(root / "locked").chmod(0)
if "parent" in sys.argv:
    root.parent.chmod(0o311)
options = {"poll_interval": 0.05} if "polling" in sys.argv else {}
listener = Listener()
with watch([root], listener, **options) as watching:
    save(root / "open" / "main.py", "A = 1")
    assert listener.hears(root / "open" / "main.py")
    (root / "locked").chmod(0o700)
    save(root / "locked" / "main.py", "A = 1")
    assert listener.hears(root / "locked" / "main.py")
    listener.forget()
    save(root / "locked" / "main.py", "A = 2")
    assert listener.hears(root / "locked" / "main.py")
    if "parent" in sys.argv:
        listener.forget()
        root.rename(base / "parent" / "away")
        assert listener.hears(root)
        listener.forget()
        (base / "parent" / "away").rename(root)
        assert listener.hears(root)
    print(watching.backend, watching.restarts)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="modes of directories forbid nothing there")
@pytest.mark.parametrize("kind", ["events", "polling", "parent"])
def test_an_unreadable_directory_ends_nothing_and_is_seen_once_it_opens(kind: str) -> None:
    """W10: One directory I may not read hurts neither the others nor, later, itself.

    The third time I may not read the directory that holds the root either: nothing tells then that
    the root is replaced, and yet it is found."""
    # Not in tmp_path: the directories above it are closed to the user that the test becomes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        told = run_script(LOCKED, base, kind)
    assert told.split() == ["polling" if kind == "polling" else "events", "0"]
