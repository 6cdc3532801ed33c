"""What a child is told, and how it answers: the two sides of a scenario, and nothing else."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec

from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.check import Scenario

__all__ = ["Order", "decoded", "encoded"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which scenario to play with which plugin; everything lies in copies that may be edited.

    `real` is the directory that findings name instead of the copy.
    """

    scenario: Scenario
    plugin: str
    settings: Settings
    root: str
    layouts: tuple[Layout, ...]
    reloads: int
    warm_ups: int = 0


def encoded(value: object) -> str:
    """Return an order as one line of JSON, whatever bytes its paths consist of."""
    return json.dumps(msgspec.to_builtins(value, enc_hook=os.fspath))


def decoded(value: Any) -> Order:
    """Return the order that `encoded` wrote, parsed already."""
    return msgspec.convert(value, Order, dec_hook=lambda wanted, given: wanted(given))
