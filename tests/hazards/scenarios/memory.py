"""M: what is left of old versions, and whether one sees what runs."""

from __future__ import annotations

import gc
import inspect
import traceback

from tests.hazards.stage import Stage
from tests.hazards.suite import hazard

BIG = """
import dataclasses
from typing import Optional
@dataclasses.dataclass
class Big:
    items: Optional[list[int]] = None
    pick = lambda self: Big
def run(): return Big().pick() is Big and %n
"""


@hazard("M01", "At most two versions of a class (a dataclass with a lambda) are alive after six reloads.")
def old_classes_are_collected(stage: Stage) -> None:
    stage.start(BIG)
    for number in range(2, 8):
        stage.update(BIG)
        assert stage.call() == number
    gc.collect()
    name = stage.public()
    alive = [o for o in gc.get_objects() if isinstance(o, type) and (o.__name__, o.__module__) == ("Big", name)]
    assert 1 <= len(alive) <= 2, len(alive)


@hazard("M02", "A traceback after a reload shows the new source line.")
def traceback_shows_the_new_line(stage: Stage) -> None:
    stage.start("def run():\n    raise ValueError('first')\n")
    assert "raise ValueError('first')" in raised(stage)
    stage.update("# moved\n\ndef run():\n    raise ValueError('second')\n")
    assert "main.py\", line 4, in run\n    raise ValueError('second')" in raised(stage)


def raised(stage: Stage) -> str:
    """Return the traceback of a call that raises."""
    try:
        stage.call()
    except ValueError as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("nothing was raised")


@hazard("M03", "inspect.getsource shows the source of the new function.")
def getsource_of_the_new_function(stage: Stage) -> None:
    stage.start("def run():\n    return 'first'\n")
    assert inspect.getsource(stage.reloader.module("plug").run) == "def run():\n    return 'first'\n"
    stage.update("# moved\n\ndef run():\n    return 'second'\n")
    assert inspect.getsource(stage.reloader.module("plug").run) == "def run():\n    return 'second'\n"
