"""Whatever people do with a plugin, in whatever order: what serves is what a simple model says must serve.

The model knows which version lies on disk, which versions are good, what was rolled back and what is
paused; it knows nothing of how the reloader works. Long runs: `pytest tests/proof --soak 50`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded
from tests.proof.machines import run_machine
from tests.reloader.workshop import Workshop

GOOD = "from . import helper\nN = {n}\ndef run():\n    return N, helper.N\n"
KINDS_OF_BROKEN = {
    "syntax": "def run(:\n",
    "raises": "N = {n}\nraise RuntimeError(N)\n",
    "exits": "import sys\nsys.exit({n})\n",
    "no entry": "N = {n}\n",
    "empty": "",
    "half": "from . import helper\nN = {n}\nraise KeyboardInterrupt\n",
}


class Life(RuleBasedStateMachine):
    """One plugin, and everything that may be done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Workshop(Path(tempfile.mkdtemp(prefix="life-")))
        self.subject = self.shop.plugins / "subject"
        self.number = 0
        self.saved: list[
            tuple[str, str | None, Any]
        ] = []  # versions to go back to by hand: main, helper, what they answer
        self.good: list[Any] = []  # answers of the good versions in the order in which they were loaded, newest last
        self.withdrawn: set[Any] = set()  # what was rolled back from
        self.serving: Any = None
        self.pinned_from: tuple[str, str | None] | None = None  # the bytes on disk that were rolled back from
        self.enabled, self.paused = True, False
        self.main = ""
        self.helper: str | None = None  # None: there is no such file
        self.disk: Any = None
        self._put_good()
        self.manager = self._manager()
        self._settle()

    def _manager(self) -> PluginManager:
        return self.shop.manager(state_dir=self.shop.root / "state")

    # -- the disk -------------------------------------------------------------------------------

    def _put(self, main: str, helper: str | None, answer: Any) -> None:
        """Bring a version to disk; `answer` is what it returns, None for a broken one."""
        self.main, self.helper, self.disk = main, helper, answer
        if helper is not None:
            self.shop.write("subject", "helper.py", helper)
        self.shop.write("subject", "main.py", main)

    def _put_good(self) -> None:
        self.number += 1
        n = self.number
        self._put(GOOD.format(n=n), f"N = {n}\n", (n, n))
        self.saved.append((self.main, self.helper, self.disk))

    # -- the model ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Say what must serve once somebody looked."""
        if self.pinned_from == (self.main, self.helper):
            return
        self.pinned_from = None
        if self.disk is not None and self.disk != self.serving:
            self.serving = self.disk
            if self.disk in self.good:
                self.good.remove(self.disk)
            self.good = [*self.good, self.disk][-5:]
            self.withdrawn.discard(self.disk)

    def _looks(self) -> bool:
        return self.enabled and not self.paused

    # -- what people do -------------------------------------------------------------------------

    @rule()
    def edit(self) -> None:
        self._put_good()

    @rule(kind=st.sampled_from(sorted(KINDS_OF_BROKEN)))
    def break_it(self, kind: str) -> None:
        self.number += 1
        self._put(KINDS_OF_BROKEN[kind].format(n=self.number), self.helper, None)

    @rule()
    def break_the_helper(self) -> None:
        self.number += 1
        self._put(self.main, f"N = {self.number}\nraise ValueError\n", None)

    @rule(back=st.integers(1, 4))
    def restore(self, back: int) -> None:
        self._put(*self.saved[-min(back, len(self.saved))])

    @rule()
    def touch(self) -> None:
        (self.subject / "main.py").touch()

    @precondition(lambda self: self.helper is not None)
    @rule()
    def rename_the_helper_and_back(self) -> None:
        os.rename(self.subject / "helper.py", self.subject / "other.py")
        os.rename(self.subject / "other.py", self.subject / "helper.py")

    @precondition(lambda self: self.helper is not None)
    @rule()
    def delete_the_helper(self) -> None:
        (self.subject / "helper.py").unlink()
        self.helper = self.disk = None  # every version but a broken one imports it

    @rule()
    def swap_the_directory(self) -> None:
        shutil.copytree(self.subject, self.shop.root / "copy")
        shutil.rmtree(self.subject)
        os.rename(self.shop.root / "copy", self.subject)

    @rule()
    def disable(self) -> None:
        self.manager.disable_hot_reload()
        self.enabled = False

    @rule()
    def enable(self) -> None:
        self.manager.enable_hot_reload()
        self.enabled = True

    @rule()
    def pause(self) -> None:
        self.manager.pause("subject")
        self.paused = True

    @rule()
    def resume(self) -> None:
        self.manager.resume("subject")
        self.paused = False

    @rule()
    def reload(self) -> None:
        outcome = self.manager.reload("subject")
        before = self.serving
        self._settle()
        if self.serving != before:
            assert isinstance(outcome, Reloaded), outcome
        elif self.disk is None and self.pinned_from is None:
            assert isinstance(outcome, KeptCurrent), outcome

    @rule()
    def roll_back(self) -> None:
        older = self.good[: self.good.index(self.serving)] if self.serving in self.good else self.good
        older = [answer for answer in older if answer not in self.withdrawn]
        outcome = self.manager.rollback("subject")
        if not older:
            assert isinstance(outcome, KeptCurrent), outcome
            return
        assert isinstance(outcome, Reloaded), outcome
        self.serving = older[-1]
        if self.disk == self.serving:  # it lies on disk, and is loaded from there
            self.pinned_from = None
            self.good.remove(self.disk)
            self.good.append(self.disk)
        else:
            self.pinned_from = (self.main, self.helper)
            self.withdrawn |= set(self.good[self.good.index(self.serving) + 1 :])

    @precondition(lambda self: self.pinned_from is not None)
    @rule()
    def end_the_rollback(self) -> None:
        self.manager.end_rollback("subject")
        self.pinned_from = None
        self._settle()

    @rule()
    def restart(self) -> None:
        self.manager.close()
        self.manager = self._manager()
        try:
            self.manager.load("subject")
        except PluginLoadError:
            raise AssertionError("a version that served is kept, and must serve again") from None
        if self.disk is not None:
            self._settle()  # a paused plugin, too, is loaded from disk when nothing serves
        elif self.pinned_from not in (None, (self.main, self.helper)):
            self.pinned_from = None

    @rule()
    def execute(self) -> None:
        if self._looks():
            self._settle()
        assert self.manager.execute("subject") == self.serving

    @invariant()
    def what_serves_is_whole(self) -> None:
        """Without looking at the disk: never a mix, never a version that did not serve before."""
        if self.serving is not None:
            self.manager.disable_hot_reload()
            answer = self.manager.execute("subject")
            if self.enabled:
                self.manager.enable_hot_reload()
            assert answer == self.serving

    def teardown(self) -> None:
        self.shop.close()
        shutil.rmtree(self.shop.root)


@pytest.mark.timeout(3600)
def test_what_serves_is_what_must_serve_after_any_sequence(soak: float) -> None:
    """F01-F10 D03-D06 D09 N14 R4-R12 R32: any sequence of edits, breaks, restores, rollbacks and restarts."""
    run_machine(Life, soak)
