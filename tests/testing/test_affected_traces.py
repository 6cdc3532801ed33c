"""Ways to reach code and data that leave little trace: what they reach still counts for each test that takes them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched

_RENAMED = "OTHER = 1\n"

FILES = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = ["-p", "no:randomly"]\n',
    "patched.py": "TAX = 1\n",
    "mocked.py": "TAX = 1\n",
    "wanted.py": "TAX = 1\n",
    "resolved.py": "TAX = 1\n",
    "pickled.py": "class Kept:\n    pass\n",
    "tests/test_strings.py": """
        import pkgutil
        from unittest import mock

        import pytest


        @pytest.mark.parametrize("time", [1, 2])
        def test_monkeypatch(monkeypatch, time):
            monkeypatch.setattr("patched.TAX", 5)


        @pytest.mark.parametrize("time", [1, 2])
        def test_mock(time):
            with mock.patch("mocked.TAX", 5):
                pass


        @pytest.mark.parametrize("time", [1, 2])
        def test_importorskip(time):
            assert pytest.importorskip("wanted").TAX == 1


        @pytest.mark.parametrize("time", [1, 2])
        def test_resolve_name(time):
            assert pkgutil.resolve_name("resolved:TAX") == 1
        """,
    "loaded.py": """
        def load():
            return 1


        def prepare():
            return 1
        """,
    "tests/test_asked.py": """
        import pytest

        import loaded


        @pytest.fixture(scope="session")
        def plain():
            return loaded.load()


        @pytest.fixture(scope="session")
        def inner():
            return loaded.prepare()


        @pytest.fixture(scope="module")
        def outer(request):
            return request.getfixturevalue("inner")


        @pytest.mark.parametrize("time", [1, 2])
        def test_asks(request, time):
            assert request.getfixturevalue("plain") == 1


        def test_inner(inner):
            assert inner == 1


        @pytest.mark.parametrize("time", [1, 2])
        def test_outer(outer, time):
            assert outer == 1
        """,
    "spawned.py": """
        import multiprocessing
        import sys


        def value():
            return 0


        def child():
            sys.exit(value())


        def code(method):
            process = multiprocessing.get_context(method).Process(target=child)
            process.start()
            process.join()
            return process.exitcode
        """,
    "tests/test_spawn.py": """
        import pytest

        from spawned import code


        @pytest.mark.parametrize("time", [1, 2])
        def test_spawn(time):
            assert code("spawn") == 0


        @pytest.mark.parametrize("time", [1, 2])
        def test_forkserver(time):
            assert code("forkserver") == 0
        """,
    "one.txt": "one",
    "two.txt": "two",
    "first/__init__.py": "VALUE = 1\n",
    "second/__init__.py": "VALUE = 2\n",
    "tests/test_link.py": """
        from pathlib import Path

        import chosen


        def test_linked_file():
            assert Path("chosen.txt").read_text() == "one"


        def test_linked_package():
            assert chosen.VALUE == 1
        """,
    "package/__init__.py": "",
    "package/data.txt": "one",
    "package/more.txt": "one",
    "tests/test_resource.py": """
        import pkgutil

        import package


        def test_get_data():
            assert pkgutil.get_data("package", "data.txt") == b"one"


        def test_loader():
            assert package.__loader__.get_data(package.__path__[0] + "/more.txt") == b"one"
        """,
    "tests/test_pickle.py": """
        import pickle

        import pytest

        DATA = b"cpickled\\nKept\\n."


        @pytest.mark.parametrize("time", [1, 2])
        def test_pickle(time):
            assert pickle.loads(DATA).__name__ == "Kept"
        """,
}


def _link(project: AffectedProject, name: str, target: str) -> None:
    """Let a link lead to something else, in one step as deployments do."""
    new = project.path / f"{name}.new"
    new.symlink_to(target)
    new.replace(project.path / name)


MUTATIONS: dict[str, tuple[Callable[[AffectedProject], object], set[str]]] = {
    "monkeypatch.setattr of a name": (lambda project: project.write("patched.py", _RENAMED), {"test_monkeypatch"}),
    "mock.patch of a name": (lambda project: project.write("mocked.py", _RENAMED), {"test_mock"}),
    "importorskip": (lambda project: project.write("wanted.py", "TAX = 2\n"), {"test_importorskip"}),
    "pkgutil.resolve_name": (lambda project: project.write("resolved.py", _RENAMED), {"test_resolve_name"}),
    "a class in a pickle": (lambda project: project.write("pickled.py", _RENAMED), {"test_pickle"}),
    "a fixture that is asked for by name": (
        lambda project: project.edit("loaded.py", "load():\n    return 1", "load():\n    return 2"),
        {"test_asks"},
    ),
    "a fixture that another one asks for by name": (
        lambda project: project.edit("loaded.py", "prepare():\n    return 1", "prepare():\n    return 2"),
        {"test_inner", "test_outer"},
    ),
    "a link to a file": (lambda project: _link(project, "chosen.txt", "two.txt"), {"test_linked_file"}),
    "a link to a package": (lambda project: _link(project, "chosen", "second"), {"test_linked_package"}),
    "a link that is gone": (lambda project: (project.path / "chosen.txt").unlink(), {"test_linked_file"}),
    "a process of multiprocessing": (
        lambda project: project.edit("spawned.py", "return 0", "return 3"),
        {"test_spawn", "test_forkserver"},
    ),
    "pkgutil.get_data": (lambda project: project.write("package/data.txt", "two"), {"test_get_data"}),
    "a loader's get_data": (lambda project: project.write("package/more.txt", "two"), {"test_loader"}),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was recorded once; each test edits a copy of it."""
    project = AffectedProject(tmp_path_factory.mktemp("recorded") / "project", FILES)
    _link(project, "chosen.txt", "one.txt")
    _link(project, "chosen", "first")
    project.affected(code=0)
    return project.path


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> AffectedProject:
    copy = tmp_path / "project"
    shutil.copytree(recorded, copy, symlinks=True)
    return AffectedProject(copy, {})


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_an_edit_chooses_each_test_that_it_breaks(mutation: str, project: AffectedProject) -> None:
    """Not only the test that was the first to go this way in the run that was recorded."""
    mutate, breaks = MUTATIONS[mutation]
    mutate(project)
    chosen = project.affected(code=1)
    broken = {name for name, outcome in project.run(code=1).outcomes.items() if outcome != "PASSED"}
    assert {name.partition("[")[0] for name in broken} == breaks, chosen.out
    assert broken <= set(chosen.names), chosen.out


def test_since_a_revision_a_link_that_leads_elsewhere_runs_who_follows_it(project: AffectedProject) -> None:
    """What git keeps of a link is where it leads; the files there are the same as before."""
    project.write(".gitignore", "__pycache__\n.hotplug\n")
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", "first")
    assert project.run("--hotplug-since=HEAD", code=0).names == []
    _link(project, "chosen.txt", "two.txt")
    ran = project.run("--hotplug-since=HEAD", "--hotplug-why", code=1)
    assert ran.names == ["test_linked_file"], ran.out
    assert "the link chosen.txt leads elsewhere" in ran.out


@pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")
@pytest.mark.parametrize(
    ("link", "target", "breaks"),
    [("chosen.txt", "two.txt", "test_linked_file"), ("chosen", "second", "test_linked_package")],
)
def test_the_watch_runs_who_follows_a_link_that_leads_elsewhere(
    link: str, target: str, breaks: str, project: AffectedProject
) -> None:
    """A deployment that switches `current` is seen at once."""
    with Watched(project.path, "tests/test_link.py") as watched:
        assert watched.verdict()["failed"] == 0
        _link(project, link, target)
        assert breaks in watched.chosen()
        assert watched.verdict()["failed"] == 1
