"""F: a new version that can't serve; the old one goes on as if nothing had happened."""

from __future__ import annotations

import importlib
import sys

from tests.hazards.adapter import DETECTS, HOOKS
from tests.hazards.ours import ours, reported
from tests.hazards.stage import RUN, Stage
from tests.hazards.suite import hazard, without_help

UTIL = "N = %n\n"


def refused(stage: Stage, *words: str) -> None:
    """Assert that the last reload served nothing new; ours also says why, where and by name."""
    if stage.reloader.name == "pytest-hotplug":
        said = ours(stage).refusal()
        assert all(word in said for word in words), said


@hazard("F01", "A syntax error in the new main: the old serves; mended, the new one does.")
def syntax_error(stage: Stage) -> None:
    stage.start(RUN)
    assert stage.update("def run(:\n") == "refused"
    refused(stage, "main.py:1", "[syntax-error]")
    assert stage.call() == 1
    assert stage.update(RUN) == "new"
    assert stage.call() == 3


@hazard("F02", "The new version raises half-way through its import; the old one's state is intact.")
def exception_half_way(stage: Stage) -> None:
    stage.start("N = %n\nseen = []\ndef run():\n    seen.append(N)\n    return seen\n")
    assert stage.call() == [1]
    stage.update("N = %n\nseen = ['new']\nraise ValueError('half')\n")
    refused(stage, "main.py:3", "ValueError: half")
    assert stage.call() == [1, 1]


@hazard("F03", "Two files are new and the second one is broken: all or nothing.")
def second_of_two_files_broken(stage: Stage) -> None:
    main = "from . import first, second\ndef run(): return first.N, second.N\n"
    stage.start({"main.py": main, "first.py": UTIL, "second.py": UTIL})
    stage.update({"first.py": UTIL, "second.py": "N = %n\nraise RuntimeError('second')\n"})
    refused(stage, "second.py:2")
    assert stage.call() == (1, 1)
    stage.update({"second.py": UTIL, "first.py": UTIL})
    assert stage.call() == (3, 3)


@hazard("F04", "The new version lost its entry function; the old one keeps serving.")
def entry_function_lost(stage: Stage) -> None:
    stage.start(RUN)
    lost = {"main.py": "N = %n\n"}
    if stage.reloader.init:
        lost["__init__.py"] = ""  # a peer's own entry is there
    stage.update(lost)
    refused(stage, "[no-entry]")
    assert stage.call() == 1


@hazard("F05", "plugin.json becomes invalid together with a change of code: neither is served.")
def manifest_becomes_invalid(stage: Stage) -> None:
    main = "import json, pathlib\nN = %n\n"
    main += "VERSION = json.loads(pathlib.Path(__file__).with_name('plugin.json').read_text())['version']\n"
    main += "def run(): return N, VERSION\n"
    stage.start(main)
    stage.update({"plugin.json": '{"version":\n }', "main.py": main})
    refused(stage, "plugin.json:2", "[bad-manifest]")
    assert stage.call() == (1, "1")
    stage.update({"plugin.json": '{"version": "%n"}', "main.py": main})
    assert stage.call() == (3, "3")


@hazard("F06", "sys.exit() at import: the host survives, the old version serves.")
def sys_exit_at_import(stage: Stage) -> None:
    stage.start(RUN)
    stage.update("import sys\nsys.exit(3)\n" + RUN)
    refused(stage, "main.py:2", "[exit-at-import]")
    assert stage.call() == 1


@hazard("F07", "An exception at import that is no Exception: the host survives, the old version serves.")
def base_exception_at_import(stage: Stage) -> None:
    stage.start(RUN)
    stage.update("class Stop(BaseException): pass\nraise Stop('now')\n" + RUN)
    refused(stage, "main.py:2", "Stop: now")
    assert stage.call() == 1


@hazard("F08", "After a broken version the original content is restored: it serves, no error sticks.")
def original_restored_after_a_broken_version(stage: Stage) -> None:
    stage.start(RUN)
    stage.update("raise RuntimeError('broken')\n")
    stage.number = 1
    stage.write(RUN)
    assert stage.reload() != "refused"
    assert stage.call() == 1
    if stage.reloader.name == "pytest-hotplug":
        info = ours(stage).info()
        assert (info["error"], info["state"]) == (None, "serving")


@hazard("F09", "The same broken content, looked at five times, is executed once.", needs=(DETECTS,))
def broken_content_polled_five_times(stage: Stage) -> None:
    stage.start(RUN)
    stage.update("import hazard_host as host\nhost.executions += 1\nraise RuntimeError('broken')\n")
    for _ in range(4):
        stage.reload()
    assert stage.host.executions == 1
    assert stage.call() == 1


@hazard("F10", "A failed import leaves no half-new submodule behind.")
def no_half_new_submodule_left(stage: Stage) -> None:
    stage.start({"main.py": "from . import first\ndef run(): return first.N\n", "first.py": UTIL})
    broken = "from . import first, third\nraise RuntimeError('after third')\n"
    stage.update({"first.py": UTIL, "third.py": UTIL, "main.py": broken})
    assert stage.call() == 1
    assert stage.public("third") not in sys.modules
    assert importlib.import_module(stage.public("first")).N == 1
    assert vars(sys.modules[stage.public("")])["first"].N == 1


REGISTERING = """
import hazard_host as host
def callback(): return %n
def on_load(context):
    host.callbacks.append(callback)
    context.register(host.callbacks.remove, callback)
    if %n == 2: raise RuntimeError('after')
def run(): return %n
"""
REGISTERING_PLAINLY = """
import hazard_host as host
def callback(): return %n
host.callbacks.append(callback)
if %n == 2: raise RuntimeError('after')
def run(): return %n
"""


@hazard(
    "F11",
    "What a failed new version registered before it raised is undone.",
    help=(HOOKS,),
    how="it registers in on_load and says context.register(undo)",
)
def registration_of_a_failed_version_undone(stage: Stage) -> None:
    files = REGISTERING if stage.helped else REGISTERING_PLAINLY
    stage.start(files)
    stage.update(files)
    assert stage.call() == 1
    assert [callback() for callback in stage.host.callbacks] == [1]


@without_help("F11")
def a_failed_registration_at_import_is_told_with_its_line(stage: Stage) -> None:
    stage.start(REGISTERING_PLAINLY)
    stage.update(REGISTERING_PLAINLY)
    assert stage.call() == 1
    assert len(stage.host.callbacks) == 2
    reported(stage, "main.py:5", "RuntimeError: after")
