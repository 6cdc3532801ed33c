"""Calls, reloads, imports and forks at the same time: nobody waits in vain, nobody sees a mixture."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, Reloaded
from tests.hazards.forking import statuses_of_children
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, running
from tests.threads import nervous_switching

MAIN = """
import importlib.resources, json
from dataclasses import dataclass
from . import helper
TOKEN = {token}
DATA = json.loads(importlib.resources.files(__package__).joinpath("plugin.json").read_text())["token"]

@dataclass
class Answer:
    token: "int"

def run():
    from . import late
    return [TOKEN, helper.TOKEN, late.Late(late.TOKEN).token, Answer(DATA).token]
"""
LATE = """
from __future__ import annotations
from dataclasses import dataclass
TOKEN = {token}

@dataclass
class Late:
    token: int
"""


def write_version(shop: Workshop, token: int, name: str = "hammered") -> None:
    """Bring a whole new version to disk, file by file."""
    shop.write(name, "helper.py", f"TOKEN = {token}\n")
    shop.write(name, "late.py", LATE.format(token=token))
    shop.write(name, "plugin.json", f'{{"version": "{token}", "token": {token}}}')
    shop.write(name, "main.py", MAIN.format(token=token))


def test_eight_threads_never_see_a_mixed_version_during_two_hundred_reloads(shop: Workshop) -> None:
    """C01 C05 C08 R29: while a plugin is replaced 200 times, every call is all-old or all-new and none fails."""
    write_version(shop, 0)
    manager = shop.manager()
    manager.load("hammered")
    manager.disable_hot_reload()  # what lies on disk between two files of a version must not be served
    answers: list[set[int]] = [set() for _ in range(8)]
    torn: list[Any] = []
    over = threading.Event()

    def call(seen: set[int]) -> None:
        while not over.is_set():
            answer = manager.execute("hammered")
            if len(set(answer)) != 1:
                torn.append(answer)
            seen.add(answer[0])

    began = time.monotonic()
    with nervous_switching(), running(*[lambda seen=seen: call(seen) for seen in answers]) as errors:
        for token in range(1, 201):
            write_version(shop, token)
            outcome = manager.reload("hammered")
            assert isinstance(outcome, Reloaded), outcome
            assert manager.execute("hammered") == [token] * 4  # never stale after `reload` returned
        over.set()
    assert (errors, torn) == ([], [])
    assert len(set.union(*answers)) > 20, "the calls hardly ran beside the reloads"
    assert time.monotonic() - began < 60


def test_a_call_in_flight_imports_lazily_from_its_own_version(shop: Workshop) -> None:
    """C01 C04 L17 N08 R29: a call that waits across a reload goes on in old code, whatever form its imports have."""
    forms = {
        "relative": "from . import late",
        "full": "import {package}.slow.late; late = {package}.slow.late",
        "renamed": "import {package}.slow.late as late",
        "from_package": "from {package}.slow import late",
        "flat": "import late",
        "dunder": "late = __import__('{package}.slow.late', fromlist=['x'])",
        "import_module": "import importlib; late = importlib.import_module('{package}.slow.late')",
        "import_module_relative": "from importlib import import_module; late = import_module('.late', __package__)",
        "loaded_already": "import importlib; late = importlib.import_module('{package}.slow.known')",
        "resources": "import importlib.resources as r, json; "
        "late = type('late', (), json.loads(r.files(__package__).joinpath('data.json').read_text()))",
        "resources_of_the_caller": "from importlib.resources import files; import json; "
        "late = type('late', (), json.loads(files({package_argument}).joinpath('data.json').read_text()))",
        "pkgutil": "import pkgutil, json; late = type('late', (), json.loads(pkgutil.get_data(__name__, 'data.json')))",
    }

    def version(number: int) -> dict[str, str]:
        main = "import threading\nfrom . import known\nGO = threading.Event()\nIN = threading.Event()\n"
        for name, form in forms.items():
            anchor = "" if sys.version_info >= (3, 12) else "__package__"
            body = form.format(package=shop.package, package_argument=anchor)
            main += f"def {name}():\n    IN.set()\n    assert GO.wait({PATIENCE})\n    {body}\n    return late.N\n"
        late = f"N = {number}\n"
        return {"main.py": main, "late.py": late, "known.py": late, "data.json": f'{{"N": {number}}}'}

    shop.plugin("slow", version(1), {"entry_point": "main.relative"})
    manager = shop.manager()
    for number, name in enumerate(forms, start=1):
        old = manager.module("slow", "main")
        old.IN.clear()
        old.GO.clear()
        answers: list[int] = []
        with running(lambda name=name, into=answers: into.append(manager.call("slow", name))) as errors:  # type: ignore[misc]
            assert old.IN.wait(PATIENCE)
            shop.plugin("slow", version(number + 1))
            assert isinstance(manager.reload("slow"), Reloaded)
            old.GO.set()
        assert (name, errors, answers) == (name, [], [number])
        manager.module("slow", "main").GO.set()
        assert manager.call("slow", name) == number + 1


def test_two_reloads_at_once_are_one_load(shop: Workshop) -> None:
    """C06: requests that arrive while a load is under way share the next one instead of queueing up."""
    shop.plugin("busy", "def run(): return 1\n")
    manager = shop.manager()
    manager.load("busy")
    loads: list[str] = []
    manager._hot_loader.register_callback("loaded", loads.append)
    results: list[Any] = []
    asking: list[int] = []

    def ask() -> None:
        asking.append(1)
        results.append(manager.reload("busy"))

    with gate("busy") as (waiting, go):
        shop.write("busy", "main.py", f"{waiting}def run(): return 2\n")
        with running(*[ask] * 8) as errors:
            eventually(lambda: len(asking) == 8 and manager._hot_loader._build, "eight requests and a load")
            go.set()
    assert errors == []
    assert len(results) == 8
    assert loads == ["busy"]
    assert manager.execute("busy") == 2


def test_two_hundred_forced_reloads_from_eight_threads_end(shop: Workshop) -> None:
    """C06: a storm of reloads neither hangs nor leaves anything but the last bytes serving."""
    shop.plugin("stormy", "def run(): return 7\n")
    manager = shop.manager()
    manager.load("stormy")

    def storm() -> None:
        for _ in range(25):
            assert manager.force_reload_plugin("stormy")

    with running(*[storm] * 8) as errors:
        pass
    assert errors == []
    assert manager.execute("stormy") == 7


def test_a_reload_asked_for_inside_a_call_runs_at_once(shop: Workshop) -> None:
    """C07: a plugin's own call may ask for its reload: no deadlock, and the call ends on its own code."""
    code = "N = {n}\ndef run(reload):\n    outcome = reload()\n    return N, outcome\n"
    shop.plugin("selfish", code.format(n=1))
    manager = shop.manager()
    manager.load("selfish")
    manager.disable_hot_reload()
    shop.write("selfish", "main.py", code.format(n=2))
    number, outcome = manager.execute("selfish", reload=lambda: manager.reload("selfish"))
    assert (number, type(outcome)) == (1, Reloaded)
    assert manager.execute("selfish", reload=lambda: None)[0] == 2


def test_a_reload_asked_for_during_a_load_is_answered_with_loading(shop: Workshop) -> None:
    """C07: code that is being imported can't reload itself; it is told so instead of hanging."""
    shop.plugin("asking", "import builtins\nSAID = builtins.ask_for_reload()\ndef run(): return SAID\n")
    manager = shop.manager()
    with pytest.MonkeyPatch.context() as patch:
        import builtins

        patch.setattr(builtins, "ask_for_reload", lambda: manager.reload("asking").reason, raising=False)
        assert manager.execute("asking") == "loading"


def test_a_reload_asked_for_from_a_callback_works(shop: Workshop) -> None:
    """R24 C07: callbacks run outside every lock, so that one may reload the very plugin it hears of."""
    shop.plugin("echo", "def run(): return 1\n")
    manager = shop.manager()
    outcomes: list[Any] = []

    def once_more(name: str) -> None:
        if len(outcomes) < 2:
            outcomes.append(manager.reload(name))
            outcomes.append(manager.force_reload_plugin(name))

    manager._hot_loader.register_callback("loaded", once_more)
    with running(lambda: manager.load("echo")) as errors:
        pass
    assert errors == []
    assert outcomes[1] is True
    assert manager.get_plugin_hot_info("echo")["generation"] == 2


def test_events_reach_every_callback_in_order_even_when_one_reloads(shop: Workshop) -> None:
    """R24: a callback that causes new events doesn't let the next subscriber hear them out of order."""
    shop.plugin("ordered", "def run(): return 1\n")
    manager = shop.manager()
    heard: list[Any] = []
    manager._hot_loader.register_callback("loaded", lambda name: len(heard) < 1 and manager.force_reload_plugin(name))
    manager.subscribe(lambda event: heard.append((event.kind, event.generation)))
    manager.load("ordered")
    assert heard == [("loaded", 1), ("loaded", 2), ("retired", 1)]


def test_calls_are_served_at_once_while_a_new_version_imports_slowly(shop: Workshop) -> None:
    """C08 R12: a slow import holds up the call that noticed it, and nobody else."""
    shop.plugin("sleepy", "def run(): return 1\n")
    manager = shop.manager()
    manager.load("sleepy")
    first: list[int] = []
    with gate("sleepy") as (waiting, go):
        shop.write("sleepy", "main.py", f"{waiting}def run(): return 2\n")
        with running(lambda: first.append(manager.execute("sleepy"))) as errors:
            eventually(lambda: manager._hot_loader._build is not None, "the slow load's begin")
            assert [manager.execute("sleepy") for _ in range(10)] == [1] * 10
            assert first == []
            go.set()
    assert (errors, first) == ([], [2])
    assert manager.execute("sleepy") == 2


def test_a_foreign_thread_that_imports_public_names_never_sees_half_executed_code(shop: Workshop) -> None:
    """C05: other threads may import a plugin by name during loads; a module is whole when they get it."""
    code = "import time\nFIRST = {n}\ntime.sleep(0.002)\nLAST = {n}\ndef run(): return FIRST, LAST\n"
    shop.plugin("watched", {"main.py": "from . import part\n" + code.format(n=0), "part.py": code.format(n=0)})
    manager = shop.manager()
    manager.load("watched")
    over = threading.Event()
    half: list[Any] = []

    def look() -> None:
        while not over.is_set():
            for part in ("main", "part"):
                module = importlib.import_module(shop.public("watched", part))
                first, last = getattr(module, "FIRST", None), getattr(module, "LAST", None)
                if first is None or first != last:
                    half.append((part, first, last))

    with nervous_switching(), running(look, look) as errors:
        for number in range(1, 40):
            shop.write("watched", "part.py", code.format(n=number))
            shop.write("watched", "main.py", "from . import part\n" + code.format(n=number))
            assert isinstance(manager.reload("watched"), Reloaded)
        over.set()
    assert (errors, half) == ([], [])


def test_two_managers_with_one_public_name_both_keep_working(shop: Workshop, tmp_path: Any) -> None:
    """C05: the last swap owns the public name; the other manager's calls still get its own modules."""
    twin = Workshop(tmp_path_of(tmp_path, "twin"))
    twin.package = shop.package
    twin.plugins = twin.plugins.rename(twin.root / shop.package)
    code = "from . import part\ndef run():\n    from . import late\n    return [part.N, late.N]\n"
    for place, number in ((shop, 1), (twin, 2)):
        place.plugin("shared", {"main.py": code, "part.py": f"N = {number}\n", "late.py": f"N = {number}\n"})
    managers = [shop.manager(), shop.manager(plugin_dirs=[twin.plugins])]
    over = threading.Event()
    wrong: list[Any] = []

    def call(manager: Any, number: int) -> None:
        while not over.is_set():
            answer = manager.execute("shared")
            if answer != [number] * 2:
                wrong.append((number, answer))

    with nervous_switching(), running(*[lambda m=m, n=n: call(m, n) for n, m in enumerate(managers, 1)]) as errors:
        for _ in range(25):
            for manager in managers:
                assert manager.force_reload_plugin("shared")
        over.set()
    assert (errors, wrong) == ([], [])
    assert sys.modules[shop.public("shared", "part")].N == 2
    managers[1].close()
    assert sys.modules[shop.public("shared", "part")].N == 1


def tmp_path_of(tmp_path: Any, name: str) -> Any:
    path = tmp_path / name
    path.mkdir()
    return path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_loads_can_load_and_execute(shop: Workshop) -> None:
    """N10: a fork in the middle of a reload inherits no held lock and no half-made module."""
    code = "import time\ntime.sleep(0.01)\nfrom . import part\ndef run():\n    from . import late\n    return part.N\n"
    shop.plugin("forked", {"main.py": code, "part.py": "N = 1\n", "late.py": "import time; time.sleep(0.005)\n"})
    manager = shop.manager()
    manager.load("forked")
    over = threading.Event()

    def reload() -> None:
        while not over.is_set():
            manager.force_reload_plugin("forked")
            manager.execute("forked")

    def load_and_execute() -> bool:
        return manager.force_reload_plugin("forked") and manager.execute("forked") == 1

    statuses: list[int | str] = []
    with running(reload, reload) as errors:
        for _ in range(8):
            eventually(lambda: manager._hot_loader._build is not None, "a load under way")
            statuses += statuses_of_children(load_and_execute, 1)
        over.set()
    assert errors == []
    assert statuses == [0] * 8


def test_a_lazily_imported_module_may_need_a_plugin_that_was_not_loaded_yet(shop: Workshop) -> None:
    """A plugin that is first needed by a lazy import of another one is loaded within that import."""
    shop.plugin("early", {"main.py": "def run():\n    from . import late\n    return late.N\n"})
    shop.write("early", "late.py", f"from {shop.package}.other.main import N\n")
    shop.plugin("other", "N = 5\ndef run(): return N\n")
    manager = shop.manager()
    assert manager.execute("early") == 5
    shop.write("other", "main.py", "N = 6\ndef run(): return N\n")
    assert manager.execute("early") == 6


def test_lazy_imports_and_loads_that_cross_do_not_wait_for_each_other(shop: Workshop) -> None:
    """C08: a call that imports lazily while another plugin's load wants the same module ends, and so does the load."""
    shop.plugin("base", {"main.py": "def run():\n    from . import late\n    return late.N\n", "late.py": "N = 1\n"})
    shop.plugin("user", f"from {shop.package}.base import late\ndef run(): return late.N\n", {"depends_on": ["base"]})
    manager = shop.manager(load_timeout=5)
    for _ in range(30):
        manager.unload("base")
        manager.load("base")
        with running(lambda: manager.execute("base"), lambda: manager.load("user")) as errors:
            pass
        assert errors == []
        assert manager.execute("user") == 1


def test_a_result_of_reload_inside_load_names_what_serves(shop: Workshop) -> None:
    """A plugin whose on_load asks for a reload of another one that serves gets KeptCurrent, not a hang."""
    shop.plugin("calm", "def run(): return 1\n")
    shop.plugin("eager", "SAID = []\ndef on_load(host): SAID.append(host())\ndef run(): return SAID\n")
    manager = shop.manager()
    manager.load("calm")
    manager._host.set(lambda: manager.reload("calm"))
    (said,) = manager.execute("eager")
    assert isinstance(said, KeptCurrent)
    assert (said.reason, said.serving) == ("loading", 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_calls_of_other_threads_do_not_count_in_a_forked_child(shop: Workshop) -> None:
    """N10: their threads exist in the parent alone; the child's own calls and what it may still consume go on."""
    shop.plugin("subject", "def wait(inside, gate):\n    inside.set()\n    gate.wait(10)\ndef stream(): yield 1\n")
    shop.write(
        "subject", "main.py", shop.plugins.joinpath("subject", "main.py").read_text() + "def run(work): return work()\n"
    )
    manager = shop.manager()
    stream = manager.call("subject", "stream")
    inside, gate = threading.Event(), threading.Event()

    def counts() -> bool:
        return bool(manager.health()["calls_in_flight"] == 2)

    with running(lambda: manager.call("subject", "wait", inside, gate)):
        assert inside.wait(PATIENCE)
        assert manager.health()["calls_in_flight"] == 2
        statuses = manager.execute("subject", work=lambda: statuses_of_children(counts, 1))
        gate.set()
    assert statuses == [0], "the stream and the call that forked; the other thread's is gone"
    stream.close()
    eventually(lambda: manager.health()["calls_in_flight"] == 0, "the end of all calls in the parent")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_async_calls_on_the_loop_thread_do_not_count_in_a_forked_child(shop: Workshop) -> None:
    """N10: the child has no such thread, and a stop-first reload there waits for no call of it.

    A call that itself forks there goes on in the child, beside those that its loop runs.
    """
    code = (
        "import asyncio\n"
        "async def wait(inside, gate):\n    inside.set()\n"
        "    while not gate.is_set():\n        await asyncio.sleep(0.005)\n"
        "async def run(work):\n    return work()\n"
    )
    shop.plugin("subject", code, {"handover": "stop-first", "retire_timeout": 2})
    manager = shop.manager()
    manager.load("subject")
    inside, gate = threading.Event(), threading.Event()

    def nothing_is_waited_for() -> bool:
        return manager.health()["calls_in_flight"] == 0 and manager.force_reload_plugin("subject")

    def both_count() -> bool:
        return bool(manager.health()["calls_in_flight"] == 2)

    with running(lambda: manager.call("subject", "wait", inside, gate)) as errors:
        assert inside.wait(PATIENCE)
        statuses = statuses_of_children(nothing_is_waited_for, 1)
        statuses += manager.execute("subject", work=lambda: statuses_of_children(both_count, 1))
        assert manager.health()["calls_in_flight"] == 1
        gate.set()
    assert errors == []
    assert statuses == [0, 0]
    eventually(lambda: manager.health()["calls_in_flight"] == 0, "the end of all calls in the parent")
