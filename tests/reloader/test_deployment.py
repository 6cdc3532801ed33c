"""Deployments: the plugin's directory is the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hotplug import UsageError
from pytest_hotplug.reloader import deployment
from pytest_hotplug.reloader.deployment import Deployed, deploy, remove
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.exchange import exchange
from pytest_hotplug.reloader.settings import Layout
from tests.reloader.workshop import PATIENCE, Workshop, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no system call exchanges directories there")

ONE, TWO = "def run():\n    return 1\n", "def run():\n    return 2\n"


def good(staged: Path) -> None:
    """Find nothing wrong."""
    assert (staged / "main.py").is_file()


def put(shop: Workshop, source: Path, check: Callable[[Path], None] = good, dry_run: bool = False) -> Deployed:
    """Deploy a directory as the plugin `subject`."""
    found = Found("subject", shop.plugins / "subject", Layout(shop.plugins, shop.package))
    return deploy(found, source, lock=shop.root / "state" / "lock", check=check, dry_run=dry_run)


@pytest.fixture
def release(shop: Workshop) -> Path:
    """Give a directory with version 2, and version 1 in place."""
    shop.plugin("subject", {"main.py": ONE, "old.py": "", "data.txt": "one"})
    release = shop.root / "release"
    release.mkdir()
    (release / "main.py").write_text(TWO)
    (release / "data.txt").write_text("two")
    return release


def files(shop: Workshop) -> list[str]:
    """Return everything in the plugin dir."""
    return sorted(path.relative_to(shop.plugins).as_posix() for path in shop.plugins.rglob("*"))


def test_a_deployment_replaces_the_whole_directory(shop: Workshop, release: Path) -> None:
    """D08: a running manager sees the old version, then the new one; nothing is left of either but the new one."""
    manager = shop.manager()
    assert manager.execute("subject") == 1
    before = manager.load("subject").digest
    told = put(shop, release)
    assert manager.execute("subject") == 2
    assert (told.before, told.digest, told.changed) == (before, manager.load("subject").digest, True)
    assert files(shop) == ["subject", "subject/data.txt", "subject/main.py"]
    assert not put(shop, release).changed


def test_a_new_plugin_is_put_in_place(shop: Workshop, release: Path) -> None:
    """N14: what was not there before is there at once, whole."""
    shutil.rmtree(shop.plugins / "subject")
    assert put(shop, release).before == ""
    assert shop.manager().execute("subject") == 2


def test_what_differs_in_data_alone_is_deployed_as_well(shop: Workshop, release: Path) -> None:
    """A template that changed is part of the release, although no reload follows from it."""
    first = put(shop, release)
    (release / "data.txt").write_text("three")
    told = put(shop, release)
    assert (told.before, told.digest, told.changed) == (first.digest, first.digest, True)
    assert (shop.plugins / "subject" / "data.txt").read_text() == "three"


def test_what_can_not_be_read_can_be_replaced(shop: Workshop, release: Path) -> None:
    """A broken version, here with a link that leads out, does not stand in the way of the one that mends it."""
    (shop.plugins / "subject" / "out.py").symlink_to(release / "main.py")
    assert put(shop, release).before == ""
    assert shop.manager().execute("subject") == 2


@pytest.mark.parametrize("step", ["check", "copy", "exchange"])
def test_a_deployment_that_fails_changes_nothing(
    shop: Workshop, release: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F03 R37: whatever step fails, the old directory is as it was and nothing lies beside it."""
    before = files(shop)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "copy":
        monkeypatch.setattr(shutil, "copytree", fail)
    elif step == "exchange":
        monkeypatch.setattr(deployment, "exchange", fail)
    with pytest.raises(OSError, match="No space"):
        put(shop, release, check=fail if step == "check" else good)
    assert files(shop) == before
    assert shop.manager().execute("subject") == 1


def test_a_dry_run_changes_nothing(shop: Workshop, release: Path) -> None:
    """It says what would become of it."""
    before = files(shop)
    assert put(shop, release, dry_run=True).changed
    assert files(shop) == before


def test_a_second_deployment_is_told_of_the_first(shop: Workshop, release: Path) -> None:
    """Two at once never mix: the second one ends with a clear message, and works afterwards."""
    checking, go_on = threading.Event(), threading.Event()

    def slow(staged: Path) -> None:
        checking.set()
        assert go_on.wait(PATIENCE)

    with running(lambda: put(shop, release, check=slow)) as errors:
        assert checking.wait(PATIENCE)
        with pytest.raises(UsageError, match="deploy-running"):
            put(shop, release)
        go_on.set()
    assert errors == []
    assert not put(shop, release).changed


def test_a_plugin_that_is_a_link_becomes_a_directory(shop: Workshop, release: Path) -> None:
    """D13: the release that it linked to is left alone."""
    linked = shop.root / "linked"
    os.rename(shop.plugins / "subject", linked)
    (shop.plugins / "subject").symlink_to(linked)
    put(shop, release)
    assert (linked / "old.py").exists()
    assert files(shop) == ["subject", "subject/data.txt", "subject/main.py"]


def test_a_plugin_can_be_removed(shop: Workshop, release: Path) -> None:
    """It vanishes in one step; a manager that serves it goes on from memory."""
    manager = shop.manager()
    manager.execute("subject")
    remove(Found("subject", shop.plugins / "subject", Layout(shop.plugins, shop.package)), lock=shop.root / "lock")
    assert files(shop) == []
    assert manager.execute("subject") == 1


def test_where_no_exchange_is_possible_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without the call refuses, and tells of the way by links."""
    monkeypatch.setattr("pytest_hotplug.reloader.exchange._swapper", lambda: None)
    with pytest.raises(UsageError, match=r"link.*\[no-exchange\]"):
        exchange(tmp_path, tmp_path)


KILLED = """
import sys
from pathlib import Path
from pytest_hotplug.reloader.deployment import deploy
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.settings import Layout
root = Path(sys.argv[1])
found = Found("subject", root / "plugins" / "subject", Layout(root / "plugins", "plugins"))
print("ready", flush=True)
while True:
    for number in (1, 2):
        deploy(found, root / f"release{number}", lock=root / "lock", check=lambda staged: None)
"""


def test_killed_at_any_point_the_directory_is_whole(tmp_path: Path) -> None:
    """SIGKILL in the middle of deployments: the directory is one of the two versions, with all of its files."""
    for number in (1, 2):
        release = tmp_path / f"release{number}"
        release.mkdir()
        for name in ("main.py", *(f"m{n}.py" for n in range(30))):
            (release / name).write_text(f"N = {number}\n")
    shutil.copytree(tmp_path / "release1", tmp_path / "plugins" / "subject")
    for attempt in range(15):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            child.wait(0.003 * attempt)
        except subprocess.TimeoutExpired:
            child.kill()
        assert child.wait() == -9
        child.stdout.close()
        contents = [path.read_text() for path in sorted((tmp_path / "plugins" / "subject").iterdir())]
        assert len(contents) == 31
        assert len(set(contents)) == 1
    found = Found("subject", tmp_path / "plugins" / "subject", Layout(tmp_path / "plugins", "plugins"))
    deploy(found, tmp_path / "release1", lock=tmp_path / "lock", check=good)
    assert [path.name for path in (tmp_path / "plugins").iterdir()] == ["subject"], "nothing is left behind"
