"""Plugins that are not safe to hot-reload, each for one reason, by the check that must catch it; and clean ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.runner import Subjects
from tests.safety.corpus_calls import UNSAFE_CALLS
from tests.safety.corpus_edits import UNSAFE_EDITS
from tests.safety.corpus_leftovers import UNSAFE_LEFTOVERS

__all__ = ["CLEAN", "PLUGINS", "subjects_in", "write"]

# Check -> what is wrong -> the plugin's files.
PLUGINS: dict[str, dict[str, dict[str, str]]] = {
    **{check: {name: {"main.py": code} for name, code in all_.items()} for check, all_ in UNSAFE_LEFTOVERS.items()},
    **UNSAFE_EDITS,
    **UNSAFE_CALLS,
}


def subjects_in(directory: Path) -> Subjects:
    """Make a project whose host has two registries, `HANDLERS` and `HOOKS`, and no plugin yet."""
    (directory / "plugins").mkdir()
    (directory / "hostapp.py").write_text("HANDLERS = []\nHOOKS = {}\n")
    settings = Settings(verify_registries=("hostapp:HANDLERS", "hostapp:HOOKS"))
    return Subjects(settings, directory, (Layout(directory / "plugins", "plugins"),))


def write(subjects: Subjects, files: Mapping[str, str]) -> str:
    """Write the files of a plugin whose probe expects 1, and return its name."""
    place = subjects.root / "plugins" / "subject"
    manifest = {"name": "subject", **json.loads(files.get("plugin.json", "{}"))}
    manifest["hotplug"] = {"verify": {"probe": {"expect": 1}}}
    for name, text in {**files, "plugin.json": json.dumps(manifest)}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return "subject"


CLEAN: dict[str, str] = {
    "plain": "def run():\n    return 1\n",
    "busy": """\
import asyncio, dataclasses, functools, logging, re, sqlite3, tempfile, threading, typing
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

T = typing.TypeVar("T")
LOG = logging.getLogger(__name__)
LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Order(typing.Generic[T]):
    number: int
    lines: list[T] = dataclasses.field(default_factory=list)


@functools.lru_cache
def squared(number: int) -> int:
    return number**2


@functools.singledispatch
def shown(value: object) -> str:
    return str(value)


@shown.register
def _(value: int) -> str:
    return f"{value:d}"


async def sleeps():
    await asyncio.sleep(0)
    return 1


def run():
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(squared, range(3))) == [0, 1, 4]
    with sqlite3.connect(":memory:") as base:
        base.execute("create table t (x)")
    base.close()
    with tempfile.TemporaryDirectory() as place, LOCK, mock.patch.object(Order, "number", 2, create=True):
        open(f"{place}/file", "w").close()
    thread = threading.Thread(target=shown, args=(1,))
    thread.start()
    thread.join()
    LOG.debug("%s %s", Order[int](1), re.compile(r"\\d+").findall("1 2"))
    return asyncio.run(sleeps())
""",
}
