"""The native watcher fails, reaches a limit or loses events: watching goes on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

from pytest_hotplug.watcher import Batch, Watching, schedule, survey, watch, watching
from pytest_hotplug.watcher.native import Notifier, OpenNotifier, StopEvent, open_notifier
from pytest_hotplug.watcher.plan import Plan
from tests.watcher.listening import Listener, run_script, save, wait_until

BeginWith = Callable[[OpenNotifier], Listener]

LIMITS = [
    (OSError('OS file watch limit reached. about ["/srv"]'), "fs.inotify.max_user_watches"),
    (
        WatchfilesRustInternalError("Error creating recommended watcher: Too many open files (os error 24)"),
        "fs.inotify.max_user_instances",
    ),
]


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def begin_with(root: Path, watches: list[Watching], notices: list[str]) -> BeginWith:
    """Begin a watch on another way of opening the native watcher."""

    def begin(opener: OpenNotifier) -> Listener:
        listener = Listener()
        plan = Plan((os.fspath(root),), 0.02, 2.0, 0.05, None, 0.005)
        watches.append(Watching(plan, listener, notices.append, opener))
        return listener

    return begin


class Scripted:
    """A real native watcher that fails when it is told to, or keeps a change to itself.

    `in_time_out` happens in the last moment of a wait that runs out of time."""

    def __init__(
        self, failures: Sequence[Exception] = (), hidden: str = "", in_time_out: Callable[[], None] | None = None
    ) -> None:
        self.failures = list(failures)
        self.hidden = hidden
        self.in_time_out = in_time_out
        self.opened = 0

    def open(self, directories: Sequence[str]) -> Notifier:
        self.opened += 1
        return _ScriptedNotifier(open_notifier(directories), self)


class _ScriptedNotifier:
    def __init__(self, real: Notifier, script: Scripted) -> None:
        self._real = real
        self._script = script
        self.close, self.wake = real.close, real.wake

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: StopEvent | None
    ) -> set[tuple[int, str]] | str:
        if self._script.failures:
            raise self._script.failures.pop()
        told = self._real.watch(debounce_ms, step_ms, timeout_ms, stop_event)
        if told == "timeout" and self._script.in_time_out:
            self._script.in_time_out()
        if isinstance(told, str) or not self._script.hidden:
            return told
        heard = {(kind, path) for kind, path in told if self._script.hidden not in path}
        # What was lost wakes nobody either.
        return heard or self.watch(debounce_ms, step_ms, timeout_ms, stop_event)


def _overflowed(batches: list[Batch]) -> bool:
    return any(batch.overflow for batch in batches)


@pytest.mark.parametrize(("error", "setting"), LIMITS, ids=["watches", "instances"])
def test_a_reached_limit_at_the_start_means_polling_and_says_what_to_raise(
    root: Path,
    begin_with: BeginWith,
    watches: list[Watching],
    notices: list[str],
    error: Exception,
    setting: str,
) -> None:
    """W8: A fresh Ubuntu has too few watches: edits are seen all the same, and I know what to set."""

    def refuse(directories: Sequence[str]) -> Notifier:
        raise error

    listener = begin_with(refuse)
    assert watches[0].backend == "polling"
    assert setting in watches[0].reason
    assert [setting in notice for notice in notices] == [True]
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert not _overflowed(listener.batches)


@pytest.mark.parametrize(("error", "setting"), LIMITS, ids=["watches", "instances"])
def test_a_limit_reached_while_watching_means_polling_and_a_look_at_everything(
    root: Path,
    begin_with: BeginWith,
    watches: list[Watching],
    notices: list[str],
    error: Exception,
    setting: str,
) -> None:
    """Another program eats the watches later: I am told once, and nothing is lost."""
    script = Scripted()

    def refuse_the_second(directories: Sequence[str]) -> Notifier:
        if script.opened:
            raise error
        return script.open(directories)

    listener = begin_with(refuse_the_second)
    assert watches[0].backend == "events"
    (root / "new").mkdir()
    assert listener.until(_overflowed)
    assert watches[0].backend == "polling"
    assert [setting in notice for notice in notices] == [True]
    save(root / "new" / "main.py", "A = 1\n")
    assert listener.hears(root / "new" / "main.py")


def test_a_failing_native_watcher_is_restarted_and_everything_looked_at(
    root: Path, begin_with: BeginWith, watches: list[Watching]
) -> None:
    """W5: An internal error of the watcher costs one full look, never my next edit."""
    script = Scripted([WatchfilesRustInternalError("error in underlying watcher: overflow")])
    listener = begin_with(script.open)
    assert listener.until(_overflowed)
    assert root in listener.paths
    assert (watches[0].restarts, watches[0].backend, watches[0].alive) == (1, "events", True)
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")


def test_restarts_are_counted_and_become_rarer(
    root: Path, begin_with: BeginWith, watches: list[Watching], caplog: pytest.LogCaptureFixture
) -> None:
    """W7: A watcher that keeps failing neither spins nor gives up."""
    listener = begin_with(Scripted([RuntimeError(str(number)) for number in range(3)]).open)
    assert wait_until(lambda: watches[0].restarts == 3)
    save(root / "greeter" / "after.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "after.py")
    restarts = [record for record in caplog.records if record.message == "hotplug.watch_restarted"]
    assert [record.__dict__["delay"] for record in restarts] == [0.05, 0.1, 0.2]
    assert watches[0].restarts == 3


def test_what_is_known_is_told_while_the_watch_waits_to_be_restarted(
    root: Path, begin_with: BeginWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long pause before the next try keeps no news from me."""
    monkeypatch.setattr(watching, "_FIRST_DELAY", 3600.0)
    monkeypatch.setattr(watching, "_LONGEST_DELAY", 3600.0)
    listener = begin_with(Scripted([RuntimeError("out of order")]).open)
    assert listener.until(_overflowed)


def test_a_directory_that_fails_for_a_moment_is_seen_later(
    root: Path, watches: list[Watching], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stutters while it is looked at does not hide a plugin for ever."""
    failing = [OSError(errno.EIO, "stutter")] * 2

    def scandir(path: str) -> object:
        if path.endswith("greeter") and failing:
            raise failing.pop()
        return os.scandir(path)

    monkeypatch.setattr(survey, "os", _Stuttering(scandir))
    monkeypatch.setattr(schedule, "_AT_LEAST_EVERY", 0.2)
    listener = Listener()
    watches.append(watch([root], listener))
    assert watches[0].backend == "events"
    assert listener.hears(root / "greeter" / "main.py")
    listener.forget()
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")


class _Stuttering:
    """The module `os` with another `scandir`."""

    def __init__(self, scandir: Callable[[str], object]) -> None:
        self.scandir = scandir

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


def test_a_native_watcher_that_cannot_start_means_polling(
    root: Path, begin_with: BeginWith, watches: list[Watching], notices: list[str]
) -> None:
    """Whatever keeps the native watcher from starting: once `watch` returns I am watched."""

    def fail(directories: Sequence[str]) -> Notifier:
        raise OSError("no such luck")

    listener = begin_with(fail)
    assert watches[0].reason == "native events did not start: no such luck"
    assert len(notices) == 1
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("no wheel for this machine"), "watchfiles cannot be imported: no wheel"),
        (UnicodeEncodeError("utf-8", "/srv/caf\udce9", 8, 9, "surrogates not allowed"), "is not UTF-8"),
    ],
    ids=["no watchfiles", "name"],
)
def test_what_no_restart_can_cure_means_polling(
    root: Path, begin_with: BeginWith, watches: list[Watching], error: Exception, words: str
) -> None:
    """A machine without the native watcher, or a name it cannot take: I am watched all the same."""

    def fail(directories: Sequence[str]) -> Notifier:
        raise error

    begin_with(fail)
    assert watches[0].backend == "polling"
    assert words in watches[0].reason


def test_directories_that_vanish_at_every_try_mean_polling(
    root: Path, begin_with: BeginWith, watches: list[Watching]
) -> None:
    """A tree that never holds still while the watch is armed cannot keep `watch` from returning."""

    def never(directories: Sequence[str]) -> Notifier:
        raise FileNotFoundError(directories[0])

    begin_with(never)
    assert watches[0].backend == "polling"
    assert "vanish" in watches[0].reason


def test_directories_that_change_at_every_try_are_armed_later(
    root: Path, begin_with: BeginWith, watches: list[Watching]
) -> None:
    """A checkout going on while the watch is armed: what came last is watched in the end."""
    script = Scripted()

    def make_one_more(directories: Sequence[str]) -> Notifier:
        if script.opened < 12:
            (root / f"new{script.opened}").mkdir()
        return script.open(directories)

    listener = begin_with(make_one_more)
    assert watches[0].backend == "events"
    assert wait_until(lambda: script.opened > 12)
    for number in range(12):
        save(root / f"new{number}" / "main.py", "A = 1\n")
    assert listener.hears(*(root / f"new{number}" / "main.py" for number in range(12)))


def test_a_directory_that_vanishes_while_the_watch_is_armed_is_left_out(
    root: Path, begin_with: BeginWith, watches: list[Watching]
) -> None:
    """W9: A branch switch in the very moment of arming ends nothing."""
    script = Scripted()

    def remove_first(directories: Sequence[str]) -> Notifier:
        shutil.rmtree(root / "greeter", ignore_errors=True)
        return script.open(directories)

    listener = begin_with(remove_first)
    assert (watches[0].backend, watches[0].restarts) == ("events", 0)
    save(root / "main.py", "A = 1\n")
    assert listener.hears(root / "main.py")


def test_an_edit_the_native_watcher_drops_is_found_by_the_look_that_follows(
    root: Path, begin_with: BeginWith, watches: list[Watching]
) -> None:
    """W6: Events that get lost in a burst are made good once it is over."""
    listener = begin_with(Scripted(hidden="dropped.py").open)
    save(root / "greeter" / "dropped.py", "A = 1\n")
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py", root / "greeter" / "dropped.py")
    assert watches[0].missed_by_events == 1


def test_an_edit_in_the_last_moment_of_a_wait_is_found(root: Path, begin_with: BeginWith) -> None:
    """The native watcher empties its list when its time is out, even if something just came in."""
    dropped = root / "greeter" / "dropped.py"

    def edit_once() -> None:
        if not dropped.exists():
            save(dropped, "A = 1\n")

    listener = begin_with(Scripted(hidden="dropped.py", in_time_out=edit_once).open)
    (root / "new").mkdir()  # looked at on the spot, so that no other look is pending
    assert listener.hears(root / "new", dropped)


def test_a_file_written_while_the_watch_is_armed_anew_is_seen(root: Path, begin_with: BeginWith) -> None:
    """Between two native watchers nobody listens, and nothing is lost."""
    script = Scripted()

    def write_between(directories: Sequence[str]) -> Notifier:
        if script.opened:
            (root / "new" / "main.py").write_text("A = 1\n", encoding="utf-8")
        return script.open(directories)

    listener = begin_with(write_between)
    (root / "new").mkdir()
    assert listener.hears(root / "new" / "main.py")


FEW_WATCHES = """
import sys
from pathlib import Path
from pytest_hotplug.watcher import watch
from tests.watcher.listening import Listener

root = Path(sys.argv[1])
for number in range(9):
    (root / str(number)).mkdir()
with watch([root], Listener(), on_notice=print) as watching:
    print(watching.backend, watching.reason)
"""


def test_a_real_watch_limit_is_noticed(root: Path) -> None:
    """A kernel that truly refuses more watches leads to polling, not to silence."""
    unshare, limit = shutil.which("unshare") or "", "/proc/sys/user/max_inotify_watches"
    lower = [unshare, "--user", "--map-root-user", "sh", "-c"]
    if not unshare or subprocess.run([*lower, f"echo 5 > {limit}"], stderr=DEVNULL, check=False).returncode:
        pytest.skip("no user namespace to lower the limit in")
    told = run_script(FEW_WATCHES, root, before=[*lower, f'echo 5 > {limit} && exec "$@"', "sh"])
    notice, chosen = told.splitlines()
    assert notice.startswith("watching by polling every 1 s: inotify watch limit reached")
    assert chosen.startswith("polling inotify watch limit reached")
