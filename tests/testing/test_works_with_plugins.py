"""Watch mode and the selection beside pytest's best-known plugins: asynchronous tests, chance, time limits, ids."""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.reloader.workshop import eventually
from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched, save

MODULES = {
    "asyncio": "pytest_asyncio",
    "anyio": "anyio",
    "hypothesispytest": "hypothesis",
    "randomly": "pytest_randomly",
    "timeout": "pytest_timeout",
    "xdist": "xdist",
}
FILES = {
    "pyproject.toml": """
        [tool.hotplug]
        plugin_dirs = ["plugins"]

        [tool.pytest.ini_options]
        testpaths = ["plugins"]
        """,
    "plugins/counter/plugin.json": '{"name": "counter"}',
    "plugins/counter/main.py": "def run():\n    return 1\n",
    "plugins/other/plugin.json": '{"name": "other"}',
    "plugins/other/main.py": "def run():\n    return 5\n",
    "plugins/other/test_other.py": "def test_other(hotplug):\n    assert hotplug.load().execute() > 0\n",
}
KINDS = {
    "pyproject.toml": FILES["pyproject.toml"]
    + """filterwarnings = ["error"]
        asyncio_default_fixture_loop_scope = "function"
        """,
    "plugins/counter/test_asyncio.py": """
        import asyncio

        import pytest
        import pytest_asyncio

        from pytest_hotplug import PluginManager


        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def wide():
            with PluginManager(plugin_dirs=["plugins"]) as manager:
                yield await manager.aexecute("counter")


        @pytest.mark.asyncio(loop_scope="module")
        async def test_async_fixture(wide):
            await asyncio.sleep(0)
            assert wide == 1


        @pytest.mark.asyncio
        async def test_async_call(hotplug):
            assert await hotplug.load().aexecute() == 1
        """,
    "plugins/counter/test_hypothesis.py": """
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st


        @settings(max_examples=10, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(n=st.integers(0, 100))
        def test_property(hotplug, n):
            assert n < 5 or hotplug.load().execute() == 1
        """,
    "plugins/counter/test_timeout.py": """
        import pytest


        @pytest.mark.timeout(20)
        def test_in_time(hotplug):
            assert hotplug.load().execute() == 1
        """,
}
ANYIO = """
    import anyio
    import pytest

    pytestmark = pytest.mark.anyio


    @pytest.fixture
    def anyio_backend():
        return "asyncio"


    @pytest.fixture
    async def number(hotplug):
        await anyio.sleep(0)
        yield await hotplug.load().aexecute()


    async def test_anyio(number):
        assert number == 1
    """
AUTO = "async def test_unmarked(hotplug):\n    assert await hotplug.load().aexecute() == 1\n"
NAMES = {"test_async_fixture", "test_async_call", "test_property", "test_in_time"}


def loading(*names: str) -> list[str]:
    """Return the arguments that load these plugins; skips where one isn't installed."""
    for name in names:
        pytest.importorskip(MODULES[name], reason=f"{MODULES[name]} isn't installed")
    return [word for name in names for word in ("-p", name)]


def last(nodeid: str) -> str:
    return nodeid.rpartition("::")[2]


def ran_since(watched: Watched, already: int) -> list[str]:
    """Return the tests that were reported after so many events."""
    return [last(event["nodeid"]) for event in watched.events[already:] if event["event"] == "report"]


def edit(watched: Watched, plugin: str, old: str, new: str) -> tuple[set[str], set[str], str]:
    """Save, and return what ran, what fails now, and the level that it ran from."""
    already = len(watched.events)
    save(watched.project / "plugins" / plugin / "main.py", old, new)
    level = watched.next("run")["level"]
    failures = {last(failure["nodeid"]) for failure in watched.verdict()["failures"]}
    return set(ran_since(watched, already)), failures, str(level)


warm = "collected" if sys.platform.startswith("linux") else "cold"


@pytest.mark.parametrize(("mode", "method"), [("strict", "signal"), ("auto", "thread")])
def test_a_watch_beside_plugins_for_loops_chance_and_time(tmp_path: Path, mode: str, method: str) -> None:
    """Red, green and left out as in a plain project, all from what is collected, warnings being errors."""
    more = {"plugins/counter/test_more.py": ANYIO if mode == "strict" else AUTO}
    names = NAMES | ({"test_anyio"} if mode == "strict" else {"test_unmarked"})
    project = AffectedProject(tmp_path, {**FILES, **KINDS, **more})
    plugins = loading("asyncio", "hypothesispytest", "randomly", "timeout", *(["anyio"] if mode == "strict" else []))
    own = ("-o", f"asyncio_mode={mode}", "--timeout=30", f"--timeout-method={method}")
    with Watched(project.path, *plugins, *own) as watched:
        first = watched.verdict()
        assert (first["passed"], first["failures"]) == (len(names) + 1, [])
        if warm == "collected":
            watched.next("armed")
        assert edit(watched, "counter", "return 1", "return 2") == (names, names, warm)
        assert edit(watched, "counter", "return 2", "return 1") == (names, set(), warm)
        assert edit(watched, "other", "return 5", "return 6") == ({"test_other"}, set(), warm)
        assert warm == "cold" or not watched.events_of("fallback")


def test_a_selection_beside_them_with_workers(tmp_path: Path) -> None:
    """`-n 2` records and selects what one process does, in whatever order; a database of examples affects nobody."""
    project = AffectedProject(tmp_path, {**FILES, **KINDS, "plugins/counter/test_more.py": ANYIO})
    plugins = loading("asyncio", "hypothesispytest", "randomly", "timeout", "anyio")
    workers = [*loading("xdist"), "-n", "2"]
    assert set(project.run("--hotplug-record", *plugins, *workers, code=0).names) == {
        *NAMES, "test_anyio", "test_other",
    }  # fmt: skip
    project.edit("plugins/counter/main.py", "return 1", "return 2")
    failed = project.affected(*plugins, code=1)
    assert failed.outcomes == dict.fromkeys({*NAMES, "test_anyio"}, "FAILED")
    project.edit("plugins/counter/main.py", "return 2", "return 1")
    assert set(project.affected(*plugins, *workers, code=0).names) == {*NAMES, "test_anyio"}
    assert project.affected(*plugins, code=0).names == []


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_test_that_hangs_is_ended_by_its_time_limit(tmp_path: Path, method: str) -> None:
    """Either method: the verdict is red; mended, it is green, and from what is collected as before.

    The thread method ends the whole process, so that nobody knows how the test would have ended: it is pending."""
    text = "import pytest\n\n\n@pytest.mark.timeout(1)\ndef test_hangs(hotplug):\n    hotplug.load().execute()\n"
    project = AffectedProject(tmp_path, {**FILES, "plugins/counter/test_hangs.py": text})
    with Watched(project.path, *loading("timeout"), f"--timeout-method={method}") as watched:
        watched.verdict()
        if warm == "collected":
            watched.next("armed")
        main = project.path / "plugins/counter/main.py"
        save(main, "return 1", "import time\n    time.sleep(60)\n    return 1")
        verdict = watched.verdict()
        told = (verdict["failed"], verdict["errors"], verdict["outdated"])
        assert told == ((1, 0, 0) if method == "signal" else (0, 1, 1))
        assert edit(watched, "counter", "sleep(60)", "sleep(0)") == ({"test_hangs"}, set(), warm)


def test_a_failure_by_chance_can_be_repeated(tmp_path: Path) -> None:
    """The run says the seed with which a plain pytest runs the same tests in the same order, with the same numbers."""
    text = "import random\nfrom pathlib import Path\n\nLOG = Path(__file__).parents[2] / 'log'\n" + "".join(
        f"\n\ndef test_{letter}(hotplug):\n    assert hotplug.load().execute() == 1\n"
        f"\n\ndef test_{letter}_draws(hotplug):\n    hotplug.load().execute()\n"
        f"    with LOG.open('a') as log:\n        log.write(f'{letter} {{random.random()}}\\n')\n"
        for letter in "abcdef"
    )
    project = AffectedProject(tmp_path, {**FILES, "plugins/counter/test_chance.py": text})
    log, plugins = project.path / "log", loading("randomly")
    one_process = "--maxfail=99"
    with Watched(project.path, *plugins, one_process) as watched:
        watched.verdict()
        if warm == "collected":
            watched.next("armed")
        drawn_before = log.read_text()  # left there: a file that a test names is an edit when it goes
        save(project.path / "plugins/counter/main.py", "return 1", "return 2")
        assert watched.verdict()["failed"] == 6
        seeds: list[str] = []

        def two_are_told() -> bool:
            seeds[:] = re.findall(r"Using --randomly-seed=(\d+)", "".join(watched.said))
            return len(seeds) == 2

        eventually(two_are_told, "the seed of the second run")
    drawn = log.read_text().removeprefix(drawn_before)
    log.unlink()
    project.run(*plugins, f"--randomly-seed={seeds[1]}", "plugins/counter", code=1)
    assert log.read_text() == drawn


def test_ids_that_change_from_run_to_run_run_all_the_same(tmp_path: Path) -> None:
    """A clock in an id: the test fails and passes with the bytes, watch after watch, and fills no map."""
    text = (
        "import time\n\nimport pytest\n\n\n@pytest.mark.parametrize('t', [time.time_ns()])\n"
        "def test_now(hotplug, t):\n    assert hotplug.load().execute() == 1\n"
    )
    project = AffectedProject(tmp_path, {**FILES, "plugins/counter/test_clock.py": text})
    for _ in range(2):
        with Watched(project.path) as watched:
            watched.verdict()
            if warm == "collected":
                watched.next("armed")
            ran, failed, level = edit(watched, "counter", "return 1", "return 2")
            assert ([name[:8] for name in ran], failed, level) == (["test_now"], ran, warm)
            ran, failed, level = edit(watched, "counter", "return 2", "return 1")
            assert ([name[:8] for name in ran], failed, level) == (["test_now"], set(), warm)
            assert watched.events[-1]["outdated"] == 0
            watched.end()
        database = sqlite3.connect(project.path / ".hotplug" / "affected.sqlite")
        (known,) = database.execute("SELECT count(*) FROM tests WHERE nodeid LIKE '%test_now%'").fetchone()
        database.close()
        assert known == 1
