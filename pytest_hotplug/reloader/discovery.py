"""Find plugins: plugin dirs -> names and places. Reads directory listings, executes nothing.

A name is never joined to a path: it is looked up in what the listing found.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path

from pytest_hotplug.reloader.errors import Fault, PluginFault, UsageError
from pytest_hotplug.reloader.names import is_noise, is_plugin_name
from pytest_hotplug.reloader.settings import Layout

__all__ = ["Found", "find_misnamed", "find_plugins", "signs_of_a_plugin"]


@dataclass(frozen=True, slots=True)
class Found:
    """One plugin on disk: its name, its directory as configured, and how it is laid out."""

    name: str
    path: Path
    layout: Layout

    @property
    def public(self) -> str:
        return self.layout.public_name(self.name)


def find_plugins(layouts: Iterable[Layout], exclude: Sequence[str] = ()) -> Mapping[str, Found]:
    """Return every plugin below the plugin dirs by name; a plugin dir that is missing holds none.

    Raises UsageError `[duplicate-plugin]` when two directories claim one name.
    """
    found: dict[str, Found] = {}
    for layout in layouts:
        for name in filter(is_plugin_name, _names(layout, exclude)):
            path = layout.path / name
            if name in found and found[name].path != path:
                raise UsageError(
                    f"two directories claim the plugin {name!r}: {found[name].path} and {path}; "
                    "rename one, or leave one plugin dir out",
                    "duplicate-plugin",
                )
            found[name] = Found(name, path, layout)
    return found


def find_misnamed(layouts: Iterable[Layout], exclude: Sequence[str] = ()) -> list[Path]:
    """Return the directories that would be plugins if their names allowed it."""
    return [place.path / name for place in layouts for name in _names(place, exclude) if not is_plugin_name(name)]


def _names(layout: Layout, exclude: Sequence[str]) -> list[str]:
    try:
        with os.scandir(layout.path) as entries:
            directories = [entry.name for entry in entries if os.path.isdir(entry.path)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"plugin dir {layout.path} can't be read: {error.strerror}", "unreadable") from None
    return sorted(
        name
        for name in directories
        if not is_noise(name)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)
        and is_plugin_dir(layout.path / name, layout)
    )


def is_plugin_dir(path: Path, layout: Layout) -> bool:
    """Tell whether a directory holds a manifest, or at least the entry module, of whatever kind these are.

    One that can't be read counts: loading it says so.
    """
    return any(_may_be_there(path / file) for file in signs_of_a_plugin(layout))


def _may_be_there(path: Path) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def signs_of_a_plugin(layout: Layout) -> tuple[str, ...]:
    """Return the files of which one is enough to make a directory a plugin."""
    inside = layout.entry_module.replace(".", "/")
    return (*layout.manifest, *((f"{inside}.py", f"{inside}/__init__.py") if inside else ("__init__.py",)))


def check_public_name(found: Found) -> None:
    """Refuse a top-level plugin that would hide a standard module or an installed one.

    Raises PluginFault `[shadowed-name]`.
    """
    if found.layout.package:
        return
    if found.name in sys.stdlib_module_names or _installed(found.name):
        message = f"{found.name!r} is the name of a standard or installed module, which this plugin would hide"
        remedy = "Rename the plugin, or set 'package' to import it under a prefix."
        raise PluginFault(Fault(found.name, "shadowed-name", message, found.path, remedy=remedy))


def _installed(name: str) -> bool:
    """Tell whether an installed distribution offers a module of this name."""
    places = _installed_places()
    # Python's finder lists directories anew after an invalidate_caches(): it is asked only where there is such a file.
    there = any(os.path.exists(f"{place}{os.sep}{name}{suffix}") for place in places for suffix in _suffixes())
    return there and PathFinder.find_spec(name, list(places)) is not None


@cache
def _suffixes() -> tuple[str, ...]:
    """Return what a module's name is followed by on disk: nothing for a package's directory."""
    return ("", *all_suffixes())


@cache
def _installed_places() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys((paths["purelib"], paths["platlib"])))
