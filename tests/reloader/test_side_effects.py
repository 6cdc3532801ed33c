"""What plugin code changes outside itself: once after any number of reloads, undone on failure and at the end."""

from __future__ import annotations

import asyncio
import atexit
import codecs
import copyreg
import gc
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_hotplug import PluginManager, Reloaded
from pytest_hotplug.reloader.side_effects import left_open
from tests.reloader.workshop import Workshop, eventually

RUN = "\ndef run():\n    pass\n"
host_registry: dict[type, object] = {}  # a foreign registry that plugins put things into


def _codec() -> bool:
    try:
        codecs.lookup("hotplug-rot")
    except LookupError:
        return False
    return True


def _filters() -> int:
    return sum(1 for item in warnings.filters if item[2] is ImportWarning and item[0] == "error")


# What a plugin does at import, and how often it is in effect outside.
EFFECTS: dict[str, tuple[str, Callable[[], int]]] = {
    "X03 logging handler": (
        "import logging\nlogging.getLogger('hotplug.test').addHandler(logging.NullHandler())\n",
        lambda: len(logging.getLogger("hotplug.test").handlers),
    ),
    "X03 logging handler guarded": (
        (
            "import logging\nlogger = logging.getLogger('hotplug.test2')\n"
            "if not logger.handlers: logger.addHandler(logging.NullHandler())\n"
        ),
        lambda: len(logging.getLogger("hotplug.test2").handlers),
    ),
    "X05 patch of a module": (
        "import json\n_before = json.dumps\ndef dumps(*a, **k): return _before(*a, **k)\njson.hotplug_dumps = dumps\n",
        lambda: int(hasattr(json, "hotplug_dumps")),
    ),
    "X06 sys.path": ("import sys\nsys.path.append('/nowhere/plugin')\n", lambda: sys.path.count("/nowhere/plugin")),
    "X06 sys.path guarded": (
        "import sys\nif '/nowhere/plugin' not in sys.path: sys.path.insert(0, '/nowhere/plugin')\n",
        lambda: sys.path.count("/nowhere/plugin"),
    ),
    "X06 environ": (
        "import os\nos.environ['HOTPLUG_TEST_VARIABLE'] = __name__\n",
        lambda: int("HOTPLUG_TEST_VARIABLE" in os.environ),
    ),
    "X06 environ guarded": (
        "import os\nos.environ.setdefault('HOTPLUG_TEST_VARIABLE', 'x')\n",
        lambda: int("HOTPLUG_TEST_VARIABLE" in os.environ),
    ),
    "X10 warnings filter": ("import warnings\nwarnings.simplefilter('error', ImportWarning)\n", _filters),
    "X10 warnings filter appended": (
        "import warnings\nwarnings.filterwarnings('error', category=ImportWarning, append=True)\n",
        _filters,
    ),
    "N07 codecs": (
        "import codecs\ncodecs.register(lambda name: codecs.lookup('rot13') if name == 'hotplug_rot' else None)\n",
        lambda: int(_codec()),
    ),
    "N07 copyreg": (
        "import copyreg\nclass Thing: pass\ncopyreg.pickle(Thing, lambda thing: (Thing, ()))\n",
        lambda: sum(1 for kind in copyreg.dispatch_table if kind.__name__ == "Thing"),
    ),
    "N07 start method": (
        "import multiprocessing\nmultiprocessing.set_start_method('spawn', force=True)\n",
        lambda: int(multiprocessing.get_start_method(allow_none=True) == "spawn"),
    ),
    "hooks": (
        "import sys\ndef hook(*told): sys.__excepthook__(*told)\nsys.excepthook = hook\n",
        lambda: int(sys.excepthook.__name__ == "hook"),
    ),
    "meta_path": (
        "import sys\nclass Finder:\n    def find_spec(self, *a): return None\nsys.meta_path.append(Finder())\n",
        lambda: sum(1 for f in sys.meta_path if type(f).__name__ == "Finder"),
    ),
    "stdout": (
        "import io, sys\nclass Quiet(io.StringIO): pass\nsys.stdout = Quiet()\n",
        lambda: int(type(sys.stdout).__name__ == "Quiet"),
    ),
}


@pytest.fixture(params=list(EFFECTS.values()), ids=list(EFFECTS))
def effect(request: pytest.FixtureRequest, shop: Workshop) -> Iterator[tuple[str, Callable[[], int]]]:
    """Give the code and its measure; afterwards nothing of it may be in effect."""
    code, measure = request.param
    before = measure()
    yield code, lambda: measure() - before
    shop.close()
    assert measure() == before


def test_a_side_effect_of_import_is_in_effect_once(shop: Workshop, effect: Any) -> None:
    """R7 R8: after four reloads it is there once, after the unload not at all."""
    code, measure = effect
    shop.plugin("subject", code + RUN)
    manager = shop.manager()
    manager.load("subject")
    once = measure()
    assert once > 0
    for _ in range(4):
        assert manager.force_reload_plugin("subject")
        assert measure() == once
    manager.unload("subject")
    assert measure() == 0


def test_a_side_effect_ends_with_the_version_that_made_it(shop: Workshop, effect: Any) -> None:
    """A version that no longer does it: once the old one retired, it is undone."""
    code, measure = effect
    shop.plugin("subject", code + RUN)
    manager = shop.manager()
    manager.load("subject")
    shop.write("subject", "main.py", RUN)
    manager.reload("subject")
    assert measure() == 0


@pytest.mark.parametrize("step", ["import", "on_load"])
def test_side_effects_of_a_version_that_fails_are_undone(shop: Workshop, effect: Any, step: str) -> None:
    """F11: what a refused version did at import or in on_load is as it was, and the serving version's stays."""
    code, measure = effect
    shop.plugin("subject", code + RUN)
    manager = shop.manager()
    manager.load("subject")
    before = measure()
    if step == "import":
        broken = code + "raise RuntimeError('half-way')\n" + RUN
    else:
        body = "".join(f"    {line}\n" for line in code.splitlines())
        broken = RUN + f"def on_load():\n{body}    raise RuntimeError('half-way')\n"
    shop.write("subject", "main.py", broken)
    manager.reload("subject")
    assert measure() == before


ATEXIT = """
import os, sys
from pathlib import Path
from pytest_hotplug import PluginManager, Reloaded
main = Path("plugins/subject/main.py")
main.parent.mkdir(parents=True)
code = "import atexit\\ndef bye(): print('bye {n}')\\natexit.register(bye)\\natexit.register(print, 'also {n}')\\n"
manager = PluginManager(plugin_dirs=["plugins"], debounce=0)
for n in range(5):
    main.write_text(code.format(n=n) + "def run(): pass\\n" + ("raise RuntimeError\\n" if n == 3 else ""))
    manager.execute("subject")
if sys.argv[1] == "unload":
    manager.unload("subject")
"""


@pytest.mark.parametrize(("end", "said"), [("serve", ["also 4", "bye 4"]), ("unload", [])])
def test_at_exit_only_the_version_that_serves_is_called(tmp_path: Any, end: str, said: list[str]) -> None:
    """X02 F11: after four reloads, one of them refused, one callback of each kind is left; after an unload none."""
    done = subprocess.run([sys.executable, "-c", ATEXIT, end], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == said


def test_a_variable_returns_to_what_it_was_before_the_first_version(shop: Workshop, monkeypatch: Any) -> None:
    """X06: three versions set it to three values; the unload restores the host's."""
    monkeypatch.setenv("HOTPLUG_TEST_VARIABLE", "host")
    manager = shop.manager()
    for value in "abc":
        shop.plugin("subject", f"import os\nos.environ['HOTPLUG_TEST_VARIABLE'] = {value!r}\n{RUN}")
        manager.execute("subject")
        assert os.environ["HOTPLUG_TEST_VARIABLE"] == value
    manager.unload("subject")
    assert os.environ["HOTPLUG_TEST_VARIABLE"] == "host"


def test_what_the_host_changed_since_is_left_alone(shop: Workshop, monkeypatch: Any) -> None:
    """The undo never overwrites what somebody else set after the plugin did."""
    monkeypatch.setenv("HOTPLUG_TEST_VARIABLE", "host")
    shop.plugin("subject", f"import os\nos.environ['HOTPLUG_TEST_VARIABLE'] = 'plugin'\n{RUN}")
    manager = shop.manager()
    manager.load("subject")
    os.environ["HOTPLUG_TEST_VARIABLE"] = "host again"
    manager.unload("subject")
    assert os.environ["HOTPLUG_TEST_VARIABLE"] == "host again"


def test_what_other_threads_do_during_a_load_is_not_the_plugins(shop: Workshop) -> None:
    """A host that adds a handler or sets a variable while a plugin loads keeps it when the plugin goes."""
    logger, handler = logging.getLogger("hotplug.test.host"), logging.NullHandler()
    code = (
        "import logging, os, sys, threading\n"
        f"from {__name__} import host_work\n"
        "thread = threading.Thread(target=host_work)\n"
        "thread.start(); thread.join()\n"
    )
    shop.plugin("subject", code + RUN)

    def host() -> None:
        logger.addHandler(handler)
        os.environ["HOTPLUG_HOST"] = "1"

    work.append(host)
    manager = shop.manager()
    manager.load("subject")
    manager.unload("subject")
    assert logger.handlers == [handler]
    assert os.environ.pop("HOTPLUG_HOST") == "1"
    logger.removeHandler(handler)


work: list[Callable[[], object]] = []


def host_work() -> None:
    """Do what the host does on a thread of its own."""
    work.pop()()


def test_what_a_library_does_when_it_is_first_imported_stays(shop: Workshop, tmp_path: Any, monkeypatch: Any) -> None:
    """A library registers itself once per process: that is not the plugin's to undo."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "library_of_test.py").write_text(
        "import logging, os\nlogging.getLogger('hotplug.test.library').addHandler(logging.NullHandler())\n"
        "os.environ['HOTPLUG_LIBRARY'] = '1'\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.setenv("HOTPLUG_LIBRARY", "0")  # so that it is put back to nothing at the end
    monkeypatch.delenv("HOTPLUG_LIBRARY")
    shop.plugin("subject", "import library_of_test\n" + RUN)
    manager = shop.manager()
    manager.load("subject")
    manager.unload("subject")
    assert len(logging.getLogger("hotplug.test.library").handlers) == 1
    assert os.environ["HOTPLUG_LIBRARY"] == "1"
    sys.modules.pop("library_of_test")


def test_a_wrapper_around_a_wrapper_is_named(shop: Workshop, errors: list[str]) -> None:
    """X05: two generations that wrap json.dumps end up inside each other; the old one is named, with file and line."""
    original = json.dumps
    code = "import json\nbefore = json.dumps\ndef dumps(*a, **k):\n    return before(*a, **k)\njson.dumps = dumps\n"
    shop.plugin("subject", code + RUN)
    manager = shop.manager()
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    manager.load("subject")
    manager.force_reload_plugin("subject")
    assert json.dumps({"a": 1}) == '{"a": 1}'
    assert any("main.py:3" in text and "json.dumps" in text and "stop-first" in text for text in errors)
    manager.unload("subject")
    assert json.dumps is original


def test_stop_first_wraps_once(shop: Workshop, errors: list[str]) -> None:
    """X05: with `handover: stop-first` the old patch is taken back before the new one is made."""
    original = json.dumps
    code = "import json\nbefore = json.dumps\ndef dumps(*a, **k):\n    return before(*a, **k)\njson.dumps = dumps\n"
    shop.plugin("subject", code + "def run():\n    return before\n", {"handover": "stop-first"})
    manager = shop.manager()
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    manager.load("subject")
    for _ in range(4):
        manager.force_reload_plugin("subject")
    assert manager.execute("subject") is original
    assert errors == []
    manager.unload("subject")
    assert json.dumps is original


@pytest.fixture
def errors() -> list[str]:
    """Collect the texts of error events."""
    return []


def listening(manager: PluginManager, errors: list[str]) -> PluginManager:
    """Let a manager tell its errors."""
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    return manager


def test_a_thread_of_import_that_ends_by_on_unload_is_no_problem(shop: Workshop, errors: list[str]) -> None:
    """X01: a thread that its plugin ends itself: one is alive after four reloads."""
    code = (
        "import threading\nEND = threading.Event()\n"
        "threading.Thread(target=END.wait, name='plugin-own').start()\ndef on_unload(): END.set()\n"
    )
    shop.plugin("subject", code + RUN)
    manager = listening(shop.manager(), errors)
    manager.load("subject")
    for _ in range(4):
        manager.force_reload_plugin("subject")
    eventually(lambda: sum(t.name == "plugin-own" for t in threading.enumerate()) == 1)
    manager.unload("subject")
    eventually(lambda: not any(t.name == "plugin-own" for t in threading.enumerate()))
    assert errors == []


def test_a_thread_that_runs_on_is_named_with_file_and_line(shop: Workshop, errors: list[str]) -> None:
    """X01: nobody ends it, nothing is killed: it is reported by name and by the line that started it."""
    code = "import threading\nEND = threading.Event()\nthreading.Thread(target=END.wait, name='stray').start()\n"
    shop.plugin("subject", code + RUN)
    manager = listening(shop.manager(retire_timeout=0.1), errors)
    end = manager.module("subject", "main").END
    manager.force_reload_plugin("subject")
    told = eventually(lambda: [text for text in errors if "'stray'" in text])
    assert "main.py:3" in told[0]
    assert "[retire-problem]" in told[0]
    end.set()
    manager.module("subject", "main").END.set()


def test_a_timer_is_cancelled(shop: Workshop, errors: list[str]) -> None:
    """N04: a timer of an old version never fires."""
    code = "import threading\nTIMER = threading.Timer(60, print)\nTIMER.start()\n"
    shop.plugin("subject", code + RUN)
    manager = listening(shop.manager(), errors)
    timer = manager.module("subject", "main").TIMER
    manager.force_reload_plugin("subject")
    eventually(lambda: not timer.is_alive())
    manager.unload("subject")
    assert errors == []


def test_a_child_process_and_an_open_socket_are_named(shop: Workshop, errors: list[str]) -> None:
    """N05 X04: what an old version left open in its modules is reported by its variable."""
    code = (
        "import socket, subprocess, sys\n"
        "CHILD = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "SOCKET = socket.socket()\n"
    )
    shop.plugin("subject", code + RUN)
    manager = listening(shop.manager(), errors)
    main = manager.module("subject", "main")
    manager.unload("subject")
    told = eventually(lambda: len(errors) == 2 and errors)
    assert any("CHILD is a child process" in text and "main.py" in text for text in told)
    assert any("SOCKET is an open socket" in text for text in told)
    main.CHILD.communicate()
    main.SOCKET.close()


def test_tasks_of_an_old_version_are_cancelled(shop: Workshop) -> None:
    """N03: a task that an old version left on the host's loop, or on the manager's own, ends with it."""
    code = (
        "import asyncio\nTASKS = []\nasync def forever():\n    await asyncio.Event().wait()\n"
        "async def run():\n    TASKS.append(asyncio.get_running_loop().create_task(forever()))\n    return TASKS[-1]\n"
    )
    shop.plugin("subject", code)
    manager = shop.manager()
    own = manager.execute("subject")

    async def main() -> Any:
        task = await manager.aexecute("subject")
        await asyncio.to_thread(manager.force_reload_plugin, "subject")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        return task

    assert asyncio.run(main()).cancelled()
    eventually(own.cancelled)


def test_a_signal_handler_can_only_be_set_by_the_main_thread(shop: Workshop) -> None:
    """N06: loads run on a thread of their own, where Python refuses signal.signal; the refusal says where."""
    from pytest_hotplug import PluginLoadError

    shop.plugin("subject", "import signal\nsignal.signal(signal.SIGTERM, lambda *a: None)\n" + RUN)
    with pytest.raises(PluginLoadError, match=r"main\.py:2.*signal only works in main thread"):
        shop.manager().load("subject")


def test_a_lazy_import_leaves_nothing_behind_either(shop: Workshop) -> None:
    """X06: what a module does that a call imports later is undone like the rest."""
    shop.plugin("subject", "def run():\n    from . import late\n")
    shop.write("subject", "late.py", "import sys\nsys.path.append('/nowhere/late')\n")
    manager = shop.manager()
    manager.execute("subject")
    assert sys.path.count("/nowhere/late") == 1
    manager.unload("subject")
    assert sys.path.count("/nowhere/late") == 0


def test_outside_of_loads_nothing_is_tapped(shop: Workshop) -> None:
    """The functions that are tapped during a load are Python's own before and after it."""
    register, start, handler = atexit.register, threading.Thread.start, logging.Logger.addHandler
    shop.plugin("subject", "import atexit\nregister = atexit.register\n" + RUN)
    manager = shop.manager()
    kept = manager.module("subject", "main").register
    assert (atexit.register, threading.Thread.start, logging.Logger.addHandler) == (register, start, handler)
    kept(print)
    atexit.unregister(print)


@pytest.mark.parametrize("end", ["", "def on_unload(context):\n    pass\n"], ids=["nothing to end", "on_unload"])
def test_a_class_that_can_not_be_hashed_ends_with_its_version(shop: Workshop, end: str) -> None:
    """A metaclass that defines equality alone forbids it; its objects are looked through like others."""
    code = (
        "class Kind(type):\n    __hash__ = None\n\n    def __eq__(cls, other):\n        return cls is other\n\n\n"
        "class Odd(metaclass=Kind):\n    pass\n\n\nODD = Odd()\n\n\ndef run():\n    return {}\n\n\n"
    )
    shop.plugin("subject", code.format(1) + end)
    manager = shop.manager()
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", code.format(22) + end)
    assert isinstance(manager.reload("subject"), Reloaded)
    assert manager.execute("subject") == 22

    def alive() -> int:
        gc.collect()
        return int(manager.get_plugin_hot_info("subject")["generations_alive"])

    eventually(lambda: alive() == 1, "the old version's end")


def test_a_child_process_of_a_class_that_equals_another_is_named(shop: Workshop) -> None:
    """What a metaclass says of equality does not hide that the old version left something running."""
    code = (
        "import subprocess, sys\n\n\nclass ByName(type):\n    def __eq__(cls, other):\n"
        "        return cls.__name__ == other.__name__\n\n"
        "    def __hash__(cls):\n        return hash(cls.__name__)\n\n\n"
        "def other():\n    class Worker(metaclass=ByName):\n        pass\n\n    return Worker()\n\n\n"
        "class Worker(subprocess.Popen, metaclass=ByName):\n    pass\n\n\nfirst = other()\n"
        "child = Worker([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n\n\ndef run():\n    return child\n"
    )
    shop.plugin("subject", code)
    manager = shop.manager()
    child = manager.execute("subject")
    try:
        found = left_open(list(manager._registry.serving["subject"].modules.values()), lambda module: module.__name__)
        assert [text for text in found if "a child process" in text]
    finally:
        child.stdin.close()
        child.wait()
