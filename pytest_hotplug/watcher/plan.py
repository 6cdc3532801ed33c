"""What a watch is asked to do: checked once, frozen, in one unit.

Decides from the arguments and the environment whether polling was asked for; whether it is needed is
found out later. Touches no file. For `watching` only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FORCING_VARIABLE = "WATCHFILES_FORCE_POLLING"
_NO = frozenset({"", "0", "false", "no", "off", "disable", "disabled"})

_DEFAULT_INTERVAL = 1.0

# A native step much finer than the debounce is paid for all day and never felt.
_STEPS_PER_DEBOUNCE = 10
_LONGEST_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what a watch was asked to do; times in seconds."""

    roots: tuple[str, ...]
    debounce: float
    settle_max: float
    interval: float
    forced: str | None  # why sweeping was asked for, None when nobody did
    step: float


def make_plan(
    roots: Sequence[Path],
    *,
    debounce: float,
    settle_max: float,
    poll_interval: float | None,
    force_polling: bool,
    step: float,
) -> Plan:
    """Check the arguments of a watch.

    Raises ValueError for a time that makes no sense.
    """
    interval = _DEFAULT_INTERVAL if poll_interval is None else poll_interval
    return Plan(
        # `..` stays: behind a link it does not lead where the text says.
        roots=tuple(os.fspath(Path(root).absolute()) for root in roots),
        debounce=_at_least(0.0, debounce, "debounce"),
        settle_max=_at_least(0.0, settle_max, "settle_max"),
        interval=_at_least(0.001, interval, "poll_interval"),
        forced=_why_forced(poll_interval, force_polling),
        step=max(_at_least(0.001, step, "step"), min(debounce / _STEPS_PER_DEBOUNCE, _LONGEST_STEP)),
    )


def _why_forced(poll_interval: float | None, force_polling: bool) -> str | None:
    if force_polling:
        return "polling was asked for (force_polling)"
    if poll_interval is not None:
        return f"polling was asked for (poll_interval {poll_interval:g} s)"
    if os.environ.get(_FORCING_VARIABLE, "").strip().lower() not in _NO:
        return f"polling was asked for ({_FORCING_VARIABLE} is set)"
    return None


def _at_least(least: float, seconds: float, name: str) -> float:
    if not seconds >= least:  # written so that "not a number" fails too
        raise ValueError(f"{name} must be at least {least:g} seconds, not {seconds!r}")
    return seconds
