"""`hotplug config`: every effective value and where it came from."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.cli.terminal import HOTPLUG, User


def settings(user: User, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = user.types("config", "--json", **variables).json["settings"]
    return found


def test_environment_beats_file_beats_default(user: User) -> None:
    """Each value names its origin."""
    assert settings(user)["debounce"] == {"value": 0.05, "origin": "default"}
    file = user.write("pyproject.toml", "[tool.hotplug]\ndebounce = 0.2\nsettle_max = 3\n")
    found = settings(user, HOTPLUG_DEBOUNCE="0.3")
    assert found["debounce"] == {"value": 0.3, "origin": "environment"}
    assert found["settle_max"] == {"value": 3.0, "origin": str(file)}
    assert found["load_timeout"]["origin"] == "default"


def test_a_file_of_our_own_beats_pyproject(user: User) -> None:
    """hotplug.toml is read instead of [tool.hotplug]."""
    user.write("pyproject.toml", "[tool.hotplug]\ndebounce = 0.2\n")
    user.write("hotplug.toml", "debounce = 0.4\n")
    assert settings(user)["debounce"]["value"] == 0.4


def test_the_nearest_project_above_counts(user: User) -> None:
    """From a directory inside the project, or with -C, the same settings apply and paths stay the project's."""
    user.write("hotplug.toml", 'plugin_dirs = ["src/plugins"]\n')
    (user.here / "deep/er").mkdir(parents=True)
    inside = User(user.here / "deep/er")
    assert inside.types("config", "--json").json["root"] == str(user.here)
    user.write("src/plugins/one/main.py", "def run(): ...\n")
    assert [p["name"] for p in inside.types("list", "--json").json["plugins"]] == ["one"]
    elsewhere = User(user.here.parent)
    assert elsewhere.types("config", "--json", "-C", str(user.here)).json["root"] == str(user.here)


def test_the_second_name_of_the_poll_interval_is_honoured(user: User) -> None:
    """R26: DB_CHANGE_POLLING_INTERVAL=5 works; our own name wins over it."""
    assert settings(user, DB_CHANGE_POLLING_INTERVAL="5")["poll_interval"]["value"] == 5.0
    both = settings(user, DB_CHANGE_POLLING_INTERVAL="5", HOTPLUG_POLL_INTERVAL="7")
    assert both["poll_interval"]["value"] == 7.0


def test_people_get_a_table(user: User) -> None:
    """The project, and one line per setting: lists with commas, the file by its name."""
    user.write("hotplug.toml", 'plugin_dirs = ["one", "two"]\n')
    shown = user.types("config").out.splitlines()
    assert shown[0] == f"project: {user.here}"
    (line,) = [line for line in shown if line.startswith("plugin_dirs")]
    assert line.split() == ["plugin_dirs", "one,", "two", "hotplug.toml"]


def test_a_wrong_setting_names_its_origin_and_the_nearest_name(user: User) -> None:
    """A typo in the file, a wrong type and a broken file are usage errors of every command."""
    for text, said in (
        ("debouce = 1\n", "did you mean 'debounce'? [bad-setting]"),
        ('debounce = "long"\n', "setting 'debounce'"),
        ("debounce = \n", "[bad-setting]"),
        ("debounce = -1\n", "not negative"),
    ):
        user.write("hotplug.toml", text)
        done = user.types("list")
        assert (done.code, said in done.err, "Traceback" in done.err) == (4, True, False), (text, done)
    user.write("hotplug.toml", "")
    assert "from environment" in user.types("list", HOTPLUG_DEBOUNCE="soon").err


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="a file that can be opened and not read")
@pytest.mark.parametrize("file", ["hotplug.toml", "pyproject.toml"])
def test_a_settings_file_that_can_not_be_read_is_named(user: User, file: str) -> None:
    """Exit code 4 and the file, instead of a traceback."""
    (user.here / file).symlink_to("/proc/self/mem")
    done = user.types("list")
    assert (done.code, file in done.err, "[bad-setting]" in done.err) == (4, True, True), done
    assert "Traceback" not in done.err


@pytest.mark.skipif(os.name != "posix", reason="a directory in use can be deleted on POSIX alone")
def test_a_working_directory_that_was_deleted_is_said_so(user: User) -> None:
    """Exit code 4 and what to do."""
    command = f'mkdir gone; cd gone; rmdir ../gone; "{HOTPLUG[0]}" -m pytest_hotplug list'
    done = subprocess.run(
        ["bash", "-c", command], cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 4
    assert "the working directory was deleted" in done.stderr
    assert "[bad-setting]" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_plugin_dir_at_all_is_said_so(user: User) -> None:
    """An empty HOTPLUG_PLUGIN_DIRS gives no sentence with a hole in it."""
    done = user.types("list", HOTPLUG_PLUGIN_DIRS="")
    assert done.code == 5
    assert "no plugin dir is configured" in done.err
    assert "[no-plugins]" in done.err


def test_a_misspelt_variable_is_pointed_out(user: User) -> None:
    """HOTPLUG_DEBOUCE=1 changes nothing, and I am told; variables of other parts are known."""
    user.plugin("greeter")
    done = user.types("list", HOTPLUG_DEBOUCE="1")
    assert done.code == 0
    assert done.err == "hotplug: HOTPLUG_DEBOUCE is no setting; did you mean 'HOTPLUG_DEBOUNCE'? [bad-setting]\n"
    assert "HOTPLUG_NOPE is no setting" in user.types("list", HOTPLUG_NOPE="1").err
    known = {"HOTPLUG_WATCH": "always", "HOTPLUG_CI_BUDGET": "1", "HOTPLUG_SOAK": "1", "HOTPLUG_DEBOUNCE": "0.1"}
    assert user.types("list", **known).err == ""
