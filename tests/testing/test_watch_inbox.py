"""Signals come at any moment, also while the watch handles its inbox: none may hang it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

from pytest_hotplug.testing.watch.log import EventLog
from pytest_hotplug.testing.watch.loop import WatchLoop
from pytest_hotplug.watcher import Batch
from tests.reloader.workshop import PATIENCE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")

STRIKES = signal.SIGTERM
RESCUE = signal.SIGUSR1


class Hung(Exception):
    """The main thread waits for a lock that it holds itself."""


@pytest.fixture
def loop(tmp_path: Path) -> WatchLoop:
    """Give a watch that was not begun; nothing of it but its inbox and its handler is of interest."""
    config = SimpleNamespace(
        rootpath=tmp_path,
        invocation_params=SimpleNamespace(dir=tmp_path, args=()),
        pluginmanager=SimpleNamespace(
            hasplugin=lambda name: False,
            hook=SimpleNamespace(pytest_collect_file=SimpleNamespace(get_hookimpls=list)),
        ),
        getini=lambda name: ["test_*.py"],
        known_args_namespace=SimpleNamespace(file_or_dir=[]),
        option=SimpleNamespace(maxfail=0, basetemp=None, usepdb=False, trace=False),
    )
    return WatchLoop(cast(pytest.Config, config), None, None)


@contextmanager
def handled(number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def rescued(patience: float) -> Iterator[None]:
    """Raise Hung in a block that takes longer: even a thread that waits for a lock handles signals."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Hung

    with handled(RESCUE, give_up):
        timer = threading.Timer(patience, signal.pthread_kill, (threading.get_ident(), RESCUE))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


@contextmanager
def struck_at_every_line_of_the_queue() -> Iterator[None]:
    """Send ourselves a signal at each line of Python that a queue executes; one in C has none, and is never halfway."""
    busy = False

    def strike(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal busy
        if frame.f_code.co_filename == queue.__file__ and event == "line" and not busy:
            busy = True  # the handler uses the queue as well
            try:
                signal.raise_signal(STRIKES)
            finally:
                busy = False
        return strike

    before = sys.gettrace()
    sys.settrace(strike)
    try:
        yield
    finally:
        sys.settrace(before)


def use(loop: WatchLoop) -> list[str]:
    """Put into the inbox and take out of it on the main thread; return the kinds of what came out."""
    loop._inbox.put(("key", "h"))
    signal.raise_signal(STRIKES)
    return [loop._inbox.get(timeout=PATIENCE)[0], loop._inbox.get(timeout=PATIENCE)[0]]


def test_a_signal_in_the_middle_of_the_inbox_does_not_hang_the_watch(loop: WatchLoop) -> None:
    """SIGTERM ends a watch whatever it does at that moment: its handler never waits for the code that it interrupts."""
    with handled(STRIKES, loop._on_signal), rescued(PATIENCE), struck_at_every_line_of_the_queue():
        assert use(loop) == ["key", "quit"]


def test_a_signal_wakes_a_watch_that_waits(loop: WatchLoop) -> None:
    """SIGTERM comes through although the main thread, which has to handle it, sits in the inbox."""
    sender = threading.Thread(target=signal.pthread_kill, args=(threading.get_ident(), STRIKES))
    with handled(STRIKES, loop._on_signal), rescued(PATIENCE):
        sender.start()
        assert loop._inbox.get(timeout=2 * PATIENCE)[0] == "quit"
    sender.join()


def test_a_queue_with_a_lock_in_python_is_found_to_hang(loop: WatchLoop) -> None:
    """The two tests above can fail: `queue.Queue` waits in the handler for the lock that the interrupted code holds."""
    loop._inbox = cast(Any, queue.Queue())
    with handled(STRIKES, loop._on_signal), pytest.raises(Hung), rescued(0.2), struck_at_every_line_of_the_queue():
        use(loop)


def test_a_save_that_was_seen_already_is_not_called_unchanged(loop: WatchLoop, tmp_path: Path) -> None:
    """After a verdict the watch looks itself, and runs what it finds: a message that waited says nothing new."""
    changes = loop._changes
    saved = tmp_path / "saved.txt"
    saved.write_text("new")
    message = Batch(paths=frozenset({saved}), first_seen=time.time())
    assert changes.look() == {saved}
    assert not changes.look(message)
    assert not changes.was_saved_only(message)
    assert changes.was_saved_only(replace(message, first_seen=time.time() + 1))


def test_a_reader_that_leaves_in_the_middle_ends_the_watch_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events' pipe breaks between two looks at it: no traceback, nobody wants any more."""
    reader, writer = os.pipe()
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "w") as out:  # what it holds can't be written
        monkeypatch.setattr(sys, "stdout", out)
        log = EventLog("-")
        log.write("ready")
        os.close(reader)
        log.write("change")
        assert not log.is_wanted()
