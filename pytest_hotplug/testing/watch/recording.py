"""Record, in a process that runs tests for a watch, what each test uses, and tell the watcher.

The recorder begins before the first conftest; in a process that waits it has seen the collection when
runs are forked from it. Parts that many tests share are told once. Knows no map: the watcher has it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.testing.affected.recorder import Recorder
from pytest_hotplug.testing.affected.recording import FACTS, Recording
from pytest_hotplug.testing.affected.surroundings import surroundings_of
from pytest_hotplug.testing.watch.messages import Tells

__all__ = ["TellsWhatTestsUse", "begin_recording"]


def begin_recording(config: pytest.Config) -> None:
    """Record from here on."""
    basetemp = config.known_args_namespace.basetemp
    around = surroundings_of(config.rootpath, [Path(basetemp)] if basetemp else [])
    recorder = Recorder(around.first_party, around.import_roots())
    recorder.start()
    config.add_cleanup(recorder.stop)
    config.pluginmanager.register(Recording(recorder), "hotplug-recording")


class TellsWhatTestsUse:
    """Sends what reports carry: each new part, then which parts a test is made of."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[dict[str, Any], str]] = {}  # by id: the part is kept, so no id is used twice

    def tell(self, report: pytest.TestReport, tells: Tells) -> None:
        """Tell what a test used, once the report of its end has it."""
        facts = getattr(report, FACTS, None)
        if facts is not None:
            parts = [self._name_of(part, tells) for part in facts["parts"]]
            tells.send("used", nodeid=report.nodeid, parts=parts, written=facts["written"])

    def _name_of(self, part: dict[str, Any], tells: Tells) -> str:
        known = self._told.get(id(part))
        if known is None:
            data = json.dumps(part, sort_keys=True)
            name = hashlib.md5(data.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
            if not any(name == other for _, other in self._told.values()):
                tells.send("part", name=name, part=part)
            known = self._told[id(part)] = (part, name)
        return known[1]
