"""What the watched files hold, what of it moved, and which tests that affects.

Watches what there is, and covers what appears later. Runs nothing; belongs to the thread of the watch loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.testing.affected.circumstances import circumstances_of
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.watch.affected import Map
from pytest_hotplug.testing.watch.collected_files import CollectedFiles, Rules
from pytest_hotplug.testing.watch.contents import Contents, watch_roots
from pytest_hotplug.testing.watch.knowledge import Knowledge
from pytest_hotplug.testing.watch.suspects import is_suspect
from pytest_hotplug.watcher import Batch, Watching, watch

__all__ = ["Changes"]

ECHO = 0.1  # seconds after a change in which the watcher may name it again
BURST = 20  # files that change at once: a checkout, say


class Changes:
    """The files of one project. `own` is a file that the watch itself writes."""

    def __init__(
        self, config: pytest.Config, project: TestProject | None, settings: Settings, own: Path | None
    ) -> None:
        self.root = config.rootpath
        self._project = project
        self._settings = settings
        self._own = own
        self._plugin_dirs = tuple(layout.path for layout in project.layouts) if project else ()
        self._roots = watch_roots(self.root, self._plugin_dirs)
        self._watching: Watching | None = None
        self._hear: Callable[[Batch], None] = lambda batch: None
        self.contents = Contents(self._roots, self.root, own)
        self.map = Map(self.root, self._plugin_dirs, tuple(config.getini("python_files")))
        self.collected_files = CollectedFiles(config)
        self._rules = Rules(filter(self.map.has_a_say, self.contents.existing()))
        self.knowledge = Knowledge(self.root, circumstances_of(config))
        self._noticed: dict[Path, float] = {}  # when a change of a file was seen last
        self._suspects: set[Path] = set()  # changed, and not as somebody would leave them
        self._many = False  # files are being changed by the dozen

    # -- watching -------------------------------------------------------------------------------

    def start(self, hear: Callable[[Batch], None]) -> Watching:
        """Watch; `hear` is called on a thread of the watcher's."""
        self._hear = hear
        self._watching = self._watch()
        self._learn_plugins()
        return self._watching

    def stop(self) -> None:
        """Watch no more, and wait until all that was learned is written."""
        if self._watching is not None:
            self._watching.stop()
        self.knowledge.close()

    def _watch(self) -> Watching:
        return watch(
            self._roots,
            self._hear,
            debounce=0.0,
            step=0.001,
            settle_max=self._settings.settle_max,
            poll_interval=self._settings.poll_interval,
            force_polling=self._settings.force_polling,
        )

    @property
    def backend(self) -> str:
        """How the files are watched."""
        assert self._watching is not None, "asked for once the watch has begun"
        return self._watching.backend

    # -- looking --------------------------------------------------------------------------------

    def look(self, batch: Batch | None = None) -> frozenset[Path]:
        """Return the files of new content, among those that the watcher named or among all."""
        named = None if batch is None or batch.overflow else batch.paths
        moved = self.contents.look() if named is None else self.contents.look_below(named)
        self._noticed |= dict.fromkeys(moved, time.time())
        return moved

    def was_saved_only(self, batch: Batch) -> bool:
        """Tell whether the watcher names saves that changed nothing; one save may be named twice, or after a look."""
        since = batch.first_seen - ECHO
        named = (path for path in batch.paths if path != self._own and self._noticed.get(path, 0.0) < since)
        return not batch.overflow and any(path.is_file() for path in named)

    def look_at_top(self) -> frozenset[Path]:
        """Find what appeared directly in the project's root, which no watch covers."""
        new = [root for root in watch_roots(self.root, self._plugin_dirs) if root not in self._roots]
        if not new:
            return self.contents.look_at_top()
        self._roots += tuple(new)
        self.contents.add_roots(new)
        before, self._watching = self._watching, self._watch()
        if before is not None:
            before.stop()
        return self.contents.look()

    # -- taking in ------------------------------------------------------------------------------

    def take_in(self, changed: Iterable[Path]) -> None:
        """Know the plugins and the suspects of now."""
        changed = list(changed)
        if any(self.map.plugin_of(path) is None for path in changed):  # of a plugin that is new, maybe
            self._learn_plugins()
        self._suspects = {path for path in self._suspects.union(changed) if is_suspect(path)}

    def _learn_plugins(self) -> None:
        if self._project is not None:
            self.map.learn_places({name: found.path for name, found in self._project.plugins().items()})

    def plugins_of(self, changed: Iterable[Path]) -> set[str]:
        """Return the plugins in whose directories these files lie."""
        return {name for path in changed if (name := self.map.plugin_of(path)) is not None}

    def count(self, changed: int) -> None:
        """Notice a burst: so many files at once, or git at work."""
        self._many |= changed > BURST or (self.root / ".git" / "index.lock").exists()

    def may_go_on(self) -> bool:
        """Tell whether files may not be as they are meant, so that one waits for some quiet."""
        return self._many or bool(self._suspects)

    def end_burst(self) -> None:
        """Take it that no more files come."""
        self._many = False

    def trust(self) -> None:
        """Take the suspects for what somebody means."""
        self._suspects.clear()

    # -- what it affects ------------------------------------------------------------------------

    def affected(self, changed: Iterable[Path]) -> dict[str, str]:
        """Return what these files affect, with reasons: known for tests that were recorded, guessed for the others."""
        changed = list(changed)
        known = self.knowledge.affected(changed)
        guessed = self.map.affected(changed, self.knowledge.unknown(self.map.tests.keys()))
        foreign = [path for path in changed if not self.knowledge.can_tell(path)]
        there = self.map.tests or known  # before the first collection, nobody knows which tests there still are
        told = {n: because for n, because in known.items() if n in there}
        return told | guessed | self._to_collect(changed) | (self._affected_from_outside(foreign) if foreign else {})

    def _to_collect(self, changed: Iterable[Path]) -> dict[str, str]:
        """Return the places where other tests may be collected than before."""
        found: dict[str, str] = {}
        for path in changed:
            rules = self.map.has_a_say(path) and self._rules.changed(path)
            if rules or (self.collected_files.may_be(path) and self.knowledge.is_new(path)):
                found |= self.map.collect_anew(path)
        return found

    def _affected_from_outside(self, foreign: Iterable[Path]) -> dict[str, str]:
        """Return what files outside the project affect: maybe all tests that have not run in this watch."""
        nobody_knows = dict.fromkeys(self.knowledge.from_before(), "nobody knows whether it uses what changed outside")
        return nobody_knows | self.map.affected(foreign)

    def users(self, files: Iterable[Path]) -> dict[str, str]:
        """Return the tests that these files affect, or that are known to use them otherwise, with reasons."""
        files = list(files)
        return self.knowledge.users(files) | self.affected(files)

    def may_matter(self, changed: Iterable[Path]) -> bool:
        """Tell whether there is code among these files, which a running test may use before anybody knows."""
        return any(map(self.map.may_matter, changed))
