"""Would a change be noticed by itself? Limits, kinds of file systems, the backend, and an event of our own."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_hotplug.cli.diagnosis import Finding, note, ok, problem
from pytest_hotplug.reloader.errors import near
from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.watcher import watch
from pytest_hotplug.watcher.batch import Batch
from pytest_hotplug.watcher.mounts import Mount, mount_of, parse_mounts
from pytest_hotplug.watcher.watching import Watching

__all__ = ["backend", "event_probe", "file_systems", "inotify_limits"]

LIMITS = Path("/proc/sys/fs/inotify")
MOUNTS = Path("/proc/self/mountinfo")
PROBE_WITHIN = 2.0  # seconds for an event to arrive
EACH_TWICE = 2  # the native watcher and the bell that wakes it: an inotify instance and its watches for each
PASSING = ("tmpfs", "ramfs", "overlay")  # what lies here ends with the machine or the container

StartWatch = Callable[[Sequence[Path], Callable[[Batch], None]], Watching]


def inotify_limits(plugin_dirs: Sequence[Path], limits: Path = LIMITS, in_use: int | None = None) -> Iterator[Finding]:
    """Compare what one process needs with what a user may have; other programs' watches are not counted."""
    check = "inotify limits"
    try:
        watches, instances = (int((limits / f"max_user_{kind}").read_text()) for kind in ("watches", "instances"))
    except FileNotFoundError:
        yield ok(check, "there are none on this system")
        return
    needed = EACH_TWICE * sum(1 for place in plugin_dirs for _ in os.walk(place))
    used = _instances_in_use() if in_use is None else in_use
    text = (
        f"{needed} of {watches} watches and {EACH_TWICE} of {instances} instances are needed, {used} instances in use"
    )
    if needed > watches:
        remedy = f"Run: sysctl fs.inotify.max_user_watches={max(524288, 2 * needed)}"
        yield problem(check, text, remedy, "inotify-limit")
    elif used + EACH_TWICE > instances:
        remedy = f"Run: sysctl fs.inotify.max_user_instances={max(512, 2 * instances)}"
        yield problem(check, text, remedy, "inotify-limit")
    else:
        yield ok(check, text)


def _instances_in_use() -> int:
    """Count this user's inotify instances, as far as /proc shows them."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.geteuid():
                count += sum(os.readlink(fd) == "anon_inode:inotify" for fd in (process / "fd").iterdir())
        except OSError:  # it has ended, or is not shown to us
            continue
    return count


def file_systems(plugin_dirs: Sequence[Path], state_dir: Path, mounts: Path = MOUNTS) -> Iterator[Finding]:
    """Tell the kinds of file systems: which send no events, and which don't outlive the machine."""
    if not mounts.exists():
        yield ok("file systems", "this system has no mount table to read")
        return
    table = parse_mounts(mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    for place in plugin_dirs:
        mount = _mount(place, table)
        if mount is not None and not mount.sends_events:
            text = f"{near(place)} lies on {mount.kind}, which tells nothing of edits made elsewhere: it is polled"
            yield note("file system", text)
        else:
            yield ok("file system", f"{near(place)} lies on {mount.kind if mount else 'an unknown one'}")
    mount = _mount(state_dir, table)
    if mount is not None and mount.kind in PASSING:
        text = f"{near(state_dir)} lies on {mount.kind}: kept versions don't outlive the machine or the container"
        yield note("state directory", text, "Set state_dir to a place that lasts, if they should.")


def _mount(place: Path, table: Sequence[Mount]) -> Mount | None:
    return mount_of(os.path.realpath(place), table)


def backend(plugin_dirs: Sequence[Path], settings: Settings) -> Iterator[Finding]:
    """Start a watch of the plugin dirs, ask it what it chose, and stop it."""
    reasons: list[str] = []
    with watch(
        plugin_dirs,
        lambda batch: None,
        poll_interval=settings.poll_interval,
        force_polling=settings.force_polling,
        on_notice=reasons.append,
    ) as watching:
        text = f"{watching.backend}: {watching.reason}"
        yield ok("watch backend", text) if watching.backend == "events" else note("watch backend", text)


def event_probe(
    place: Path, state_dir: Path, start: StartWatch = watch, within: float = PROBE_WITHIN
) -> Iterator[Finding]:
    """Write a file into a hidden directory of our own beside the plugins, and see whether an event tells of it."""
    check = "event probe"
    if not place.is_dir():
        yield note(check, f"{near(place)} is missing; it is watched for from its parent")
        return
    for directory in (place, state_dir):
        try:
            if os.stat(directory).st_dev == os.stat(place).st_dev:
                yield _probed(directory, start, within)
                return
        except OSError:  # missing or not to be written: the other one may do
            continue
    yield note(check, f"{near(place)} can't be written, so that no event could be made there")


def _probed(directory: Path, start: StartWatch, within: float) -> Finding:
    told = threading.Event()
    with tempfile.TemporaryDirectory(prefix=".hotplug-doctor-", dir=directory) as own:
        inside = Path(own)
        with start([inside], lambda batch: told.set()) as watching:
            (inside / "probe.py").write_bytes(b"# may be deleted\n")
            arrived = told.wait(within)
            polls = watching.backend != "events"
    if polls:
        return note("event probe", f"{near(directory)}: not asked, since changes are polled for")
    if arrived:
        return ok("event probe", f"{near(directory)}: a change was told of by an event")
    text = f"{near(directory)}: no event told of a change within {within:g} s on {sys.platform}"
    remedy = "Set force_polling = true; calls notice changes anyway, since each looks for itself."
    return problem("event probe", text, remedy, "no-events")
