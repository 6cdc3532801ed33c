"""What the watch does at a key. Which keys there are stands in `commands`, how they are read in `keys`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.watch.commands import command_of
from pytest_hotplug.testing.watch.filters import Filters
from pytest_hotplug.testing.watch.prompt import Prompt
from pytest_hotplug.testing.watch.results import Results
from pytest_hotplug.testing.watch.rounds import Rounds
from pytest_hotplug.testing.watch.voice import Voice

__all__ = ["Typed"]


class Typed:
    """Acts by name: a method for each command. `leave` ends the watch."""

    def __init__(self, results: Results, rounds: Rounds, voice: Voice, leave: Callable[[], object]) -> None:
        self._results = results
        self._rounds = rounds
        self._root, self._screen, self._shown = voice.root, voice.screen, voice.shown
        self._do_quit = leave
        self._prompt: Prompt | None = None

    def press(self, key: str) -> None:
        """Answer the open question with a key, or do what it means."""
        if self._rounds.debugging:
            return  # pressed in the moment before the debugger had the terminal
        if self._prompt is not None:
            self._answer(self._prompt, key)
        elif command := command_of(key):
            getattr(self, f"_do_{command}")()

    # -- runs -----------------------------------------------------------------------------------

    def _do_run_all(self) -> None:
        self._results.want_all()
        self._rounds.restart("")

    def _do_run_failed(self) -> None:
        failing = self._results.failing()
        if not failing and not self._results.waiting:
            self._screen.say("hotplug: no test fails")
            return
        self._results.want(dict.fromkeys(self._results.files_of(failing), "it failed"))
        self._rounds.restart("")

    def _do_failed_first(self) -> None:
        self._results.failed_first = not self._results.failed_first
        order = "those that failed last run first" if self._results.failed_first else "tests run in their own order"
        self._screen.say(f"hotplug: {order}")

    def _do_rearm(self) -> None:
        self._rounds.rearm()

    def _do_pause(self) -> None:
        if self._rounds.paused:
            self._screen.say("hotplug: going on")
            self._rounds.go_on()
        else:
            self._screen.say("hotplug: paused; space goes on", "yellow")
            self._rounds.pause()

    # -- filters --------------------------------------------------------------------------------

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
        self._rounds.restart("")

    # -- answers --------------------------------------------------------------------------------

    def _do_explain(self) -> None:
        self._rounds.explain()

    def _do_show_unrun(self) -> None:
        """Run what changed lines affect once more, measured; its verdict comes with the lines that nothing ran."""
        changed = self._changed_lines()
        if changed:
            self._rounds.measure(changed, lambda executed: self._show_unrun(changed.keys(), executed))
        elif changed is not None:
            self._screen.say("hotplug: no Python file differs from the last commit")

    def _changed_lines(self) -> dict[Path, frozenset[int]] | None:
        """Return what differs from the last commit; None where git can't be asked, which is said."""
        from pytest_hotplug.testing.watch.unrun import changed_lines

        try:
            return changed_lines(self._root)
        except UsageError as error:
            self._screen.say(f"hotplug: {error}", "yellow")
            return None

    def _show_unrun(self, measured: Collection[Path], executed: Mapping[str, Iterable[int]] | None) -> None:
        from pytest_hotplug.testing.watch.unrun import unrun_lines

        if executed is None:
            self._screen.say("hotplug: the run could not tell which lines it executed", "yellow")
            return
        # The files may have been edited since the key was pressed: the verdict is about the lines of now.
        now = self._changed_lines()
        if now is None:
            return
        changed = {path: lines for path, lines in now.items() if path in measured}
        self._screen.unrun({self._shown(path): lines for path, lines in unrun_lines(changed, executed).items()})

    def _do_clear(self) -> None:
        self._screen.clear()

    def _do_help(self) -> None:
        self._screen.help()
