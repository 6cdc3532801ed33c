"""What watch mode says on the terminal, between the reports of pytest. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from pytest_hotplug.testing.watch.results import Verdict

__all__ = ["Screen"]

HELP = """\
  Enter, a   run all tests
  f          run the failed tests, and those that did not run
  Ctrl-Z     suspend; fg goes on
  h          this help
  q          quit (Ctrl-C: cancel the run, again: quit)"""


class Screen:
    """Writes lines about changes, reloads and verdicts."""

    def __init__(self, out: IO[str]) -> None:
        self._console = Console(file=out, highlight=False, soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        """Print one line."""
        self._console.print(Text(text, style=style))

    def waiting(self, backend: str) -> None:
        self.say(f"hotplug: watching ({backend}); Enter runs all tests, h helps, q quits", "dim")

    def help(self) -> None:
        self.say(HELP)

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
        good = not (counts["failed"] or counts["errors"] or verdict.still)
        text = f"hotplug: {', '.join(words) or 'no tests ran'} in {seconds:.2f} s"
        if verdict.outdated:
            text += f"; {verdict.outdated} pending until the next change"
        if left_out:
            text += f"; {left_out} not affected, their verdicts stand"
        self.say(text, "bold red" if not good else "bold yellow" if verdict.outdated else "bold green")
        for nodeid in verdict.still:
            self.say(f"  still failing: {nodeid}", "red")
