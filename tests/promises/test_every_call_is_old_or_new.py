"""Running calls are never interrupted, and no call ever sees a mix of two versions."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator

import pytest

from pytest_hotplug import PluginManager, Reloaded
from tests.promises.conftest import PluginDir

THREADS = 8
RELOADS = 200
LATE = {
    "relative": "from . import late",
    "full": "import plugs.hammer.late as late",
    "from package": "from plugs.hammer import late",
    "through the root": "import plugs.hammer.late; late = plugs.hammer.late",
    "flat": "import late",
}
MAIN = """
import json
from dataclasses import dataclass
from importlib.resources import files

import helper

TOKEN = {token}
DATA = json.loads(files(__package__).joinpath("plugin.json").read_text())["version"]


@dataclass
class Answer:
    value: "int" = TOKEN


def run():
    {late}
    return TOKEN, Answer().value, int(DATA), helper.TOKEN, late.TOKEN, late.Late().value
"""
LATE_SOURCE = """
from __future__ import annotations
from dataclasses import dataclass

TOKEN = {token}


@dataclass
class Late:
    value: int = TOKEN
"""


def write_version(plugins: PluginDir, token: int) -> None:
    """Put one version in place; every file carries its token, and the form of the lazy import rotates."""
    late = list(LATE.values())[token % len(LATE)]
    plugins.write(
        "hammer",
        main=MAIN.format(token=token, late=late),
        helper=f"TOKEN = {token}\n",
        late=LATE_SOURCE.format(token=token),
        plugin_json=json.dumps({"version": str(token)}),
    )


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class Callers:
    """Threads that execute the plugin all the time and keep what went wrong."""

    def __init__(self, manager: PluginManager) -> None:
        self.calls = 0
        self.mixed: list[tuple[int, ...]] = []
        self.raised: list[BaseException] = []
        self.stale: list[str] = []
        self.published = 0  # the newest version whose reload has returned
        self._manager = manager
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(THREADS)]

    def _call(self) -> None:
        while not self._stop.is_set():
            at_least = self.published
            try:
                answer = self._manager.execute("hammer")
            except BaseException as error:  # noqa: BLE001  # whatever it is, the test shows it
                self.raised.append(error)
                continue
            self.calls += 1
            if len(set(answer)) != 1:
                self.mixed.append(answer)
            elif answer[0] < at_least:
                self.stale.append(f"{answer[0]} after {at_least} was served")

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def test_eight_threads_see_no_exception_and_no_mix_during_200_reloads(
    plugins: PluginDir, eager_switching: None
) -> None:
    """R11, R29, C01, C04, C05: each call is all old or all new, and new once the reload has returned."""
    write_version(plugins, 0)
    manager = plugins.manager()
    manager.load("hammer")
    manager.disable_hot_reload()  # files change one by one here: this test swaps when a version is complete
    with Callers(manager) as callers:
        for token in range(1, RELOADS + 1):
            write_version(plugins, token)
            assert isinstance(manager.reload("hammer"), Reloaded)
            callers.published = token
    assert callers.raised == []
    assert callers.mixed == []
    assert callers.stale == []
    assert callers.calls > RELOADS
    assert manager.execute("hammer")[0] == RELOADS


@pytest.mark.parametrize("on_change", ["first-waits", "all-wait", "serve-current"])
def test_callers_that_check_for_themselves_see_no_mix(
    plugins: PluginDir, eager_switching: None, on_change: str
) -> None:
    """R10, R12: eight threads notice the same edit at the same time; nobody fails, whoever waits."""
    write_version(plugins, 0)
    manager = plugins.manager(on_change=on_change)
    manager.load("hammer")
    loaded = threading.Semaphore(0)
    manager._hot_loader.register_callback("loaded", lambda name: loaded.release())
    with Callers(manager) as callers:
        for number in range(30):
            plugins.put("hammer", "unused.py", f"NUMBER = {number}\n")
            assert loaded.acquire(timeout=10), "the edit was never served"
    assert (callers.raised, callers.mixed) == ([], [])


def test_a_call_in_flight_ends_on_its_own_version(plugins: PluginDir) -> None:
    """C01-C04: globals, lazy imports and data of a running call stay those that it began with."""
    source = (
        "import threading\nVERSION = {v}\nentered, go = threading.Event(), threading.Event()\n"
        "def run(wait=False):\n    first = VERSION\n"
        "    if wait:\n        entered.set()\n        go.wait(20)\n"
        "    from . import late\n    return first, VERSION, late.VERSION\n"
    )
    plugins.write("calm", main=source.format(v=1), late="VERSION = 1\n")
    manager = plugins.manager()
    old = manager.load("calm")
    answers: list[tuple[int, int, int]] = []
    caller = threading.Thread(target=lambda: answers.append(manager.execute("calm", wait=True)))
    caller.start()
    module = old.modules["plugs.calm.main"]
    assert module.entered.wait(10)
    plugins.write("calm", main=source.format(v=2), late="VERSION = 2\n")
    assert isinstance(manager.reload("calm"), Reloaded)
    assert manager.execute("calm") == (2, 2, 2)
    assert manager.get_plugin_hot_info("calm")["in_flight"] == 1
    module.go.set()
    caller.join(10)
    assert answers == [(1, 1, 1)]


def test_a_generator_in_flight_ends_on_its_own_version(plugins: PluginDir) -> None:
    """C02: what a call returned lazily keeps its version too, and pins it until it is finished."""
    source = "VERSION = {v}\ndef run():\n    yield VERSION\n    from . import late\n    yield late.VERSION\n"
    plugins.write("steps", main=source.format(v=1), late="VERSION = 1\n")
    manager = plugins.manager()
    steps = manager.execute("steps")
    assert next(steps) == 1
    plugins.write("steps", main=source.format(v=2), late="VERSION = 2\n")
    assert list(manager.execute("steps")) == [2, 2]
    assert list(steps) == [1]
    assert manager.get_plugin_hot_info("steps")["in_flight"] == 0
