"""What every known test depends on, and which tests depend on what.

Tests are made of parts, sets of dependencies with the content that was seen; parts that several tests
share (a fixture, the imports of a file, the world) are held once, so that ten thousand tests are
answered for in milliseconds. Belongs to one thread; in memory alone, `storage` keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pytest_hotplug.testing.affected.contents import UNKNOWN, Contents, Dependency, counts_for_processes
from pytest_hotplug.testing.affected.first_party import directories_above

__all__ = ["Look", "Map", "Seen", "Test"]

Part = frozenset[int]  # numbers of what was seen


class Seen(NamedTuple):
    """A dependency with the fingerprint that it had."""

    what: Dependency
    digest: str


@dataclass(slots=True)
class Test:
    """One known test: its parts by number, how it ended last, and how long it took (seconds)."""

    __test__ = False

    parts: tuple[int, ...]
    outcome: str = "passed"
    duration: float = 0.0


@dataclass
class Map:
    """Tests -> parts -> what was seen, and the way back."""

    tests: dict[str, Test] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    trees: dict[str, frozenset[str]] = field(default_factory=dict)  # fingerprint -> the files that there were
    _numbers: dict[Seen, int] = field(default_factory=dict)
    _part_numbers: dict[Part, int] = field(default_factory=dict)
    _at: dict[str, list[int]] = field(default_factory=dict)  # path -> numbers of what was seen there
    _parts_with: dict[int, list[int]] = field(default_factory=dict)
    _tests_with: dict[int, dict[str, None]] = field(default_factory=dict)

    # -- growing --------------------------------------------------------------------------------

    def learn(self, nodeid: str, parts: Iterable[Iterable[Seen]], outcome: str, duration: float = 0.0) -> None:
        """Remember a test as it was seen just now, instead of what was known of it."""
        numbers = tuple(dict.fromkeys(self.part_of(part) for part in parts))
        self.put(nodeid, Test(numbers, outcome, duration))

    def take(self, other: Map) -> None:
        """Take over what a run learned; what was known of its tests before is dropped."""
        self.trees.update(other.trees)
        numbers = [self.part_of(other.seen[number] for number in part) for part in other.parts]
        for nodeid, test in other.tests.items():
            self.put(nodeid, Test(tuple(numbers[part] for part in test.parts), test.outcome, test.duration))

    def put(self, nodeid: str, test: Test) -> None:
        """Let a test have these parts, which are known already."""
        self.forget(nodeid)
        self.tests[nodeid] = test
        for number in test.parts:
            self._tests_with.setdefault(number, {})[nodeid] = None

    def forget(self, nodeid: str) -> None:
        """Drop a test that is gone."""
        known = self.tests.pop(nodeid, None)
        for number in known.parts if known else ():
            self._tests_with[number].pop(nodeid, None)

    def part_of(self, seen: Iterable[Seen]) -> int:
        """Return the number of a part, a new one if nobody shares it yet."""
        part = frozenset(map(self.number_of, seen))
        number = self._part_numbers.get(part)
        if number is None:
            number = self._part_numbers[part] = len(self.parts)
            self.parts.append(part)
            for each in part:
                self._parts_with.setdefault(each, []).append(number)
        return number

    def number_of(self, seen: Seen) -> int:
        """Return the number of something seen, a new one if it is new."""
        number = self._numbers.get(seen)
        if number is None:
            number = self._numbers[seen] = len(self.seen)
            self.seen.append(seen)
            self._at.setdefault(seen.what.path, []).append(number)
        return number

    # -- asking ---------------------------------------------------------------------------------

    def paths(self) -> Iterable[str]:
        """Return every path that something was seen at; "" is the world."""
        return self._at.keys()

    def seen_at(self, path: str) -> Iterator[tuple[int, Seen]]:
        """Yield what was seen at a path, as far as a test still depends on it."""
        for number in self._at.get(path, ()):
            if any(self._tests_with.get(part) for part in self._parts_with.get(number, ())):
                yield number, self.seen[number]

    def tests_with(self, number: int) -> Iterator[str]:
        """Yield the tests that depend on what was seen, by its number."""
        for part in self._parts_with.get(number, ()):
            yield from self._tests_with.get(part, ())

    def uses(self, nodeid: str, path: str) -> bool:
        """Tell whether a test depends on something at a path, or on all that there is."""
        places = (path, *directories_above(path))
        processes = counts_for_processes(path)
        return any(
            seen.what.path in places or (processes and seen.what.kind == "everything")
            for seen in self.dependencies(nodeid)
        )

    def dependencies(self, nodeid: str) -> frozenset[Seen]:
        """Return all that a test depends on."""
        return frozenset(self.seen[number] for part in self.tests[nodeid].parts for number in self.parts[part])


class Look:
    """Finds the content behind a recorder's facts, at one moment; of some nobody knows which it was (`is_unsure`)."""

    def __init__(self, contents: Contents, is_unsure: Callable[[Dependency], bool] = lambda what: False) -> None:
        self._contents = contents
        self._is_unsure = is_unsure
        self._blocks: dict[tuple[str, str], Seen] = {}  # many parts name the same ones

    def at(self, part: Mapping[str, Any]) -> frozenset[Seen]:
        """Return the facts of one part with their content."""
        wanted = [
            *(Dependency("file", path) for path in part["files"]),
            *(Dependency("listing", path) for path in part["listings"]),
            *(Dependency("link", path) for path in part["links"]),
            *(Dependency("plugin", path) for path in part["plugins"]),
            *([Dependency("everything", "", "everything")] if part["everything"] else []),
        ]
        blocks = (self._block(path, at) for path, ats in part["blocks"].items() for at in ats)
        return frozenset((*blocks, *map(self.seen, wanted)))

    def seen(self, what: Dependency) -> Seen:
        """Return one dependency with its content."""
        return Seen(what, UNKNOWN if self._is_unsure(what) else self._contents.digest(what))

    def _block(self, path: str, at: str) -> Seen:
        known = self._blocks.get((path, at))
        if known is None:
            what = Dependency("block", path, self._contents.block_at(path, at))
            known = self._blocks[path, at] = self.seen(what)
        return known
