"""The two processes that runs are forked from, as pytest sees them.

The first one is parked before any code of the project is imported (`park_configured`). From it are
forked: a run that collects what it needs, or the second one, which collects everything and is parked
before the first test (`Collected`). Both wait in `parked`; what makes their children look like fresh
processes is in `fresh`. Decides nothing: the watcher does.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.testing.opened import OpenedFiles, is_first_party
from pytest_hotplug.testing.pytest_internals import make_basetemp, renew_terminal, use_basetemp
from pytest_hotplug.testing.stash import SESSION, ZYGOTE, ZYGOTE_WORK
from pytest_hotplug.testing.watch.channel import Channel
from pytest_hotplug.testing.watch.child import Child, register_child
from pytest_hotplug.testing.watch.collected_files import others_collect
from pytest_hotplug.testing.watch.collection import Collection
from pytest_hotplug.testing.watch.debugger import Debugger, register_debugger
from pytest_hotplug.testing.watch.fresh import begin_afresh, leave, speak_to
from pytest_hotplug.testing.watch.lifeline import Lifeline
from pytest_hotplug.testing.watch.messages import Messages, Order, Remembered
from pytest_hotplug.testing.watch.parked import Parked, Work
from pytest_hotplug.testing.watch.surprises import (
    descriptors,
    let_own_threads_end,
    why_each_run_needs_its_own,
    why_not_collected,
    why_not_fork,
)

__all__ = ["park_configured"]

KEPT_RUNS = 3  # directories of temporary files, as pytest keeps them


def park_configured(config: pytest.Config) -> None:
    """Wait here, before the first conftest; return in forked processes, each with its work in the stash."""
    told = json.loads(os.environ.pop(ZYGOTE))
    for fd in (told["socket"], *told["streams"]):
        os.set_inheritable(fd, False)
    channel, lifeline = Channel(socket.socket(fileno=told["socket"])), Lifeline(told["lifeline"])
    channel.send({"kind": "parked", "files": first_party_files()})
    work = Parked(channel, lifeline).wait()
    if work is None:
        leave(0)
        return
    lifeline.guard()
    begin_afresh()
    if work.facts["kind"] == "run":
        speak_to(config, told["streams"], capturing=True)
        go_on: Callable[[pytest.Config], object] = partial(_run, work=work, debugger=told["debugger"])
    else:
        go_on = partial(_collect, work, told, lifeline, Before())
    config.stash[ZYGOTE_WORK] = go_on


def _run(config: pytest.Config, work: Work, debugger: bool) -> None:
    """Go on as a run of what was chosen."""
    pipe, answers = work.descriptors
    messages = Messages(pipe)
    register_debugger(config, debugger).connect(messages, answers)
    child = register_child(config, messages)
    child.narrow(Order(**work.facts["order"]))
    _leave_in_the_end(config, child)


class Before:
    """What there was before any code of the project was executed; files that are opened are recorded from then on."""

    def __init__(self) -> None:
        self.descriptors = descriptors()
        self.environment = _environment()
        self.opened = OpenedFiles()
        self.opened.start()


def _collect(work: Work, told: dict[str, Any], lifeline: Lifeline, before: Before, config: pytest.Config) -> None:
    """Go on as the process that collects everything."""
    (end,) = work.descriptors
    channel = Channel(socket.socket(fileno=end))
    debugger = register_debugger(config, told["debugger"])
    collected = Collected(config, channel, lifeline, told["streams"], before, debugger)
    config.pluginmanager.register(collected, "hotplug-collected")


def _leave_in_the_end(config: pytest.Config, child: Child) -> None:
    """Leave when pytest has cleaned up, unless no session came about: then pytest has something to say."""
    config.add_cleanup(lambda: None if child.code is None else leave(child.code))


class Collected:
    """The pytest plugin of the process that collects everything; in its children, what renews them."""

    def __init__(
        self,
        config: pytest.Config,
        channel: Channel,
        lifeline: Lifeline,
        streams: list[int],
        before: Before,
        debugger: Debugger,
    ) -> None:
        self._config = config
        self._channel = channel
        self._lifeline = lifeline
        self._before = before
        self._streams = streams
        self._debugger = debugger
        self._listed: set[Path] = set()
        self._basetemp: Path | None = None
        self._remembered = Remembered()
        self._child = register_child(config, self._remembered)
        self._parked = Parked(channel, lifeline, self._clean_up)
        _leave_in_the_end(config, self._child)

    # -- collecting -----------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Iterator[None]:
        # What conftests listed, and pytest itself: its own search for test files, next, is not for this list.
        self._listed = {path for path in self._before.opened.stop() if path.is_dir()}
        self._before.opened.start()
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Wait here; go on in forked processes, with what they shall run. Nothing is run when the watch is over."""
        armed = self._arm(session)
        self._parked.keeps_spare = not armed["unfit"]
        self._channel.send(armed)
        work = self._parked.wait()
        if work is None:
            self._close()
            return True
        self._lifeline.guard()
        begin_afresh()
        self._become(session, work)
        return None

    def _arm(self, session: pytest.Session) -> dict[str, Any]:
        from pytest_hotplug.testing.watch.warmup import freeze

        files = {path for path in self._before.opened.stop() if not path.is_dir()}
        used = [Path(file) for facts in self._remembered.of_kind("file") for file in facts["files"]]
        self._listed.update(path for path in used if path.is_dir())
        self._basetemp = make_basetemp(self._config)
        armed: dict[str, Any] = {
            "kind": "armed",
            "tests": [item.nodeid for item in session.items],
            "broken": [facts["nodeid"] for facts in self._remembered.of_kind("report")],
            "files": sorted({*map(str, files), *map(str, used), *first_party_files()}),
            "listed": sorted(map(str, self._listed)),
            "basetemp": str(self._basetemp or ""),
            "once": why_each_run_needs_its_own(self._config),
            "others_collect": others_collect(self._config),
        }
        self._collection = Collection(session.items, self._remembered.of_kind("file"), self._config.rootpath)
        environment = _environment()
        self._warm_up(session)
        self._lifeline.release()
        # A module that reads the environment at import must see it as conftests have made it.
        same = environment == self._before.environment
        armed["modules"] = _modules_worth_preloading(self._config.rootpath) if same else []
        let_own_threads_end()
        armed["unfit"] = why_not_fork() or why_not_collected(self._config, self._before.descriptors)
        freeze()
        return armed

    def _warm_up(self, session: pytest.Session) -> None:
        from pytest_hotplug.testing.watch.warmup import use_the_sandbox_once

        hotplug = self._config.stash.get(SESSION, None)
        if hotplug is not None and any("hotplug" in getattr(item, "fixturenames", ()) for item in session.items):
            use_the_sandbox_once(hotplug.project)

    # -- a run ----------------------------------------------------------------------------------

    def _become(self, session: pytest.Session, work: Work) -> None:
        pipe, answers, *streams = work.descriptors
        messages = Messages(pipe)
        order = Order(**work.facts["order"])
        if self._basetemp is not None:
            place = self._basetemp / f"run-{work.facts['number']}"
            place.mkdir(mode=0o700)
            use_basetemp(self._config, place)
        speak_to(self._config, streams or self._streams, capturing=False)
        self._debugger.connect(messages, answers)
        self._child.take_over(order, messages, session.items, self._collection)
        session.testsfailed, session.shouldfail, session.shouldstop = 0, False, False
        session.testscollected = len(session.items)
        renew_terminal(self._config, len(session.items))
        self._share_the_cache(alone=order.part is None)

    def _share_the_cache(self, alone: bool) -> None:
        """Keep what other runs wrote about failures; several at once would overwrite each other."""
        failed: Any = self._config.pluginmanager.getplugin("lfplugin")
        if failed is not None and alone:
            failed.lastfailed = self._config.cache.get("cache/lastfailed", {})
        elif not alone:
            self._forget_results()

    def _forget_results(self) -> None:
        for name in ("lfplugin", "nfplugin", "stepwiseplugin"):
            if self._config.pluginmanager.hasplugin(name):
                self._config.pluginmanager.unregister(name=name)

    # -- the end --------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        """Remove temporary directories of runs, all but the last ones."""
        if self._basetemp is None:
            return
        for place in self._basetemp.glob("run-*"):
            if int(place.name.removeprefix("run-")) <= self._parked.last - KEPT_RUNS:
                shutil.rmtree(place, ignore_errors=True)

    def _close(self) -> None:
        self._forget_results()
        if self._parked.last and why_each_run_needs_its_own(self._config):
            leave(0)  # the run has done what is to be done in the end


def first_party_files() -> list[str]:
    """Return the files of all modules that are imported and belong to the project."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    real = {os.path.realpath(file) for file in files if isinstance(file, str)}
    return sorted(file for file in real if is_first_party(file))


def _environment() -> dict[str, str]:
    """Return the environment without what pytest itself puts there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def _modules_worth_preloading(root: Path) -> list[str]:
    """Return modules that collecting has imported and that no edit of the project changes, in that order."""
    return [
        name
        for name, module in list(sys.modules.items())
        if isinstance(file := getattr(module, "__file__", None), str)
        and (_is_ours(name, file, root) or _is_third_party(module, file))
    ]


def _is_ours(name: str, file: str, root: Path) -> bool:
    """Tell whether a module is one of this package, unless the package is the project itself."""
    return name.startswith("pytest_hotplug.") and not Path(file).is_relative_to(root)


def _is_third_party(module: Any, file: str) -> bool:
    """Tell whether a module may be imported ahead; of what pytest rewrites it would complain."""
    spec = getattr(module, "__spec__", None)
    rewritten = spec is None or type(spec.loader).__name__ == "AssertionRewritingHook"
    return not rewritten and not is_first_party(os.path.realpath(file))
