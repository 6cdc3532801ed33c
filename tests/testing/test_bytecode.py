"""The newest source runs, however quick the edit: the .pyc of an older one is never taken for it."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

import pytest

from pytest_hotplug.testing.bytecode import drop_bytecode
from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched

WRITES = {"PYTHONDONTWRITEBYTECODE": ""}  # as users' machines have it: unset
FILES = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n',
    "plugins/.keep": "",
    "numbers_of.py": "def one():\n    return 1\n",
    "conftest.py": "import pytest\n\n\n@pytest.fixture\ndef expected():\n    return 1\n",
    "tests/test_one.py": "from numbers_of import one\n\n\ndef test_one(expected):\n    assert one() == 1 == expected\n",
}
EDITS = [  # of the same size
    pytest.param("numbers_of.py", "return 1", "return 2", id="a module"),
    pytest.param("tests/test_one.py", "one() == 1", "one() == 2", id="a test"),
    pytest.param("conftest.py", "return 1", "return 2", id="a conftest"),
]


@pytest.fixture
def project(tmp_path: Path) -> AffectedProject:
    """Its tests have run, and all was compiled within the second in which it was written."""
    project = AffectedProject(tmp_path / "project", FILES)
    moment = int(time.time()) - 5
    for source in project.path.rglob("*.py"):
        os.utime(source, (moment, moment))
    project.run(code=0, **WRITES)
    compiled = list(project.path.rglob("*.pyc"))
    assert {path.name.partition(".")[0] for path in compiled} == {"numbers_of", "test_one", "conftest"}
    for pyc in compiled:
        os.utime(pyc, (moment, moment))
    return project


def edit_within_its_second(project: AffectedProject, file: str, old: str, new: str) -> None:
    moment = (project.path / file).stat().st_mtime
    project.edit(file, old, new)
    os.utime(project.path / file, (moment, moment))


@pytest.mark.parametrize(("file", "old", "new"), EDITS)
def test_a_recorded_run_never_takes_bytecode_for_a_newer_source(
    file: str, old: str, new: str, project: AffectedProject
) -> None:
    """Nothing is known of what the plain run before it read."""
    edit_within_its_second(project, file, old, new)
    if file == "numbers_of.py":  # today's pytest looks at the content of what it rewrites
        assert project.run(code=0, **WRITES).names == ["test_one"], "Python itself should be deceived here"
    assert project.run("--hotplug-record", code=1, **WRITES).names == ["test_one"]


@pytest.mark.parametrize(("file", "old", "new"), EDITS[:2])
def test_a_selected_run_never_takes_bytecode_for_a_source_whose_time_was_set_back(
    file: str, old: str, new: str, project: AffectedProject
) -> None:
    """As `cp -p` and rsync do: the .pyc is younger than what it was compiled from, and still of other bytes."""
    project.run("--hotplug-record", code=0, **WRITES)
    project.run(code=0, **WRITES)
    edit_within_its_second(project, file, old, new)
    assert project.affected(code=1, **WRITES).names == ["test_one"]


@pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")
@pytest.mark.parametrize(("file", "old", "new"), EDITS)
def test_a_watch_never_takes_bytecode_for_a_newer_source(
    file: str, old: str, new: str, project: AffectedProject
) -> None:
    """Red and green alternate with saves that all carry one and the same time."""
    with Watched(project.path, environment=WRITES) as watched:
        assert watched.verdict()["failed"] == 0
        for failed in (1, 0, 1, 0):
            edit_within_its_second(project, file, *((old, new) if failed else (new, old)))
            assert watched.verdict()["failed"] == failed


def test_bytecode_that_cannot_be_removed_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else may have written it; the line names the file."""
    source = tmp_path / "numbers_of.py"
    in_the_way = tmp_path / "__pycache__" / "numbers_of.cpython-311.pyc"
    in_the_way.mkdir(parents=True)
    with caplog.at_level(logging.WARNING, "hotplug"):
        drop_bytecode([str(source)])
    assert str(in_the_way) in caplog.text


def test_names_with_dots_have_their_own_bytecode_dropped(tmp_path: Path) -> None:
    """`test_api.v1.py` is a test file with importmode=importlib."""
    kept, dropped = (tmp_path / "__pycache__" / f"{name}.cpython-311.pyc" for name in ("test_other.v1", "test_api.v1"))
    kept.parent.mkdir()
    for pyc in (kept, dropped):
        pyc.touch()
    drop_bytecode([str(tmp_path / "test_api.v1.py")])
    assert (kept.exists(), dropped.exists()) == (True, False)


def test_bytecode_that_nobody_can_list_stops_no_run(project: AffectedProject) -> None:
    """Python passes such a cache by, and so do we."""
    shutil.rmtree(project.path / "__pycache__")
    (project.path / "__pycache__").symlink_to("__pycache__")
    assert project.run("--hotplug-record", code=0, **WRITES).names == ["test_one"]
