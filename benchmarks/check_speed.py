"""Claim: looking for changes before each execution costs about as much as a stat of each file.

Every contestant answers "has this plugin of 10 files changed?" for a plugin that has lain unchanged
for longer than a file system's clock ticks. In each round a twin of it is edited, and the same
question about the twin must be answered with yes: a check that sees nothing is free. The second
table tells what `execute` adds to a bare call of the entry.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness import Claim, Contestant, allow_bytecode, run
from benchmarks.sample_plugins import SamplePlugin, write_plugin
from pytest_hotplug import PluginManager

FILES = 10
REPEATS = 50
# A file that was written a moment ago is read again, whatever its times say: an edit within the same
# tick of the file system's clock would hide. What runs in production is older.
SECONDS_UNTIL_OLD = 2.5
STAT = "os.stat of each file"
STAT_AND_ENTRY = "os.stat of each file, then the entry"

Snapshot = Callable[[list[Path]], object]


def claims() -> Iterator[Claim]:
    """Yield the claim about the check and the one about `execute`."""
    with arena() as (parent, manager):
        yield check_claim(parent, manager)
    with arena() as (parent, manager):
        yield execute_claim(parent, manager)


@contextmanager
def arena() -> Iterator[tuple[Path, PluginManager]]:
    """Yield a directory for plugins and a manager that serves it."""
    with ExitStack() as undo:
        parent = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        yield parent, undo.enter_context(PluginManager(plugin_dirs=[parent], debounce=0, package=""))


def check_claim(parent: Path, manager: PluginManager) -> Claim:
    """Return the claim about `check_plugin_updates` on an unchanged plugin."""
    names = ("stat", "md5", "ours")
    plugins = {name: write_plugin(parent, name, FILES - 1, False) for name in names}
    twins = {name: write_plugin(parent, f"{name}_twin", FILES - 1, False) for name in names}
    contestants = [
        by_snapshot(STAT, plugins["stat"], twins["stat"], stat_of_each),
        by_snapshot("MD5 of each file", plugins["md5"], twins["md5"], md5_of_each),
        ours(plugins["ours"], twins["ours"], manager),
    ]
    time.sleep(SECONDS_UNTIL_OLD)
    return Claim(f"has it changed? unchanged plugin of {FILES} files", STAT, contestants)


def stat_of_each(files: list[Path]) -> object:
    """Return what a stat tells of each file."""
    return [(found.st_mtime_ns, found.st_size, found.st_ino) for found in map(os.stat, files)]


def md5_of_each(files: list[Path]) -> object:
    """Return the MD5 of each file's content."""
    return [hashlib.md5(file.read_bytes(), usedforsecurity=False).digest() for file in files]


def by_snapshot(name: str, plugin: SamplePlugin, twin: SamplePlugin, snapshot: Snapshot) -> Contestant:
    """Compare a snapshot of the files with one that was taken before."""
    files, known = plugin.files, snapshot(plugin.files)
    twin_files, twin_known = twin.files, [snapshot(twin.files)]

    def twin_changed() -> bool:
        before, twin_known[0] = twin_known[0], snapshot(twin_files)
        return twin_known[0] != before

    return Contestant(name, lambda _: snapshot(files) != known, _sees_an_edit(twin, twin_changed), repeats=REPEATS)


def ours(plugin: SamplePlugin, twin: SamplePlugin, manager: PluginManager) -> Contestant:
    """Ask the loader of the manager."""
    manager.load(plugin.name)
    manager.load(twin.name)
    check = manager._hot_loader.check_plugin_updates

    def twin_changed() -> bool:
        changed = check(twin.name)
        manager.reload(twin.name)
        return changed

    return Contestant(
        "pytest-hotplug", lambda _: check(plugin.name), _sees_an_edit(twin, twin_changed), repeats=REPEATS
    )


def _sees_an_edit(twin: SamplePlugin, twin_changed: Callable[[], bool]) -> Callable[[int, object], str]:
    """Return a verification: no for the unchanged plugin, yes for its twin, which is edited first."""

    def verify(number: int, answer: object) -> str:
        if answer is not False:
            return f"said {answer!r} of an unchanged plugin"
        twin.edit(1_000_000 + number)
        return "" if twin_changed() else "did not see an edit"

    return verify


def execute_claim(parent: Path, manager: PluginManager) -> Claim:
    """Return the claim about `execute` on an unchanged plugin."""
    plugin = write_plugin(parent, "served", FILES - 1, False)
    manager.load(plugin.name)
    entry, files = manager.module(plugin.name, "main").run, plugin.files

    def after_stat(number: int) -> object:
        stat_of_each(files)
        return entry()

    contestants = [
        Contestant("the entry alone, unchecked", lambda _: entry(), _returns_zero, repeats=REPEATS),
        Contestant(STAT_AND_ENTRY, after_stat, _returns_zero, repeats=REPEATS),
        Contestant("pytest-hotplug", lambda _: manager.execute(plugin.name), _returns_zero, repeats=REPEATS),
    ]
    time.sleep(SECONDS_UNTIL_OLD)
    return Claim(f"execute an unchanged plugin of {FILES} files", STAT_AND_ENTRY, contestants)


def _returns_zero(number: int, result: object) -> str:
    return "" if result == 0 else f"returned {result!r} instead of 0"


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(run("check_speed", claims))
