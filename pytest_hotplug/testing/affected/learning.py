"""Turn what a run told of its tests into what the map keeps: names, and the content behind them.

Content is looked up once, when the run has ended. A file that was written since the run began, and not
by the tests themselves, has unknown content: nobody knows which bytes a test saw, so it runs again. The
same goes for a directory that got or lost a file, and for what was only looked for, in vain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from pytest_hotplug.reloader.names import is_noise
from pytest_hotplug.testing.affected.circumstances import Circumstances
from pytest_hotplug.testing.affected.contents import TREE, Contents, Dependency, counts_for_processes, digest_of_tree
from pytest_hotplug.testing.affected.first_party import directories_above
from pytest_hotplug.testing.affected.map import Look, Map, Seen
from pytest_hotplug.testing.affected.storage import Stored
from pytest_hotplug.testing.affected.surroundings import Surroundings

__all__ = ["Began", "Learner"]


class Began(NamedTuple):
    """How things were before a run read its first file: the time in ns, and the files that there were."""

    moment: int
    tree: frozenset[str]


class Learner:
    """Collects the facts of one run; `began` is None if whoever learns knows by himself what has moved since."""

    def __init__(
        self, around: Surroundings, stored: Stored, circumstances: Circumstances, began: Began | None = None
    ) -> None:
        self._around = around
        self._stored = stored
        self._circumstances = circumstances
        self._began = began
        self._heard: dict[str, tuple[str, list[dict[str, Any]], str, float]] = {}
        self._written: set[str] = set()

    def learn(self, nodeid: str, path: str, facts: Mapping[str, Any], outcome: str, duration: float) -> None:
        """Take in what one test in the file `path` used, and what became of it."""
        self._written.update(facts["written"])
        self._heard[nodeid] = (self._around.first_party.name(path), facts["parts"], outcome, duration)

    def keep(self, gone: Iterable[str]) -> str:
        """Write it all to the map; return a line for people when that can't be done, else ""."""
        contents = self._around.contents(self._stored.blocks, self._circumstances)
        return self._around.storage.write(self.learned(contents), gone, contents.blocks_read)

    def learned(self, contents: Contents) -> Map:
        """Return a map of the tests of this run alone."""
        moved = _Moved(contents, self._began, self._written) if self._began is not None else None
        tree = contents.tree() ^ moved.came_or_went if moved is not None else contents.tree()
        learned = Map(trees={digest_of_tree(tree): tree})
        look = Look(contents, moved) if moved is not None else Look(contents)
        world = frozenset((Seen(TREE, digest_of_tree(tree)), *map(look.seen, contents.world())))
        known: dict[int, frozenset[Seen]] = {}  # by id: many tests share a part as one object
        configuring: dict[str, frozenset[Seen]] = {}
        for nodeid, (file, parts, outcome, duration) in self._heard.items():
            seen = [known.get(id(part)) or known.setdefault(id(part), look.at(part)) for part in parts]
            if file not in configuring:
                configuring[file] = frozenset(map(look.seen, self._around.configuring(file)))
            learned.learn(nodeid, [*seen, world, configuring[file]], outcome, round(duration, 4))
        return learned


class _Moved:
    """Tells what changed, came or went under a run, and not by the hands of its tests."""

    def __init__(self, contents: Contents, began: Began, written: Set[str]) -> None:
        self._contents = contents
        self._began = began
        self._written = written
        self._known: dict[str, bool] = {}
        self.came_or_went = (contents.tree() ^ began.tree) - written
        seen = (path for path in self.came_or_went if not is_noise(path.rpartition("/")[2]))
        self._directories = {directory for path in seen for directory in directories_above(path)}  # new ones, too
        self._any_for_processes: bool | None = None

    def __call__(self, what: Dependency) -> bool:
        """Tell whether nobody knows which content of it a test saw."""
        if what.kind == "listing":
            return what.path in self._directories
        if what.kind == "plugin":
            return any(map(self._file, self._contents.manifests(what.path)))
        if what.kind == "everything":
            return self._for_processes()
        if what.kind == "link":
            return self._contents.changed_since(what.path, self._began.moment, link=True)
        return bool(what.path) and self._file(what.path)

    def _file(self, path: str) -> bool:
        if path not in self._known:
            ours = path in self._written
            moved = path in self.came_or_went or self._contents.changed_since(path, self._began.moment)
            self._known[path] = moved and not ours
        return self._known[path]

    def _for_processes(self) -> bool:
        if self._any_for_processes is None:
            files = filter(counts_for_processes, self._contents.tree() | self.came_or_went)
            self._any_for_processes = any(map(self._file, files))
        return self._any_for_processes
