"""`hotplug enable-hot-reload` and `disable-hot-reload`: remembered for the next start."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from pytest_hotplug import PluginManager
from tests.cli.terminal import GREET, HOTPLUG, User
from tests.threads import eventually


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


def test_a_pause_ends_by_itself(user: User) -> None:
    """`--for` says until when, for people and for programs; a process that starts after that checks again."""
    user.plugin("frozen")
    user.plugin("free")
    done = user.types("disable", "frozen", "--reason", "the release", "--for", "1h30m")
    assert done.out.splitlines()[1].startswith("frozen: paused until 2")
    assert done.out.splitlines()[1].endswith(" (the release)")
    before = time.time()
    told = user.types("disable", "--for", "30m", "--json").json
    assert before + 1800 <= told["until"] <= time.time() + 1800
    assert told["disabled_until"] == told["until"]
    assert before + 5000 < told["paused_until"]["frozen"] < before + 5400
    assert user.types("disable").out.startswith("hot reload is disabled\n"), "the last word counts: without an end"
    told = user.types("disable", "frozen", "--for", "1s", "--json").json
    assert told["paused_until"] == {"frozen": told["until"]}
    assert user.types("disable", "--for", "0.1s").code == 0
    eventually(lambda: time.time() > told["until"], "the end of the pause")
    told = user.types("enable", "free", "--json").json
    assert (told["hot_reload_enabled"], told["disabled_until"], told["paused"]) == (True, None, {})
    assert user.types("history", "frozen", "--json").json["paused"] is None
    with started(user) as manager:
        assert manager.hot_reload_enabled
        assert manager.get_plugin_hot_info("frozen")["state"] == "not-loaded"


def test_a_pause_that_would_end_by_itself_is_ended_earlier(user: User) -> None:
    """`enable` ends it; nothing of its end is left for the next pause."""
    user.plugin("frozen")
    user.types("disable", "frozen", "--for", "2h")
    user.types("disable", "--for", "2h")
    user.types("enable")
    told = user.types("enable", "frozen", "--json").json
    assert (told["hot_reload_enabled"], told["disabled_until"], told["paused"]) == (True, None, {})
    told = user.types("disable", "frozen", "--json").json
    assert (told["until"], told["paused_until"]) == (None, {"frozen": None})


@pytest.mark.parametrize(
    "text", ["soon", "30", "2 h", "-1h", "1h-", "h", "", "2w", "0s", "1e3s", "\u0663h", "9" * 400 + "d"]
)
def test_a_time_that_can_not_be_read_changes_nothing(user: User, text: str) -> None:
    """A usage error that says how it is written, for people and for programs."""
    user.plugin("greeter")
    done = user.types("disable", "greeter", f"--for={text}")
    assert (done.code, "[bad-duration]" in done.err, "Traceback" in done.err) == (4, True, False), done
    assert "e.g. 90s, 30m, 2h or 7d" in done.err
    told = user.types("disable", f"--for={text}", "--json").json
    assert (told["exit_code"], "[bad-duration]" in told["error"]) == (4, True)
    assert not (user.here / ".hotplug").exists()


def test_nobody_pauses_for_longer_than_ten_years(user: User) -> None:
    """Whoever means that leaves the time out, and is told so."""
    done = user.types("disable", "--for", "3651d")
    assert (done.code, "longer than ten years; leave it out" in done.err) == (4, True)


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
