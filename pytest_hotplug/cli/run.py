"""From arguments to an exit code: what every command shares, and how each kind of error is told."""

from __future__ import annotations

import difflib
import errno
import io
import os
import signal
import sys

import click
from click.shell_completion import CompletionItem

from pytest_hotplug import __version__
from pytest_hotplug.cli.output import discard, emit_json, say, shortened
from pytest_hotplug.cli.verdict import verdict
from pytest_hotplug.reloader.errors import did_you_mean
from pytest_hotplug.reloader.settings import unknown_variables

__all__ = ["Group", "cli", "run"]

_COMMANDS = {
    "affected": "affecting:affected",
    "check": "checking:check",
    "completion": "completing:completion",
    "config": "configuring:config",
    "demo": "demonstrating:demo",
    "deploy": "deploying:deploy",
    "digest": "digesting:digest",
    "disable-hot-reload": "pausing:disable",
    "doctor": "doctoring:doctor",
    "enable-hot-reload": "pausing:enable",
    "events": "journaling:events",
    "health": "healthy:health",
    "history": "keeping:history",
    "init": "scaffolding:init",
    "list-plugins-hot": "listing:list_plugins",
    "metrics": "healthy:metrics",
    "reload": "reloading:reload",
    "remove": "deploying:remove",
    "rollback": "keeping:rollback",
    "schema": "schema:schema",
    "start": "operating:start",
    "status": "listing:status",
    "stop": "operating:stop",
    "test-plugin": "executing:test_plugin",
    "verify": "verifying:verify",
    "wait": "awaiting:wait",
    "watch": "watching:watch",
    "why": "explaining:why",
    "workers": "operating:workers",
}
_ALIASES = {
    "disable": "disable-hot-reload",
    "enable": "enable-hot-reload",
    "list": "list-plugins-hot",
    "run": "test-plugin",
}
# Words that people try, by what they mean: the letters alone lead elsewhere, from `resume` to `remove`.
_MEANT = {
    "add": "deploy",
    "call": "run",
    "continue": "enable",
    "create": "init",
    "delete": "remove",
    "exec": "run",
    "execute": "run",
    "help": "--help",
    "install": "deploy",
    "kill": "stop",
    "log": "events",
    "logs": "events",
    "ls": "list",
    "new": "init",
    "pause": "disable",
    "ps": "list",
    "refresh": "reload",
    "resume": "enable",
    "revert": "rollback",
    "rm": "remove",
    "serve": "start",
    "undo": "rollback",
    "uninstall": "remove",
    "unpause": "enable",
    "version": "--version",
}
_NEARLY = 0.8  # how like it a word must be before a command is offered that takes files away


class Group(click.Group):
    """Imports a command when it is called; knows aliases and offers the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from importlib import import_module

        place = _COMMANDS.get(_ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f"pytest_hotplug.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command with the short name that examples use."""
        short = {long: f"{long} ({alias})" for alias, long in _ALIASES.items()}
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(short.get(n, n), c.get_short_help_str()) for n, c in commands if c is not None])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the short names that everybody types beside the long ones."""
        short = [CompletionItem(alias) for alias in _ALIASES if alias.startswith(incomplete)]
        return sorted([*short, *super().shell_complete(ctx, incomplete)], key=lambda item: str(item.value))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command is named {args[0]!r}{_hint(args[0])} [unknown-command]", ctx)
        return super().resolve_command(ctx, args)


def _hint(word: str) -> str:
    """Say which command was meant by a word that is none."""
    if meant := _MEANT.get(word.casefold()):
        return f"; did you mean '{meant}'?"
    known = [*_COMMANDS, *_ALIASES]
    if not difflib.get_close_matches(word.casefold(), ["remove"], cutoff=_NEARLY):
        known.remove("remove")
    return did_you_mean(word, known) or "; see hotplug --help"


@click.group(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-C", "directory", type=click.Path(exists=True, file_okay=False), help="Work in this directory.")
@click.version_option(__version__, prog_name="hotplug")
@click.pass_context
def cli(ctx: click.Context, directory: str | None) -> None:
    """Hot reload of application plugins.

    \b
    Examples:
      hotplug demo                        see it work, on a temporary copy
      hotplug init my_plugin              a plugin, its manifest and a passing test
      hotplug list                        the plugins of this project
      hotplug run my_plugin --name Ada    execute one
      hotplug watch                       reload at every save
    """
    if directory:
        os.chdir(directory)
    for line in unknown_variables():
        say(f"hotplug: {line}", err=True)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code; no traceback of ours for a plugin's or a user's fault."""
    _mend_streams()
    as_json, out = "--json" in arguments, sys.stdout
    _end_as_at_ctrl_c()
    try:
        code = cli.main(arguments, prog_name="hotplug", standalone_mode=False)
        _flush()
        return code if isinstance(code, int) else 0
    except SystemExit as ended:  # click ends so after completing a word, and, with stdout wrapped, at a closed pipe
        return int(ended.code or 0) if sys.stdout is out else 0
    except BrokenPipeError:
        discard(sys.stdout)
        return 0
    except BaseException as error:  # noqa: BLE001  # every end of a command has a sentence and an exit code
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            discard(sys.stdout)
            return _failed(f"the disk is full: {error} [disk-full]", 1, as_json=False)
        return _failed(*verdict(error), as_json)


def _mend_streams() -> None:
    """Put a null device where a stream was closed (`>&-`), and let none fail at a letter that it can't write."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_as_at_ctrl_c() -> None:
    """Let a plain `kill`, or a terminal that closes, end a command as Ctrl-C does: its children go with it."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup asked for that
            signal.signal(number, signal.default_int_handler)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)


def _failed(message: str, code: int, as_json: bool) -> int:
    if as_json:
        emit_json({"error": message, "exit_code": code})
    else:
        say(f"hotplug: {shortened(message)}", err=True)
    return code
