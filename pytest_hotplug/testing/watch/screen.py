"""What watch mode says on the terminal, between the reports of pytest. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pytest_hotplug.testing.watch.commands import help_text
from pytest_hotplug.testing.watch.filters import Filters
from pytest_hotplug.testing.watch.results import Verdict

__all__ = ["Screen"]


class Screen:
    """Writes lines about changes, reloads and verdicts; `keys` tells whether the user has any."""

    def __init__(self, out: IO[str], keys: bool) -> None:
        self._keys = keys
        self._asked = 0  # cells of the prompt's line as it stands
        self._console = Console(file=out, highlight=False, soft_wrap=True)
        self._held: list[tuple[str, str]] | None = None  # what is kept back, None: nothing is

    def say(self, text: str, style: str = "") -> None:
        """Print one line, now or when nothing is held back any more."""
        if self._held is not None:
            self._held.append((text, style))
        else:
            self._console.print(Text(text, style=style))

    def hold(self) -> None:
        """Keep lines back: somebody else has the terminal."""
        self._held = self._held or []

    def release(self) -> None:
        """Print what was kept back."""
        held, self._held = self._held, None
        for text, style in held or ():
            self.say(text, style)

    def waiting(self, backend: str, filters: Filters) -> None:
        only = f"only where {filters}; " if filters else ""
        can = "Enter runs all tests, h helps, q quits" if self._keys else "no terminal, so no keys; SIGTERM ends it"
        self.say(f"hotplug: watching ({backend}); {only}{can}", "dim")

    def cancelled(self) -> None:
        can = "Enter runs all tests, q or Ctrl-C quits" if self._keys else "the next SIGINT ends the watch"
        self.say(f"hotplug: run cancelled; {can}", "yellow")

    def help(self) -> None:
        self.say(help_text())

    def ask(self, line: str) -> None:
        """Show a prompt's line in place of the one that it showed before: its end, where it is too long."""
        shown = _end_of(line, self._console.width - 1)
        left = max(0, self._asked - cell_len(shown))
        self._asked = cell_len(shown)
        # Carriage return, blanks and backspace: every terminal has them, also a dumb one.
        self._console.file.write(f"\r{shown}{' ' * left}{chr(8) * left}")
        self._console.file.flush()

    def end_asking(self) -> None:
        self._asked = 0
        self._console.print()

    def clear(self) -> None:
        self._console.clear()

    def explain(self, chosen: Mapping[str, str] | None, unaffecting: Mapping[str, str]) -> None:
        """Say why each test of the last run was chosen (None: all were), and which changes since chose none."""
        if chosen is None:
            self.say("hotplug: all tests ran: the first run, or you asked for it")
        else:
            self.say(f"hotplug: {len(chosen)} chosen" if chosen else "hotplug: no test was chosen")
            for nodeid, because in chosen.items():
                self.say(f"  {nodeid}: {because}")
        self.explain_none(unaffecting)

    def explain_none(self, unaffecting: Mapping[str, str]) -> None:
        """Say which changes chose no test, and why."""
        for path, why in unaffecting.items():
            self.say(f"  {path} chose none: {why}")

    def unrun(self, left: Mapping[str, Sequence[int]]) -> None:
        """Print the changed lines that no test runs."""
        if not left:
            self.say("hotplug: a test runs every line that you changed since the last commit", "green")
        for path, lines in left.items():
            self.say(f"hotplug: no test runs {path}:{_spans(lines)}", "yellow")

    def changed(self, paths: list[str]) -> None:
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        self.say(f"\nhotplug: {shown} changed", "bold")

    def reloaded(self, facts: Mapping[str, Any], started: bool) -> None:
        state = "" if started else ", imported, not started"
        how = "serves again" if facts["again"] else "serves"
        self.say(f"hotplug: {facts['plugin']} generation {facts['generation']} {how}{state}", "green")

    def refused(self, facts: Mapping[str, Any]) -> None:
        self.say(f"hotplug: {facts['error']}", "red")

    def verdict(self, verdict: Verdict, left_out: int, seconds: float) -> None:
        """Print the verdict line, and below it the tests that still fail."""
        counts = verdict.counts
        words = [f"{counts[name]} {name}" for name in ("failed", "errors", "passed", "skipped") if counts[name]]
        words = ["1 error" if word == "1 errors" else word for word in words]
        good = not (counts["failed"] or counts["errors"] or verdict.still)
        text = f"hotplug: {', '.join(words) or 'no tests ran'} in {seconds:.2f} s"
        if verdict.outdated:
            text += f"; {verdict.outdated} pending until the next change"
        if left_out:
            text += f"; {left_out} not affected, their verdicts stand"
        self.say(text, "bold red" if not good else "bold yellow" if verdict.outdated else "bold green")
        for nodeid in verdict.still:
            self.say(f"  still failing: {nodeid}", "red")


def _end_of(line: str, cells: int) -> str:
    """Return as much of the end of a line as fits, with a mark where something is missing."""
    if cell_len(line) <= cells:
        return line
    while line and cell_len(line) > cells - 1:
        line = line[1:]
    return f"<{line}"


def _spans(lines: Sequence[int]) -> str:
    """Return numbers as people write them: 3-5, 9."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
