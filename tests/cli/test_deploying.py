"""`hotplug deploy`, `remove` and `wait`: the plugin's directory is the old one or the new one, and I am told which."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import PluginManager
from pytest_hotplug.cli import main
from pytest_hotplug.reloader import deployment
from pytest_hotplug.reloader.exchange import exchange
from tests.cli.terminal import PATIENCE, User, in_a_terminal, wait_for
from tests.reloader.workshop import eventually
from tests.testing.watched import is_alive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no system call exchanges directories there")
LOCAL = ("--from", "release", "--local")


def price(number: int) -> str:
    return f"def run():\n    return {number}\n"


@pytest.fixture
def shop(user: User) -> User:
    """Give the user version 1.0 of a plugin in place, and a release of version 2.0."""
    user.plugin("price", price(1), {"version": "1.0"})
    user.write("plugins/price/old.py", "")
    release(user, price(2))
    return user


def release(user: User, main: str, version: str = "2.0", place: str = "release") -> Path:
    user.write(f"{place}/plugin.json", {"version": version})
    return user.write(f"{place}/main.py", main).parent


def tree(user: User, place: str = "plugins") -> dict[str, bytes]:
    """Return everything below a directory."""
    return {str(p.relative_to(user.here)): p.read_bytes() for p in (user.here / place).rglob("*") if p.is_file()}


def digest(user: User) -> str:
    return str(user.types("digest", "price", "--json").json["digest"])


def test_a_version_is_put_in_place(shop: User) -> None:
    """Old and new digest are told; a running manager serves it when it looks; nothing of the old one is left."""
    before = digest(shop)
    with PluginManager(root=shop.here, plugin_dirs=["plugins"], debounce=0) as manager:
        assert manager.execute("price") == 1
        done = shop.types("deploy", "price", *LOCAL)
        assert manager.execute("price") == 2
    assert done.code == 0
    assert done.out == (
        f"price: version 2.0 deployed ({before[:12]} -> {digest(shop)[:12]})\n"
        "(a running manager sees it at its next check)\n"
    )
    assert sorted(tree(shop)) == ["plugins/price/main.py", "plugins/price/plugin.json"]


def test_programs_are_told_as_well(shop: User) -> None:
    """One object: what became of it, both digests as `hotplug digest` prints them, whether it was tried."""
    before = digest(shop)
    told = shop.types("deploy", "price", *LOCAL, "--json", HOTPLUG_DIGEST="md5").json
    assert (told["source"], told["plugin"], told["outcome"], told["version"]) == ("local", "price", "deployed", "2.0")
    assert (told["before"], told["digest"], told["tried"]) == (before, digest(shop), True)
    again = shop.types("deploy", "price", *LOCAL, "--json").json
    assert (again["outcome"], again["before"], again["digest"]) == ("unchanged", told["digest"], told["digest"])
    assert "lies there already" in shop.types("deploy", "price", *LOCAL).out
    shop.write("release/text.txt", "data")
    assert ", as before)" in shop.types("deploy", "price", *LOCAL).out
    assert (shop.here / "plugins/price/text.txt").exists()


@pytest.mark.parametrize(
    ("code", "slug"),
    [
        ("def run(:\n", "syntax-error"),
        ("import os\nos._exit(0)\n", "process-ended"),
        ("while True: pass\n", "load-timeout"),
        ("raise ValueError('no')\n", "import-error"),
        ("def other(): pass\n", "no-entry"),
    ],
)
def test_a_version_that_does_not_load_is_refused(shop: User, code: str, slug: str) -> None:
    """Exit code 1, what the child says, in terms of the directory that I named; nothing changed."""
    before = tree(shop)
    release(shop, code)
    done = shop.types("deploy", "price", *LOCAL, HOTPLUG_LOAD_TIMEOUT="1")
    assert (done.code, done.out, f"[{slug}]" in done.err) == (1, "", True), done
    assert done.err.startswith("hotplug: price: not deployed, nothing changed.\n  release")
    assert ".deploy-" not in done.err
    assert f"[{slug}]" in shop.types("deploy", "price", *LOCAL, "--json", HOTPLUG_LOAD_TIMEOUT="1").json["error"]
    assert tree(shop) == before


def test_a_bad_manifest_is_refused_without_a_child(shop: User) -> None:
    """Also where the preflight is switched off; that tries nothing else."""
    before = tree(shop)
    shop.write("release/plugin.json", '{"name": "other"}')
    done = shop.types("deploy", "price", *LOCAL, HOTPLUG_PREFLIGHT="off")
    assert (done.code, "[name-mismatch]" in done.err, ".deploy-" in done.err) == (1, True, False), done
    assert tree(shop) == before
    release(shop, "raise ValueError\n")
    assert shop.types("deploy", "price", *LOCAL, "--json", HOTPLUG_PREFLIGHT="off").json["tried"] is False


def test_a_broken_version_in_place_is_replaced(shop: User) -> None:
    """The deployment that mends it is not refused for what it mends."""
    shop.write("plugins/price/plugin.json", "{")
    assert shop.types("deploy", "price", *LOCAL).code == 0


def test_a_dry_run_says_what_would_happen(shop: User) -> None:
    """The version is tried, and nothing is exchanged."""
    before = tree(shop)
    done = shop.types("deploy", "price", *LOCAL, "--dry-run")
    assert (done.code, "version 2.0 would be deployed (" in done.out) == (0, True)
    assert shop.types("deploy", "price", *LOCAL, "--dry-run", "--json").json["outcome"] == "would-deploy"
    release(shop, "def run(:\n")
    assert shop.types("deploy", "price", *LOCAL, "--dry-run").code == 1
    assert tree(shop) == before


def test_a_plugin_that_is_not_there_yet(user: User) -> None:
    """It goes into the first plugin dir, or the one that I name; a plugin dir that is missing is made."""
    release(user, price(2))
    done = user.types("deploy", "price", *LOCAL)
    assert (done.code, ", new)" in done.out) == (0, True), done
    user.write("hotplug.toml", 'plugin_dirs = ["plugins", "more"]\n')
    told = user.types("deploy", "other", *LOCAL, "--plugin-dir", "more", "--json").json
    assert (told["before"], told["path"]) == (None, str(user.here / "more/other"))
    assert [p["name"] for p in user.types("list", "--json").json["plugins"]] == ["price", "other"]
    done = user.types("deploy", "third", *LOCAL, "--plugin-dir", "nowhere")
    assert (done.code, "is no plugin dir of this project" in done.err) == (4, True)
    done = user.types("deploy", "price", *LOCAL, "--plugin-dir", "more")
    assert (done.code, "lies in plugins already" in done.err) == (4, True)


def test_a_new_plugin_that_is_refused_leaves_no_directory(user: User) -> None:
    """Not even the plugin dir that was missing before."""
    release(user, "def run(:\n")
    assert user.types("deploy", "price", *LOCAL).code == 1
    assert not (user.here / "plugins").exists()


def test_a_plugin_imports_its_neighbours_while_it_is_tried(shop: User) -> None:
    """What it depends on is loaded from disk beside it, by depends_on and by import."""
    shop.write("release/plugin.json", {"depends_on": ["price"]})
    release(shop, "from plugins.price.main import run as base\ndef run(): return base() + 1\n", place="release")
    assert shop.types("deploy", "total", *LOCAL).code == 0
    assert shop.types("run", "total").out == "2\n"


def test_a_disabled_version_is_deployed_untried(shop: User) -> None:
    """To take a plugin out of service is a deployment like any other."""
    shop.write("release/plugin.json", {"enabled": False})
    done = shop.types("deploy", "price", *LOCAL)
    assert (done.code, "disabled, and was not tried" in done.out) == (0, True)
    assert shop.types("status", "price", "--json").json["state"] == "disabled"


def test_a_link_to_a_release_is_replaced_and_its_release_left_alone(shop: User) -> None:
    """The plugin is a directory afterwards."""
    os.rename(shop.here / "plugins/price", shop.here / "one")
    (shop.here / "plugins/price").symlink_to("../one")
    assert shop.types("deploy", "price", *LOCAL).code == 0
    assert (shop.here / "one/old.py").exists()
    assert not (shop.here / "plugins/price").is_symlink()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "does not exist"),
        ("release/main.py", "is a file"),
        ("plugins/price", "lies in place already"),
        ("linked", "lies in place already"),
        ("plugins/price/new", "lies inside of plugins/price"),
        ("plugins/price_new", "in the plugin dir plugins"),
        ("plugins", "holds the plugin dir itself"),
        (".", "holds the plugin dir itself"),
        ("empty", "holds no plugin: neither plugin.json nor main.py"),
        ("around", "did you mean around/price?"),
    ],
)
def test_a_directory_that_can_not_be_meant_is_a_usage_error(shop: User, source: str, said: str) -> None:
    """Exit code 4, the reason, and nothing changed."""
    (shop.here / "linked").symlink_to("plugins/price")
    for place in ("plugins/price/new", "plugins/price_new", "around/price"):
        release(shop, price(3), place=place)
    (shop.here / "empty").mkdir()
    before = tree(shop)
    done = shop.types("deploy", "price", "--from", source, "--local")
    assert (done.code, said in done.err) == (4, True), done
    assert shop.types("deploy", "price", "--from", source, "--local", "--json").json["exit_code"] == 4
    assert tree(shop) == before


def test_what_stands_in_the_way_is_not_replaced(shop: User) -> None:
    """A directory that is no plugin, a file, a name that can't be one, one that is excluded: usage errors."""
    shop.write("plugins/docs/page.md", "mine")
    shop.write("plugins/file", "mine")
    for name in ("docs", "file"):
        done = shop.types("deploy", name, *LOCAL)
        assert (done.code, "[already-exists]" in done.err) == (4, True), done
    assert "[invalid-name]" in shop.types("deploy", "no-name", *LOCAL).err
    shop.write("hotplug.toml", 'exclude = ["old_*"]\n')
    assert (done := shop.types("deploy", "old_price", *LOCAL)).code == 4, done
    assert "'exclude' leaves out 'old_price'" in done.err
    assert shop.types("deploy", "price").code == shop.types("deploy").code == 4


def test_a_release_that_is_no_release_is_refused(shop: User) -> None:
    """A pipe in it, a link that leads out of it: told by name, nothing changed, nothing hangs."""
    before = tree(shop)
    os.mkfifo(shop.here / "release/pipe")
    done = shop.types("deploy", "price", *LOCAL)
    assert (done.code, "release/pipe" in done.err, "[source-unreadable]" in done.err) == (1, True, True), done
    (shop.here / "release/pipe").unlink()
    (shop.here / "release/out.py").symlink_to("/etc/hostname")
    done = shop.types("deploy", "price", *LOCAL)
    assert (done.code, "[escaping-link]" in done.err, ".deploy-" in done.err) == (1, True, False), done
    assert tree(shop) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_release_that_can_not_be_read_is_told(shop: User) -> None:
    """By the file, with 1; a directory that can't even be listed is a usage error."""
    (shop.here / "release/main.py").chmod(0)
    done = shop.types("deploy", "price", *LOCAL)
    assert (done.code, "release/main.py" in done.err, "[source-unreadable]" in done.err) == (1, True, True), done
    (shop.here / "release").chmod(0)
    assert shop.types("deploy", "price", *LOCAL).code == 4
    (shop.here / "release").chmod(0o700)


def here_and_now(user: User, monkeypatch: pytest.MonkeyPatch) -> int:
    """Deploy in this process, without a trial, and return the exit code; signals mean afterwards what they did."""
    monkeypatch.chdir(user.here)
    monkeypatch.setenv("HOTPLUG_PREFLIGHT", "off")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return main(["deploy", "price", *LOCAL])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fails_with(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("step", "error", "slug"),
    [
        (
            "copy",
            FileNotFoundError(errno.ENOENT, "No such file or directory", "HERE/release/main.py"),
            "source-unreadable",
        ),
        ("copy", OSError(errno.ENOSPC, "No space left on device", "HERE/plugins/x"), "disk-full"),
        ("copy", shutil.Error([("HERE/release/a.py", "x", "[Errno 28] No space left on device: 'y'")]), "disk-full"),
        ("copy", shutil.Error([("HERE/release/a.py", "x", "[Errno 13] Permission denied: 'y'")]), "source-unreadable"),
        ("mkdtemp", PermissionError(errno.EACCES, "Permission denied", "HERE/plugins/x"), "cannot-write"),
        ("exchange", OSError(errno.EIO, "Input/output error", "HERE/plugins/x"), "cannot-write"),
    ],
)
def test_every_way_to_fail_has_its_words(
    shop: User,
    step: str,
    error: OSError,
    slug: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DIR vanishes, the disk is full, a permission is missing: exit code 1, one sentence, nothing changed."""
    here = str(shop.here)
    if error.filename:
        error.filename = error.filename.replace("HERE", here)
    else:
        error.args = ([(error.args[0][0][0].replace("HERE", here), *error.args[0][0][1:])],)
    where: dict[str, tuple[object, str]] = {
        "copy": (shutil, "copytree"),
        "mkdtemp": (tempfile, "mkdtemp"),
        "exchange": (deployment, "exchange"),
    }
    before = tree(shop)
    monkeypatch.setattr(*where[step], fails_with(error))
    assert here_and_now(shop, monkeypatch) == 1
    said = capsys.readouterr().err
    assert "hotplug: price: not deployed, nothing changed" in said
    assert f"[{slug}]" in said
    assert "Errno" not in said
    assert tree(shop) == before
    assert os.listdir(shop.here / "plugins") == ["price"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_deployment_that_is_ended_changes_nothing(shop: User, tmp_path: Path, number: int) -> None:
    """Ctrl-C, a kill, a closed terminal during a slow trial: exit code 2, no child, no copy is left."""
    before, pid = tree(shop), tmp_path / "pid"
    code = f"import os, time\nwith open({str(pid)!r}, 'w') as file: file.write(str(os.getpid()))\ntime.sleep(60)\n"
    release(shop, code + price(2))
    with shop.starts("deploy", "price", *LOCAL) as deploying:
        wait_for(pid)
        eventually(lambda: pid.read_text() != "", "the number of the child")
        assert deploying.end(number) == 2
    assert tree(shop) == before
    assert os.listdir(shop.here / "plugins") == ["price"]
    eventually(lambda: not is_alive(int(pid.read_text())), "the end of the child")
    release(shop, price(2))
    assert shop.types("deploy", "price", *LOCAL).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_too_late_is_no_interruption(
    shop: User, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the directories are exchanged it is done, and said so: nobody reads "interrupted" of what happened."""

    def interrupted(one: Path, other: Path) -> None:
        exchange(one, other)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(deployment, "exchange", interrupted)
    assert here_and_now(shop, monkeypatch) == 0
    assert "price: version 2.0 deployed" in capsys.readouterr().out
    assert os.listdir(shop.here / "plugins") == ["price"]


def test_killed_in_the_middle_the_next_one_clears_up(shop: User, tmp_path: Path) -> None:
    """SIGKILL leaves a hidden copy that nobody takes for a plugin, and no child; of two at a time, one is told."""
    before, pid = shop.types("list").out, tmp_path / "pid"
    code = f"import os, time\nwith open({str(pid)!r}, 'w') as file: file.write(str(os.getpid()))\ntime.sleep(60)\n"
    release(shop, code + price(2))
    with shop.starts("deploy", "price", *LOCAL) as deploying:
        wait_for(pid)
        eventually(lambda: pid.read_text() != "", "the number of the child")
        second = shop.types("deploy", "price", *LOCAL)
        assert (second.code, "[deploy-running]" in second.err) == (1, True), second
        deploying.process.kill()
        deploying.process.wait(PATIENCE)
    eventually(lambda: not is_alive(int(pid.read_text())), "the end of the child")
    assert shop.types("list").out == before
    release(shop, price(2))
    assert shop.types("deploy", "price", *LOCAL).code == 0
    assert os.listdir(shop.here / "plugins") == ["price"]


def test_without_a_worker_nothing_is_done(shop: User) -> None:
    """Exit code 1 and the place that was looked at; `wait` has no --local, for only a worker knows what it serves."""
    before = tree(shop)
    for command in (("deploy", "price", "--from", "release"), ("remove", "price", "--yes"), ("wait", "price")):
        done = shop.types(*command)
        assert (done.code, "[no-worker]" in done.err) == (1, True), done
        assert os.path.join(".hotplug", "run", "worker.sock") in done.err
        assert ("--local" in done.err) == (command[0] != "wait")
        assert "[no-worker]" in shop.types(*command, "--json").json["error"]
    assert tree(shop) == before
    assert shop.types("wait", "price", "--digest", "3f2a9c1", "--timeout", "1").code == 1


def test_wrong_words_for_wait_are_usage_errors(shop: User) -> None:
    """No name, an unknown one, a digest that is none or for two plugins, a negative time, --local."""
    shop.plugin("other")
    for arguments in (
        (), ("prise",), ("price", "--digest", "xyz"), ("price", "--digest", "3f2a"), ("price", "--local"),
        ("price", "other", "--digest", "3f2a9c1"), ("price", "--timeout", "-1"), ("price", "--timeout", "soon"),
    ):  # fmt: skip
        assert shop.types("wait", *arguments).code == 4, arguments
    assert "did you mean 'price'?" in shop.types("wait", "prise").err


def test_a_plugin_is_removed_in_one_step(shop: User) -> None:
    """With --yes at once; who depends on it is named, and ends with it only by force; a process that serves goes on."""
    shop.plugin("total", manifest={"depends_on": ["price"]})
    before = digest(shop)
    with PluginManager(root=shop.here, plugin_dirs=["plugins"], debounce=0) as manager:
        assert manager.execute("price") == 1
        needed = shop.types("remove", "price", "--local", "--yes")
        assert (needed.code, "total depends on it, and would end with it" in needed.err) == (1, True)
        assert sorted(os.listdir(shop.here / "plugins")) == ["price", "total"]
        done = shop.types("remove", "price", "--local", "--yes", "--force")
        assert manager.execute("price") == 1
    assert (done.code, f"version 1.0 ({before[:12]}) is removed from plugins/price" in done.out) == (0, True), done
    assert done.err == "total: depends on it, and ended with it\n"
    assert os.listdir(shop.here / "plugins") == ["total"]
    told = shop.types("remove", "total", "--local", "--yes", "--json").json
    assert (told["source"], told["plugin"], told["outcome"], told["needed_by"]) == ("local", "total", "removed", [])
    assert shop.types("remove", "total", "--local", "--yes").code == 4


def test_a_link_is_removed_and_its_release_left_alone(shop: User) -> None:
    """What it leads to is not the plugin dir's."""
    os.rename(shop.here / "plugins/price", shop.here / "one")
    (shop.here / "plugins/price").symlink_to("../one")
    assert shop.types("remove", "price", "--local", "--yes").code == 0
    assert os.listdir(shop.here / "plugins") == []
    assert (shop.here / "one/old.py").exists()


def test_without_a_terminal_nothing_is_removed_unasked(shop: User) -> None:
    """A script needs --yes: a usage error, and the plugin stays."""
    done = shop.types("remove", "price", "--local")
    assert (done.code, "--yes" in done.err) == (4, True)
    assert (shop.here / "plugins/price/main.py").exists()


def test_at_a_terminal_one_is_asked_first(shop: User) -> None:
    """No is no, with 1; yes removes; the question names what would go."""
    pexpect = pytest.importorskip("pexpect")
    for answer, code, there in (("n", 1, True), ("", 1, True), ("y", 0, False)):
        asked = pexpect.spawn(
            sys.executable, ["-m", "pytest_hotplug", "remove", "price", "--local"],
            cwd=str(shop.here), env=shop.environment(), timeout=PATIENCE,
        )  # fmt: skip
        asked.expect_exact("Remove price 1.0 with all files in plugins/price? [y/N]:")
        asked.sendline(answer)
        asked.expect(pexpect.EOF)
        asked.close()
        assert asked.exitstatus == code, asked.before
        assert (shop.here / "plugins/price").exists() == there


def test_the_project_of_the_command_is_the_childs(user: User, tmp_path: Path) -> None:
    """pythonpath, layout, -C and a path outside of the project: the trial sees what a worker would."""
    user.write("hotplug.toml", 'manifest = "info.json"\nentry = "core:start"\npackage = ""\npythonpath = ["lib"]\n')
    user.write("lib/shared_rates.py", "RATE = 2\n")
    new = tmp_path / "new"
    new.mkdir()
    (new / "core.py").write_text("import shared_rates\ndef start(): return shared_rates.RATE\n")
    elsewhere = User(tmp_path)
    done = elsewhere.types("-C", "project", "deploy", "price", "--from", str(new), "--local")
    assert (done.code, "price: version 0 deployed" in done.out) == (0, True), done
    assert "2" in in_a_terminal(user, "run", "price")
