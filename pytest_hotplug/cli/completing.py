"""`hotplug completion SHELL`: the script that teaches a shell to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pytest_hotplug.cli.output import say

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script for SHELL.

    \b
    Examples:
      source <(hotplug completion bash)
      hotplug completion fish > ~/.config/fish/completions/hotplug.fish
    """
    from pytest_hotplug.cli.run import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click completes every shell that we offer"
    say(kind(cli, {}, "hotplug", "_HOTPLUG_COMPLETE").source())
    return 0
