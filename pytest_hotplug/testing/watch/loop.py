"""The watch loop: changes, keys and results come in, runs go out.

One thread decides, everything else only puts messages into its queue. A run begins at the first sign
of a save, unless what was saved is empty or can't be parsed, or is one of many: then it waits for
quiet and looks again. A verdict stands only if every file has the same MD5 at the end of its run as
at its start; an edit during a run ends that run and begins a larger one.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.stash import SESSION
from pytest_hotplug.testing.watch.affected import Map
from pytest_hotplug.testing.watch.agenda import Agenda
from pytest_hotplug.testing.watch.arguments import arguments_of_runs
from pytest_hotplug.testing.watch.chain import Place
from pytest_hotplug.testing.watch.commands import command_of
from pytest_hotplug.testing.watch.contents import Contents, watch_roots
from pytest_hotplug.testing.watch.filters import Filters
from pytest_hotplug.testing.watch.keys import Keys
from pytest_hotplug.testing.watch.knowledge import Knowledge
from pytest_hotplug.testing.watch.log import EventLog
from pytest_hotplug.testing.watch.messages import Order
from pytest_hotplug.testing.watch.peer import Peer
from pytest_hotplug.testing.watch.processes import HostProcess, Message
from pytest_hotplug.testing.watch.prompt import Prompt
from pytest_hotplug.testing.watch.results import Results
from pytest_hotplug.testing.watch.runs import Run, Runs
from pytest_hotplug.testing.watch.screen import Screen
from pytest_hotplug.testing.watch.suspects import is_suspect
from pytest_hotplug.watcher import Batch, Watching, watch

__all__ = ["watch_tests"]

LOOK_AT_TOP = 0.5  # seconds between two looks at the files directly in the project's root
HOST_RESTARTS = 5
QUIET = 0.05  # seconds without a change, after a burst of them or where a file looks half saved
BURST = 20  # files that change at once: a checkout, say


def watch_tests(config: pytest.Config, events: str | None) -> int:
    """Watch until the user quits; return the exit code of the last verdict."""
    session = config.stash.get(SESSION, None)
    loop = WatchLoop(config, session.project if session else None, events)
    return loop.run()


class _Finished(Exception):
    """The user is done."""


class WatchLoop:
    """Everything that watch mode knows; only its own thread touches it."""

    def __init__(self, config: pytest.Config, project: TestProject | None, events: str | None) -> None:
        self._root = config.rootpath
        self._directory = config.invocation_params.dir
        given = [str(argument) for argument in config.invocation_params.args]
        xdist = any(map(config.pluginmanager.hasplugin, ("xdist", "xdist.plugin")))
        self._arguments = arguments_of_runs(given, self._root, xdist)
        self._project = project
        self._settings = project.settings if project else Settings()
        self._log = EventLog(events)
        out = sys.stderr if events == "-" else sys.stdout
        self._child_out = out if events == "-" else None
        self._screen = Screen(out)
        # Simple, for signal handlers put into it: they may interrupt the very thread that waits on it.
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._plugin_dirs = tuple(layout.path for layout in project.layouts) if project else ()
        self._roots = watch_roots(self._root, self._plugin_dirs)
        self._watching: Watching | None = None
        self._contents = Contents(self._roots, self._root, self._log.path)
        self._map = Map(self._root, self._plugin_dirs, tuple(config.getini("python_files")))
        self._results = Results(self._map)
        self._knowledge = Knowledge(self._root)
        self._host: HostProcess | None = None
        self._host_ends = 0
        self._hosted: set[str] = set()
        place = Place(
            self._arguments, self._directory, self._root, out, self._map.is_test_file, self._contents.existing
        )
        self._runs = Runs(config, place, self._child_out, self._inbox, self._fallback, self._log.write)
        self._agenda = Agenda()
        self._to_host: set[str] = set()  # plugins to look at once their files are quiet
        self._suspects: set[Path] = set()  # changed, and not as somebody would leave them
        self._many = False  # files are being changed by the dozen
        self._run: Run | None = None
        self._judged_later: set[Path] = set()  # changed during the run, of no known use to any test
        self._unaffecting: dict[str, str] = {}  # what changed since the last run and chose no test, and why
        self._prompt: Prompt | None = None
        self._paused = False
        self._changed_lines: dict[Path, frozenset[int]] = {}  # that the run at hand measures
        self._started = 0.0

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Watch until the user quits and return pytest's exit code for what stands then."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._watching = self._watch()
            with Keys(self._inbox, self._pause_run, self._resume_run) as keys:
                if self._watching.backend != "events":
                    self._fallback(self._watching.reason)
                self._start_host()
                self._runs.explain()
                self._learn_plugins()
                self._log.write("ready", backend=self._watching.backend)
                self._begin_run()
                self._serve(keys)
        except _Finished:
            pass
        finally:
            if self._watching is not None:
                self._watching.stop()
            self._cancel_run()
            self._runs.stop()
            if self._host is not None:
                self._host.stop()
            self._knowledge.close()
            self._log.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return int(bool(self._results.failing() or self._results.trouble))

    def _watch(self) -> Watching:
        return watch(
            self._roots,
            self._on_batch,
            debounce=0.0,
            step=0.001,
            settle_max=self._settings.settle_max,
            poll_interval=self._settings.poll_interval,
            force_polling=self._settings.force_polling,
        )

    def _serve(self, keys: Keys) -> None:
        self._look_again_and_again(keys)
        while True:
            self._agenda.do_what_is_due()
            try:
                kind, facts = self._inbox.get(timeout=self._agenda.left())
            except queue.Empty:
                continue
            getattr(self, f"_on_{kind.replace('-', '_')}")(facts)

    def _look_again_and_again(self, keys: Keys) -> None:
        if not self._log.is_wanted():
            raise _Finished
        keys.retake()
        self._look_at_top()
        self._agenda.put_off("look", LOOK_AT_TOP, partial(self._look_again_and_again, keys))

    def _look_at_top(self) -> None:
        """Find what appeared directly in the project's root, which no watch covers."""
        new = [root for root in watch_roots(self._root, self._plugin_dirs) if root not in self._roots]
        if new:
            self._roots += tuple(new)
            self._contents.add_roots(new)
            before, self._watching = self._watching, self._watch()
            if before is not None:
                before.stop()
        changed = self._contents.look() if new else self._contents.look_at_top()
        self._on_changed(changed, time.time())

    def _on_signal(self, number: int, frame: object) -> None:
        self._inbox.put(("quit" if number == signal.SIGTERM else "interrupt", None))

    def _on_quit(self, _: None) -> None:
        raise _Finished

    def _on_interrupt(self, _: None) -> None:
        if self._run is None:
            raise _Finished
        self._cancel_run()
        if self._files_moved():
            self._results.forget_outcomes()
        self._screen.say("hotplug: run cancelled; Enter runs all tests, q or Ctrl-C quits", "yellow")
        self._publish("")

    def _pause_run(self) -> None:
        if self._run is not None:
            self._run.pause()

    def _resume_run(self) -> None:
        if self._run is not None:
            self._run.resume()

    # -- keys -----------------------------------------------------------------------------------

    def _on_key(self, key: str) -> None:
        if self._prompt is not None:
            self._answer(self._prompt, key)
        elif command := command_of(key):
            getattr(self, f"_do_{command}")()

    def _do_run_all(self) -> None:
        self._results.want_all()
        self._restart_run("")

    def _do_run_failed(self) -> None:
        failing = self._results.failing()
        if not failing and not self._results.waiting:
            self._screen.say("hotplug: no test fails")
            return
        self._results.want(dict.fromkeys(self._results.files_of(failing), "it failed"))
        self._restart_run("")

    def _do_filter_files(self) -> None:
        self._ask("only files with (empty: all)", lambda text: replace(self._results.filters, file=text))

    def _do_filter_names(self) -> None:
        self._ask("only names with (empty: all)", lambda text: replace(self._results.filters, name=text))

    def _ask(self, question: str, filters_of: Callable[[str], Filters]) -> None:
        self._prompt = Prompt(question, lambda text: self._filter(filters_of(text)))
        self._screen.ask(self._prompt.line)

    def _answer(self, prompt: Prompt, key: str) -> None:
        if prompt.feed(key):
            self._screen.ask(prompt.line)
        elif self._prompt is prompt:
            self._stop_asking()

    def _stop_asking(self) -> None:
        self._prompt = None
        self._screen.end_asking()

    def _filter(self, filters: Filters) -> None:
        """Run what the filters let through, and from now on nothing else."""
        self._stop_asking()
        self._results.filters = filters
        self._results.want_all()
        self._screen.say(f"hotplug: only where {filters}" if filters else "hotplug: all tests again")
        self._restart_run("")

    def _do_failed_first(self) -> None:
        self._results.failed_first = not self._results.failed_first
        order = "those that failed last run first" if self._results.failed_first else "tests run in their own order"
        self._screen.say(f"hotplug: {order}")

    def _do_explain(self) -> None:
        self._screen.explain(self._results.chosen, self._unaffecting)

    def _do_show_unrun(self) -> None:
        """Run what changed lines affect once more, measured; its verdict comes with the lines that nothing ran."""
        from pytest_hotplug.testing.watch.unrun import changed_lines

        try:
            changed = changed_lines(self._root)
        except UsageError as error:
            self._screen.say(f"hotplug: {error}", "yellow")
            return
        if not changed:
            self._screen.say("hotplug: no Python file differs from the last commit")
            return
        self._changed_lines = changed
        self._results.want(self._knowledge.users(changed) | self._affected(changed))
        if self._results.waiting:
            self._restart_run("")
        else:
            self._show_unrun({})

    def _show_unrun(self, executed: Mapping[str, Iterable[int]]) -> None:
        from pytest_hotplug.testing.watch.unrun import unrun_lines

        left = {self._shown(path): lines for path, lines in unrun_lines(self._changed_lines, executed).items()}
        self._changed_lines = {}
        self._screen.unrun(left)

    def _do_pause(self) -> None:
        self._paused = not self._paused
        if self._paused:
            self._screen.say("hotplug: paused; space goes on", "yellow")
        else:
            self._screen.say("hotplug: going on")
            self._begin_run()

    def _do_clear(self) -> None:
        self._screen.clear()

    def _do_help(self) -> None:
        self._screen.help()

    def _do_quit(self) -> None:
        raise _Finished

    # -- changes --------------------------------------------------------------------------------

    def _on_batch(self, batch: Batch) -> None:
        """Called on the watcher's thread."""
        self._inbox.put(("hint", batch))

    def _on_hint(self, batch: Batch) -> None:
        changed = self._contents.look() if batch.overflow else self._contents.look_below(batch.paths)
        self._runs.saved(batch.paths)
        saved = [path for path in batch.paths if path.is_file() and path != self._log.path]
        if not changed and not batch.overflow and saved:
            self._screen.say("hotplug: saved with the same content, nothing to run", "dim")
        self._on_changed(changed, batch.first_seen)

    def _on_changed(self, changed: Iterable[Path], saved_at: float) -> None:
        changed = sorted(changed)
        if not changed:
            return
        affected = self._note_change(changed, saved_at)
        if self._run is not None and not affected and not any(map(self._map.may_matter, changed)):
            self._judged_later.update(changed)  # maybe the run's own output
            return
        if not self._results.waiting:
            self._log.write("selected", tests=[], left_out=len(self._map.tests))
            self._screen.say("hotplug: no test depends on it", "dim")
            return
        if self._paused:
            self._screen.say("hotplug: paused, so it waits; space goes on", "yellow")
            return
        # The files of the verdict in the making have moved: what it covers runs again, with what is new.
        # What is still pending from earlier runs comes along: nobody knows what it would use now.
        self._many |= len(changed) > BURST or (self._root / ".git" / "index.lock").exists()
        self._begin_when_sound()

    def _begin_when_sound(self) -> None:
        """Begin at once, or after some quiet where files may not be as they are meant."""
        self._end_run("a file changed during the run")
        if self._many or self._suspects:
            self._agenda.put_off("begin", QUIET, self._begin_if_quiet)
        else:
            self._begin_run()

    def _begin_if_quiet(self) -> None:
        """Begin the run that has waited, unless files have moved that nobody told of."""
        moved = self._contents.look()
        self._many = False
        if moved:
            self._on_changed(moved, time.time())
        elif not self._paused:
            self._suspects.clear()  # so somebody means it
            self._restart_run("")

    def _note_change(self, changed: Iterable[Path], saved_at: float) -> bool:
        """Tell of a change, and let the tests that it affects be pending; return whether there are any."""
        changed = sorted(changed)
        shown = [self._shown(path) for path in changed]
        self._log.write("change", paths=shown, saved_at=saved_at)
        self._screen.changed(shown)
        self._learn_plugins()
        self._tell_host(changed)
        self._runs.changed(changed)
        self._suspects = {path for path in self._suspects.union(changed) if is_suspect(path)}
        affected = self._affected(changed)
        self._results.want(affected)
        if not affected:
            self._unaffecting |= {**dict.fromkeys(shown, "no test is known to use it"), **self._knowledge.why_none}
        return bool(affected)

    def _affected(self, changed: Iterable[Path]) -> dict[str, str]:
        """Return what these files affect, with reasons: known for tests that were recorded, guessed for the others."""
        changed = list(changed)
        known = self._knowledge.affected(changed)
        guessed = {n: because for n, because in self._map.affected(changed).items() if not self._knowledge.knows(n)}
        foreign = self._map.affected(path for path in changed if not self._knowledge.can_tell(path))
        return {n: because for n, because in known.items() if n in self._map.tests} | guessed | foreign

    def _tell_host(self, changed: list[Path]) -> None:
        if self._host is None or self._project is None:
            return
        touched = {name for name, place in self._map.places.items() for path in changed if path.is_relative_to(place)}
        self._hosted |= touched
        self._to_host |= touched
        if self._to_host:
            self._agenda.put_off("host", self._settings.debounce, self._let_host_look)

    def _let_host_look(self) -> None:
        plugins, self._to_host = self._to_host, set()
        if self._host is not None:
            self._host.look(sorted(plugins))

    def _learn_plugins(self) -> None:
        if self._project is not None:
            self._map.places = {**self._map.places, **{n: f.path for n, f in self._project.plugins().items()}}

    # -- runs -----------------------------------------------------------------------------------

    def _restart_run(self, why: str) -> None:
        self._end_run(why)
        self._begin_run()

    def _end_run(self, why: str) -> None:
        if self._run is not None:
            if why:
                self._screen.say(f"hotplug: {why}, it begins again", "yellow")
            self._cancel_run()

    def _begin_run(self) -> None:
        self._agenda.strike("begin")
        if not self._results.begin_run():
            if self._results.waiting:
                self._screen.say(f"hotplug: nothing runs: no test that waits is one where {self._results.filters}")
            return
        self._unaffecting.clear()
        self._judged_later.clear()
        reasons = self._results.chosen
        tests = [{"nodeid": nodeid, "because": because} for nodeid, because in (reasons or {}).items()]
        self._log.write("selected", tests=tests, left_out=self._results.left_out())
        self._started = time.monotonic()
        chosen = None if reasons is None else list(reasons)
        measure = [os.fspath(path) for path in self._changed_lines]
        order = Order(chosen, first=not self._map.tests, ahead=self._results.ahead(), measure=measure)
        self._run = self._runs.begin(order, self._results.seconds)

    def _cancel_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.cancel()
            self._knowledge.forget_run()

    def _on_peer(self, message: tuple[Peer, dict[str, Any]]) -> None:
        self._runs.hear(*message)
        if self._run is None:
            self._runs.rest()

    def _on_run(self, message: tuple[Run, dict[str, Any]]) -> None:
        run, facts = message
        if run is not self._run or self._knowledge.hear(facts):
            return
        self._results.hear(facts)
        if facts["kind"] == "report":
            self._log.write("report", **{name: facts[name] for name in ("nodeid", "outcome", "duration")})

    def _on_run_ended(self, ended: tuple[Run, int | None]) -> None:
        run, code = ended
        if run is not self._run:
            return
        if code is None:
            self._restart_run("a warm process was lost")
            return
        trouble = self._results.why_unfinished(code)
        if self._files_moved():  # the verdict would be about old bytes
            if not self._paused:
                self._begin_when_sound()
                return
            self._results.forget_outcomes()
            trouble = "a file changed during the run, and the watch is paused"
        self._run = None
        self._publish(trouble)

    def _files_moved(self) -> bool:
        """Tell whether files that the run may have used have changed since it began; let be pending what they affect.

        By now it is known what every test used. Files that none of them read may be the run's own output.
        """
        moved = self._contents.look()
        if moved:
            self._note_change(moved, time.time())
        affected = self._affected(moved | self._judged_later)
        self._results.want(affected)
        return bool(affected) or any(map(self._map.may_matter, moved))

    def _publish(self, trouble: str) -> None:
        """Make the run's results the verdict; the tests that it didn't finish stay pending."""
        left_out, done = self._results.left_out(), self._results.done
        verdict = self._results.end_run(trouble)
        if trouble:
            self._screen.say(f"hotplug: {trouble}; the tests that it did not finish stay pending", "red")
        self._log.write("verdict", **verdict.counts, outdated=verdict.outdated, failures=verdict.failures)
        self._screen.verdict(verdict, left_out, time.monotonic() - self._started)
        if self._changed_lines:
            self._show_unrun(self._results.executed or {})
        assert self._watching is not None, "the watch began before the first run"
        self._screen.waiting(self._watching.backend, self._results.filters)
        self._host_the_loaded()
        self._runs.rest()
        self._learn(done)

    def _learn(self, done: Mapping[str, str]) -> None:
        """Learn what the tests of the verdict used; an edit that came meanwhile is noticed, and is no part of it."""
        moved: set[Path] = set()

        def look() -> set[Path]:
            moved.update(self._contents.look())
            return moved

        self._knowledge.learn(done, self._results.seconds, self._map.tests, look)
        self._on_changed(moved, time.time())

    # -- host -----------------------------------------------------------------------------------

    def _start_host(self) -> None:
        if self._project is None or self._settings.watch_host == "off":
            return
        settings = msgspec.to_builtins(self._settings)
        self._host = HostProcess(settings, self._project.root, self._inbox)
        self._host.look(sorted(self._hosted))

    def _host_the_loaded(self) -> None:
        """Let the host load what tests loaded, so that the next edit finds a version that serves."""
        loaded = {plugin for uses in self._map.tests.values() for plugin in uses.plugins} - self._hosted
        if self._host is not None and loaded:
            self._hosted |= loaded
            self._host.look(sorted(loaded))

    def _on_host(self, facts: dict[str, Any]) -> None:
        plugin = facts.get("plugin", "")
        if facts["kind"] == "reloaded":
            first = facts["generation"] == 1
            fields = {name: facts[name] for name in ("plugin", "generation", "digest")}
            self._log.write("reloaded", **fields)
            if not first or facts["again"]:
                self._screen.reloaded(facts, self._settings.watch_host == "live")
        elif facts["kind"] == "refused":
            self._log.write("refused", plugin=plugin, error=facts["error"], serving=facts["generation"])
            self._screen.refused(facts)

    def _on_host_ended(self, ended: tuple[HostProcess, int]) -> None:
        process, code = ended
        if process is not self._host:
            return
        self._host = None
        self._host_ends += 1
        if self._host_ends > HOST_RESTARTS:
            self._fallback(f"the plugin host ended {self._host_ends} times; it is not started again")
            return
        self._fallback(f"a plugin ended the host process (exit code {code}); it is started again")
        self._hosted.clear()
        self._start_host()

    def _fallback(self, reason: str) -> None:
        self._log.write("fallback", reason=reason)
        self._screen.say(f"hotplug: {reason}", "yellow")

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else os.fspath(path)
