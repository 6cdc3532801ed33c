"""Watch mode and the selection in projects of every shape: how tests are written, where they lie, how they are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched, save

FILES = {
    "pyproject.toml": """
        [tool.hotplug]
        plugin_dirs = ["plugins"]

        [tool.pytest.ini_options]
        pythonpath = ["src", "."]
        addopts = ["--import-mode=importlib", "--doctest-glob=*.rst"]
        testpaths = ["plugins", "src", "tests", "docs"]
        """,
    "plugins/counter/plugin.json": '{"name": "counter"}',
    "plugins/counter/main.py": "def run():\n    return 1\n",
    "plugins/other/plugin.json": '{"name": "other"}',
    "plugins/other/main.py": "def run():\n    return 5\n",
    "plugins/other/test_other.py": """
        def test_the_other_plugin(hotplug):
            assert hotplug.load().execute() > 0
        """,
    # fixtures that only conftests define, and tests that a conftest makes of what it finds
    "tests/conftest.py": """
        import json
        from pathlib import Path

        import pytest

        from pytest_hotplug import PluginManager

        ROOT = Path(__file__).parents[1]


        def value():
            with PluginManager(plugin_dirs=[ROOT / "plugins"]) as manager:
                return manager.execute("counter")


        @pytest.fixture
        def number(hotplug):
            return hotplug.load("counter").execute()


        @pytest.fixture(scope="class")
        def class_number():
            return value()


        @pytest.fixture(scope="module")
        def module_number():
            return value()


        @pytest.fixture(scope="session")
        def session_number():
            return value()


        def pytest_generate_tests(metafunc):
            if "case" in metafunc.fixturenames:
                cases = json.loads((ROOT / "tests" / "cases.json").read_text())
                metafunc.parametrize("case", cases.values(), ids=cases)
        """,
    "tests/cases.json": '{"one": 1, "uno": 1}',
    "tests/test_fixtures.py": """
        class TestOfAClass:
            def test_first_of_class(self, class_number):
                assert class_number == 1

            def test_second_of_class(self, class_number):
                assert class_number == 1


        def test_first_of_module(module_number):
            assert module_number == 1


        def test_second_of_module(module_number):
            assert module_number == 1


        def test_of_session(session_number):
            assert session_number == 1


        def test_generated(number, case):
            assert number == case


        def test_that_uses_nothing():
            pass
        """,
    "tests/test_unittest.py": """
        import unittest

        import pytest

        from pytest_hotplug import PluginManager


        class TestOld(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                with PluginManager(plugin_dirs=["plugins"]) as manager:
                    cls.number = manager.execute("counter")

            @pytest.fixture(autouse=True)
            def sandbox(self, hotplug):
                self.hotplug = hotplug

            def test_class_set_up(self):
                self.assertEqual(self.number, 1)

            def test_injected(self):
                self.assertEqual(self.hotplug.load("counter").execute(), 1)

            def test_parts(self):
                for wanted in (1, self.number):
                    with self.subTest(wanted=wanted):
                        self.assertEqual(self.number, 1)


        class TestApart(unittest.TestCase):
            def test_of_unittest_that_uses_nothing(self):
                self.assertTrue(True)
        """,
    # one name twice, in directories that are no packages
    "tests/first/test_same.py": "def test_in_first(number):\n    assert number == 1\n",
    "tests/second/test_same.py": "def test_in_second(number):\n    assert number == 1\n",
    "docs/guide.rst": """
        Guide
        =====

        >>> getfixture("hotplug").load("counter").execute()
        1
        """,
    # a package below src/ with its tests inside, and a part of a namespace package
    "src/pkg/__init__.py": "",
    "src/pkg/maths.py": """
        def double(n):
            return n * 2


        def half(n):
            return n / 2
        """,
    "src/pkg/tests/__init__.py": "",
    "src/pkg/tests/test_maths.py": """
        from ..maths import double, half


        def test_double():
            assert double(1) == 2


        def test_half():
            assert half(2) == 1
        """,
    "src/space/part/triple.py": "def triple(n):\n    return n * 3\n",
    "tests/test_space.py": """
        from space.part.triple import triple


        def test_triple():
            assert triple(1) == 3
        """,
}
OF_THE_PLUGIN = {
    "test_first_of_class", "test_second_of_class", "test_first_of_module", "test_second_of_module", "test_of_session",
    "test_generated[one]", "test_generated[uno]", "test_class_set_up", "test_injected", "test_parts", "test_in_first",
    "test_in_second", "guide.rst",
}  # fmt: skip
OTHERS = {"test_the_other_plugin", "test_that_uses_nothing", "test_of_unittest_that_uses_nothing", "test_double",
          "test_half", "test_triple"}  # fmt: skip
Edit = tuple[str, str, str, set[str], bool]  # file, old, new, tests that run, whether they fail
EDITS: list[Edit] = [
    ("plugins/counter/main.py", "return 1", "return 2", OF_THE_PLUGIN, True),
    ("plugins/counter/main.py", "return 2", "return 1", OF_THE_PLUGIN, False),
    ("plugins/other/main.py", "return 5", "return 6", {"test_the_other_plugin"}, False),
    ("src/pkg/maths.py", "n * 2", "n * 4", {"test_double"}, True),
    ("src/pkg/maths.py", "n * 4", "n * 2", {"test_double"}, False),
    ("src/space/part/triple.py", "n * 3", "n + 2", {"test_triple"}, False),
    ("docs/guide.rst", "    1", "    3", {"guide.rst"}, True),
    ("docs/guide.rst", "    3", "    1", {"guide.rst"}, False),
]


@pytest.fixture
def project(tmp_path: Path) -> AffectedProject:
    return AffectedProject(tmp_path, FILES)


def last(nodeid: str) -> str:
    return nodeid.rpartition("::")[2]


def test_what_a_run_selects_in_a_project_of_every_shape(project: AffectedProject) -> None:
    """unittest, subTest, doctest files, fixtures of every scope, generated tests, src layout, namespaces."""
    project.run("--hotplug-record", code=0)
    for file, old, new, tests, fail in EDITS:
        project.edit(file, old.strip(), new.strip())
        ran = project.affected(code=int(fail))
        assert {last(name) for name in ran.names} == tests, file


@pytest.fixture
def watched(project: AffectedProject) -> Iterator[Watched]:
    with Watched(project.path) as watched:
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failures"]) == (len(OF_THE_PLUGIN | OTHERS), [])
        watched.next("armed")
        yield watched


def test_what_a_watch_runs_in_a_project_of_every_shape(project: AffectedProject, watched: Watched) -> None:
    """The same tests as the selection, red and green with the bytes; only what was imported is collected anew."""
    just_before: set[str] = set()  # saved so soon after the verdict, these may come along
    for file, old, new, tests, fail in EDITS:
        already = len(watched.events)
        save(project.path / file, old.strip(), new.strip())
        level = watched.next("run")["level"]
        verdict = watched.verdict()
        assert {last(failure["nodeid"]) for failure in verdict["failures"]} == (tests if fail else set()), file
        ran = {last(event["nodeid"]) for event in watched.events[already:] if event["event"] == "report"}
        assert tests <= ran <= tests | just_before, file
        just_before = tests
        assert level == ("collected" if file.startswith("plugins") else "configured"), watched.events_of("run")
        if level != "collected":
            watched.next("armed")


def test_a_data_file_that_makes_tests_is_collected_anew(project: AffectedProject, watched: Watched) -> None:
    """A new case in it is a new test, which runs; one that went is nobody's pending test."""
    save(project.path / "tests/cases.json", '"uno": 1', '"eins": 1, "deux": 2')
    assert watched.next("run")["level"] == "configured"
    verdict = watched.verdict()
    assert [last(failure["nodeid"]) for failure in verdict["failures"]] == ["test_generated[deux]"]
    assert verdict["outdated"] == 0
    watched.next("armed")
    save(project.path / "tests/cases.json", ', "deux": 2', "")
    verdict = watched.verdict()
    assert (verdict["failures"], verdict["outdated"]) == ([], 0)
