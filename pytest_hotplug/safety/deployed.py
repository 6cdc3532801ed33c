"""What is deployed: the project's plugins as they are at a git revision, or in a directory such as an unpacked release.

Only reads: the work tree and its index are never touched, nothing is checked out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_hotplug.reloader.digests import Algorithm
from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.reloader.errors import UnknownPlugin, UsageError
from pytest_hotplug.reloader.refs import NotAtRef, commit_of, files_in_git
from pytest_hotplug.reloader.settings import Layout
from pytest_hotplug.safety.copying import copy_plugin
from pytest_hotplug.safety.version_on_disk import version_of

__all__ = ["Deployed", "check_digests", "deployed_at"]

_LEAST_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Deployed:
    """Where the deployed versions of a project's plugins lie: in `directory`, or else at `commits`.

    There is one commit for each layout: plugin dirs may lie in several repositories. `ref` is what the user
    called it, `root` the project's directory.
    """

    ref: str
    root: Path
    commits: tuple[str, ...] = ()
    directory: Path | None = None

    def lay_down(self, layouts: Sequence[Layout], target: Path) -> tuple[Layout, ...]:
        """Write all plugins as they are deployed below `target`, and return how they are laid out there.

        A plugin dir has its place in the layouts as its name. Raises UsageError `[unknown-ref]`.
        """
        laid = tuple(replace(layout, path=target / f"{number}") for number, layout in enumerate(layouts))
        for number, (here, there) in enumerate(zip(layouts, laid, strict=True)):
            there.path.mkdir(parents=True)
            if self.directory is None:
                _extract(self.commits[number], here.path, there.path)
            else:
                for name, place in _plugins_in(self.directory, here, self.root):
                    copy_plugin(place, there.path / name)
        return laid


def deployed_at(ref: str, root: Path, layouts: Sequence[Layout], exclude: Sequence[str], start: Path) -> Deployed:
    """Find out what `ref` is: a directory (relative to `start`) or a git revision.

    Raises UsageError `[unknown-ref]`, also for a directory that holds no plugin of the project.
    """
    directory = start / ref
    if not directory.is_dir():
        return Deployed(ref, root, tuple(commit_of(ref, layout.path) for layout in layouts))
    known = find_plugins(layouts, exclude)
    there = {name for layout in layouts for name, _ in _plugins_in(directory, layout, root)}
    if known and not known.keys() & there:
        raise UsageError(f"the directory {ref!r} holds none of the plugins: {', '.join(known)}", "unknown-ref")
    return Deployed(ref, root, directory=directory.resolve())


def check_digests(
    deployed: Deployed, wanted: Sequence[str], layouts: Sequence[Layout], exclude: Sequence[str], algorithm: Algorithm
) -> None:
    """Make sure that plugins are deployed as others say, each as `NAME=DIGEST` (at least 7 digits).

    Raises UsageError `[not-deployed]`, `[unknown-version]`, UnknownPlugin.
    """
    known = find_plugins(layouts, exclude)
    with tempfile.TemporaryDirectory(prefix="hotplug-verify-") as place:
        there = find_plugins(deployed.lay_down(layouts, Path(place)), exclude) if wanted else {}
        for text in wanted:
            name, _, digest = text.partition("=")
            if name not in known and name not in there:
                raise UnknownPlugin(name, known)
            if len(digest) < _LEAST_DIGITS:
                raise UsageError(f"{text!r}: expected NAME=DIGEST, at least {_LEAST_DIGITS} digits", "unknown-version")
            has = version_of(there[name], algorithm).digest if name in there else ""
            if not has.startswith(digest):
                is_there = f"is {has}" if has else "is none"
                raise UsageError(
                    f"{name} at {deployed.ref!r} {is_there}, and {digest} is deployed; name the revision or the "
                    "directory that was deployed",
                    "not-deployed",
                )


def _extract(commit: str, plugin_dir: Path, target: Path) -> None:
    """Write what git has of a plugin dir at a commit, nothing where it has none."""
    with suppress(NotAtRef):
        _write(files_in_git(commit, plugin_dir), target)
    for link in (entry for entry in os.scandir(plugin_dir) if entry.is_symlink() and entry.is_dir()):
        # Git keeps where a link leads, not what lies there; that may be another repository, or none.
        with suppress(UsageError):
            _write(files_in_git(commit, Path(link.path)), target / link.name)


def _plugins_in(directory: Path, layout: Layout, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the plugins of one plugin dir that a directory holds.

    It may be a whole project, hold the plugin dir, be the plugin dir, or one plugin.
    """
    inside = os.path.relpath(layout.path, root)
    within = [] if inside.startswith(os.pardir) or inside == os.curdir else [directory / inside]
    for holder in dict.fromkeys([*within, directory / layout.path.name]):
        if found := find_plugins([replace(layout, path=holder)]):
            yield from ((plugin.name, plugin.path) for plugin in found.values())
            return
    if any((directory / file).is_file() for file in layout.manifest):
        yield _name_of(directory, layout), directory
        return
    for plugin in find_plugins([replace(layout, path=directory)]).values():
        yield plugin.name, plugin.path


def _name_of(directory: Path, layout: Layout) -> str:
    """Return the name of a plugin whose directory may be called otherwise, as a release's is."""
    if not layout.foreign:
        try:
            return str(json.loads((directory / layout.manifest[0]).read_bytes())["name"])
        except (OSError, ValueError, LookupError, TypeError):  # its load says what is wrong with it
            return directory.name
    return directory.name


def _write(files: dict[str, bytes], target: Path) -> None:
    for name, content in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
