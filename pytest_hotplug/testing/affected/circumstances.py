"""What a run brings along from outside its files and may change any outcome: variables and options.

What only chooses, orders or shows tests is left out, so that `-v` or `-k` makes nobody run again.
Reads nothing from disk.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["Circumstances", "circumstances_of", "options_that_count"]

# About the terminal, the desktop, the shell, the login or the CI job; of no account to what tests do.
_OF_THE_SESSION = (
    "BASH", "COLORTERM", "COLUMNS", "COV_", "COVERAGE_", "DBUS_", "DEBUGINFOD", "DISPLAY", "EDITOR", "FORCE_COLOR",
    "GITHUB_", "GPG_", "HIST", "HOSTNAME", "HOTPLUG_", "INVOCATION_ID", "JOURNAL_", "LESS", "LINES", "LOGNAME",
    "LS_COLORS", "MAIL", "NO_COLOR", "OLDPWD", "PAGER", "PWD", "PYTEST_", "RUNNER_", "SHELL", "SHLVL", "SSH_", "SUDO_",
    "TERM", "TMUX", "TOX_", "VSCODE_", "WINDOWID", "XDG_", "_",
)  # fmt: skip
_FLAGS = (
    "-v", "--verbose", "-q", "--quiet", "-x", "--exitfirst", "-l", "--showlocals", "--no-showlocals", "-s",
    "--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first", "--sw", "--stepwise",
    "--sw-skip", "--stepwise-skip", "--sw-reset", "--stepwise-reset", "--cache-clear", "--no-header", "--no-summary",
    "--full-trace", "--pdb", "--trace", "--co", "--collect-only", "--continue-on-collection-errors",
    "--no-cov", "--no-cov-on-fail", "--cov-append", "--cov-branch", "-f", "--looponfail", "--setup-show",
    "--hotplug-watch", "--hotplug-affected", "--hotplug-record", "--hotplug-why",
)  # fmt: skip
_WITH_VALUE = (
    "-k", "-m", "-r", "-n", "--numprocesses", "--maxprocesses", "--dist", "--tx", "--maxfail", "--tb", "--capture",
    "--color", "--code-highlight", "--durations", "--durations-min", "--verbosity", "--show-capture", "--pdbcls",
    "--junitxml", "--junit-xml", "--junitprefix", "--junit-prefix", "--basetemp", "--lfnf",
    "--last-failed-no-failures", "--deselect", "--ignore", "--ignore-glob", "--cov-report", "--cov-fail-under",
    "--cov-config", "--cov-context", "--html", "--report-log",
    "--hotplug-events", "--hotplug-since", "--hotplug-related", "--hotplug-poll", "--hotplug-debounce",
)  # fmt: skip
_WITH_A_VALUE_OR_NONE = ("--cov", "--cache-show")
_PLUGINS = {"xdist", "xdist.plugin", "pytest_cov", "pytest_cov.plugin", "cacheprovider", "terminal", "pytest_hotplug"}


@dataclass(frozen=True)
class Circumstances:
    """The environment variables that count, and the options; None: nobody knows the options here."""

    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(dict(os.environ)))
    options: str | None = None

    def names(self) -> list[str]:
        """Return the names of the variables that may matter to tests, sorted."""
        return sorted(name for name in self.variables if not name.startswith(_OF_THE_SESSION))


def circumstances_of(config: pytest.Config) -> Circumstances:
    """Return those of a pytest run, as they are now."""
    arguments = map(str, config.invocation_params.args)
    return Circumstances(options=options_that_count(arguments, config.known_args_namespace.file_or_dir))


def options_that_count(arguments: Iterable[str], positional: Iterable[str]) -> str:
    """Return a command line, and PYTEST_ADDOPTS, without files and without what only selects or shows."""
    given = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *arguments]
    known, left = _of_no_account().parse_known_args(given)
    files = set(positional)
    plugins = [f"-p{name}" for name in known.plugins if name.removeprefix("no:") not in _PLUGINS]
    return shlex.join([*plugins, *(word for word in left if word not in files and word != "--")])


def _of_no_account() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for number, name in enumerate(_FLAGS):
        parser.add_argument(name, action="count", dest=f"flag{number}")
    for number, name in enumerate(_WITH_VALUE):
        parser.add_argument(name, action="append", dest=f"value{number}")
    for number, name in enumerate(_WITH_A_VALUE_OR_NONE):
        parser.add_argument(name, action="append", nargs="?", dest=f"maybe{number}")
    parser.add_argument("-p", action="append", dest="plugins", default=[])
    return parser
