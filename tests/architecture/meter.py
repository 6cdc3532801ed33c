"""Run pytest in this process and tell what a plugin cost: the CPU time of its import and of its hooks.

Started by test_plain_pytest.py as a program of its own: `meter.py MODULE PYTEST-ARGUMENTS...`; MODULE may
be empty. The last line that it prints is JSON. Measuring the plugin itself is steady where the
difference of two whole runs, each twenty times as long, is not.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Meter:
    """Adds up the CPU seconds that hooks of `package` spend, each counted once however they nest."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.seconds = 0.0
        self._running = False

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Count what happens inside, unless an outer clock runs."""
        if self._running:
            yield
            return
        self._running, start = True, time.process_time()
        try:
            yield
        finally:
            self._running = False
            self.seconds += time.process_time() - start

    def pytest_plugin_registered(self, plugin: object, manager: pytest.PytestPluginManager) -> None:
        for caller in manager.get_hookcallers(plugin) or []:
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin and self._is_ours(implementation.function):
                    timed = self._metered(implementation.function)
                    implementation.function = timed  # type: ignore[misc]  # final to types, not at run time

    def _is_ours(self, function: Callable[..., Any]) -> bool:
        return bool(self.package) and str(getattr(function, "__module__", "")).startswith(self.package)

    def _metered(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return lambda *args: self._wrapper(function(*args))

        def call(*args: Any) -> Any:
            with self.clock():
                return function(*args)

        return call

    def _wrapper(self, hook: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Drive a hook wrapper, counting what it does before and after the hooks that it wraps."""
        step: Callable[[], Any] = lambda: next(hook)  # noqa: E731  # replaced for each way to go on
        while True:
            try:
                with self.clock():
                    value = step()
            except StopIteration as done:
                return done.value
            try:
                answer = yield value
            except BaseException as error:  # noqa: BLE001  # handed to the hook, whatever it is
                step = _thrower(hook, error)
            else:
                step = _sender(hook, answer)


def _thrower(hook: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: hook.throw(error)


def _sender(hook: Generator[Any, Any, Any], answer: Any) -> Callable[[], Any]:
    return lambda: hook.send(answer)


def main(module: str, *arguments: str) -> None:
    """Run pytest with `arguments` and with the plugin `module`, and print what was seen."""
    meter = Meter(module.partition(".")[0])
    if module:
        with meter.clock():
            importlib.import_module(module)
    code = pytest.main([*arguments, *(["-p", module] if module else [])], plugins=[meter])
    print(json.dumps({"exit": int(code), "seconds": meter.seconds, "modules": sorted(sys.modules)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
