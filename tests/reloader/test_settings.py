"""Where a setting comes from, and what is said when it is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import UsageError
from pytest_hotplug.reloader.settings import (
    _AT_ANY_TIME,
    InUse,
    Layout,
    Settings,
    layouts,
    make_settings,
    read_settings,
)


def read(root: Path, environ: dict[str, str] | None = None, **overrides: Any) -> Any:
    return read_settings(root, overrides, environ or {})


def test_defaults_hold_without_any_file(tmp_path: Path) -> None:
    """A directory without a project is a project of defaults."""
    project = read(tmp_path)
    assert (project.root, project.file, project.origins) == (tmp_path, None, {})
    assert project.settings == Settings()
    assert project.settings.debounce == 0.05
    assert project.settings.plugin_dirs == ("plugins",)


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """R27: each value comes from the first that has it, and its origin is known."""
    (tmp_path / "hotplug.toml").write_text("debounce = 1\nload_timeout = 1\nretire_timeout = 1\n")
    project = read(tmp_path, {"HOTPLUG_DEBOUNCE": "2", "HOTPLUG_LOAD_TIMEOUT": "2"}, debounce=3.0, settle_max=None)
    settings = project.settings
    assert (settings.debounce, settings.load_timeout, settings.retire_timeout, settings.settle_max) == (3, 2, 1, 2)
    assert project.origins == {
        "debounce": "command line",
        "load_timeout": "environment",
        "retire_timeout": str(tmp_path / "hotplug.toml"),
    }


def test_the_nearest_project_counts(tmp_path: Path) -> None:
    """The nearest ancestor with a settings file; hotplug.toml before pyproject.toml; a bare pyproject doesn't count."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.hotplug]\nworker_name = 'outer'\n")
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert read(inner).settings.worker_name == "outer"
    assert read(inner).root == tmp_path
    (tmp_path / "a" / "hotplug.toml").write_text("worker_name = 'inner'\n")
    assert read(inner).root == tmp_path / "a"
    assert read(inner).settings.worker_name == "inner"


def test_the_poll_interval_has_a_second_name(tmp_path: Path) -> None:
    """R26: DB_CHANGE_POLLING_INTERVAL is honoured; our own name wins."""
    assert read(tmp_path, {"DB_CHANGE_POLLING_INTERVAL": "5"}).settings.poll_interval == 5
    both = {"DB_CHANGE_POLLING_INTERVAL": "5", "HOTPLUG_POLL_INTERVAL": "0.5"}
    assert read(tmp_path, both).settings.poll_interval == 0.5


def test_lists_and_switches_come_from_the_environment(tmp_path: Path) -> None:
    """Lists by the path separator, numbers and switches as text."""
    environ = {
        "HOTPLUG_PLUGIN_DIRS": os.pathsep.join(["one", "two"]),
        "HOTPLUG_FORCE_POLLING": "true",
        "HOTPLUG_KEEP_VERSIONS": "7",
        "HOTPLUG_ON_CHANGE": "all-wait",
        "HOTPLUG_PACKAGE": "",
    }
    settings = read(tmp_path, environ).settings
    assert (settings.plugin_dirs, settings.force_polling, settings.keep_versions) == (("one", "two"), True, 7)
    assert (settings.on_change, settings.package) == ("all-wait", "")


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("debunce = 1\n", {}, r"unknown setting 'debunce' \(.*hotplug.toml\); did you mean 'debounce'\?"),
        ("debounce = 'x'\n", {}, r"setting 'debounce' \(from .*hotplug.toml\): Expected `float`, got `str`"),
        ("debounce = -1\n", {}, r"setting 'debounce' \(from .*hotplug.toml\) must be finite and not negative"),
        ("debounce = nan\n", {}, r"setting 'debounce'.* must be finite"),
        ("on_change = 'never'\n", {}, r"hotplug.toml\): .*'first-waits', 'all-wait', 'serve-current', got 'never' \["),
        ("log_level = 'INFO'\n", {}, r"one of 'debug', 'info', 'warning', 'error', got 'INFO'; did you mean 'info'\?"),
        ("log_level = 1\n", {}, r"setting 'log_level' \(from .*hotplug.toml\): Expected `str`, got `int`"),
        ("", {"HOTPLUG_DIGEST": "MD-5"}, r"'digest' \(from environment\): .*'md5', .*got 'MD-5'; did you mean 'md5'\?"),
        ("plugin_dirs = [1]\n", {}, r"setting 'plugin_dirs'.*Expected `str`, got `int`"),
        ("debounce = = 1\n", {}, r"hotplug.toml: .*line 1"),
        ("", {"HOTPLUG_DEBOUNCE": "soon"}, r"setting 'debounce' \(from environment\)"),
        ("", {"DB_CHANGE_POLLING_INTERVAL": "often"}, r"setting 'poll_interval' \(from environment\)"),
        ("dirs = [{path = 'x', entyr = 'm.f'}]\n", {}, r"'dirs'.*entyr"),
    ],
)
def test_a_bad_setting_names_origin_and_remedy(tmp_path: Path, text: str, environ: dict[str, str], said: str) -> None:
    """Every wrong value is a usage error `[bad-setting]`."""
    (tmp_path / "hotplug.toml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, environ)
    assert caught.value.slug == "bad-setting"


def test_a_keyword_with_a_word_that_is_no_choice_names_the_choices() -> None:
    """A setting given in Python is told as one of a file is."""
    with pytest.raises(UsageError, match=r"'preflight' \(from keyword\): .*'auto', 'child', 'off', got 'of'; .*'off'"):
        make_settings({"preflight": "of"})


def test_keywords_take_paths(tmp_path: Path) -> None:
    """Settings given in Python may be Path objects, alone or in lists."""
    settings = make_settings({"plugin_dirs": [tmp_path / "x"], "state_dir": tmp_path})
    assert (settings.plugin_dirs, settings.state_dir) == ((str(tmp_path / "x"),), str(tmp_path))


@pytest.mark.parametrize(
    ("given", "package"),
    [
        ({"plugin_dirs": ["plugins"]}, "plugins"),
        ({"plugin_dirs": ["deep/er/addons"]}, "addons"),
        ({"plugin_dirs": ["my-plugins"]}, ""),
        ({"plugin_dirs": ["."]}, ""),
        ({"plugin_dirs": ["plugins"], "package": "app.plugins"}, "app.plugins"),
        ({"plugin_dirs": ["plugins"], "package": ""}, ""),
        ({"dirs": [{"path": "plugins", "package": "own"}]}, "own"),
    ],
)
def test_the_package_prefix_is_the_directorys_own_name(tmp_path: Path, given: dict[str, Any], package: str) -> None:
    """The public prefix: the plugin dir's name, "" where that is no identifier, or what the setting says."""
    (layout,) = layouts(make_settings(given), tmp_path)
    assert layout.package == package
    assert layout.public_name("greeter") == f"{package}.greeter".lstrip(".")


def test_a_package_that_is_no_name_is_refused(tmp_path: Path) -> None:
    """`package` must be importable."""
    with pytest.raises(UsageError, match=r"'my-app' is no importable name"):
        layouts(make_settings({"package": "my-app"}), tmp_path)


def test_each_dir_may_have_its_own_layout(tmp_path: Path) -> None:
    """`[[dirs]]` tables override what they name and inherit the rest."""
    (tmp_path / "hotplug.toml").write_text(
        "entry = 'plugin.main'\n[[dirs]]\npath = 'a'\n"
        "[[dirs]]\npath = 'b'\nmanifest = ['x.json', 'y.json']\nentry = ''\nmanifest_keys = {dependencies = 'needs'}\n"
    )
    first, second = layouts(read(tmp_path).settings, tmp_path)
    assert first == Layout(tmp_path / "a", "a", entry="plugin.main")
    assert (second.manifest, second.entry, second.manifest_keys) == (
        ("x.json", "y.json"),
        "",
        {"dependencies": "needs"},
    )
    assert (first.foreign, second.foreign) == (False, True)


def test_the_page_names_what_may_change_at_any_time() -> None:
    """An operator reads on one page what a SIGHUP takes over."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    section = page.partition("## At any time")[2].partition("count from then on")[0]
    assert set(re.findall(r"`(\w+)`", section)) == _AT_ANY_TIME


def test_what_may_change_at_any_time_is_taken_over() -> None:
    """Times, limits and rules count from now on; where plugins lie stays as it was, and its name is given."""
    in_use = InUse(Settings())
    wanted = Settings(load_timeout=1.0, trusted_owners=("root",), plugin_dirs=("elsewhere",), digest="blake2b")
    assert in_use.take_over(wanted) == (["load_timeout", "trusted_owners"], ["plugin_dirs", "digest"])
    assert in_use.now == Settings(load_timeout=1.0, trusted_owners=("root",))
    assert in_use.take_over(wanted) == ([], ["plugin_dirs", "digest"])
