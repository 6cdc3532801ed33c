"""Directories that tests list, and what comes, goes or changes while a recorded run is under way."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.testing.affected_project import AffectedProject


@pytest.fixture
def project(tmp_path: Path) -> AffectedProject:
    return AffectedProject(tmp_path / "project", {"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n'})


_MEANWHILE = """
    import subprocess, sys
    from pathlib import Path

    ROOT = Path(__file__).parents[1]


    def somebody(code):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
"""


@pytest.mark.parametrize("directory", ["data", "."])
def test_what_comes_into_a_listed_directory_during_the_run_makes_its_tests_run_again(
    directory: str, project: AffectedProject
) -> None:
    """The test saw the directory without it, though the file was there when the run ended."""
    project.write(f"{directory}/first.txt", "")
    project.write(
        "tests/test_listing.py",
        dedent(_MEANWHILE)
        + f"""

def test_listing():
    assert [path.name for path in (ROOT / {directory!r}).glob("*.txt")] == ["first.txt"]


def test_meanwhile():
    somebody("open({directory!r} + '/second.txt', 'x')")
""",
    )
    assert {"test_listing", "test_meanwhile"} <= set(project.affected(code=0).names)
    ran = project.affected(code=1)
    assert "test_listing" in ran.names, ran.out


def test_a_file_looked_for_in_vain_that_comes_during_the_run_makes_its_test_run_again(project: AffectedProject) -> None:
    """An `exists()` leaves no trace; that the file came is known all the same."""
    project.write(
        "tests/test_exists.py",
        dedent(_MEANWHILE)
        + """

def test_exists():
    assert not (ROOT / "data" / "switch.txt").exists()


def test_meanwhile():
    somebody("import pathlib; p = pathlib.Path('data'); p.mkdir(); (p / 'switch' ).with_suffix('.txt').write_text('')")
""",
    )
    project.affected(code=0)
    ran = project.affected(code=1)
    assert "test_exists" in ran.names, ran.out


def test_a_manifest_that_changes_during_the_run_makes_its_tests_run_again(project: AffectedProject) -> None:
    """The manager reads manifests itself, and nobody knows which one it read."""
    project.write("plugins/told/main.py", "def run():\n    return 1\n")
    project.write("plugins/told/plugin.json", '{"version": "1.0"}')
    project.write(
        "tests/test_told.py",
        "from pytest_hotplug import PluginManager\n"
        + dedent(_MEANWHILE)
        + """

def test_version():
    with PluginManager(plugin_dirs=[ROOT / "plugins"]) as manager:
        manager.execute("told")
        assert manager.get_plugin_hot_info("told")["version"] == "1.0"


def test_meanwhile():
    somebody("open('plugins/told/plugin.json', 'w').write('{\\"version\\": \\"2.0\\"}')")
""",
    )
    project.affected(code=0)
    ran = project.affected(code=1)
    assert "test_version" in ran.names, ran.out


def test_bytecode_that_python_writes_beside_a_listed_directory_changes_nothing(project: AffectedProject) -> None:
    """A `__pycache__` comes with the first run of a process, and is nobody's content."""
    project.write("beside.py", "")
    project.write(
        "tests/test_pycache.py",
        """
        import os, subprocess, sys


        def test_lists_and_imports():
            assert "beside.py" in os.listdir(".")
            directory = os.open(".", os.O_RDONLY)
            os.close(directory)
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            subprocess.run([sys.executable, "-c", "import beside"], env=environment, check=True)
        """,
    )
    assert project.affected(code=0).names == ["test_lists_and_imports"]
    assert (project.path / "__pycache__").is_dir()
    ran = project.affected(code=0)
    assert ran.names == [], ran.out


def test_a_directory_that_was_opened_counts_as_listed(project: AffectedProject) -> None:
    """`os.listdir` takes a descriptor as well as a path."""
    project.write("data/first.txt", "")
    project.write(
        "tests/test_descriptor.py",
        """
        import os


        def test_descriptor():
            directory = os.open("data", os.O_RDONLY)
            assert os.listdir(directory) == ["first.txt"]
            os.close(directory)
        """,
    )
    project.affected(code=0)
    project.write("data/second.txt", "")
    ran = project.affected(code=1)
    assert ran.names == ["test_descriptor"], ran.out


def test_since_a_revision_a_file_in_the_root_runs_who_lists_the_root(project: AffectedProject) -> None:
    """The root is a directory like others."""
    project.write(
        "tests/test_root.py",
        "import os\n\n\ndef test_root():\n    assert not [n for n in os.listdir('.') if n.endswith('.txt')]\n",
    )
    project.write(".gitignore", "__pycache__\n.hotplug\n")
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", "first")
    project.affected(code=0)
    project.write("new.txt", "")
    ran = project.run("--hotplug-since=HEAD", code=1)
    assert "test_root" in ran.names, ran.out


@pytest.mark.parametrize(
    ("sees", "moves"),
    [
        ("(ROOT / 'data' / 'first.json').read_text() == '1'", "import os; os.remove('data/first.json')"),
        ("len(list((ROOT / 'data').iterdir())) == 1", "import os; os.mkdir('data/more'); open('data/more/x.txt', 'x')"),
        ("not list(ROOT.glob('*/first.txt'))", "import os; os.mkdir('other'); open('other/first.txt', 'x')"),
    ],
    ids=["a file that was read goes", "a directory comes into a listed one", "a directory comes into the root"],
)
def test_what_comes_and_goes_during_the_run_makes_its_tests_run_again(
    sees: str, moves: str, project: AffectedProject
) -> None:
    """The test saw it otherwise; how it was when the run ended is no memory of it."""
    project.write("data/first.json", "1")
    text = f"def test_sees():\n    assert {sees}\n\n\ndef test_meanwhile():\n    somebody({moves!r})\n"
    project.write("tests/test_moves.py", f"{dedent(_MEANWHILE)}\n\n{text}")
    project.affected(code=0)
    ran = project.affected(code=1)
    assert "test_sees" in ran.names, ran.out


def test_a_file_that_tests_write_themselves_makes_none_run_again(project: AffectedProject) -> None:
    """A log that is there before and after is nothing that came or went."""
    project.write("data/log.json", "")
    project.write(
        "tests/test_log.py",
        """
        import os


        def test_lists():
            assert os.listdir("data") == ["log.json"]


        def test_writes():
            with open("data/log.json", "a") as log:
                log.write("1")
        """,
    )
    project.affected(code=0)
    ran = project.affected(code=0)
    assert ran.names == [], ran.out
