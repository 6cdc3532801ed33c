"""`hotplug list-plugins-hot` and `hotplug status`: what is on disk."""

from __future__ import annotations

import click

from pytest_hotplug.cli.ondisk import misnamed, nothing_found, plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, plain, say, table

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
    for line in misnamed():
        say(f"hotplug: {line}", err=True)
    if as_json:
        emit_json({"source": "disk", "plugins": [plugin.facts() for plugin in found]})
    elif found:
        rows = [(p.name, p.version, p.digest[:12], p.state, p.problem) for p in found]
        table(("plugin", "version", "digest", "state", ""), rows)
        say("(read from disk)")
    else:
        say(f"hotplug: {nothing_found()}", err=True)
    return 0 if found else 5


@click.command()
@plugin_argument("name")
@directory_option
@json_option
def status(name: str, as_json: bool) -> int:
    """Show one plugin.

    \b
    Examples:
      hotplug status greeter
      hotplug status greeter --json
    """
    (plugin,) = plugins_on_disk([name])
    if as_json:
        emit_json({"source": "disk", **plugin.facts()})
    else:
        for key, value in plugin.facts().items():
            if value not in (None, "", [], {}):
                say(f"{key + ':':<14}{plain(value)}")
        say("(read from disk)")
    return 1 if plugin.problem else 0
