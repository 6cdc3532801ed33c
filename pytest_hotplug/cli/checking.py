"""`hotplug check`: would this version load? Tried in a child process; changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pytest_hotplug.cli.ondisk import PluginOnDisk, end_without_plugins, misnamed, plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say, shortened
from pytest_hotplug.cli.trying import as_facts, skipped, try_version
from pytest_hotplug.reloader.errors import visible

__all__ = ["check"]


@click.command()
@plugin_argument("names", nargs=-1)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False),
    help="Check the version that lies in DIR.",
)
@directory_option
@json_option
def check(names: tuple[str, ...], source: str | None, as_json: bool) -> int:
    """Check manifests and load plugins in a child process, without starting them.

    \b
    Examples:
      hotplug check                        every enabled plugin
      hotplug check greeter
      hotplug check greeter --from /tmp/greeter-2.0
    """
    if source and len(names) != 1:
        raise click.UsageError("--from needs the name of exactly one plugin")
    found = plugins_on_disk(names)
    for line in () if names else misnamed():
        say(f"hotplug: {line}", err=True)
    tell = emit_json if as_json else _say
    good = True
    for plugin in found:
        result = _checked(plugin, source, asked_for=bool(names))
        good &= result["ok"] is not False
        tell(result)
    if not found:
        return end_without_plugins(as_json)
    return 0 if good else 1


def _checked(plugin: PluginOnDisk, source: str | None, *, asked_for: bool) -> dict[str, Any]:
    """Check one plugin; a disabled one only when it was asked for, and then it is refused."""
    if asked_for or plugin.manifest.enabled or plugin.problem:
        return as_facts(plugin.found, try_version(plugin.found, Path(source) if source else None))
    return skipped(plugin.name, plugin.version, plugin.digest)


def _say(result: dict[str, Any]) -> None:
    say(shortened(result["text"]), err=result["ok"] is False)
    for warning in result["warnings"]:
        say(f"{result['plugin']}: warning: {visible(warning)}", err=True)
