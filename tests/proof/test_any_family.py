"""Plugins that use each other, whatever is done to them: each serves what a simple model says, never a mix.

Four plugins begin as a diamond. Edges come and go, circles are tried, versions break by themselves
or break others. The model is `family`. Long runs: `pytest tests/proof --soak 50`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pytest_hotplug import KeptCurrent, PluginDisabled, PluginLoadError, Reloaded, Unloaded
from pytest_hotplug.reloader import refusals
from tests.proof.family import BROKEN, NAMES, Family, Version, files_of
from tests.proof.machines import run_machine
from tests.reloader.workshop import Workshop

names = st.sampled_from(NAMES)


class Families(RuleBasedStateMachine):
    """Four plugins, and everything that may be done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Workshop(Path(tempfile.mkdtemp(prefix="family-")))
        self.family = Family()
        self.saved = {name: [version] for name, version in self.family.disk.items()}  # to go back to by hand
        self.by_number = {version.number: version for version in self.family.disk.values()}
        self.held: list[tuple[Callable[[], Any], Any]] = []
        for name in NAMES:
            self._put(name)
        self.manager = self.shop.manager(settle_max=0.0)
        for name in NAMES:
            self.execute(name)

    # -- the disk -------------------------------------------------------------------------------

    def _put(self, name: str) -> None:
        """Bring to disk what the model has there."""
        for file, text in files_of(name, self.family.disk[name], self.shop.package).items():
            if text is not None:
                self.shop.write(name, file, text)
            else:
                (self.shop.plugins / name / file).unlink(missing_ok=True)

    def _new(self, name: str, uses: frozenset[str], kind: str = "good", *, declares: bool = True) -> None:
        version = self.family.new(uses, kind, declares=declares)
        self.family.disk[name] = version
        self.by_number[version.number] = version
        if version.kind == "good":
            self.saved[name].append(version)
        self._put(name)

    @rule(name=names, declares=st.booleans())
    def edit(self, name: str, declares: bool) -> None:
        self._new(name, self.family.disk[name].uses, declares=declares)

    @rule(name=names, kind=st.sampled_from([*BROKEN, "withholds", "disabled"]))
    def spoil(self, name: str, kind: str) -> None:
        self._new(name, self.family.disk[name].uses, kind)

    @rule(name=names, back=st.integers(1, 3))
    def restore(self, name: str, back: int) -> None:
        saved = self.saved[name]
        self.family.disk[name] = saved[-min(back, len(saved))]
        self._put(name)

    @rule(name=names)
    def touch(self, name: str) -> None:
        (self.shop.plugins / name / "main.py").touch()

    @rule(name=names, other=names, declares=st.booleans())
    def add_an_edge(self, name: str, other: str, declares: bool) -> None:
        if name != other:
            self._new(name, self.family.disk[name].uses | {other}, declares=declares)

    @rule(name=names, other=names)
    def drop_an_edge(self, name: str, other: str) -> None:
        self._new(name, self.family.disk[name].uses - {other})

    @rule(name=names, other=names)
    def turn_an_edge_round(self, name: str, other: str) -> None:
        if name != other:
            self._new(name, self.family.disk[name].uses - {other})
            self._new(other, self.family.disk[other].uses | {name})

    # -- the manager ----------------------------------------------------------------------------

    @rule(name=names)
    def pause(self, name: str) -> None:
        self.manager.pause(name)
        self.family.paused.add(name)

    @rule(name=names)
    def resume(self, name: str) -> None:
        self.manager.resume(name)
        self.family.paused.discard(name)

    @rule(name=names)
    def reload(self, name: str) -> None:
        before = dict(self.family.serving)
        if name not in before:
            return self._first_load(name, lambda: self.manager.reload(name))
        outcome = self.manager.reload(name)
        self.family.look(name)
        self._take_over()
        if self.family.serving.get(name) != before[name]:
            assert isinstance(outcome, Reloaded if name in self.family.serving else Unloaded), outcome
        return None

    @rule(name=names)
    def execute(self, name: str) -> None:
        family = self.family
        if name in family.serving and name not in family.paused:
            family.look(name)
        if name not in family.serving:
            return self._first_load(name, lambda: self._executed(name))
        answer = self.manager.execute(name)
        self._take_over()
        assert answer == family.answer(name)
        return None

    def _executed(self, name: str) -> None:
        try:
            self.manager.execute(name)
        except (PluginDisabled, PluginLoadError):
            assert not self._serves(name)

    def _first_load(self, name: str, load: Callable[[], object]) -> None:
        """Load what doesn't serve: from disk where that fits together, else something good from before."""
        fits = self.family.load({name: self.family.disk[name]})
        load()
        assert not fits or self._serves(name)
        if not fits:
            self.family.offered = {n: v for n, v in self._actual().items() if n not in self.family.serving}
            self._take_over()

    @rule(name=names, back=st.integers(0, 4))
    def roll_back(self, name: str, back: int) -> None:
        family, kept = self.family, self.manager.kept_versions(name)
        if name not in family.serving or back >= len(kept):
            return
        target = self.by_number[int(kept[back]["version"])]
        if target == family.serving[name]:
            return
        outcome = self.manager.rollback(name, kept[back]["digest"])
        family.load({name: target})
        self._take_over()
        assert isinstance(outcome, Reloaded if family.serving[name] == target else KeptCurrent), outcome
        if family.serving[name] == target != family.disk[name]:
            family.pinned[name] = family.disk[name]

    @rule(name=names)
    def end_the_rollback(self, name: str) -> None:
        if self.family.pinned.pop(name, None) is not None:
            self.manager.end_rollback(name)
            if name in self.family.serving:
                self.family.look(name)
                self._take_over()

    @rule(name=names)
    def hold(self, name: str) -> None:
        """Keep a function of what serves now, as a call in flight does."""
        if name in self.family.serving:
            self.held = [*self.held, (self.manager.module(name, "main").run, self.family.answer(name))][-4:]

    # -- what must hold -------------------------------------------------------------------------

    def _actual(self) -> dict[str, Version]:
        return {
            n: self.by_number[int(self.manager.get_plugin_hot_info(n)["version"])] for n in NAMES if self._serves(n)
        }

    def _take_over(self) -> None:
        """Learn which part serves where not all that was new fits together: the model leaves that open."""
        if self.family.offered:
            self.family.part_serves(self._actual())

    def _serves(self, name: str) -> bool:
        return bool(self.manager.get_plugin_hot_info(name)["loaded"])

    @invariant()
    def what_serves_is_one_whole_set(self) -> None:
        """Without looking at the disk: every plugin is bound to exactly what serves."""
        self.manager.disable_hot_reload()
        serves = {name: self.manager.execute(name) for name in NAMES if self._serves(name)}
        self.manager.enable_hot_reload()
        assert serves == {name: self.family.answer(name) for name in self.family.serving}

    @invariant()
    def what_is_held_stays_as_it_was(self) -> None:
        """Old code goes on with the versions that it began with, late imports included."""
        for function, answer in self.held:
            assert function() == answer

    def teardown(self) -> None:
        self.held.clear()
        self.shop.close()
        shutil.rmtree(self.shop.root)


@pytest.mark.timeout(3600)
def test_plugins_that_use_each_other_serve_one_whole_set(soak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """N12 N13 L05 R32: any sequence of edits, edges, circles, breaks, pauses and rollbacks of a family."""
    monkeypatch.setattr(refusals, "FIRST_DELAY", 300.0)  # what is refused waits for a change, not for the clock
    run_machine(Families, soak)
