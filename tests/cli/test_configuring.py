"""`hotplug config`: every effective value and where it came from."""

from __future__ import annotations

from typing import Any

from tests.cli.terminal import User


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
