"""What a recording run covers is what a plain run covers, line by line and branch by branch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched, save

CODE = """'''A module.'''
from __future__ import annotations

import asyncio
import contextlib
import dataclasses


def plain(a):
    return a + 1


def documented(a):
    '''Only a docstring, over
    two lines.'''


def documented_too(a):
    '''Text.'''
    if a:
        return 1
    return 2


def one_line(a): return a
def dots(a): ...


def empty():
    pass


def never():
    x = 1
    return x


class Thing:
    '''A class.'''

    KIND = "thing"

    def method(self):
        def inner():
            return 1

        return inner()

    @property
    def kind(self):
        return self.KIND

    @staticmethod
    def static(): return 3

    class Nested:
        size = 1

    class Bare:
        '''Only words.'''

    class Dots: ...


@dataclasses.dataclass
class Data:
    a: int = 1


def generator(n):
    for i in range(n):
        yield i


async def later():
    '''Wait.'''
    await asyncio.sleep(0)
    return 1


async def stream():
    for i in range(2):
        yield i


async def read_all():
    return [i async for i in stream()]


@contextlib.contextmanager
def managed():
    try:
        yield 1
    finally:
        pass


def chosen(x):
    match x:
        case 1:
            return "one"
        case [a, *_]:
            return a
    return None


def loops():
    while True:
        if plain(1):
            break
    else:
        never()


def raises():
    raise ValueError(
        "a"
        "b"
    )


def counted():
    global COUNT
    COUNT = 1


def with_statement():
    with managed() as m, \\
            managed():
        return m


def multi(
    a,
    b=1,
):
    return (
        a +
        b
    )


def starts_with_block():
    for i in ():
        never()


def starts_with_try():
    try:
        never()
    except ValueError:
        pass


def starts_with_while(n):
    while n:
        n -= 1


def starts_with_if(n):
    if n:
        return 1


def starts_with_with():
    with managed():
        pass


def starts_with_def():
    def a():
        return 1
    return a


def starts_with_decorated():
    @contextlib.contextmanager
    def a():
        yield
    return a


def starts_with_class():
    class A:
        pass
    return A


def delegates():
    yield from generator(2)


if plain(1):
    def conditional():
        return 1
else:
    def conditional():
        return 2

double = lambda x: x * 2
"""
USE = """
import asyncio

import pytest


def use(m):
    assert m.plain(1) == 2
    m.documented(1)
    m.documented_too(0)
    m.one_line(1)
    m.dots(1)
    m.empty()
    t = m.Thing()
    t.method()
    t.kind
    t.static()
    m.Data()
    list(m.generator(2))
    asyncio.run(m.later())
    asyncio.run(m.read_all())
    m.chosen([1])
    m.loops()
    m.counted()
    m.with_statement()
    m.multi(1)
    m.conditional()
    m.double(1)
    m.starts_with_block()
    m.starts_with_try()
    m.starts_with_while(2)
    m.starts_with_if(0)
    m.starts_with_with()
    m.starts_with_def()()
    m.starts_with_decorated()
    m.starts_with_class()
    list(m.delegates())
    with pytest.raises(ValueError):
        m.raises()
"""
FILES = {
    "pyproject.toml": '[tool.hotplug]\nplugin_dirs = ["plugins"]\n\n[tool.pytest.ini_options]\npythonpath = ["."]\n',
    "lib/__init__.py": "",
    "lib/code.py": CODE,
    "lib/use.py": USE,
    "plugins/things/plugin.json": '{"name": "things"}',
    "plugins/things/main.py": CODE
    + "\n\ndef run():\n    import sys\n\n    from lib.use import use\n\n    use(sys.modules[__name__])\n",
    "plugins/things/test_things.py": "def test_things(hotplug):\n    hotplug.load('things').execute()\n",
    "tests/test_lib.py": "from lib import code\nfrom lib.use import use\n\n\ndef test_lib():\n    use(code)\n",
}


def measured(project: AffectedProject, *options: str, **environment: str) -> dict[str, Any]:
    """Return coverage's figures of each file after a run, without the time of day."""
    report = project.path / "coverage.json"
    report.unlink(missing_ok=True)
    arguments = ("-p", "pytest_cov", "--cov=lib", "--cov=plugins", "--cov-branch", "--cov-report=json")
    project.run(*arguments, *options, code=0, **environment)
    facts: dict[str, Any] = json.loads(report.read_text())["files"]
    return facts


@pytest.fixture
def project(tmp_path: Path) -> AffectedProject:
    pytest.importorskip("pytest_cov", reason="pytest_cov isn't installed")
    return AffectedProject(tmp_path, FILES)


CORES = [{}] if sys.version_info < (3, 12) else [{}, {"COVERAGE_CORE": "sysmon"}]


@pytest.mark.parametrize("core", CORES, ids=str)
def test_recording_changes_none_of_coverages_figures(project: AffectedProject, core: dict[str, str]) -> None:
    """Of every kind of function, in a plugin and beside it: lines, branches and arcs, in one process and in workers."""
    plain = measured(project, **core)
    assert all(facts["summary"]["covered_branches"] for file, facts in plain.items() if file.endswith("code.py"))
    assert measured(project, "--hotplug-record", **core) == plain
    if not core:
        pytest.importorskip("xdist")
        assert measured(project, "--hotplug-record", "-p", "xdist", "-n", "2", **core) == plain


def test_a_watch_that_measures_coverage_says_why_it_is_slower(project: AffectedProject) -> None:
    """--cov: each run is a fresh process, with a line; the report is that of its tests."""
    covering = ("-p", "pytest_cov", "--cov=lib", "--cov=plugins", "--cov-branch", "--cov-report=json")
    with Watched(project.path, *covering) as watched:
        assert watched.verdict()["passed"] == 2
        save(project.path / "plugins/things/main.py", "return a + 1", "return a + 1 + 0")
        run = watched.next("run")
        assert (run["level"], run["because"]) == ("cold", "coverage is measured (--cov)")
        assert watched.verdict()["passed"] == 1
        assert [event["reason"] for event in watched.events_of("fallback")] == [
            "each run is a fresh process: coverage is measured (--cov)"
        ]
    told = json.loads((project.path / "coverage.json").read_text())["files"]
    assert told == measured(project, "plugins/things")
