"""Turn what a run told of its tests into what the map keeps: names, and the content behind them.

Content is looked up once, when the run has ended. A file that was written since the run began, and not
by the tests themselves, has unknown content: nobody knows which bytes a test saw, so it runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_hotplug.testing.affected.circumstances import Circumstances
from pytest_hotplug.testing.affected.contents import TREE, Contents
from pytest_hotplug.testing.affected.map import Look, Map, Seen
from pytest_hotplug.testing.affected.storage import Stored
from pytest_hotplug.testing.affected.surroundings import Surroundings

__all__ = ["Learner"]


class Learner:
    """Collects the facts of one run; `started` is `time.time_ns()` before the first file was read."""

    def __init__(self, around: Surroundings, stored: Stored, circumstances: Circumstances, started: int) -> None:
        self._around = around
        self._stored = stored
        self._circumstances = circumstances
        self._started = started
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
        learned = Map(trees={contents.digest(TREE): contents.tree()})
        look = Look(contents, self._unsure(contents))
        world = frozenset(Seen(each, contents.digest(each)) for each in contents.world())
        known: dict[int, frozenset[Seen]] = {}  # by id: many tests share a part as one object
        configuring: dict[str, frozenset[Seen]] = {}
        for nodeid, (file, parts, outcome, duration) in self._heard.items():
            seen = [known.get(id(part)) or known.setdefault(id(part), look.at(part)) for part in parts]
            if file not in configuring:
                configuring[file] = frozenset(map(look.seen, self._around.configuring(file)))
            learned.learn(nodeid, [*seen, world, configuring[file]], outcome, round(duration, 4))
        return learned

    def _unsure(self, contents: Contents) -> frozenset[str]:
        paths = {path for _, parts, _, _ in self._heard.values() for part in parts for path in _paths(part)}
        paths |= {each.path for file, *_ in self._heard.values() for each in self._around.configuring(file)}
        return frozenset(p for p in paths - self._written if contents.changed_since(p, self._started))


def _paths(part: Mapping[str, Any]) -> Iterable[str]:
    return (*part["blocks"], *part["files"])
