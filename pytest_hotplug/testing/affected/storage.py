"""Keep the map in SQLite below the state directory.

One writer at a time, by a lock file and short transactions, so that two runs at once and a kill at any
moment leave a whole map; readers never wait (WAL). Whatever can't be read is dropped with a line:
without a map everything runs, which is slow and right. Safe to delete at any time. This is the only
file that imports sqlite3.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pytest_hotplug.reloader.file_lock import file_lock
from pytest_hotplug.testing.affected.blocks import Blocks
from pytest_hotplug.testing.affected.contents import Contents, Dependency
from pytest_hotplug.testing.affected.map import Map, Seen, Test

__all__ = ["Storage", "Stored"]

SCHEMA = 3
LOCK_TIMEOUT = 30.0  # seconds; a writer is done in far less
_TABLES = """
CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY, kind TEXT, path TEXT, name TEXT, digest TEXT,
    UNIQUE (kind, path, name, digest));
CREATE TABLE IF NOT EXISTS parts (id INTEGER PRIMARY KEY, seen BLOB UNIQUE);
CREATE TABLE IF NOT EXISTS tests (nodeid TEXT PRIMARY KEY, parts BLOB, outcome TEXT, duration REAL);
CREATE TABLE IF NOT EXISTS trees (digest TEXT PRIMARY KEY, files TEXT);
CREATE TABLE IF NOT EXISTS blocks (path TEXT, digest TEXT, blocks TEXT, PRIMARY KEY (path, digest));
"""


@dataclass
class Stored:
    """What was read: the map, the blocks of known sources, and a line for people when something was dropped."""

    map: Map = field(default_factory=Map)
    blocks: dict[tuple[str, str], Blocks] = field(default_factory=dict)
    note: str = ""

    def edited(self, contents: Contents) -> dict[str, Blocks]:
        """Return the sources whose bytes are others now, with the blocks that they had."""
        now = {path: contents.digest(Dependency("file", path)) for path, _ in self.blocks}
        return {path: blocks for (path, digest), blocks in self.blocks.items() if now[path] != digest}


class Storage:
    """The map of the project in `root`."""

    def __init__(self, root: Path, state_dir: Path) -> None:
        self._root = root
        self._directory = state_dir
        self.path = state_dir / "affected.sqlite"

    def read(self) -> Stored:
        """Return what is kept; an empty map, with a note, when it can't be read."""
        if not self.path.exists():
            return Stored()
        try:
            with closing(self._connect()) as database:
                if _version(database) != SCHEMA:
                    return Stored(note=f"the map in {self.path.name} is of another version, it is made anew")
                return _read(database)
        except (sqlite3.Error, ValueError, LookupError, OSError) as error:
            return Stored(note=f"the map in {self.path.name} can't be read ({error}), it is made anew [map-dropped]")

    def write(
        self,
        learned: Map,
        gone: Iterable[str] = (),
        blocks: Mapping[str, tuple[str, Blocks]] | None = None,
    ) -> str:
        """Add what a run learned to what is kept; return a line for people when it can't, else ""."""
        try:
            self._prepare()
            with file_lock(self._directory / "affected.lock", LOCK_TIMEOUT):
                self._write_or_begin_anew(lambda database: _write(database, learned, gone, blocks or {}))
        except (TimeoutError, OSError, sqlite3.Error) as error:
            return f"what the tests use could not be kept ({error}); they run again next time [map-not-written]"
        return ""

    def _write_or_begin_anew(self, change: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self._write(change)
        except sqlite3.OperationalError:
            raise  # the disk is full, or the file not ours to write
        except sqlite3.DatabaseError:
            self._drop()
            self._write(change)

    def _write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        with closing(self._connect()) as database:
            if _version(database) not in (0, SCHEMA):
                database.close()
                self._drop()
                self._write(change)
                return
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {SCHEMA}")
            change(database)
            database.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)

    def _drop(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _prepare(self) -> None:
        """Make the state directory as the reloader's store does: ignored by git and by backups."""
        inside = [place for place in self._directory.parents if self._root in place.parents]
        for place in reversed(inside):
            place.mkdir(exist_ok=True)
        # A project that was deleted meanwhile isn't brought back.
        self._directory.mkdir(mode=0o700, parents=self._root not in self._directory.parents, exist_ok=True)
        for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")):
            if not (self._directory / name).exists():
                (self._directory / name).write_text(text)


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _read(database: sqlite3.Connection) -> Stored:
    stored, known = Stored(), Map()
    database.execute("BEGIN")  # one moment for all tables, whatever a writer does meanwhile
    seen = {row[0]: Seen(Dependency(*row[1:4]), row[4]) for row in database.execute("SELECT * FROM seen")}
    numbers = {row[0]: known.part_of(map(seen.__getitem__, _numbers(row[1]))) for row in
               database.execute("SELECT id, seen FROM parts")}  # fmt: skip
    for nodeid, parts, outcome, duration in database.execute("SELECT * FROM tests"):
        known.put(nodeid, Test(tuple(numbers[number] for number in _numbers(parts)), outcome, duration))
    for path, digest, blocks in database.execute("SELECT * FROM blocks"):
        table = json.loads(blocks)
        stored.blocks[path, digest] = Blocks(table["digests"], table["at"], table["broken"])
    known.trees = {digest: frozenset(json.loads(files)) for digest, files in database.execute("SELECT * FROM trees")}
    stored.map = known
    return stored


def _write(
    database: sqlite3.Connection,
    learned: Map,
    gone: Iterable[str],
    blocks: Mapping[str, tuple[str, Blocks]],
) -> None:
    ids = [_id_of_seen(database, seen) for seen in learned.seen]
    parts = [_id_of_part(database, sorted(ids[number] for number in part)) for part in learned.parts]
    rows = [
        (nodeid, _packed(parts[number] for number in test.parts), test.outcome, test.duration)
        for nodeid, test in learned.tests.items()
    ]
    database.executemany("INSERT OR REPLACE INTO tests VALUES (?, ?, ?, ?)", rows)
    database.executemany("DELETE FROM tests WHERE nodeid = ?", [(nodeid,) for nodeid in gone])
    for path, (digest, read) in blocks.items():
        table = json.dumps({"digests": read.digests, "at": read.at, "broken": read.broken})
        database.execute("DELETE FROM blocks WHERE path = ?", (path,))
        database.execute("INSERT INTO blocks VALUES (?, ?, ?)", (path, digest, table))
    trees = [(digest, json.dumps(sorted(files))) for digest, files in learned.trees.items()]
    database.executemany("INSERT OR REPLACE INTO trees VALUES (?, ?)", trees)
    _drop_unused(database)


def _id_of_seen(database: sqlite3.Connection, seen: Seen) -> int:
    row = (*seen.what, seen.digest)
    found = database.execute(
        "SELECT id FROM seen WHERE kind = ? AND path = ? AND name = ? AND digest = ?", row
    ).fetchone()
    if found is None:
        cursor = database.execute("INSERT INTO seen (kind, path, name, digest) VALUES (?, ?, ?, ?)", row)
        assert cursor.lastrowid is not None, "an INSERT has a row id"
        return cursor.lastrowid
    return int(found[0])


def _id_of_part(database: sqlite3.Connection, seen: list[int]) -> int:
    packed = _packed(seen)
    found = database.execute("SELECT id FROM parts WHERE seen = ?", (packed,)).fetchone()
    if found is None:
        cursor = database.execute("INSERT INTO parts (seen) VALUES (?)", (packed,))
        assert cursor.lastrowid is not None, "an INSERT has a row id"
        return cursor.lastrowid
    return int(found[0])


def _drop_unused(database: sqlite3.Connection) -> None:
    """Drop what no test depends on any more, so that the file doesn't grow for ever."""
    used = {number for (parts,) in database.execute("SELECT parts FROM tests") for number in _numbers(parts)}
    parts = list(database.execute("SELECT id, seen FROM parts"))
    database.executemany("DELETE FROM parts WHERE id = ?", [(part,) for part, _ in parts if part not in used])
    seen = {number for part, packed in parts if part in used for number in _numbers(packed)}
    ids = [row[0] for row in database.execute("SELECT id FROM seen")]
    database.executemany("DELETE FROM seen WHERE id = ?", [(number,) for number in ids if number not in seen])
    database.execute("DELETE FROM trees WHERE digest NOT IN (SELECT digest FROM seen WHERE kind = 'tree')")


def _packed(numbers: Iterable[int]) -> bytes:
    return array("q", numbers).tobytes()


def _numbers(packed: bytes) -> list[int]:
    numbers = array("q")
    numbers.frombytes(packed)
    return numbers.tolist()
