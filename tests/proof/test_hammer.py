"""The hammer: real threads, real files, one version after the other; no call may see what it must not.

Four threads and an event loop call without a pause, in all forms that an import has, while one
thread publishes, breaks and rolls back. `judge` decides, and is shown to find guilty who is.
Long runs: `pytest tests/proof --soak 50`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginManager, Reloaded
from pytest_hotplug.reloader.registry import Registry
from pytest_hotplug.reloader.reload_thread import ReloadThread
from pytest_hotplug.safety.history import History, Witness
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, running
from tests.threads import nervous_switching

SECONDS = 6.0  # that one variant hammers in an ordinary run
LEAST_CALLS, LEAST_PUBLICATIONS = 200, 5  # fewer prove nothing: the run counts as failed

MAIN = """
import importlib, importlib.resources, json, time
from dataclasses import dataclass
from . import helper
TOKEN = {token}
DATA = json.loads(importlib.resources.files(__package__).joinpath("plugin.json").read_text())["token"]

@dataclass
class Answer:
    token: "int"

def relative():
    from . import late
    return late

def full():
    import {package}.hammered.late
    return {package}.hammered.late

def renamed():
    import {package}.hammered.late as q
    return q

def from_package():
    from {package}.hammered import late
    return late

def names():
    from {package}.hammered.late import Late, TOKEN
    return type("names", (), dict(Late=Late, TOKEN=TOKEN))

def flat():
    import late
    return late

def flat_names():
    from late import Late, TOKEN
    return type("names", (), dict(Late=Late, TOKEN=TOKEN))

def import_module():
    return importlib.import_module("{package}.hammered.late")

def import_module_relative():
    return importlib.import_module(".late", __package__)

def dunder():
    return __import__("{package}.hammered.late", fromlist=["late"])

FORMS = [relative, full, renamed, from_package, names, flat, flat_names, import_module, import_module_relative, dunder]

def answer(late):
    from .late import Late
    data = json.loads(importlib.resources.files({anchor}).joinpath("plugin.json").read_text())["token"]
    own = [TOKEN, DATA, data, Answer(DATA).token]
    return [*own, helper.TOKEN, helper.late_token(), late.TOKEN, Late(late.TOKEN).token]

def run(form, pause=0.0):
    first = TOKEN
    if pause:
        time.sleep(pause)
    return [first, *answer(FORMS[form]())]

async def arun(form, pause=0.0):
    import asyncio
    first = TOKEN
    await asyncio.sleep(pause)
    return [first, *answer(FORMS[form]())]
"""
HELPER = """
TOKEN = {token}

def late_token():
    from .late import TOKEN
    return TOKEN
"""
LATE = """
from __future__ import annotations
from dataclasses import dataclass
TOKEN = {token}

@dataclass
class Late:
    token: int
"""
USER = """
import time
from ..hammered import helper, main
from {package}.hammered.main import TOKEN

def run(form, pause=0.0):
    first = TOKEN
    if pause:
        time.sleep(pause)
    from ..hammered import late
    return [first, helper.TOKEN, late.TOKEN, *main.run(form)]
"""
FORMS = 10
BROKEN = {
    "main.py": "raise RuntimeError({token})\n",
    "helper.py": "TOKEN = {token}\ndef late_token(:\n",
    "plugin.json": '{{"token": {token}, "entry_point": "main.nothing"}}',
}


def sources(package: str, token: int) -> dict[str, str]:
    """Return the files of one version, the entry module last; `token` stands in each."""
    anchor = "" if sys.version_info >= (3, 12) else "__package__"
    return {
        "helper.py": HELPER.format(token=token),
        "late.py": LATE.format(token=token),
        "plugin.json": f'{{"version": "{token}", "token": {token}}}',
        "main.py": MAIN.format(token=token, package=package, anchor=anchor),
    }


def broken(package: str, token: int) -> dict[str, str]:
    """Return the files of a version that can't be served: the code of one of its files is broken, in turn."""
    file = sorted(BROKEN)[token % len(BROKEN)]
    main = sources(package, token)["main.py"]
    text = BROKEN[file].format(token=token)
    return {**sources(package, token), file: main + text if file == "main.py" else text}


class Hammer:
    """Threads that call without end, and a history of what is published meanwhile."""

    def __init__(self) -> None:
        self.history = History()
        self.over = threading.Event()
        self.witnesses: list[Witness] = []
        self._numbers = itertools.count(1)

    def caller(self, call: Callable[[int, float], list[int]]) -> Callable[[], None]:
        """Return what a thread does: call in each form in turn, every now and then with a pause in the middle."""
        witness = self._witness()

        def work() -> None:
            for number in itertools.count():
                if self.over.is_set():
                    break
                start = time.perf_counter()
                try:
                    answer = call(number % FORMS, 0.002 if number % 17 == 0 else 0.0)
                except Exception as error:  # noqa: BLE001  # a finding
                    witness.failed(start, time.perf_counter(), error)
                else:
                    witness.saw(start, time.perf_counter(), answer)
            witness.judge()

        return work

    def event_loop(self, *calls: Callable[[int, float], Awaitable[list[int]]]) -> Callable[[], None]:
        """Return what a thread does that runs all `calls` side by side on an event loop."""
        witnesses = [self._witness() for _ in calls]

        async def work(call: Callable[[int, float], Awaitable[list[int]]], witness: Witness) -> None:
            for number in itertools.count():
                if self.over.is_set():
                    break
                start = time.perf_counter()
                try:
                    answer = await call(number % FORMS, 0.002 if number % 5 == 0 else 0.0)
                except Exception as error:  # noqa: BLE001  # a finding
                    witness.failed(start, time.perf_counter(), error)
                else:
                    witness.saw(start, time.perf_counter(), answer)
            witness.judge()

        async def all_of_them() -> None:
            await asyncio.gather(*map(work, calls, witnesses))

        return lambda: asyncio.run(all_of_them())

    def _witness(self) -> Witness:
        self.witnesses.append(Witness(self.history))
        return self.witnesses[-1]

    @property
    def calls(self) -> int:
        return sum(witness.calls for witness in self.witnesses)

    @property
    def findings(self) -> list[Any]:
        return [finding for witness in self.witnesses for finding in witness.odd]

    def strike(self, seconds: float, step: Callable[[int], None], *callers: Callable[[], None]) -> None:
        """Take `step` after `step` for so long, or until somebody found something, while the callers call."""
        with nervous_switching(), running(*callers) as errors:
            try:
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline and not self.findings:
                    step(next(self._numbers))
            finally:
                self.over.set()
        assert errors == []

    def assert_clean(self, record: Callable[[str, object], None]) -> None:
        """Nothing was found, and enough was looked at."""
        record("calls", self.calls)
        record("publications", len(self.history.done))
        assert self.findings == []
        assert self.calls >= LEAST_CALLS
        assert len(self.history.done) >= LEAST_PUBLICATIONS
        assert len(set().union(*(witness.seen for witness in self.witnesses))) >= LEAST_PUBLICATIONS // 2


def callers_of(hammer: Hammer, manager: PluginManager) -> list[Callable[[], None]]:
    """Return four threads: two on the plugin, one on its dependent, an event loop on both."""

    def direct(form: int, pause: float) -> list[int]:
        return manager.execute("hammered", form=form, pause=pause)

    def through(form: int, pause: float) -> list[int]:
        return manager.execute("user", form=form, pause=pause)

    def called(form: int, pause: float) -> list[int]:
        return manager.call("hammered", "arun", form, pause)

    async def awaited(form: int, pause: float) -> list[int]:
        return await manager.acall("hammered", "arun", form, pause)

    async def in_a_thread(form: int, pause: float) -> list[int]:
        return await manager.aexecute("user", form=form, pause=pause)

    own = [hammer.caller(call) for call in (direct, direct, through, called)]
    return [*own, hammer.event_loop(awaited, in_a_thread)]


def test_explicit_reloads_are_linearizable(
    shop: Workshop, soak: float, record_property: Callable[[str, object], None]
) -> None:
    """C01 C04 C05 C08 L05 F01 R29: calls beside reload and rollback see old or new, never a mix, never a broken one."""
    hammer = Hammer()
    manager = shop.manager()
    with hammer.history.publishing(0):
        shop.plugin("user", USER.format(package=shop.package), {"depends_on": ["hammered"]})
        shop.plugin("hammered", sources(shop.package, 0))
        manager.load("user")
    manager.disable_hot_reload()  # files land one by one here: nobody but `reload` may look at them
    served = [0]

    def step(number: int) -> None:
        if number % 5 == 3:
            shop.plugin("hammered", broken(shop.package, number))
            assert isinstance(manager.reload("hammered"), KeptCurrent)
        elif number % 7 == 6 and len(served) > 1:
            served.pop()
            with hammer.history.publishing(served[-1]):
                outcome = manager.rollback("hammered")
            assert isinstance(outcome, Reloaded), outcome
        else:
            shop.plugin("hammered", sources(shop.package, number))
            served[:] = [*served, number][-4:]
            with hammer.history.publishing(number):
                outcome = manager.reload("hammered")
            assert isinstance(outcome, Reloaded), outcome
        assert set(manager.execute("user", form=number % FORMS)) == {served[-1]}

    hammer.strike(SECONDS * soak, step, *callers_of(hammer, manager))
    hammer.assert_clean(record_property)


@pytest.mark.skipif(sys.platform == "win32", reason="a deployment in one step needs links")
def test_reloads_by_calls_and_the_watcher_are_linearizable(
    shop: Workshop, soak: float, record_property: Callable[[str, object], None]
) -> None:
    """C05 D13 L05 W5 R29: calls that look for themselves and a watcher, over releases that a link points to."""
    hammer = Hammer()
    releases = shop.root / "releases"
    link = shop.plugins / "hammered"

    def point_to(number: int, files: dict[str, str]) -> None:
        for file, text in files.items():
            (releases / str(number)).mkdir(parents=True, exist_ok=True)
            (releases / str(number) / file).write_text(text)
        beside = shop.plugins / ".hammered.new"
        beside.symlink_to(releases / str(number))
        os.replace(beside, link)

    def serves(token: int) -> bool:
        return set(manager.execute("hammered", form=token % FORMS)) == {token}

    with hammer.history.publishing(0):
        shop.plugin("user", USER.format(package=shop.package), {"depends_on": ["hammered"]})
        point_to(0, sources(shop.package, 0))
        manager = shop.manager(on_change="first-waits")
        manager.load("user")
    manager.start_watching()
    served = [0]

    def step(number: int) -> None:
        if number % 5 == 3:
            point_to(number, broken(shop.package, number))
            assert isinstance(manager.reload("hammered"), KeptCurrent)
        elif number % 7 == 6 and len(served) > 1:
            served.pop()
            with hammer.history.publishing(served[-1]):
                outcome = manager.rollback("hammered")
            assert isinstance(outcome, Reloaded), outcome
        else:
            served[:] = [*served, number][-4:]
            with hammer.history.publishing(number):
                point_to(number, sources(shop.package, number))
                eventually(lambda: serves(number), f"version {number}")
        time.sleep(0.005)  # for the watcher's sake: what it hears of must not always be done already

    hammer.strike(SECONDS * soak, step, *callers_of(hammer, manager))
    manager.stop_watching()
    hammer.assert_clean(record_property)


def test_a_call_in_the_moment_of_a_rollback_does_not_end_it(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """R37 L05: the moment of the swap, drawn out: a call of a dependent in it leaves the rollback in force."""
    shop.plugin("base", "N = 1\ndef run(): return N\n")
    shop.plugin("user", "from ..base import main\ndef run(): return main.N\n", {"depends_on": ["base"]})
    manager = shop.manager()
    manager.load("user")
    shop.write("base", "main.py", "N = 2\ndef run(): return N\n")
    assert manager.execute("user") == 2
    swapped, called = threading.Event(), threading.Event()
    swap = Registry.swap

    def slowly(self: Registry, changed: Mapping[str, Any]) -> None:
        swap(self, changed)
        if not swapped.is_set():
            swapped.set()
            assert called.wait(PATIENCE), "the call never came back in the moment of the swap"

    monkeypatch.setattr(Registry, "swap", slowly)

    def call() -> None:
        assert swapped.wait(PATIENCE)
        manager.execute("user")
        called.set()

    with running(call) as errors:
        assert isinstance(manager.rollback("base"), Reloaded)
    assert errors == []
    assert (manager.execute("user"), manager.execute("base")) == (1, 1)
    assert manager.get_plugin_hot_info("base")["state"] == "rolled-back"


def test_loads_that_follow_each_other_closely_keep_to_their_own(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L05 C06: the thread that asked for one load may wake up in the middle of the next, and changes nothing of it."""
    shop.plugin("other", "def run(): return 1\n")
    shop.plugin("base", "N = 1\ndef run(): return N\n")
    shop.plugin("user", "from ..base import main\ndef run(): return main.N\n", {"depends_on": ["base"]})
    manager = shop.manager()
    manager.load("other")
    manager.load("user")
    awake = threading.Event()
    sleepy = threading.Thread(target=manager.reload, args=("other",), daemon=True)
    run = ReloadThread.run

    def wakes_late(self: ReloadThread, function: Callable[[], Any], timeout: float) -> Any:
        result = run(self, function, timeout)
        if threading.current_thread() is sleepy:
            assert awake.wait(PATIENCE)
        return result

    monkeypatch.setattr(ReloadThread, "run", wakes_late)
    shop.write("other", "main.py", "def run(): return 2\n")
    with gate("base") as (waiting, go):
        shop.write("base", "main.py", f"{waiting}N = 2\ndef run(): return N\n")
        sleepy.start()
        eventually(lambda: manager.module("other", "main").run() == 2, "the first load")
        with running(lambda: manager.reload("base")) as errors:
            eventually(lambda: manager._hot_loader._build is not None and manager._hot_loader._build.at == "base")
            awake.set()
            sleepy.join(PATIENCE)
            go.set()
    assert errors == []
    assert (manager.execute("base"), manager.execute("user")) == (2, 2)


# -- the judge, judged -----------------------------------------------------------------------------

ILLEGAL = {  # publications 0, 1, 2 from 0 to 1, from 10 to 11, from 20 to 21; 3 is under way since 30
    "torn": (12, 13, [1, 2]),
    "torn between publications": (10.2, 10.8, [0, 0, 1, 0]),
    "stale": (12, 13, [0]),
    "stale by a hair": (11.001, 25, [0]),
    "stale by two": (22, 23, [0]),
    "from the future": (12, 19.999, [2]),
    "from the future, under way": (22, 29.999, [3]),
    "never published": (12, 13, [7]),
}
LEGAL = {
    "before and after": (2, 3, [0]),
    "old during a publication": (10.5, 10.6, [0]),
    "new during a publication": (10.5, 10.6, [1]),
    "old, for it began before that was done": (10.999, 25, [0]),
    "anything across two": (9, 21, [1]),
    "under way": (29, 31, [3]),
    "not yet under way": (29, 31, [2]),
}


def recorded() -> History:
    """Return a history that stands still."""
    return History(begun=[0, 10, 20, 30], done=[1, 11, 21], tokens=[0, 1, 2, 3])


@pytest.mark.parametrize("case", ILLEGAL)
def test_the_judge_finds_each_illegal_call(case: str) -> None:
    """The criterion condemns what is torn, stale, from the future or never published, by the time's last digit."""
    finding = recorded().judge(*ILLEGAL[case])
    assert finding is not None
    assert case.startswith(finding.kind)


@pytest.mark.parametrize("case", LEGAL)
def test_the_judge_lets_legal_calls_pass(case: str) -> None:
    """A call beside a publication may be served by either version."""
    assert recorded().judge(*LEGAL[case]) is None


def test_after_a_rollback_the_older_version_is_legal_and_the_newer_stale() -> None:
    """The judge goes by publications, not by numbers: an older token that is published again is the newest."""
    history = History(begun=[0, 10, 20], done=[1, 11, 21], tokens=[0, 1, 0])
    assert history.judge(22, 23, [0]) is None
    finding = history.judge(22, 23, [1])
    assert finding is not None


def test_an_exception_is_a_finding() -> None:
    """A call that raises is as bad as one that answers wrongly."""
    witness = Witness(recorded())
    witness.failed(1, 2, KeyError("late"))
    assert [finding.kind for finding in witness.odd] == ["KeyError"]


# -- who is guilty is found guilty -------------------------------------------------------------------


class Naive:
    """A loader as everybody writes it first, in one of three ways."""

    WAYS = ("purge, look up at each call", "purge, keep the entry", "reload in place")

    def __init__(self, package: str, way: str) -> None:
        self._package = package
        self._way = way
        self._entry: Callable[[int, float], list[int]] | None = None

    def reload(self) -> None:
        names = [name for name in sys.modules if name == "late" or name.startswith(f"{self._package}.")]
        if self._way == "reload in place" and self._entry is not None:
            for name in sorted(names, key=lambda name: name.endswith("main")):
                importlib.reload(sys.modules[name])
        else:
            for name in names:
                sys.modules.pop(name, None)
        importlib.invalidate_caches()
        self._entry = importlib.import_module(f"{self._package}.hammered.main").run

    def execute(self, form: int, pause: float = 0.0) -> list[int]:
        entry = self._entry
        if self._way == "purge, look up at each call":
            entry = sys.modules[f"{self._package}.hammered.main"].run
        assert entry is not None
        return entry(form, pause)


@pytest.fixture
def purged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the name of a package that ordinary imports find; afterwards nothing of it is left."""
    (tmp_path / "purged_plugins" / "hammered").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "purged_plugins" / "hammered"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it is guilty without stale bytecode, too
    yield "purged_plugins"
    for name in [name for name in sys.modules if name.split(".")[0] in ("purged_plugins", "late")]:
        del sys.modules[name]


@pytest.mark.parametrize("way", Naive.WAYS)
def test_a_naive_loader_is_found_guilty(purged: str, tmp_path: Path, way: str) -> None:
    """C05: the same files, threads and judge condemn the usual ways to reload, so that silence means something."""
    hammer = Hammer()
    loader = Naive(purged, way)

    def write(token: int) -> None:
        for file, text in sources(purged, token).items():
            beside = tmp_path / "new"
            beside.write_text(text)
            os.replace(beside, tmp_path / purged / "hammered" / file)

    for token in (-1, 0):  # while nobody calls, it does what it promises
        with hammer.history.publishing(token):
            write(token)
            loader.reload()
        assert [set(loader.execute(form)) for form in range(FORMS)] == [{token}] * FORMS

    def step(number: int) -> None:
        write(number)
        with hammer.history.publishing(number), contextlib.suppress(Exception):
            loader.reload()  # while calls go on even its own imports may fail

    hammer.strike(3 * PATIENCE, step, *[hammer.caller(loader.execute) for _ in range(3)])
    assert hammer.findings, f"{hammer.calls} calls beside {len(hammer.history.done)} publications"


def test_a_loader_that_says_done_too_early_is_found_guilty(shop: Workshop) -> None:
    """R29: a reload that returns before the new version serves lets stale answers out, and the judge sees them."""
    hammer = Hammer()
    shop.plugin("hammered", sources(shop.package, 0))
    manager = shop.manager()
    with hammer.history.publishing(0):
        manager.load("hammered")
    manager.disable_hot_reload()

    def step(number: int) -> None:
        with hammer.history.publishing(number):
            shop.plugin("hammered", sources(shop.package, number))
        time.sleep(0.01)
        manager.reload("hammered")

    calls = [hammer.caller(lambda form, pause: manager.execute("hammered", form=form, pause=pause)) for _ in range(3)]
    hammer.strike(PATIENCE, step, *calls)
    assert {finding.kind for finding in hammer.findings} == {"stale"}
