"""`hotplug init NAME`: a plugin, its manifest and a passing test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from pytest_hotplug.cli.output import directory_option, emit_json, json_option
from pytest_hotplug.reloader.errors import InvalidPluginName, UsageError
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.settings import layouts, read_settings

__all__ = ["init"]

MAIN = '''\
"""What {name} does."""

from typing import Any


def run(name: str = "world") -> dict[str, Any]:
    """Greet."""
    return {{"text": f"hello {{name}}"}}
'''
TEST = '''\
"""Promises of {name}; `hotplug` is a sandbox with a private copy of the plugin."""


def test_it_greets(hotplug):
    """The entry answers."""
    assert hotplug.load().execute(name="Ada") == {{"text": "hello Ada"}}


def test_an_edit_is_served_without_a_restart(hotplug):
    """The next execution runs the new code."""
    plugin = hotplug.load()
    plugin.edit("main.py", "hello", "goodbye")
    assert plugin.execute(name="Ada") == {{"text": "goodbye Ada"}}


def test_a_broken_version_never_serves(hotplug):
    """The version before goes on."""
    plugin = hotplug.load()
    plugin.break_syntax("main.py")
    assert plugin.execute(name="Ada") == {{"text": "hello Ada"}}
'''


@click.command()
@click.argument("name")
@click.option("--plugin-dir", type=click.Path(file_okay=False), help="Where to put it (default: the first plugin dir).")
@directory_option
@json_option
def init(name: str, plugin_dir: str | None, as_json: bool) -> int:
    """Make a plugin NAME with a manifest and a passing test.

    \b
    Examples:
      hotplug init weather
      hotplug init weather --plugin-dir src/plugins
    """
    if not is_plugin_name(name):
        raise InvalidPluginName(name)
    project = read_settings()
    home = Path(plugin_dir) if plugin_dir else layouts(project.settings, project.root)[0].path
    target = home / name
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name or remove it", "already-exists")
    home.mkdir(parents=True, exist_ok=True)
    _make(name, target)
    shown = os.path.relpath(target)
    if as_json:
        emit_json({"plugin": name, "path": str(target.resolve())})
    else:
        click.echo(f"{shown}/ is a plugin now. Next:")
        click.echo(f"  hotplug run {name} --name Ada")
        click.echo(f"  pytest {shown}")
        click.echo("  pytest --hotplug-watch")
    return 0


def _make(name: str, target: Path) -> None:
    """Build the directory beside its place, then rename it: no half-made plugin is ever seen."""
    manifest = {
        "name": name,
        "version": "0.1.0",
        "description": f"What {name} does",
        "entry_point": "main.run",
        "parameters": {"name": {"type": "string", "default": "world", "description": "whom to greet"}},
    }
    beside = target.with_name(f".{name}.new")
    beside.mkdir()
    (beside / "plugin.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    (beside / "main.py").write_text(MAIN.format(name=name), "utf-8")
    (beside / f"test_{name}.py").write_text(TEST.format(name=name), "utf-8")
    beside.rename(target)
