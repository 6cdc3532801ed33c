"""`hotplug init NAME`: a plugin, its manifest and a passing test."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pytest_hotplug.cli.ondisk import find_on_disk
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say
from pytest_hotplug.reloader.errors import HotplugError, InvalidPluginName, UsageError, near, visible
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.settings import Layout, Project, layouts, read_settings

__all__ = ["init", "making"]

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
    layout = _layout(project, plugin_dir)
    target = layout.path / name
    others = find_on_disk(project)
    if target.exists() or name in others:
        raise _in_the_way(target if target.exists() else others[name].path)
    with making(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _make(name, target, layout)
    shown = visible(os.path.relpath(target))
    if as_json:
        emit_json({"plugin": name, "path": str(target.resolve())})
    else:
        say(f"{shown}/ is a plugin now. Next:")
        say(f"  hotplug run {name} --name Ada")
        say(f"  pytest {shown}")
        say("  pytest --hotplug-watch")
    return 0


def _layout(project: Project, plugin_dir: str | None) -> Layout:
    """Return how plugins are laid out in the directory that the user named, else in the first plugin dir."""
    known = layouts(project.settings, project.root)
    if plugin_dir:
        path = Path(os.path.abspath(plugin_dir))
        return next((layout for layout in known if layout.path == path), Layout(path, ""))
    if not known:
        raise UsageError("no plugin dir is configured; name one with --plugin-dir", "no-plugins")
    return known[0]


def _make(name: str, target: Path, layout: Layout) -> None:
    """Build the directory beside its place, then rename it: no half-made plugin is ever seen."""
    manifest = {
        "name": name,
        "version": "0.1.0",
        "description": f"What {name} does",
        "entry_point": "main.run",
        "parameters": {"name": {"type": "string", "default": "world", "description": "whom to greet"}},
    }
    named = {layout.manifest_keys.get(key, key): value for key, value in manifest.items()}
    files = {
        layout.manifest[0]: json.dumps(named, indent=2) + "\n",
        "main.py": MAIN.format(name=name),
        f"test_{name}.py": TEST.format(name=name),
    }
    beside = target.with_name(f".{name}.new")
    _remove_left_over(beside, files)
    beside.mkdir()
    try:
        for file, content in files.items():
            (beside / file).write_text(content, "utf-8")
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _remove_left_over(beside: Path, files: Iterable[str]) -> None:
    """Remove what an init that was killed left; anything else in that place is not ours to remove."""
    if not beside.exists():
        return
    if not beside.is_dir() or {path.name for path in beside.iterdir()} - set(files):
        raise _in_the_way(beside)
    shutil.rmtree(beside)


def _in_the_way(path: Path) -> UsageError:
    where = visible(os.path.relpath(path))
    return UsageError(f"{where} exists already; choose another name or remove it", "already-exists")


@contextmanager
def making(target: Path) -> Iterator[None]:
    """Tell in a sentence why something can't be made; raises HotplugError `[cannot-write]`."""
    try:
        yield
    except OSError as error:
        place = f"{visible(near(error.filename))}: " if error.filename else ""
        said = f"{visible(near(target))} can't be made ({place}{error.strerror})"
        raise HotplugError(f"{said}; choose another place or mend its permissions [cannot-write]") from None
