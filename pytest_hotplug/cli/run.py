"""From arguments to an exit code: what every command shares, and how each kind of error is told."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback

import click

from pytest_hotplug import __version__
from pytest_hotplug.cli.output import emit_json
from pytest_hotplug.reloader.errors import HotplugError, ParameterError, UnknownPlugin, UsageError, did_you_mean

__all__ = ["Group", "cli", "run"]

_COMMANDS = {
    "check": "checking:check",
    "completion": "completing:completion",
    "config": "configuring:config",
    "demo": "demonstrating:demo",
    "init": "scaffolding:init",
    "list-plugins-hot": "listing:list_plugins",
    "status": "listing:status",
    "test-plugin": "executing:test_plugin",
    "watch": "watching:watch",
}
_ALIASES = {"list": "list-plugins-hot", "run": "test-plugin"}


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], [*_COMMANDS, *_ALIASES]) or "; see hotplug --help"
            raise click.UsageError(f"no command is named {args[0]!r}{hint} [unknown-command]", ctx)
        return super().resolve_command(ctx, args)


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
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code; no traceback of ours for a plugin's or a user's fault."""
    as_json, out = "--json" in arguments, sys.stdout
    # A plain `kill` ends a command as Ctrl-C does: processes and temporary directories go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = cli.main(arguments, prog_name="hotplug", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as ended:  # click ends so after completing a word, and, with stdout wrapped, at a closed pipe
        return int(ended.code or 0) if sys.stdout is out else 0
    except click.UsageError as error:
        message = error.format_message()
        return _failed(message if message.endswith("]") else f"{message} [usage]", 4, as_json)
    except click.ClickException as error:
        return _failed(error.format_message(), 1, as_json)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", 2, as_json)
    except (ParameterError, UnknownPlugin, UsageError) as error:
        return _failed(str(error), 4, as_json)
    except HotplugError as error:
        return _failed(str(error), 1, as_json)
    except BrokenPipeError:
        _discard_output()
        return 0
    except Exception as error:  # noqa: BLE001  # the last resort: exit code 3
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _discard_output()
            return _failed(f"the disk is full: {error} [disk-full]", 1, as_json=False)
        traceback.print_exc()
        return _failed(f"internal error: {error!r}; please report it with the lines above [internal]", 3, as_json)


def _discard_output() -> None:
    """Let what is still buffered go nowhere: the interpreter would fail on it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, code: int, as_json: bool) -> int:
    if as_json:
        emit_json({"error": message, "exit_code": code})
    else:
        click.echo(f"hotplug: {message}", err=True)
    return code
