"""D: what counts as a change, and what is read of it."""

from __future__ import annotations

import os
import sys
import time

from tests.hazards.adapter import DETECTS
from tests.hazards.stage import COUNTING, RUN, Stage
from tests.hazards.suite import hazard

PAIR = "from . import util\nN = %n\ndef run(): return N, util.N\n"
UTIL = "N = %n\n"


@hazard("D01", "An edit of the same size within the same second is served, .pyc files or not.", child=True)
def same_size_edit_inside_one_mtime_second(stage: Stage) -> None:
    assert not sys.dont_write_bytecode
    stage.start(RUN)
    for number in (2, 3, 4):
        stage.update(RUN, seconds=0.1)
        assert stage.call() == number


@hazard("D02", "Other content with an identical time and size (rsync -t, SOURCE_DATE_EPOCH) is served.", child=True)
def identical_time_and_size_other_content(stage: Stage) -> None:
    assert not sys.dont_write_bytecode
    stage.start(RUN)
    before = stage.path().stat()
    stage.update(RUN, seconds=0)
    after = stage.path().stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    assert stage.call() == 2


@hazard("D03", "A touch without a change executes nothing.", needs=(DETECTS,))
def touch_without_change(stage: Stage) -> None:
    stage.start(COUNTING)
    stage.set_time(stage.path())
    stage.reload()
    assert (stage.call(), stage.host.executions) == (1, 1)


@hazard("D04", "An edit that is undone before anybody looked executes nothing.", needs=(DETECTS,))
def edit_then_undo_before_the_check(stage: Stage) -> None:
    stage.start(COUNTING)
    stage.write(COUNTING.replace("%n", "2"))
    stage.write(COUNTING)
    stage.reload()
    assert (stage.call(), stage.host.executions) == (1, 1)


@hazard("D05", "Restoring the old file with its old time (cp -p, mv of a backup) is a change.", child=True)
def rollback_with_the_old_time(stage: Stage) -> None:
    stage.start(RUN)
    backup = stage.root / "backup.py"
    stage.copy(stage.path(), backup)
    stage.update(RUN)
    assert stage.call() == 2
    stage.copy(backup, stage.path())
    stage.reload()
    assert stage.call() == 1
    stage.update(RUN)
    os.replace(backup, stage.path())
    stage.reload()
    assert stage.call() == 1


@hazard("D06", "An atomic save (write beside, then rename over the file) is served.")
def atomic_rename_save(stage: Stage) -> None:
    stage.start(RUN)
    before = stage.path().stat().st_ino
    stage.update(RUN)
    assert stage.path().stat().st_ino != before
    assert stage.call() == 2


@hazard(
    "D07",
    "A file caught empty in the middle of a save is not served; the whole one is, afterwards.",
    settings={"debounce": 0.15},
)
def file_caught_empty_in_the_middle_of_a_save(stage: Stage) -> None:
    stage.start(RUN)
    stage.number = 2
    with stage.calling() as answers:
        stage.path().write_bytes(b"")
        stage.set_time(stage.path())
        looking = stage.reload_beside()
        time.sleep(0.02)  # as long as the save takes
        stage.write(RUN)
        assert looking.result
        stage.reload()
    assert stage.call() == 2
    assert set(map(repr, answers)) <= {"1", "2"}


@hazard(
    "D08",
    "A checkout that brings util, and main 20 ms later, is never served half old, half new.",
    settings={"debounce": 0.15},
)
def checkout_storm(stage: Stage) -> None:
    stage.start({"main.py": PAIR, "util.py": UTIL})
    stage.number = 2
    with stage.calling() as answers:
        stage.write({"util.py": UTIL})
        looking = stage.reload_beside()
        time.sleep(0.02)  # as long as the checkout takes
        stage.write({"main.py": PAIR})
        assert looking.result
        stage.reload()
    assert stage.call() == (2, 2)
    assert set(map(repr, answers)) <= {"(1, 1)", "(2, 2)"}


@hazard("D09", "A module that the new version deleted can no longer be imported.")
def module_deleted(stage: Stage) -> None:
    stage.start({"main.py": "from . import extra\ndef run(): return extra.N\n", "extra.py": UTIL})
    assert stage.call() == 1
    main = "def run():\n    try:\n        from . import extra\n    except ImportError:\n        return 'gone'\n"
    stage.update({"extra.py": None, "main.py": main})
    assert stage.call() == "gone"


@hazard("D10", "A module that came with the new version is found.")
def module_added(stage: Stage) -> None:
    stage.start(RUN)
    stage.update({"extra.py": UTIL, "main.py": "from .extra import N\ndef run(): return N\n"})
    assert stage.call() == 2


@hazard("D11", "A change of plugin.json alone is a change; code that reads it at import sees the new one.")
def only_the_manifest_changed(stage: Stage) -> None:
    main = "import pathlib\nTEXT = pathlib.Path(__file__).with_name('plugin.json').read_text()\n"
    stage.start(main + "def run(): return TEXT\n")
    assert stage.call() == '{"version": "1"}'
    stage.update({"plugin.json": '{"version": "%n"}'})
    assert stage.call() == '{"version": "2"}'


@hazard("D12", "An edit in a nested package is seen.")
def edit_in_a_nested_package(stage: Stage) -> None:
    packages = {"sub/__init__.py": "", "sub/deep/__init__.py": ""}
    main = "from .sub.deep import leaf\ndef run(): return leaf.N\n"
    stage.start({**packages, "sub/deep/leaf.py": UTIL, "main.py": main})
    stage.update({"sub/deep/leaf.py": UTIL})
    assert stage.call() == 2


@hazard("D13", "A deployment that swaps a symbolic link is a change.")
def symlink_swap_deploy(stage: Stage) -> None:
    for number in (1, 2):
        stage.number = number
        stage.create(RUN, plugin=f"../release_{number}")
    link, beside = stage.plugins / "plug", stage.root / "next"
    link.symlink_to(stage.root / "release_1")
    stage.reloader.start("plug")
    assert stage.call() == 1
    beside.symlink_to(stage.root / "release_2")
    os.replace(beside, link)
    stage.reload()
    assert stage.call() == 2


@hazard("D14", "A source with a latin-1 coding cookie loads and reloads.")
def latin_1_cookie(stage: Stage) -> None:
    def source(text: str) -> bytes:
        return f"# -*- coding: latin-1 -*-\nN = '{text}'\ndef run(): return N\n".encode("latin-1")

    stage.start({"main.py": source("grün")})
    assert stage.call() == "grün"
    stage.update({"main.py": source("weiß")})
    assert stage.call() == "weiß"


@hazard("D15", "Line ends converted to CRLF, together with an edit, load like anything else.")
def crlf_conversion_and_edit(stage: Stage) -> None:
    stage.start(RUN)
    stage.update(RUN.replace("\n", "\r\n"))
    assert stage.call() == 2


@hazard("D16", "A file that changes again while it is loaded is served as it was read, then as it is.")
def file_changes_while_it_is_loaded(stage: Stage) -> None:
    stage.start(RUN)
    stage.host.during_import = lambda: stage.write(RUN.replace("%n", "3"))
    stage.update("import hazard_host as host\nhost.during_import()\n" + RUN)
    assert stage.call() == 2
    stage.reload()
    assert stage.call() == 3
