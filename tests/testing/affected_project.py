"""A project on disk whose tests reach code and data in every way that a selection must see through.

`AffectedProject` writes it, edits it, runs pytest in it as a user does, and tells which tests ran."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_OUTCOME = "PASSED|FAILED|ERROR"
_VERBOSE = re.compile(
    rf"(?:\[gw\d+\] \[ *\d+%\] (?P<xdist>{_OUTCOME}) )?\S+?::(?P<test>\S+)(?: (?P<plain>{_OUTCOME}))?"
)

FILES = {
    "pyproject.toml": """
        [tool.pytest.ini_options]
        pythonpath = ["."]
        """,
    "plugins/greeter/plugin.json": '{"name": "greeter", "version": "1.0", "word": "hello"}\n',
    "plugins/greeter/main.py": """
        import json
        from pathlib import Path

        from .text import shout


        def run(name="ada"):
            return shout(name)


        def word():
            return json.loads(Path(__file__).with_name("plugin.json").read_text())["word"]


        def mark():
            from .text import MARK
            return MARK
        """,
    "plugins/greeter/text.py": """
        MARK = "!"


        def shout(name):
            # loud
            return name.upper()


        def whisper(name):
            return name.lower()
        """,
    "plugins/quiet/plugin.json": '{"name": "quiet"}\n',
    "plugins/quiet/main.py": """
        def run():
            return "..."
        """,
    "host/__init__.py": "",
    "host/dynamic.py": """
        import importlib


        def call(name):
            return importlib.import_module("extra." + name).answer()
        """,
    "host/limits.py": """
        import os

        TOP = int("3") + 4


        def top():
            return TOP
        """,
    "host/finding.py": """
        from pathlib import Path

        PLUGINS = Path(__file__).parents[1] / "plugins"


        def names():
            return sorted(path.parent.name for path in PLUGINS.glob("*/main.py"))


        def described():
            return [p.name for p in sorted(PLUGINS.iterdir()) if (p / "plugin.json").exists()]
        """,
    "extra/__init__.py": "",
    "extra/one.py": """
        def answer():
            return 1
        """,
    "script.py": """
        print("from a process")
        """,
    "formula.py": """
        RESULT = 6 * 7
        """,
    "tests/test_ways.py": """
        import subprocess
        import sys
        from pathlib import Path

        import pytest

        from host.dynamic import call
        from host.finding import described, names
        from host.limits import top

        ROOT = Path(__file__).parents[1]


        def test_data(hotplug):
            assert hotplug.load("greeter").call("word") == "hello"


        def test_dynamic():
            assert call("one") == 1


        @pytest.fixture(scope="session")
        def mark(tmp_path_factory):
            from pytest_hotplug import PluginManager
            with PluginManager(plugin_dirs=[ROOT / "plugins"]) as manager:
                return manager.call("greeter", "mark")


        def test_constant_first(mark):
            assert mark == "!"


        def test_constant_second(mark):
            assert mark == "!"


        def test_exec():
            space = {}
            exec(compile((ROOT / "formula.py").read_text(), "formula", "exec"), space)
            assert space["RESULT"] == 42


        def test_process():
            done = subprocess.run([sys.executable, str(ROOT / "script.py")], capture_output=True, text=True)
            assert done.stdout == "from a process\\n"


        def test_import_time():
            assert top() == 7


        def test_glob():
            assert names() == ["greeter", "quiet"]


        def test_described():
            assert described() == ["greeter", "quiet"]


        def test_greeter(hotplug):
            assert hotplug.load("greeter").execute() == "ADA"


        def test_quiet(hotplug):
            assert hotplug.load("quiet").execute() == "..."
        """,
}


@dataclass(frozen=True)
class Ran:
    """What one pytest run came to."""

    code: int
    out: str
    outcomes: Mapping[str, str]  # test name -> PASSED, FAILED, ERROR

    @property
    def names(self) -> list[str]:
        return sorted(self.outcomes)

    @property
    def line(self) -> str:
        """What we say at the end."""
        found = re.search(r"^hotplug: (.*)$", self.out, re.MULTILINE)
        assert found, self.out
        return found[1]


class AffectedProject:
    """The project, and pytest runs in it."""

    def __init__(self, path: Path, files: Mapping[str, str] = FILES) -> None:
        self.path = path
        for name, text in files.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip("\n"))

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.path / name
        text = file.read_text()
        assert old in text, text
        file.write_text(text.replace(old, new))

    def run(self, *options: str, module: str = "pytest", code: int | None = None, **environment: str) -> Ran:
        """Run pytest, and return what ran; `code` is the exit code that is expected."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name != "CI" and not name.startswith(("COV_", "GITHUB_"))
        }
        command = [sys.executable, "-m", module, "-v", "-p", "no:cacheprovider", *options]
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        out = done.stdout + done.stderr
        if code is not None:
            assert done.returncode == code, out
        found = [match for line in out.splitlines() if (match := _VERBOSE.match(line))]
        return Ran(
            done.returncode, out, {m["test"]: m["xdist"] or m["plain"] for m in found if m["xdist"] or m["plain"]}
        )

    def affected(self, *options: str, code: int | None = None, **environment: str) -> Ran:
        return self.run("--hotplug-affected", "--hotplug-why", *options, code=code, **environment)

    def git(self, *words: str) -> None:
        identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        subprocess.run(["git", *identity, *words], cwd=self.path, check=True, capture_output=True)
