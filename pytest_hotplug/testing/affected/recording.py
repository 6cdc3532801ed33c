"""Open the recorder's scopes as pytest goes through collection, fixtures and tests.

Runs wherever tests run, in an xdist worker as well; what a test was seen to use travels with the report
of its teardown. Recording ends before any report is made: rendering a failure opens whole sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_hotplug.testing.affected.blocks import DOCSTRINGS
from pytest_hotplug.testing.affected.facts import Facts
from pytest_hotplug.testing.affected.recorder import Recorder
from pytest_hotplug.testing.pytest_internals import fixtures_of, resolved_by
from pytest_hotplug.testing.stash import MARKER

__all__ = ["FACTS", "Recording"]

FACTS = "hotplug_facts"  # the attribute of a teardown's report


class Recording:
    """A pytest plugin around one recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._fixtures: dict[int, tuple[Any, Facts]] = {}  # by id: the definition is kept, so no id is used twice
        self._asked: dict[int, list[Any]] = {}  # a definition's id -> those that its fixture may have asked for by name
        self._own = Facts()
        self._whose: pytest.Item | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        if not isinstance(collector, pytest.File):
            return (yield)
        with self._recorder.collecting(str(collector.path)):
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        self._recorder.collected()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        __tracebackhide__ = True
        if item is not self._whose:
            self._whose, self._own = item, Facts()
        with self._recorder.crediting(self._own):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        __tracebackhide__ = True
        with self._recorder.crediting(self._own):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        __tracebackhide__ = True
        with self._recorder.crediting(self._own):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """Credit what a wider fixture used to every test that uses it, not to the first one alone."""
        __tracebackhide__ = True
        if fixturedef.scope == "function":
            return (yield)
        _, facts = self._fixtures.setdefault(id(fixturedef), (fixturedef, Facts()))
        try:
            with self._recorder.crediting(facts):
                return (yield)
        finally:
            if "request" in fixturedef.argnames:
                self._asked.setdefault(id(fixturedef), []).extend(resolved_by(request))

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        if call.when == "teardown" and item.get_closest_marker(MARKER) is None:
            setattr(report, FACTS, {"parts": self._parts(item), "written": sorted(self._recorder.written)})
        return report

    def _parts(self, item: pytest.Item) -> list[dict[str, Any]]:
        used = fixtures_of(item)
        definitions = self._fixtures.keys() if used is None else self._fixtures.keys() & self._with_asked(used)
        if isinstance(item, pytest.DoctestItem):
            self._own.blocks.add((self._recorder.first_party.name(str(item.path)), DOCSTRINGS))
        return self._recorder.parts(str(item.path), self._own, [self._fixtures[each][1] for each in definitions])

    def _with_asked(self, definitions: list[Any]) -> set[int]:
        """Return the ids of definitions, and of those that their fixtures asked for by name, in whichever test."""
        found: set[int] = set()
        waiting = list(definitions)
        while waiting:
            definition = waiting.pop()
            if id(definition) not in found:
                found.add(id(definition))
                waiting += self._asked.get(id(definition), ())
        return found
