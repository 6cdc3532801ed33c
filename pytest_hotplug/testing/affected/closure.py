"""What imports bring along: a module's body runs once per process, and whoever imports it depends on it.

Import statements are read from the source and resolved to files that may be meant, more rather than
fewer; what executed what is added by those who saw it. A text that is the name of a module counts as
an import of it: `mock.patch("conf.TAX", 5)`. A file that imports by a computed name may import
anything. Executes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator

from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.safety.import_statements import read_imports
from pytest_hotplug.testing.affected.first_party import FirstParty

__all__ = ["ImportsOf"]


class ImportsOf:
    """Which first-party files a file's imports lead to, directly and through others; by names in the map."""

    def __init__(self, first_party: FirstParty, roots: Iterable[str], executed: Callable[[str], Iterable[str]]) -> None:
        self._first_party = first_party
        self._roots = tuple(dict.fromkeys(map(os.path.realpath, roots)))
        self._executed = executed  # what was seen to be executed by a file's import
        self._direct: dict[str, frozenset[str]] = {}
        self._computed: set[str] = set()
        self._read_docstrings: set[str] = set()
        self._exist: dict[str, bool] = {}
        self._tops: dict[str, list[str]] = {}

    def closure(self, files: Iterable[str]) -> frozenset[str]:
        """Return the files and everything that they import, transitively."""
        found: set[str] = set()
        waiting = list(files)
        while waiting:
            file = waiting.pop()
            if file not in found:
                found.add(file)
                waiting += self._of(file) | set(self._executed(file))
                if file in self._computed:
                    waiting += self._all_imported()
        return frozenset(found)

    def docstrings_matter(self, files: Iterable[str]) -> bool:
        """Tell whether any of these files, whose closure was asked for, reads docstrings."""
        return not self._read_docstrings.isdisjoint(files)

    def _of(self, file: str) -> frozenset[str]:
        known = self._direct.get(file)
        if known is None:
            known = self._direct[file] = frozenset(self._read(file))
        return known

    def _read(self, file: str) -> Iterator[str]:
        if not file.endswith(".py"):
            return
        path = self._first_party.path(file)
        try:
            with open(path, "rb") as source:
                imports = read_imports(source.read())
        except OSError:
            return
        for name, level in imports.names:
            yield from self._files(name, level, path)
        for text in imports.texts:
            if not self._is_file_name(text, path):
                yield from self._meant_by(text)
        if imports.computed:
            self._computed.add(file)
        if imports.reads_docstrings:
            self._read_docstrings.add(file)

    def _files(self, name: str, level: int, path: str) -> Iterator[str]:
        """Yield the files that a name may mean: each package on the way, and the module."""
        here = os.path.dirname(path)
        if level:
            above = here
            for _ in range(level - 1):
                above = os.path.dirname(above)
            places: tuple[str, ...] = (above,)
        else:
            places = (*self._roots, *self._around(here))
            module = sys.modules.get(name)
            file = getattr(module, "__file__", None)
            if file:
                yield from self._named(file)
        for place in places:
            yield from self._below(place, name)

    def _is_file_name(self, text: str, source: str) -> bool:
        """Tell whether a text names a file beside the source or in the root, "words.json" say, and so no module."""
        return any(
            self._is_file(os.path.join(place, text)) for place in (os.path.dirname(source), self._first_party.root)
        )

    def _meant_by(self, text: str) -> Iterator[str]:
        """Yield the files of the modules that a text names, from the whole down to the first of its words."""
        name = text
        while name:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str):
                yield from self._named(file)
            name = name.rpartition(".")[0]
        for place in self._places_of(text.partition(".")[0]):
            yield from self._below(place, text)

    def _places_of(self, top: str) -> list[str]:
        """Return the first-party roots that hold a module or package of this name; most texts are none.

        Lists no directory: whoever records would take that for a test's own look.
        """
        known = self._tops.get(top)
        if known is None:
            paths = {root: os.path.join(root, top) for root in self._roots if self._first_party.name(root)}
            known = [root for root, path in paths.items() if os.path.isfile(f"{path}.py") or os.path.isdir(path)]
            self._tops[top] = known
        return known

    def _below(self, place: str, name: str) -> Iterator[str]:
        if self._is_file(os.path.join(place, "__init__.py")) and place not in self._roots:
            yield from self._named(os.path.join(place, "__init__.py"))
        for part in name.split(".") if name else ():
            place = os.path.join(place, part)
            for candidate in (f"{place}.py", os.path.join(place, "__init__.py")):
                if self._is_file(candidate):
                    yield from self._named(candidate)

    def _around(self, directory: str) -> Iterator[str]:
        """Yield the directories in which a plugin's flat names are looked for: its own, up to the root."""
        while f"{directory}{os.sep}".startswith(f"{self._first_party.root}{os.sep}"):
            yield directory
            directory = os.path.dirname(directory)

    def _named(self, path: str) -> Iterator[str]:
        name = self._first_party.name(path)
        if name:
            yield name

    def _is_file(self, path: str) -> bool:
        known = self._exist.get(path)
        if known is None:
            known = self._exist[path] = os.path.isfile(path)
        return known

    def _all_imported(self) -> Iterator[str]:
        """Yield what stands in sys.modules, tests left out: nobody computes the name of a test file."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file.endswith(".py") and not is_test(os.path.basename(file)):
                yield from self._named(file)
