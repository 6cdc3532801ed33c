"""The list of hazards: each one scenario with its id, its sentence and what it promises of us.

`benchmarks/hazards.py` runs the same list against other reloaders. Imports no pytest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.hazards.stage import Stage

Outcome = Literal["passes", "passes with help", "reported"]
Scenario = Callable[[Stage], None]

OURS = "pytest-hotplug"

GROUPS = ("detection", "loading", "failure", "life_cycle", "memory", "concurrency", "more", "traps")


@dataclass(frozen=True)
class Hazard:
    """One thing that can go wrong, the scenario that brings it about, and what becomes of it with us.

    `help` names what the plugin must do for its own part (see `adapter.py`), `how` says it in words.
    `without` is what we do about a plugin that gives no help. `needs` is what a reloader must be able
    to do for the hazard to apply; `unaided` tells that only others take the help that is offered;
    `child` asks for a process of its own.
    """

    id: str
    sentence: str
    group: str
    run: Scenario
    outcome: Outcome = "passes"
    how: str = ""
    help: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    child: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    unaided: bool = False
    without: Scenario | None = None

    @property
    def slug(self) -> str:
        return f"{self.id}-{self.run.__name__.replace('_', '-')}"


HAZARDS: dict[str, Hazard] = {}


def hazard(
    id: str,  # noqa: A002  # that is what it is called everywhere
    sentence: str,
    *,
    help: tuple[str, ...] = (),  # noqa: A002
    how: str = "",
    unaided: bool = False,
    reported: str = "",
    needs: tuple[str, ...] = (),
    child: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Callable[[Scenario], Scenario]:
    """Register a scenario; `help` with `how`, or `reported`, say which of the three outcomes is ours."""
    outcome: Outcome = "reported" if reported else "passes with help" if help and not unaided else "passes"
    assert outcome != "passes with help" or how, f"{id}: say in words how the plugin helps"

    def register(run: Scenario) -> Scenario:
        assert id not in HAZARDS, f"{id} stands twice"
        HAZARDS[id] = Hazard(
            id=id,
            sentence=sentence,
            group=run.__module__.rpartition(".")[2],
            run=run,
            outcome=outcome,
            how=how or reported,
            help=frozenset(help),
            needs=frozenset(needs),
            child=child,
            settings=settings or {},
            unaided=unaided,
        )
        return run

    return register


def without_help(id: str) -> Callable[[Scenario], Scenario]:  # noqa: A002
    """Register what we do for a plugin that doesn't help: nothing breaks, and it is told by name."""

    def register(run: Scenario) -> Scenario:
        HAZARDS[id] = replace(HAZARDS[id], without=run)
        return run

    return register


def every_hazard() -> list[Hazard]:
    """Return all hazards, in the order of the design page."""
    for group in GROUPS:
        importlib.import_module(f"tests.hazards.scenarios.{group}")
    order = {group: number for number, group in enumerate(GROUPS)}
    return sorted(HAZARDS.values(), key=lambda one: (order[one.group], one.id))


def play(one: Hazard, stage: Stage) -> None:
    """Run a scenario, with the plugin's help when the reloader has a use for it.

    Of a hazard that we report instead of surviving it, ours plays the part that says so.
    """
    mine = stage.reloader.name == OURS
    stage.helped = bool(one.help) and one.help <= stage.reloader.helps and not (mine and one.unaided)
    if mine and one.outcome == "reported":
        play_without(one, stage)
    else:
        one.run(stage)


def play_without(one: Hazard, stage: Stage) -> None:
    """Run the part that shows what we do about a plugin that gives no help."""
    assert one.without is not None, f"{one.id} says nothing of plugins that don't help"
    stage.helped = False
    one.without(stage)


def applies(one: Hazard, can: frozenset[str]) -> bool:
    """Tell whether a hazard can befall a reloader at all."""
    return one.needs <= can
