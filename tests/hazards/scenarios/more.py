"""N and A: hangs, signals, forks, foreign registries, dependents, disks; and what a watcher adds."""

from __future__ import annotations

import abc
import asyncio
import codecs
import copyreg
import gc
import importlib
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from tests.hazards.adapter import DETECTS, HOOKS, SWITCHES, WATCHES
from tests.hazards.forking import statuses_of_children
from tests.hazards.ours import Ours, ours, reported
from tests.hazards.stage import COUNTING, RUN, WAITING, InFlight, Stage
from tests.hazards.suite import hazard, without_help
from tests.threads import eventually, nervous_switching

UTIL = "N = %n\n"
IMPORT_HOST = "import hazard_host as host\n"


@hazard(
    "N01",
    "An import that never ends: the old version keeps serving, it is told, and the next edit is not blocked.",
    settings={"load_timeout": 0.4},
)
def import_that_never_ends(stage: Stage) -> None:
    stage.start(RUN)
    stage.number = 2
    stage.write(IMPORT_HOST + "import time\nhost.inside.set()\nwhile not host.over: time.sleep(0.01)\n" + RUN)
    looking = stage.reload_beside()
    eventually(stage.host.inside.is_set, "the import's begin")
    assert InFlight(stage.call).result == 1
    looking.thread.join(3)
    assert not looking.thread.is_alive(), "the reload never came back"
    assert InFlight(stage.call).result == 1
    if stage.reloader.name == "pytest-hotplug":
        assert "can't be killed" in reported(stage, "[load-timeout]")
    assert InFlight(lambda: stage.update(RUN)).result == "new"
    assert stage.call() == 3


@hazard("N02", "Ctrl-C during a reload reaches the host; the state is all old, and reloads go on.", child=True)
def ctrl_c_during_a_reload(stage: Stage) -> None:
    files = {"main.py": "from . import util\nN = %n\ndef run(): return N, util.N\n", "util.py": UTIL}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
    stage.start(files)
    stage.number = 2
    slow = f"{IMPORT_HOST}from . import util\nN = %n\n{WAITING}\ndef run(): return N, util.N\n"
    stage.write({"util.py": UTIL, "main.py": slow})

    def press() -> None:
        stage.host.inside.wait()
        os.kill(os.getpid(), signal.SIGINT)

    InFlight(press)
    came = False
    try:
        stage.reload()
    except KeyboardInterrupt:
        came = True
    assert came, "the interrupt never reached the host"
    assert stage.call() in ((1, 1), (2, 2))
    stage.host.go.set()
    assert stage.update(files) == "new"
    assert stage.call() == (3, 3)


TASK = """
import asyncio, hazard_host as host
async def tick():
    while True: await asyncio.sleep(0.01)
"""
TASK_ON_LOAD = TASK + "async def on_load(context):\n    host.kept.append(asyncio.create_task(tick()))\n"
TASK_STOPPED = "    async def stop(task=host.kept[-1]): task.cancel()\n    context.register(stop)\n"
TASK_IN_CALL = TASK + "async def begin(): host.kept.append(asyncio.create_task(tick()))\n"


@hazard("N03", "An asyncio task that the old version created is cancelled when it is unloaded.", help=(HOOKS,),
        unaided=True)  # fmt: skip
def asyncio_task_of_the_old_version(stage: Stage) -> None:
    loop = asyncio.new_event_loop()
    turning = InFlight(loop.run_forever)
    try:
        if HOOKS in stage.reloader.helps:
            stage.start(TASK_ON_LOAD + (TASK_STOPPED if stage.helped else "") + RUN)
        else:
            stage.start(TASK_IN_CALL + RUN)
            asyncio.run_coroutine_threadsafe(stage.reloader.acall("plug", "begin"), loop).result(5)
        stage.update(RUN)
        assert stage.call() == 2
        eventually(lambda: stage.host.kept[0].cancelled(), "the task's end", 3)
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        loop.call_soon_threadsafe(loop.stop)
        turning.thread.join(5)
        loop.close()


def on_load_or_at_import(stage: Stage, head: str, doing: str, undo: str) -> str:
    """Return a plugin that does something in on_load and registers the undo, or does it plainly at import."""
    if not stage.helped:
        return IMPORT_HOST + head + doing + "\n" + RUN
    return f"{IMPORT_HOST}{head}def on_load(context):\n    {doing}\n    context.register({undo})\n{RUN}"


@hazard("N04", "A threading.Timer that the old version started is cancelled.", help=(HOOKS,), unaided=True, child=True)
def timer_of_the_old_version(stage: Stage) -> None:
    doing = "host.kept.append(threading.Timer(60, print)); host.kept[-1].start()"
    stage.start(on_load_or_at_import(stage, "import threading\n", doing, "host.kept[-1].cancel"))
    stage.update(RUN)
    assert stage.call() == 2
    eventually(lambda: not stage.host.kept[0].is_alive(), "the timer's end", 3)


STARTING = f"CHILD = subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])"


@hazard(
    "N05",
    "A child process that the old version started is ended.",
    help=(HOOKS,),
    how="it says context.register(child.terminate)",
    child=True,
)
def child_process_of_the_old_version(stage: Stage) -> None:
    doing = f"{STARTING}; host.kept.append(CHILD)"
    stage.start(on_load_or_at_import(stage, "import subprocess\n", doing, "CHILD.terminate"))
    stage.update(RUN)
    assert stage.call() == 2
    child: subprocess.Popen[bytes] = stage.host.kept[0]
    eventually(lambda: child.poll() is not None, "the child's end", 3)


@without_help("N05")
def a_child_process_that_nobody_ends_is_named(stage: Stage) -> None:
    stage.start(f"import subprocess\n{STARTING}\n{RUN}")
    child = stage.reloader.module("plug").CHILD
    try:
        stage.update(RUN)
        assert stage.call() == 2
        reported(stage, "CHILD", str(child.pid), "main", "[retire-problem]")
    finally:
        child.kill()
        child.wait()


SIGNAL = "import signal\ndef handler(*args): pass\n"
SETTING = "host.kept.append(signal.signal(signal.SIGUSR1, handler))"


@hazard(
    "N06",
    "A signal handler that the old version set is put back.",
    help=(HOOKS,),
    reported="signal.signal at import is refused with file and line: loads run on a thread of their own",
    child=True,
)
def signal_handler_of_the_old_version(stage: Stage) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    stage.start(on_load_or_at_import(stage, SIGNAL, SETTING, "signal.signal, signal.SIGUSR1, host.kept[-1]"))
    assert signal.getsignal(signal.SIGUSR1) is not before
    stage.update(RUN)
    assert stage.call() == 2
    assert signal.getsignal(signal.SIGUSR1) is before


@without_help("N06")
def a_signal_handler_at_import_is_refused_by_name(stage: Stage) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    stage.start(RUN)
    assert stage.update(f"{IMPORT_HOST}{SIGNAL}{SETTING}\n{RUN}") == "refused"
    assert "main.py:4" in ours(stage).refusal()
    assert "signal only works in main thread" in ours(stage).refusal()
    assert (stage.call(), signal.getsignal(signal.SIGUSR1)) == (1, before)


REGISTRIES = """
import codecs, copyreg, multiprocessing
def search(name): return codecs.lookup("utf-8") if name == "hazard" else None
class Mine: pass
"""
REGISTERING = (
    "codecs.register(search); copyreg.pickle(host.Own, repr); host.Abstract.register(Mine); "
    "multiprocessing.set_start_method('spawn', force=True)"
)
UNREGISTERING = (
    "lambda: (codecs.unregister(search), copyreg.dispatch_table.pop(host.Own), "
    "multiprocessing.set_start_method(None, force=True))"
)


@hazard(
    "N07",
    "What the old version put into codecs, copyreg, an abstract class and multiprocessing is undone.",
    help=(HOOKS,),
    unaided=True,
    child=True,
)
def registrations_in_the_standard_library(stage: Stage) -> None:
    stage.host.Own = type("Own", (), {})
    stage.host.Abstract = abc.ABCMeta("Abstract", (), {})
    stage.start(on_load_or_at_import(stage, REGISTRIES, REGISTERING, UNREGISTERING))
    assert codecs.lookup("hazard").name == "utf-8"
    stage.update(RUN)
    assert stage.call() == 2
    gc.collect()
    found = {
        "copyreg": stage.host.Own in copyreg.dispatch_table,
        "abstract class": len(abc._get_dump(stage.host.Abstract)[0]),  # type: ignore[attr-defined]
        "start method": multiprocessing.get_start_method(allow_none=True),
        "codecs": _has_codec("hazard"),
    }
    assert found == {"copyreg": False, "abstract class": 0, "start method": None, "codecs": False}


def _has_codec(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


BY_NAME = f"""
import importlib
import hazard_host as host
from . import util
N = %n
def run():
    {WAITING}
    return N, importlib.import_module(__package__ + ".util").N
def relative():
    {WAITING}
    return N, importlib.import_module(".util", __package__).N
"""


@hazard(
    "N08",
    "importlib.import_module of an own module inside an old function gets the old one.",
)
def import_module_inside_old_code(stage: Stage) -> None:
    files = {"main.py": BY_NAME, "util.py": UTIL}
    stage.start(files)
    for function in ("run", "relative"):
        old = stage.number
        with stage.in_flight(function) as call:
            stage.update(files)
        assert (function, call.result) == (function, (old, old))
    with stage.in_flight("run") as call:
        stage.host.go.set()
    assert call.result == (3, 3)


@hazard("N09", "Another thread unpickles instances while versions are swapped: never an error, never half a class.")
def unpickling_during_the_swap(stage: Stage) -> None:
    main = "A = %n\nclass Thing:\n    version = %n\n    def pair(self): return A, self.version, B\nB = %n\n" + RUN
    stage.start(main + "def make(): return Thing()\n")
    data = pickle.dumps(stage.call("make"))
    answers: list[Any] = []
    over = threading.Event()

    def unpickle() -> None:
        while not over.is_set():
            answers.append(pickle.loads(data).pair())

    loading = [InFlight(unpickle), InFlight(unpickle)]
    try:
        with nervous_switching():
            for number in range(2, 62):
                stage.update(main)
                assert stage.call() == number
    finally:
        over.set()
    assert [thread.result for thread in loading] == [None, None]
    assert answers
    assert set(answers) <= {(n, n, n) for n in range(1, 62)}


@hazard("N10", "A child that is forked in the middle of a reload inherits no held lock and can reload.", child=True)
def fork_during_a_reload(stage: Stage) -> None:
    stage.start(RUN)
    stage.number = 2
    stage.write(f"{IMPORT_HOST}{WAITING}\n{RUN}")
    looking = stage.reload_beside()
    eventually(stage.host.inside.is_set, "the load's begin")

    def in_child() -> bool:
        return stage.call() == 1 and stage.update(RUN) == "new" and stage.call() == 3

    statuses = statuses_of_children(in_child, 1)
    stage.host.go.set()
    assert statuses == [0]
    assert looking.result == "new"


@hazard("N11", "Modules outside of the plugin keep their identity; an extension module is never imported twice.")
def dependencies_keep_their_identity(stage: Stage) -> None:
    import msgspec

    main = "import msgspec\nimport msgspec._core as core\nN = %n\ndef run(): return N, msgspec, core, core.Struct\n"
    stage.start(main)
    stage.update(main)
    number, package, core, struct = stage.call()
    assert (number, package, core, struct) == (2, msgspec, sys.modules["msgspec._core"], msgspec.Struct)
    assert sys.modules["msgspec"] is msgspec


@hazard("N12", "A's new version breaks B, which depends on it, at import: neither is swapped.")
def new_version_breaks_its_dependent(stage: Stage) -> None:
    stage.start("def f(): return %n\ndef run(): return f()\n")
    stage.start("from PACKAGE.plug.main import f\ndef run(): return f()\n", "user")
    stage.update("def g(): return %n\ndef run(): return g()\n")
    if stage.reloader.name == "pytest-hotplug":
        assert "user" in ours(stage).refusal()
        assert "main.py:1" in ours(stage).refusal()
    assert (stage.call(), stage.call(plugin="user")) == (1, 1)
    stage.update("def f(): return %n\ndef run(): return f()\n")
    assert (stage.call(), stage.call(plugin="user")) == (3, 3)


@hazard("N13", "Two plugins come to depend on each other: no hang, and each serves one whole version.")
def plugins_in_a_circle(stage: Stage) -> None:
    stage.start(RUN, "a")
    stage.start(RUN, "b")
    stage.number = 2
    stage.write("from PACKAGE.b import main as other\n" + RUN, "a")
    stage.write("from PACKAGE.a import main as other\n" + RUN, "b")
    for plugin in ("a", "b"):
        assert InFlight(lambda plugin=plugin: stage.reload(plugin)).result  # type: ignore[misc]
    if stage.reloader.name == "pytest-hotplug":
        assert "b -> a -> b" in ours(stage).refusal()
        assert "[dependency-cycle]" in ours(stage).refusal()
    assert {InFlight(lambda p=p: stage.call(plugin=p)).result for p in ("a", "b")} <= {1, 2}  # type: ignore[misc]
    stage.number = 3
    for plugin in ("a", "b"):
        stage.write(RUN, plugin)
    for plugin in ("a", "b"):
        stage.reload(plugin)
    assert (stage.call(plugin="a"), stage.call(plugin="b")) == (3, 3)


@hazard("N14", "A plugin whose directory is deleted goes on serving; one that is added at run time is found.")
def directory_deleted_and_added(stage: Stage) -> None:
    lazy = "def lazy():\n    from . import late\n    return late.N\n"
    stage.start({"main.py": RUN + lazy, "late.py": UTIL})
    shutil.rmtree(stage.plugins / "plug")
    stage.reload()
    assert stage.call() == 1
    if stage.reloader.name == "pytest-hotplug":
        assert stage.call("lazy") == 1
        assert "[plugin-missing]" in ours(stage).refusal()
    stage.number = 2
    stage.start(RUN, "added")
    assert stage.call(plugin="added") == 2
    stage.create(RUN)
    stage.reload()
    assert stage.call() == 2


@hazard("N15", "A file that can't be read: the old version serves; once it can, the new one does.", child=True)
def file_that_cannot_be_read(stage: Stage) -> None:
    stage.start(RUN)
    stage.number = 2
    stage.write(RUN)
    mode = stage.path().stat().st_mode
    root = os.geteuid() == 0
    stage.path().chmod(0)
    if root:
        stage.root.chmod(0o755)
        os.seteuid(65534)  # no mode keeps root from reading
    try:
        assert stage.reload() != "new"
        if stage.reloader.name == "pytest-hotplug":
            assert "main.py" in ours(stage).refusal()
            assert "[unreadable]" in ours(stage).refusal()
        assert stage.call() == 1
    finally:
        if root:
            os.seteuid(0)
    stage.path().chmod(mode)
    stage.reload()
    assert stage.call() == 2


@hazard("N16", "Editor swap files, pipes and __pycache__ are no change and hang nothing.")
def files_that_are_no_part_of_a_plugin(stage: Stage) -> None:
    stage.start(COUNTING)
    for name in (".main.py.swp", "4913", "#main.py#", "main.py~", ".#main.py", "__pycache__/main.cpython-311.pyc"):
        stage.write({name: "raise RuntimeError('never run')\n"})
    os.mkfifo(stage.path("pipe"))
    assert InFlight(stage.reload).result != "refused"
    assert InFlight(stage.call).result == 1
    if DETECTS in stage.reloader.can:
        assert stage.host.executions == 1


@hazard("N17", "A rename that changes only the case of a module's name is a change; the old name is gone.")
def case_only_rename(stage: Stage) -> None:
    stage.start({"main.py": "from . import util\ndef run(): return util.N\n", "util.py": UTIL})
    os.rename(stage.path("util.py"), stage.path("Util.py"))
    main = "from . import Util\ndef run():\n    try:\n        from . import util\n    except ImportError:\n"
    stage.update(main + "        return Util.N\n    return 'the old name is still there'\n")
    assert stage.call() == 1


@hazard("N18", "The clock jumps back by a day: an edit is still seen, a touch is still none.")
def clock_jump(stage: Stage) -> None:
    stage.start(COUNTING)
    real = time.time
    try:
        time.time = lambda: real() - 86400
        stage._time_ns -= 86400 * 10**9
        stage.update(COUNTING)
        assert stage.call() == 2
        executions = stage.host.executions
        stage._time_ns -= 86400 * 10**9
        stage.set_time(stage.path())
        stage.reload()
        assert stage.call() == 2
        if DETECTS in stage.reloader.can:
            assert stage.host.executions == executions
    finally:
        time.time = real


# -- also ----------------------------------------------------------------------------------------


def watching(stage: Stage) -> Ours:
    """Let our manager reload in the background."""
    mine = ours(stage)
    mine.manager.enable_hot_reload()
    mine.manager.start_watching()
    return mine


@hazard("A1", "A rename, or bytes moved from one file to another, is a change though all bytes together are equal.")
def rename_and_moved_bytes(stage: Stage) -> None:
    main = "from . import x, y\ndef run(): return x.N, y.N\n"
    stage.start({"main.py": main, "x.py": "N = 1\nN = 2\n", "y.py": "N = 3\n"})
    assert stage.call() == (2, 3)
    stage.write({"x.py": "N = 1\n", "y.py": "N = 2\nN = 3\n"})
    stage.reload()
    assert stage.call() == (1, 3)
    os.rename(stage.path("y.py"), stage.path("z.py"))
    os.rename(stage.path("x.py"), stage.path("y.py"))
    os.rename(stage.path("z.py"), stage.path("x.py"))
    stage.reload()
    assert stage.call() == (3, 1)


@hazard(
    "A2",
    "Fifty writes inside the debounce are one reload and a bounded number of threads.",
    needs=(WATCHES,),
    settings={"debounce": 0.3},
)
def fifty_writes_are_one_reload(stage: Stage) -> None:
    stage.start(RUN)
    stage.start(RUN, "other")
    mine = watching(stage)
    before = threading.active_count()
    most = before
    for number in range(2, 52):
        stage.number = number
        stage.write(RUN)
        most = max(most, threading.active_count())
    eventually(lambda: mine.info()["generation"] > 1, "the reload")
    stage.write(RUN, "other")
    eventually(lambda: mine.info("other")["generation"] > 1, "the reload of a later edit")
    assert (mine.info()["generation"], stage.call()) == (2, 51)
    assert most <= before + 5


@hazard(
    "A3",
    "A commit that touches several plugins is one batch.",
    needs=(WATCHES,),
    settings={"debounce": 0.3},
)
def several_plugins_in_one_batch(stage: Stage) -> None:
    stage.start(RUN)
    stage.start("from PACKAGE.plug.main import N\ndef run(): return N, %n\n", "user")
    mine = watching(stage)
    stage.number = 2
    stage.write(RUN)
    stage.write("from PACKAGE.plug.main import N\ndef run(): return N, %n\n", "user")
    eventually(lambda: len(mine.loaded) >= 4, "the commit")
    stage.write(RUN, "later")
    eventually(lambda: "later" in mine.manager.discover(), "a later edit")
    assert mine.loaded == [("plug", 1), ("user", 1), ("plug", 2), ("user", 2)]
    assert stage.call(plugin="user") == (2, 2)


@hazard("A4", "A plugin that reads its own manifest with open() at import sees the new one.")
def own_manifest_read_with_open(stage: Stage) -> None:
    main = "import json, os\nN = %n\nwith open(os.path.join(os.path.dirname(__file__), 'plugin.json')) as file:\n"
    main += "    VERSION = json.load(file)['version']\ndef run(): return N, VERSION\n"
    stage.start(main)
    stage.update({"plugin.json": '{"version": "%n"}', "main.py": main})
    assert stage.call() == (2, "2")


@hazard("A5", "An edit made while hot reload is off is applied once it is on again.", needs=(SWITCHES,))
def edit_while_hot_reload_is_off(stage: Stage) -> None:
    stage.start(RUN)
    manager = ours(stage).manager
    assert not manager.hot_reload_enabled
    stage.number = 2
    stage.write(RUN)
    assert manager.execute("plug") == 1
    manager.enable_hot_reload()
    assert manager.execute("plug") == 2
    manager.pause("plug")
    stage.number = 3
    stage.write(RUN)
    assert manager.execute("plug") == 2
    manager.resume("plug")
    assert manager.execute("plug") == 3


@hazard("A6", "The watcher survives any error of a plugin.", needs=(WATCHES,))
def watcher_survives_errors(stage: Stage) -> None:
    stage.start(RUN)
    mine = watching(stage)
    broken: list[str | bytes] = [
        "def run(:\n",
        "raise RuntimeError\n",
        "import sys\nsys.exit(1)\n",
        "raise KeyboardInterrupt\n",
        b"\0",
    ]
    for number, source in enumerate(broken, start=1):
        stage.write({"main.py": source})
        eventually(lambda number=number: len(mine.errors) >= number, f"error {number}")  # type: ignore[misc]
        assert stage.call() == 1
    stage.number = 9
    stage.write(RUN)
    eventually(lambda: len(mine.loaded) > 1, "the mended version")
    assert stage.call() == 9
    assert importlib.import_module(stage.public()).N == 9
