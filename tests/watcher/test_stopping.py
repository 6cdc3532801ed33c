"""A stopped watch leaves nothing behind, and a forgotten one keeps nobody from leaving."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.watcher import watch
from tests.watcher.listening import Listener, run_script, save

BACKENDS = pytest.mark.parametrize("options", [{}, {"poll_interval": 0.02}], ids=["events", "polling"])


@BACKENDS
def test_after_stop_no_thread_is_left(root: Path, options: dict[str, Any]) -> None:
    """Stopping waits for the thread; a second stop does nothing."""
    before = set(threading.enumerate())
    watching = watch([root], Listener(), **options)
    assert watching.alive
    watching.stop()
    watching.stop()
    assert not watching.alive
    assert set(threading.enumerate()) <= before  # one that was there may have ended meanwhile


ON_AND_OFF = """
import os, sys
from pathlib import Path
from pytest_hotplug.watcher import watch
from tests.watcher.listening import Listener, inotify_instances, wait_until

kept = []  # so that nothing is released only because it was forgotten
for _ in range(5):
    with watch([Path(sys.argv[1])], Listener()) as watching:
        kept.append(watching)
        assert inotify_instances() >= 1
assert wait_until(lambda: inotify_instances() == 0)
assert wait_until(lambda: len(os.listdir("/proc/self/task")) == 1)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to look into")
def test_after_stop_no_native_thread_and_no_descriptor_is_left(root: Path) -> None:
    """A worker that switches watching off and on for years does not fill up."""
    run_script(ON_AND_OFF, root)


@BACKENDS
def test_nothing_is_told_after_stop(root: Path, options: dict[str, Any]) -> None:
    """Hints that were waiting for quiet are dropped: once stopped, I am left alone."""
    listener = Listener()
    watching = watch([root], listener, debounce=5.0, settle_max=60.0, **options)
    save(root / "greeter" / "main.py", "A = 1\n")
    watching.stop()
    assert listener.batches == []


@BACKENDS
def test_a_watch_can_follow_a_watch(root: Path, options: dict[str, Any]) -> None:
    """Disabling and enabling hot reload restarts the watching (R36)."""
    for number in range(2):
        listener = Listener()
        with watch([root], listener, **options):
            save(root / "greeter" / "main.py", f"A = {number}\n")
            assert listener.hears(root / "greeter" / "main.py")


FORGOTTEN = """
import sys, threading
from pathlib import Path
from pytest_hotplug.watcher import watch

busy = threading.Event()

def receive(batch):
    busy.set()
    if {hangs}:
        threading.Event().wait()

watch([Path(sys.argv[1])], receive, **{options})
if {hangs}:
    Path(sys.argv[1], "edit.py").write_text("x")
    assert busy.wait(10)
"""


@pytest.mark.parametrize(
    ("options", "hangs"),
    [({}, False), ({}, True), ({"poll_interval": 0.02}, False)],
    ids=["events", "receiver hangs", "polling"],
)
def test_a_forgotten_watch_does_not_keep_the_interpreter(root: Path, options: dict[str, Any], hangs: bool) -> None:
    """My script ends without stopping its watch: it leaves at once, with no noise on its way out."""
    run_script(FORGOTTEN.format(hangs=hangs, options=options), root)


FORKED = """
import os, sys, warnings
from pathlib import Path
from pytest_hotplug.watcher import watch
from tests.watcher.listening import Listener, save

warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tried here
root, listener = Path(sys.argv[1]), Listener()
watching = watch([root], listener)
child = os.fork()
if child == 0:
    assert not watching.alive
    watching.stop()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
save(root / "after.py", "A = 1")
assert listener.hears(root / "after.py")
assert watching.restarts == 0
watching.stop()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_neither_watches_nor_disturbs(root: Path) -> None:
    """A worker that forks keeps watching, its child stops and leaves as if there were no watch."""
    run_script(FORKED, root)
