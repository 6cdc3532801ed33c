"""The watch loop: changes, keys and results come in, runs go out.

One thread decides, everything else only puts messages into its queue. A verdict stands only if
every file has the same MD5 at the end of its run as at its start; an edit during a run ends that
run and begins a larger one.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.stash import SESSION
from pytest_hotplug.testing.watch.affected import Map, Uses
from pytest_hotplug.testing.watch.contents import Contents, watch_roots
from pytest_hotplug.testing.watch.keys import Keys
from pytest_hotplug.testing.watch.log import EventLog
from pytest_hotplug.testing.watch.processes import HostProcess, Message, TestRun
from pytest_hotplug.testing.watch.screen import Screen
from pytest_hotplug.watcher import Batch, watch

__all__ = ["watch_tests"]

LOOK_AT_TOP = 0.5  # seconds between two looks at the files directly in the project's root
HOST_RESTARTS = 5


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
        self._arguments = [str(argument) for argument in config.invocation_params.args]
        self._arguments.append("--continue-on-collection-errors")  # one broken file must not hide the others
        if config.pluginmanager.hasplugin("xdist"):
            self._arguments.append("-n0")  # what a test uses can only be seen in the process that runs it
        self._project = project
        self._settings = project.settings if project else Settings()
        self._log = EventLog(events)
        out = sys.stderr if events == "-" else sys.stdout
        self._child_out = out if events == "-" else None
        self._screen = Screen(out)
        self._inbox: queue.Queue[Message] = queue.Queue()
        plugin_dirs = tuple(layout.path for layout in project.layouts) if project else ()
        self._roots = watch_roots(self._root, plugin_dirs)
        self._contents = Contents(self._roots, self._root)
        self._map = Map(self._root, plugin_dirs, tuple(config.getini("python_files")))
        self._host: HostProcess | None = None
        self._host_ends = 0
        self._hosted: set[str] = set()
        self._run: TestRun | None = None
        self._pending: dict[str, str] = {}  # node id or file -> why it must run
        self._all_pending = True
        self._chosen: dict[str, str] | None = None
        self._started = 0.0
        self._outcomes: dict[str, str] = {}
        self._failures: dict[str, Any] = {}
        self._in_run: dict[str, str] = {}
        self._left_out = 0
        self._trouble = ""  # why the last run did not finish
        self._backend = "events"

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Watch until the user quits and return pytest's exit code for what stands then."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        watching = watch(
            self._roots,
            self._on_batch,
            debounce=0.01,
            step=0.005,
            settle_max=self._settings.settle_max,
            poll_interval=self._settings.poll_interval,
            force_polling=self._settings.force_polling,
        )
        try:
            with Keys(self._inbox):
                if watching.backend != "events":
                    self._fallback(watching.reason)
                self._start_host()
                self._log.write("ready", backend=watching.backend)
                self._begin_run()
                self._serve(watching.backend)
        except _Finished:
            pass
        finally:
            watching.stop()
            self._cancel_run()
            if self._host is not None:
                self._host.stop()
            self._log.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return int(bool(self._failing() or self._trouble))

    def _serve(self, backend: str) -> None:
        self._backend = backend
        while True:
            try:
                kind, facts = self._inbox.get(timeout=LOOK_AT_TOP)
            except queue.Empty:
                if not self._log.is_wanted():
                    return
                self._on_changed(self._contents.look_at_top(), time.time())
                continue
            getattr(self, f"_on_{kind.replace('-', '_')}")(facts)

    def _on_signal(self, number: int, frame: object) -> None:
        self._inbox.put(("quit" if number == signal.SIGTERM else "interrupt", None))

    def _on_quit(self, _: None) -> None:
        raise _Finished

    def _on_interrupt(self, _: None) -> None:
        if self._run is None:
            raise _Finished
        self._cancel_run()
        self._pending.update(self._chosen or {})
        self._all_pending = self._all_pending or self._chosen is None
        self._screen.say("hotplug: run cancelled; Enter runs all tests, q or Ctrl-C quits", "yellow")

    # -- keys -----------------------------------------------------------------------------------

    def _on_key(self, key: str) -> None:
        if key in "\r\na":
            self._all_pending = True
            self._restart_run("")
        elif key == "f":
            self._run_failed()
        elif key == "h":
            self._screen.help()
        elif key == "q":
            raise _Finished

    def _run_failed(self) -> None:
        failing = self._failing()
        if not failing:
            self._screen.say("hotplug: no test fails")
            return
        self._pending.update(dict.fromkeys(failing, "it failed"))
        self._restart_run("")

    # -- changes --------------------------------------------------------------------------------

    def _on_batch(self, batch: Batch) -> None:
        """Called on the watcher's thread."""
        self._inbox.put(("hint", batch))

    def _on_hint(self, batch: Batch) -> None:
        changed = self._contents.look() if batch.overflow else self._contents.look_below(batch.paths)
        if not changed and not batch.overflow and any(path.is_file() for path in batch.paths):
            self._screen.say("hotplug: saved with the same content, nothing to run", "dim")
        self._on_changed(changed, batch.first_seen)

    def _on_changed(self, changed: Iterable[Path], saved_at: float) -> None:
        changed = sorted(changed)
        if not changed:
            return
        shown = [self._shown(path) for path in changed]
        self._log.write("change", paths=shown, saved_at=saved_at)
        self._screen.changed(shown)
        self._learn_plugins()
        self._tell_host(changed)
        affected = self._map.affected(changed)
        if not affected and not (self._run is not None and self._chosen is None):
            self._log.write("selected", tests=[], left_out=len(self._map.tests))
            self._screen.say("hotplug: no test depends on it", "dim")
            if self._run is None:
                return
        self._pending.update(affected)
        # The files of the verdict in the making have moved: what it covers runs again, with what is new.
        self._restart_run("a file changed during the run")

    def _tell_host(self, changed: list[Path]) -> None:
        if self._host is None or self._project is None:
            return
        touched = {name for name, place in self._map.places.items() for path in changed if path.is_relative_to(place)}
        self._hosted |= touched
        self._host.look(sorted(touched))

    def _learn_plugins(self) -> None:
        if self._project is not None:
            self._map.places = {**self._map.places, **{n: f.path for n, f in self._project.plugins().items()}}

    # -- runs -----------------------------------------------------------------------------------

    def _restart_run(self, why: str) -> None:
        if self._run is not None:
            if why:
                self._screen.say(f"hotplug: {why}, it begins again", "yellow")
            self._cancel_run()
            self._all_pending = self._all_pending or self._chosen is None
            self._pending.update(self._chosen or {})
        self._begin_run()

    def _begin_run(self) -> None:
        self._learn_plugins()
        self._chosen = None if self._all_pending else dict(self._pending)
        if self._chosen is not None and not self._chosen:
            return
        self._contents.look()
        tests = [{"nodeid": nodeid, "because": because} for nodeid, because in (self._chosen or {}).items()]
        left_out = 0 if self._chosen is None else sum(1 for n in self._map.tests if not self._is_chosen(n))
        self._log.write("selected", tests=tests, left_out=left_out)
        self._left_out = left_out
        self._in_run = {}
        self._started = time.monotonic()
        first = not self._map.tests
        chosen = None if self._chosen is None else list(self._chosen)
        self._run = TestRun(self._arguments, self._directory, chosen, first, self._inbox, self._child_out)

    def _is_chosen(self, nodeid: str) -> bool:
        return self._chosen is None or nodeid in self._chosen or nodeid.split("::")[0] in self._chosen

    def _cancel_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.cancel()

    def _on_run(self, message: tuple[TestRun, dict[str, Any]]) -> None:
        run, facts = message
        if run is self._run:
            getattr(self, f"_heard_{facts['kind']}")(facts)

    def _heard_collected(self, facts: dict[str, Any]) -> None:
        by_file: dict[Path, list[str]] = {}
        for nodeid in facts["tests"]:
            by_file.setdefault(self._map.file_of(nodeid), []).append(nodeid)
        for path, nodeids in by_file.items():
            self._map.replace_file(path, nodeids)
        if self._chosen is None:
            self._map.tests = {n: self._map.tests.get(n, Uses()) for n in facts["tests"]}
            self._forget_unknown()

    def _heard_file(self, facts: dict[str, Any]) -> None:
        path = Path(facts["path"])
        uses = Uses(frozenset(facts["plugins"]), frozenset(map(Path, facts["files"])))
        self._map.collected[path] = uses
        self._map.imported |= {
            file
            for file in uses.files
            if file.suffix == ".py" and file.is_relative_to(self._root) and not self._map.is_test_file(file)
            if not any(file.is_relative_to(place) for place in self._map.places.values())
        }

    def _heard_test(self, facts: dict[str, Any]) -> None:
        self._map.tests[facts["nodeid"]] = Uses(frozenset(facts["plugins"]), frozenset(map(Path, facts["files"])))
        self._in_run.setdefault(facts["nodeid"], "passed")

    def _heard_report(self, facts: dict[str, Any]) -> None:
        nodeid = facts["nodeid"]
        if self._in_run.get(nodeid) not in ("failed", "error"):
            self._in_run[nodeid] = facts["outcome"]
        if "failure" in facts:
            self._failures[nodeid] = facts["failure"]
        self._log.write("report", nodeid=nodeid, outcome=facts["outcome"], duration=facts["duration"])

    def _heard_finished(self, facts: dict[str, Any]) -> None:
        """Wait for the process to end: only then are its fixtures torn down and its output complete."""

    def _on_run_ended(self, ended: tuple[TestRun, int]) -> None:
        run, code = ended
        if run is not self._run:
            return
        moved = self._contents.look()
        if moved:  # the verdict is about old bytes: thrown away, and run again
            self._on_changed(moved, time.time())
            return
        self._run = None
        self._publish("" if code in (0, 1, 5) else f"pytest ended with exit code {code}")

    def _publish(self, trouble: str) -> None:
        """Make the run's results the verdict; after `trouble` the tests that didn't finish stay pending."""
        finished = dict(self._in_run)
        self._outcomes.update(finished)
        for nodeid in [n for n, outcome in self._outcomes.items() if outcome not in ("failed", "error")]:
            self._failures.pop(nodeid, None)
        if not trouble:
            self._forget_collection_errors()
            self._pending, self._all_pending = {}, False
        counts = {
            "passed": sum(o == "passed" for o in finished.values()),
            "failed": sum(o == "failed" for o in finished.values()),
            "errors": sum(o == "error" for o in finished.values()) + bool(trouble),
            "skipped": sum(o == "skipped" for o in finished.values()),
        }
        failing = self._failing()
        failures = [self._failures[nodeid] for nodeid in failing]
        if trouble:
            failures.append({"nodeid": "", "path": None, "line": None, "message": trouble})
            self._screen.say(f"hotplug: {trouble}; the tests that it did not finish stay pending", "red")
        self._trouble = trouble
        self._log.write("verdict", **counts, outdated=self._outdated(), failures=failures)
        still = [nodeid for nodeid in failing if nodeid not in finished]
        self._screen.verdict(counts, self._left_out, still, time.monotonic() - self._started)
        self._screen.waiting(self._backend)
        self._host_the_loaded()

    def _outdated(self) -> int:
        """Return how many verdicts that still stand are not about the present bytes."""
        return len(self._map.tests) if self._all_pending else len(self._pending)

    def _forget_collection_errors(self) -> None:
        """Drop the error of a test file that could be imported this time."""
        for nodeid in [n for n in self._outcomes if "::" not in n and n not in self._in_run and self._is_chosen(n)]:
            self._outcomes.pop(nodeid)
            self._failures.pop(nodeid, None)

    def _forget_unknown(self) -> None:
        for nodeid in [n for n in self._outcomes if "::" in n and n not in self._map.tests]:
            self._outcomes.pop(nodeid)
            self._failures.pop(nodeid, None)

    def _failing(self) -> list[str]:
        known = self._map.tests
        return [n for n, o in self._outcomes.items() if o in ("failed", "error") and (n in known or "::" not in n)]

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
            if not first:
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
