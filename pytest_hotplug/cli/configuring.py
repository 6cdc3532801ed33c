"""`hotplug config`: every effective setting and where it comes from."""

from __future__ import annotations

import click
import msgspec

from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say, table
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.settings import read_settings

__all__ = ["config"]


@click.command()
@directory_option
@json_option
def config(as_json: bool) -> int:
    """Print every effective setting and its origin.

    \b
    Examples:
      hotplug config
      HOTPLUG_DEBOUNCE=0.2 hotplug config --json
    """
    project = read_settings()
    values = msgspec.to_builtins(project.settings)
    rows = [(name, value, project.origins.get(name, "default")) for name, value in values.items()]
    if as_json:
        settings = {name: {"value": value, "origin": origin} for name, value, origin in rows}
        emit_json({"root": str(project.root), "file": project.file and str(project.file), "settings": settings})
    else:
        say(f"project: {visible(str(project.root))}")
        file = project.file
        shown = ((name, value, file.name if file and origin == str(file) else origin) for name, value, origin in rows)
        table(("setting", "value", "from"), shown)
    return 0
