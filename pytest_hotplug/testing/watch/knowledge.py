"""What the watch knows of what tests use, down to functions: learned from each run that stands, kept on disk.

A test that was recorded runs only when something that it used has another content now. Of a test that
was not, or whose run did not end well, nothing is known here: `affected` guesses for it. Belongs to the
thread of the watch loop.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any

from pytest_hotplug.testing.affected.circumstances import Circumstances
from pytest_hotplug.testing.affected.contents import Contents
from pytest_hotplug.testing.affected.learning import Learner
from pytest_hotplug.testing.affected.map import Map
from pytest_hotplug.testing.affected.select import affected_by, affected_now, users_of
from pytest_hotplug.testing.affected.surroundings import surroundings_of
from pytest_hotplug.testing.bytecode import drop_bytecode, drop_racy_bytecode
from pytest_hotplug.testing.watch.messages import function_of
from pytest_hotplug.testing.watch.results import Before

__all__ = ["Knowledge"]


class Knowledge:
    """The dependency map of one watch."""

    def __init__(self, root: Path, circumstances: Circumstances) -> None:
        self._around = surroundings_of(root)
        self._circumstances = circumstances
        self._stored = self._around.storage.read()
        self._known = self._stored.map
        self._learned: set[str] = set()  # the tests that ran in this watch
        self._parts: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, tuple[list[dict[str, Any]], list[str]]] = {}
        self._unsure: set[str] = set()  # a file that they use changed before we had looked at it
        self._writing: threading.Thread | None = None
        self._tree: frozenset[str] = frozenset()  # the files that there were when something was learned last
        self.why_none: Mapping[str, str] = {}

    # -- before the watch -----------------------------------------------------------------------

    def before(self) -> Before:
        """Return which verdicts still stand; what can't stand is known no more."""
        first_party, tests = self._around.first_party, self._known.tests
        seconds = {nodeid: test.duration for nodeid, test in tests.items()}
        contents = self._look()
        self._tree = contents.tree()
        drop_racy_bytecode(map(self._path, self._tree))
        drop_bytecode(map(self._path, self._stored.edited(contents)))
        why_again = affected_now(self._known, contents, first_party, {}).chosen
        for nodeid in why_again:
            self._known.forget(nodeid)
        return Before({nodeid: test.outcome for nodeid, test in tests.items()}, seconds, why_again)

    @property
    def note(self) -> str:
        """What was wrong with what is kept, for people; "" if nothing."""
        return self._stored.note

    # -- learning -------------------------------------------------------------------------------

    def hear(self, facts: Mapping[str, Any]) -> bool:
        """Take in a message of a run if it is about what tests use; tell whether it was."""
        if facts["kind"] == "part":
            self._parts[facts["name"]] = facts["part"]
        elif facts["kind"] == "used":
            self._heard[facts["nodeid"]] = ([self._parts[name] for name in facts["parts"]], facts["written"])
        else:
            return False
        return True

    def forget_run(self) -> None:
        """Drop what the run at hand told: its files have moved."""
        self._heard = {}
        self._parts = {}

    def learn(
        self,
        outcomes: Mapping[str, str],
        seconds: Mapping[str, float],
        there: Collection[str],
        moved: Callable[[], Collection[Path]],
    ) -> None:
        """Take over what the tests of a run used that stands: its files were the same at its end as at its start.

        `there` are all tests that there are: what was known of others is dropped. `moved` returns files
        that have changed since that end: nobody knows any more what the tests that use them saw.
        """
        learner = Learner(self._around, self._stored, self._circumstances)
        for nodeid, outcome in outcomes.items():
            if nodeid in self._heard:
                parts, written = self._heard[nodeid]
                path = str(self._around.root / nodeid.partition("::")[0])
                learner.learn(nodeid, path, {"parts": parts, "written": written}, outcome, seconds.get(nodeid, 0.0))
        self.forget_run()
        contents = self._look()
        learned = learner.learned(contents)
        names = set(self._names(moved()))
        self._unsure -= learned.tests.keys()
        self._unsure |= {nodeid for nodeid in learned.tests if any(learned.uses(nodeid, name) for name in names)}
        self._take(learned, contents, there, names)

    def _take(self, learned: Map, contents: Contents, there: Collection[str], moved: AbstractSet[str]) -> None:
        self._known.take(learned)
        self._learned.update(learned.tests)
        self._tree = contents.tree() - moved | self._tree & moved  # what comes or goes now is still ahead of us
        elsewhere = [nodeid for nodeid in self._known.tests if nodeid not in there]
        for nodeid in elsewhere:
            self._known.forget(nodeid)
        functions = set(map(function_of, there))
        gone = [  # others may belong to a part that this watch leaves out
            nodeid for nodeid in elsewhere if nodeid in self._learned or function_of(nodeid) in functions
        ]
        for path, (digest, blocks) in contents.blocks_read.items():
            self._stored.blocks[path, digest] = blocks
        self._keep(partial(self._around.storage.write, learned, [*gone, *self._unsure], contents.blocks_read))

    def _keep(self, write: Callable[[], str]) -> None:
        """Write beside the watch, which need not wait; what can't be written is only recorded again."""
        self.close()
        self._writing = threading.Thread(target=write, name="hotplug-map", daemon=True)
        self._writing.start()

    def close(self) -> None:
        """Wait until everything is written."""
        if self._writing is not None:
            self._writing.join()

    # -- asking ---------------------------------------------------------------------------------

    def unknown(self, tests: AbstractSet[str]) -> set[str]:
        """Return those of the tests that were not recorded, or have run since without being learned."""
        return (tests - self._known.tests.keys()) | (tests & (self._heard.keys() | self._unsure))

    def from_before(self) -> list[str]:
        """Return the known tests that have not run in this watch: files outside the project are not in the map."""
        return [nodeid for nodeid in self._known.tests if nodeid not in self._learned]

    def affected(self, changed: Iterable[Path]) -> dict[str, str]:
        """Return which known tests these files affect, with reasons; `why_none` tells of files that affect none."""
        names = self._names(changed)
        contents = self._look()
        new_or_gone = [name for name in names if (name in self._tree) != os.path.exists(self._path(name))]
        selection = affected_by(self._known, names, contents, self._around.first_party, new_or_gone)
        self.why_none = selection.chose_none
        return selection.chosen

    def is_new(self, path: Path) -> bool:
        """Tell whether a file came since something was learned last."""
        return any(name not in self._tree for name in self._names([path]))

    def can_tell(self, path: Path) -> bool:
        """Tell whether what tests use of a file is recorded; not outside the project, where links may lead."""
        return bool(self._around.first_party.name(os.path.realpath(path)))

    def users(self, files: Iterable[Path]) -> dict[str, str]:
        """Return which known tests use any of these files, with reasons."""
        return users_of(self._known, self._names(files)).chosen

    def _look(self) -> Contents:
        return self._around.contents(self._stored.blocks, self._circumstances)

    def _path(self, name: str) -> str:
        return self._around.first_party.path(name)

    def _names(self, paths: Iterable[Path]) -> list[str]:
        """Return the names of files, and of the links that lead to them: one may lead elsewhere now."""
        first_party = self._around.first_party
        names = ((first_party.name(os.path.realpath(path)), *first_party.links(str(path))) for path in paths)
        return [name for several in names for name in several if name]
