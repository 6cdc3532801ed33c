"""Watch mode with the doctests of sources, which makes test files of them."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_hotplug.testing.watch.affected import Map, Uses
from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched, save

FILES = {
    "pyproject.toml": """
        [tool.hotplug]
        plugin_dirs = ["plugins"]

        [tool.pytest.ini_options]
        testpaths = ["plugins"]
        """,
    "plugins/counter/plugin.json": '{"name": "counter"}',
    "plugins/counter/main.py": """
        def run():
            '''Count.

            >>> run()
            1
            '''
            return 1
        """,
    "plugins/counter/test_counter.py": """
        def test_first(hotplug):
            assert hotplug.load().execute() == 1


        def test_second(hotplug):
            hotplug.load().execute()
        """,
}


def test_doctests_of_a_plugin_and_its_tests_are_green_and_red_with_it(tmp_path: Path) -> None:
    """--doctest-modules makes test files of sources: an edit runs their examples, and all tests that load them."""
    project = AffectedProject(tmp_path, FILES)
    with Watched(project.path, "--doctest-modules") as watched:
        assert watched.verdict()["passed"] == 3
        if sys.platform.startswith("linux"):
            watched.next("armed")
        names = {"plugins.counter.main.run", "test_first", "test_second"}
        for old, new, failing in (("1", "2", {"plugins.counter.main.run", "test_first"}), ("2", "1", set())):
            already = len(watched.events)
            save(project.path / "plugins/counter/main.py", f"return {old}", f"return {new}")
            verdict = watched.verdict()
            ran = {
                event["nodeid"].rpartition("::")[2] for event in watched.events[already:] if event["event"] == "report"
            }
            failures = {failure["nodeid"].rpartition("::")[2] for failure in verdict["failures"]}
            assert (ran, failures, verdict["outdated"]) == (names, failing, 0)
        assert not watched.events_of("fallback")


def test_a_source_that_is_collected_affects_its_users_too(tmp_path: Path) -> None:
    """Of tests whose recording doesn't count any more: those that load the plugin, and those that import the file."""
    main, helper = tmp_path / "plugins/counter/main.py", tmp_path / "tests/test_helper.py"
    for path in (main, helper):
        path.parent.mkdir(parents=True)
        path.write_text("")
    known = Map(tmp_path, (tmp_path / "plugins",), ("test_*.py",), {"counter": main.parent})
    known.tests = {"tests/test_a.py::test_loads": Uses(frozenset({"counter"})), "tests/test_b.py::test_imports": Uses()}
    known.collected = {main: Uses(), helper: Uses(), tmp_path / "tests/test_b.py": Uses(files=frozenset({helper}))}
    assert known.affected([main]).keys() == {"plugins/counter/main.py", "tests/test_a.py::test_loads"}
    assert known.affected([helper]).keys() == {"tests/test_helper.py", "tests/test_b.py::test_imports"}
