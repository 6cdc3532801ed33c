"""Plugins that use each other, whatever is done to them: each serves what a simple model says, never a mix.

Four plugins begin as a diamond. Edges come and go, circles are tried, versions break by themselves
or break others, hand over beside or stop-first, are called for long, and restarts come in between.
The model is `family`. Long runs: `pytest tests/proof --soak 50`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytest_hotplug import KeptCurrent, PluginDisabled, PluginLoadError, PluginManager, Reloaded, Unloaded
from pytest_hotplug.reloader import refusals
from tests.proof.family import KINDS, NAMES, Family, Pinned, Version, files_of
from tests.proof.machines import run_machine
from tests.proof.port import holders
from tests.reloader.workshop import Workshop, eventually

names = st.sampled_from(NAMES)


class Families(RuleBasedStateMachine):
    """Four plugins, and everything that may be done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Workshop(Path(tempfile.mkdtemp(prefix="family-")))
        self.family = Family()
        self.saved = {name: [version] for name, version in self.family.disk.items()}  # to go back to by hand
        self.by_number = {version.number: version for version in self.family.disk.values()}
        self.refused: dict[str, Version] = {}  # on disk, and looked at since it came there
        self.held: list[tuple[Callable[[], Any], Any]] = []
        self.streams: list[tuple[Generator[Any], Any]] = []  # calls in flight, in the order of `family.calls`
        self.enabled = True
        for name in NAMES:
            self._put(name)
        self.manager = self._manager()
        for name in NAMES:
            self.execute(name)

    def _manager(self) -> PluginManager:
        return self.shop.manager(settle_max=0.0, retire_timeout=0.02, state_dir=self.shop.root / "state")

    # -- the disk -------------------------------------------------------------------------------

    def _put(self, name: str) -> None:
        """Bring to disk what the model has there."""
        for file, text in files_of(name, self.family.disk[name], self.shop.package).items():
            if text is not None:
                self.shop.write(name, file, text)
            else:
                (self.shop.plugins / name / file).unlink(missing_ok=True)

    def _save(self, name: str, version: Version) -> None:
        if version != self.family.disk[name]:
            self.refused.pop(name, None)
        self.family.disk[name] = self.by_number[version.number] = version
        self._put(name)

    def _new(self, name: str, uses: frozenset[str], kind: str = "good", **how: bool) -> None:
        version = self.family.new(uses, kind, **how)
        if version.kind == "good":
            self.saved[name].append(version)
        self._save(name, version)

    @rule(name=names, declares=st.booleans(), alone=st.booleans())
    def edit(self, name: str, declares: bool, alone: bool) -> None:
        self._new(name, self.family.disk[name].uses, declares=declares, alone=alone)

    @rule(name=names, kind=st.sampled_from(KINDS), alone=st.booleans())
    def spoil(self, name: str, kind: str, alone: bool) -> None:
        self._new(name, self.family.disk[name].uses, kind, alone=alone)

    @rule(name=names, back=st.integers(1, 3))
    def restore(self, name: str, back: int) -> None:
        saved = self.saved[name]
        self._save(name, saved[-min(back, len(saved))])

    @rule(name=names)
    def touch(self, name: str) -> None:
        (self.shop.plugins / name / "main.py").touch()

    @rule(name=names, other=names, declares=st.booleans())
    def add_an_edge(self, name: str, other: str, declares: bool) -> None:
        if name != other:
            disk = self.family.disk[name]
            self._new(name, disk.uses | {other}, declares=declares, alone=disk.alone)

    @rule(name=names, other=names)
    def drop_an_edge(self, name: str, other: str) -> None:
        disk = self.family.disk[name]
        self._new(name, disk.uses - {other}, alone=disk.alone)

    @rule(name=names, other=names)
    def turn_an_edge_round(self, name: str, other: str) -> None:
        if name != other:
            self.drop_an_edge(name, other)
            self.add_an_edge(other, name, declares=True)

    # -- the manager ----------------------------------------------------------------------------

    @rule(name=names)
    def pause(self, name: str) -> None:
        self.manager.pause(name)
        self.family.paused.add(name)

    @rule(name=names)
    def resume(self, name: str) -> None:
        self.manager.resume(name)
        self.family.paused.discard(name)

    @rule()
    def disable(self) -> None:
        self.manager.disable_hot_reload()
        self.enabled = False

    @rule()
    def enable(self) -> None:
        self.manager.enable_hot_reload()
        self.enabled = True

    @rule(name=names)
    def reload(self, name: str) -> None:
        before = dict(self.family.serving)
        if name not in before:
            return self._first_load(name, lambda: self.manager.reload(name))
        outcome = self.manager.reload(name)
        self._looked(name)
        after = self.family.serving.get(name)
        if after != before[name]:
            assert isinstance(outcome, Reloaded if after else Unloaded), outcome
        elif self.family.is_new(name):
            assert isinstance(outcome, KeptCurrent), outcome
            self.refused[name] = self.family.disk[name]
        return None

    @rule(name=names)
    def execute(self, name: str) -> None:
        if self._is_served(name):
            answer = self.manager.execute(name)
            self._take_over()
            assert answer == self.family.answer(name)

    @rule(name=names)
    def count(self, name: str) -> None:
        """Change the state of what serves."""
        if self._is_served(name):
            self.manager.call(name, "count")
            self._take_over()
            self.family.counted[name] += 1

    def _is_served(self, name: str) -> bool:
        """Look, in the model, as a call does; where nothing serves, load, and tell that nothing did."""
        family = self.family
        if name in family.serving and name not in family.paused and self.enabled:
            family.look(name)
        if name in family.serving:
            return True
        self._first_load(name, lambda: self._executed(name))
        return False

    def _executed(self, name: str) -> None:
        try:
            self.manager.execute(name)
        except (PluginDisabled, PluginLoadError):  # also where what it uses turns out to be switched off
            assert not self._serves(name)

    def _first_load(self, name: str, load: Callable[[], object]) -> None:
        """Load what doesn't serve: from disk where that fits together, else something good from before."""
        fits = self.family.load_first(name, looks=self.enabled)
        load()
        self._take_over()
        assert not fits or self._serves(name) == (name in self.family.serving)
        if not fits and self.enabled and self._serves(name):
            self._looked(name)  # as whatever begins to serve does: what then doesn't fit is refused, and kept out

    def _looked(self, name: str) -> None:
        self.family.look(name)
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
            family.pinned[name] = Pinned(target, family.disk[name])

    @rule(name=names)
    def end_the_rollback(self, name: str) -> None:
        if self.family.pinned.pop(name, None) is not None:
            self.manager.end_rollback(name)
            if name in self.family.serving:
                self._looked(name)

    @rule(name=names)
    def unload(self, name: str) -> None:
        self.manager.unload(name)
        self.family.unload(name)

    @rule(order=st.permutations(NAMES))
    def restart(self, order: Sequence[str]) -> None:
        """Another manager over the same state directory; what served must serve again on what is there."""
        self.end_calls()
        self.held.clear()
        self.manager.close()
        eventually(lambda: not holders(self.shop.package), "the end of all that served")
        must = self.family.restart()
        self.refused.clear()
        self.manager = self._manager()
        assert self.manager.hot_reload_enabled == self.enabled
        for name in order:
            if name not in self.family.serving:
                self._first_load(name, lambda name=name: self._executed(name))  # type: ignore[misc]
        assert must <= self.family.serving.keys(), f"{must - self.family.serving.keys()} served before the restart"

    # -- what goes on meanwhile -----------------------------------------------------------------

    @rule(name=names)
    def hold(self, name: str) -> None:
        """Keep a function of what serves now, as somebody who took it out of a module does."""
        if name in self.family.serving:
            self.held = [*self.held, (self.manager.module(name, "main").run, self.family.answer(name))][-4:]

    @rule(name=names)
    def begin_a_call(self, name: str) -> None:
        """Begin a call that lasts."""
        if self._is_served(name):
            stream = self.manager.call(name, "stream")
            self._take_over()
            self.streams.append((stream, self.family.answer(name)))
            self.family.calls.append({n: self.family.serving[n] for n in self.family.with_used(name)})

    @precondition(lambda self: self.streams)
    @rule()
    def end_calls(self) -> None:
        for stream, _ in self.streams:
            stream.close()
        self.streams.clear()
        self.family.calls.clear()

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

    @rule(name=names)
    def ask(self, name: str) -> None:
        """What is said of a plugin is what is the matter with it."""
        info, family = self.manager.get_plugin_hot_info(name), self.family
        if name not in family.serving:
            assert info["state"] in ("disabled", "failed", "not-loaded", "paused"), info
            return
        assert info["has_updates"] == family.is_new(name), info
        if name in family.paused:
            assert info["state"] == "paused", info
        elif not family.is_new(name):
            assert info["state"] == ("rolled-back" if family.is_pinned(name) else "serving"), info
            assert info["error"] is None, info
        elif name in self.refused:
            assert info["state"] == "degraded", info
            assert info["error"], info

    @invariant()
    def what_serves_is_one_whole_set(self) -> None:
        """Without looking at the disk: every plugin is bound to exactly what serves, and has the state of before."""
        modules = {name: self.manager.module(name, "main") for name in NAMES if self._serves(name)}
        assert {n: module.run() for n, module in modules.items()} == {
            n: self.family.answer(n) for n in self.family.serving
        }
        assert {n: module.COUNTED for n, module in modules.items()} == self.family.counted

    @invariant()
    def what_does_not_serve_is_taken_down(self) -> None:
        """Whatever ended was ended once, and what serves is up."""
        serving = sorted(version.number for version in self.family.serving.values())

        def numbers() -> list[int]:
            return sorted(place.number for place in holders(self.shop.package))

        if self.streams:
            assert set(serving) <= set(numbers())
        else:
            eventually(lambda: numbers() == serving, f"the end of what doesn't serve: {numbers()}, {serving}")

    @invariant()
    def what_is_under_way_stays_as_it_was(self) -> None:
        """Old code goes on with the versions that it began with, late imports included."""
        for function, answer in self.held:
            assert function() == answer
        for stream, answer in self.streams:
            assert next(stream) == answer

    def teardown(self) -> None:
        self.held.clear()
        self.end_calls()
        self.shop.close()
        shutil.rmtree(self.shop.root)


@pytest.mark.timeout(3600)
def test_plugins_that_use_each_other_serve_one_whole_set(soak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """N12 N13 L05 X04 R31 R32: any sequence of edits, circles, breaks, pauses, rollbacks, long calls and restarts."""
    monkeypatch.setattr(refusals, "FIRST_DELAY", 300.0)  # what is refused waits for a change, not for the clock
    run_machine(Families, soak)
