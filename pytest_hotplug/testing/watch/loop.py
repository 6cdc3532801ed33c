"""The watch loop: changes, keys and results come in, runs go out.

One thread decides, everything else only puts messages into its queue. What becomes of a message stands
in `rounds` (changes and runs), `typed` (keys) and `hosting` (the plugin host).
"""

from __future__ import annotations

import queue
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import pytest

from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.stash import SESSION
from pytest_hotplug.testing.watch.agenda import Agenda
from pytest_hotplug.testing.watch.arguments import arguments_of_runs
from pytest_hotplug.testing.watch.chain import Place
from pytest_hotplug.testing.watch.changes import Changes
from pytest_hotplug.testing.watch.guard import Guarded, guard
from pytest_hotplug.testing.watch.hosting import Hosting
from pytest_hotplug.testing.watch.keys import Keys, is_terminal
from pytest_hotplug.testing.watch.lending import Lending
from pytest_hotplug.testing.watch.log import EventLog
from pytest_hotplug.testing.watch.processes import Message
from pytest_hotplug.testing.watch.results import Results
from pytest_hotplug.testing.watch.rounds import Rounds
from pytest_hotplug.testing.watch.runs import Runs
from pytest_hotplug.testing.watch.screen import Screen
from pytest_hotplug.testing.watch.typed import Typed
from pytest_hotplug.testing.watch.voice import Voice
from pytest_hotplug.watcher import Batch

__all__ = ["watch_tests"]

LOOK_AT_TOP = 0.5  # seconds between two looks at the files directly in the project's root


def watch_tests(config: pytest.Config, events: str | None) -> int:
    """Watch until the user quits; return the exit code of the last verdict."""
    session = config.stash.get(SESSION, None)
    loop = WatchLoop(config, session.project if session else None, events)
    why = config.getoption("hotplug_why")
    loop.explain_each_choice(config.getini("hotplug_why") if why is None else why)
    return guard(loop.run) if is_terminal(sys.stdin) else loop.run(None)


class _Finished(Exception):
    """The user is done."""


class WatchLoop:
    """Everything that watch mode knows; only its own thread touches it."""

    def __init__(self, config: pytest.Config, project: TestProject | None, events: str | None) -> None:
        settings = project.settings if project else Settings()
        out = sys.stderr if events == "-" else sys.stdout
        self._voice = Voice(config.rootpath, Screen(out, is_terminal(sys.stdin)), EventLog(events))
        # Simple, for signal handlers put into it: they may interrupt the very thread that waits on it.
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._agenda = Agenda()
        self._changes = Changes(config, project, settings, self._voice.log.path)
        self._results = Results(self._changes.map, self._changes.knowledge.before())
        self._hosting = Hosting(project, settings, self._agenda, self._inbox, self._voice)
        place = _place(config, self._changes, out)
        child_out = out if events == "-" else None
        self._runs = Runs(
            config,
            place,
            child_out,
            self._inbox,
            self._voice.fallback,
            self._voice.log.write,
            self._changes.map.tests_below,
        )
        self._lending = Lending(self._voice.screen)
        self._rounds = Rounds(
            self._changes, self._results, self._runs, self._hosting, self._lending, self._agenda, self._voice
        )
        self._typed = Typed(self._results, self._rounds, self._voice, self._quit)
        self._acts: dict[str, Callable[[Any], object]] = {
            "hint": self._rounds.hint,
            "run": self._rounds.hear,
            "run-ended": self._rounds.ended,
            "peer": self._rounds.hear_parked,
            "host": self._hosting.hear,
            "host-ended": self._hosting.ended,
            "key": self._typed.press,
            "interrupt": self._interrupt,
            "quit": self._quit,
        }

    def explain_each_choice(self, wanted: bool) -> None:
        """Say at each run why its tests were chosen, as a key does when it is asked."""
        self._rounds.explains = wanted

    def run(self, guarded: Guarded | None) -> int:
        """Watch until the user quits and return pytest's exit code for what stands then."""
        if guarded is not None:
            guarded.when_alone(lambda: self._inbox.put(("quit", None)))
            self._lending.lends = guarded.lends
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._watch()
        except _Finished:
            pass
        except OSError:  # whatever was about to be done there
            if self._changes.root.is_dir():
                raise
            self._results.trouble = f"{self._changes.root} is gone, so the watch ends [project-gone]"
            self._voice.fallback(self._results.trouble)
        finally:
            self._rounds.cancel()
            self._runs.stop()
            self._hosting.stop()
            self._changes.stop()
            self._voice.log.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return int(bool(self._results.failing() or self._results.trouble))

    def _watch(self) -> NoReturn:
        watching = self._changes.start(self._on_batch)
        with self._terminal() as keys:
            if watching.backend != "events":
                self._voice.fallback(watching.reason)
            self._hosting.start()
            self._runs.explain()
            self._tell_of_before()
            self._voice.log.write("ready", backend=watching.backend)
            self._rounds.begin()
            self._look_again_and_again(keys)
            while True:
                self._agenda.do_what_is_due()
                self._serve()

    def _tell_of_before(self) -> None:
        if note := self._changes.knowledge.note:
            self._voice.fallback(note)
        if standing := len(self._results.standing):
            verdicts = "1 verdict stands" if standing == 1 else f"{standing} verdicts stand"
            self._voice.screen.say(f"hotplug: {verdicts} from before; Enter runs all tests")

    @contextmanager
    def _terminal(self) -> Iterator[Keys]:
        """Have the terminal; a run that has borrowed it ends before it is put back."""
        with Keys(self._inbox, self._rounds.suspend, self._rounds.resume) as keys:
            self._lending.keys = keys
            self._acts |= {"suspend": lambda _: keys.suspend_if_wanted(), "continue": lambda _: keys.resume()}
            try:
                yield keys
            finally:
                self._rounds.cancel()

    def _serve(self) -> None:
        """Act on the next message, if one comes before something is due."""
        try:
            kind, facts = self._inbox.get(timeout=self._agenda.left())
        except queue.Empty:
            return
        self._acts[kind](facts)

    def _look_again_and_again(self, keys: Keys) -> None:
        if not self._voice.log.is_wanted():
            raise _Finished
        if not self._changes.root.is_dir():
            raise FileNotFoundError(self._changes.root)
        keys.retake()
        self._lending.lend()
        self._rounds.look_at_top()
        self._agenda.put_off("look", LOOK_AT_TOP, partial(self._look_again_and_again, keys))

    def _on_batch(self, batch: Batch) -> None:
        """Called on the watcher's thread."""
        self._inbox.put(("hint", batch))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._inbox.put(("quit" if number == signal.SIGTERM else "interrupt", None))

    def _interrupt(self, _: None) -> None:
        if self._rounds.run is None:
            raise _Finished
        self._rounds.give_up()

    def _quit(self, _: None = None) -> NoReturn:
        raise _Finished


def _place(config: pytest.Config, changes: Changes, out: Any) -> Place:
    given = [str(argument) for argument in config.invocation_params.args]
    xdist = any(map(config.pluginmanager.hasplugin, ("xdist", "xdist.plugin")))
    arguments = arguments_of_runs(given, config.rootpath, xdist)
    directory = config.invocation_params.dir
    existing, is_test_file = changes.contents.existing, changes.map.is_test_file
    return Place(arguments, directory, config.rootpath, out, is_terminal(sys.stdin), is_test_file, existing)
