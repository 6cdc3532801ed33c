"""`hotplug why`: one word first, then the facts."""

from __future__ import annotations

from pathlib import Path

from pytest_hotplug.reloader.why import VERDICTS
from tests.cli.terminal import User


def test_the_first_line_is_a_word(user: User, tmp_path: Path) -> None:
    """Of a closed list, then the reason; the plugin is imported, and not started."""
    mark = tmp_path / "started"
    user.plugin("greeter", f"import pathlib\ndef on_load():\n    pathlib.Path({str(mark)!r}).touch()\ndef run(): ...\n")
    done = user.types("why", "greeter", "--local")
    assert done.code == 0
    first, *rest = done.out.splitlines()
    assert first == "current"
    assert first in VERDICTS
    assert rest == ["  what is on disk serves", "  serving: generation 1, version 1.0 (serving)"]
    assert not mark.exists()


def test_a_refused_plugin_says_where(user: User) -> None:
    """A question that is answered exits with 0, whatever the answer is."""
    user.plugin("bad", "def run(:\n")
    done = user.types("why", "bad", "--local")
    assert (done.code, done.out.splitlines()[0]) == (0, "refused")
    assert f"{Path('plugins/bad/main.py')}:1" in done.out
    told = user.types("why", "bad", "--local", "--json").json
    assert (told["source"], told["verdict"], told["generation"]) == ("local", "refused", None)


def test_a_pause_is_said_with_its_reason(user: User) -> None:
    """What `disable` remembered is the answer."""
    user.plugin("greeter")
    user.types("disable", "greeter", "--reason", "the release")
    done = user.types("why", "greeter", "--local")
    assert done.out.splitlines()[:2] == ["paused", "  nothing is checked (the release)"]


def test_wrong_names_and_disabled_plugins_are_refused(user: User) -> None:
    """4 for what I typed wrong, 1 for what the manifest says."""
    user.plugin("greeter")
    user.plugin("off", manifest={"enabled": False})
    assert user.types("why", "greter").code == user.types("why").code == 4
    done = user.types("why", "off", "--local")
    assert (done.code, "[disabled]" in done.err) == (1, True)
    assert user.types("why", "off", "--local", "--json").json["exit_code"] == 1
