"""plugins.lock: which bytes may run here, whether they lie on disk or are a kept copy.

It fails closed: only where no such name exists there is no lock. Reads one file, changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.looking import stamp_of

__all__ = ["LOCK_FILE", "not_locked"]

LOCK_FILE = "plugins.lock"  # beside the plugins, in the format of `sha256sum */*`
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # a FIFO must not hang the worker


def not_locked(found: Found, snapshot: Snapshot) -> Iterator[Fault]:
    """Blame files that differ from the lock file, if there is one."""
    try:
        os.lstat(f"{found.layout.path}{os.sep}{LOCK_FILE}")
    except FileNotFoundError:
        return
    except OSError:
        pass  # reading it says what is wrong
    lock = found.layout.path / LOCK_FILE
    rests_on = ((str(lock), stamp_of(lock)),)  # before it is read: a change in between shows

    def fault(message: str, path: Path, remedy: str) -> Fault:
        return Fault(found.name, "not-locked", message, path, remedy=remedy, own_bytes=False, rests_on=rests_on)

    try:
        text = _text(lock)
    except (OSError, UnicodeDecodeError) as error:
        yield fault(f"{LOCK_FILE} can't be read: {error}", lock, f"Mend {LOCK_FILE}; without it nothing may run.")
        return
    if text is None:
        return
    wanted = {parts[1].lstrip("*"): parts[0] for line in text.splitlines() if len(parts := line.split(maxsplit=1)) == 2}
    remedy = f"Review the change, then write {LOCK_FILE} anew: sha256sum */* > {LOCK_FILE}"
    for name in sorted(snapshot.files):
        if wanted.get(f"{found.name}/{name}") != hashlib.sha256(snapshot.files[name]).hexdigest():
            said = "differs from" if f"{found.name}/{name}" in wanted else "is not in"
            yield fault(f"{name} {said} {LOCK_FILE}", (snapshot.home or found.path) / name, remedy)


def _text(lock: Path) -> str | None:
    """Return what stands in the lock file, None when there is none; raises OSError, also for a link into nothing."""
    try:
        fd = os.open(lock, _FLAGS)
    except FileNotFoundError:
        if os.path.lexists(lock):
            raise
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is no regular file")
        with open(fd, encoding="utf-8", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)
