"""T: the traps that a prototype of the mechanism fell into."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from tests.hazards.adapter import TWO_MANAGERS
from tests.hazards.forking import statuses_of_children
from tests.hazards.ours import Ours
from tests.hazards.stage import WAITING, InFlight, Stage
from tests.hazards.suite import hazard
from tests.threads import nervous_switching

LATE = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Late:
    n: int = %n
"""


@hazard("T1", "A module with a dataclass is imported for the first time by old code, after the reload.")
def lazy_first_import_in_old_code(stage: Stage) -> None:
    main = f"import hazard_host as host\nN = %n\ndef run():\n    {WAITING}\n    from . import late\n"
    main += "    return N, late.Late().n\n"
    stage.start({"main.py": main, "late.py": LATE})
    with stage.in_flight("run") as call:
        stage.update({"main.py": main, "late.py": LATE})
    assert call.result == (1, 1)
    assert stage.call() == (2, 2)
    assert importlib.import_module(stage.public("late")).Late().n == 2


@hazard("T2", "A foreign thread imports the plugin's public names during reloads: it sees whole modules only.")
def foreign_thread_imports_public_names(stage: Stage) -> None:
    main = "import time, importlib.resources as r\nFIRST = %n\nfrom . import part\ntime.sleep(0.001)\n"
    main += "try: DATA = int(r.files(__package__).joinpath('data.json').read_text())\n"
    main += "except OSError: DATA = FIRST  # a peer whose modules have no resources\nLAST = %n\n"
    main += "def run(): return FIRST, part.FIRST, DATA, LAST\n"
    part = "import time\nFIRST = %n\ntime.sleep(0.001)\nLAST = %n\n"
    files = {"data.json": "%n", "part.py": part, "main.py": main}
    stage.start(files)
    over = threading.Event()
    torn: list[Any] = []

    def look() -> None:
        while not over.is_set():
            for name in ("main", "part"):
                module = importlib.import_module(stage.public(name))
                seen = getattr(module, "FIRST", None), getattr(module, "LAST", None)
                if seen[0] is None or seen[0] != seen[1]:
                    torn.append((name, *seen))

    looking = [InFlight(look), InFlight(look)]
    try:
        with nervous_switching(), stage.calling() as answers:
            for number in range(2, 22):
                stage.update(files)
                assert stage.call() == (number,) * 4
    finally:
        over.set()
    assert [look.result for look in looking] == [None, None]
    assert torn == []
    assert set(map(repr, answers)) <= {repr((n,) * 4) for n in range(1, 22)}


@hazard("T3", "Two managers serve one public name: both answer with their own code.", needs=(TWO_MANAGERS,))
def two_managers_with_one_public_name(stage: Stage) -> None:
    main = "from . import part\ndef run():\n    from . import late\n    return part.N, late.Late().n\n"
    files = {"main.py": main, "part.py": "N = %n\n", "late.py": LATE}
    stage.start(files)
    twin, theirs = Ours(), stage.root / "twin" / stage.package
    stage.number = 2
    stage.create(files, f"../twin/{stage.package}/plug")
    twin.open(theirs, {})
    try:
        twin.start("plug")
        with nervous_switching(), stage.calling() as answers:
            for _ in range(10):
                for manager in (stage.reloader.manager, twin.manager):  # type: ignore[attr-defined]
                    assert manager.force_reload_plugin("plug")
                assert twin.call("plug", "run") == (2, 2)
        assert set(map(repr, answers)) == {"(1, 1)"}
        assert sys.modules[stage.public("part")].N == 2
    finally:
        twin.close()
    assert stage.call() == (1, 1)


@hazard("T4", "A child that is forked while loads and lazy imports go on can load and call.", child=True)
def fork_while_loads_go_on(stage: Stage) -> None:
    main = "import time\ntime.sleep(0.005)\nfrom . import part\ndef run():\n    from . import late\n    return part.N\n"
    files = {"main.py": main, "part.py": "N = %n\n", "late.py": "import time\ntime.sleep(0.002)\n"}
    stage.start(files)
    stage.start(files, "other")
    over = threading.Event()

    def reload() -> None:
        while not over.is_set():
            stage.update(files)
            stage.call()

    def in_child() -> bool:
        stage.update({**files, "part.py": "N = 'child'\n"}, "other")
        assert isinstance(stage.call(), int)
        return bool(stage.call(plugin="other") == "child")

    reloading = InFlight(reload)
    try:
        assert statuses_of_children(in_child, 6) == [0] * 6
    finally:
        over.set()
    assert reloading.result is None
