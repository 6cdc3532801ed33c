"""Reload after reload, and what the process holds after each."""

from __future__ import annotations

import gc
import sys
from array import array

import psutil

from pytest_hotplug.safety.evidence import Memory
from pytest_hotplug.safety.stage import CannotPlay, Stage, settle

__all__ = ["play"]


def play(stage: Stage) -> Memory:
    """Play the scenario and return what was counted."""
    memory, order = Memory(), stage.order
    process = psutil.Process()
    # Made beforehand: a list of numbers would grow by a block with each that it gets.
    blocks, objects, rss = (array("q", bytes(8 * order.reloads)) for _ in range(3))
    try:
        stage.load()
        for number in range(-order.warm_ups, order.reloads):
            stage.tell(f"reload {number + order.warm_ups + 1} of {order.warm_ups + order.reloads}")
            stage.reload()
            settle()
            if number >= 0:
                blocks[number] = sys.getallocatedblocks()
                objects[number] = len(gc.get_objects())
                rss[number] = process.memory_info().rss
        memory = Memory(blocks=list(blocks), objects=list(objects), rss=list(rss))
        stage.unload()
    except CannotPlay as error:
        memory.failed = stage.by_name(str(error))
    return memory
