"""`hotplug list-plugins-hot` and `hotplug status`: what is on disk."""

from __future__ import annotations

import click

from pytest_hotplug.cli.ondisk import PluginOnDisk, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, table

__all__ = ["list_plugins", "status"]


@click.command("list-plugins-hot")
@directory_option
@json_option
def list_plugins(as_json: bool) -> int:
    """List the plugins: version, digest and state.

    \b
    Examples:
      hotplug list
      hotplug list --json
    """
    found = plugins_on_disk()
    if as_json:
        emit_json({"source": "disk", "plugins": [plugin.facts() for plugin in found]})
    elif found:
        rows = [
            (p.name, p.version, p.digest[:12], p.state, p.problem.splitlines()[0] if p.problem else "") for p in found
        ]
        table("", ("plugin", "version", "digest", "state", ""), rows)
        click.echo("(read from disk)")
    else:
        click.echo("hotplug: no plugins; 'hotplug init NAME' makes one [no-plugins]", err=True)
    return 0 if found else 5


@click.command()
@click.argument("name")
@directory_option
@json_option
def status(name: str, as_json: bool) -> int:
    """Show one plugin.

    \b
    Examples:
      hotplug status greeter
      hotplug status greeter --json
    """
    plugin = _one(name)
    if as_json:
        emit_json({"source": "disk", **plugin.facts()})
    else:
        for key, value in plugin.facts().items():
            if value not in (None, "", [], {}):
                shown = ", ".join(map(str, value)) if isinstance(value, list) else value
                click.echo(f"{key + ':':<14}{shown}")
        click.echo("(read from disk)")
    return 1 if plugin.problem else 0


def _one(name: str) -> PluginOnDisk:
    found = plugins_on_disk([name])
    return found[0]
