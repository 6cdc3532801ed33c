"""`hotplug enable-hot-reload` and `disable-hot-reload`: remembered for the next start."""

from __future__ import annotations

import os
import subprocess

import pytest

from pytest_hotplug import PluginManager
from tests.cli.terminal import GREET, HOTPLUG, User


def started(user: User) -> PluginManager:
    """Return what a worker has that starts now."""
    return PluginManager(root=user.here, plugin_dirs=["plugins"], state_dir=".hotplug", debounce=0)


def test_hot_reload_is_disabled_until_it_is_enabled(user: User) -> None:
    """Both names of both commands; a process that starts heeds it."""
    user.plugin("greeter")
    for command, enabled in (("disable", False), ("enable", True), ("disable-hot-reload", False)):
        done = user.types(command)
        assert done.code == 0, done
        assert done.out.startswith(f"hot reload is {'enabled' if enabled else 'disabled'}\n")
        assert "from its next start on" in done.out
        with started(user) as manager:
            assert manager.hot_reload_enabled is enabled
    told = user.types("enable-hot-reload", "--json").json
    assert (told["source"], told["hot_reload_enabled"], told["paused"]) == ("disk", True, {})


def test_named_plugins_are_paused_with_a_reason(user: User) -> None:
    """The others go on; what is paused keeps serving, and says why it is."""
    user.plugin("frozen")
    user.plugin("free")
    done = user.types("disable", "frozen", "--reason", "the release\x1b[31m")
    assert "frozen: paused (the release\\x1b[31m)" in done.out
    with started(user) as manager:
        for name in ("frozen", "free"):
            manager.load(name)
            user.write(f"plugins/{name}/main.py", GREET.replace("hello", "salut"))
        texts = {name: manager.execute(name)["text"] for name in ("frozen", "free")}
        assert texts == {"frozen": "hello world", "free": "salut world"}
        assert "the release" in manager.why("frozen")["text"]
    assert user.types("disable", "--json").json["paused"] == {"frozen": "the release\x1b[31m"}
    told = user.types("enable", "frozen", "--json").json
    assert (told["hot_reload_enabled"], told["paused"]) == (False, {})


def test_a_wrong_name_changes_nothing(user: User) -> None:
    """All names are looked at first; a reason without a name is a usage error."""
    user.plugin("greeter")
    done = user.types("disable", "greeter", "greter")
    assert (done.code, "did you mean 'greeter'? [unknown-plugin]" in done.err) == (4, True)
    assert user.types("disable", "--reason", "why").code == 4
    assert not (user.here / ".hotplug").exists()


def test_a_state_directory_that_can_not_be_used_is_named(user: User) -> None:
    """Exit code 1, for people and for programs: nothing was remembered."""
    user.plugin("greeter")
    user.write(".hotplug", "a file")
    for command in (("disable",), ("enable", "greeter"), ("history", "greeter")):
        done = user.types(*command)
        assert (done.code, "[state-unusable]" in done.err, "Traceback" in done.err) == (1, True, False), done
        assert ".hotplug" in done.err
    assert user.types("disable", "--json").json["exit_code"] == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
@pytest.mark.parametrize("command", ["enable", "disable"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_stdout_is_not_blamed_on_the_state_directory(user: User, command: str, unbuffered: str) -> None:
    """It was remembered, and only could not be said: that is told as everywhere else."""
    user.plugin("greeter")
    environment = {**user.environment(), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HOTPLUG, command, "greeter"],
            cwd=user.here, env=environment, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "[disk-full]" in done.stderr
    assert "[state-unusable]" not in done.stderr
    with started(user) as manager:
        assert (manager.get_plugin_hot_info("greeter")["state"] == "paused") == (command == "disable")
