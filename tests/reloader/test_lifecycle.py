"""From on_load to the last lease: what a generation is given, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginManager, Reloaded, UsageError
from tests.reloader.workshop import PATIENCE, Workshop, eventually, kinds, running

LOGGING = """
N = {n}
def on_load(host): host.append(("load", N))
def on_unload(host): host.append(("unload", N))
def run(): return N
"""


def with_host(shop: Workshop, host: Any, **settings: Any) -> PluginManager:
    manager = shop.manager(**settings)
    manager._host.set(host)
    return manager


def test_on_load_and_on_unload_run_once_per_generation(shop: Workshop) -> None:
    """X11 R7 R8: each version is set up once and cleaned up once, the new one before the old one goes."""
    shop.plugin("subject", LOGGING.format(n=1))
    said: list[Any] = []
    manager = with_host(shop, said)
    manager.execute("subject")
    manager.execute("subject")
    shop.write("subject", "main.py", LOGGING.format(n=2))
    manager.execute("subject")
    manager.close()
    manager.close()
    assert said == [("load", 1), ("load", 2), ("unload", 1), ("unload", 2)]


@pytest.mark.parametrize("parameter", ["host", "bot", "app", "world"])
def test_hooks_and_entries_are_given_what_they_ask_for_by_name(shop: Workshop, parameter: str) -> None:
    """`context` and the host object (`host`, `bot`, `app`, or what `host_parameter` says) come by name."""
    main = f"GOT = []\ndef on_load({parameter}, context): GOT.append(({parameter}, context.host, context.name))\n"
    main += f"def run(message, *, {parameter}, context):\n"
    main += f"    return GOT, message, {parameter}, (context.version, context.generation, context.logger.name)\n"
    shop.plugin("subject", main, {"version": "1.5"})
    manager = with_host(shop, "it", host_parameter="world")
    got, message, host, said = manager.execute("subject", message="hi")
    assert got == [("it", "it", "subject")]
    assert (message, host, said) == ("hi", "it", ("1.5", 1, "hotplug.plugin.subject"))
    assert manager.execute("subject", message="hi", **{parameter: "mine"})[2] == "mine"


def test_a_parameter_of_the_manifest_is_not_injected(shop: Workshop) -> None:
    """A plugin whose own parameter is called `app` gets that, not the host."""
    shop.plugin("subject", "def run(app): return app\n", {"parameters": {"app": {"type": "string", "default": "own"}}})
    assert with_host(shop, "the host").execute("subject") == "own"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_host_factory_runs_once(shop: Workshop, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """`host = "module:factory"` is called once per process, sync or async, at first use."""
    module = ModuleType("a_host_module")
    module.made = []  # type: ignore[attr-defined]
    exec(f"{kind} factory():\n    made.append(1)\n    return 'made'\n", vars(module))
    monkeypatch.setitem(sys.modules, "a_host_module", module)
    shop.plugin("subject", "def run(host): return host\n")
    manager = shop.manager(host="a_host_module:factory")
    assert vars(module)["made"] == []
    assert manager.execute("subject") == "made"
    manager.force_reload_plugin("subject")
    assert manager.execute("subject") == "made"
    assert vars(module)["made"] == [1]


def test_a_host_that_cannot_be_made_is_a_usage_error(shop: Workshop) -> None:
    """A wrong `host` setting is told with its text and a slug."""
    shop.plugin("subject", "def run(host): return host\n")
    with pytest.raises(UsageError, match=r"'host' = 'no_such_module_x:f'.*\[bad-host\]"):
        shop.manager(host="no_such_module_x:f").execute("subject")


def test_async_hooks_run_to_their_end(shop: Workshop) -> None:
    """`on_load` and `on_unload` may be async, with and without a running loop around."""
    main = "import asyncio\nasync def on_load(host):\n    await asyncio.sleep(0)\n    host.append('up')\n"
    main += "async def on_unload(host):\n    await asyncio.sleep(0)\n    host.append('down')\ndef run(): return 1\n"
    shop.plugin("subject", main)
    said: list[str] = []
    manager = with_host(shop, said)
    assert asyncio.run(manager.aexecute("subject")) == 1
    manager.unload("subject")
    assert said == ["up", "down"]


def test_undo_runs_last_registered_first(shop: Workshop) -> None:
    """R8 X08: what was registered on load is undone at unload in reverse order, an error stops nothing."""
    main = (
        "def on_load(context, host):\n    context.register(host.append, 1)\n    context.register(1 .__truediv__, 0)\n"
    )
    main += "    context.register(exit)\n    context.register(host.append, 2)\n"
    main += "    def raises(): raise OSError('stuck')\n    context.register(raises)\ndef run(): pass\n"
    shop.plugin("subject", main)
    said: list[int] = []
    manager = with_host(shop, said)
    errors: list[str] = []
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    manager.load("subject")
    manager.unload("subject")
    assert said == [2, 1]
    assert any("OSError: stuck" in text and "[retire-problem]" in text for text in errors)


def test_an_on_unload_that_exits_ends_nothing(shop: Workshop) -> None:
    """R9: a plugin that calls sys.exit() while it is stopped is reported and retired all the same."""
    shop.plugin("subject", "import sys\ndef on_unload(): sys.exit(1)\ndef run(): return 1\n")
    manager = shop.manager()
    heard: list[Any] = []
    manager.subscribe(heard.append)
    manager.load("subject")
    manager.force_reload_plugin("subject")
    assert kinds(heard) == ["loaded", "loaded", "error", "retired"]


def test_a_callback_list_of_the_host_holds_exactly_the_new_one(shop: Workshop) -> None:
    """X08: registered through the context, the host's list has one entry after any number of reloads."""
    main = "def callback(): return {n}\ndef on_load(context, host):\n    host.append(callback)\n"
    main += "    context.register(host.remove, callback)\ndef run(): pass\n"
    shop.plugin("subject", main.format(n=0))
    callbacks: list[Any] = []
    manager = with_host(shop, callbacks)
    manager.load("subject")
    for number in range(1, 5):
        shop.write("subject", "main.py", main.format(n=number))
        manager.reload("subject")
    assert [callback() for callback in callbacks] == [4]


def test_threads_of_the_context_are_joined(shop: Workshop) -> None:
    """X01: a thread that watches `context.stopping` ends with its generation: one alive after four reloads."""
    main = "def on_load(context): context.thread(context.stopping.wait, name='plugin-poller')\ndef run(): pass\n"
    shop.plugin("subject", main)
    manager = shop.manager()
    manager.load("subject")
    for _ in range(4):
        manager.force_reload_plugin("subject")

    def pollers() -> int:
        return sum(thread.name == "plugin-poller" for thread in threading.enumerate())

    assert pollers() == 1
    manager.close()
    assert pollers() == 0


def test_a_thread_that_ignores_stopping_is_named_and_left(shop: Workshop) -> None:
    """R29: nothing is killed; after `retire_timeout` the thread is reported by name."""
    main = "import threading\nEND = threading.Event()\ndef on_load(context): context.thread(END.wait, name='deaf')\n"
    shop.plugin("subject", main + "def run(): pass\n", {"retire_timeout": 0.05})
    manager = shop.manager()
    errors: list[str] = []
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    end = manager.module("subject", "main").END
    manager.unload("subject")
    assert len(errors) == 1
    assert "thread 'deaf' ignores context.stopping" in errors[0]
    end.set()


# -- leases --------------------------------------------------------------------------------------

LEASED = """
import asyncio
N = {n}
def gen():
    yield N
    from . import late
    yield N, late.N
async def agen():
    yield N
    await asyncio.sleep(0)
    from . import late
    yield N, late.N
async def coro(gate):
    before = N
    await gate.wait()
    from . import late
    return before, N, late.N
def wait(inside, gate):
    inside.set()
    assert gate.wait(10)
    return N
def on_unload(host): host.append(N)
def run(): return N
"""


@pytest.fixture
def leased(shop: Workshop) -> tuple[PluginManager, list[int], Any]:
    """A manager, the numbers of the generations that were stopped, and a function that reloads."""
    shop.plugin("subject", {"main.py": LEASED.format(n=1), "late.py": "N = 1\n"})
    stopped: list[int] = []
    manager = with_host(shop, stopped)
    manager.load("subject")

    def reload(number: int = 2) -> None:
        shop.write("subject", "late.py", f"N = {number}\n")
        shop.write("subject", "main.py", LEASED.format(n=number))
        assert isinstance(manager.reload("subject"), Reloaded)

    return manager, stopped, reload


def test_a_generation_retires_after_its_last_call(leased: Any) -> None:
    """C01 R9 R29: a running call is never interrupted; on_unload comes when it has returned, not before."""
    manager, stopped, reload = leased
    inside, gate = threading.Event(), threading.Event()
    answers: list[int] = []
    with running(lambda: answers.append(manager.call("subject", "wait", inside, gate))):
        assert inside.wait(PATIENCE)
        assert manager.get_plugin_hot_info("subject")["in_flight"] == 1
        reload()
        assert (stopped, manager.execute("subject")) == ([], 2)
        gate.set()
    assert answers == [1]
    eventually(lambda: stopped == [1], "on_unload of the old generation")
    assert manager.get_plugin_hot_info("subject")["in_flight"] == 0


def test_a_generator_in_flight_goes_on_in_old_code(leased: Any) -> None:
    """C02: it yields old values, imports old modules, and holds its generation until it is finished."""
    manager, stopped, reload = leased
    results = manager.call("subject", "gen")
    assert next(results) == 1
    reload()
    assert next(results) == (1, 1)
    assert stopped == []
    assert next(results, "end") == "end"
    eventually(lambda: stopped == [1], "on_unload of the old generation")


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("end", ["close", "drop", "drop in a cycle"])
def test_a_generator_that_is_not_finished_releases_its_generation(leased: Any, started: bool, end: str) -> None:
    """C02: closed or collected, begun or never begun: the lease ends."""
    manager, stopped, reload = leased
    results = manager.call("subject", "gen")
    if started:
        next(results)
    if end == "close":
        results.close()
        reload()
    else:
        reload()
        assert stopped == []
        if end == "drop in a cycle":
            cycle: list[Any] = [results]
            cycle.append(cycle)
            del cycle
        del results
        gc.collect()
    eventually(lambda: stopped == [1], "on_unload of the old generation")
    assert manager.get_plugin_hot_info("subject")["in_flight"] == 0


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop turn until `condition()` is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # the reloader sets no event of ours
            await asyncio.sleep(0)


def test_a_coroutine_in_flight_across_an_await_is_all_old(leased: Any) -> None:
    """C03: what awaits during a reload ends on the code it began with, lazy imports included."""
    manager, stopped, reload = leased

    async def scenario() -> Any:
        gate = asyncio.Event()
        task = asyncio.create_task(manager.acall("subject", "coro", gate))
        await until(lambda: manager.get_plugin_hot_info("subject")["in_flight"] == 1)
        await asyncio.to_thread(reload)
        assert stopped == []
        gate.set()
        return await task, await manager.aexecute("subject")

    assert asyncio.run(scenario()) == ((1, 1, 1), 2)
    eventually(lambda: stopped == [1], "on_unload of the old generation")


def test_an_async_generator_in_flight_is_all_old(leased: Any) -> None:
    """C03: async generators pin their generation until they are exhausted."""
    manager, stopped, reload = leased

    async def scenario() -> list[Any]:
        results = await manager.acall("subject", "agen")
        got = [await anext(results)]
        await asyncio.to_thread(reload)
        assert stopped == []
        got += [value async for value in results]
        return got

    assert asyncio.run(scenario()) == [1, (1, 1)]
    eventually(lambda: stopped == [1], "on_unload of the old generation")


def test_a_cancelled_call_releases_its_generation(leased: Any) -> None:
    """C03: cancelling the task, or the thread's turn before it came, ends the lease."""
    manager, stopped, reload = leased

    async def scenario() -> None:
        task = asyncio.create_task(manager.acall("subject", "coro", asyncio.Event()))
        await until(lambda: manager.get_plugin_hot_info("subject")["in_flight"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        from concurrent.futures import ThreadPoolExecutor

        free = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            blocker = asyncio.get_running_loop().run_in_executor(None, free.wait)
            waiting = asyncio.create_task(manager.acall("subject", "run"))
            await until(lambda: pool._work_queue.qsize() == 1)  # the call, behind the blocker
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            free.set()
            await blocker

    asyncio.run(scenario())
    assert manager.get_plugin_hot_info("subject")["in_flight"] == 0
    reload()
    eventually(lambda: stopped == [1], "on_unload of the old generation")


def test_a_call_that_raises_releases_its_generation(shop: Workshop) -> None:
    """R9: the entry's own exception passes unchanged, and nothing stays leased."""
    shop.plugin("subject", "class Own(Exception): pass\ndef run(): raise Own('mine')\n")
    manager = shop.manager()
    with pytest.raises(Exception, match="mine") as caught:
        manager.execute("subject")
    assert type(caught.value).__name__ == "Own"
    assert manager.get_plugin_hot_info("subject")["in_flight"] == 0


# -- handover ------------------------------------------------------------------------------------


def test_state_is_handed_over(shop: Workshop) -> None:
    """L07 L08: what save_state of the old returns, load_state of the new gets, with the old version."""
    main = "STATE = {n}\ndef save_state(): return STATE + 10\n"
    main += "def load_state(state, from_version):\n    global STATE\n    STATE = (state, from_version)\n"
    main += "def run(): return STATE\n"
    shop.plugin("subject", main.format(n=1), {"version": "1.0"})
    manager = shop.manager()
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", main.format(n=2))
    assert manager.execute("subject") == (11, "1.0")


def test_a_state_that_cannot_be_saved_keeps_the_current_version(shop: Workshop) -> None:
    """F02: an error in save_state refuses the new version; the old one goes on with its state."""
    shop.plugin("subject", "def save_state(): raise OSError('full')\ndef run(): return 1\n")
    manager = shop.manager()
    manager.load("subject")
    shop.write("subject", "main.py", "def run(): return 2\ndef load_state(state, from_version): pass\n")
    outcome = manager.reload("subject")
    assert outcome.error is not None
    assert (type(outcome), outcome.error.slug) == (KeptCurrent, "state-refused")
    assert manager.execute("subject") == 1


SOCKET = """
import socket
def on_load(host, context):
    host.server = socket.create_server(("127.0.0.1", host.port))
    context.register(host.server.close)
    if {broken}: raise RuntimeError('broken')
def wait(inside, gate):
    inside.set()
    gate.wait(10)
    return {n}
def run(): return {n}
"""


class Listening:
    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.server: Any = None


@pytest.fixture
def stop_first(shop: Workshop) -> PluginManager:
    """A manager that serves a plugin which owns a port and hands over by stop-first."""
    shop.plugin("subject", SOCKET.format(n=1, broken=False), {"handover": "stop-first", "retire_timeout": 5})
    manager = with_host(shop, Listening(), load_timeout=5)
    assert manager.execute("subject") == 1
    return manager


@pytest.mark.skipif(os.name == "nt", reason="two servers may share a port there")
def test_stop_first_lets_one_version_own_a_port(shop: Workshop, stop_first: PluginManager) -> None:
    """X04: the old version gives the port back before the new one takes it."""
    for number in (2, 3):
        shop.write("subject", "main.py", SOCKET.format(n=number, broken=False))
        assert stop_first.execute("subject") == number


def test_stop_first_waits_for_calls_and_lets_new_ones_wait(shop: Workshop, stop_first: PluginManager) -> None:
    """X04 R29: running calls end first; calls that come meanwhile wait and run on the new version."""
    inside, gate = threading.Event(), threading.Event()
    old: list[int] = []
    new: list[int] = []
    outcomes: list[Any] = []
    with running(lambda: old.append(stop_first.call("subject", "wait", inside, gate))) as errors:
        assert inside.wait(PATIENCE)
        shop.write("subject", "main.py", SOCKET.format(n=2, broken=False))
        with running(lambda: outcomes.append(stop_first.reload("subject"))) as more:
            eventually(lambda: "subject" in stop_first._leases._gated, "the gate")
            with running(lambda: new.append(stop_first.execute("subject"))) as most:
                assert (old, new, outcomes) == ([], [], [])
                gate.set()
    assert (errors, more, most) == ([], [], [])
    assert (old, new, type(outcomes[0])) == ([1], [2], Reloaded)


def test_stop_first_gives_up_when_calls_do_not_end(shop: Workshop) -> None:
    """X04: after retire_timeout the current version goes on and says so; it is tried when the call has ended."""
    shop.plugin("subject", SOCKET.format(n=1, broken=False), {"handover": "stop-first", "retire_timeout": 0.1})
    manager = with_host(shop, Listening())
    manager.load("subject")
    inside, gate = threading.Event(), threading.Event()
    with running(lambda: manager.call("subject", "wait", inside, gate)):
        assert inside.wait(PATIENCE)
        shop.write("subject", "main.py", SOCKET.format(n=2, broken=False))
        outcome = manager.reload("subject")
        assert (type(outcome), outcome.reason) == (KeptCurrent, "calls in flight")
        assert manager.execute("subject") == 1
        gate.set()
    assert manager.execute("subject") == 2


STREAM = "from ..base.main import f\ndef run():\n    return f()\ndef stream():\n    while True:\n        yield f()\n"
BASE = (
    "ended = []\ndef f():\n    return {n}, list(ended)\n"
    "def run():\n    return {n}\ndef on_unload():\n    ended.append(1)\n"
)


def test_stop_first_tries_again_only_once_the_calls_of_its_users_have_ended(shop: Workshop) -> None:
    """X04: a reload that was put off for a call of a plugin that depends on it holds up one call, not each of them."""
    shop.plugin("base", BASE.format(n=1), {"handover": "stop-first", "retire_timeout": 0.05})
    shop.plugin("user", STREAM, {"depends_on": ["base"]})
    manager = shop.manager()
    stream = manager.call("user", "stream")
    assert next(stream) == (1, [])
    shop.write("base", "main.py", BASE.format(n=2))
    waits: list[str] = []
    manager._hot_loader.register_callback("kept", waits.append)
    assert [manager.execute("base") for _ in range(3)] == [1, 1, 1]
    assert waits == ["base"]
    stream.close()
    assert manager.execute("base") == 2


def test_stop_first_waits_for_calls_that_run_its_code_for_a_plugin_that_no_longer_needs_it(shop: Workshop) -> None:
    """X04: a call of an older version of another plugin, which still uses this one, finds it up until it ends."""
    shop.plugin("base", BASE.format(n=1), {"handover": "stop-first", "retire_timeout": 0.05})
    shop.plugin("user", STREAM, {"depends_on": ["base"]})
    manager = shop.manager()
    stream = manager.call("user", "stream")
    assert next(stream) == (1, [])
    shop.plugin("user", "def run():\n    return 0\n", {})
    assert manager.execute("user") == 0
    shop.write("base", "main.py", BASE.format(n=2))
    outcome = manager.reload("base")
    assert (outcome.reason, next(stream)) == ("calls in flight", (1, []))
    stream.close()
    assert manager.execute("base") == 2


def test_stop_first_loads_the_old_version_again_when_the_new_one_fails(
    shop: Workshop, stop_first: PluginManager
) -> None:
    """X04 F02: the port is back in the hands of the old code, the bad version is not tried at every call."""
    shop.write("subject", "main.py", SOCKET.format(n=2, broken=True))
    loads: list[str] = []
    stop_first._hot_loader.register_callback("loaded", loads.append)
    for _ in range(3):
        assert stop_first.execute("subject") == 1
    assert loads == ["subject"]
    info = stop_first.get_plugin_hot_info("subject")
    assert info["state"] == "degraded"
    assert "RuntimeError: broken" in info["error"]
    with socket.create_connection(("127.0.0.1", stop_first._host.get().port), timeout=PATIENCE):
        pass
    shop.write("subject", "main.py", SOCKET.format(n=3, broken=False))
    assert stop_first.execute("subject") == 3


def test_stop_first_stops_nothing_for_a_version_that_cannot_even_compile(
    shop: Workshop, stop_first: PluginManager
) -> None:
    """F01: a syntax error or a bad manifest is found before the old version is stopped."""
    server = stop_first._host.get().server
    shop.write("subject", "main.py", "def run(:\n")
    assert isinstance(stop_first.reload("subject"), KeptCurrent)
    assert stop_first._host.get().server is server
    assert stop_first.get_plugin_hot_info("subject")["generation"] == 1


def test_stop_first_asked_for_by_the_call_itself_is_told_that_calls_are_in_flight(shop: Workshop) -> None:
    """C07 X04: a call that asks for the reload of its own stop-first plugin doesn't wait for itself."""
    main = "N = {n}\ndef run(ask): return ask().reason\nasync def arun(ask): return ask().reason\n"
    shop.plugin("subject", main.format(n=1), {"handover": "stop-first"})
    manager = shop.manager()
    manager.load("subject")
    manager.disable_hot_reload()
    shop.write("subject", "main.py", main.format(n=2))
    assert manager.execute("subject", ask=lambda: manager.reload("subject")) == "calls in flight"
    assert manager.call("subject", "arun", lambda: manager.reload("subject")) == "calls in flight"


def test_aexecute_does_not_hold_up_the_event_loop_at_a_gate(shop: Workshop, stop_first: PluginManager) -> None:
    """X04: while a stop-first plugin changes hands, other tasks of the loop go on."""

    async def scenario() -> int:
        assert stop_first._leases.gate(["subject"], 1)
        waiting = asyncio.create_task(stop_first.aexecute("subject"))
        for _ in range(1000):
            await asyncio.sleep(0)  # the loop turns: nobody holds it up
        assert not waiting.done()
        stop_first._leases.open(["subject"])
        return await waiting

    assert asyncio.run(scenario()) == 1
