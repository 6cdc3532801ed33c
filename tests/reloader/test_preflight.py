"""`preflight = "child"`: what a new version does to its process at import, it does to another one first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded
from pytest_hotplug.reloader import preflight as preflight_module
from tests.reloader.workshop import Workshop, eventually, running

ONE, TWO = "def run():\n    return 1\n", "def run():\n    return 2\n"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a temporary directory of its own; afterwards no trial's files may lie in it."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.glob("hotplug-preflight-*")) == []


@pytest.fixture
def serving(shop: Workshop, temporary: Path) -> PluginManager:
    """Give a manager that tries versions first, and serves version 1 of `subject`."""
    shop.plugin("subject", ONE)
    manager = shop.manager(preflight="child")
    assert manager.execute("subject") == 1
    return manager


def refused(manager: PluginManager) -> Any:
    """Reload `subject`, make sure that version 1 goes on, and return the fault."""
    outcome = manager.reload("subject")
    assert isinstance(outcome, KeptCurrent), outcome
    assert manager.execute("subject") == 1
    assert manager.get_plugin_hot_info("subject")["state"] == "degraded"
    assert outcome.error is not None
    return outcome.error


def notes(file: Path, what: str) -> str:
    """Return code that adds a line to a file."""
    return f"with open({str(file)!r}, 'a') as log: print({what}, file=log)\n"


def pids_in(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def no_longer_runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            return stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
        os.kill(pid, 0)
        return False
    return True


@pytest.mark.parametrize("code", [0, 1])
def test_a_version_that_exits_its_process_exits_another_one(shop: Workshop, serving: PluginManager, code: int) -> None:
    """S28: os._exit at import, whatever its code, is refused; this process and the old version go on."""
    shop.write("subject", "main.py", f"import os\nos._exit({code})\n")
    fault = refused(serving)
    assert fault.slug == "process-ended"
    assert f"exit code {code}" in fault.message
    assert fault.path == shop.plugins / "subject"
    shop.write("subject", "main.py", TWO)
    assert serving.execute("subject") == 2


@posix
def test_a_version_that_crashes_crashes_another_process(shop: Workshop, serving: PluginManager) -> None:
    """S28: a segmentation fault in a compiled package is told with the signal's name."""
    shop.write("subject", "main.py", "import ctypes\nctypes.string_at(0)\n")
    fault = refused(serving)
    assert (fault.slug, "SIGSEGV" in fault.message) == ("process-ended", True)


def test_a_version_that_never_ends_costs_no_thread(shop: Workshop, temporary: Path) -> None:
    """S28: an endless loop is given up after load_timeout; its process is gone, no thread is left behind."""
    pids = shop.root / "pids"
    shop.plugin("subject", ONE)
    manager = shop.manager(preflight="child", load_timeout=1.0)
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", f"import os\n{notes(pids, 'os.getpid()')}while True: pass\n")
    fault = refused(manager)
    assert (fault.slug, "1 s" in fault.message) == ("load-timeout", True)
    (pid,) = pids_in(pids)
    assert pid != os.getpid()
    eventually(lambda: no_longer_runs(pid), "the end of the child")


def test_a_version_that_holds_the_interpreter_is_ended_from_outside(
    shop: Workshop, serving: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S28: where the child can't even notice its own time limit, ours ends it."""
    monkeypatch.setattr(preflight_module, "REPORT_MARGIN", 1.0)
    code = "import ctypes, sys\nsys.setswitchinterval(1000)\nctypes.pythonapi.PyErr_CheckSignals()\n"
    shop.plugin("subject", f"{code}ctypes.PyDLL(None).sleep(60)\n", manifest={"load_timeout": 0.5})
    began = time.monotonic()
    assert refused(serving).slug == "load-timeout"
    assert time.monotonic() - began < 20


@posix
def test_a_version_that_forks_makes_no_second_worker(shop: Workshop, serving: PluginManager) -> None:
    """S28: a fork whose child runs on in the code of whoever imports it is refused; nothing of it is left."""
    pids = shop.root / "pids"
    shop.write("subject", "main.py", f"import os\nos.fork()\n{notes(pids, 'os.getpid()')}{TWO}")
    fault = refused(serving)
    assert fault.slug == "fork-at-import"
    assert os.getpid() not in pids_in(pids)
    eventually(lambda: all(map(no_longer_runs, pids_in(pids))), "the end of both processes")


@posix
def test_a_fork_that_takes_its_time_is_refused_all_the_same(shop: Workshop, serving: PluginManager) -> None:
    """S28: a forked process that is still there when the import ends may yet run on: it is refused, and ended."""
    pids = shop.root / "pids"
    lingers = f"if os.fork() == 0:\n    {notes(pids, 'os.getpid()')}    time.sleep(60)\n"
    shop.write("subject", "main.py", f"import os, time\n{lingers}{TWO}")
    assert refused(serving).slug == "fork-at-import"
    eventually(lambda: all(map(no_longer_runs, pids_in(pids))), "the end of the forked process")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="nothing else tells such a fork from no fork")
@pytest.mark.parametrize("leaving", ["pass", "os.setsid()", "os.setsid(); os.fork() and os._exit(0)"])
def test_a_fork_that_hides_is_found_all_the_same(shop: Workshop, serving: PluginManager, leaving: str) -> None:
    """S28: without a descriptor, out of the session, or without a parent: it lingers, is refused, and is ended."""
    pids = shop.root / "pids"
    hides = f"if os.fork() == 0:\n    {leaving}\n    {notes(pids, 'os.getpid()')}"
    hides += "    os.closerange(0, 256)\n    time.sleep(60)\n"
    shop.write("subject", "main.py", f"import os, time\n{hides}{TWO}")
    assert refused(serving).slug == "fork-at-import"
    assert pids_in(pids)
    eventually(lambda: all(map(no_longer_runs, pids_in(pids))), "the end of the forked process")


@posix
def test_a_fork_that_becomes_another_program_is_no_fault(shop: Workshop, serving: PluginManager) -> None:
    """A process that was forked to execute something else never runs on in our code."""
    execs = "if os.fork() == 0:\n    os.execvp('sleep', ['sleep', '60'])\n"
    only_there = f"if os.getpid() != {os.getpid()}:\n" + "".join(f"    {line}\n" for line in execs.splitlines())
    shop.write("subject", "main.py", f"import os\n{only_there}{TWO}")
    assert isinstance(serving.reload("subject"), Reloaded)


@posix
def test_a_child_that_stops_itself_is_ended_soon(
    shop: Workshop, serving: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S28: the time to start is not added to the time that a load may take: it has begun when it says so."""
    monkeypatch.setattr(preflight_module, "MARGIN", 3600.0)
    monkeypatch.setattr(preflight_module, "REPORT_MARGIN", 0.5)
    stops = f"if os.getpid() != {os.getpid()}: os.kill(os.getpid(), signal.SIGSTOP)\n"
    shop.plugin("subject", f"import os, signal\n{stops}{TWO}", manifest={"load_timeout": 0.5})
    assert refused(serving).slug == "load-timeout"


@posix
def test_a_fork_that_does_its_own_work_is_no_fault(shop: Workshop, serving: PluginManager) -> None:
    """Only what comes back into our code is refused; a process that the plugin starts there ends with the trial."""
    shop.write("subject", "main.py", f"import os\nif (p := os.fork()) == 0: os._exit(0)\nos.waitpid(p, 0)\n{TWO}")
    assert isinstance(serving.reload("subject"), Reloaded)
    pids = shop.root / "pids"
    starts = f"if os.getpid() != {os.getpid()}:\n    p = subprocess.Popen(['sleep', '60'])\n    {notes(pids, 'p.pid')}"
    shop.write("subject", "main.py", f"import os, subprocess\n{starts}{TWO}")
    assert isinstance(serving.reload("subject"), Reloaded)
    (pid,) = pids_in(pids)
    eventually(lambda: no_longer_runs(pid), "the end of what the trial started")


def test_what_the_child_found_out_is_told_as_ever(shop: Workshop, serving: PluginManager) -> None:
    """S28: an exception keeps its slug, its line in the plugin's own file, and never ran here."""
    shop.write(
        "subject", "main.py", f"import os\nif os.getpid() == {os.getpid()}: os.abort()\nraise ValueError('no')\n"
    )
    fault = refused(serving)
    assert (fault.slug, fault.path, fault.line) == ("import-error", shop.plugins / "subject" / "main.py", 3)
    assert fault.source.strip() == "raise ValueError('no')"


def test_a_good_version_is_loaded_once_here_and_once_there(shop: Workshop, serving: PluginManager) -> None:
    """S28: it serves; the child ran it before this process did, with the same __file__."""
    log = shop.root / "log"
    shop.write("subject", "main.py", f"import os\n{notes(log, 'os.getpid(), __file__')}{TWO}")
    assert serving.execute("subject") == 2
    first, second = (line.split(" ", 1) for line in log.read_text().splitlines())
    assert (first[0] != str(os.getpid()), second[0]) == (True, str(os.getpid()))
    assert first[1] == second[1] == str(shop.plugins / "subject" / "main.py")


def test_what_was_tried_is_what_is_loaded(shop: Workshop, serving: PluginManager) -> None:
    """The child gets the very bytes: an edit while it tries them is another version, tried by itself."""
    mark, go = shop.root / "mark", shop.root / "go"
    wait = f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\n"
    wait += f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
    shop.write("subject", "main.py", f"{wait}from .part import N\ndef run(): return N\n")
    shop.write("subject", "part.py", "N = 2\n")
    outcomes: list[Any] = []
    with running(lambda: outcomes.append(serving.reload("subject"))):
        eventually(mark.exists, "the trial")
        assert serving._registry.serving["subject"].number == 1
        shop.write("subject", "part.py", "import os\nos._exit(3)\n")
        go.touch()
    assert isinstance(outcomes[0], Reloaded)
    assert serving.module("subject", "part").N == 2
    outcome = serving.reload("subject")
    assert outcome.error is not None
    assert outcome.error.slug == "process-ended"
    assert serving.module("subject", "part").N == 2


def test_the_first_load_is_tried_as_well(shop: Workshop, temporary: Path) -> None:
    """Nothing serves yet, and the process lives on to say so."""
    shop.plugin("subject", "import os\nos._exit(0)\n")
    with pytest.raises(PluginLoadError, match=r"\[process-ended\]"):
        shop.manager(preflight="child").load("subject")


def test_plugins_that_load_together_are_tried_together(shop: Workshop, temporary: Path) -> None:
    """What a version needs, and what needs it, is imported there too; the one to blame is named."""
    shop.plugin("base", "N = 1\n")
    shop.plugin("subject", f"from {shop.package}.base.main import N\ndef run(): return N\n", {"depends_on": ["base"]})
    shop.plugin("base", "N = 1\ndef run(): pass\n")
    manager = shop.manager(preflight="child")
    assert manager.execute("subject") == 1
    shop.write("base", "main.py", "N = 2\ndef run(): pass\n")
    assert manager.execute("subject") == 2
    top = "import os\nif N == 3: os._exit(9)\n"
    shop.write("subject", "main.py", f"from {shop.package}.base.main import N\n{top}def run(): return N\n")
    assert manager.execute("subject") == 2
    shop.write("base", "main.py", "N = 3\ndef run(): pass\n")
    outcome = manager.reload("base")
    assert outcome.error is not None
    assert (outcome.error.slug, outcome.error.plugin) == ("process-ended", "subject")
    assert manager.execute("subject") == 2


def test_a_dependents_own_new_bytes_are_tried_too(shop: Workshop, temporary: Path) -> None:
    """They come along when its base is reloaded, would hurt just as much, and hold up nobody else."""
    shop.plugin("base", "def run(): return 1\n")
    shop.plugin("subject", ONE, {"depends_on": ["base"]})
    manager = shop.manager(preflight="child")
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", "import os\nos._exit(0)\n")
    shop.write("base", "main.py", "def run(): return 2\n")
    assert isinstance(manager.reload("base"), Reloaded)
    assert (manager.execute("subject"), manager.execute("base")) == (1, 2)
    assert manager.why("subject")["verdict"] == "refused"
    shop.write("subject", "main.py", TWO)
    assert (manager.execute("subject"), manager.execute("base")) == (2, 2)


def test_a_process_that_ends_is_blamed_on_whose_code_ran(shop: Workshop, temporary: Path) -> None:
    """The child had just loaded what the plugin needs: that one ended nothing."""
    shop.plugin("base", "def run(): return 1\n")
    shop.plugin("subject", ONE, {"depends_on": ["base"]})
    manager = shop.manager(preflight="child")
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", "import os\nos._exit(0)\n")
    outcome = manager.reload("subject")
    assert outcome.error is not None
    assert (outcome.error.slug, outcome.error.plugin) == ("process-ended", "subject")


def test_bytes_that_no_child_saw_are_not_loaded(shop: Workshop, temporary: Path) -> None:
    """A plugin that only this process would import on the way is left for a look of its own, which tries it."""
    shop.plugin("other", "N = 5\ndef run(): return N\n")
    here = f"import os\nif os.getpid() == {os.getpid()}:\n    from {shop.package}.other import main\n"
    shop.plugin("subject", here + ONE)
    manager = shop.manager(preflight="child")
    with pytest.raises(PluginLoadError, match="no child process has tried these bytes"):
        manager.load("subject")
    assert manager.execute("other") == 5
    assert manager.force_reload_plugin("subject")


def test_going_back_needs_no_trial(shop: Workshop, serving: PluginManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that served before does so at once, also where no process can be started any more."""
    shop.write("subject", "main.py", TWO)
    assert serving.execute("subject") == 2
    monkeypatch.setattr(sys, "executable", "")
    assert isinstance(serving.rollback("subject"), Reloaded)
    shop.write("subject", "main.py", "def run():\n    return 3\n")
    outcome = serving.reload("subject")
    assert outcome.error is not None
    assert outcome.error.slug == "preflight-failed"
    assert serving.execute("subject") == 1


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_a_manager_tries_nothing_unless_it_is_told_to(shop: Workshop, temporary: Path, setting: str) -> None:
    """The default costs no process."""
    log = shop.root / "log"
    shop.plugin("subject", notes(log, "'x'") + ONE)
    assert shop.manager(preflight=setting).execute("subject") == 1
    assert log.read_text() == "x\n"


@posix
def test_the_settings_of_the_manager_are_the_childs(shop: Workshop, temporary: Path) -> None:
    """A manager made by keywords, with a layout of its own, other modules on sys.path: the child has them."""
    beside = shop.root / "beside"
    beside.mkdir()
    (beside / "only_here.py").write_text("N = 4\n")
    shop.plugin("subject", {"core.py": "import only_here\ndef start(): return only_here.N\n"})
    manager = shop.manager(preflight="child", entry="core:start", package="")
    with pytest.raises(PluginLoadError, match="only_here"):
        manager.load("subject")
    sys.path.insert(0, str(beside))
    try:
        (shop.plugins / "subject" / "more.py").write_text("")
        assert manager.execute("subject") == 4
    finally:
        sys.path.remove(str(beside))
        sys.modules.pop("only_here", None)


def test_an_impatient_user_leaves_nothing_behind(shop: Workshop, serving: PluginManager) -> None:
    """Ctrl-C while the child works: the child ends, its files go, the old version serves."""
    pids = shop.root / "pids"
    shop.write(
        "subject",
        "main.py",
        f"import os, signal, time\n{notes(pids, 'os.getpid()')}os.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(60)\n",
    )
    with pytest.raises(KeyboardInterrupt):
        serving.reload("subject")
    (pid,) = pids_in(pids)
    eventually(lambda: no_longer_runs(pid), "the end of the child")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    shop.write("subject", "main.py", TWO)
    assert serving.execute("subject") == 2


def test_other_loads_do_not_wait_for_a_trial(shop: Workshop, serving: PluginManager) -> None:
    """The guard of all loads is free while a child tries a version."""
    mark, go = shop.root / "mark", shop.root / "go"
    wait: Callable[[str], str] = lambda then: (  # noqa: E731
        f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n{then}"
    )
    shop.plugin("other", ONE)
    shop.write("subject", "main.py", wait(TWO))
    with running(lambda: serving.reload("subject")) as errors:
        eventually(mark.exists, "the trial")
        assert serving.execute("other") == 1
        go.touch()
    assert errors == []
    assert serving.execute("subject") == 2


def test_a_sandbox_tries_nothing(shop: Workshop, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plugins, and those that they need, see what a test has patched in its own process."""
    monkeypatch.setitem(sys.modules, "only_patched", type(sys)("only_patched"))
    shop.plugin("base", "import only_patched\ndef run(): return 1\n")
    code = f"from {shop.package}.base.main import run as base\ndef run(): return base()\n"
    shop.plugin("subject", code, {"depends_on": ["base"]})
    manager = shop.manager(preflight="child")
    manager._hot_loader.loader.code_path = lambda plugin, file, data: None
    assert manager.execute("subject") == 1
