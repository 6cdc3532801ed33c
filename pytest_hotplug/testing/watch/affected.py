"""Which tests a changed file affects: by the plugins they loaded and the files they opened.

Granularity is a whole plugin and a whole file. What nobody can tell leads to more tests, never to
fewer. Every choice carries its reason. Runs nothing.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.testing.watch.messages import file_of, is_below

__all__ = ["CONFIGURES", "Map", "Selected", "Uses"]

CONFIGURES = {
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
    "hotplug.toml",
}


@dataclass(frozen=True, slots=True)
class Selected:
    """One test to run, and why."""

    nodeid: str
    because: str


@dataclass(frozen=True, slots=True)
class Uses:
    """What one test, or the collection of one test file, was seen to use."""

    plugins: frozenset[str] = frozenset()
    files: frozenset[Path] = frozenset()

    def __or__(self, other: Uses) -> Uses:
        return Uses(self.plugins | other.plugins, self.files | other.files)


NOTHING = Uses()
Tests = Mapping[str, Uses]


@dataclass
class Map:
    """What every known test uses. Changed by the watch loop alone."""

    root: Path
    plugin_dirs: tuple[Path, ...]
    test_patterns: tuple[str, ...]
    places: dict[str, Path] = field(default_factory=dict)  # plugin -> its directory
    tests: dict[str, Uses] = field(default_factory=dict)  # changed by `know`, `keep` and `replace_file` alone
    collected: dict[Path, Uses] = field(default_factory=dict)  # test file -> what its import used
    broken: set[Path] = field(default_factory=set)  # test files that could not be collected
    imported: set[Path] = field(default_factory=set)  # first-party code that collection imported
    _files: dict[str, Path] = field(default_factory=dict)  # test file as node ids name it -> its path
    _tests_of: dict[str, dict[str, None]] = field(default_factory=dict)  # test file -> its tests
    _plugin_in: dict[Path, str] = field(default_factory=dict)  # directory -> the plugin there

    def __post_init__(self) -> None:
        self.learn_places(self.places)

    def learn_places(self, places: Mapping[str, Path]) -> None:
        """Know where plugins lie; one that is gone may come back."""
        self.places.update(places)
        self._plugin_in = {place: name for name, place in self.places.items()}

    def file_of(self, nodeid: str) -> Path:
        name = nodeid.partition("::")[0]
        path = self._files.get(name)
        if path is None:  # asked for every test at every save
            path = self._files[name] = self.root / name
        return path

    def is_test_file(self, path: Path) -> bool:
        return path in self.collected or (
            path.suffix == ".py" and any(fnmatch.fnmatchcase(path.name, p) for p in self.test_patterns)
        )

    def learn_file(self, path: Path, uses: Uses) -> None:
        """Remember what the collection of a test file used."""
        self.collected[path] = uses
        self.imported |= {
            file
            for file in uses.files
            if file.suffix == ".py" and file.is_relative_to(self.root) and not self.is_test_file(file)
            if not any(file.is_relative_to(place) for place in self.places.values())
        }

    def tests_of(self, file: str) -> Iterable[str]:
        """Return the known tests of a test file, by its name in node ids."""
        return self._tests_of.get(file, ())

    def tests_below(self, place: str) -> Iterable[str]:
        """Return the known tests of a test file, or of all below a directory."""
        if place in self._tests_of or place.endswith(".py"):
            return self.tests_of(place)
        return [nodeid for file, tests in self._tests_of.items() if is_below(file, {place}) for nodeid in tests]

    def files(self) -> list[str]:
        """Return the test files of the known tests, by their names in node ids."""
        return [file for file, tests in self._tests_of.items() if tests]

    def know(self, nodeid: str, uses: Uses) -> None:
        """Remember what a test uses."""
        self.tests[nodeid] = uses
        self._tests_of.setdefault(file_of(nodeid), {})[nodeid] = None

    def keep(self, nodeids: Iterable[str]) -> None:
        """Know these tests and no others."""
        before, self.tests, self._tests_of = self.tests, {}, {}
        for nodeid in nodeids:
            self.know(nodeid, before.get(nodeid, NOTHING))

    def replace_file(self, file: str, nodeids: Iterable[str]) -> None:
        """Forget the tests of a file that are not among `nodeids`: they were renamed or deleted."""
        kept = set(nodeids)
        for nodeid in [nodeid for nodeid in self.tests_of(file) if nodeid not in kept]:
            del self.tests[nodeid], self._tests_of[file][nodeid]

    def affected(self, changed: Iterable[Path], among: Set[str] | None = None) -> dict[str, str]:
        """Return node ids, `among` these (None: all), or whole test files to run, each with its reason."""
        tests = self.tests if among is None else self._among(among)
        chosen: dict[str, str] = {}
        changed = sorted(changed)
        for path in changed:
            if self.is_test_file(path) and not path.exists():
                self._forget(path)
        for path in changed:
            for selected in [*self._affected_by(path, tests), *self._may_mend(path)]:
                chosen.setdefault(selected.nodeid, selected.because)
        return chosen

    def _may_mend(self, path: Path) -> Iterator[Selected]:
        """Yield what could not be collected: what it found missing, or its conftest imports, nobody knows."""
        because = f"{self._shown(path)} may mend it"
        for place in sorted(self.broken):
            yield Selected(self._shown(place), because)
            if place.is_dir():
                yield from self._below(self.tests, place, because)

    def has_a_say(self, path: Path) -> bool:
        """Tell whether a file has a say in what is collected around it."""
        return path.name == "conftest.py" or (path.parent == self.root and path.name in CONFIGURES)

    def collect_anew(self, path: Path) -> dict[str, str]:
        """Return what is to be collected anew: a new file, or all that one has a say in."""
        rules = self.has_a_say(path)
        place = path.parent if rules else path
        if not place.exists() or not place.is_relative_to(self.root):
            return {}
        because = "may change what is collected" if rules else "may hold tests"
        return {self._shown(place): f"{self._shown(path)} {because}"}

    def _among(self, wanted: Set[str]) -> Tests:
        return {n: uses for n, uses in self.tests.items() if n in wanted} if wanted else {}

    def may_matter(self, path: Path) -> bool:
        """Tell whether a file is code, which a running test may use before anybody knows."""
        return path.suffix == ".py" or (path.suffix == ".json" and self.plugin_of(path) is not None)

    def _affected_by(self, path: Path, tests: Tests) -> list[Selected]:
        shown = self._shown(path)
        if path.parent == self.root and path.name in CONFIGURES:
            return _all(tests, f"{shown} configures every test")
        if path.name == "conftest.py":
            return self._below(tests, path.parent, f"{shown} is their conftest")
        if self.is_test_file(path):
            return [*self._of_test_file(path, shown), *self._of_others(path, tests, shown)]
        return self._of_code(path, tests, shown)

    def _of_others(self, path: Path, tests: Tests, shown: str) -> list[Selected]:
        """Return the tests of other files that use a test file: sources are such files, too, with --doctest-modules."""
        if not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in self.test_patterns):
            return self._of_code(path, tests, shown)
        real = _real(path)
        return [
            Selected(nodeid, f"imported {shown}")
            for nodeid, test, file in self._used(tests)
            if (real in test.files or real in file.files) and self.file_of(nodeid) != path
        ]

    def _of_code(self, path: Path, tests: Tests, shown: str) -> list[Selected]:
        plugin = self.plugin_of(path)
        if plugin is not None:
            name = plugin if path.suffix in (".py", ".json") and not _in_tests(path, self.places[plugin]) else ""
            return self._users(tests, path, name, f"loaded {plugin}", f"opened {shown}")
        if path in self.imported or path.suffix == ".py":
            return _all(tests, f"{shown} is shared code")
        return self._users(tests, path, "", "", f"opened {shown}")

    def _users(self, tests: Tests, path: Path, plugin: str, loaded: str, opened: str) -> list[Selected]:
        found = []
        real = _real(path)
        exists = path.exists()
        for nodeid, test, file in self._used(tests):
            if plugin and (plugin in test.plugins or plugin in file.plugins):
                found.append(Selected(nodeid, loaded))
            elif real in test.files or real in file.files:
                found.append(Selected(nodeid, opened))
            elif not exists and (real.parent in test.files or real.parent in file.files):
                found.append(Selected(nodeid, f"listed {path.parent.name}/"))
        return found or self._listed(tests, real)

    def _used(self, tests: Tests) -> Iterator[tuple[str, Uses, Uses]]:
        """Yield each of these tests, with what it and its file use."""
        for nodeid, uses in tests.items():
            yield nodeid, uses, self.collected.get(self.file_of(nodeid), NOTHING)

    def _listed(self, tests: Tests, path: Path) -> list[Selected]:
        """Return tests that listed a directory in which the file, or the new directory that holds it, appeared."""
        shown = _shown_in(path)
        return [
            Selected(nodeid, f"listed {directory.name}/")
            for nodeid, *both in self._used(tests)
            for uses in both
            for directory in shown & uses.files
        ]

    def _of_test_file(self, path: Path, shown: str) -> list[Selected]:
        if not path.exists():
            return []
        return [Selected(shown, f"{shown} changed")]

    def _forget(self, path: Path) -> None:
        """Drop a test file that is gone, and its tests."""
        for file in [file for file in self._tests_of if self.root / file == path]:
            self.replace_file(file, ())
        self.collected.pop(path, None)

    def _below(self, tests: Tests, directory: Path, because: str) -> list[Selected]:
        return [Selected(n, because) for n in tests if self.file_of(n).is_relative_to(directory)]

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def plugin_of(self, path: Path) -> str | None:
        """Return the plugin in whose directory a file lies."""
        return next((self._plugin_in[place] for place in path.parents if place in self._plugin_in), None)


def _all(tests: Tests, because: str) -> list[Selected]:
    return [Selected(nodeid, because) for nodeid in tests]


def _real(path: Path) -> Path:
    """Return the path as recordings name it: links followed, even when the file is gone."""
    return Path(os.path.realpath(path))


def _in_tests(path: Path, plugin: Path) -> bool:
    return any(is_test(part) for part in path.relative_to(plugin).parts)


def _shown_in(path: Path) -> set[Path]:
    """Return the directories whose listing a new or vanished file changes: its own, and above one that is new too."""
    shown = {path.parent}
    for directory in path.parents:
        if directory.is_dir() and any(entry != path for entry in directory.iterdir()):
            break
        shown.add(directory.parent)
        path = directory
    return shown
