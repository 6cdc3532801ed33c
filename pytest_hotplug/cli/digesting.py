"""`hotplug digest`: the digest of a plugin's content on disk, in a directory, or at a git ref. Executes nothing."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from pytest_hotplug.cli.ondisk import PluginOnDisk, end_without_plugins, plugin_argument, plugins_on_disk, read_plugin
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.refs import files_in_git

__all__ = ["digest"]


@click.command()
@plugin_argument("names", nargs=-1)
@click.option("--ref", metavar="REV|DIR", help="Not what is on disk but what a git revision or a directory holds.")
@directory_option
@json_option
def digest(names: tuple[str, ...], ref: str | None, as_json: bool) -> int:
    """Print the digest of plugins' content: equal digests, equal versions. No checkout, nothing is executed.

    \b
    Examples:
      hotplug digest
      hotplug digest greeter --ref HEAD~1
      hotplug digest greeter --ref /srv/releases/42
    """
    found = plugins_on_disk(names)
    good = True
    for plugin in found:
        good &= _tell(plugin if ref is None else _at(plugin.found, ref), ref, as_json)
    if not found:
        return end_without_plugins(as_json)
    return 0 if good else 1


def _tell(plugin: PluginOnDisk, ref: str | None, as_json: bool) -> bool:
    """Print one digest and return whether there is one."""
    if as_json:
        facts = {"digest": plugin.digest or None, "version": plugin.version or None, "error": plugin.problem or None}
        emit_json({"source": "disk", "plugin": plugin.name, "ref": ref, **facts})
    elif plugin.digest:
        say(f"{plugin.digest}  {plugin.name}")
    else:
        say(f"{plugin.name}: {plugin.problem}", err=True)
    return bool(plugin.digest)


def _at(found: Found, ref: str) -> PluginOnDisk:
    """Read a plugin as it is in a directory (itself, or one of its name in it), else at a git ref."""
    directory = Path(ref)
    if directory.is_dir():
        inside = directory / found.name
        return read_plugin(replace(found, path=inside if inside.is_dir() else directory))
    files = files_in_git(ref, found.path)
    with tempfile.TemporaryDirectory(prefix="hotplug-") as temporary:
        place = Path(temporary) / found.name
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return read_plugin(replace(found, path=place))
