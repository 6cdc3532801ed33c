"""Plugins that use plugins: loaded first, reloaded together, refused together."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded, Unloaded
from tests.reloader.workshop import PATIENCE, Workshop, eventually, running

BASE = "N = {n}\ndef f(): return N\ndef run(): return N\n"


def pair(shop: Workshop, user: str = "", **manifest: Any) -> PluginManager:
    """Serve `base`, and `user`, which imports it."""
    shop.plugin("base", BASE.format(n=1))
    user = user or f"from {shop.package}.base.main import f\ndef run(): return f()\n"
    shop.plugin("user", user, manifest or None)
    manager = shop.manager()
    assert manager.execute("user") == 1
    return manager


def test_what_is_depended_on_is_loaded_first(shop: Workshop) -> None:
    """`depends_on` alone, without an import, loads the other plugin before."""
    shop.plugin("base", "def on_load(host): host.append('base')\ndef run(): pass\n")
    shop.plugin("user", "def on_load(host): host.append('user')\ndef run(): pass\n", {"depends_on": ["base"]})
    manager = shop.manager()
    said: list[str] = []
    manager._host.set(said)
    manager.load("user")
    assert said == ["base", "user"]
    assert manager.get_plugin_hot_info("user")["depends_on"] == ["base"]


def test_a_dependent_reloads_in_the_same_transaction(shop: Workshop) -> None:
    """L05: editing the base alone makes both new at one moment, and the outcome names both."""
    manager = pair(shop)
    shop.write("base", "main.py", BASE.format(n=2))
    outcome = manager.reload("base")
    assert isinstance(outcome, Reloaded)
    assert outcome.also == ("user",)
    assert manager.module("user", "main").run() == 2
    assert manager.get_plugin_hot_info("user")["generation"] == 2


def test_the_check_of_a_user_sees_an_edit_of_its_base(shop: Workshop) -> None:
    """R10 R12: `execute` checks everything that the plugin depends on, directly or not."""
    shop.plugin("base", BASE.format(n=1))
    shop.plugin("middle", f"import {shop.package}.base.main as b\ndef f(): return b.f()\ndef run(): pass\n")
    shop.plugin("top", "def run():\n    return f()\n" + f"from {shop.package}.middle.main import f\n")
    manager = shop.manager()
    assert manager.execute("top") == 1
    shop.write("base", "main.py", BASE.format(n=2))
    assert manager.execute("top") == 2


def test_an_import_inside_a_function_makes_an_edge_too(shop: Workshop) -> None:
    """L05: a base that is only imported late is followed from then on."""
    manager = pair(shop, f"def run():\n    from {shop.package}.base.main import f\n    return f()\n")
    shop.write("base", "main.py", BASE.format(n=2))
    assert manager.execute("user") == 2


def test_a_base_that_breaks_its_user_is_refused_with_it(shop: Workshop) -> None:
    """N12: neither is swapped, and the outcome names the dependent that broke."""
    manager = pair(shop)
    shop.write("base", "main.py", "N = 2\ndef run(): return N\n")  # f is gone
    outcome = manager.reload("base")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.plugin == "user"
    assert outcome.reason == "user was refused"
    assert (manager.execute("user"), manager.execute("base")) == (1, 1)


def test_mending_both_after_a_joint_refusal_recovers(shop: Workshop) -> None:
    """N12 R32: the user is adapted to the new base: one look, and both new versions serve."""
    manager = pair(shop)
    shop.write("base", "main.py", "N = 2\ndef g(): return N\ndef run(): return N\n")
    assert isinstance(manager.reload("base"), KeptCurrent)
    shop.write("user", "main.py", f"from {shop.package}.base.main import g\ndef run(): return g()\n")
    assert manager.execute("user") == 2
    assert manager.execute("base") == 2
    assert manager.health()["status"] == "ok"


def test_restoring_the_base_after_a_joint_refusal_recovers(shop: Workshop) -> None:
    """F08 N12: putting the base back is enough for both."""
    manager = pair(shop)
    shop.write("base", "main.py", "raise RuntimeError\n")
    assert manager.execute("user") == 1
    shop.write("base", "main.py", BASE.format(n=1))
    assert manager.execute("user") == 1
    assert manager.health()["status"] == "ok"


def test_a_user_that_was_refused_stays_so_when_its_base_reloads(shop: Workshop) -> None:
    """F09: a reload of the base loads the user's last good bytes, and its broken ones aren't forgotten or retried."""
    manager = pair(shop)
    shop.write("user", "main.py", "def run(:\n")
    assert isinstance(manager.reload("user"), KeptCurrent)
    shop.write("base", "main.py", BASE.format(n=2))
    assert isinstance(manager.reload("base"), Reloaded)
    assert manager.execute("user") == 2
    info = manager.get_plugin_hot_info("user")
    assert (info["state"], info["has_updates"]) == ("degraded", True)


def test_a_call_in_flight_keeps_the_base_that_it_began_with(shop: Workshop) -> None:
    """C01 C04: old users go on with their old base, late imports included; then both retire."""
    main = "def run(inside=None, gate=None):\n    if inside:\n        inside.set()\n        assert gate.wait(10)\n"
    main += f"    import {shop.package}.base.main as base\n    from {shop.package}.base import part\n"
    main += "    return base.N, part.N\n"
    shop.plugin("base", {"main.py": BASE.format(n=1), "part.py": "N = 1\n"})
    shop.plugin("user", main, {"depends_on": ["base"]})
    manager = shop.manager()
    manager.load("user")
    retired: list[str] = []
    manager._hot_loader.register_callback("retired", retired.append)
    inside, gate = threading.Event(), threading.Event()
    answers: list[Any] = []
    with running(lambda: answers.append(manager.call("user", "run", inside, gate))) as errors:
        assert inside.wait(PATIENCE)
        shop.write("base", "part.py", "N = 2\n")
        shop.write("base", "main.py", BASE.format(n=2))
        assert isinstance(manager.reload("base"), Reloaded)
        assert manager.execute("user") == (2, 2)
        assert retired == []
        gate.set()
    assert (errors, answers) == ([], [(1, 1)])
    eventually(lambda: retired == ["user", "base"], "both to retire, the user first")


def test_a_refused_user_does_not_hold_its_base_for_ever(shop: Workshop) -> None:
    """M01 R28: a version that failed after it had imported another plugin lets that one retire."""
    manager = pair(shop)
    shop.write("user", "main.py", f"from {shop.package}.base.main import f\nraise RuntimeError\n")
    assert isinstance(manager.reload("user"), KeptCurrent)
    retired: list[Any] = []
    manager.subscribe(lambda e: retired.append((e.plugin, e.generation)) if e.kind == "retired" else None)
    shop.write("user", "main.py", "def run(): return 9\n")
    assert manager.execute("user") == 9
    shop.write("base", "main.py", BASE.format(n=2))
    assert isinstance(manager.reload("base"), Reloaded)
    assert ("base", 1) in retired


@pytest.mark.parametrize("how", ["manifest", "import"])
def test_a_cycle_is_refused_with_its_path(shop: Workshop, how: str) -> None:
    """N13: plugins that depend on each other are told so, with the way around."""
    for name, other in (("aa", "bb"), ("bb", "cc"), ("cc", "aa")):
        source = f"import {shop.package}.{other}.main\n" if how == "import" else ""
        manifest = {"depends_on": [other]} if how == "manifest" else None
        shop.plugin(name, source + "def run(): return 1\n", manifest)
    with pytest.raises(PluginLoadError, match=r"aa -> bb -> cc -> aa.*\n.*\[dependency-cycle\]"):
        shop.manager(load_timeout=5).load("aa")


def test_a_cycle_that_an_edit_closes_keeps_the_current_versions(shop: Workshop) -> None:
    """N13: the edit is refused, both go on."""
    manager = pair(shop, depends_on=["base"])
    shop.write("base", "plugin.json", '{"depends_on": ["user"]}')
    outcome = manager.reload("base")
    assert outcome.error is not None
    assert (type(outcome), outcome.error.slug) == (KeptCurrent, "dependency-cycle")
    assert manager.execute("user") == 1


def test_a_dependency_that_came_later_is_found(shop: Workshop) -> None:
    """N14: `depends_on` a plugin that was added while the manager runs."""
    shop.plugin("user", "def run(): return 1\n")
    manager = shop.manager()
    manager.load("user")
    shop.plugin("base", BASE.format(n=1))
    shop.write("user", "plugin.json", '{"depends_on": ["base"]}')
    assert isinstance(manager.reload("user"), Reloaded)


def test_unloading_a_base_unloads_its_users_first(shop: Workshop) -> None:
    """R7: whatever needs a plugin goes before it, and the outcome names it."""
    manager = pair(shop)
    heard: list[Any] = []
    manager.subscribe(lambda e: heard.append((e.kind, e.plugin)))
    outcome = manager.unload("base")
    assert (type(outcome), outcome.also) == (Unloaded, ("user",))
    assert heard == [("unloaded", "user"), ("unloaded", "base"), ("retired", "user"), ("retired", "base")]
    assert manager.execute("user") == 1


def test_a_disabled_base_takes_its_users_down(shop: Workshop) -> None:
    """A base that its author disables no longer serves; its users say what they miss, and return with it."""
    manager = pair(shop, depends_on=["base"])
    shop.write("base", "plugin.json", '{"enabled": false}')
    with pytest.raises(PluginLoadError, match=r"base.* disabled"):
        manager.execute("user")
    assert manager.get_plugin_hot_info("base")["state"] == "disabled"
    shop.write("base", "plugin.json", "{}")
    eventually(lambda: _served(manager), "the user to serve again")


GOOD_USER = "from ..base.main import f\nM = {n}\ndef run(): return M, f()\n"
FAULTS = {"syntax": "def run(:\n", "raises": "raise RuntimeError\n"}


@pytest.fixture
def two(shop: Workshop) -> PluginManager:
    """Serve version 1 of `base`, and of `user`, which answers with its own number and its base's."""
    shop.plugin("base", BASE.format(n=1))
    shop.plugin("user", GOOD_USER.format(n=1), {"depends_on": ["base"]})
    manager = shop.manager()
    assert manager.execute("user") == (1, 1)
    return manager


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_broken_base_does_not_hold_up_a_good_edit_of_its_user(shop: Workshop, two: PluginManager, fault: str) -> None:
    """R32 N12: both were saved before anybody looked: the user's new version serves, on the base's last good one."""
    shop.write("base", "main.py", FAULTS[fault])
    shop.write("user", "main.py", GOOD_USER.format(n=2))
    assert two.execute("user") == (2, 1)
    assert two.why("base")["verdict"] == "refused"
    shop.write("base", "main.py", BASE.format(n=2))
    assert two.execute("user") == (2, 2)


@pytest.mark.parametrize("first", ["base", "user"])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_broken_user_does_not_hold_up_a_good_edit_of_its_base(
    shop: Workshop, two: PluginManager, fault: str, first: str
) -> None:
    """R32 N12: whoever is looked at first, the base's new version serves, and the user's last good one on it."""
    shop.write("user", "main.py", FAULTS[fault])
    shop.write("base", "main.py", BASE.format(n=2))
    two.reload(first)
    assert two.why("user")["verdict"] == "refused"
    assert two.why("base")["verdict"] == "current"
    assert (two.execute("base"), two.execute("user")) == (2, (1, 2))


def test_a_good_user_is_tried_again_after_a_look_at_its_broken_base(shop: Workshop, two: PluginManager) -> None:
    """R32: the user's new bytes came along with a base that was refused; the blame is not theirs."""
    shop.write("base", "main.py", FAULTS["syntax"])
    shop.write("user", "main.py", GOOD_USER.format(n=2))
    assert isinstance(two.reload("base"), KeptCurrent)
    assert two.execute("user") == (2, 1)


def test_a_user_that_is_switched_off_does_not_hold_up_its_base(shop: Workshop, two: PluginManager) -> None:
    """The base was edited, and the user disabled: the one is reloaded, the other withdrawn when it is looked at."""
    shop.write("user", "plugin.json", '{"depends_on": ["base"], "enabled": false}')
    shop.write("base", "main.py", BASE.format(n=2))
    assert two.execute("base") == 2
    assert isinstance(two.reload("user"), Unloaded)


def test_a_base_is_switched_off_although_its_user_is_broken(shop: Workshop, two: PluginManager) -> None:
    """What its author disabled serves no more, whoever was looked at first."""
    shop.write("user", "main.py", FAULTS["syntax"])
    shop.write("base", "plugin.json", '{"enabled": false}')
    outcome = two.reload("user")
    assert outcome.serving is None
    assert two.get_plugin_hot_info("base")["state"] == "disabled"


@pytest.mark.parametrize("first", ["base", "user"])
def test_an_edge_that_turns_round_is_no_circle(shop: Workshop, two: PluginManager, first: str) -> None:
    """N13: one commit makes the base use its former user: both load together, whoever is looked at first."""
    shop.write("user", "plugin.json", "{}")
    shop.write("user", "main.py", "def f(): return 2\ndef run(): return f()\n")
    shop.write("base", "plugin.json", '{"depends_on": ["user"]}')
    shop.write("base", "main.py", "from ..user.main import f\ndef run(): return f()\n")
    two.reload(first)
    assert (two.execute("base"), two.execute("user")) == (2, 2)


@pytest.mark.parametrize("first", ["base", "user"])
def test_a_circle_that_another_plugin_opens_is_no_longer_refused(
    shop: Workshop, two: PluginManager, first: str
) -> None:
    """N13: the edge that closed it was refused; once the other one is gone it serves, without another save."""
    shop.write("base", "plugin.json", '{"depends_on": ["user"]}')
    assert isinstance(two.reload("base"), KeptCurrent)
    shop.write("user", "plugin.json", "{}")
    shop.write("user", "main.py", "def run(): return 2\n")
    two.reload(first)
    assert isinstance(two.execute("base"), int)
    assert two.get_plugin_hot_info("base")["depends_on"] == ["user"]


def test_a_rollback_does_not_fail_for_a_broken_edit_of_a_user(shop: Workshop, two: PluginManager) -> None:
    """R6: going back is for emergencies; the user's last good version comes along, its broken bytes do not."""
    shop.write("base", "main.py", BASE.format(n=2))
    assert two.execute("user") == (1, 2)
    shop.write("user", "main.py", FAULTS["raises"])
    assert isinstance(two.rollback("base"), Reloaded)
    assert two.execute("user") == (1, 1)


def _served(manager: PluginManager) -> bool:
    try:
        return bool(manager.execute("user") == 1)
    except PluginLoadError:
        return False


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_good_plugin_loads_although_one_that_needs_it_could_not(shop: Workshop, fault: str) -> None:
    """R32: `user` needs a broken plugin as well; `base`, which came along with it, is none the worse for that."""
    shop.plugin("base", BASE.format(n=1))
    shop.plugin("broken", FAULTS[fault])
    shop.plugin("user", "def run(): return 1\n", {"depends_on": ["base", "broken"]})
    manager = shop.manager()
    with pytest.raises(PluginLoadError):
        manager.load("user")
    assert manager.execute("base") == 1


def test_a_plugin_that_was_needed_for_a_circle_loads_without_it(shop: Workshop) -> None:
    """N12 R32: new code that closes a circle is refused; what it wanted to use is not, and loads on what serves."""
    shop.plugin("base", "VALUE = 1\ndef run():\n    return VALUE\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run():\n    return VALUE\n")
    manager = shop.manager()
    assert manager.execute("base") == 1
    shop.write("base", "main.py", "from ..user import main\nVALUE = 2\ndef run():\n    return VALUE\n")
    assert isinstance(manager.reload("base"), KeptCurrent)
    assert manager.execute("user") == 1


@pytest.mark.parametrize("edge", ["declared", "imported"])
def test_the_first_call_of_a_user_runs_on_the_newest_base(shop: Workshop, edge: str) -> None:
    """R5 L05: what a plugin uses is looked at before its first execution, too, although nobody knew that it would."""
    shop.plugin("base", "VALUE = 1\ndef run(): return VALUE\n")
    manifest = {"depends_on": ["base"]} if edge == "declared" else {}
    shop.plugin("user", "from ..base.main import VALUE\ndef run(): return VALUE\n", manifest)
    shop.plugin("needy", "from ..base.main import NEW\ndef run(): return NEW\n", manifest)
    manager = shop.manager()
    assert manager.execute("base") == 1
    shop.write("base", "main.py", "VALUE = 2\ndef run(): return VALUE\n")
    assert manager.execute("user") == 2
    shop.write("base", "main.py", "VALUE = 3\nNEW = 'new'\ndef run(): return VALUE\n")
    assert manager.execute("needy") == "new"
    assert manager.get_plugin_hot_info("base")["generation"] == 3


def test_the_first_call_of_a_user_keeps_out_a_base_that_it_cannot_use(shop: Workshop) -> None:
    """R5 N12: the new version of what it uses is no good to it: both go on as they fit together."""
    shop.plugin("base", "VALUE = 1\ndef run(): return 1\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run(): return VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager()
    assert manager.execute("base") == 1
    shop.write("base", "main.py", "def run(): return 2\n")
    assert manager.execute("user") == manager.execute("base") == 1
    assert manager.get_plugin_hot_info("base")["state"] == "degraded"


def test_while_hot_reload_is_disabled_a_first_call_looks_at_nothing_else(shop: Workshop) -> None:
    """R10: a plugin that comes while nothing is checked runs on what serves."""
    shop.plugin("base", "VALUE = 1\ndef run(): return VALUE\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run(): return VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager()
    assert manager.execute("base") == 1
    manager.disable_hot_reload()
    shop.write("base", "main.py", "VALUE = 2\ndef run(): return VALUE\n")
    assert manager.execute("user") == 1
    manager.enable_hot_reload()
    assert manager.execute("user") == 2


def test_an_old_version_dies_though_what_it_was_loaded_with_serves_on(shop: Workshop) -> None:
    """Both came in one load; an edit of the dependent leaves the other alone, which must not hold what is over."""
    manager = pair(shop)
    shop.write("user", "main.py", f"from {shop.package}.base.main import f\ndef run(): return f() + 1\n")
    assert manager.execute("user") == 2
    assert manager.get_plugin_hot_info("base")["generation"] == 1

    def old_ones_are_gone() -> bool:
        gc.collect()
        return bool(manager.get_plugin_hot_info("user")["generations_alive"] == 1)

    eventually(old_ones_are_gone)
