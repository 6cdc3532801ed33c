"""The one file that touches names which pytest keeps private.

Most are functions that pytest looks up each time it wants to turn a path into a module, or a
`--pyargs` name into a path; each is wrapped while a configuration lives and put back afterwards.
Two are only asked: where pytest would look for its configuration, and which fixtures a test uses. A
wrapped name that is gone, or takes other arguments, costs one line in the header of the run: pytest
then does that part in its plain way. Three belong to a process that was forked after it has
collected: without those names its summary counts the time since then, and each run makes a basetemp
of its own. Tried with every pytest from 8.4 on.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

__all__ = [
    "Wrapped",
    "find_configuration",
    "fixtures_of",
    "make_basetemp",
    "renew_terminal",
    "resolved_by",
    "use_basetemp",
    "wrap_import_path",
    "wrap_search_pypath",
]

ImportFile = Callable[[Path, Callable[[], ModuleType]], ModuleType]  # (path, pytest's way) -> its module
FindName = Callable[[str], "Path | None"]  # a --pyargs name -> its file or directory, None: pytest's way


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What wrapping came to: how to undo it, and the line for the header if pytest has changed."""

    undo: Callable[[], None]
    note: str = ""


def wrap_import_path(import_file: ImportFile) -> Wrapped:
    """Let `import_file` decide how test modules, doctest modules and conftests are imported."""

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def import_path(path: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            return import_file(Path(path), partial(plain, path, *args, **options))

        return import_path

    return _wrap("import_path", "path", make, ("_pytest.python", "_pytest.config"))


def wrap_search_pypath(find_name: FindName) -> Wrapped:
    """Let `find_name` look for `--pyargs` names first: pytest's search imports all packages on the way."""

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        def search_pypath(module_name: str, *args: Any, **options: Any) -> Any:
            path = find_name(module_name)
            return plain(module_name, *args, **options) if path is None else str(path)

        return search_pypath

    return _wrap("search_pypath", "module_name", make, ("_pytest.main",))


def find_configuration(config: pytest.Config, paths: Sequence[str]) -> tuple[Path, Path | None] | None:
    """Return the rootdir and configuration file that pytest finds for paths of tests, None if it can't be asked."""
    known = config.known_args_namespace
    try:
        from _pytest.config.findpaths import determine_setup

        taken = inspect.signature(determine_setup).parameters
        asked = {
            "inifile": known.inifilename,
            "override_ini": None,
            "args": list(paths),
            "rootdir_cmd_arg": known.rootdir,
            "invocation_dir": config.invocation_params.dir,
        }
        found: Any = determine_setup(**{name: value for name, value in asked.items() if name in taken})
    except (ImportError, AttributeError, TypeError):
        return None
    return found[0], found[1]


def renew_terminal(config: pytest.Config, tests: int) -> None:
    """Let the terminal reporter know the terminal of now, these many tests, and a session that just began."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None:
        return
    reporter.stats.clear()
    if hasattr(reporter, "_numcollected"):
        reporter._numcollected = tests
    if hasattr(reporter, "_session_start"):
        reporter._session_start = type(reporter._session_start)()
    try:
        from _pytest.config import create_terminal_writer

        config.get_terminal_writer().hasmarkup = create_terminal_writer(config, sys.stdout).hasmarkup
    except ImportError:
        return  # no colours, then


def make_basetemp(config: pytest.Config) -> Path | None:
    """Make the directory that temporary ones of tests lie in; None where each run must do it."""
    factory: Any = getattr(config, "_tmp_path_factory", None)
    if getattr(factory, "_given_basetemp", True) is not None or not hasattr(factory, "_basetemp"):
        return None  # one that was named is emptied by each run
    made: Path = factory.getbasetemp()
    return made


def use_basetemp(config: pytest.Config, directory: Path) -> None:
    """Let temporary directories of tests lie here; what its maker has to clean up is left to its maker."""
    factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]
    factory._basetemp = directory
    if hasattr(factory, "_exit_stack"):
        factory._exit_stack.pop_all()


def fixtures_of(item: pytest.Item) -> list[Any] | None:
    """Return the definitions of all fixtures that a test may have used, None if pytest doesn't tell."""
    info, request = getattr(item, "_fixtureinfo", None), getattr(item, "_request", None)
    try:
        found = list(info.name2fixturedefs.values()) if info else []
        asked = getattr(request, "_arg2fixturedefs", {})
        named = [definition for definitions in (*found, *asked.values()) for definition in definitions]
        return [*named, *resolved_by(request)]
    except (AttributeError, TypeError):
        return None


def resolved_by(request: Any) -> list[Any]:
    """Return the definitions of the fixtures that a test's requests came to, also by `request.getfixturevalue`."""
    return list(getattr(request, "_fixture_defs", {}).values())


def _wrap(
    name: str, first: str, make: Callable[[Callable[..., Any]], Callable[..., Any]], owners: tuple[str, ...]
) -> Wrapped:
    """Wrap `name` in all modules that hold it, or in none."""
    found: list[tuple[ModuleType, Callable[..., Any]]] = []
    for owner in owners:
        module = importlib.import_module(owner)
        plain = getattr(module, name, None)
        if plain is None or next(iter(inspect.signature(plain).parameters), None) != first:
            return Wrapped(lambda: None, f"this pytest has no {owner}.{name}({first}, ...)")
        found.append((module, plain))
    for module, plain in found:
        setattr(module, name, make(plain))

    def undo() -> None:
        for module, plain in found:
            setattr(module, name, plain)

    return Wrapped(undo)
