"""`hotplug init`: a plugin, its manifest and a passing test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_hotplug.cli import main
from tests.architecture.project import PYTEST_PLUGIN, plugin_is_installed
from tests.cli.terminal import User


def test_a_new_plugin_runs_and_its_tests_pass(user: User) -> None:
    """What init makes works at once: it executes, it checks, and pytest is green."""
    done = user.types("init", "weather")
    assert done.code == 0
    assert "hotplug run weather --name Ada" in done.out
    made = sorted(path.name for path in (user.here / "plugins/weather").iterdir())
    assert made == ["main.py", "plugin.json", "test_weather.py"]
    assert json.loads(user.types("run", "weather", "--name", "Ada").out) == {"text": "hello Ada"}
    plugin = [] if plugin_is_installed() else ["-p", PYTEST_PLUGIN]
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "-q", "-p", "no:asyncio", "plugins/weather"],
        cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout


def test_what_is_there_is_never_overwritten(user: User) -> None:
    """A directory in the way, or a plugin of that name in another plugin dir, is refused."""
    user.plugin("weather")
    user.write("more/other/main.py", "def run(): ...\n")
    both = os.pathsep.join(["plugins", "more"])
    for name in ("weather", "other"):
        done = user.types("init", name, HOTPLUG_PLUGIN_DIRS=both)
        assert done.code == 4
        assert "exists already; choose another name or remove it [already-exists]" in done.err
    assert not (user.here / "plugins/other").exists()


@pytest.mark.parametrize("name", ["Weather", "../weather", "we-ather", "class", "1st", "x" * 65, "con"])
def test_a_name_that_cannot_be_a_plugins_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4, the rule in words, and nothing made."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", name]) == 4
    assert "[invalid-name]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_it_may_go_elsewhere_and_follows_that_plugin_dirs_layout(user: User) -> None:
    """--plugin-dir chooses the place; where manifests are called otherwise, the new one is too."""
    user.write(
        "hotplug.toml",
        '[[dirs]]\npath = "plugins"\n[[dirs]]\npath = "cogs"\nmanifest = "info.json"\nentry = "bot:go"\n',
    )
    told = user.types("init", "rain", "--plugin-dir", "cogs", "--json").json
    assert told["path"] == str((user.here / "cogs/rain").resolve())
    assert (user.here / "cogs/rain/info.json").is_file()
    assert user.types("run", "rain").code == 0


def test_what_a_killed_init_left_is_no_obstacle(user: User) -> None:
    """Half of a plugin beside its place is replaced; what init never made is left and named."""
    user.write("plugins/.weather.new/main.py", "half")
    assert user.types("init", "weather").code == 0
    assert [path.name for path in (user.here / "plugins").iterdir()] == ["weather"]
    user.write("plugins/.rain.new/mine.txt", "mine")
    done = user.types("init", "rain")
    assert (done.code, "plugins/.rain.new" in done.err, "[already-exists]" in done.err) == (4, True, True)
    assert (user.here / "plugins/.rain.new/mine.txt").exists()


@pytest.mark.skipif(os.name != "posix", reason="a device of POSIX")
def test_a_place_where_nothing_can_be_made_is_named(user: User) -> None:
    """A file or a device in place of the directory, or a directory where I may not write: one line, exit code 1."""
    user.write("plugins", "a file")
    for arguments in (("init", "weather"), ("init", "weather", "--plugin-dir", "/dev/null")):
        done = user.types(*arguments)
        assert (done.code, "[cannot-write]" in done.err, "Traceback" in done.err) == (1, True, False), done
        assert ("plugins" if len(arguments) == 2 else "/dev/null") in done.err


def test_a_directory_where_i_may_not_write_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` and `demo --keep` say it in one line with exit code 1, and leave nothing half-made."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "there")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", refuse)
    for arguments in (["init", "weather"], ["demo", "--keep", "copy"]):
        assert main(arguments) == 1
        shown = capsys.readouterr().err
        assert "Permission denied" in shown
        assert "[cannot-write]" in shown
        assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []
