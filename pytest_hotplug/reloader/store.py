"""What survives: copies of good versions, rollbacks, pauses, history; on disk, or in memory alone.

On disk, everything of a plugin lies below `<state_dir>/plugins/<name>/`: `notes.json`, replaced as
a whole; `versions/<digest>-<n>/`, complete copies that get their name when they are complete; and
`history.jsonl`. Whatever a killed process leaves behind is either whole or nobody knows of it, and
the next writer removes it. Safe to delete at any time. Decides nothing.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from pytest_hotplug.reloader.digests import algorithm_of, digest_of, hash_of
from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.file_lock import file_lock
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.kept import Kept, KeptOut, Notes, Pin, Record, Switch
from pytest_hotplug.reloader.looking import Look
from pytest_hotplug.reloader.names import is_plugin_name

__all__ = ["DiskStore", "MemoryStore"]

LOG = logging.getLogger("hotplug")
LOCK_TIMEOUT = 5.0  # seconds to wait for another process that writes
HISTORY_LINES = 200  # in memory
HISTORY_BYTES = 512 * 1024  # past it, the older half of a history is dropped
_CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# See https://bford.info/cachedir/\n"
_numbers = itertools.count(1)
T = TypeVar("T")


def _kept(snapshot: Snapshot, version: str, directory: str = "") -> Kept:
    files = {name: snapshot.md5.get(name) or hash_of(data) for name, data in snapshot.files.items()}
    return Kept(snapshot.digest, version, time.time(), files, sorted(snapshot.md5), directory)


class MemoryStore:
    """Keeps everything for as long as the manager lives; a rolled-back version gets a temporary directory."""

    def __init__(self, limit: int) -> None:
        self._switch = Switch()
        self.limit = limit
        self._notes: dict[str, Notes] = {}
        self._snapshots: dict[tuple[str, str], Snapshot] = {}
        self._history: dict[str, list[Record]] = {}
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def known(self) -> set[str]:
        return set(self._notes)

    def notes(self, plugin: str) -> Notes:
        return self._notes.get(plugin, Notes()).by_now()

    def serves(self, plugin: str, snapshot: Snapshot, version: str, pin: Pin | None) -> None:
        notes = self.notes(plugin)
        if snapshot.home is None:
            notes = notes.loaded(_kept(snapshot, version), self.limit)
            self._snapshots[plugin, snapshot.digest] = snapshot
        else:
            notes = notes.copied(snapshot.digest, pin)
        self._notes[plugin] = notes
        kept = {v.digest for v in notes.versions}
        for key in [key for key in self._snapshots if key[0] == plugin and key[1] not in kept]:
            del self._snapshots[key]

    def forget_pin(self, plugin: str) -> None:
        self._notes[plugin] = msgspec.structs.replace(self.notes(plugin), pin=None)

    def set_paused(self, plugin: str, reason: str | None, until: float | None = None) -> None:
        self._notes[plugin] = msgspec.structs.replace(self.notes(plugin), paused=reason, paused_until=until)

    def set_kept_out(self, plugin: str, kept_out: KeptOut) -> None:
        self._notes[plugin] = msgspec.structs.replace(self.notes(plugin), kept_out=kept_out)

    def read(self, plugin: str, kept: Kept) -> Snapshot:
        snapshot = self._snapshots.get((plugin, kept.digest))
        if snapshot is None:
            raise PluginFault(_damaged(plugin, None, "newer versions have taken its place"))
        if snapshot.home is None:
            if self._directory is None:
                self._directory = tempfile.TemporaryDirectory(prefix="hotplug-")
            home = Path(self._directory.name) / plugin / kept.digest
            if not home.exists():
                beside = home.with_name(f".new-{next(_numbers)}")
                try:
                    _write_tree(beside, snapshot.files)
                    os.rename(beside, home)
                except BaseException:
                    shutil.rmtree(beside, ignore_errors=True)
                    raise
            snapshot = replace(snapshot, home=home)
        return replace(snapshot, look=replace(snapshot.look, at=time.time_ns()))

    def record(self, plugin: str, record: Record) -> None:
        history = self._history.setdefault(plugin, [])
        history.append(record)
        del history[:-HISTORY_LINES]

    def history(self, plugin: str) -> list[Record]:
        return list(self._history.get(plugin, ()))

    @property
    def switch(self) -> Switch:
        return self._switch.by_now()

    def set_enabled(self, enabled: bool, until: float | None = None) -> None:
        self._switch = Switch(enabled, until)

    def close(self) -> None:
        if self._directory is not None:
            self._directory.cleanup()


class DiskStore:
    """Keeps everything below a directory that several processes may share.

    `writes` False: only looks, for commands that show or run what a worker would serve.
    """

    def __init__(self, root: Path, limit: int, *, writes: bool = True) -> None:
        self._root = root
        self.limit = limit
        self._writes = writes

    # -- notes ----------------------------------------------------------------------------------

    def known(self) -> set[str]:
        try:
            return {name for name in os.listdir(self._root / "plugins") if is_plugin_name(name)}
        except FileNotFoundError:
            return set()

    def notes(self, plugin: str) -> Notes:
        return (_decoded(self._of(plugin) / "notes.json", Notes) or Notes()).by_now()

    def forget_pin(self, plugin: str) -> None:
        with self.writing() as may:
            if may:
                self._write_notes(plugin, msgspec.structs.replace(self.notes(plugin), pin=None))

    def set_paused(self, plugin: str, reason: str | None, until: float | None = None) -> None:
        with self.writing() as may:
            if may:
                self._write_notes(
                    plugin, msgspec.structs.replace(self.notes(plugin), paused=reason, paused_until=until)
                )

    def set_kept_out(self, plugin: str, kept_out: KeptOut) -> None:
        with self.writing() as may:
            if may:
                self._write_notes(plugin, msgspec.structs.replace(self.notes(plugin), kept_out=kept_out))

    @property
    def switch(self) -> Switch:
        return (_decoded(self._root / "state.json", Switch) or Switch()).by_now()

    def set_enabled(self, enabled: bool, until: float | None = None) -> None:
        with self.writing() as may:
            if may:
                _replace(self._root / "state.json", msgspec.json.encode(Switch(enabled, until)))

    # -- versions -------------------------------------------------------------------------------

    def serves(self, plugin: str, snapshot: Snapshot, version: str, pin: Pin | None) -> None:
        with self.writing() as may:
            if may:
                notes = self.notes(plugin)
                if snapshot.home is None:
                    notes = notes.loaded(self._keep(plugin, snapshot, version, notes), self.limit)
                else:
                    notes = notes.copied(snapshot.digest, pin)
                self._write_notes(plugin, notes)
                self._prune(plugin, notes)

    def _keep(self, plugin: str, snapshot: Snapshot, version: str, notes: Notes) -> Kept:
        kept = _kept(snapshot, version)
        for known in notes.versions:
            same = known.digest == kept.digest and known.files == kept.files
            if same and os.path.isdir(self._copy_of(plugin, known)):
                return msgspec.structs.replace(kept, directory=known.directory)
        if self.limit == 0:
            return kept
        # Names of copies stay texts: pathlib interns the parts of its paths, which Python 3.12 keeps for ever.
        versions = str(self._of(plugin) / "versions")
        os.makedirs(versions, mode=0o700, exist_ok=True)
        beside = os.path.join(versions, f".new-{os.getpid()}-{next(_numbers)}")
        try:
            _write_tree(beside, snapshot.files)
            names = (f"{kept.digest}-{number}" for number in itertools.count())
            name = next(name for name in names if not os.path.exists(os.path.join(versions, name)))
            os.rename(beside, os.path.join(versions, name))
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return msgspec.structs.replace(kept, directory=name)

    def _prune(self, plugin: str, notes: Notes) -> None:
        """Remove the copies that the notes don't name: too old, or left by a process that was killed."""
        versions = str(self._of(plugin) / "versions")
        named = {kept.directory for kept in notes.versions}
        for name in os.listdir(versions) if os.path.isdir(versions) else ():
            if name not in named:
                shutil.rmtree(os.path.join(versions, name))

    def read(self, plugin: str, kept: Kept) -> Snapshot:
        home = Path(self._copy_of(plugin, kept))
        files: dict[str, bytes] = {}
        for name, md5 in kept.files.items():
            try:
                data = (home / name).read_bytes() if ".." not in name.split("/") else b""
            except OSError as error:
                raise PluginFault(_damaged(plugin, home / name, error.strerror or str(error))) from None
            if hash_of(data, algorithm_of(md5)) != md5:
                raise PluginFault(_damaged(plugin, home / name, "its content is not what was kept"))
            files[name] = data
        md5s = {name: kept.files[name] for name in kept.counted if name in files}
        if digest_of(files, md5s, algorithm_of(kept.digest)) != kept.digest:
            raise PluginFault(_damaged(plugin, home, "the notes do not fit the copy"))
        return Snapshot(Look(str(home), {}, time.time_ns()), files, md5s, kept.digest, home)

    # -- history --------------------------------------------------------------------------------

    def record(self, plugin: str, record: Record) -> None:
        with self.writing() as may:
            if not may:
                return
            path = self._of(plugin) / "history.jsonl"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(path, "ab") as file:
                if file.tell() and not _ends_with_newline(path):  # a writer was killed in the middle of a line
                    file.write(b"\n")
                file.write(msgspec.json.encode(record) + b"\n")
                size = file.tell()
            if size > HISTORY_BYTES:
                lines = path.read_bytes().splitlines(keepends=True)
                _replace(path, b"".join(lines[len(lines) // 2 :]))

    def history(self, plugin: str) -> list[Record]:
        try:
            lines = (self._of(plugin) / "history.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        records = []
        for line in lines:
            try:
                records.append(msgspec.json.decode(line, type=Record))
            except msgspec.MsgspecError:
                LOG.warning("hotplug.store_discarded", extra={"path": f"a line of {plugin}'s history"})
        return records

    def close(self) -> None:
        """Do nothing: what lies on disk stays."""

    # -- the directory --------------------------------------------------------------------------

    def _of(self, plugin: str) -> Path:
        return self._root / "plugins" / plugin

    def _copy_of(self, plugin: str, kept: Kept) -> str:
        return os.path.join(self._of(plugin), "versions", os.path.basename(kept.directory) or "-")

    def _write_notes(self, plugin: str, notes: Notes) -> None:
        path = self._of(plugin) / "notes.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, msgspec.json.encode(notes))

    @contextmanager
    def writing(self) -> Iterator[bool]:
        """Hold the store for one change; yields False when this one only looks."""
        if not self._writes:
            yield False
            return
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock(self._root / "lock", LOCK_TIMEOUT):
            if not (self._root / "CACHEDIR.TAG").exists():  # under the lock: two that begin at once share the names
                _replace(self._root / ".gitignore", b"*\n")
                _replace(self._root / "CACHEDIR.TAG", _CACHEDIR_TAG.encode())
            yield True


def _write_tree(root: str | Path, files: Mapping[str, bytes]) -> None:
    os.makedirs(root, mode=0o700)
    for name, data in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0o600)


def _replace(path: Path, data: bytes) -> None:
    """Put a file in place in one step: a reader sees the old or the new one, also after a power cut."""
    beside = path.with_name(f".{path.name}.new")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _decoded(path: Path, kind: type[T]) -> T | None:
    """Read a file of ours; one that can't be understood counts as missing, and is said so."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        LOG.warning("hotplug.store_discarded", extra={"path": str(path), "text": str(error)})
        return None


def _damaged(plugin: str, path: Path | None, why: str) -> Fault:
    remedy = "Roll back to another version (hotplug history NAME), or deploy a good one."
    return Fault(
        plugin, "kept-version-damaged", f"the kept copy can't be used: {why}", path, remedy=remedy, own_bytes=False
    )
