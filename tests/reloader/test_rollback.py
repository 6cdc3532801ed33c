"""Going back: kept versions, rollbacks that last, pauses that last, and what a restart finds."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import (
    KeptCurrent,
    PluginDisabled,
    PluginLoadError,
    PluginManager,
    Reloaded,
    Unchanged,
    UnknownPlugin,
    UsageError,
)
from pytest_hotplug.reloader.errors import PluginFault
from pytest_hotplug.reloader.store import DiskStore
from tests.reloader.workshop import Workshop

BROKEN = "def run(:\n"
RUNS: list[int] = []  # what plugins write down that tell how often they ran


def version(number: int) -> dict[str, str]:
    """Return the files of a plugin whose code and data tell its version."""
    return {
        "main.py": "from importlib.resources import files\n\n"
        f"def run():\n    return {number}, files(__package__).joinpath('data.txt').read_text()\n",
        "data.txt": f"data of {number}",
        "plugin.json": json.dumps({"name": "shop", "version": f"{number}.0"}),
    }


def put(shop: Workshop, number: int) -> None:
    """Write a version of the plugin, the entry module last."""
    for file, text in reversed(version(number).items()):
        shop.write("shop", file, text)


@pytest.fixture(params=["in memory", "on disk"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Give the settings of a manager that keeps versions either way."""
    return {} if request.param == "in memory" else {"state_dir": tmp_path / "state"}


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Any]:
    """Give the settings of a manager whose state outlives it."""
    return {"state_dir": tmp_path / "state"}


def served(shop: Workshop, settings: dict[str, Any], *numbers: int) -> PluginManager:
    """Serve these versions one after the other."""
    manager = shop.manager(**settings)
    for number in numbers:
        put(shop, number)
        assert manager.execute("shop") == (number, f"data of {number}")
    return manager


def again(shop: Workshop, manager: PluginManager, settings: dict[str, Any]) -> PluginManager:
    """Restart: close the manager and make another one over the same directories."""
    manager.close()
    return shop.manager(**settings)


def test_a_rollback_serves_the_version_before_with_its_data(shop: Workshop, state: dict[str, Any]) -> None:
    """R37 R39: going back is one call: old code, old data files, and it says so."""
    manager = served(shop, state, 1, 2)
    outcome = manager.rollback("shop")
    assert isinstance(outcome, Reloaded)
    assert manager.execute("shop") == (1, "data of 1")
    info = manager.get_plugin_hot_info("shop")
    assert (info["version"], info["state"], info["has_updates"]) == ("1.0", "rolled-back", False)


def test_going_back_twice_goes_back_two_versions(shop: Workshop, state: dict[str, Any]) -> None:
    """A second rollback goes further back, a third finds nothing older and says so."""
    manager = served(shop, state, 1, 2, 3)
    assert isinstance(manager.rollback("shop"), Reloaded)
    assert isinstance(manager.rollback("shop"), Reloaded)
    assert manager.execute("shop")[0] == 1
    last = manager.rollback("shop")
    assert isinstance(last, KeptCurrent)
    assert last.reason == "nothing-kept"
    assert manager.execute("shop")[0] == 1


def test_what_was_rolled_back_from_is_not_loaded_by_who_read_it_before_the_edit_that_ended_the_rollback(
    shop: Workshop,
) -> None:
    """One thread has read the old files, another sees the new ones and ends the rollback: the first looks again."""
    manager = served(shop, {"debounce": 0}, 1, 2)
    manager.rollback("shop")
    slot, checker = manager._registry.slots["shop"], manager._hot_loader.checker
    slot.seen = None
    old = checker.look_again(slot)
    put(shop, 3)
    slot.pin = None  # by the other thread
    settled = checker.settled(slot)
    assert old is not None
    assert settled.digest != old.digest
    assert manager.execute("shop")[0] == 3


def test_a_rollback_lasts_until_the_files_change(shop: Workshop, state: dict[str, Any]) -> None:
    """The version that was rolled back from lies on disk and is not loaded again; a new one is."""
    manager = served(shop, state, 1, 2)
    manager.rollback("shop")
    (shop.plugins / "shop" / "main.py").touch()
    assert manager.execute("shop")[0] == 1
    assert isinstance(manager.reload("shop"), Unchanged)
    assert manager.force_reload_plugin("shop"), "a forced reload loads the pinned version anew"
    assert manager.execute("shop")[0] == 1
    put(shop, 3)
    assert manager.execute("shop") == (3, "data of 3")
    assert manager.get_plugin_hot_info("shop")["state"] == "serving"


def test_a_broken_version_ends_the_rollback_without_serving(shop: Workshop, state: dict[str, Any]) -> None:
    """F08: after a rollback a broken edit is refused, and putting the newer version back serves that."""
    manager = served(shop, state, 1, 2)
    manager.rollback("shop")
    shop.write("shop", "main.py", BROKEN)
    assert manager.execute("shop")[0] == 1
    assert manager.get_plugin_hot_info("shop")["state"] == "degraded"
    put(shop, 2)
    assert manager.execute("shop")[0] == 2


def test_a_rollback_can_be_ended(shop: Workshop, state: dict[str, Any]) -> None:
    """`end_rollback` loads what is on disk; so does a rollback to the very version that lies there."""
    manager = served(shop, state, 1, 2)
    newest = manager.get_plugin_hot_info("shop")["digest"]
    manager.rollback("shop")
    assert isinstance(manager.end_rollback("shop"), Reloaded)
    assert manager.execute("shop")[0] == 2
    manager.rollback("shop")
    assert isinstance(manager.rollback("shop", to=newest), Reloaded)
    assert manager.get_plugin_hot_info("shop")["state"] == "serving"
    assert isinstance(manager.end_rollback("shop"), Unchanged)


def test_a_version_is_named_by_its_digest(shop: Workshop, state: dict[str, Any]) -> None:
    """A prefix of seven digits is enough; one that names nothing is told what is kept."""
    manager = served(shop, state, 1, 2, 3)
    oldest = manager.kept_versions("shop")[-1]
    assert isinstance(manager.rollback("shop", to=oldest["digest"][:7]), Reloaded)
    assert manager.execute("shop")[0] == 1
    with pytest.raises(UsageError, match=rf"{oldest['digest'][:12]} \(1.0\).*\[unknown-version\]"):
        manager.rollback("shop", to="0" * 32)
    with pytest.raises(UsageError, match="at least 7"):
        manager.rollback("shop", to=oldest["digest"][:6])


def test_only_so_many_versions_are_kept(shop: Workshop, tmp_path: Path) -> None:
    """R28: `keep_versions` bounds what is kept, on disk too."""
    manager = served(shop, {"state_dir": tmp_path / "state", "keep_versions": 2}, 1, 2, 3, 4)
    assert [v["version"] for v in manager.kept_versions("shop")] == ["4.0", "3.0"]
    copies = list((tmp_path / "state" / "plugins" / "shop" / "versions").iterdir())
    assert len(copies) == 2
    assert all((copy / "data.txt").is_file() for copy in copies), "every regular file is kept"


def test_a_version_that_is_dropped_while_it_is_chosen_is_told_as_a_fault(shop: Workshop) -> None:
    """A rollback that comes too late for a version in memory is refused in words, as it is on disk."""
    manager = served(shop, {"keep_versions": 2}, 1, 2)
    store = manager._recorder.store
    oldest = store.notes("shop").versions[-1]
    put(shop, 3)
    manager.execute("shop")
    with pytest.raises(PluginFault, match="kept-version-damaged"):
        store.read("shop", oldest)


def test_a_rolled_back_version_lies_in_its_copy(shop: Workshop, state: dict[str, Any]) -> None:
    """Its `__file__` and `__path__` point to the copy, so that what it opens beside itself is of its own version."""
    put(shop, 1)
    shop.write(
        "shop",
        "main.py",
        "from pathlib import Path\ndef run():\n    return Path(__file__).with_name('data.txt').read_text()\n",
    )
    manager = shop.manager(**state)
    assert manager.execute("shop") == "data of 1"
    put(shop, 2)
    assert manager.execute("shop") == (2, "data of 2")
    manager.rollback("shop")
    assert manager.execute("shop") == "data of 1"


def test_a_rollback_hands_state_over_like_an_upgrade(shop: Workshop, state: dict[str, Any]) -> None:
    """A downgrade is a reload: `load_state` of the old version gets what the newer one saved."""
    code = (
        "STATE = ['fresh']\ndef run():\n    return {n}, STATE[0]\n"
        "def save_state():\n    return 'from {n}'\ndef load_state(state, version):\n    STATE[0] = state\n"
    )
    shop.plugin("shop", code.format(n=1))
    manager = shop.manager(**state)
    manager.execute("shop")
    shop.write("shop", "main.py", code.format(n=2))
    assert manager.execute("shop") == (2, "from 1")
    manager.rollback("shop")
    assert manager.execute("shop") == (1, "from 2")


def test_dependents_go_back_together(shop: Workshop, state: dict[str, Any]) -> None:
    """L05: what uses the plugin is served with the older version in the same moment."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**state)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", "VALUE = 2\ndef run():\n    return VALUE\n")
    assert manager.execute("user") == 2
    outcome = manager.rollback("base")
    assert outcome.also == ("user",)
    assert manager.execute("user") == 1
    shop.write("user", "main.py", "from ..base import main\ndef run():\n    return main.VALUE * 10\n")
    assert manager.execute("user") == 10
    assert manager.get_plugin_hot_info("base")["state"] == "rolled-back"


def test_a_call_in_flight_survives_a_rollback(shop: Workshop, state: dict[str, Any]) -> None:
    """R29: running calls end on the version that they began with."""
    shop.plugin("shop", "def run():\n    yield 1\n    from . import late\n    yield late.V\n")
    shop.write("shop", "late.py", "V = 'late 1'\n")
    manager = shop.manager(**state)
    list(manager.execute("shop"))
    shop.write("shop", "late.py", "V = 'late 2'\n")
    running = manager.execute("shop")
    assert next(running) == 1
    manager.rollback("shop")
    assert next(running) == "late 2"
    assert list(manager.execute("shop")) == [1, "late 1"]


def test_a_rollback_survives_a_restart(shop: Workshop, kept: dict[str, Any]) -> None:
    """The worker comes back with the version it was rolled back to, until the files change."""
    manager = served(shop, kept, 1, 2)
    manager.rollback("shop")
    manager = again(shop, manager, kept)
    assert manager.execute("shop") == (1, "data of 1")
    assert manager.get_plugin_hot_info("shop")["state"] == "rolled-back"
    put(shop, 3)
    assert manager.execute("shop")[0] == 3
    manager = again(shop, manager, kept)
    assert manager.execute("shop")[0] == 3


def test_a_change_during_the_standstill_ends_a_rollback(shop: Workshop, kept: dict[str, Any]) -> None:
    """What was deployed while no worker ran is served at the next start."""
    manager = served(shop, kept, 1, 2)
    manager.rollback("shop")
    manager.close()
    put(shop, 3)
    manager = shop.manager(**kept)
    assert manager.execute("shop")[0] == 3


def test_a_restart_over_a_broken_version_serves_the_last_good_one(shop: Workshop, kept: dict[str, Any]) -> None:
    """R31: a worker that starts while the plugin on disk is broken serves what served before, degraded."""
    manager = served(shop, kept, 1, 2)
    shop.write("shop", "main.py", BROKEN)
    assert manager.execute("shop")[0] == 2
    manager = again(shop, manager, kept)
    assert manager.execute("shop") == (2, "data of 2")
    info = manager.get_plugin_hot_info("shop")
    assert info["state"] == "degraded"
    assert "syntax-error" in info["error"]
    put(shop, 3)
    assert manager.execute("shop")[0] == 3


def test_a_broken_dependency_comes_back_from_its_copy(shop: Workshop, kept: dict[str, Any]) -> None:
    """N12 R31: after a restart a user of a broken plugin runs with that one's last good version."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", BROKEN)
    manager = again(shop, manager, kept)
    assert manager.execute("user") == 1


def hinder(shop: Workshop, slug: str) -> None:
    """Let what lies on disk be refused, for this reason."""
    place = shop.plugins / "shop"
    if slug == "not-a-file":
        os.mkfifo(place / "pipe.py")
    elif slug == "plugin-too-large":
        os.truncate(shop.write("shop", "big.json", ""), 2**25)
    elif slug == "escaping-link":
        (place / "x.json").symlink_to("/etc/passwd")
    elif slug == "extension-module":
        shop.write("shop", "x.so", "")
    elif slug == "untrusted":
        (place / "main.py").chmod(0o666)
    else:
        sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in place.iterdir()}
        lock = "".join(f"{sum_}  shop/{name}\n" for name, sum_ in sums.items())
        (shop.plugins / "plugins.lock").write_text(lock)
        shop.write("shop", "main.py", "").chmod(0o644)


def mend(shop: Workshop, slug: str) -> None:
    """Take away what `hinder` put there."""
    place = shop.plugins / "shop"
    added = {"not-a-file": "pipe.py", "plugin-too-large": "big.json", "escaping-link": "x.json"}
    if slug == "untrusted":
        (place / "main.py").chmod(0o644)
    elif slug == "not-locked":
        (shop.plugins / "plugins.lock").unlink()
        put(shop, 1)
    else:
        (place / added.get(slug, "x.so")).unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and modes are POSIX")
@pytest.mark.parametrize(
    "slug", ["not-a-file", "plugin-too-large", "escaping-link", "extension-module", "untrusted", "not-locked"]
)
def test_a_restart_serves_the_last_good_version_whatever_refuses_the_one_on_disk(
    shop: Workshop, kept: dict[str, Any], slug: str
) -> None:
    """R31: not only broken code: how its files lie there, too, leaves the version that served last serving."""
    put(shop, 1)
    (shop.plugins / "shop").chmod(0o755)
    for file in (shop.plugins / "shop").iterdir():
        file.chmod(0o644)
    kept["strict_permissions"] = "on"
    manager = shop.manager(**kept)
    assert manager.execute("shop")[0] == 1
    hinder(shop, slug)
    manager = again(shop, manager, kept)
    for _ in range(2):
        assert manager.execute("shop") == (1, "data of 1")
        assert [record["slug"] for record in manager.history("shop") if record["kind"] == "refused"] == [slug]
        info = manager.get_plugin_hot_info("shop")
        assert info["state"] == "degraded"
        assert f"[{slug}]" in info["error"]
        health = manager.health()
        assert (health["status"], health["plugins"]) == ("degraded", {"shop": "degraded"})
        assert manager.why("shop")["verdict"] == "refused"
    mend(shop, slug)
    assert manager.execute("shop") == (1, "data of 1")
    assert (manager.get_plugin_hot_info("shop")["state"], manager.health()["status"]) == ("serving", "ok")


def test_a_broken_dependency_whose_copy_fails_too_is_told_as_a_fault(
    shop: Workshop, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R31: where neither the version on disk nor the last good one loads, a PluginLoadError says why."""
    monkeypatch.setenv("HOTPLUG_TEST_NUMBER", "1")
    shop.plugin("base", "import os\nVALUE = os.environ['HOTPLUG_TEST_NUMBER']\ndef run(): pass\n")
    shop.plugin("user", "from ..base import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == "1"
    shop.write("base", "main.py", BROKEN)
    monkeypatch.delenv("HOTPLUG_TEST_NUMBER")
    manager = again(shop, manager, kept)
    for _ in range(2):
        with pytest.raises(PluginLoadError, match="syntax-error"):
            manager.execute("user")


def test_a_copy_that_fails_is_tried_again_when_something_changes_not_by_each_call(
    shop: Workshop, kept: dict[str, Any]
) -> None:
    """R31: calls alone execute nothing twice; once what the old version lacks is there, it serves."""
    runs = f"from {__name__} import RUNS\nRUNS.append(1)\n"
    value = "VALUE = {}\ndef run(): pass\n"
    RUNS.clear()
    shop.plugin("base", value.format(1))
    shop.plugin("user", runs + "from ..base.main import VALUE\ndef run():\n    return VALUE\n")
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    manager.close()
    shop.write("base", "main.py", "def run(): pass\n")
    shop.write("user", "main.py", BROKEN)
    manager = shop.manager(**kept)
    manager.load("base")
    RUNS.clear()
    for _ in range(3):
        with pytest.raises(PluginLoadError, match="syntax-error"):
            manager.execute("user")
    assert len(RUNS) == 1
    shop.write("base", "main.py", value.format(3))
    assert manager.execute("user") == 3


def test_copies_that_need_each_other_come_back_together(shop: Workshop, kept: dict[str, Any]) -> None:
    """R31: where a plugin and what it needs are both broken on disk, the last good versions of both serve."""
    shop.plugin("base", "VALUE = 1\ndef run(): pass\n")
    shop.plugin("middle", "from ..base.main import VALUE\ndef run(): pass\n", {"depends_on": ["base"]})
    shop.plugin("user", "from ..middle import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["middle"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    for name in ("base", "middle"):
        shop.write(name, "main.py", BROKEN)
    manager = again(shop, manager, kept)
    assert manager.execute("user") == 1


def test_a_new_version_that_needs_a_broken_plugin_leaves_the_last_good_one_serving(
    shop: Workshop, kept: dict[str, Any]
) -> None:
    """R31: new code wants another plugin that is broken and whose last good version needs this one: as before it is."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", "VALUE = 2\nfrom ..user import main\ndef run():\n    return VALUE\n")
    shop.write("user", "main.py", BROKEN)
    manager = again(shop, manager, kept)
    assert manager.execute("base") == manager.execute("user") == 1


@pytest.mark.parametrize(
    "new", ["from ..user import main\nVALUE = 2\ndef run(): pass\n", "def run(): pass\n"], ids=["circle", "no name"]
)
def test_a_new_version_that_its_user_cannot_use_leaves_both_as_they_served(
    shop: Workshop, kept: dict[str, Any], new: str
) -> None:
    """R31: what could not serve beside its user before a restart does not take that one down after it."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run():\n    return VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", new)
    assert isinstance(manager.reload("base"), KeptCurrent)
    manager = again(shop, manager, kept)
    assert manager.execute("user") == manager.execute("base") == 1
    assert manager.get_plugin_hot_info("base")["state"] == "degraded"
    shop.write("base", "main.py", "VALUE = 3\ndef run():\n    return VALUE\n")
    assert manager.execute("user") == manager.execute("base") == 3


@pytest.mark.parametrize("order", [("base", "user"), ("user", "base")], ids="-then-".join)
def test_what_was_refused_for_a_user_does_not_serve_after_a_restart_whoever_is_loaded_first(
    shop: Workshop, kept: dict[str, Any], order: tuple[str, str]
) -> None:
    """N12 R31: the version that served both serves both again, is told degraded, and the next good one takes over."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run():\n    return VALUE\n")
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", "def run():\n    return 2\n")
    assert isinstance(manager.reload("base"), KeptCurrent)
    manager = again(shop, manager, kept)
    assert [manager.execute(name) for name in (*order, *order)] == [1, 1, 1, 1]
    info = manager.get_plugin_hot_info("base")
    assert (info["state"], info["has_updates"]) == ("degraded", True)
    assert "user" in info["error"]
    assert "VALUE" in info["error"]
    manager = again(shop, manager, kept)  # once more: what is kept out is not forgotten on the way
    assert manager.execute(order[0]) == 1
    shop.write("base", "main.py", "VALUE = 3\ndef run():\n    return VALUE\n")
    assert manager.execute("base") == manager.execute("user") == 3


@pytest.mark.parametrize("first", ["left", "base", "right"])
@pytest.mark.parametrize("manifest", [{}, {"depends_on": ["base"]}], ids=["imports", "declares"])
def test_a_broken_plugin_whose_good_version_fits_only_old_ones_serves_after_a_restart(
    shop: Workshop, kept: dict[str, Any], first: str, manifest: dict[str, Any]
) -> None:
    """R31: right is broken and base has come to need it: whoever is called first, all serve what served last."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    for name in ("left", "right"):
        shop.plugin(name, "from ..base.main import VALUE\ndef run():\n    return VALUE\n", manifest)
    manager = shop.manager(**kept)
    assert manager.execute("left") == manager.execute("right") == 1
    shop.write("right", "main.py", "def run(:\n")
    shop.write("base", "main.py", "from ..right import main\nVALUE = 2\ndef run():\n    return VALUE\n")
    assert manager.execute("right") == manager.execute("base") == manager.execute("left") == 1
    manager = again(shop, manager, kept)
    assert [manager.execute(name) for name in (first, "left", "base", "right")] == [1, 1, 1, 1]


def test_a_broken_plugin_that_is_called_first_keeps_what_it_can_use(shop: Workshop, kept: dict[str, Any]) -> None:
    """R31: its good version can't use the new base, which came while nothing ran: both serve as before it came.

    As without a restart. The other plugin that it uses is the new one; once it is mended, everything is.
    """
    value = "VALUE = {}\ndef run():\n    return VALUE\n"
    uses = "from ..base.main import VALUE\nfrom ..other import main\ndef run():\n    return VALUE, main.VALUE\n"
    for name in ("base", "other"):
        shop.plugin(name, value.format(1))
    shop.plugin("user", uses)
    manager = shop.manager(**kept)
    assert manager.execute("user") == (1, 1)
    manager.close()
    shop.write("base", "main.py", "def run():\n    return 2\n")
    shop.write("other", "main.py", value.format(2))
    shop.write("user", "main.py", BROKEN)
    manager = shop.manager(**kept)
    assert [manager.execute(name) for name in ("user", "base", "other", "user")] == [(1, 2), 1, 2, (1, 2)]
    assert [manager.get_plugin_hot_info(name)["state"] for name in ("base", "user")] == ["degraded", "degraded"]
    shop.write("user", "main.py", "from ..base import main\ndef run():\n    return main.run()\n")
    assert [manager.execute(name) for name in ("user", "base")] == [2, 2]


@pytest.mark.parametrize("uses", ["from ..base import main\n", ""], ids=["uses it", "stands alone"])
def test_what_only_a_refused_version_needs_is_not_loaded_for_the_one_from_before(
    shop: Workshop, kept: dict[str, Any], uses: str
) -> None:
    """R31: the new base is broken and needs user, which is broken too: the old base serves, and nothing else runs."""
    shop.plugin("base", "def run():\n    return 1\n", {})
    shop.plugin("user", uses + "def run():\n    return 1\n")
    manager = shop.manager(**kept)
    assert [manager.execute(name) for name in ("base", "user")] == [1, 1]
    manager.close()
    shop.plugin("base", "raise RuntimeError\n", {"depends_on": ["user"]})
    shop.write("user", "main.py", BROKEN)
    manager = shop.manager(**kept)
    assert manager.execute("base") == 1
    assert manager.get_plugin_hot_info("user")["loaded"] is False
    assert manager.execute("user") == 1


@pytest.mark.parametrize("first", ["base", "user"])
def test_a_new_version_that_needs_a_disabled_plugin_leaves_the_last_good_one_serving(
    shop: Workshop, kept: dict[str, Any], first: str
) -> None:
    """R31: after a restart as before it: what is switched off stays off, what served without it serves."""
    for name in ("base", "other"):
        shop.plugin(name, "VALUE = 1\ndef run():\n    return VALUE\n", {})
    shop.plugin("user", "from ..base.main import VALUE\ndef run():\n    return VALUE\n")
    manager = shop.manager(**kept)
    assert [manager.execute(name) for name in ("base", "other", "user")] == [1, 1, 1]
    shop.plugin("base", "VALUE = 2\n", {"depends_on": ["other"]})
    shop.plugin("other", {}, {"enabled": False})
    assert [manager.execute(name) for name in ("base", "user")] == [1, 1]
    manager = again(shop, manager, kept)
    assert [manager.execute(name) for name in (first, "base", "user")] == [1, 1, 1]
    with pytest.raises(PluginDisabled):
        manager.execute("other")


def test_what_was_refused_for_a_user_serves_once_that_one_no_longer_minds(shop: Workshop, kept: dict[str, Any]) -> None:
    """R31 R5: a user that is mended or taken away while nothing runs, or unloaded, keeps nothing out any more."""

    def user(text: str) -> None:
        shop.plugin("user", f"from ..base import main\ndef run():\n    return main.run()\n{text}", {})

    shop.plugin("base", "VALUE = 1\ndef run():\n    return 1\n")
    user("main.VALUE\n")
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", "def run():\n    return 2\n")
    assert isinstance(manager.reload("base"), KeptCurrent)
    manager = again(shop, manager, kept)
    assert manager.execute("base") == manager.execute("user") == 1
    manager.unload("user")
    assert manager.execute("base") == 2
    shop.write("base", "main.py", "VALUE = 1\ndef run():\n    return 1\n")
    assert manager.execute("base") == manager.execute("user") == 1
    shop.write("base", "main.py", "def run():\n    return 2\n")
    assert isinstance(manager.reload("base"), KeptCurrent)
    manager.close()
    user("")
    manager = shop.manager(**kept)
    assert manager.execute("base") == manager.execute("user") == 2


def test_a_stand_in_that_does_not_load_is_no_reason_that_nothing_serves(
    shop: Workshop, kept: dict[str, Any], tmp_path: Path
) -> None:
    """R31: where the version from before can't be loaded any more, what lies on disk serves, as it would alone."""
    flag = tmp_path / "flag"
    flag.touch()
    shop.plugin("base", f"VALUE = 1\nopen({str(flag)!r}).close()\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run():\n    return VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("base", "main.py", "def run():\n    return 2\n")
    assert isinstance(manager.reload("base"), KeptCurrent)
    manager.close()
    flag.unlink()
    assert shop.manager(**kept).execute("base") == 2


def test_a_user_that_comes_back_runs_on_new_versions_where_it_can(shop: Workshop, kept: dict[str, Any]) -> None:
    """R31 R5: only what it cannot use stays as it served; the other plugins that it uses are those on disk."""
    value = "VALUE = {}\ndef run():\n    return VALUE\n"
    for name in ("a", "b", "c"):
        shop.plugin(name, value.format(1))
    uses = "".join(f"from ..{name}.main import VALUE as {name}\n" for name in ("a", "b", "c"))
    shop.plugin("user", uses + "def run():\n    return a, b, c\n", {"depends_on": ["a", "b", "c"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == (1, 1, 1)
    manager.close()
    shop.write("a", "main.py", value.format(2))
    shop.write("b", "main.py", "def run(): pass\n")
    shop.write("c", "main.py", value.format(2))
    manager = shop.manager(**kept)
    assert manager.execute("user") == (2, 1, 2)


@pytest.mark.parametrize("by", ["unload", "disabled"])
def test_a_degraded_user_that_went_with_what_it_uses_comes_back_as_it_served(
    shop: Workshop, kept: dict[str, Any], by: str
) -> None:
    """R31: its own broken bytes were refused before it was taken down with another one: its last good ones serve."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n", {})
    shop.plugin("user", "from ..base import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**kept)
    assert manager.execute("user") == 1
    shop.write("user", "main.py", BROKEN)
    assert manager.execute("user") == 1
    if by == "unload":
        manager.unload("base")
    else:
        shop.write("base", "plugin.json", '{"enabled": false}')
        manager.reload("base")
        shop.write("base", "plugin.json", "{}")
    assert manager.get_plugin_hot_info("user")["loaded"] is False
    assert manager.execute("user") == 1


def test_a_plugin_that_was_taken_away_comes_back_for_nobody(shop: Workshop, state: dict[str, Any]) -> None:
    """Unloaded, its directory gone: neither a call nor a plugin that needs it brings it back from its copy."""
    base = shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base import main\ndef run():\n    return main.VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager(**state)
    assert manager.execute("user") == 1
    shutil.rmtree(base)
    manager.unload("base")
    for name in ("base", "user", "base"):
        with pytest.raises(PluginLoadError, match="plugin-missing"):
            manager.execute(name)
    assert manager.discover() == ["user"]
    with pytest.raises(UnknownPlugin):
        manager.execute("base")
    with pytest.raises(PluginLoadError, match="base"):
        manager.execute("user")


def test_a_version_that_never_served_is_never_kept(shop: Workshop, kept: dict[str, Any]) -> None:
    """Only good versions are kept: without one, a broken plugin fails as ever."""
    shop.plugin("shop", BROKEN)
    manager = shop.manager(**kept)
    with pytest.raises(PluginLoadError):
        manager.load("shop")
    assert manager.kept_versions("shop") == []


def test_a_damaged_copy_is_refused_by_name(shop: Workshop, kept: dict[str, Any], tmp_path: Path) -> None:
    """A copy that isn't what was kept never serves; the outcome names the file."""
    manager = served(shop, kept, 1, 2)
    for copy in (tmp_path / "state").rglob("main.py"):
        copy.write_text("def run():\n    return 'evil'\n")
    outcome = manager.rollback("shop")
    assert isinstance(outcome, KeptCurrent)
    assert "kept-version-damaged" in str(outcome.error)
    assert manager.execute("shop")[0] == 2


def test_a_copy_that_another_process_removed_is_chosen_anew(
    shop: Workshop, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a look at the notes and the copy that they name another worker may drop it: then the rest counts."""
    manager = served(shop, kept, 1)
    oldest = manager.load("shop").snapshot
    for number in (2, 3):
        put(shop, number)
        manager.execute("shop")
    store = manager._recorder.store
    read, asked = store.read, list[str]()

    def read_late(plugin: str, version: Any) -> Any:
        if not asked:  # the other worker serves version 1 again, and keeps one version only
            DiskStore(kept["state_dir"], 1).serves("shop", oldest, "1.0", None)
        asked.append(version.version)
        return read(plugin, version)

    monkeypatch.setattr(store, "read", read_late)
    assert isinstance(manager.rollback("shop"), Reloaded)
    assert asked == ["2.0", "1.0"]
    assert manager.execute("shop") == (1, "data of 1")


def test_a_lost_pin_is_told_and_the_disk_serves(
    shop: Workshop, kept: dict[str, Any], tmp_path: Path, caplog: Any
) -> None:
    """The state directory may be damaged between runs: what is on disk serves, and the log says why."""
    manager = served(shop, kept, 1, 2)
    manager.rollback("shop")
    manager.close()
    for copy in (tmp_path / "state").rglob("main.py"):
        copy.unlink()
    with caplog.at_level(logging.ERROR):
        assert shop.manager(**kept).execute("shop")[0] == 2
    assert "hotplug.pin_lost" in caplog.messages


@pytest.mark.parametrize("text", ["", "{", '{"versions": 3}', "\0\0\0"])
def test_damaged_notes_are_discarded_with_a_line(shop: Workshop, kept: dict[str, Any], text: str, caplog: Any) -> None:
    """Whatever stands in the state directory, a plugin is served; what can't be read is named and left out."""
    manager = served(shop, kept, 1, 2)
    notes = Path(kept["state_dir"]) / "plugins" / "shop" / "notes.json"
    notes.write_text(text)
    with caplog.at_level(logging.WARNING):
        manager = again(shop, manager, kept)
        assert manager.execute("shop")[0] == 2
    assert "hotplug.store_discarded" in caplog.messages
    assert [v["version"] for v in manager.kept_versions("shop")] == ["2.0"]


def test_the_state_directory_may_be_deleted_at_any_time(shop: Workshop, kept: dict[str, Any]) -> None:
    """It holds nothing that the plugins need: the next version is kept again."""
    manager = served(shop, kept, 1)
    shutil.rmtree(kept["state_dir"])
    put(shop, 2)
    assert manager.execute("shop")[0] == 2
    assert [v["version"] for v in manager.kept_versions("shop")] == ["2.0"]
    assert (Path(kept["state_dir"]) / ".gitignore").read_text() == "*\n"
    assert (
        (Path(kept["state_dir"]) / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )


def test_a_state_directory_that_cannot_be_written_hurts_no_reload(shop: Workshop, tmp_path: Path) -> None:
    """The plugin is served and reloaded; `health` says that nothing can be kept."""
    (tmp_path / "file").write_text("in the way")
    manager = served(shop, {"state_dir": tmp_path / "file" / "state"}, 1, 2)
    health = manager.health()
    assert health["status"] == "degraded"
    assert any("state directory" in reason for reason in health["reasons"])


def test_pauses_and_the_switch_survive_a_restart(shop: Workshop, kept: dict[str, Any]) -> None:
    """R15 R36: a plugin that was paused, or hot reload that was switched off, stays so until it is said otherwise."""
    manager = served(shop, kept, 1)
    manager.pause("shop", "release freeze")
    manager.disable_hot_reload()
    manager = again(shop, manager, kept)
    assert not manager.hot_reload_enabled
    assert manager.execute("shop")[0] == 1
    assert manager.get_plugin_hot_info("shop")["state"] == "paused"
    put(shop, 2)
    manager.enable_hot_reload()
    assert manager.execute("shop")[0] == 1, "still paused"
    manager.resume("shop")
    assert manager.execute("shop")[0] == 2
    assert again(shop, manager, kept).hot_reload_enabled


def test_the_history_tells_what_happened(shop: Workshop, state: dict[str, Any]) -> None:
    """R6 R37: loads, refusals and rollbacks stand there in order, with version, digest and reason."""
    manager = served(shop, state, 1, 2)
    shop.write("shop", "main.py", BROKEN)
    manager.reload("shop")
    manager.rollback("shop")
    told = manager.history("shop")
    assert [record["kind"] for record in told] == ["loaded", "loaded", "refused", "rolled-back"]
    assert [record.get("version") for record in told] == ["1.0", "2.0", None, "1.0"]
    assert told[2]["slug"] == "syntax-error"
    assert all(before["at"] <= after["at"] for before, after in itertools.pairwise(told))


def test_a_history_survives_restarts_and_a_cut_line(shop: Workshop, kept: dict[str, Any]) -> None:
    """A writer that was killed in the middle of a line costs that line and no other."""
    manager = served(shop, kept, 1)
    path = Path(kept["state_dir"]) / "plugins" / "shop" / "history.jsonl"
    manager.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind": "loa')
    manager = served(shop, kept, 2)
    assert [record["kind"] for record in manager.history("shop")] == ["loaded", "unloaded", "loaded"]


def test_a_history_is_bounded(tmp_path: Path) -> None:
    """R28: however long a worker lives, its history does not fill the disk."""
    from pytest_hotplug.reloader.kept import Record
    from pytest_hotplug.reloader.store import HISTORY_BYTES

    store = DiskStore(tmp_path, 5)
    for number in range(400):
        store.record("shop", Record("refused", message=f"{number} " + "x" * 4096))
    history = store.history("shop")
    assert (tmp_path / "plugins" / "shop" / "history.jsonl").stat().st_size <= HISTORY_BYTES + 5000
    assert history[-1].message.startswith("399 ")


KILLED = """
import os, sys, threading
from pathlib import Path
from pytest_hotplug import PluginManager
root = Path(sys.argv[1])
main = root / "plugins" / "shop" / "main.py"
manager = PluginManager(plugin_dirs=[root / "plugins"], state_dir=root / "state", debounce=0, keep_versions=3)
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    number += 1
    beside = main.with_name(".main.new")
    beside.write_text(f"def run():\\n    return {number}\\n")
    os.replace(beside, main)
    assert manager.execute("shop") == number
    if number % 3 == 0:
        manager.rollback("shop")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_at_any_point_the_store_is_whole(shop: Workshop, tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle of keeping and rolling back, every version in the notes is whole afterwards."""
    shop.plugin("shop", "def run():\n    return 0\n")
    (tmp_path / shop.package).rename(tmp_path / "plugins")
    for attempt in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(attempt * 10_000)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            child.wait(0.05 + 0.02 * attempt)
        except subprocess.TimeoutExpired:
            child.kill()
        assert child.wait() == -9
        child.stdout.close()
        with PluginManager(plugin_dirs=[tmp_path / "plugins"], state_dir=tmp_path / "state", debounce=0) as manager:
            store = manager._recorder.store
            notes = store.notes("shop")
            for version in notes.versions:
                assert store.read("shop", version).digest == version.digest
            pinned = notes.pin is not None
            assert isinstance(manager.execute("shop"), int)
            assert (manager.get_plugin_hot_info("shop")["state"] == "rolled-back") <= pinned
            manager.force_reload_plugin("shop")
            copies = tmp_path / "state" / "plugins" / "shop" / "versions"
            assert {c.name for c in copies.iterdir()} == {v.directory for v in store.notes("shop").versions}


def test_two_processes_share_a_state_directory(shop: Workshop, tmp_path: Path) -> None:
    """One writer at a time: two workers that keep versions at once lose none and damage none."""
    code = (
        "import os, sys; from pathlib import Path; from pytest_hotplug import PluginManager\n"
        "root = Path(sys.argv[1]); name = sys.argv[2]; main = root / 'plugins' / name / 'main.py'\n"
        "manager = PluginManager(plugin_dirs=[root / 'plugins'], state_dir=root / 'state', debounce=0)\n"
        "for n in range(60):\n"
        "    main.write_text(f'def run():\\n    return {n}\\n')\n"
        "    assert manager.execute(name) == n\n"
        "    manager.resume(sys.argv[3])\n"
    )
    shop.plugin("one", "def run():\n    return -1\n")
    shop.plugin("two", "def run():\n    return -1\n")
    (tmp_path / shop.package).rename(tmp_path / "plugins")
    pairs = [("one", "two"), ("two", "one")]
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), *pair]) for pair in pairs]
    assert [child.wait(60) for child in children] == [0, 0]
    with PluginManager(plugin_dirs=[tmp_path / "plugins"], state_dir=tmp_path / "state") as manager:
        for name in ("one", "two"):
            versions = manager._recorder.store.notes(name).versions
            assert len(versions) == 5
            assert all(manager._recorder.store.read(name, v).digest == v.digest for v in versions)
            assert len([r for r in manager.history(name) if r["kind"] == "loaded"]) == 60


def test_what_a_full_disk_kept_from_being_remembered_is_remembered_later(
    shop: Workshop, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback and a pause that could not be written make health degraded, and are written once there is room."""
    manager = served(shop, kept, 1, 2)
    with monkeypatch.context() as full:
        full.setattr("pytest_hotplug.reloader.store._replace", no_room)
        assert isinstance(manager.rollback("shop"), Reloaded)
        manager.pause("shop", "frozen")
        assert "No space left on device" in str(manager.health()["reasons"])
    assert "No space left on device" not in str(manager.health()["reasons"])
    restarted = again(shop, manager, kept)
    assert restarted.execute("shop")[0] == 1
    assert restarted.get_plugin_hot_info("shop")["state"] == "paused"


def test_what_is_written_late_undoes_nothing(
    shop: Workshop, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of one rollback that is remembered late doesn't end the next."""
    manager = served(shop, kept, 1, 2)
    second = manager.get_plugin_hot_info("shop")["digest"]
    assert isinstance(manager.rollback("shop"), Reloaded)
    with monkeypatch.context() as full:
        full.setattr("pytest_hotplug.reloader.store._replace", no_room)
        shop.write("shop", "main.py", BROKEN)
        assert isinstance(manager.reload("shop"), KeptCurrent)  # which ends the rollback
    assert isinstance(manager.rollback("shop", second), Reloaded)
    restarted = again(shop, manager, kept)
    assert restarted.execute("shop")[0] == 2
    assert restarted.get_plugin_hot_info("shop")["state"] == "rolled-back"


def no_room(path: Path, data: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
