"""An exception that a signal handler raises may come up anywhere in a call; whatever it hits, nothing stays locked.

CPython runs signal handlers where a Python function begins and where a call into C returns. A
profiler hears of exactly these places: each is hit once, in its turn.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pytest_hotplug.reloader.leases import calling
from tests.reloader.workshop import PATIENCE, Workshop, eventually, running


class Interrupted(KeyboardInterrupt):
    """What the handler raises."""


OURS = ("reloader/", "/contextlib.py", "/threading.py")
_HARMLESS_MODULES = ("looking", "fingerprint", "manifest", "check", "build", "limits", "discovery", "store")
HARMLESS = tuple(f"/{module}.py" for module in _HARMLESS_MODULES)


def starts_a_thread(frame: FrameType) -> bool:
    """Tell whether Python itself is starting a thread, which an exception leaves stuck before its first line."""
    around: FrameType | None = frame
    while around is not None and around.f_code.co_filename.endswith("/threading.py"):
        if around.f_code.co_name == "start":
            return True
        around = around.f_back
    return False


def interrupted_at(place: int, work: Callable[[], object], files: tuple[str, ...] = ("",)) -> bool:
    """Do `work` and raise at its n-th place, in `files` alone; tell whether it has that many."""
    seen = 0

    def hear(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal seen
        file = frame.f_code.co_filename
        if event not in ("call", "c_return") or not any(part in file for part in OURS) or file.endswith(HARMLESS):
            return
        if not file.endswith(files):
            return
        if frame.f_code.co_name == "__del__" or starts_a_thread(frame):  # what is raised there, nobody gets
            return
        seen += 1
        if seen == place:
            sys.setprofile(None)
            raise Interrupted

    before = sys.getprofile()
    sys.setprofile(hear)
    try:
        work()
    except Interrupted:
        return True
    finally:
        sys.setprofile(before)
    return seen >= place


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops what hits a finalizer
@pytest.mark.parametrize("on_change", ["all-wait", "first-waits"])
def test_a_call_that_a_signal_interrupts_leaves_nothing_locked(shop: Workshop, on_change: str) -> None:
    """Wherever Ctrl-C or a timeout hits a reload, the next calls of other threads are served, and no lease is lost."""
    manager = shop.manager(on_change=on_change, load_timeout=60)
    versions = iter(range(10**6))
    shop.plugin("other", "def run():\n    return 1\n")
    manager.execute("other")

    def edit(name: str) -> int:
        shop.plugin(name, f"def run():\n    return {(version := next(versions))}\n")
        return version

    place, more = 1, True
    while more:
        edit("subject")
        more = interrupted_at(place, lambda: manager.execute("subject"))
        wanted = {name: edit(name) for name in ("other", "subject")}
        answers: dict[str, Any] = {}
        with running(lambda: answers.update({name: manager.execute(name) for name in wanted})) as errors:  # noqa: B023
            pass
        assert (errors, answers) == ([], wanted), f"interrupted at place {place}"
        eventually(lambda: manager.health()["calls_in_flight"] == 0, f"the leases, interrupted at place {place}")
        assert calling() == (), f"interrupted at place {place}: this thread is in no call any more"
        place += 1
    assert place > 100


class Port:
    """Something that one version alone can own; the host object of the plugins here."""

    owner: object = None


OWNING = """
ME = object()
def on_load(host):
    if {broken}: raise RuntimeError("broken")
    if host.owner is not None: raise RuntimeError("taken")
    host.owner = ME
def on_unload(host):
    if host.owner is not ME: raise RuntimeError("not mine")
    host.owner = None
def save_state(): return {n}
def load_state(state, from_version): pass
def run(host):
    if host.owner is not ME: raise RuntimeError("does not own it")
    return {n}
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops what hits a finalizer
@pytest.mark.parametrize("broken", [False, True], ids=["good", "broken"])
def test_a_stop_first_reload_that_a_signal_interrupts_opens_its_gate(shop: Workshop, broken: bool) -> None:
    """Wherever it is hit, calls of other threads get in, and a version that was set up answers them."""
    manager = shop.manager(on_change="all-wait", load_timeout=60)
    manager._host.set(Port())
    versions = iter(range(10**6))
    manifest = {"handover": "stop-first", "retire_timeout": 20}

    def edit(broken: bool = False) -> int:
        shop.plugin("subject", OWNING.format(n=(version := next(versions)), broken=broken), manifest)
        return version

    before = edit()
    manager.execute("subject")
    place, more = 1, True
    while more:
        wanted = edit(broken)
        more = interrupted_at(place, lambda: manager.execute("subject"))
        manager.disable_hot_reload()  # first what serves at once, without another load that would mend it
        answers: list[Any] = []
        with running(lambda: answers.append(manager.execute("subject"))) as errors:  # noqa: B023
            pass
        assert errors == [], f"interrupted at place {place}"
        assert answers.pop() in ((before,) if broken else (before, wanted)), f"interrupted at place {place}"
        manager.enable_hot_reload()
        before = edit()
        with running(lambda: answers.append(manager.execute("subject"))) as errors:  # noqa: B023
            pass
        assert (errors, answers) == ([], [before]), f"interrupted at place {place}"
        eventually(lambda: manager.health()["calls_in_flight"] == 0, f"the leases, interrupted at place {place}")
        assert calling() == (), f"interrupted at place {place}: this thread is in no call any more"
        assert not manager._leases._gated
        place += 1
    assert place > 200


ENDING = """
def on_unload(host): host.append(({name!r}, {n}))
def run(): return {n}
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops what hits a finalizer
def test_an_old_version_ends_once_wherever_a_signal_interrupts_its_reload(shop: Workshop) -> None:
    """R8: `on_unload` of each version that was replaced runs, of what it used as well, and never twice."""
    manager = shop.manager(on_change="all-wait", load_timeout=60)
    ended: list[Any] = []
    manager._host.set(ended)
    versions = iter(range(10**6))

    def edit() -> int:
        shop.plugin("base", ENDING.format(name="base", n=(version := next(versions))))
        shop.plugin(
            "user", ENDING.format(name="user", n=version) + "from ..base import main\n", {"depends_on": ["base"]}
        )
        return version

    edit()
    manager.execute("user")
    place, more = 1, True
    while more:
        wanted = edit()
        more = interrupted_at(place, lambda: manager.execute("user"), ("reload.py", "retirement.py", "leases.py"))
        manager.disable_hot_reload()  # without another reload, whose end would mend it
        served = manager.execute("user")
        manager.enable_hot_reload()
        replaced = [n for n in range(wanted + 1) if n != served and (n != wanted or served > wanted)]
        everything = sorted((name, n) for name in ("base", "user") for n in replaced)
        eventually(lambda: sorted(ended) == everything, f"the ends, interrupted at place {place}")  # noqa: B023
        if served != wanted:
            assert manager.execute("user") == wanted
            replaced.append(served)
        place += 1
    assert place > 50


RESTARTED = """
from {module} import GATES
ME = object()
def on_load(host):
    if {n} == 2: raise RuntimeError("broken")
    if host.owner is not None: raise RuntimeError("taken")
    host.owner = ME
    if GATES:
        given_up, gate = GATES.pop()
        given_up()
        gate.wait({patience})
def on_unload(host):
    host.owner = None
def run(host):
    return host.owner is ME
"""
GATES: list[tuple[Callable[[], None], threading.Event]] = []  # for the version that is set up again


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a thread")
def test_a_call_waits_for_the_end_of_a_set_up_that_a_signal_cut_off(shop: Workshop) -> None:
    """X04: Ctrl-C comes while the old version is set up again after a broken one: the next call does not meet it."""
    manager = shop.manager(on_change="all-wait")
    manager._host.set(Port())
    manifest = {"handover": "stop-first"}
    shop.plugin("subject", RESTARTED.format(module=__name__, patience=PATIENCE, n=1), manifest)
    assert manager.execute("subject") is True
    shop.plugin("subject", RESTARTED.format(module=__name__, patience=PATIENCE, n=2), manifest)

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    gate = threading.Event()
    GATES.append((lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1), gate))
    try:
        with pytest.raises(Interrupted):
            manager.execute("subject")
    finally:
        signal.signal(signal.SIGUSR1, before)
    answers: list[Any] = []
    with running(lambda: answers.append(manager.execute("subject"))) as errors:
        over = time.monotonic() + 0.3
        while time.monotonic() < over and not errors:  # time enough for a call that would not wait
            time.sleep(0.005)
        gate.set()
    assert (errors, answers) == ([], [True])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops what hits a finalizer
def test_the_end_of_an_old_version_is_told_once_wherever_a_signal_interrupts_its_reload(shop: Workshop) -> None:
    """R31: each version that was replaced is told `retired`, at the latest by the next reload, and never twice."""
    manager = shop.manager(on_change="all-wait", load_timeout=60)
    told: list[int | None] = []
    manager._events.subscribe(lambda event: told.append(event.generation) if event.kind == "retired" else None)
    versions = iter(range(10**6))

    def edit() -> int:
        shop.plugin("subject", f"def run():\n    return {(version := next(versions))}\n")
        return version

    edit()
    manager.execute("subject")
    place, more = 1, True
    while more:
        edit()
        more = interrupted_at(place, lambda: manager.execute("subject"), ("reload.py", "retirement.py", "leases.py"))
        wanted = edit()
        assert manager.execute("subject") == wanted
        serving = manager.get_plugin_hot_info("subject")["generation"]
        eventually(lambda: sorted(told) == list(range(1, serving)), f"the news, interrupted at place {place}")  # type: ignore[type-var]  # noqa: B023
        place += 1
    assert place > 50


def test_an_interrupt_in_a_callback_costs_other_subscribers_nothing(shop: Workshop) -> None:
    """Ctrl-C comes up while somebody is told of a reload: whoever hears of it after them still does, once."""
    shop.plugin("subject", "def run(): return 1\n")
    manager = shop.manager()
    manager.execute("subject")
    told: list[str] = []

    def interrupted(name: str) -> None:
        unregister()
        raise Interrupted

    unregister = manager._hot_loader.register_callback("loaded", interrupted)
    manager._hot_loader.register_callback("loaded", told.append)
    shop.plugin("subject", "def run(): return 2\n")
    with pytest.raises(Interrupted):
        manager.execute("subject")
    assert told == ["subject"]
    assert manager.execute("subject") == 2
    assert told == ["subject"]
