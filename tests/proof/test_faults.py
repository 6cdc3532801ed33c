"""Disks that fail: at every point at which a reload reads or writes, and a disk that is really full.

Whatever fails, the old version serves or the new one does as a whole, the state tells why, and once the
fault has passed the new version is served without anything else being done. The store never gets
in the way of a reload, and is whole afterwards. Long runs: `pytest tests/proof --soak 50`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded
from pytest_hotplug.reloader import discovery, looking, refusals
from pytest_hotplug.reloader.store import DiskStore
from tests.proof.faults import MODES, READS, WRITES, Faults, Mode, through_reads, through_writes
from tests.reloader.workshop import Workshop, eventually, running

MAIN = """
from importlib.resources import files
from . import helper
from .deep.er import leaf
N = {n}
DATA = files(__package__).joinpath("data.txt").read_text()
def run():
    return [N, helper.N, leaf.N, int(DATA)]
"""
FROM_OUTSIDE = ("unreadable", "plugin-missing", "untrusted", "unsettled")  # what a reload may say of a disk
GONE = (*FROM_OUTSIDE, "no-manifest", "bad-entry", "import-error", "missing-module")  # where files seem to be missing


def version(n: int) -> dict[str, str]:
    """Return the files of version `n`: modules in three directories, a data file, a manifest."""
    return {
        "data.txt": f"{n}",
        "helper.py": f"N = {n}\n",
        "deep/__init__.py": "",
        "deep/er/__init__.py": "",
        "deep/er/leaf.py": f"N = {n}\n",
        "plugin.json": f'{{"version": "{n}"}}',
        "main.py": MAIN.format(n=n),
    }


def put(shop: Workshop, n: int) -> None:
    shop.plugin("subject", version(n))


class Failures:
    """What was found at the points of one run: every point is tried, and what is the same is told once."""

    def __init__(self) -> None:
        self.tried = 0
        self._points: dict[tuple[str, str, str], list[int]] = {}

    @contextlib.contextmanager
    def trying(self, point: str, at: int, error: int | str) -> Iterator[None]:
        """Try one point; whatever is wrong with it is kept for the end."""
        self.tried += 1
        try:
            yield
        except Exception as failure:  # noqa: BLE001  # told by `assert_none`
            name = errno.errorcode[error] if isinstance(error, int) else error
            said = re.sub(r"/[^\s'\",)]*/", "", f"{type(failure).__name__}: {failure}".partition("\n")[0])
            self._points.setdefault((point, name, said[:200]), []).append(at)

    def assert_none(self) -> None:
        lines = [f"{': '.join(what)} (at {at[:5]}, {len(at)} in all)" for what, at in self._points.items()]
        assert not lines, "\n".join((f"of {self.tried} points:", *lines))


def serving(manager: PluginManager) -> Any:
    """Return what the version that serves answers, without a look at the disk."""
    return manager.module("subject", "main").run()


# -- reading ---------------------------------------------------------------------------------------

OF_THEIR_OWN = ("close", "trust")  # points that have tests of their own

ASKED: dict[str, Callable[[PluginManager], Any]] = {
    "reload": lambda manager: manager.reload("subject"),
    "execute": lambda manager: manager.execute("subject"),
}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Faults in reading; a version that was refused from outside is due for another try at once."""
    monkeypatch.setattr(refusals, "FIRST_DELAY", 0.0)
    return through_reads(monkeypatch)


def errors_at(point: str, number: int, soak: float) -> list[int | str]:
    """Return the errors to try at a point: all of them in a long run, else one after the other, point by point."""
    errors = READS[point] if point not in OF_THEIR_OWN else ()
    return list(errors) if soak > 1 or not errors else [errors[number % len(errors)]]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("files", "mode"), [*(("young", mode) for mode in MODES), ("old", "once")])
@pytest.mark.parametrize("asked", ASKED)
def test_a_read_that_fails_at_any_point(
    shop: Workshop,
    reads: Faults,
    asked: str,
    files: str,
    mode: Mode,
    soak: float,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """N15 S7 W9 W10 R31 R32: each call by which a reload reads fails once; old or new serves, then the new one."""
    if files == "old":  # their signatures are trusted: the quick look, too, can fail
        monkeypatch.setattr(looking, "RACY_NS", 0)
    manager = shop.manager(settle_max=0.02)
    put(shop, 0)
    n = manager.execute("subject")[0]

    def attempt(at: int, error: int | str) -> list[str]:
        nonlocal n
        old, n = serving(manager)[0], n + 1
        put(shop, n)
        reads.arm(at, error, mode)
        try:
            outcome = ASKED[asked](manager)
            points = list(reads.points)
            served = serving(manager)
            assert served in ([old] * 4, [n] * 4), (points[at:], outcome)
            if isinstance(outcome, Reloaded):
                assert served == [n] * 4
            if isinstance(outcome, KeptCurrent):
                assert served == [old] * 4
                slug = outcome.error.slug if outcome.error else outcome.reason
                assert slug in (GONE if error == errno.ENOENT else FROM_OUTSIDE), outcome
            if isinstance(outcome, KeptCurrent) and mode == "everything" and outcome.error is not None:
                info = manager.get_plugin_hot_info("subject")
                assert (info["state"], info["generation"]) == ("degraded", outcome.serving)
                assert f"[{outcome.error.slug}]" in info["error"]
                if at % 10 == 0:  # the answer to `why` walks the heap
                    assert manager.why("subject")["verdict"] in ("unreadable", "refused")
                assert manager.health()["status"] == "degraded"
        finally:
            reads.disarm()
        assert manager.execute("subject") == [n] * 4
        assert manager.get_plugin_hot_info("subject")["error"] is None
        return points

    sound = attempt(10**9, errno.EIO)
    assert set(sound) >= set(READS) - {"trust"}
    failures = Failures()
    for at, point in enumerate(sound):
        for error in errors_at(point, at, soak):
            with failures.trying(point, at, error):
                attempt(at, error)
    record_property("fault points", failures.tried)
    failures.assert_none()


@pytest.mark.timeout(3600)
def test_a_first_load_that_fails_at_any_point(
    shop: Workshop, reads: Faults, soak: float, record_property: Callable[[str, object], None]
) -> None:
    """N15 R31 R32: with nothing to fall back on a call raises PluginLoadError; the next one after the fault works."""
    put(shop, 0)

    def attempt(at: int, error: int | str) -> list[str]:
        manager = shop.manager(settle_max=0.02)
        reads.arm(at, error)
        try:
            with contextlib.suppress(PluginLoadError):
                assert manager.execute("subject") == [0] * 4
            points = list(reads.points)
        finally:
            reads.disarm()
        assert manager.execute("subject") == [0] * 4
        manager.close()
        return points

    sound = attempt(10**9, errno.EIO)
    failures = Failures()
    for at, point in enumerate(sound):
        for error in errors_at(point, at, soak):
            with failures.trying(point, at, error):
                attempt(at, error)
    record_property("fault points", failures.tried)
    failures.assert_none()


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", OF_THEIR_OWN)
def test_a_close_or_a_look_at_owners_that_fails(shop: Workshop, reads: Faults, kind: str, asked: str) -> None:
    """N15 S8 R31: closing a file that was read, and asking who may write it, may fail as well, and raise nothing."""
    put(shop, 0)
    manager = shop.manager(strict_permissions="on", settle_max=0.02)
    manager.load("subject")
    put(shop, 1)
    reads.arm(10**9, errno.EIO)
    ASKED[asked](manager)
    points = [at for at, point in enumerate(reads.points) if point == kind]
    assert points
    failures = Failures()
    for n, at in enumerate(points, start=2):
        for error in READS[kind]:
            put(shop, n)
            with failures.trying(kind, at, error):
                reads.arm(at, error, "its kind")
                try:
                    ASKED[asked](manager)
                    assert serving(manager) in ([n - 1] * 4, [n] * 4)
                finally:
                    reads.disarm()
            assert manager.execute("subject") == [n] * 4
    failures.assert_none()


def test_short_reads_are_put_together(shop: Workshop, reads: Faults) -> None:
    """D16 S13: a system that hands out one byte at a time serves the same bytes."""
    put(shop, 0)
    manager = shop.manager()
    manager.load("subject")
    put(shop, 1)
    reads.arm(0, "a short read", "everything")
    assert isinstance(manager.reload("subject"), Reloaded)
    assert reads.fired > sum(map(len, version(1).values())) / 2
    assert serving(manager) == [1] * 4


def test_a_plugin_dir_that_cannot_be_listed_raises_nothing_in_a_reload(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N15 R31: who names an unknown dependency is refused, also when the plugin dir can't be searched for it."""
    put(shop, 0)
    manager = shop.manager()
    manager.load("subject")
    shop.write("subject", "plugin.json", '{"depends_on": ["unknown"]}')

    class Unlistable:
        path = os.path

        def scandir(self, path: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(discovery, "os", Unlistable())
    outcome = manager.reload("subject")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    monkeypatch.undo()
    assert serving(manager) == [0] * 4
    put(shop, 1)
    assert manager.execute("subject") == [1] * 4


@pytest.mark.timeout(3600)
def test_a_directory_that_comes_and_goes(shop: Workshop, soak: float) -> None:
    """N14 N15 W9 W14: files, directories and the whole plugin vanish and come back beside calls and reloads."""
    put(shop, 0)
    manager = shop.manager(settle_max=0.01, strict_permissions="on")
    manager.load("subject")
    subject, aside = shop.plugins / "subject", shop.plugins / ".aside"
    over = threading.Event()
    answers: list[Any] = []
    outcomes: list[Any] = []

    def call() -> None:
        while not over.is_set():
            answers.append(manager.execute("subject"))
            outcomes.append(manager.reload("subject"))

    with running(call, call) as errors:
        try:
            for _ in range(int(150 * soak)):
                for path in (subject, subject / "deep", subject / "deep" / "er" / "leaf.py", subject / "main.py"):
                    os.rename(path, aside)
                    os.rename(aside, path)
        finally:
            over.set()
    assert errors == []
    assert {tuple(answer) for answer in answers} == {(0, 0, 0, 0)}
    put(shop, 1)
    assert manager.execute("subject") == [1] * 4


# -- writing ---------------------------------------------------------------------------------------


def assert_whole(state: Path) -> None:
    """Whoever reads the store finds notes that can be read, and every copy that they name is good."""
    looking = DiskStore(state, 5, writes=False)
    for kept in looking.notes("subject").versions:
        assert looking.read("subject", kept).digest == kept.digest
    for name in ("notes.json", "state.json"):
        for path in state.rglob(name):
            assert path.stat().st_size > 0


def assert_tidy(state: Path) -> None:
    """Nothing lies in the store that no note names."""
    versions = state / "plugins" / "subject" / "versions"
    named = {kept.directory for kept in DiskStore(state, 5, writes=False).notes("subject").versions}
    assert set(os.listdir(versions)) == named
    assert [path.name for path in state.rglob(".*.new")] == []


def struck(shop: Workshop, state: Path, writes: Faults, at: int, error: int, mode: Mode, *, fresh: bool) -> list[str]:
    """Let one write of one reload fail, and make sure of the promises; return the points that there were."""
    put(shop, 1)
    manager = shop.manager(state_dir=state, keep_versions=2)
    if not fresh:
        for n in (1, 2):
            put(shop, n)
            assert manager.execute("subject") == [n] * 4
    put(shop, 3)
    writes.arm(at, error, mode)
    try:
        outcome = manager.reload("subject")
        points = list(writes.points)
        assert isinstance(outcome, Reloaded), outcome
        health = manager.health()
        if [kept["version"] for kept in manager.kept_versions("subject")][:1] != ["3"]:
            assert health["status"] == "degraded", "health does not tell"
            assert any(os.strerror(error) in reason for reason in health["reasons"])
        assert_whole(state)
    finally:
        writes.disarm()
    assert serving(manager) == [3] * 4
    put(shop, 4)
    assert manager.execute("subject") == [4] * 4
    assert manager.health()["status"] == "ok"
    assert manager.kept_versions("subject")[0]["version"] == "4"
    assert manager.history("subject")[-1]["version"] == "4"
    assert_whole(state)
    assert_tidy(state)
    older = manager.kept_versions("subject")[1:]
    if older:
        assert isinstance(manager.rollback("subject"), Reloaded)
        assert serving(manager) == [int(older[0]["version"])] * 4
    return points


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["once", "everything"])
@pytest.mark.parametrize("store", ["a new store", "an old store"])
def test_a_write_that_fails_at_any_point(
    shop: Workshop,
    tmp_path: Path,
    store: str,
    mode: Mode,
    soak: float,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """N15 R28 R39: the store's disk fails wherever it writes: the reload succeeds, health tells, the store is whole."""
    state, fresh = tmp_path / "state", store == "a new store"
    writes = through_writes(monkeypatch, state)
    sound = struck(shop, state, writes, 10**9, errno.EIO, "once", fresh=fresh)
    shop.close()
    shutil.rmtree(state)
    assert set(sound) >= {"open", "write", "fsync", "replace", "makedirs", "chmod", "rename", "lock"}
    failures = Failures()
    for at, point in enumerate(sound):
        for error in WRITES if soak > 1 else [WRITES[at % len(WRITES)]]:
            with failures.trying(point, at, error):
                struck(shop, state, writes, at, error, mode, fresh=fresh)
            shop.close()
            shutil.rmtree(state, ignore_errors=True)
    record_property("fault points", failures.tried)
    failures.assert_none()


def test_health_tells_of_a_history_that_cannot_be_written(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N15: while what happened can't be written down the state directory is called unusable; then it is written."""
    put(shop, 1)
    manager = shop.manager(state_dir=tmp_path / "state")
    manager.load("subject")
    writes = through_writes(monkeypatch, tmp_path / "state")
    history = manager.history("subject")
    put(shop, 2)
    writes.arm(10**9, errno.ENOSPC)
    manager.reload("subject")
    last = len(writes.points) - 1 - writes.points[::-1].index("open")  # the history comes last
    put(shop, 3)
    writes.arm(last, errno.ENOSPC, "everything")
    assert isinstance(manager.reload("subject"), Reloaded)
    assert manager.health()["status"] == "degraded"
    assert len(manager.history("subject")) == len(history) + 1, "the history was not hit"
    writes.disarm()
    assert manager.health()["status"] == "ok"
    assert [record["version"] for record in manager.history("subject")][-2:] == ["2", "3"]


def test_what_tells_others_to_leave_the_store_alone_is_completed(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N15 R39: a tag or an ignore file that could only be written to its half is whole once there is room."""
    state = tmp_path / "state"
    writes = through_writes(monkeypatch, state)
    for at in range(3):  # the directory, .gitignore, CACHEDIR.TAG
        writes.arm(at, errno.ENOSPC, "everything")
        put(shop, at)
        manager = shop.manager(state_dir=state)
        assert manager.execute("subject") == [at] * 4
        writes.disarm()
        put(shop, at + 10)
        assert manager.execute("subject") == [at + 10] * 4
        assert manager.health()["status"] == "ok"
        assert (state / ".gitignore").read_text() == "*\n"
        assert (state / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
        manager.close()
        shutil.rmtree(state)


def test_looking_at_kept_versions_does_not_make_a_failed_store_well(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N15: health tells that a version could not be kept as long as that is so, whoever reads meanwhile."""
    put(shop, 1)
    manager = shop.manager(state_dir=tmp_path / "state")
    manager.load("subject")
    writes = through_writes(monkeypatch, tmp_path / "state")
    put(shop, 2)
    writes.arm(0, errno.ENOSPC, "everything")
    assert isinstance(manager.reload("subject"), Reloaded)
    assert [kept["version"] for kept in manager.kept_versions("subject")] == ["1"]
    manager.history("subject")
    assert manager.health()["status"] == "degraded"
    writes.disarm()


# -- real disks ------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(place: Path, *how: str) -> Iterator[Path]:
    """Mount something at `place` for the length of a block; skips where that can't be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs Linux and root")
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *how, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(how)}: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def small_disk(place: Path, size: str = "256k") -> Iterator[Path]:
    with mounted(place, "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs") as disk:
        yield disk


def fill(disk: Path, but: int = 0) -> Path:
    """Fill a disk until `but` bytes are free; return the file that does it."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with open(filler, "wb") as file:
        file.write(b"\0" * max(0, room.f_bavail * room.f_frsize - but))
    return filler


@pytest.fixture
def state_disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk for the state."""
    with small_disk(tmp_path / "state_disk") as disk:
        yield disk


def test_a_full_state_disk_hurts_no_reload(shop: Workshop, state_disk: Path) -> None:
    """N15 R28 R39: with any number of pages left the reload succeeds, health tells, the store is whole and mends."""
    degraded = 0
    for pages in range(14):
        state = state_disk / "state"
        put(shop, 1)
        manager = shop.manager(state_dir=state)
        manager.load("subject")
        filler = fill(state_disk, pages * os.sysconf("SC_PAGE_SIZE"))
        put(shop, 2)
        assert isinstance(manager.reload("subject"), Reloaded)
        assert serving(manager) == [2] * 4
        assert_whole(state)
        kept = [kept["version"] for kept in manager.kept_versions("subject")]
        assert kept in (["1"], ["2", "1"])
        degraded += kept == ["1"]
        filler.unlink()
        put(shop, 3)
        assert isinstance(manager.reload("subject"), Reloaded)
        assert manager.health()["status"] == "ok"
        assert_whole(state)
        assert_tidy(state)
        assert [kept["version"] for kept in manager.kept_versions("subject")] == ["3", *kept]
        assert isinstance(manager.rollback("subject"), Reloaded)
        assert serving(manager) == [int(kept[0])] * 4
        manager.close()
        shutil.rmtree(state)
    assert 2 <= degraded < 14, "the disk was never full, or always"


def test_a_disk_that_is_full_from_the_beginning(shop: Workshop, state_disk: Path) -> None:
    """N15 R28: a store that can't even be begun hurts nothing, and is begun, whole, when there is room."""
    for pages in range(8):
        state = state_disk / "state"
        filler = fill(state_disk, pages * os.sysconf("SC_PAGE_SIZE"))
        put(shop, 1)
        manager = shop.manager(state_dir=state)
        assert manager.execute("subject") == [1] * 4
        status = manager.health()["status"]
        assert status == ("ok" if manager.kept_versions("subject") else "degraded")
        filler.unlink()
        put(shop, 2)
        assert manager.execute("subject") == [2] * 4
        assert manager.health()["status"] == "ok"
        assert_whole(state)
        assert_tidy(state)
        manager.close()
        shutil.rmtree(state)


def test_a_rollback_in_memory_without_room_for_its_copy(
    shop: Workshop, state_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N15 R39: without a state_dir a rollback writes a copy; when it can't, the current version serves on."""
    monkeypatch.setattr(tempfile, "tempdir", str(state_disk))
    code = "from pathlib import Path\ndef run():\n    return Path(__file__).with_name('data.txt').read_text()\n"
    shop.plugin("subject", {"main.py": code, "data.txt": "1" * 20_000})
    manager = shop.manager()
    assert manager.execute("subject") == "1" * 20_000
    shop.plugin("subject", {"data.txt": "2", "main.py": f"{code}# 2\n"})
    assert manager.execute("subject") == "2"
    filler = fill(state_disk, 2 * os.sysconf("SC_PAGE_SIZE"))
    assert isinstance(manager.rollback("subject"), KeptCurrent)
    assert serving(manager) == "2"
    filler.unlink()
    assert isinstance(manager.rollback("subject"), Reloaded)
    assert serving(manager) == "1" * 20_000, "the half copy of the first attempt is used"


def write_in_place(path: Path, data: bytes) -> None:
    """Write as much as there is room for, as programs do that don't write beside and rename."""
    with open(path, "wb", buffering=0) as file:
        while data:
            data = data[file.write(data) :]


def test_a_deployment_to_a_full_disk_is_not_served_half(shop: Workshop, tmp_path: Path) -> None:
    """N15 F01 D07 W15: a file that could only be written to its half is refused; the rest of it is enough to go on."""
    page = os.sysconf("SC_PAGE_SIZE")
    padding = "# " + "x" * 70 + "\n"

    def main(n: int) -> bytes:
        return f"N = {n}\n{padding * (4 * page // len(padding))}def run():\n    return N\n".encode()

    with small_disk(shop.plugins):
        subject = shop.plugins / "subject"
        subject.mkdir()
        (subject / "main.py").write_bytes(main(0))
        manager = shop.manager()
        assert manager.execute("subject") == 0
        for n in range(1, 5):
            (subject / "main.py").write_bytes(b"")
            filler = fill(shop.plugins, (n - 1) * page)
            with pytest.raises(OSError, match="No space left"):
                write_in_place(subject / "main.py", main(n))
            assert isinstance(manager.reload("subject"), KeptCurrent)
            assert manager.execute("subject") == n - 1
            filler.unlink()
            (subject / "main.py").write_bytes(main(n))
            assert manager.execute("subject") == n


@contextlib.contextmanager
def overlay(shop: Workshop) -> Iterator[Path]:
    """An overlay whose lower layer holds version 0; every edit is a copy on another layer."""
    layers = shop.root / "layers"
    layers.mkdir()
    with small_disk(layers, "4m"):
        put(shop, 0)
        shutil.move(shop.plugins / "subject", layers / "lower" / "subject")
        for name in ("upper", "work"):
            (layers / name).mkdir()
        options = ",".join(f"{name}dir={layers / name}" for name in ("lower", "upper", "work"))
        with mounted(shop.plugins, "-t", "overlay", "-o", options, "overlay") as place:
            yield place


@contextlib.contextmanager
def bind(shop: Workshop) -> Iterator[Path]:
    """A directory that is mounted at a second place; edits are made at the first."""
    (shop.root / "real").mkdir()
    with mounted(shop.plugins, "--bind", str(shop.root / "real")) as place:
        yield place


DISKS: dict[str, Callable[[Workshop], contextlib.AbstractContextManager[Path]]] = {
    "tmpfs": lambda shop: small_disk(shop.plugins, "4m"),
    "overlay": overlay,
    "bind mount": bind,
}


@pytest.mark.parametrize("disk", DISKS)
def test_the_promises_hold_on_another_kind_of_disk(shop: Workshop, disk: str) -> None:
    """D01-D06 D09 D13 F01 F08 R37 W20: edits, rollbacks, swaps and a watcher on tmpfs, an overlay and a bind mount."""
    with DISKS[disk](shop):
        put(shop, 0)
        subject = shop.plugins / "subject"
        manager = shop.manager(state_dir=shop.root / "state", settle_max=0.1)
        assert manager.execute("subject") == [0] * 4
        for n in range(1, 6):  # the same size, within the same tick
            put(shop, n)
            assert manager.execute("subject") == [n] * 4
        for path in (subject / "main.py", subject / "deep", subject):
            times = path.stat()
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert not manager.get_plugin_hot_info("subject")["has_updates"]
        assert isinstance(manager.rollback("subject"), Reloaded)
        assert serving(manager) == [4] * 4
        assert manager.execute("subject") == [4] * 4
        assert isinstance(manager.end_rollback("subject"), Reloaded)
        assert manager.execute("subject") == [5] * 4

        shop.write("subject", "main.py", "def run(:\n")
        assert isinstance(manager.reload("subject"), KeptCurrent)
        assert manager.execute("subject") == [5] * 4
        put(shop, 5)
        assert manager.execute("subject") == [5] * 4
        assert manager.get_plugin_hot_info("subject")["state"] == "serving"

        (subject / "deep" / "er" / "leaf.py").unlink()
        assert isinstance(manager.reload("subject"), KeptCurrent)
        assert manager.execute("subject") == [5] * 4
        put(shop, 6)
        assert manager.execute("subject") == [6] * 4

        shutil.copytree(subject, shop.plugins / ".beside")  # a new directory in the place of the old one
        (shop.plugins / ".beside" / "helper.py").write_text("N = 7\n")
        shutil.rmtree(subject)
        os.rename(shop.plugins / ".beside", subject)
        assert manager.execute("subject") == [6, 7, 6, 6]

        manager.start_watching()
        put(shop, 8)
        eventually(lambda: manager.get_plugin_hot_info("subject")["version"] == "8", "a reload by the watcher")
        assert serving(manager) == [8] * 4
        manager.close()
