"""`hotplug watch`: every save, reload, refusal and non-change, as they happen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.terminal import GREET, HOTPLUG, User, wait_for
from tests.reloader.workshop import eventually

posix = pytest.mark.skipif(os.name != "posix", reason="sends signals to a process")


@posix
def test_each_save_is_told_with_what_became_of_it(user: User) -> None:
    """Loaded, unchanged after a touch, reloaded, refused with the old one serving, reloaded; what a plugin
    prints stays out of it, and SIGTERM ends with 0."""
    main = user.plugin("greeter") / "main.py"
    with user.starts("watch", "--json") as watching:
        assert watching.until(event="loaded")["plugin"] == "greeter"
        assert watching.until(event="watching")["plugins"] == 1
        os.utime(main)
        assert "[same-content]" in watching.until(event="unchanged")["text"]
        user.write("plugins/greeter/main.py", GREET.replace("hello", "salut"))
        assert watching.until(event="reloaded")["serving"] == 2
        user.write("plugins/greeter/main.py", "def run(:\n")
        refused = watching.until(event="refused")
        assert refused["serving"] == 2
        assert "generation 2 keeps serving" in refused["text"]
        assert "main.py:1  SyntaxError" in refused["text"]
        user.write("plugins/greeter/main.py", "print('{}', flush=True)\n" + GREET)
        assert watching.until(event="reloaded")["serving"] == 3
        assert watching.end(signal.SIGTERM) == 0


@posix
def test_people_read_sentences_and_ctrl_c_is_a_good_end(user: User) -> None:
    """Without --json each event is a line or two; Ctrl-C ends with 0."""
    user.plugin("greeter")
    with user.starts("watch") as watching:
        assert watching.line() == "greeter: version 1.0"
        assert watching.line().startswith("hotplug: watching 1 plugin (")
        user.write("plugins/greeter/main.py", GREET.replace("hello", "salut"))
        assert watching.line() == "greeter: generation 2 serves"
        assert watching.end(signal.SIGINT) == 0


@posix
def test_a_plugin_that_was_broken_or_missing_at_the_start_is_loaded_when_it_can_be(user: User) -> None:
    """Repairing a plugin, and adding one, is seen as well as an edit; one that goes away keeps serving."""
    user.plugin("late", "def run(:\n")
    with user.starts("watch", "--json", "--poll", "0.1") as watching:
        assert watching.until(event="refused", plugin="late")["serving"] is None
        assert watching.until(event="watching")["backend"] != "events"
        user.write("plugins/late/main.py", GREET)
        assert watching.until(event="loaded", plugin="late")["serving"] == 1
        user.plugin("newer")
        assert watching.until(event="loaded", plugin="newer")["serving"] == 1
        shutil.rmtree(user.here / "plugins/newer")
        gone = watching.until(event="refused", plugin="newer")
        assert (gone["serving"], "[plugin-missing]" in gone["text"]) == (1, True)


def test_a_project_without_plugins_has_nothing_to_watch(user: User) -> None:
    """Exit code 5 instead of waiting for nothing."""
    assert user.types("watch").code == 5
    assert user.types("watch", "--json").json["exit_code"] == 5


def test_a_poll_interval_of_nothing_is_refused(user: User) -> None:
    """0 would be a busy loop: a usage error, wherever it comes from."""
    user.plugin("greeter")
    for arguments, variables in ((("watch", "--poll", "0"), {}), (("watch",), {"HOTPLUG_POLL_INTERVAL": "0.0001"})):
        done = user.types(*arguments, **variables)
        assert (done.code, "[bad-setting]" in done.err) == (4, True), done
        assert "poll_interval" in done.err


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_first_load_that_hangs_can_be_ended(user: User, tmp_path: Path, number: int) -> None:
    """The watch ends at the signal, not when the load gives up."""
    hangs = tmp_path / "hangs"
    user.plugin("hangs", f"import pathlib, time\npathlib.Path({str(hangs)!r}).touch()\ntime.sleep(1000)\n")
    with user.starts("watch", HOTPLUG_LOAD_TIMEOUT="1000") as watching:
        wait_for(hangs)
        assert watching.end(number) == 0


@posix
def test_a_watch_that_nobody_reads_any_more_ends(user: User) -> None:
    """`hotplug watch | head -1` comes back at the next line that it would have written, with 0."""
    user.plugin("greeter")
    line = f'set -o pipefail; "{HOTPLUG[0]}" -m pytest_hotplug watch --poll 0.05 | head -1'
    with subprocess.Popen(
        ["bash", "-c", line], cwd=user.here, env=user.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:

        def saved_in_vain() -> bool:
            user.write("plugins/greeter/main.py", f"{GREET}# {time.time()}\n")
            return watching.poll() is not None

        eventually(saved_in_vain, "the end of the watch")
        assert watching.returncode == 0
