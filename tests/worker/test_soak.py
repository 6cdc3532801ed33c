"""A worker under load while everything goes wrong: no accepted call is lost, torn, or answered by a refused version."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.terminal import GREET, User
from tests.threads import eventually
from tests.worker.load import Caller, Tally, full_disk
from tests.worker.serving import asked, posted, serving, socket_of

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="workers are commanded over unix sockets"),
    pytest.mark.slow,
]
SECONDS = 6.0  # times --soak; 60 s by --soak 10
RATE = 500.0  # calls a second
PLUGINS = [f"plugin_{number:02d}" for number in range(20)]
CALLERS = 4
SABOTEUR = """\
import ctypes, threading

def run():
    for thread in threading.enumerate():
        if thread.name == "hotplug-watch":
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    return [0, 0]
"""


class Writer:
    """Edits plugins all the time; knows the last good version of each."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._random = random.Random(50)
        self._number = 0
        self.good = dict.fromkeys(PLUGINS, 0)
        self.broken: set[str] = set()
        for plugin in PLUGINS:
            self.save(plugin)

    def save(self, plugin: str) -> None:
        """Put the next good version in place: two modules that tell their version, in one exchange of directories."""
        self._number += 1
        self._place(plugin, self._number, "")
        self.good[plugin] = self._number
        self.broken.discard(plugin)

    def spoil(self, plugin: str) -> None:
        """Put a version in place that must never answer."""
        fault = self._random.choice(["def run(:\n", "raise RuntimeError('refused')\n", "import no_such_module\n"])
        self._place(plugin, -1, fault)
        self.broken.add(plugin)

    def any(self) -> str:
        return self._random.choice(PLUGINS)

    def _place(self, plugin: str, version: int, fault: str) -> None:
        beside = self._user.here / "plugins" / f".{plugin}.new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        (beside / "half.py").write_text(f"HALF = {version}\n")
        text = f"from .half import HALF\n\ndef run():\n    from . import half\n    return [{version}, half.HALF]\n"
        (beside / "main.py").write_text(fault + text)
        (beside / "plugin.json").write_text(f'{{"name": "{plugin}", "version": "{version}"}}')
        place = self._user.here / "plugins" / plugin
        if place.exists():
            from pytest_hotplug.reloader.exchange import exchange

            exchange(beside, place)
            shutil.rmtree(beside)
        else:
            beside.rename(place)


@contextmanager
def calling(user: User, tally: Tally) -> Iterator[None]:
    callers = [Caller(socket_of(user), PLUGINS[n::CALLERS], tally, RATE / CALLERS) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        for caller in callers:
            caller.stop()


def garbage(path: Path) -> None:
    """Throw things at the socket that are no requests, and go."""
    for bytes_ in (b"\x00\xff" * 500, b"GET / HTTP/9.9\r\n", b"POST /stop HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b""):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(1)
            try:
                one.connect(str(path))
                one.sendall(bytes_)
            except OSError:
                return


def edit_for(seconds: float, writer: Writer, path: Path) -> None:
    """Save a version every 50 ms, break one every second, and flood the socket with garbage beside."""
    begun = time.monotonic()
    ticks = 0
    while (now := time.monotonic() - begun) < seconds:
        ticks += 1
        if ticks % 20 == 0:
            writer.spoil(writer.any())
            threading.Thread(target=garbage, args=(path,), daemon=True).start()
        else:
            writer.save(writer.any())
        time.sleep(max(0.0, ticks * 0.05 - now))


def has_settled(user: User, writer: Writer) -> bool:
    """Tell whether the newest version of each plugin serves, or is known to be broken."""
    told = {plugin["name"]: plugin for plugin in asked(user, "/plugins").json()["plugins"]}
    good = (plugin for plugin in PLUGINS if plugin not in writer.broken)
    return all(told[plugin]["state"] == "degraded" for plugin in writer.broken) and all(
        (told[plugin]["state"], told[plugin]["version"]) == ("serving", str(writer.good[plugin])) for plugin in good
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can let another process's disk be full")
def test_no_accepted_call_is_lost_torn_or_answered_by_a_refused_version(user: User, soak: float) -> None:
    """500 calls a second, an edit every 50 ms, broken versions, garbage, no watcher, no logs, a full disk, kill -9."""
    writer, tally = Writer(user), Tally()
    user.plugin("saboteur", SABOTEUR, {"version": "1"})
    part = SECONDS * soak / 5
    with serving(user) as worker, calling(user, tally):
        edit_for(part, writer, socket_of(user))
        user.types("run", "saboteur")  # the watcher's thread ends
        edit_for(part, writer, socket_of(user))
        shutil.rmtree(user.here / "logs")
        (user.here / "logs").write_text("no directory")  # the logs can't be written
        edit_for(part, writer, socket_of(user))
        assert (tally.wrong, tally.cut) == ([], 0)
        health = asked(user, "/health").json()
        assert "[log-unwritable]" in str(health["reasons"])
        (user.here / "logs").unlink()
        with full_disk(worker.process.pid):
            edit_for(part, writer, socket_of(user))
            reasons = str(asked(user, "/health").json()["reasons"])
            assert "the state directory can't be used" in reasons
        assert (tally.wrong, tally.cut) == ([], 0)
        worker.end(signal.SIGKILL)
        with serving(user):
            edit_for(part, writer, socket_of(user))
            eventually(lambda: has_settled(user, writer), "the newest good version of each plugin")
            told = {plugin["name"]: plugin for plugin in asked(user, "/plugins").json()["plugins"]}
    assert tally.wrong == []
    assert set(tally.answered) == {200}
    assert tally.answered[200] > RATE * SECONDS * soak / 5
    for plugin in PLUGINS:
        assert told[plugin]["loaded"], told[plugin]
        assert told[plugin]["version"] != "-1"


def test_a_worker_whose_output_nobody_reads_serves_on(user: User) -> None:
    """Logs that can't be written go to stderr, and a pipe that is full takes nothing: nobody waits for it."""
    user.plugin("greeter")
    user.write("logs", "no directory")
    with serving(user):  # the test reads none of its stderr
        user.plugin("greeter", "def run():\n    raise KeyError('x' * 2000)\n", {"version": "1"})
        assert posted(user, "/plugins/greeter/reload").status_code == 200
        for _ in range(60):
            assert posted(user, "/plugins/greeter/execute").status_code == 500
        assert "could be written nowhere: nobody reads it" in str(asked(user, "/health").json()["reasons"])


def test_a_watcher_that_was_killed_is_started_again(user: User) -> None:
    """Calls check for themselves meanwhile; soon a save is seen again without any call."""
    user.plugin("greeter")
    user.plugin("saboteur", SABOTEUR, {"version": "1"})
    with serving(user) as worker:
        user.types("run", "saboteur")
        user.plugin("greeter", GREET.replace("hello", "goodbye"))
        assert user.types("run", "greeter").out == '{\n  "text": "goodbye world"\n}\n'
        worker.until(event="watching")
        user.plugin("greeter")
        assert worker.until(event="reloaded", plugin="greeter")["serving"] == 3


def test_after_a_kill_the_last_good_version_of_each_plugin_serves(user: User) -> None:
    """What was broken when the worker was killed is served from its kept copy by the next one."""
    writer = Writer(user)
    with serving(user) as worker:
        writer.save("plugin_00")
        worker.until(event="reloaded", plugin="plugin_00")
        good = writer.good["plugin_00"]
        writer.spoil("plugin_00")
        worker.until(event="kept", plugin="plugin_00")
        worker.end(signal.SIGKILL)
    with serving(user):
        assert asked(user, "/plugins/plugin_00").json()["version"] == str(good)
        assert asked(user, "/plugins/plugin_00").json()["state"] == "degraded"
