"""A project whose tests tell, through a pipe, what they saw; the same for pytest and for vitest.

Every plugin has one value, and its tests tell the value with their outcome: so it shows whether a run
was about the newest bytes, whoever started it. For `watch_peers` only.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # seconds until a run that doesn't come is given up

_MAIN = "ANSWER = {value}\n\n\ndef run(number=0):\n    return ANSWER + number\n"
_TESTS = """\
import pytest


@pytest.mark.parametrize("number", range({tests}))
def test_it_adds(hotplug, number, record_property):
    plugin = hotplug.load()
    assert plugin.execute(number=number) - plugin.execute() == number
    record_property("answer", plugin.execute())
"""
_CONFTEST = """\
import json
import os

_pipes = {{}}


def _tell(**facts):
    if os.getpid() not in _pipes:
        _pipes[os.getpid()] = open({pipe!r}, "w")
    _pipes[os.getpid()].write(json.dumps(facts) + "\\n")
    _pipes[os.getpid()].flush()


def pytest_runtest_logreport(report):
    if report.when == "call":
        _tell(test=report.nodeid, outcome=report.outcome, answer=dict(report.user_properties).get("answer"))


def pytest_sessionfinish():
    _tell(end=True)
"""
_JS_MAIN = "export const ANSWER = {value}\nexport const run = (number = 0) => ANSWER + number\n"
_JS_TESTS = """\
import {{ test, expect }} from "vitest"
import {{ run, ANSWER }} from "./main.js"

for (let number = 0; number < {tests}; number++) {{
  test("adds " + number, ({{ task }}) => {{
    expect(run(number) - run()).toBe(number)
    task.meta.answer = ANSWER
  }})
}}
"""
_JS_REPORTER = """\
import fs from "node:fs"

const pipe = fs.openSync({pipe}, "w")
const tell = (facts) => fs.writeSync(pipe, JSON.stringify(facts) + "\\n")

export default class {{
  onTestCaseResult(test) {{
    tell({{ test: test.module.moduleId, outcome: test.result().state, answer: test.meta().answer }})
  }}
  onTestRunEnd() {{
    tell({{ end: true }})
  }}
}}
"""


class ToldProject:
    """Plugins and their tests below `root`, in Python or (`vitest`: where it is installed) in JavaScript."""

    def __init__(self, root: Path, plugins: int, tests: int, vitest: Path | None = None) -> None:
        self.root = root
        self._main = ("main.js", _JS_MAIN) if vitest else ("main.py", _MAIN)
        self.pipe = os.fspath(root.parent / f"{root.name}.pipe")
        os.mkfifo(self.pipe)
        self._heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        for number in range(plugins):
            place = root / "plugins" / f"plugin_{number:03}"
            place.mkdir(parents=True)
            self._write_main(place, 0)
            if vitest:
                (place / "main.test.js").write_text(_JS_TESTS.format(tests=tests))
            else:
                (place / "plugin.json").write_text(json.dumps({"name": place.name}))
                (place / f"test_{place.name}.py").write_text(_TESTS.format(tests=tests))
        if vitest:
            (root / "node_modules").symlink_to(vitest / "node_modules")
            (root / "package.json").write_text('{"type": "module"}')
            (root / "reporter.js").write_text(_JS_REPORTER.format(pipe=json.dumps(self.pipe)))
        else:
            (root / "conftest.py").write_text(_CONFTEST.format(pipe=self.pipe))
            (root / "pyproject.toml").write_text(
                '[tool.hotplug]\nplugin_dirs = ["plugins"]\n\n[tool.pytest.ini_options]\ntestpaths = ["plugins"]\n'
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _write_main(self, place: Path, value: int) -> None:
        name, text = self._main
        beside = place / f".{name}.new"
        beside.write_text(text.format(value=value))
        beside.replace(place / name)

    def edit(self, value: int) -> None:
        """Save the first plugin with another value, as editors do: beside, then renamed."""
        self._write_main(self.root / "plugins" / "plugin_000", value)

    def _listen(self) -> None:
        kept = os.open(self.pipe, os.O_RDWR)  # so that the pipe never ends
        with open(kept, encoding="utf-8") as pipe:
            for line in pipe:
                self._heard.put(json.loads(line))

    def first_report(self) -> dict[str, Any] | None:
        """Return what the first test of the edited plugin tells; None if none comes."""
        try:
            while True:
                facts = self._heard.get(timeout=PATIENCE)
                if "plugin_000" in facts.get("test", ""):
                    return facts
        except queue.Empty:
            return None

    def wait_for_end(self) -> None:
        """Wait until the run is over, or none comes."""
        try:
            while not self._heard.get(timeout=PATIENCE).get("end"):
                pass
        except queue.Empty:
            return

    def forget(self) -> None:
        """Drop what was told."""
        while not self._heard.empty():
            self._heard.get()


class Running:
    """A watcher of tests at work over a project, and all the processes that it starts."""

    def __init__(self, project: ToldProject, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.project = project
        self._process = subprocess.Popen(
            command,
            cwd=project.root,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,  # several end when it does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        project.wait_for_end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End it and whatever it has started, and remove the project."""
        os.killpg(self._process.pid, 15)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        shutil.rmtree(self.project.root)
