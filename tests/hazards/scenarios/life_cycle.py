"""X: what a plugin sets going at import, four reloads later."""

from __future__ import annotations

import atexit
import functools
import gc
import json
import logging
import os
import socket
import sys
import threading
import warnings
from typing import Any

from tests.hazards.adapter import HOOKS, STOP_FIRST
from tests.hazards.ours import ours, reported
from tests.hazards.stage import RUN, Stage
from tests.hazards.suite import hazard, without_help
from tests.threads import eventually

BY_REGISTER = "it sets up in on_load and says context.register(undo)"
BY_STOP_FIRST = 'the same, and its manifest says "handover": "stop-first"'
STOPS_FIRST = '{"handover": "stop-first", "version": "1"}'


def four_reloads(stage: Stage, main: str, manifest: str = '{"version": "1"}') -> None:
    """Load a plugin and bring four more versions of it."""
    stage.start(main, manifest=manifest)
    for _ in range(4):
        stage.update(main)
    assert stage.call() == 5


def assert_holders(stage: Stage, what: str, place: str) -> None:
    """Assert that each of the four old versions is told to be alive, held by what and defined where."""
    gc.collect()
    told = ours(stage).manager.why("plug")["holders"]
    assert [(h["generation"], h["held"]) for h in told] == [(n, what) for n in range(1, 5)], told
    assert all(h["place"].endswith(place) for h in told)
    assert ours(stage).info()["generations_alive"] == 5


def alive(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


THREAD = "import threading\nSTOP = threading.Event()\n"
THREAD_ON_LOAD = (
    THREAD
    + """
def on_load(context):
    threading.Thread(target=STOP.wait, args=(60,), daemon=True, name="plug-loop").start()
    context.register(STOP.set)
"""
    + RUN
)
THREAD_AT_IMPORT = (
    THREAD + 'threading.Thread(target=STOP.wait, args=(60,), daemon=True, name="plug-loop").start()\n' + RUN
)


@hazard(
    "X01",
    "A thread that loops until its module's Event is set: one is alive after four reloads.",
    help=(HOOKS,),
    how="it says context.register(STOP.set), or starts it by context.thread",
    child=True,
)
def thread_started_at_import(stage: Stage) -> None:
    four_reloads(stage, THREAD_ON_LOAD if stage.helped else THREAD_AT_IMPORT)
    eventually(lambda: alive("plug-loop") == 1, f"one thread instead of {alive('plug-loop')}", 3)


@without_help("X01")
def a_thread_that_nobody_ends_is_named(stage: Stage) -> None:
    stage.start(THREAD_AT_IMPORT)
    stage.update(THREAD_AT_IMPORT)
    reported(stage, "plug-loop", "main.py:3", "[retire-problem]")


@hazard("X02", "atexit.register at import: one callback is left after four reloads.", help=(HOOKS,), unaided=True,
        child=True)  # fmt: skip
def atexit_callback_at_import(stage: Stage) -> None:
    main = "import atexit, hazard_host as host\ndef bye(): host.said.append(%n)\n"
    plain = main + "atexit.register(bye)\n"
    helped = main + "def on_load(context):\n    atexit.register(bye)\n    context.register(atexit.unregister, bye)\n"
    four_reloads(stage, (helped if stage.helped else plain) + RUN)
    atexit._run_exitfuncs()
    assert stage.host.said == [5]


@hazard("X03", "A logging handler added at import: one is left after four reloads.", help=(HOOKS,), unaided=True,
        child=True)  # fmt: skip
def logging_handler_at_import(stage: Stage) -> None:
    main = "import logging\nclass Mine(logging.NullHandler): version = %n\nMINE = Mine()\n"
    main += "LOG = logging.getLogger('hazard')\n"
    plain = main + "LOG.addHandler(MINE)\n"
    helped = main + "def on_load(context):\n    LOG.addHandler(MINE)\n    context.register(LOG.removeHandler, MINE)\n"
    four_reloads(stage, (helped if stage.helped else plain) + RUN)
    assert [handler.version for handler in logging.getLogger("hazard").handlers] == [5]  # type: ignore[attr-defined]


SOCKET_ON_LOAD = (
    """
import socket, hazard_host as host
def on_load(context):
    server = socket.create_server(("127.0.0.1", host.port))
    context.register(server.close)
"""
    + RUN
)
SOCKET_AT_IMPORT = "import socket, hazard_host as host\nserver = socket.create_server(('127.0.0.1', host.port))\n" + RUN


def free_port(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        stage.host.port = probe.getsockname()[1]


@hazard("X04", "A listening socket on a fixed port.", help=(HOOKS, STOP_FIRST), how=BY_STOP_FIRST, child=True)
def listening_socket_on_a_fixed_port(stage: Stage) -> None:
    free_port(stage)
    four_reloads(stage, SOCKET_ON_LOAD if stage.helped else SOCKET_AT_IMPORT, STOPS_FIRST)
    with socket.create_connection(("127.0.0.1", stage.host.port), timeout=2):
        pass


@without_help("X04")
def a_port_that_is_taken_refuses_the_version_with_file_and_line(stage: Stage) -> None:
    free_port(stage)
    stage.start(SOCKET_AT_IMPORT)
    assert stage.update(SOCKET_AT_IMPORT) == "refused"
    assert "main.py:2" in ours(stage).refusal()
    assert "ddress already in use" in ours(stage).refusal()
    assert stage.call() == 1


PATCH = """
import json
def patch():
    inner = json.dumps
    def dumps(*args, **kwargs): return inner(*args, **kwargs)
    dumps.inner = inner
    json.dumps = dumps
    return inner
"""
PATCH_ON_LOAD = PATCH + "def on_load(context): context.register(setattr, json, 'dumps', patch())\n" + RUN
PATCH_AT_IMPORT = PATCH + "patch()\n" + RUN


def wraps() -> int:
    """Count how many times json.dumps is wrapped."""
    found, function = 0, json.dumps
    while hasattr(function, "inner"):
        found, function = found + 1, function.inner
    return found


@hazard("X05", "A function of another module is wrapped once after four reloads.", help=(HOOKS, STOP_FIRST),
        how=BY_STOP_FIRST, child=True)  # fmt: skip
def monkeypatch_of_another_module(stage: Stage) -> None:
    four_reloads(stage, PATCH_ON_LOAD if stage.helped else PATCH_AT_IMPORT, STOPS_FIRST)
    assert wraps() == 1


@without_help("X05")
def a_patch_that_nobody_takes_back_is_named(stage: Stage) -> None:
    stage.start(PATCH_AT_IMPORT)
    stage.update(PATCH_AT_IMPORT)
    reported(stage, "json.dumps", "main.py:", "[retire-problem]")


@hazard("X06", "sys.path and os.environ are changed at import: once after four reloads.", help=(HOOKS,), unaided=True,
        child=True)  # fmt: skip
def path_and_environment_at_import(stage: Stage) -> None:
    main = "import os, sys\n"
    doing = "sys.path.append('/nowhere/hazard')\nos.environ['HAZARD_%n'] = os.environ['HAZARD'] = '%n'\n"
    helped = "def on_load(context):\n    " + doing.replace("\n", "\n    ", 1)
    helped += "    context.register(sys.path.remove, '/nowhere/hazard')\n"
    helped += "    context.register(os.environ.pop, 'HAZARD_%n')\n"
    four_reloads(stage, main + (helped if stage.helped else doing) + RUN)
    assert sys.path.count("/nowhere/hazard") == 1
    assert {k: v for k, v in os.environ.items() if k.startswith("HAZARD")} == {"HAZARD": "5", "HAZARD_5": "5"}


SHAPE = "import hazard_host as host\nclass Shape:\n    def area(self): return %n\n"
SHAPE_ON_LOAD = (
    SHAPE
    + "def on_load(context):\n    host.show.register(Shape, repr)\n    context.register(host.forget, Shape)\n"
    + RUN
)
SHAPE_AT_IMPORT = SHAPE + "host.show.register(Shape, repr)\n" + RUN


def showing_host(stage: Stage) -> Any:
    """Give the host a single-dispatch function, and a way to forget a class."""
    show = functools.singledispatch(str)
    (registry,) = (found for found in gc.get_referents(show.registry) if isinstance(found, dict))

    def forget(cls: type) -> None:
        del registry[cls]
        show._clear_cache()

    vars(stage.host).update(show=show, forget=forget)
    return show


@hazard("X07", "A host's single-dispatch function knows one class of the plugin after four reloads.", help=(HOOKS,),
        how=BY_REGISTER)  # fmt: skip
def singledispatch_registration(stage: Stage) -> None:
    show = showing_host(stage)
    four_reloads(stage, SHAPE_ON_LOAD if stage.helped else SHAPE_AT_IMPORT)
    known = [cls for cls in show.registry if cls.__name__ == "Shape"]
    assert known == [stage.reloader.module("plug").Shape]


@without_help("X07")
def classes_in_a_foreign_registry_are_named(stage: Stage) -> None:
    showing_host(stage)
    four_reloads(stage, SHAPE_AT_IMPORT)
    assert_holders(stage, "class Shape", "main.py:2")


CALLBACK = "import hazard_host as host\ndef callback(): return %n\n"
CALLBACK_ON_LOAD = (
    CALLBACK
    + "def on_load(context):\n    host.callbacks.append(callback)\n"
    + "    context.register(host.callbacks.remove, callback)\n"
    + RUN
)
CALLBACK_AT_IMPORT = CALLBACK + "host.callbacks.append(callback)\n" + RUN


@hazard("X08", "A host's list of callbacks holds exactly one, and it is the new one.", help=(HOOKS,),
        how=BY_REGISTER)  # fmt: skip
def callback_list_of_the_host(stage: Stage) -> None:
    four_reloads(stage, CALLBACK_ON_LOAD if stage.helped else CALLBACK_AT_IMPORT)
    assert [callback() for callback in stage.host.callbacks] == [5]


@without_help("X08")
def callbacks_in_a_foreign_list_are_named(stage: Stage) -> None:
    four_reloads(stage, CALLBACK_AT_IMPORT)
    assert_holders(stage, "function callback", "main.py:2")


@hazard("X09", "A host's base class shows one sub-class of the plugin after a reload and a collection.")
def subclasses_of_a_host_class(stage: Stage) -> None:
    stage.host.Base = type("Base", (), {})
    four_reloads(stage, "import hazard_host as host\nclass Sub(host.Base): version = %n\n" + RUN)
    gc.collect()
    assert [cls.version for cls in stage.host.Base.__subclasses__()] == [5]


@hazard("X10", "A warnings filter added at import: one is left after four reloads.", help=(HOOKS,), unaided=True,
        child=True)  # fmt: skip
def warnings_filter_at_import(stage: Stage) -> None:
    doing = "warnings.filterwarnings('ignore', message='hazard %n')\n"
    helped = f"def on_load(context):\n    {doing}    context.register(warnings.filters.remove, warnings.filters[0])\n"
    four_reloads(stage, "import warnings\n" + (helped if stage.helped else doing) + RUN)
    ours_only = [found[1] for found in warnings.filters if "hazard" in getattr(found[1], "pattern", "")]
    assert [found.pattern for found in ours_only] == ["hazard 5"]  # type: ignore[union-attr]


@hazard("X11", "The old version's hook is called once per swap.", needs=(HOOKS,))
def old_hook_called_once_per_swap(stage: Stage) -> None:
    main = "import hazard_host as host\ndef on_load(): host.said.append(('load', %n))\n"
    four_reloads(stage, main + "def on_unload(): host.said.append(('unload', %n))\n" + RUN)
    eventually(lambda: len(stage.host.said) >= 9, "the last hook")
    assert sorted(stage.host.said) == [*(("load", n) for n in range(1, 6)), *(("unload", n) for n in range(1, 5))]
