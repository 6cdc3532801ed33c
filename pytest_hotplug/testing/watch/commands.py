"""What each key means, in one table: the help is made from it, and the loop acts by it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Command", "command_of", "help_text"]


@dataclass(frozen=True, slots=True)
class Command:
    """A name that the loop knows, the keys that mean it (as typed and as shown), and what it does, in words."""

    name: str
    keys: str
    shown: str
    does: str


COMMANDS = (
    Command("run_all", "\r\na", "Enter, a", "run all tests"),
    Command("run_failed", "f", "f", "run the failed tests, and those that did not run"),
    Command("filter_files", "p", "p", "run only tests whose file's path contains a text"),
    Command("filter_names", "t", "t", "run only tests whose name contains a text"),
    Command("failed_first", "x", "x", "run the tests that failed last first, or not any more"),
    Command("explain", "w", "w", "say why the last tests were chosen, or none"),
    Command("show_unrun", "u", "u", "show the lines that you changed since the last commit and no test runs"),
    Command("rearm", "r", "r", "start the warm processes anew: something changed that no file tells"),
    Command("pause", " ", "space", "pause: run nothing at a change; again: go on"),
    Command("clear", "c", "c", "clear the screen"),
    Command("help", "h?", "h", "this help"),
    Command("quit", "q", "q", "quit (Ctrl-C: cancel the run, again: quit)"),
)
_BY_KEY = {key: command.name for command in COMMANDS for key in command.keys}


def command_of(key: str) -> str:
    """Return the name of the command that a key means, or an empty string."""
    return _BY_KEY.get(key, "")


def help_text() -> str:
    """Return a line per command."""
    lines = [f"  {command.shown:<10} {command.does}" for command in COMMANDS]
    return "\n".join([*lines, f"  {'Ctrl-Z':<10} suspend; fg goes on"])
