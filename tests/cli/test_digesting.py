"""`hotplug digest`: what lies on disk, in a directory or at a git ref, in one word each."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.terminal import GREET, User

git_only = pytest.mark.skipif(shutil.which("git") is None, reason="asks git")


def git(user: User, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=user.here, check=True, capture_output=True, text=True).stdout


def test_each_plugin_has_a_line(user: User) -> None:
    """As md5sum prints it: the digest, the name; programs get an object each. Nothing is executed."""
    user.plugin("bad", "import os\nos._exit(9)\n")
    user.plugin("good")
    done = user.types("digest")
    assert done.code == 0
    lines = [line.split("  ") for line in done.out.splitlines()]
    assert [(len(digest), name) for digest, name in lines] == [(32, "bad"), (32, "good")]
    (told,) = user.types("digest", "good", "--json").lines
    assert (told["source"], told["plugin"], told["ref"], told["version"]) == ("disk", "good", None, "1.0")
    assert told["digest"] == lines[1][0]


def test_it_is_the_digest_that_the_other_commands_show(user: User) -> None:
    """Files that the manifest ignores don't count here either."""
    user.plugin("greeter", manifest={"version": "1", "watch_ignore": ["data.json"]})
    user.write("plugins/greeter/data.json", "{}")
    digest = user.types("digest", "--json").json["digest"]
    user.write("plugins/greeter/data.json", "[1]")
    assert user.types("digest", "--json").json["digest"] == digest
    assert user.types("check", "--json").json["digest"] == digest
    assert user.types("status", "greeter", "--json").json["digest"] == digest
    longer = user.types("digest", "--json", HOTPLUG_DIGEST="blake2b").json["digest"]
    assert longer == user.types("check", "--json", HOTPLUG_DIGEST="blake2b").json["digest"]
    assert len(longer) == 40


@git_only
def test_an_earlier_commit_is_read_without_a_checkout(user: User) -> None:
    """The digest of HEAD is that of the files as they were; the work tree keeps my edit."""
    main = user.plugin("greeter") / "main.py"
    before = user.types("digest", "--json").json["digest"]
    git(user, "init", "-q")
    git(user, "add", ".")
    git(user, "commit", "-qm", "one")
    main.write_text(GREET.replace("hello", "salut"))
    status = git(user, "status", "--porcelain")
    told = user.types("digest", "greeter", "--ref", "HEAD", "--json").json
    assert (told["digest"], told["ref"], told["version"]) == (before, "HEAD", "1.0")
    assert user.types("digest", "--json").json["digest"] != before
    assert (main.read_text(), git(user, "status", "--porcelain")) == (GREET.replace("hello", "salut"), status)


def test_a_directory_holds_the_plugin_or_one_of_its_name(user: User) -> None:
    """--ref DIR reads a release that is not in place yet."""
    place = user.plugin("greeter")
    shutil.copytree(place, user.here / "releases/greeter")
    user.write("releases/greeter/main.py", GREET + "# new\n")
    own = user.types("digest", "greeter", "--ref", "releases/greeter").out
    assert own == user.types("digest", "greeter", "--ref", "releases").out
    assert own != user.types("digest", "greeter").out


@git_only
@pytest.mark.parametrize("ref", ["no-such-ref", "--output=stolen"])
def test_a_ref_that_is_none_is_a_usage_error(user: User, ref: str) -> None:
    """Exit code 4 with the name; an option of git is no ref."""
    user.plugin("greeter")
    git(user, "init", "-q")
    done = user.types("digest", "greeter", f"--ref={ref}")
    assert (done.code, "[unknown-ref]" in done.err, done.out) == (4, True, ""), done
    assert not (user.here / "stolen").exists()
    assert user.types("digest", "greeter", f"--ref={ref}", "--json").json["exit_code"] == 4


def test_what_can_not_be_read_has_no_digest(user: User) -> None:
    """Exit code 1 for it, the others are still printed; unknown names are usage errors; no plugins are 5."""
    assert user.types("digest").code == 5
    assert user.types("digest", "--json").json["exit_code"] == 5
    user.plugin("good")
    user.plugin("large")
    with open(user.here / "plugins/large/data.json", "wb") as file:
        file.truncate(17 * 1024 * 1024)
    done = user.types("digest")
    assert done.code == 1
    assert "[plugin-too-large]" in done.err
    assert done.out.endswith("  good\n")
    assert user.types("digest", "god").code == 4
