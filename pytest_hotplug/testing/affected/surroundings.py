"""Where the project's map lies, what counts as first-party, and what every test there depends on.

Asked by a pytest run and by the command, which must agree. Reads the settings; imports no pytest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.settings import Layout, layouts, read_settings
from pytest_hotplug.testing.affected.blocks import Blocks
from pytest_hotplug.testing.affected.circumstances import Circumstances
from pytest_hotplug.testing.affected.contents import Contents, Dependency
from pytest_hotplug.testing.affected.first_party import FirstParty
from pytest_hotplug.testing.affected.storage import Storage

__all__ = ["Surroundings", "surroundings_of"]

_CONFIGURE = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg",
              "hotplug.toml")  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """One project: its root, its map, its plugin dirs."""

    root: Path
    first_party: FirstParty
    storage: Storage
    layouts: tuple[Layout, ...]
    pythonpath: tuple[str, ...]

    def contents(
        self,
        known_blocks: Mapping[tuple[str, str], Blocks],
        circumstances: Circumstances | None = None,
        make: Callable[..., Contents] = Contents,
    ) -> Contents:
        """Return a fresh look at the disk."""
        manifests = dict.fromkeys(name for layout in self.layouts for name in layout.manifest)
        return make(self.first_party, manifests, lambda path, digest: known_blocks.get((path, digest)), circumstances)

    def import_roots(self) -> list[str]:
        """Return the directories that imports of first-party code may start from."""
        dirs = [layout.path for layout in self.layouts]
        return [str(place) for place in (*dirs, *(place.parent for place in dirs), *self.pythonpath)]

    def configuring(self, test_file: str) -> Iterable[Dependency]:
        """Yield the files that configure a test, there or not: pytest's and ours, and its conftests."""
        for name in _CONFIGURE:
            yield Dependency("file", name)
        directory = os.path.dirname(test_file)
        while True:
            yield Dependency("code", os.path.join(directory, "conftest.py"))
            if not directory or directory == os.path.dirname(directory):
                return
            directory = os.path.dirname(directory)


def surroundings_of(start: Path, excluded: Iterable[Path] = ()) -> Surroundings:
    """Return what lies around a directory; raises UsageError `[bad-setting]`."""
    project = read_settings(start)
    settings, root = project.settings, project.root
    state_dir = root / Path(settings.state_dir).expanduser()
    logs = [root / settings.log_dir] if settings.log_dir != "-" else []
    return Surroundings(
        root,
        FirstParty(root, [state_dir, *logs, *excluded]),
        Storage(root, state_dir),
        tuple(layouts(settings, root)),
        tuple(str(root / path) for path in settings.pythonpath),
    )
