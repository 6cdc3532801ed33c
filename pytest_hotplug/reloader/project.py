"""Find the project and its settings file; read the file, judge nothing.

Apart from `settings`, which checks values, so that a pytest run which only wants to know where
plugins lie stays cheap. Imports errors only.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.errors import UsageError

__all__ = ["default_package", "find_project", "plugin_dir_path", "settings_table"]


def find_project(start: Path) -> tuple[Path, Path | None]:
    """Return (directory, settings file) of the nearest ancestor of `start` that has one, else (start, None)."""
    start = start.absolute()
    for directory in (start, *start.parents):
        own = directory / "hotplug.toml"
        if os.path.isfile(own):
            return directory, own
        shared = directory / "pyproject.toml"
        if os.path.isfile(shared) and settings_table(shared) is not None:
            return directory, shared
    return start, None


def settings_table(file: Path) -> dict[str, Any] | None:
    """Return the hotplug table of a settings file, or None when it has none; raises UsageError `[bad-setting]`."""
    try:
        text = file.read_text("utf-8")
        if file.name != "hotplug.toml" and "hotplug" not in text:
            return None
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}", "bad-setting") from None
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}", "bad-setting") from None
    if file.name == "hotplug.toml":
        table = data.get("tool", {}).get("hotplug", data) if "tool" in data else data
    else:
        table = data.get("tool", {}).get("hotplug")
    return table if isinstance(table, dict) else None


def plugin_dir_path(text: str, root: Path) -> Path:
    """Return the absolute path of a plugin dir that a setting names."""
    return Path(os.path.abspath(root / Path(text).expanduser()))


def default_package(text: str, path: Path) -> str:
    """Return the public prefix of a plugin dir's plugins: its own name, "" for "." and for no identifier."""
    return path.name if text not in (".", "./") and path.name.isidentifier() else ""
