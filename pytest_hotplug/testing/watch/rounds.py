"""From a change to its verdict: what must run is noted, a run begins, and its end is judged.

A run begins at the first sign of a save, unless what was saved is empty or can't be parsed, or is one
of many: then it waits for quiet and looks again. A verdict stands only if every file has the same MD5
at the end of its run as at its start; an edit during a run ends that run and begins a larger one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_hotplug.testing.bytecode import drop_bytecode
from pytest_hotplug.testing.watch.agenda import Agenda
from pytest_hotplug.testing.watch.changes import Changes
from pytest_hotplug.testing.watch.hosting import Hosting
from pytest_hotplug.testing.watch.lending import Lending
from pytest_hotplug.testing.watch.messages import Order
from pytest_hotplug.testing.watch.outputs import Outputs
from pytest_hotplug.testing.watch.peer import Peer
from pytest_hotplug.testing.watch.results import Results, Verdict
from pytest_hotplug.testing.watch.runs import Run, Runs
from pytest_hotplug.testing.watch.voice import Voice
from pytest_hotplug.watcher import Batch

__all__ = ["Rounds"]

QUIET = 0.05  # seconds without a change, after a burst of them or where a file looks half saved


class Rounds:
    """At most one run at a time; only the thread of the watch loop touches it."""

    def __init__(
        self,
        changes: Changes,
        results: Results,
        runs: Runs,
        hosting: Hosting,
        lending: Lending,
        agenda: Agenda,
        voice: Voice,
    ) -> None:
        self._changes = changes
        self._results = results
        self._runs = runs
        self._hosting = hosting
        self._lending = lending
        self._agenda = agenda
        self._log, self._screen, self._shown = voice.log, voice.screen, voice.shown
        self.run: Run | None = None
        self.paused = False
        self._edited = False  # something that the run at hand may use, in a pause or while somebody debugs it
        self.unaffecting: dict[str, str] = {}  # what changed since the last run and chose no test, and why
        self._outputs = Outputs(changes.map.may_matter)
        self._saved: set[str] = set()  # since the last run began: what was compiled of it is old
        self._judged_later: set[Path] = set()  # changed during the run, of no known use to any test
        self._measured: Collection[Path] = ()  # files of which the run at hand tells the executed lines
        self._show_lines: Callable[[Mapping[str, Iterable[int]] | None], object] = lambda executed: None
        self._started = 0.0
        self.explains = False  # every choice, unasked (--hotplug-why)

    # -- changes --------------------------------------------------------------------------------

    def hint(self, batch: Batch) -> None:
        """Look at what the watcher named."""
        changed = self._changes.look(batch)
        self._runs.saved(batch.paths)
        if self._changes.was_saved_only(batch) and not changed:
            self._screen.say("hotplug: saved with the same content, nothing to run", "dim")
        self.changed(changed, batch.first_seen)

    def look_at_top(self) -> None:
        """Look at what no watch covers."""
        self.changed(self._changes.look_at_top(), time.time())

    def changed(self, changed: Iterable[Path], saved_at: float) -> None:
        """Let what these files affect run, unless it must wait."""
        changed = sorted(changed)
        if not changed:
            return
        affected = self._note(changed, saved_at)
        if self.run is not None and self._may_be_output(changed, affected):
            self._judged_later.update(changed)
            return
        if not self._results.waiting:
            self._log.write("selected", tests=[], left_out=len(self._changes.map.tests))
            self._screen.say("hotplug: no test depends on it", "dim")
            if self.explains:
                self._screen.explain_none(
                    {path: self.unaffecting[path] for path in map(self._shown, changed) if path in self.unaffecting}
                )
            if self.run is None and not all(path.exists() for path in changed):
                self._tell_without_what_is_gone()
            return
        if self.paused:
            self._edited = self.run is not None
            self._screen.say("hotplug: paused, so it waits; space goes on", "yellow")
            return
        # The files of the verdict in the making have moved: what it covers runs again, with what is new.
        # What is still pending from earlier runs comes along: nobody knows what it would use now.
        self._changes.count(len(changed))
        if self.run is not None:
            self._outputs.count(changed)
        if self.debugging:
            self._edited = True
        else:
            self._begin_when_sound()

    def _may_be_output(self, changed: Iterable[Path], affected: bool) -> bool:
        """Tell whether the run itself may have written all of it, so that its end is waited for."""
        return self._outputs.are(changed) or not (affected or self._changes.may_matter(changed))

    def _note(self, changed: Iterable[Path], saved_at: float) -> bool:
        """Tell of a change, and let the tests that it affects be pending; return whether there are any."""
        changed = sorted(changed)
        shown = [self._shown(path) for path in changed]
        self._log.write("change", paths=shown, saved_at=saved_at)
        self._screen.changed(shown)
        self._changes.take_in(changed)
        self._saved.update(map(os.fspath, changed))
        drop_bytecode(self._saved)
        self._hosting.changed(self._changes.plugins_of(changed))
        self._runs.changed(changed)
        affected = self._changes.affected(changed)
        self._results.want(affected)
        if not affected:
            nobody = dict.fromkeys(shown, "no test is known to use it")
            self.unaffecting |= {**nobody, **self._changes.knowledge.why_none}
        return bool(affected)

    def pause(self) -> None:
        """Let changes run nothing."""
        self.paused = True

    def go_on(self) -> None:
        """Run what has changed in the pause; a run that goes on is left alone if nothing did."""
        self.paused = False
        if self.run is None:
            self.begin()
        else:
            self._begin_again_if_edited()

    # -- a run begins ---------------------------------------------------------------------------

    def _begin_when_sound(self) -> None:
        """Begin at once, or after some quiet where files may not be as they are meant."""
        self._end("a file changed during the run")
        if self._changes.may_go_on():
            self._agenda.put_off("begin", QUIET, self._begin_if_quiet)
        else:
            self.begin()

    def _begin_if_quiet(self) -> None:
        """Begin the run that has waited, unless files have moved that nobody told of."""
        moved = self._changes.look()
        self._changes.end_burst()
        if moved:
            self.changed(moved, time.time())
        elif not self.paused:
            self._changes.trust()  # so somebody means it
            self.restart("")

    def restart(self, why: str) -> None:
        """End the run at hand, if there is one, and begin one of all that waits."""
        self._end(why)
        self.begin()

    def _end(self, why: str) -> None:
        if self.run is not None:
            if why:
                self._screen.say(f"hotplug: {why}, it begins again", "yellow")
            self.cancel()

    def begin(self) -> None:
        """Begin a run of what waits and may run."""
        self._agenda.strike("begin")
        if not self._results.begin_run():
            if self._results.waiting:
                self._screen.say(f"hotplug: nothing runs: no test that waits is one where {self._results.filters}")
            return
        self._judged_later.clear()
        drop_bytecode(self._saved)  # once more: the run before may have compiled it when it was old
        self._saved.clear()
        self._outputs.begin_run()
        reasons = self._results.reasons
        tests = [{"nodeid": nodeid, "because": because} for nodeid, because in (reasons or {}).items()]
        self._log.write("selected", tests=tests, left_out=self._results.left_out())
        if self.explains and reasons is not None:
            self.explain()
        self.unaffecting.clear()
        self._started = time.monotonic()
        chosen = None if self._results.chosen is None else list(self._results.chosen)
        measure = [os.fspath(path) for path in self._measured]
        order = Order(
            chosen,
            first=not self._changes.map.tests,
            ahead=self._results.ahead(),
            standing=list(self._results.standing),
            measure=measure,
        )
        self.run = self._runs.begin(order, self._results.seconds)

    def explain(self) -> None:
        """Say why each test of the last run was chosen, and which changes since chose none."""
        self._screen.explain(self._results.reasons, self.unaffecting)

    def measure(self, files: Collection[Path], show: Callable[[Mapping[str, Iterable[int]] | None], object]) -> None:
        """Run what uses these files; with the verdict `show` gets the lines that were executed, if it tells."""
        self._results.want(self._changes.users(files))
        if not self._results.waiting:
            show({})
            return
        self._measured, self._show_lines = files, show
        self.restart("")

    def rearm(self) -> None:
        """Start all anew that is kept ready; a run at hand begins again."""
        running = self.run is not None
        self.cancel()
        never = self._runs.renew()
        self._hosting.renew()
        state = f"each run is a fresh process: {never}" if never else "the warm processes are started anew"
        self._screen.say(f"hotplug: {state}")
        if running:
            self.begin()
        else:
            self._runs.rest()

    # -- a run goes on --------------------------------------------------------------------------

    def hear(self, message: tuple[Run, dict[str, Any]]) -> None:
        """Take in what the run at hand tells."""
        run, facts = message
        if run is not self.run or self._changes.knowledge.hear(facts):
            return
        if facts["kind"] in ("debugger", "suspended", "debugged"):
            self._lending.hear(run, facts["kind"], facts["process"])
            self._begin_again_if_edited()
            return
        if facts["kind"] == "writes":
            self._outputs.hear(facts["path"])
            return
        self._results.hear(facts)
        if facts["kind"] == "report":
            self._log.write("report", **{name: facts[name] for name in ("nodeid", "outcome", "duration")})

    @property
    def debugging(self) -> bool:
        """Whether a debugger in the run at hand has the terminal."""
        return self._lending.busy

    def _begin_again_if_edited(self) -> None:
        """Begin again if files were edited meanwhile; nobody is taken away from a debugger."""
        if self._edited and not self.debugging and not self.paused:
            self._begin_when_sound()

    def hear_parked(self, message: tuple[Peer, dict[str, Any]]) -> None:
        """Take in what a process says that runs are forked from."""
        peer, facts = message
        if self._runs.hear(peer, facts):
            self._changes.collected_files.by_hooks = facts["others_collect"]
            self._compare_with(facts)
        if self.run is None:
            self._runs.rest()

    def _compare_with(self, collected: Mapping[str, Any]) -> None:
        """Run what a collection of everything shows to be otherwise than it stands; there should be nothing."""
        if self.run is not None or self._results.waiting:
            return  # that run collects as well
        if otherwise := self._results.otherwise(collected["tests"], collected["broken"]):
            self._results.want(otherwise)
            if not self.paused:
                self.begin()

    def suspend(self) -> None:
        """Stop the run where it is, with the watch."""
        if self.run is not None:
            self.run.pause()

    def resume(self) -> None:
        """Let it go on, as far as it doesn't wait for a debugger."""
        if self.debugging:
            self._lending.go_on()
        elif self.run is not None:
            self.run.resume()

    # -- a run ends -----------------------------------------------------------------------------

    def cancel(self) -> None:
        """End the run at hand; what it was to run stays pending."""
        run, self.run = self.run, None
        self._edited = False
        if run is not None:
            run.cancel(at_prompt=self._lending.holds(run))
            self._lending.end(run)
            self._changes.knowledge.forget_run()

    def give_up(self) -> None:
        """Cancel the run because the user wants it, and let what it has done be the verdict."""
        edited = self._edited
        self.cancel()
        if self._files_moved() or edited:
            self._results.forget_outcomes()
        self._screen.cancelled()
        self._publish("")

    def ended(self, end: tuple[Run, int | None]) -> None:
        """Judge a run that came to its end by itself."""
        run, code = end
        if run is not self.run:
            return
        self._lending.end(run)
        if code is None:
            self.restart("a warm process was lost")
            return
        trouble = self._results.why_unfinished(code)
        if self._files_moved() or self._edited:  # the verdict would be about old bytes
            if not self.paused:
                self._begin_when_sound()
                return
            self._edited = False
            self._results.forget_outcomes()
            trouble = "a file changed during the run, and the watch is paused"
        self.run = None
        self._publish(trouble)

    def _files_moved(self) -> bool:
        """Tell whether files that the run may have used have changed since it began; let be pending what they affect.

        By now it is known what every test used. Files that none of them read may be the run's own output.
        """
        moved = self._changes.look()
        if moved:
            self._note(moved, time.time())
        edited = {path for path in moved | self._judged_later if not self._outputs.are([path])}
        affected = self._changes.affected(edited)
        self._results.want(affected)
        self._outputs.count(edited)
        return bool(affected) or self._changes.may_matter(moved & edited)

    def _publish(self, trouble: str) -> None:
        """Make the run's results the verdict; the tests that it didn't finish stay pending."""
        self._outputs.end_round()
        left_out, done = self._results.left_out(), self._results.done
        verdict = self._results.end_run(trouble)
        if trouble:
            self._screen.say(f"hotplug: {trouble}; the tests that it did not finish stay pending", "red")
        self._tell(verdict, left_out, time.monotonic() - self._started)
        if self._measured:
            self._measured = ()
            self._show_lines(self._results.executed)
        self._screen.waiting(self._changes.backend, self._results.filters)
        self._hosting.loaded(plugin for uses in self._changes.map.tests.values() for plugin in uses.plugins)
        self._runs.rest()
        self._learn(done)

    def _tell(self, verdict: Verdict, left_out: int, seconds: float) -> None:
        self._log.write("verdict", **verdict.counts, outdated=verdict.outdated, failures=verdict.failures)
        self._screen.verdict(verdict, left_out, seconds)

    def _tell_without_what_is_gone(self) -> None:
        """Let no failed test stand in the last verdict that was deleted with its file."""
        verdict = self._results.without_what_is_gone()
        if verdict is not None:
            self._tell(verdict, len(self._changes.map.tests), 0.0)

    def _learn(self, done: Mapping[str, str]) -> None:
        """Learn what the tests of the verdict used; an edit that came meanwhile is noticed, and is no part of it."""
        moved: set[Path] = set()

        def look() -> set[Path]:
            moved.update(self._changes.look())
            return moved

        self._changes.knowledge.learn(done, self._results.seconds, self._changes.map.tests, look)
        self.changed(moved, time.time())
