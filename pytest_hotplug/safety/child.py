"""The child's side: play one scenario with one plugin, write down what was seen, end."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import msgspec

from pytest_hotplug.reloader.child_process import answering, end_with_the_parent, say
from pytest_hotplug.reloader.preflight import read
from pytest_hotplug.safety.order import Order
from pytest_hotplug.safety.stage import scenario_of

__all__ = ["main"]


def main(told: Any) -> NoReturn:
    """Do what the order says, and print the evidence as the last line of stdout."""
    end_with_the_parent()
    answers = answering()
    order = read(told, Order)
    evidence = scenario_of(order).play(order)
    say(answers, msgspec.json.encode(evidence).decode())
    os._exit(0)  # what the plugin left running must not keep the child
