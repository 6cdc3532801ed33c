"""What an operator finds in app.log and error.log of a process that serves plugins."""

from __future__ import annotations

import json
import logging
import logging.config
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_hotplug import PluginManager
from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.worker.logs import Logs, set_up


@contextmanager
def logging_to(root: Path, **settings: object) -> Iterator[Logs]:
    logs = set_up(Settings(**settings), root, "worker")  # type: ignore[arg-type]
    try:
        yield logs
    finally:
        logs.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[PluginManager]:
    """Give a manager of one plugin that works."""
    save(tmp_path, "def run():\n    return 1\n")
    with PluginManager(plugin_dirs=[tmp_path / "plugins"], strict_permissions="off") as manager:
        yield manager


def save(root: Path, source: str) -> Path:
    path = root / "plugins/greeter/main.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def grep(word: str, file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").splitlines() if word in line]


def test_reloads_are_found_in_the_log(tmp_path: Path, manager: PluginManager) -> None:
    """R33: `grep hot` and `grep plugin` in logs/app.log show loads, reloads and refusals, each with its worker."""
    with logging_to(tmp_path) as logs:
        manager.execute("greeter")
        save(tmp_path, "def run():\n    return 22\n")
        manager.execute("greeter")
        save(tmp_path, "def run(:\n")
        manager.execute("greeter")
        assert logs.problem == ""
    found = grep("plugin=greeter", tmp_path / "logs/app.log")
    assert set(found) <= set(grep("hot", tmp_path / "logs/app.log"))
    for event in ("hotplug.loaded", "hotplug.reloaded", "hotplug.kept"):
        assert any(f" worker[{os.getpid()}] {event} " in line for line in found), event


def test_errors_have_a_file_of_their_own(tmp_path: Path, manager: PluginManager) -> None:
    """R34: logs/error.log holds the refusal with file, line and slug, and no word of what went well."""
    with logging_to(tmp_path):
        manager.execute("greeter")
        save(tmp_path, "def run(:\n")
        manager.execute("greeter")
    (line,) = (tmp_path / "logs/error.log").read_text("utf-8").splitlines()
    assert " ERROR worker[" in line
    assert "hotplug.kept plugin=greeter slug=syntax-error" in line
    assert "main.py:1" in line
    assert line in (tmp_path / "logs/app.log").read_text("utf-8").splitlines()


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_causes_of_no_reload_are_named(tmp_path: Path, manager: PluginManager) -> None:
    """R35: "same content, not reloaded" and a permission problem stand in the log as causes."""
    with logging_to(tmp_path):
        manager.execute("greeter")
        os.utime(save(tmp_path, "def run():\n    return 1\n"))
        manager.reload("greeter")
        assert "same content, not reloaded" in grep("hotplug.same_content", tmp_path / "logs/app.log")[-1]
        with PluginManager(plugin_dirs=[tmp_path / "plugins"], strict_permissions="on") as strict:
            strict.load("greeter")
            save(tmp_path, "def run():\n    return 3\n").chmod(0o666)
            strict.reload("greeter")
    assert grep("main.py is writable by everybody", tmp_path / "logs/error.log")
    assert grep("slug=untrusted", tmp_path / "logs/error.log")


def test_loggers_of_plugins_are_in_the_same_file(tmp_path: Path) -> None:
    """Whatever logger a plugin uses; from log_level on."""
    with logging_to(tmp_path, log_level="warning", log_format="json"):
        logging.getLogger("shop.prices").warning("3 prices\nchanged")
        logging.getLogger("hotplug.plugin.greeter").error("no tea")
        logging.getLogger("shop.prices").info("nobody asked")
    told = [json.loads(line) for line in (tmp_path / "logs/app.log").read_text().splitlines()]
    assert [(line["logger"], line["text"]) for line in told] == [
        ("shop.prices", "3 prices\nchanged"), ("hotplug.plugin.greeter", "no tea"),
    ]  # fmt: skip


def test_settings_are_read_again_without_losing_a_line(tmp_path: Path) -> None:
    """After a SIGHUP the new place, format and level count, and moved files are opened anew."""
    with logging_to(tmp_path) as logs:
        logging.getLogger("shop").info("one")
        logs.reread(Settings(log_dir="elsewhere", log_format="json", log_level="debug"))
        logging.getLogger("shop").debug("two")
    assert grep("one", tmp_path / "logs/app.log")
    assert json.loads((tmp_path / "elsewhere/app.log").read_text())["text"] == "two"


def test_a_dash_means_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a container nothing is written to a disk."""
    with logging_to(tmp_path, log_dir="-") as logs:
        logging.getLogger("shop").info("one")
        assert logs.problem == ""
    assert " shop text=one" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_told_with_a_slug(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The worker starts all the same; stderr and the health say why there are no files."""
    (tmp_path / "logs").write_text("a file is in the way")
    with logging_to(tmp_path) as logs:
        logging.getLogger("shop").info("one")
        assert "app.log can't be written" in logs.problem
    shown = capfd.readouterr().err.splitlines()
    assert "[log-unwritable]" in shown[0]
    assert "slug=log-unwritable" in shown[0]
    assert " shop text=one" in shown[-1]


def test_a_plugin_that_configures_logging_does_not_end_the_log(tmp_path: Path) -> None:
    """After dictConfig took everything away, the next look at the health puts the files back and says so."""
    top = logging.getLogger()
    before, level = list(top.handlers), top.level
    try:
        with logging_to(tmp_path) as logs:
            top.handlers.clear()
            logging.getLogger("hotplug").disabled = True
            assert logs.problem == ""
            logging.getLogger("hotplug").info("hotplug.loaded", extra={"plugin": "greeter"})
    finally:
        top.handlers[:] = before
        top.setLevel(level)
    assert [line.split()[3] for line in (tmp_path / "logs/app.log").read_text().splitlines()] == [
        "hotplug.log_put_back", "hotplug.loaded",
    ]  # fmt: skip


def test_a_plugin_that_wants_less_logged_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """A level of the root logger, and what is disabled for the whole process, is as it was after that look, too."""
    top = logging.getLogger()
    level = top.level
    try:
        with logging_to(tmp_path) as logs:
            for quieten in (lambda: top.setLevel("CRITICAL"), lambda: logging.disable(logging.CRITICAL)):
                quieten()
                assert logs.problem == ""
                logging.getLogger("shop").info("one")
    finally:
        top.setLevel(level)
        logging.disable(logging.NOTSET)
    assert [line.split()[3] for line in (tmp_path / "logs/app.log").read_text().splitlines()] == [
        "hotplug.log_put_back", "shop", "hotplug.log_put_back", "shop",
    ]  # fmt: skip


def test_afterwards_logging_is_as_it_was(tmp_path: Path) -> None:
    """Who embeds a worker gets the root logger back."""
    loggers = (logging.getLogger(), logging.getLogger("hotplug"))
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    with logging_to(tmp_path, log_level="debug"):
        assert [(list(logger.handlers), logger.level) for logger in loggers] != before
    assert [(list(logger.handlers), logger.level) for logger in loggers] == before
