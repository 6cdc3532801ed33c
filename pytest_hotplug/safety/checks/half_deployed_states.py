"""A version that is copied file by file serves as a whole, or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage
from pytest_hotplug.safety.upgrade import Upgrade, upgrade_on

__all__ = ["CHECK", "states_of"]

_ALL_UP_TO = 4  # files, of which every set is tried
_AT_RANDOM = 50
_MOST_OF_ORDER = 50  # states that are tried of one order
_SEED = 38


def states_of(names: Sequence[str]) -> list[frozenset[str]]:
    """Return which files may have arrived, when some have and some have not.

    All sets of a few files, which are the beginnings of all their orders; of more, the beginnings of the order by
    name and of its reverse, evenly chosen where these are many, and fifty at random, which are the same each time.
    """
    if len(names) <= _ALL_UP_TO:
        return [frozenset(some) for size in range(1, len(names)) for some in combinations(names, size)]
    chance = random.Random(_SEED)
    lengths = range(1, len(names))
    some = [lengths[n * len(lengths) // _MOST_OF_ORDER] for n in range(_MOST_OF_ORDER)]
    chosen = lengths if len(lengths) <= _MOST_OF_ORDER else some
    ordered = [frozenset(order[:length]) for order in (names, names[::-1]) for length in chosen]
    at_random = [frozenset(chance.sample(names, chance.choice(lengths))) for _ in range(_AT_RANDOM)]
    return list(dict.fromkeys([*ordered, *at_random]))


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    upgrade = upgrade_on(stage)
    names = upgrade.changed
    if not names:
        raise NotTried(f"nothing of it that counts changed since {upgrade.ref}")
    states = states_of(names)
    mixed: list[str] = []
    failing: list[tuple[str, str]] = []
    if not states:
        yield None  # one file: it is there, or not yet
    for state in states:
        upgrade.begin()
        wrong = _serves_in(upgrade, state)
        if wrong is not None:
            said = _said(names, state)
            failing.append((said, wrong)) if wrong else mixed.append(said)
        yield None
    if failing:
        said, wrong = failing[0]
        yield _told(
            upgrade, f"{len(failing)} of {len(states)} half-deployed states are loaded and fail: {said}: {wrong}"
        )
    if mixed:
        message = (
            f"{len(mixed)} of {len(states)} half-deployed states serve although they are neither version: {mixed[0]}"
        )
        yield _told(upgrade, message)


def _serves_in(upgrade: Upgrade, state: frozenset[str]) -> str | None:
    """Return what is wrong with the mix that serves, "" for nothing; None when the deployed version goes on serving."""
    upgrade.deploy_partly(state)
    upgrade.take_up(upgrade.deployed)
    if upgrade.serves(upgrade.deployed):
        return None
    wrong = upgrade.use()
    return wrong.message if wrong is not None else ""


def _said(names: Sequence[str], state: frozenset[str]) -> str:
    left = [name for name in names if name not in state]
    return f"{', '.join(sorted(state))} as in the work tree, {', '.join(left)} as deployed"


def _told(upgrade: Upgrade, message: str) -> Finding:
    in_place = upgrade.tree.verify.get("deploy") == "in-place"
    severe = in_place or upgrade.stage.manager.settings.commit
    return Finding(message=message, severity="error" if severe else "note")


CHECK = Check(
    id="half_deployed_states",
    title="A version that is copied file by file serves as a whole, or not at all",
    remedy="Deploy with `hotplug deploy`, which exchanges all files at once, or list them and set `commit`.",
    scenario="upgrade",
    attempt=_attempt,
    judge=attempted,
)
