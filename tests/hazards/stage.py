"""Where a scenario plays: a tree of plugins on disk, a host that they can reach, and a reloader.

A text may hold `%n`; it is replaced by the number of the version that is written. Times on disk are
set two seconds apart, so that no peer stumbles over its .pyc files except where that is the hazard.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.hazards.adapter import Adapter, Said
from tests.threads import eventually

PATIENCE = 8.0  # seconds that anything which must happen may take
HOST = "hazard_host"  # the module through which plugins reach their host
RUN = "N = %n\ndef run(): return N\n"
COUNTING = f"import {HOST} as host\nhost.executions += 1\n{RUN}"
WAITING = f"host.inside.set(); assert host.go.wait({PATIENCE})"  # after `import hazard_host as host`
_numbers = itertools.count(1)

Files = Mapping[str, str | bytes | None] | str


class InFlight:
    """A call on a thread of its own, and what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            self._error = error

    @property
    def result(self) -> Any:
        """Wait for the end; return what the call returned, raise what it raised."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the call never ended"
        if self._error is not None:
            raise self._error
        return self._result


class Stage:
    """One scenario's directory, host and reloader."""

    def __init__(self, root: Path, reloader: Adapter, settings: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.package = f"hazards_{next(_numbers)}"
        self.plugins = root / self.package
        self.plugins.mkdir()
        self.reloader = reloader
        self.helped = False
        self.number = 1
        self._time_ns = (int(time.time()) - 3600) * 10**9
        self.host: Any = self._make_host()
        self.reloader.open(self.plugins, settings or {})

    def _make_host(self) -> ModuleType:
        host = ModuleType(HOST)
        vars(host).update(
            said=[],
            callbacks=[],
            executions=0,
            imports=0,
            over=False,
            inside=threading.Event(),
            go=threading.Event(),
            kept=[],
        )
        sys.modules[HOST] = host
        return host

    def close(self) -> None:
        """Let everything go that still waits, and close the reloader."""
        self.host.over = True
        self.host.go.set()
        try:
            self.reloader.close()
        finally:
            if sys.modules.get(HOST) is self.host:
                del sys.modules[HOST]

    # -- the tree ------------------------------------------------------------------------------

    def path(self, file: str = "main.py", plugin: str = "plug") -> Path:
        return self.plugins / plugin / file

    def write(self, files: Files, plugin: str = "plug", seconds: float = 2.0) -> None:
        """Write (or, where the text is None, delete) files, each in one step and `seconds` later than the last."""
        for file, text in ({"main.py": files} if isinstance(files, str) else files).items():
            path = self.path(file, plugin)
            if text is None:
                path.unlink()
            else:
                self.save(path, self.filled(text), seconds)

    def filled(self, text: str | bytes) -> bytes:
        """Return a text with the number of the current version and the names that are only known here."""
        if isinstance(text, bytes):
            return text
        return text.replace("%n", str(self.number)).replace("PACKAGE", self.package).encode()

    def save(self, path: Path, data: bytes, seconds: float = 2.0) -> None:
        """Write beside and rename over, as editors do."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(data)
        self.set_time(beside, seconds)
        os.replace(beside, path)

    def set_time(self, path: Path, seconds: float = 2.0) -> None:
        """Give a file a time `seconds` after that of the file written last."""
        self._time_ns += int(seconds * 10**9)
        os.utime(path, ns=(self._time_ns, self._time_ns))

    def create(self, files: Files, plugin: str = "plug", manifest: str = '{"version": "%n"}') -> None:
        """Write a whole plugin, a package with a manifest."""
        mine = {"main.py": files} if isinstance(files, str) else dict(files)
        init = mine.pop("__init__.py", "")
        if init is not None:
            assert isinstance(init, str)
            mine["__init__.py"] = init + self.reloader.init
        self._time_ns += 2 * 10**9
        self.write({"plugin.json": manifest, **mine}, plugin, seconds=0)

    # -- the reloader --------------------------------------------------------------------------

    def start(self, files: Files, plugin: str = "plug", manifest: str = '{"version": "%n"}') -> None:
        """Write a plugin and load it."""
        self.create(files, plugin, manifest)
        self.reloader.start(plugin)

    def update(self, files: Files, plugin: str = "plug", seconds: float = 2.0) -> Said:
        """Write the next version's files and reload."""
        self.number += 1
        self.write(files, plugin, seconds)
        return self.reload(plugin)

    def reload(self, plugin: str = "plug") -> Said:
        return self.reloader.reload(plugin)

    def call(self, function: str = "run", *args: Any, plugin: str = "plug") -> Any:
        return self.reloader.call(plugin, function, *args)

    def public(self, module: str = "main", plugin: str = "plug") -> str:
        return f"{self.package}.{plugin}.{module}".rstrip(".")

    # -- at the same time ----------------------------------------------------------------------

    @contextmanager
    def in_flight(self, function: str, *args: Any, plugin: str = "plug") -> Iterator[InFlight]:
        """Hold a call inside the plugin (where its code says `WAITING`) during the block."""
        with self._held(lambda: self.reloader.call(plugin, function, *args)) as call:
            yield call

    @contextmanager
    def in_flight_async(self, function: str, *args: Any) -> Iterator[InFlight]:
        """The same for an async function."""
        with self._held(lambda: asyncio.run(self.reloader.acall("plug", function, *args))) as call:
            yield call

    @contextmanager
    def _held(self, work: Callable[[], Any]) -> Iterator[InFlight]:
        self.host.inside.clear()
        self.host.go.clear()
        call = InFlight(work)
        try:
            if not self.host.inside.wait(PATIENCE):
                raise AssertionError(f"the call never came inside: {call.result!r}")
            yield call
        finally:
            self.host.go.set()
            call.thread.join(PATIENCE)

    @contextmanager
    def calling(self, function: str = "run", threads: int = 1, plugin: str = "plug") -> Iterator[list[Any]]:
        """Call again and again on other threads during the block; yields the answers, errors among them."""
        answers: list[Any] = []
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                try:
                    answers.append(self.reloader.call(plugin, function))
                except BaseException as error:  # noqa: BLE001  # an answer that no scenario wants
                    answers.append(error)
                time.sleep(0)

        calls = [InFlight(work) for _ in range(threads)]
        eventually(lambda: answers, "a first answer")
        try:
            yield answers
        finally:
            over.set()
            for call in calls:
                call.thread.join(PATIENCE)
        assert not any(call.thread.is_alive() for call in calls), "a call never ended"

    def reload_beside(self, plugin: str = "plug") -> InFlight:
        """Reload on a thread of its own."""
        return InFlight(lambda: self.reload(plugin))

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file with its times, as `cp -p` does."""
        shutil.copy2(source, target)
