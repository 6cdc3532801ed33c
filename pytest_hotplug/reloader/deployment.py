"""Put a new version of a plugin in place: stage beside, try, exchange. Refused or killed: nothing changed.

The new files are copied next to the plugin under a hidden name, which is no plugin's; when they are
complete and were found good, the two directories are exchanged in one step and the old one is removed.
What a killed deployment leaves behind is hidden, and the next one removes it. Whether a running
manager then loads the version is its own affair.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import PluginFault, UsageError, near
from pytest_hotplug.reloader.exchange import exchange
from pytest_hotplug.reloader.file_lock import file_lock
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled, snapshot

__all__ = ["Deployed", "deploy", "remove"]

LOCK_TIMEOUT = 0.1  # seconds; a deployment that is under way is told, not waited for


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment did: the digest that lay there before ("" for none that can be read) and the one that does now.

    `changed` also where only files differ that don't count for the digest.
    """

    name: str
    before: str
    digest: str
    changed: bool


def deploy(
    found: Found, source: Path, *, lock: Path, check: Callable[[Path], None],
    confirm: Callable[[], None] = lambda: None, dry_run: bool = False,
) -> Deployed:  # fmt: skip
    """Replace the directory of a plugin by a copy of `source`; `found` need not exist yet.

    `check` is given the staged copy and raises to refuse it, `confirm` is asked once the copy lies in
    place and raises to have it taken back; `lock` is a file that keeps a second deployment of the
    plugin out. With `dry_run` everything happens but the exchange. Raises UsageError
    `[deploy-running]`, `[no-exchange]`, OSError, PluginFault, and what `check` and `confirm` raise:
    then everything is as it was.
    """
    with _alone(found, lock), _staged(found, source) as staged:
        new = snapshot(staged, plugin=found.name)
        check(staged)
        old = _lies_there(found)
        changed = old is None or old.files != new.files
        if changed and not dry_run:
            with _in_place_of(found.path, staged):
                confirm()
        return Deployed(found.name, old.digest if old else "", new.digest, changed)


def remove(found: Found, *, lock: Path) -> None:
    """Take a plugin's directory away in one step; raises UsageError `[deploy-running]`, OSError."""
    with _alone(found, lock):
        place = Path(tempfile.mkdtemp(prefix=_prefix(found), dir=found.path.parent))
        try:
            os.rename(found.path, place / found.name)
        finally:
            shutil.rmtree(place)


@contextmanager
def _alone(found: Found, lock: Path) -> Iterator[None]:
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = file_lock(lock, LOCK_TIMEOUT)
    try:
        held.__enter__()
    except TimeoutError:
        raise UsageError(f"{found.name}: another deployment is under way ({near(lock)})", "deploy-running") from None
    try:
        for left in found.path.parent.glob(f"{_prefix(found)}*"):
            shutil.rmtree(left)  # of a deployment that was killed: we hold its lock
        yield
    finally:
        held.__exit__(None, None, None)


def _prefix(found: Found) -> str:
    return f".{found.name}.deploy-"


@contextmanager
def _staged(found: Found, source: Path) -> Iterator[Path]:
    """Copy `source` beside the plugin, under a directory that no one takes for a plugin."""
    place = Path(tempfile.mkdtemp(prefix=_prefix(found), dir=found.path.parent))
    try:
        staged = place / found.name
        shutil.copytree(source, staged, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".git"))
        yield staged
    finally:
        shutil.rmtree(place)


def _lies_there(found: Found) -> Snapshot | None:
    """Read what is to be replaced; one that can't be read is replaced all the same."""
    try:
        return snapshot(found.path, plugin=found.name)
    except (PluginFault, Unsettled):
        return None


@contextmanager
def _in_place_of(place: Path, staged: Path) -> Iterator[None]:
    """Let the staged copy lie at `place`; whatever the block raises puts back what lay there."""
    replaces = place.is_symlink() or place.exists()
    exchange(staged, place) if replaces else os.rename(staged, place)
    try:
        yield
    except BaseException:
        exchange(staged, place) if replaces else os.rename(place, staged)
        raise
    if replaces and staged.is_symlink():  # the plugin was a link to a release, which is not ours to remove
        staged.unlink()
