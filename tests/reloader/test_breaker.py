"""What counts as a plugin's own writing, batch by batch: hints are handed out by hand, so that nothing is by chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import PluginManager
from pytest_hotplug.reloader.breaker import MOST
from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.reloader.watching import Batch, Watching
from pytest_hotplug.watcher.batch import Batch as Hints
from tests.reloader.workshop import Workshop, kinds

WRITES_ITSELF = (
    "import os\nfrom pathlib import Path\nplace = Path(__file__).with_name('data.json')\n"
    "COUNT = int(place.read_text()) + 1\nplace.write_text(str(COUNT))\n"
)
RUN = "def run():\n    return COUNT\n"
SLOW_CLOCK = "os.utime(place, (COUNT, COUNT))\n"  # as on a file server whose clock is behind ours


class ByHand:
    """A watch that says "look again" when it is told to; stands for the watching that it begins, too."""

    alive, backend, reason, restarts, missed_by_events = True, "by hand", "", 0, 0

    def __call__(self, paths: Sequence[Path], on_batch: Callable[[Batch], None], settings: Settings) -> Watching:
        self.look_again = lambda: on_batch(Hints(frozenset(paths), 0.0))
        return self

    def stop(self) -> None:
        """Hold nothing, so end nothing."""


def watched_by_hand(manager: PluginManager) -> tuple[Callable[[], None], list[Any]]:
    """Return what hands out a batch, and the list of events from now on."""
    watch, events = ByHand(), []  # type: ignore[var-annotated]
    manager.subscribe(events.append)
    manager.start_watching(watch)
    return watch.look_again, events


def looks_until_it_trips(look_again: Callable[[], None], events: list[Any]) -> int:
    """Hand out batches until the breaker speaks, three times as many as it should take at the most."""
    for number in range(1, 3 * MOST):
        look_again()
        if any(event.kind == "error" and event.error.slug == "breaker" for event in events):
            return number
    raise AssertionError("the breaker never tripped")


@pytest.mark.parametrize("also", ["", SLOW_CLOCK], ids=["our clock", "a clock behind ours"])
def test_own_writing_is_told_whatever_the_clock_of_the_file_system_says(shop: Workshop, also: str) -> None:
    """W23: MOST reloads are forgiven, the next one trips; a file's time need not lie within the load."""
    shop.plugin("subject", {"main.py": WRITES_ITSELF + also + RUN, "data.json": "0"})
    manager = shop.manager()
    manager.load("subject")
    assert looks_until_it_trips(*watched_by_hand(manager)) == MOST + 1


def test_whoever_else_looks_at_the_files_hides_no_own_writing(shop: Workshop) -> None:
    """W23: a host that asks for updates between a reload and its count, and one that calls, change nothing."""
    shop.plugin("subject", {"main.py": WRITES_ITSELF + RUN, "data.json": "0"})
    manager = shop.manager()
    manager.load("subject")
    manager._hot_loader.register_callback("loaded", manager._hot_loader.check_plugin_updates)
    assert looks_until_it_trips(*watched_by_hand(manager)) == MOST + 1


def test_a_plugin_that_writes_and_then_fails_is_left_alone_as_well(shop: Workshop) -> None:
    """W23: a version that is refused after it changed itself would be tried, and refused, for ever."""
    shop.plugin("subject", {"main.py": "COUNT = 0\n" + RUN, "data.json": "0"})
    manager = shop.manager()
    manager.load("subject")
    look_again, events = watched_by_hand(manager)
    shop.write("subject", "main.py", WRITES_ITSELF + "raise RuntimeError(COUNT)\n")
    look_again()
    assert looks_until_it_trips(look_again, events) == MOST + 1
    tries = kinds(events).count("kept")
    look_again()
    assert kinds(events).count("kept") == tries, "it was tried although the breaker had tripped"
    assert manager.execute("subject") == 0


def test_edits_that_a_plugin_answers_once_are_no_circle(shop: Workshop) -> None:
    """W23: a plugin that brings a file of its own up to date after each edit comes to rest, and is never named."""
    keeps_a_copy = (
        "from pathlib import Path\nsource = Path(__file__).with_name('helper.py')\n"
        "copy = source.with_name('copy.json')\n"
        "if not copy.exists() or copy.read_text() != source.read_text():\n    copy.write_text(source.read_text())\n"
        "def run():\n    return copy.read_text()\n"
    )
    shop.plugin("subject", {"main.py": keeps_a_copy, "helper.py": "0"})
    manager = shop.manager()
    manager.load("subject")
    look_again, events = watched_by_hand(manager)
    for number in range(2 * MOST):
        shop.write("subject", "helper.py", str(number))
        look_again()
        look_again()
    assert "error" not in kinds(events)
    assert manager.execute("subject") == str(2 * MOST - 1)
