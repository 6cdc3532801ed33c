"""Bounded memory: however often a clean plugin is reloaded, nothing is left of its old versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_hotplug.reloader.garbage import AFTER

WARM_UP = 600  # reloads until the in-memory history and the caches are full

CHILD = '''
import gc, json, os, sys
from pathlib import Path
from pytest_hotplug import PluginManager

reloads, points, state = int(sys.argv[1]), 6, json.loads(sys.argv[2])
plugin = Path("plugins/clean")
plugin.mkdir(parents=True)
(plugin / "helper.py").write_text("def help(): return 1\\n")
CODE = """
import asyncio, dataclasses, enum, functools, logging, re, typing
from typing import Generic, TypeVar, Optional
from .helper import help
T = TypeVar("T")
LOG = logging.getLogger(__name__)

@dataclasses.dataclass
class Box(Generic[T]):
    item: "T"
    other: Optional[int] = None

class Color(enum.Enum):
    RED = 1

class Base:
    pass

class Child(Base):
    def say(self):
        return super().__repr__()

@functools.lru_cache
def cached(x):
    return x

@functools.singledispatch
def show(x):
    return str(x)

@show.register
def _(x: Box):
    return "box"

async def later():
    return 4

def on_load(context):
    context.thread(context.stopping.wait)

def run():
    typing.get_type_hints(Box)
    box: Box[int] = Box(cached(3))
    return len([show(box), Color.RED, Child().say(), help()])

def save_state():
    return {"count": 1}

def load_state(state, version):
    LOG.debug("state %s", state)
"""
main = plugin / "main.py"


def put(number):
    beside = main.with_name(".new")
    beside.write_text(f"# {number}\\n{CODE}")  # a comment: identifiers that change are immortal on 3.12
    os.replace(beside, main)


put(0)
manager = PluginManager(plugin_dirs=["plugins"], debounce=0, **state)
warm = 600
blocks = []
for number in range(1, warm + reloads + 1):
    put(number)
    assert manager.execute("clean") == 4
    if number >= warm and (number - warm) % (reloads // points) == 0:
        for _ in range(3):
            gc.collect()
        blocks.append(sys.getallocatedblocks())
info = manager.get_plugin_hot_info("clean")
print(json.dumps({"blocks": blocks, "alive": info["generations_alive"], "reloads": info["reload_count"]}))
'''


@pytest.mark.parametrize("state", [{}, {"state_dir": "state"}], ids=["in memory", "on disk"])
def test_reloads_of_a_clean_plugin_grow_by_no_block(tmp_path: Path, state: dict[str, str], soak: float) -> None:
    """M01 R28: after a warm-up, reloads of a plugin with every busy construct leave not one block of memory each."""
    reloads = int(600 * soak) // 6 * 6
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", CHILD, str(reloads), json.dumps(state)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["alive"] == 1
    assert told["reloads"] == WARM_UP + reloads - 1, "the first one was a load"
    growth = (told["blocks"][-1] - told["blocks"][0]) / reloads
    assert growth < 0.5, f"{growth:.2f} blocks a reload: {told['blocks']}"


BURST = """
import gc, json, os, sys
from pathlib import Path
from pytest_hotplug import PluginManager

gc.set_threshold(10_000_000)  # Python itself collects nothing here
getattr(gc, sys.argv[1])()
main = Path("plugins/clean/main.py")
main.parent.mkdir(parents=True)
alive = []
with PluginManager(plugin_dirs=["plugins"], debounce=0) as manager:
    for number in range(100):
        main.with_name(".new").write_text(f"def run():\\n    return {number}\\n")
        os.replace(main.with_name(".new"), main)
        assert manager.execute("clean") == number
        alive.append(manager.get_plugin_hot_info("clean")["generations_alive"])
    print(json.dumps(alive))
"""


@pytest.mark.parametrize("collector", ["enable", "disable"])
def test_old_versions_do_not_pile_up_until_python_looks_for_them(tmp_path: Path, collector: str) -> None:
    """Of many reloads in a row only the last few old versions take memory; who switched the collector off is heeded."""
    done = subprocess.run(
        [sys.executable, "-c", BURST, collector], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    alive = json.loads(done.stdout)
    if collector == "enable":
        assert max(alive) <= AFTER + 1, alive
        assert min(alive[50:]) <= 2, alive
    else:
        assert alive[-1] > AFTER + 1, alive
