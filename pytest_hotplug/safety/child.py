"""The child's side: play one scenario with one plugin, write down what was seen, end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from pytest_hotplug.reloader.child_process import answering, end_with_the_parent, say
from pytest_hotplug.reloader.preflight import read
from pytest_hotplug.safety.added import add_own_checks
from pytest_hotplug.safety.check import Scenario
from pytest_hotplug.safety.checks import ALL, asked
from pytest_hotplug.safety.errors import CannotPlay
from pytest_hotplug.safety.offspring import adopt_orphans, end_offspring
from pytest_hotplug.safety.order import Order
from pytest_hotplug.safety.stage import Stage

__all__ = ["main"]

_PLAYED_BY: Mapping[Scenario, str] = {name: name for name in ("cycle", "memory", "upgrade")}  # the others: attempts


def main(told: Any) -> NoReturn:
    """Do what the order says, and print the evidence as the last line of stdout."""
    end_with_the_parent()
    adopt_orphans()
    answers = answering()
    order = read(told, Order)
    add_own_checks(order.settings, Path(order.root))
    # What a refused version left behind is everything that any check looks at.
    looking = asked(order.checks) if order.scenario == "cycle" else ALL
    takes = {check.id: check.take for check in looking if check.take is not None}
    scenario = import_module(f"pytest_hotplug.safety.scenarios.{_PLAYED_BY.get(order.scenario, 'attempts')}")
    try:
        evidence = scenario.play(Stage(order, lambda step: say(answers, _encoded(step)), takes))
    except CannotPlay as error:
        evidence = {"failed": str(error)}
    say(answers, _encoded(evidence))
    end_offspring()
    os._exit(0)  # what the plugin left running must not keep the child


def _encoded(evidence: Any) -> str:
    """Return JSON; what is no text that can be written, half a character say, stands in it escaped."""
    try:
        return msgspec.json.encode(evidence).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_writable(msgspec.to_builtins(evidence))).decode()


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_writable(key): _writable(one) for key, one in value.items()}
    return [_writable(one) for one in value] if isinstance(value, list) else value
