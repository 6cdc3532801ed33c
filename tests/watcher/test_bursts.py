"""Many changes are few batches, and none of them is lost."""

from __future__ import annotations

import threading
from pathlib import Path

from pytest_hotplug.watcher import Batch, Watching, watch
from tests.watcher.conftest import Begin
from tests.watcher.listening import PATIENCE, Listener, save


def test_fifty_writes_in_a_row_are_a_few_batches(root: Path, begin: Begin) -> None:
    """W19: Saving fifty times does not reload fifty times."""
    listener = begin(root, debounce=0.2)
    for number in range(50):
        save(root / "greeter" / "main.py", f"A = {number}\n")
    save(root / "last.py", "")
    assert listener.hears(root / "last.py", root / "greeter" / "main.py")
    assert len(listener.batches) <= 3


def test_files_that_change_together_come_in_one_batch(root: Path, begin: Begin) -> None:
    """A commit that touches several plugins is one batch."""
    plugins = [root / f"plugin{number}" / "main.py" for number in range(10)]
    for plugin in plugins:
        plugin.parent.mkdir()
        plugin.write_text("", encoding="utf-8")
    listener = begin(root, debounce=0.3)
    for plugin in plugins:
        save(plugin, "A = 1\n")
    assert listener.hears(*plugins)
    assert any(batch.paths >= set(plugins) for batch in listener.batches)


def test_endless_writing_is_told_before_it_ends(root: Path, begin: Begin) -> None:
    """W19: A file that never comes to rest does not silence the watcher: `settle_max` is the latest."""
    listener = begin(root, debounce=5.0, settle_max=0.3)
    heard = threading.Event()

    def write_on() -> None:
        while not heard.wait(0.01):
            save(root / "greeter" / "main.py", "A = 1\n")

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        # Nothing but settle_max can end the wait: the pauses are far shorter than the debounce.
        assert listener.until(bool, patience=4.0)
    finally:
        heard.set()
        writer.join()


def test_what_changes_while_a_batch_is_handled_is_in_the_next_one(root: Path, watches: list[Watching]) -> None:
    """A slow reload loses no edit."""
    listener = Listener()
    handling, go_on = threading.Event(), threading.Event()

    def slow(batch: Batch) -> None:
        listener(batch)
        handling.set()
        assert go_on.wait(PATIENCE)

    watches.append(watch([root], slow))
    save(root / "greeter" / "main.py", "A = 1\n")
    assert handling.wait(PATIENCE)
    save(root / "greeter" / "other.py", "A = 1\n")
    go_on.set()
    assert listener.hears(root / "greeter" / "other.py")
    assert len(listener.batches) >= 2
