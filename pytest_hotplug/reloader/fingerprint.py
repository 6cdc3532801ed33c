"""Decide whether a plugin really changed.

Whoever says "look again" proves nothing; this module reads. Where a look differs (or is too young
to be trusted) the bytes decide: two trees are equal when every .py and .json has the same relative
name, length and MD5, whatever the clock says. The bytes that are hashed here are the bytes that the
loader compiles. Reads files, changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.digests import Algorithm, digest_of, hash_of
from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.looking import MAX_FILES, Look, Signature, leads_inside, look_at, signature_of, unchanged

__all__ = ["Snapshot", "Unsettled", "settle", "snapshot"]

# Bound at import: a test that patches builtins.open or os.* must not blind the reloader.
_open, _read, _fstat, _close, _realpath = os.open, os.read, os.fstat, os.close, os.path.realpath

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_TREE_BYTES = 64 * 1024 * 1024


class Unsettled(Exception):
    """The files kept moving for the whole of `settle_max`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every regular file of a plugin at one moment, read once, and the digest of those that count.

    `home` is where the files lie when that isn't the plugin's own directory: a kept copy.
    """

    look: Look
    files: Mapping[str, bytes]
    md5: Mapping[str, str]
    digest: str
    home: Path | None = None

    @property
    def root(self) -> Path:
        return Path(self.look.root)


def snapshot(
    path: Path,
    *,
    plugin: str,
    ignore: Sequence[str] = (),
    digest: Algorithm = "md5",
    known: Snapshot | None = None,
) -> Snapshot:
    """Read every regular file of a plugin once; raises PluginFault, Unsettled when files move meanwhile.

    What counts, was read by a `known` version and touched by nobody since is taken from it. Where bytes that were read
    equal those of it, they are the same object, and hashed already: versions differ little.
    """
    sys.audit("hotplug.plugin", str(path))  # a recording of tests wants to know who used the plugin
    look = _looked(path, plugin, ignore, None if known is None else known.look)
    if look.escapes:
        raise PluginFault(*(_escaping(plugin, path, name) for name in look.escapes))
    _check_size(plugin, path, look)
    files = _contents(look, plugin, path, known)
    hashes = {} if known is None else _still_true(known, files)
    md5 = {name: hashes.get(name) or hash_of(files[name], digest) for name in look.files}
    if not _same_again(path, ignore, look):
        raise Unsettled(f"{plugin}: files changed while they were read")
    return Snapshot(look, files, md5, digest_of(files, md5, digest))


def _contents(look: Look, plugin: str, path: Path, known: Snapshot | None) -> dict[str, bytes]:
    """Return the bytes of every file; those that a `known` version holds, as its objects."""
    before: Mapping[str, bytes] = {} if known is None else known.files
    untouched: Set[str] = set() if known is None else known.look.untouched(look) & before.keys()
    files = {}
    for name, signature in look.files.items():
        files[name] = before[name] if name in untouched else _bytes(look, name, plugin, path, signature)
    for name in look.others or ():
        with suppress(Unsettled):  # it is gone
            # One that moves (the plugin's own log, say) is as it is at that moment, and so is read each time.
            files[name] = _bytes(look, name, plugin, path, None)
    return {name: same if (same := before.get(name)) == data else data for name, data in files.items()}


def _still_true(known: Snapshot, files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the hashes of what is the same; none of a kept copy, which another process may have hashed otherwise."""
    if known.home is not None:
        return {}
    return {name: hashed for name, hashed in known.md5.items() if files.get(name) is known.files[name]}


def _same_again(path: Path, ignore: Sequence[str], look: Look) -> bool:
    try:
        return unchanged(look) or look_at(path, ignore).same_as(look)
    except OSError:
        return False  # the next attempt begins with it, and says what is wrong if it stays so


def _looked(path: Path, plugin: str, ignore: Sequence[str], before: Look | None) -> Look:
    try:
        return look_at(path, ignore, others=True, before=before)
    except FileNotFoundError:
        raise PluginFault(_missing(plugin, path)) from None
    except OSError as error:
        raise PluginFault(_unreadable(plugin, path, error)) from None


def _check_size(plugin: str, path: Path, look: Look) -> None:
    sizes = {name: s[1] for files in (look.files, look.others or {}) for name, s in files.items()}
    largest = max(sizes, key=sizes.__getitem__, default="")
    if len(sizes) <= MAX_FILES and sum(sizes.values()) <= MAX_TREE_BYTES and sizes.get(largest, 0) <= MAX_FILE_BYTES:
        return
    message = (
        f"{len(sizes):,} files, {sum(sizes.values()):,} bytes, the largest {largest} with {sizes[largest]:,}; "
        f"at most {MAX_FILES:,} files, {MAX_TREE_BYTES:,} bytes, {MAX_FILE_BYTES:,} in one"
    )
    remedy = "Move data out of the plugin's directory."
    raise PluginFault(Fault(plugin, "plugin-too-large", message, path, remedy=remedy, own_bytes=False))


def _bytes(look: Look, name: str, plugin: str, path: Path, expected: Signature | None) -> bytes:
    """Read one file through one descriptor and make sure that it is `expected`, the one that was looked at."""
    try:
        # O_NONBLOCK: a FIFO named main.py must not hang the worker.
        fd = _open_inside(look.root, f"{look.root}/{name}")
    except FileNotFoundError:
        raise Unsettled(f"{plugin}: {name} vanished while it was read") from None
    except OSError as error:
        raise PluginFault(_unreadable(plugin, path / name, error)) from None
    try:
        before = _fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise PluginFault(
                Fault(plugin, "not-a-file", f"{name} is no regular file", path / name, remedy="Remove it.")
            )
        data = _read_all(fd, before.st_size)
        after = _fstat(fd)
    except OSError as error:
        raise PluginFault(_unreadable(plugin, path / name, error)) from None
    finally:
        with suppress(OSError):  # what was read was read; a file system may report a late error of a writer here
            _close(fd)
    if expected is not None and (signature_of(after) != expected or len(data) != expected[1]):
        raise Unsettled(f"{plugin}: {name} changed while it was read")
    return data


def _open_inside(root: str, path: str) -> int:
    """Open a file that is no link, or a link that stays inside; raises OSError."""
    try:
        return _open(path, os.O_RDONLY | _O_NONBLOCK | _O_CLOEXEC | _O_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK) or not leads_inside(path, root):
            raise
    return _open(_realpath(path), os.O_RDONLY | _O_NONBLOCK | _O_CLOEXEC | _O_NOFOLLOW)


_O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_O_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
_O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _read_all(fd: int, expected: int) -> bytes:
    """Read to the end; a buffer of the expected size and one byte, for a huge one tears holes into the heap."""
    parts, size = [], 0
    while part := _read(fd, expected + 1):
        parts.append(part)
        size += len(part)
        if size == expected:
            break  # asked for one byte more, and there was none
        if size > MAX_TREE_BYTES:
            break  # it grows while we read: the signature will not match
    return b"".join(parts)


def settle(
    path: Path,
    *,
    plugin: str,
    ignore: Sequence[str] = (),
    debounce: float,
    settle_max: float,
    digest: Algorithm = "md5",
    first: Snapshot | None = None,
    known: Snapshot | None = None,
) -> Snapshot:
    """Return a snapshot that was the same twice, `debounce` seconds apart; `known` as for `snapshot`.

    With `debounce` 0 one consistent snapshot is enough, and that may be `first`, which was taken
    since it was asked for, if it is still what lies there: what is decided on it (that a rollback is over, say)
    may rest on a later look of somebody else's. Raises Unsettled when the files still move after `settle_max`
    seconds, PluginFault when they can't be read for as long.
    """
    if debounce == 0 and first is not None and _same_again(path, ignore, first.look):
        return first
    deadline = time.monotonic() + settle_max
    before: Snapshot | PluginFault | None = None
    while True:
        now = _try_snapshot(path, plugin, ignore, digest, known)
        if _settled(before, now, debounce):
            if isinstance(now, PluginFault):
                raise now
            assert isinstance(now, Snapshot), "only a snapshot or a fault can settle"
            return now
        if time.monotonic() >= deadline:
            raise Unsettled(f"{plugin}: the files still change after {settle_max:g} s")
        before = now
        time.sleep(min(debounce, max(0.0, deadline - time.monotonic())) or 0.001)


def _try_snapshot(
    path: Path, plugin: str, ignore: Sequence[str], digest: Algorithm, known: Snapshot | None
) -> Snapshot | PluginFault | None:
    try:
        return snapshot(path, plugin=plugin, ignore=ignore, digest=digest, known=known)
    except Unsettled:
        return None
    except PluginFault as fault:
        return fault


def _settled(before: Snapshot | PluginFault | None, now: Snapshot | PluginFault | None, debounce: float) -> bool:
    if now is None:
        return False
    if debounce == 0:
        return True
    if isinstance(now, PluginFault):
        return isinstance(before, PluginFault) and before.fault == now.fault
    return isinstance(before, Snapshot) and before.digest == now.digest


def _missing(plugin: str, path: Path) -> Fault:
    return Fault(
        plugin, "plugin-missing", f"the directory {path} is gone", path,
        remedy="Put the directory back, or unload the plugin.", own_bytes=False,
    )  # fmt: skip


def _escaping(plugin: str, path: Path, name: str) -> Fault:
    message = f"{name} is a link that leads out of the plugin"
    remedy = "Put the file itself there, or name it in watch_ignore; links inside the plugin are fine."
    return Fault(plugin, "escaping-link", message, path / name, remedy=remedy, own_bytes=False)


def _unreadable(plugin: str, path: Path, error: OSError) -> Fault:
    if isinstance(error, FileNotFoundError):
        return _missing(plugin, path)
    remedy = "Give the worker's user read permission; it is tried again when that changes."
    if error.errno == errno.ELOOP:
        remedy = "Remove the link that leads back to itself."
    return Fault(plugin, "unreadable", f"can't be read: {error.strerror}", path, remedy=remedy, own_bytes=False)
