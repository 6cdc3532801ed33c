"""`hotplug history` and `hotplug rollback`: what is kept, and the way back."""

from __future__ import annotations

import os
import shutil

import pytest

from pytest_hotplug import PluginManager, asking
from tests.cli.terminal import User


def started(user: User) -> PluginManager:
    """Return what a worker has that starts now."""
    return PluginManager(root=user.here, plugin_dirs=["plugins"], state_dir=".hotplug", debounce=0)


def version(user: User, number: int) -> None:
    user.plugin("price", f"def run():\n    return {number}\n", {"version": f"{number}.0"})


def serves(user: User) -> int:
    with started(user) as manager:
        answer: int = manager.execute("price")
        return answer


@pytest.fixture
def kept(user: User) -> User:
    """Give the user a plugin of which three versions served, one after the other."""
    for number in (1, 2, 3):
        version(user, number)
        assert serves(user) == number
    return user


def test_the_history_shows_what_is_kept_and_what_happened(kept: User) -> None:
    """Versions newest first, records oldest first, the one that served last marked; a refusal with its reason."""
    kept.write("plugins/price/main.py", "def run(:\n")
    assert serves(kept) == 3
    done = kept.types("history", "price")
    assert done.code == 0
    versions = [line.split() for line in done.out.partition("What happened")[0].splitlines()[2:] if line]
    assert [line[0] for line in versions] == ["3.0", "2.0", "1.0"]
    assert [line[-2:] == ["served", "last"] for line in versions] == [True, False, False]
    assert "[syntax-error]" in done.out
    assert done.out.endswith("(read from disk)\n")
    told = kept.types("history", "price", "--json").json
    assert (told["source"], told["plugin"], told["pinned"]) == ("disk", "price", None)
    assert [v["version"] for v in told["versions"]] == ["3.0", "2.0", "1.0"]
    assert told["served_last"] == told["versions"][0]["digest"]
    assert [r["version"] for r in told["records"] if r["kind"] == "loaded"][:3] == ["1.0", "2.0", "3.0"]


def test_the_history_shows_who_asked(user: User) -> None:
    """The column `by` names who asked, and the worker that did it where it has a name; for programs in two fields."""
    version(user, 1)
    with PluginManager(root=user.here, plugin_dirs=["plugins"], state_dir=".hotplug", worker_name="web-1") as manager:
        manager.load("price")
        with asking("reload by uid 1000 (pid 4242)\x1b[31m"):
            manager.force_reload_plugin("price")
    shown = user.types("history", "price").out.partition("What happened")[2]
    assert shown.splitlines()[1].split() == ["at", "what", "version", "digest", "by"]
    assert "  start, web-1" in shown
    assert "  reload by uid 1000 (pid 4242)\\x1b[31m, web-1" in shown
    told = user.types("history", "price", "--json").json["records"]
    assert [(r.get("asked_by", ""), r["worker"]) for r in told] == [
        ("start", "web-1"), ("reload by uid 1000 (pid 4242)\x1b[31m", "web-1"), ("", "web-1"),
    ]  # fmt: skip


def test_a_plugin_without_a_past_is_no_fault(user: User) -> None:
    """It says where it looked; a plugin that is gone from disk still has its history, an unknown name is refused."""
    version(user, 1)
    done = user.types("history", "price")
    assert (done.code, done.out) == (0, "price: nothing is recorded in .hotplug\n")
    assert user.types("history", "price", "--json").json["versions"] == []
    serves(user)
    shutil.rmtree(user.here / "plugins/price")
    assert "1.0" in user.types("history", "price").out
    assert user.types("history", "prise").code == user.types("history", "../price").code == 4


def test_going_back_counts_for_the_next_start(kept: User) -> None:
    """One version further back each time, a named one, and the end; each is what a worker serves then."""
    done = kept.types("rollback", "price", "--local")
    assert done.code == 0, done
    assert done.out.startswith("price: version 2.0 (")
    assert "from the next start on" in done.out
    assert serves(kept) == 2
    told = kept.types("rollback", "price", "--local", "--json").json
    assert (told["source"], told["outcome"], told["version"]) == ("local", "rolled-back", "1.0")
    assert serves(kept) == 1
    assert "rolled back to" in kept.types("history", "price").out
    middle = kept.types("history", "price", "--json").json["versions"][1]["digest"]
    assert kept.types("rollback", "price", "--to", middle[:7], "--local", "--json").json["pinned"] == middle
    assert serves(kept) == 2
    assert kept.types("rollback", "price", "--to", middle, "--local", "--json").json["outcome"] == "unchanged"
    ended = kept.types("rollback", "price", "--end", "--local", "--json").json
    assert (ended["outcome"], ended["version"], ended["pinned"]) == ("ended", "3.0", None)
    assert serves(kept) == 3
    assert kept.types("rollback", "price", "--end", "--local", "--json").json["outcome"] == "unchanged"


def test_without_a_worker_the_place_is_named_that_was_looked_at(kept: User) -> None:
    """Exit code 1, the path of the socket, what helps; for programs too; nothing is rolled back."""
    for command in ("rollback", "why"):
        done = kept.types(command, "price", HOTPLUG_WORKER_NAME="second")
        assert done.code == 1
        assert f"no worker answers at {os.path.join('.hotplug', 'run', 'second.sock')}" in done.err
        assert "--local" in done.err
        assert "[no-worker]" in done.err
        assert "[no-worker]" in kept.types(command, "price", "--json").json["error"]
    assert serves(kept) == 3


def test_there_may_be_nothing_to_go_back_to(user: User) -> None:
    """One version only, an unknown digest, a copy that is gone: told in words, with 1 or 4, and nothing changes."""
    version(user, 1)
    serves(user)
    done = user.types("rollback", "price", "--local")
    assert (done.code, "[nothing-kept]" in done.err, done.out) == (1, True, ""), done
    assert "[nothing-kept]" in user.types("rollback", "price", "--local", "--json").json["error"]
    done = user.types("rollback", "price", "--to", "0000000", "--local")
    assert (done.code, "[unknown-version]" in done.err) == (4, True)
    version(user, 2)
    serves(user)
    for copy in (user.here / ".hotplug/plugins/price/versions").iterdir():
        shutil.rmtree(copy)
    done = user.types("rollback", "price", "--local")
    assert (done.code, "[kept-version-damaged]" in done.err, "Traceback" in done.err) == (1, True, False), done


def test_wrong_words_are_usage_errors(kept: User) -> None:
    """--to and --end together, no name, a wrong name."""
    for arguments in (("price", "--to", "1234567", "--end"), (), ("prise",), ("prise", "--local")):
        assert kept.types("rollback", *arguments).code == 4, arguments
    assert kept.types("rollback", "prise", "--json").json["exit_code"] == 4


def test_a_plugin_that_ends_the_process_is_not_rolled_back_in_silence(kept: User) -> None:
    """os._exit(0) at import is told; no exit code 0."""
    kept.write("plugins/price/main.py", "import os\nos._exit(0)\n")
    done = kept.types("rollback", "price", "--local")
    assert (done.code, "[process-ended]" in done.err) == (1, True), done


def test_the_end_of_a_rollback_to_what_is_refused_says_that_it_is_over(kept: User) -> None:
    """Without a worker, too, no pin is left, and the version before serves on."""
    needs = kept.write("needed.txt", "x")
    kept.plugin("price", f"open({str(needs)!r}).close()\ndef run():\n    return 4\n", {"version": "4.0"})
    assert serves(kept) == 4
    assert kept.types("rollback", "price", "--local").code == 0
    needs.unlink()
    ended = kept.types("rollback", "price", "--end", "--local")
    assert ended.code == 1
    assert "price: the rollback is over; generation 1 keeps serving, since what lies on disk is refused.\n" in ended.err
    assert kept.types("history", "price", "--json").json["pinned"] is None
    assert serves(kept) == 3
