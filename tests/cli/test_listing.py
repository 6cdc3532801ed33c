"""`hotplug list` and `hotplug status`: what lies on disk, in any terminal, for people and programs."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cli.terminal import HOTPLUG, User, in_a_terminal

posix = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals and shells of POSIX")


def test_both_names_of_the_command_list_every_plugin(user: User) -> None:
    """I see each plugin with version, digest and state, and that it was read from disk."""
    user.plugin("greeter")
    user.plugin("off", manifest={"version": "3", "enabled": False})
    for command in ("list", "list-plugins-hot"):
        done = user.types(command)
        assert done.code == 0
        header, greeter, off, source = (line.split() for line in done.out.splitlines())
        assert header == ["plugin", "version", "digest", "state"]
        assert (greeter[0], greeter[1], len(greeter[2]), greeter[3]) == ("greeter", "1.0", 12, "not-loaded")
        assert (off[0], off[1], off[3]) == ("off", "3", "disabled")
        assert source == ["(read", "from", "disk)"]


def test_programs_get_json(user: User) -> None:
    """--json is one object with a schema version, and says that the disk was read."""
    user.plugin("greeter")
    told = user.types("list", "--json").json
    assert (told["schema_version"], told["source"]) == (1, "disk")
    (plugin,) = told["plugins"]
    assert plugin["name"] == "greeter"
    assert plugin["parameters"] == {"name": "string"}
    assert len(plugin["digest"]) == 32
    assert plugin["error"] is None


def test_listing_executes_nothing(user: User) -> None:
    """A plugin that would hurt is listed unhurt."""
    user.plugin("bad", "import os\nos._exit(9)\n")
    assert user.types("list").code == user.types("status", "bad").code == 0


def test_a_broken_manifest_is_shown_with_its_line(user: User) -> None:
    """The list still shows the others; the status of the broken one says where, and exits with 1."""
    user.plugin("fine")
    user.write("plugins/bad/plugin.json", '{"name": "bad",\n "version": 3}')
    listed = user.types("list")
    assert listed.code == 0
    assert "plugins/bad/plugin.json:2  /version: expected str, got int [bad-manifest]" in " ".join(
        listed.out.split(" ")
    )
    status = user.types("status", "bad")
    assert status.code == 1
    assert "bad-manifest" in status.out
    assert user.types("status", "bad", "--json").json["state"] == "failed"


def test_a_project_without_plugins_says_where_it_looked(user: User) -> None:
    """Exit code 5, the directory that was looked at, and what to do."""
    done = user.types("list")
    assert done.code == 5
    assert done.err.startswith(f"hotplug: no plugins in {user.here / 'plugins'}; 'hotplug init NAME' makes one")
    assert user.types("list", "--json").json["plugins"] == []


def test_status_tells_everything_in_words(user: User) -> None:
    """Lists and tables are written as people write them."""
    user.plugin("one", manifest={"version": "1", "depends_on": ["two", "three"]})
    done = user.types("status", "one")
    assert done.code == 0
    facts = dict(line.split(":", 1) for line in done.out.splitlines() if ":" in line)
    assert facts["depends_on"].strip() == "two, three"
    assert facts["loaded"].strip() == "no"


def test_an_unknown_plugin_brings_the_nearest_name(user: User) -> None:
    """A typo is a usage error that offers what I meant."""
    user.plugin("greeter")
    done = user.types("status", "greter")
    assert done.code == 4
    assert done.err == "hotplug: no plugin is named 'greter'; did you mean 'greeter'? [unknown-plugin]\n"


def test_two_directories_that_claim_one_name_are_both_named(user: User) -> None:
    """A configuration error names both places."""
    user.plugin("greeter")
    user.write("more/greeter/main.py", "def run(): ...\n")
    done = user.types("list", HOTPLUG_PLUGIN_DIRS=os.pathsep.join(["plugins", "more"]))
    assert done.code == 4
    assert "[duplicate-plugin]" in done.err
    assert all(str(user.here / place / "greeter") in done.err for place in ("plugins", "more"))


def test_a_pipe_gets_whole_lines(user: User) -> None:
    """Without a terminal no cell is cut or wrapped: grep finds what is there."""
    name = "a_plugin_with_a_name_of_many_letters_" + "x" * 20
    user.plugin(name, manifest={"version": "2024.11.30.dev0+" + "y" * 60})
    (line,) = [line for line in user.types("list").out.splitlines() if line.startswith(name)]
    assert "y" * 60 in line
    assert line.endswith("not-loaded")


@posix
def test_what_is_wrong_with_a_plugin_stands_below_it_where_there_is_no_room(user: User) -> None:
    """In 80 columns the sentence isn't squeezed into what the other columns leave; wide enough, it is in its row."""
    user.plugin("broken_plugin", manifest={"version": 1})
    user.plugin("good_plugin")
    wide = user.types("list").out.splitlines()
    assert "[bad-manifest]" in wide[1]
    assert len(wide) == 4
    for shown in (in_a_terminal(user, "list", columns=80, NO_COLOR="1"), user.types("list", COLUMNS="80").out):
        head, broken, note, *rest = shown.splitlines()
        assert (head.split()[0], broken.split()[0]) == ("plugin", "broken_plugin")
        assert note.startswith("  plugins/broken_plugin/plugin.json:1")
        assert max(map(len, shown.splitlines())) <= 80
        assert [line.split()[0] for line in rest if not line.startswith(" ")] == ["good_plugin", "(read"]


@posix
def test_a_terminal_of_20_columns_shows_everything(user: User) -> None:
    """In a narrow terminal each plugin becomes a few lines; nothing is cut to an ellipsis."""
    user.plugin("a_long_plugin_name")
    for shown in (in_a_terminal(user, "list", columns=20), user.types("list", COLUMNS="20").out):
        lines = shown.splitlines()
        assert "a_long_plugin_name" in lines
        assert "  version: 1.0" in lines
        assert "  state: not-loaded" in lines
        assert "…" not in shown


@posix
def test_colour_is_for_terminals_alone(user: User) -> None:
    """A pipe gets plain text unless FORCE_COLOR asks; NO_COLOR takes colours away from a terminal."""
    user.plugin("greeter")
    assert "\x1b[" not in user.types("list").out
    assert "\x1b[" in user.types("list", FORCE_COLOR="1").out
    assert "\x1b[" in in_a_terminal(user, "list")
    assert "\x1b[3" not in in_a_terminal(user, "list", NO_COLOR="1")


@posix
@pytest.mark.parametrize("command", ["list", "list --json", "--help"])
def test_a_reader_that_goes_away_is_no_error(user: User, command: str) -> None:
    """`hotplug ... | head -0` says nothing and succeeds, also under pipefail."""
    user.plugin("greeter")
    line = f'set -o pipefail; "{HOTPLUG[0]}" -m pytest_hotplug {command} | head -0'
    done = subprocess.run(
        ["bash", "-c", line], cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_without_a_traceback(user: User, unbuffered: str) -> None:
    """Output that can't be written is said in one line, with exit code 1, whether it fails at once or at the end."""
    user.plugin("greeter")
    environment = {**user.environment(), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HOTPLUG, "list"], cwd=user.here, env=environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


@posix
def test_a_closed_stdout_is_no_fault(user: User) -> None:
    """`hotplug list >&-` ends quietly with the exit code that it has anyway."""
    user.plugin("greeter")
    user.plugin("bad", "def run(:\n")
    for command, code in (("list", 0), ("list --json", 0), ("run greeter", 0), ("check", 1), ("status nobody", 4)):
        line = f'"{HOTPLUG[0]}" -m pytest_hotplug {command} >&- 2>&-'
        done = subprocess.run(
            ["bash", "-c", line], cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, "", ""), command


@posix
def test_no_colour_means_no_escapes(user: User) -> None:
    """NO_COLOR takes bold away too, and FORCE_COLOR=0 forces nothing."""
    user.plugin("greeter")
    assert "\x1b" not in in_a_terminal(user, "list", NO_COLOR="1")
    assert "\x1b" not in user.types("list", FORCE_COLOR="0").out
    assert "\x1b" not in in_a_terminal(user, "list", FORCE_COLOR="0")
    assert "\x1b[" in in_a_terminal(user, "list", NO_COLOR="")


@posix
def test_no_directory_writes_to_the_terminal(user: User) -> None:
    """A directory that is left out is named with its escapes shown, not obeyed."""
    user.plugin("good")
    user.plugin("bad\x1b[31m\nname")
    done = user.types("list")
    assert "is left out" in done.err
    assert "\x1b" not in done.err
    assert len(done.err.splitlines()) == 1


@posix
def test_a_terminal_that_knows_few_letters_still_gets_everything(user: User) -> None:
    """Letters that its encoding lacks are written as escapes, and JSON stays JSON."""
    user.plugin("greeter", manifest={"version": "1", "description": "in €"})
    few = {"PYTHONIOENCODING": "cp437:strict"}
    assert "\\u20ac" in user.types("status", "greeter", **few).out
    assert user.types("status", "greeter", "--json", **few).json["description"] == "in €"
