"""What pytest loads in every run: options, ini, fixtures by name, and nothing else.

Tiny on purpose: everything heavy is imported inside the branch that needs it, so that a run which
uses nothing of ours pays for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_hotplug.testing.options import given_option
from pytest_hotplug.testing.stash import CHOSEN_BY_WATCHER, SESSION, ZYGOTE, ZYGOTE_WORK

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_hotplug.reloader.manager import PluginManager
    from pytest_hotplug.testing.sandbox import Hotplug, SandboxedPlugin


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup("hotplug", "hot reload of application plugins")
    group.addoption(
        "--hotplug-watch",
        action="store_true",
        default=None,
        dest="hotplug_watch",
        help="watch the plugins and rerun the affected tests at each change (one ordinary run without a terminal)",
    )
    group.addoption(
        "--hotplug-verify",
        action="store_true",
        default=None,
        dest="hotplug_verify",
        help="prove or refute that each plugin is safe to hot-reload, beside the tests (-m hotplug_verify: alone)",
    )
    group.addoption(
        "--hotplug-level",
        choices=("fast", "full"),
        default=None,
        dest="hotplug_level",
        help="with --hotplug-verify: all checks (full), or those of seconds (fast)",
    )
    group.addoption(
        "--hotplug-strict",
        action="store_true",
        default=None,
        dest="hotplug_strict",
        help="with --hotplug-verify: fail what was not proved: plugins without a probe, checks for lack of a tool",
    )
    group.addoption(
        "--hotplug-report",
        action="append",
        default=None,
        metavar="FILE",
        dest="hotplug_report",
        help="with --hotplug-verify: write a report; may be repeated; by suffix: .html .json .md .sarif",
    )
    group.addoption(
        "--hotplug-ref",
        default=None,
        metavar="REV|DIR",
        dest="hotplug_ref",
        help="with --hotplug-verify: prove upgrades from what is deployed, a git revision or a directory",
    )
    group.addoption(
        "--hotplug-ref-digest",
        action="append",
        default=None,
        metavar="NAME=DIGEST",
        dest="hotplug_ref_digest",
        help="with --hotplug-ref: fail unless this plugin has this digest there; may be repeated",
    )
    group.addoption(
        "--hotplug-plugins",
        action="append",
        default=None,
        metavar="DIR",
        dest="hotplug_plugins",
        help="a directory that holds plugins; may be repeated; overrides the settings file",
    )
    group.addoption(
        "--hotplug-poll",
        type=float,
        default=None,
        metavar="SECONDS",
        dest="hotplug_poll",
        help="look at the files this often instead of waiting for events",
    )
    group.addoption(
        "--hotplug-debounce",
        type=float,
        default=None,
        metavar="SECONDS",
        dest="hotplug_debounce",
        help="how long files must be quiet before they are reloaded (default: 0.05)",
    )
    group.addoption(
        "--hotplug-events",
        default=None,
        metavar="FILE",
        dest="hotplug_events",
        help="with --hotplug-watch: write every event as a JSON line to FILE (- is stdout)",
    )
    group.addoption(
        "--hotplug-affected",
        action="store_true",
        default=None,
        dest="hotplug_affected",
        help="run only tests that changes affect since each was recorded; record what tests use",
    )
    group.addoption(
        "--hotplug-since",
        default=None,
        metavar="REV",
        dest="hotplug_since",
        help="run only tests affected by what differs from a git revision, verify only plugins that it concerns",
    )
    group.addoption(
        "--hotplug-related",
        action="append",
        default=None,
        metavar="FILE",
        dest="hotplug_related",
        help="run only tests that use this file; may be repeated",
    )
    group.addoption(
        "--hotplug-record",
        action="store_true",
        default=None,
        dest="hotplug_record",
        help="run everything and record what each test uses",
    )
    group.addoption(
        "--hotplug-why",
        action="store_true",
        default=None,
        dest="hotplug_why",
        help="tell why each test was chosen, and why a changed file chose none",
    )
    parser.addini("hotplug_affected", "run only affected tests", type="bool", default=False)
    parser.addini("hotplug_since", "git revision; run only tests that differences affect", type="string", default="")
    parser.addini("hotplug_related", "files; run only tests that use them", type="args", default=[])
    parser.addini("hotplug_record", "record what each test uses", type="bool", default=False)
    parser.addini("hotplug_why", "tell why tests were chosen", type="bool", default=False)
    parser.addini("hotplug_verify", "verify that plugins are safe to hot-reload", type="bool", default=False)
    parser.addini("hotplug_ref", "what is deployed: a git revision or a directory", type="string", default="")
    parser.addini("hotplug_ref_digest", "NAME=DIGEST of what is deployed", type="args", default=[])
    parser.addini("hotplug_level", "which checks verify: fast or full", type="string", default="full")
    parser.addini("hotplug_strict", "verify fails what was not proved", type="bool", default=False)
    parser.addini("hotplug_report", "files for reports of what verify found", type="linelist", default=[])
    parser.addini("hotplug_watch", "watch and rerun affected tests", type="bool", default=False)
    parser.addini("hotplug_plugins", "directories that hold plugins", type="args", default=[])
    parser.addini("hotplug_poll", "seconds between two looks; negative: wait for events", type="float", default=-1.0)
    parser.addini(
        "hotplug_debounce",
        "seconds that files must be quiet; negative: the setting",
        type="float",
        default=-1.0,
    )
    parser.addini("hotplug_events", "file for events as JSON lines", type="string", default="")


def _may_hold_plugins(config: pytest.Config) -> bool:
    """Tell, without importing anything, whether a plugin dir could be configured here."""
    if given_option(config, "hotplug_plugins") or config.getini("hotplug_plugins"):
        return True
    if "HOTPLUG_PLUGIN_DIRS" in os.environ:
        return True
    root = config.rootpath
    for directory in (root, *root.parents):
        if (directory / "hotplug.toml").is_file():
            return True
        pyproject = directory / "pyproject.toml"
        if pyproject.is_file() and b"tool.hotplug" in pyproject.read_bytes():
            return True
    return (root / "plugins").is_dir()


def _record(config: pytest.Config) -> None:
    """Record, and select, if an option or ini asks for it; a run that watches has its own way."""
    names = ("affected", "since", "related", "record", "why")
    options = vars(config.known_args_namespace)  # config.option is not filled yet
    given = {name: options.get(f"hotplug_{name}") for name in names}
    wanted = {name: config.getini(f"hotplug_{name}") if value is None else value for name, value in given.items()}
    watches = config.getini("hotplug_watch") if options.get("hotplug_watch") is None else options["hotplug_watch"]
    if not any(wanted.values()) or (watches and not _why_not_watching(config)):
        return
    from pytest_hotplug.testing.affected.run import Wish, begin

    begin(config, Wish(**{**wanted, "related": tuple(wanted["related"])}))


def _verify(config: pytest.Config) -> None:
    """Collect plugins' manifests as well, if an option or ini asks for it."""
    wanted = given_option(config, "hotplug_verify")
    if not (config.getini("hotplug_verify") if wanted is None else wanted):
        if given_option(config, "hotplug_report"):
            raise pytest.UsageError("--hotplug-report tells of --hotplug-verify, which is not asked for [no-report]")
        return
    session = config.stash[SESSION]
    if session is None:
        raise pytest.UsageError("no plugin dir is configured: set --hotplug-plugins or plugin_dirs [no-plugins]")
    from pytest_hotplug.testing.verify import begin

    level = given_option(config, "hotplug_level") or config.getini("hotplug_level")
    if level not in ("fast", "full"):
        raise pytest.UsageError(f"hotplug_level = {level!r}: expected fast or full [bad-setting]")
    begin(config, session.project, level)


def _why_not_watching(config: pytest.Config) -> str:
    from pytest_hotplug.testing.watch import why_not_watching

    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return why_not_watching(config)
    capture.suspend_global_capture(in_=True)  # pytest has put the null device in place of the terminal
    try:
        return why_not_watching(config)
    finally:
        capture.resume_global_capture()


def _arguments(config: pytest.Config) -> list[str]:
    return [*os.environ.get("PYTEST_ADDOPTS", "").split(), *map(str, config.invocation_params.args)]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Prepare the session before the first conftest: a plugin's own may be among them."""
    if any(argument.startswith("--hotplug-") for argument in _arguments(early_config)):
        from pytest_hotplug.testing.arguments import check_spelling

        check_spelling(early_config)
    early_config.addinivalue_line(
        "markers", "hotplug(*names): load these plugins into the test's hotplug sandbox before it starts"
    )
    early_config.stash[SESSION] = None
    if _may_hold_plugins(early_config):
        from pytest_hotplug.testing.session import start_session

        early_config.stash[SESSION] = start_session(early_config)
    _verify(early_config)
    if ZYGOTE in os.environ:
        from pytest_hotplug.testing.watch.zygote import park_configured

        park_configured(early_config)
    if CHOSEN_BY_WATCHER in os.environ or ZYGOTE_WORK in early_config.stash:
        from pytest_hotplug.testing.watch.recording import begin_recording

        begin_recording(early_config)
    else:
        _record(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Take over the run in watch mode, or run what a watcher chose."""
    if CHOSEN_BY_WATCHER in os.environ:
        from pytest_hotplug.testing.watch.child import run_what_was_chosen

        run_what_was_chosen(config)
        return None
    work = config.stash.get(ZYGOTE_WORK, None)
    if work is not None:
        work(config)
        return None
    wanted = config.getoption("hotplug_watch")
    if not (config.getini("hotplug_watch") if wanted is None else wanted):
        return None
    from pytest_hotplug.testing.watch import main

    return main(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each enabled plugin for `hotplug_each`."""
    if "hotplug_each" in metafunc.fixturenames:
        session = metafunc.config.stash.get(SESSION, None)
        names = session.enabled_plugins() if session else []
        metafunc.parametrize("hotplug_each", names, ids=names, indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a marked test the sandbox, asked for or not."""
    names = getattr(item, "fixturenames", None)
    if names is not None and "hotplug" not in names and item.get_closest_marker("hotplug"):
        names.insert(0, "hotplug")


@pytest.fixture
def hotplug_host() -> Any:
    """Return the host object that plugins get in tests; override it in a conftest.py to give them a fake."""
    return None


@pytest.fixture
def hotplug(request: pytest.FixtureRequest, tmp_path: Path, hotplug_host: Any) -> Iterator[Hotplug]:
    """Give the test a sandbox: private copies of plugins and a manager of its own, undone afterwards."""
    from pytest_hotplug.testing.fixtures import sandbox

    yield from sandbox(request, tmp_path, hotplug_host, request.config.stash.get(SESSION, None))


@pytest.fixture
def hotplug_verify() -> Callable[..., None]:
    """Assert checks of a sandboxed plugin by their ids: `hotplug_verify(plugin, "no_leaked_threads", probe={...})`."""
    from pytest_hotplug.testing.assertions import assert_checks

    return assert_checks


@pytest.fixture
def hotplug_manager(request: pytest.FixtureRequest, hotplug_host: Any) -> Iterator[PluginManager]:
    """Give the test a manager over the real plugin dirs, which it must not edit; closed afterwards."""
    from pytest_hotplug.testing.fixtures import real_manager

    yield from real_manager(request, hotplug_host, request.config.stash.get(SESSION, None))


@pytest.fixture
def hotplug_each(request: pytest.FixtureRequest, hotplug: Hotplug) -> SandboxedPlugin:
    """Run the test once for each enabled plugin, which it gets loaded in the sandbox."""
    return hotplug.load(request.param)
