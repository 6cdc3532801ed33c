"""Watch mode: what is collected may change with any edit, and what stands is what a fresh run would collect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testing.watched import Watched, delete, make_project, save

pytestmark = pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")

HOOK = """\
import pytest


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".yaml":
        return Yaml.from_parent(parent, path=file_path)


class Yaml(pytest.File):
    def collect(self):
        yield Line.from_parent(self, name="line")


class Line(pytest.Item):
    def runtest(self):
        assert "bad" not in self.path.read_text()
"""


MODIFYITEMS = """\
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.name != 'test_other']
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a failing test in a directory of its own."""
    root = make_project(tmp_path)
    (root / "tests" / "other").mkdir()
    (root / "tests" / "other" / "test_other.py").write_text("def test_other():\n    assert 1 == 2\n")
    return root


@pytest.fixture
def ignored(project: Path) -> Iterator[Watched]:
    """Watch it while a rule of a conftest leaves the directory out, until all is at rest."""
    (project / "tests" / "conftest.py").write_text("collect_ignore = ['other']\n")
    with Watched(project) as watched:
        assert watched.verdict()["failures"] == []
        watched.next("armed")
        yield watched


def failing(verdict: dict[str, Any]) -> list[str]:
    return [failure["nodeid"] for failure in verdict["failures"]]


OTHER = "tests/other/test_other.py::test_other"


def test_a_rule_that_is_taken_out_brings_its_tests_back(ignored: Watched, project: Path) -> None:
    """With the very run that follows the edit, and not with the next one of everything."""
    (project / "tests" / "conftest.py").write_text("KEPT = 1\n")
    assert failing(ignored.verdict()) == [OTHER]


def test_a_comment_in_a_conftest_that_tests_use_collects_nothing(project: Path) -> None:
    """It can change no rule."""
    conftest = project / "tests" / "conftest.py"
    text = "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef around():\n    yield\n"
    conftest.write_text(text)
    with Watched(project) as watched:
        assert failing(watched.verdict()) == [OTHER]
        watched.next("armed")
        conftest.write_text(f"{text}# so it is\n")
        assert watched.next("selected")["tests"] == []


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("tests/conftest.py", "collect_ignore = ['other']\n"),
        ("conftest.py", MODIFYITEMS),
        ("pyproject.toml", "norecursedirs = ['other']\n"),
        ("pyproject.toml", "python_files = ['test_a*.py', 'test_c*.py', 'test_g*.py', 'test_p*.py']\n"),
    ],
    ids=["collect_ignore", "modifyitems", "norecursedirs", "python_files"],
)
def test_a_rule_that_is_added_and_taken_out_again_is_followed(project: Path, file: str, rule: str) -> None:
    """What it leaves out fails no longer, and fails again without it."""
    path = project / file
    before = path.read_text() if path.exists() else "\n"
    path.write_text(before)
    with Watched(project) as watched:
        assert failing(watched.verdict()) == [OTHER]
        watched.next("armed")
        path.write_text(before + rule)
        assert failing(watched.verdict()) == []
        watched.next("armed")
        path.write_text(before + "\n")
        assert failing(watched.verdict()) == [OTHER]


def test_what_a_new_hook_collects_runs(project: Path) -> None:
    """A conftest that begins to collect files of another kind; new files of that kind; their edits."""
    delete(project / "tests" / "other")
    (project / "tests" / "one.yaml").write_text("bad\n")
    with Watched(project) as watched:
        assert failing(watched.verdict()) == []
        watched.next("armed")
        (project / "tests" / "conftest.py").write_text(HOOK)
        assert failing(watched.verdict()) == ["tests/one.yaml::line"]
        (project / "tests" / "one.yaml").write_text("good\n")
        assert failing(watched.verdict()) == []
        watched.next("armed")
        (project / "tests" / "two.yaml").write_text("bad\n")
        assert failing(watched.verdict()) == ["tests/two.yaml::line"]
        (project / "tests" / "two.yaml").unlink()
        assert failing(watched.verdict()) == []


def test_new_files_with_doctests_run(project: Path) -> None:
    """Texts by the given pattern, and sources with --doctest-modules."""
    delete(project / "tests" / "other")
    with Watched(project, "--doctest-modules", "--doctest-glob=*.md") as watched:
        assert failing(watched.verdict()) == []
        watched.next("armed")
        (project / "tests" / "guide.md").write_text(">>> 1 + 1\n3\n")
        assert failing(watched.verdict()) == ["tests/guide.md::guide.md"]
        (project / "tests" / "source.py").write_text('"""\n>>> 1 + 1\n3\n"""\n')
        names = failing(watched.verdict())
        assert [name.partition("::")[0] for name in names] == ["tests/guide.md", "tests/source.py"]


@pytest.mark.parametrize("base", [False, True], ids=["its own", "inherited"])
def test_the_only_test_of_a_file_that_is_deleted_fails_no_longer(project: Path, base: bool) -> None:
    """The file is there still, and has no test any more."""
    test = project / "tests" / "other" / "test_other.py"
    body = "def test_other(self):\n        assert 1 == 2\n" if base else ""
    if base:
        test.write_text(f"class Base:\n    {body}\n\nclass TestIt(Base):\n    pass\n")
    with Watched(project) as watched:
        assert len(failing(watched.verdict())) == 1
        watched.next("armed")
        save(test, "def test_other", "def other")
        assert failing(watched.verdict()) == []


def test_a_plugin_that_goes_and_comes_back_is_whole(project: Path) -> None:
    """A test outside that imports it can be collected again."""
    delete(project / "tests" / "other")
    (project / "tests" / "test_imports.py").write_text(
        "from plugins.counter.main import run\n\n\ndef test_imports():\n    assert run() == 1\n"
    )
    away = project.parent / "away"
    with Watched(project) as watched:
        assert failing(watched.verdict()) == []
        watched.next("armed")
        (project / "plugins" / "counter").rename(away)
        assert "tests/test_imports.py" in failing(watched.verdict())
        watched.next("armed")
        away.rename(project / "plugins" / "counter")
        assert failing(watched.verdict()) == []


def test_an_error_that_only_a_collection_of_everything_shows_is_told(project: Path) -> None:
    """Two sources of one name can't both be imported for their doctests; a new source hides nothing of that."""
    delete(project / "tests" / "other")
    for place in (project / "tests", project / "tests" / "sub"):
        place.mkdir(exist_ok=True)
        (place / "twice.py").write_text('"""\n>>> 1 + 1\n2\n"""\n')
    with Watched(project, "--doctest-modules") as watched:
        stands = failing(watched.verdict())
        assert stands
        watched.next("armed")
        (project / "tests" / "source.py").write_text('"""\n>>> 1 + 1\n2\n"""\n')
        verdict = watched.verdict()
        while failing(verdict) != stands:  # what the new source shows comes first
            verdict = watched.verdict()
