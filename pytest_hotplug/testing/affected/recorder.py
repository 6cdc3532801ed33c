"""Credit what is heard to the tests, fixtures and imports in which it happens.

Knows no pytest: whoever runs tests opens a scope around each part of one. What a module's import used
belongs to everybody who imports it, however late; what happens outside of all tests, while pytest
collects, belongs to every test. Can be switched on in a forked child: it starts with what its parent
has seen of imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import CodeType
from typing import Any

from pytest_hotplug.testing.affected.blocks import BODY, DOCSTRINGS, WHOLE
from pytest_hotplug.testing.affected.closure import ImportsOf
from pytest_hotplug.testing.affected.entered import MONITORED, Entered
from pytest_hotplug.testing.affected.facts import Facts
from pytest_hotplug.testing.affected.first_party import FirstParty
from pytest_hotplug.testing.affected.hearing import importing_module, listen
from pytest_hotplug.testing.affected.prologue import Prologue, has_calls

__all__ = ["Recorder"]


class Recorder:
    """Records in this process, from `start` to `stop`; `roots` are directories that imports start from."""

    def __init__(self, first_party: FirstParty, roots: Iterable[str] = ()) -> None:
        self.first_party = first_party
        self.everywhere = Facts()  # what pytest used while it collected
        self.written: set[str] = set()  # files that tests wrote: their own output
        self._collected: dict[str, Facts] = {}  # test file -> what its collection used
        self._imports: dict[str, Facts] = {}  # file -> what the import of its module used
        self._whole: set[str] = set()  # files whose functions don't tell
        self._plugins: set[str] = set()
        self._scopes: list[Facts] = []
        self._entered = Entered(self._enters)
        self._prologue: Prologue | None = None
        self._undo: Callable[[], None] = lambda: None
        places = [first_party.root, *roots, *sys.path]
        self._imports_of = ImportsOf(first_party, places, lambda file: self._imports.get(file, _NOTHING).imports)
        self._brought: dict[tuple[frozenset[str], int], dict[str, Any]] = {}
        self._executed = 0
        self._importing: set[int] = set()  # threads in which the import of a module may be under way
        self._told: Facts | None = None  # what functions have told since they were last asked to

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> str:
        """Begin, with everything up to `collected` credited to all tests; return a note for people, or ""."""
        note = self._entered.start()
        if note or not MONITORED:
            self._prologue = Prologue(self._enters, self.first_party.name)
            self._prologue.install()
        self._take_for_granted()
        self._scopes = [self.everywhere]
        self._undo = listen(self)
        return note

    def collected(self) -> None:
        """Record inside scopes alone from now on."""
        self._scopes = []

    def stop(self) -> None:
        """End it; the process is as it was."""
        self._undo()
        self._scopes = []
        self._entered.stop()
        if self._prologue is not None:
            self._prologue.remove()
            self._prologue = None

    def _take_for_granted(self) -> None:
        """Credit first-party modules that were there before us to all tests, as a whole: nobody saw them work."""
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            name = self.first_party.name(path) if isinstance(path, str) else ""
            if name.endswith(".py"):
                self._whole.add(name)
                self.everywhere.imports.add(name)
                self.everywhere.links.update(self.first_party.links(str(path)))

    # -- scopes ---------------------------------------------------------------------------------

    @contextmanager
    def collecting(self, path: str) -> Iterator[None]:
        """Credit what happens to all tests of one file."""
        with self._scope(self._collected.setdefault(self.first_party.name(path), Facts())):
            yield
        self._let_tell(self.everywhere)

    @contextmanager
    def crediting(self, facts: Facts) -> Iterator[None]:
        """Credit what happens to these facts, and to those of a scope around."""
        with self._scope(facts):
            yield
        if self._scopes:
            self._scopes[-1].add(facts)
            self._told = self._scopes[-1]  # of what it missed meanwhile it knows by now

    @contextmanager
    def _scope(self, facts: Facts) -> Iterator[None]:
        before, self._scopes = self._scopes, [*self._scopes, facts]
        self._let_tell(facts)
        try:
            yield
        finally:
            self._scopes = before

    def _let_tell(self, facts: Facts) -> None:
        """Let every function tell once more, unless these facts hold all that was told since the last time.

        Each time costs: the interpreter then looks at all code anew that runs, pytest's own as well.
        """
        if facts is not self._told:
            self._told = facts
            self._entered.again()

    # -- answers --------------------------------------------------------------------------------

    def parts(self, path: str, own: Facts, shared: Iterable[Facts] = ()) -> list[dict[str, Any]]:
        """Return all that a test of this file depends on, as plain data; several tests share some of the parts."""
        file = self.first_party.name(path)
        collected = self._collected.get(file, _NOTHING)
        facts = [own, *shared, collected, self.everywhere]
        sources = frozenset({file}.union(*(each.sources() for each in facts)))
        return [*(each.as_data() for each in facts if each), self._brought_by(sources)]

    def _brought_by(self, sources: frozenset[str]) -> dict[str, Any]:
        """Return what the imports of these files used, with the bodies of all modules that they lead to."""
        key = (sources, self._executed)
        known = self._brought.get(key)
        if known is None:
            known = self._brought[key] = self._import_facts(sources).as_data()
        return known

    def _import_facts(self, sources: frozenset[str]) -> Facts:
        facts, files = Facts(), frozenset[str]()
        new: frozenset[str] = sources
        while new:  # a function that an import called brings its own module along
            files = self._imports_of.closure(files | new)
            for file in files & self._imports.keys():
                facts.add(self._imports[file])
            new = frozenset(facts.sources() - files)
        facts.blocks |= {(file, WHOLE if file in self._whole else BODY) for file in files if file.endswith(".py")}
        if self._imports_of.docstrings_matter(files):
            facts.blocks |= {(file, DOCSTRINGS) for file in files if file.endswith(".py")}
        facts.plugins |= {place for place in self._plugins if any(file.startswith(f"{place}/") for file in files)}
        return facts

    # -- what is heard --------------------------------------------------------------------------

    def opened(self, path: str, *, writes: bool) -> None:
        name = self.first_party.name(path)
        if writes:
            self.written.update({name} - {""})
            return
        if os.path.isdir(path):  # its entries are all that there is to read
            self.listed(path)
            return
        self._follows(path)
        if name:
            self._credit(lambda facts: facts.files.add(name))

    def _follows(self, path: str) -> None:
        links = self.first_party.links(path)
        if links:
            self._credit(lambda facts: facts.links.update(links))

    def listed(self, path: str) -> None:
        self._follows(path)
        name = self.first_party.name(path)
        if name:
            self._credit(lambda facts: facts.listings.add(name))

    def looks_at_plugin(self, path: str) -> None:
        self._follows(path)
        name = self.first_party.name(path)
        if name:
            self._plugins.add(name)
            self._credit(lambda facts: facts.plugins.add(name))

    def copies_plugin(self, original: str, copy: str) -> None:
        self.first_party.copied(copy, original)

    def starts_process(self, arguments: list[str]) -> None:
        for path in arguments:
            self.opened(path, writes=False)
        self._credit(lambda facts: setattr(facts, "everything", True))

    def finds_module(self, file: str) -> None:
        name = self.first_party.name(file) if file.endswith(".py") else ""
        if name:
            self._credit(lambda facts: facts.imports.add(name))

    def executes(self, code: CodeType) -> None:
        path = code.co_filename
        name = self.first_party.name(path) if path.endswith(".py") else ""
        if not name:
            return
        self._entered.arm(code)
        if code.co_name == "<module>" and not self.first_party.is_copy(path):
            self._executes_module(name, code)

    def _executes_module(self, name: str, code: CodeType) -> None:
        self._executed += 1
        self._imports.setdefault(name, Facts()).links.update(self.first_party.links(code.co_filename))
        if self._prologue is not None and not has_calls(code):
            self._whole.add(name)
        self._credit(lambda facts: facts.imports.add(name))
        self._importing.add(get_ident())  # its frame is on the stack at the next event of this thread
        self._entered.again()  # what this import calls is its own, even if another one called it before

    def _enters(self, path: str, place: str) -> bool:
        if not self._scopes:
            return False
        name = self.first_party.name(path)
        block = (name, WHOLE if self.first_party.is_copy(path) else place)  # what was edited counts as a whole
        if name and block not in self._scopes[-1].blocks:
            self._credit(lambda facts: facts.blocks.add(block))
        return True

    def _credit(self, add: Callable[[Facts], Any]) -> None:
        """Add to the scope at hand, and to the import under way."""
        if not self._scopes:
            return
        add(self._scopes[-1])
        if get_ident() in self._importing:
            module = importing_module(sys._getframe(2), self.first_party.name)
            if module:
                add(self._imports.setdefault(module, Facts()))
            else:
                self._importing.discard(get_ident())


_NOTHING = Facts()
