"""Claim: a hot reload costs about what its executed modules cost, and the result is right.

A leaf of a plugin of 1 or 10 modules is edited, then the plugin is reloaded; afterwards the entry
must return the new value. Then, outside the clock, a call goes on while it is reloaded once more: it
must be answered by one version, or it is torn.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Contestant, allow_bytecode, run
from benchmarks.sample_plugins import SamplePlugin, let_age, write_plugin
from pytest_hotplug import PluginManager

BASELINE = "importlib.reload, 1 module"


def claims() -> Iterator[Claim]:
    """Yield a claim for each shape of plugin, each in a fresh directory."""
    for modules in (1, 10):
        for with_dataclasses in (False, True):
            with arena(modules, with_dataclasses) as claim:
                yield claim


@contextmanager
def arena(modules: int, with_dataclasses: bool) -> Iterator[Claim]:
    """Build the contestants, yield their claim, and leave `sys.path` and `sys.modules` as they were."""
    title = f"reload, {modules} module{'s' * (modules > 1)}, {'with' if with_dataclasses else 'no'} dataclasses"
    with ExitStack() as undo:
        parent = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        before = set(sys.modules)
        undo.callback(lambda: [sys.modules.pop(name) for name in set(sys.modules) - before])
        sys.path.insert(0, str(parent))
        undo.callback(sys.path.remove, str(parent))
        one = write_plugin(parent, "alone", 1, with_dataclasses)
        contestants = [reload_one(BASELINE, one)]
        if modules > 1:
            edited_only = write_plugin(parent, "edited_only", modules, with_dataclasses)
            contestants.append(reload_one("importlib.reload, edited module", edited_only))
        contestants += [
            reload_all(write_plugin(parent, "reload_all", modules, with_dataclasses)),
            purge(write_plugin(parent, "purge", modules, with_dataclasses)),
        ]
        own = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        sample = write_plugin(own, "ours", modules, with_dataclasses)
        manager = undo.enter_context(PluginManager(plugin_dirs=[own], debounce=0, package=""))
        contestants.append(ours(sample, manager))
        let_age()
        yield Claim(title, BASELINE, contestants)


def reload_one(name: str, sample: SamplePlugin) -> Contestant:
    """Reload the edited module alone; who imported a name from it keeps the old one."""
    main = importlib.import_module(sample.modules[-1])
    edited = sys.modules[f"{sample.name}.{sample.edited.stem}"]
    return _contestant(name, sample, lambda: importlib.reload(edited), lambda entry: getattr(main, entry)())


def reload_all(sample: SamplePlugin) -> Contestant:
    """Reload every module in the order of their imports."""
    main = importlib.import_module(sample.modules[-1])

    def reload() -> None:
        for module in sample.modules:
            if getattr(sys.modules[module], "__file__", None):
                importlib.reload(sys.modules[module])

    return _contestant("importlib.reload of all", sample, reload, lambda entry: getattr(main, entry)())


def purge(sample: SamplePlugin) -> Contestant:
    """Throw the modules out of `sys.modules` and import the entry again."""
    importlib.import_module(sample.modules[-1])

    def reimport() -> None:
        for module in [name for name in sys.modules if name.partition(".")[0] == sample.name]:
            del sys.modules[module]
        importlib.invalidate_caches()
        importlib.import_module(sample.modules[-1])

    return _contestant(
        "purge and import", sample, reimport, lambda entry: getattr(sys.modules[sample.modules[-1]], entry)()
    )


def ours(sample: SamplePlugin, manager: PluginManager) -> Contestant:
    """Ask the manager, which checks, loads beside, verifies and swaps."""
    manager.load(sample.name)

    return _contestant(
        "pytest-hotplug", sample, lambda: manager.reload(sample.name), lambda entry: manager.call(sample.name, entry)
    )


def _contestant(
    name: str, sample: SamplePlugin, reload: Callable[[], object], call: Callable[[str], Any]
) -> Contestant:
    """Return what reloads `sample`, whose functions are called by `call(name of the function)`."""

    def verify(number: int, _: object) -> str:
        got, wanted = call("run"), _value(number)
        if got != wanted:
            return f"returned {got} instead of {wanted}"
        going_on = call("long")
        before = next(going_on)
        sample.edit(_value(number) + 500_000)
        reload()
        after = next(going_on)
        return "" if after == before else f"a call that went on got {before}, then {after}"

    return Contestant(name, lambda _: reload(), verify, lambda number: sample.edit(_value(number)))


def _value(number: int) -> int:
    return 1_000_000 + number


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(run("reload_speed", claims))
