"""`hotplug completion SHELL`: the script that teaches a shell to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pytest_hotplug.cli.output import emit_json, json_option, say

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> int:
    """Print the completion script for SHELL.

    \b
    Examples:
      source <(hotplug completion bash)
      hotplug completion fish > ~/.config/fish/completions/hotplug.fish
    """
    from pytest_hotplug.cli.run import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click completes every shell that we offer"
    script = kind(cli, {}, "hotplug", "_HOTPLUG_COMPLETE").source()
    if as_json:
        emit_json({"shell": shell, "script": script})
    else:
        say(script)
    return 0
