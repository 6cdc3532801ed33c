"""A version that is copied file by file serves as a whole, or not at all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage
from pytest_hotplug.safety.upgrade import Upgrade, upgrade_on

__all__ = ["CHECK", "in_time", "states_of"]

_ALL_UP_TO = 4  # files, of which every set is tried
_AT_RANDOM = 50
_MOST_OF_ORDER = 50  # states that are tried of one order
_SEED = 38
_ALWAYS = 2**_ALL_UP_TO  # states that are tried however long they take
_SECONDS = 30.0  # after which no more are begun: a plugin that is slow to load has other checks waiting


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


def in_time(states: Sequence[frozenset[str]], clock: Callable[[], float] = time.monotonic) -> Iterator[frozenset[str]]:
    """Yield the states, as long as there is time for more than a few."""
    deadline = clock() + _SECONDS
    for number, state in enumerate(states):
        if number >= _ALWAYS and clock() > deadline:
            return
        yield state


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    upgrade = upgrade_on(stage)
    names = upgrade.changed
    if not names:
        raise NotTried(f"nothing of it that counts changed since {upgrade.ref}")
    states = states_of(names)
    if not states:
        yield None  # one file: it is there, or not yet
        return
    tried, served = 0, dict[str, str]()  # what lies there -> what is wrong with it
    for state in in_time(states):
        upgrade.begin()
        wrong = _serves_in(upgrade, state)
        if wrong is not None:
            served[_said(names, state)] = wrong
        tried += 1
        yield None
    yield from _told(upgrade, served, tried)
    if tried < len(states):
        yield Finding(message=f"only {tried} of {len(states)} half-deployed states were tried", severity="note")


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


def _told(upgrade: Upgrade, served: Mapping[str, str], tried: int) -> Iterator[Finding]:
    in_place = upgrade.tree.verify.get("deploy") == "in-place" or upgrade.stage.manager.settings.commit
    failing = {said: wrong for said, wrong in served.items() if wrong}
    mixed = [said for said, wrong in served.items() if not wrong]
    for some, what in (
        ([f"{said}: {wrong}" for said, wrong in failing.items()], "are loaded and fail"),
        (mixed, "serve although they are neither version"),
    ):
        if some:
            message = f"{len(some)} of {tried} half-deployed states {what}: {some[0]}"
            yield Finding(message=message, severity="error" if in_place else "note")


CHECK = Check(
    id="half_deployed_states",
    title="A version that is copied file by file serves as a whole, or not at all",
    how=(
        "The changed files arrive one by one, in every order (of more than four: by name, backwards, and "
        "fifty sets at random, the same each time). Each state is refused, or the deployed version goes on "
        "serving; one that serves as neither version is a note, and an error where `deploy` is `in-place` in "
        "`hotplug.verify` or with the setting `commit`."
    ),
    remedy="Deploy with `hotplug deploy`, which exchanges all files at once, or list them and set `commit`.",
    scenario="upgrade",
    attempt=_attempt,
    judge=attempted,
)
