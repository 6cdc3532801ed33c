"""Option and value in one word, as long as pytest doesn't know the option.

Pytest looks for its rootdir and configuration before it loads plugins. An argument that it doesn't
know to be a value, and that exists, is a path of tests to it: `--hotplug-events /tmp/events.jsonl`
may make `/tmp` the rootdir. No plugin can change that; so the other spelling is asked for wherever
it makes a difference.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

import pytest

from pytest_hotplug.testing.pytest_internals import find_configuration

__all__ = ["check_spelling", "join_values"]

_WITH_VALUE = (
    "--hotplug-plugins",
    "--hotplug-poll",
    "--hotplug-debounce",
    "--hotplug-events",
    "--hotplug-since",
    "--hotplug-related",
    "--hotplug-level",
    "--hotplug-ref",
    "--hotplug-ref-digest",
)


def join_values(arguments: Iterable[str]) -> list[str]:
    """Return the arguments with `--option value` of ours as one word."""
    joined: list[str] = []
    rest = iter(arguments)
    for text in rest:
        if text == "--":
            return [*joined, text, *rest]
        value = next(rest, None) if text in _WITH_VALUE else None
        joined.append(text if value is None else f"{text}={value}")
    return joined


def check_spelling(config: pytest.Config) -> None:
    """Raise pytest.UsageError if a value of ours has moved pytest's rootdir or configuration."""
    given = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]
    words = [word for word in join_values(given) if word not in given]
    if not words:
        return
    paths = list(config.known_args_namespace.file_or_dir)
    meant = find_configuration(config, paths)
    for word in words:
        option, _, value = word.partition("=")
        if meant != find_configuration(config, [*paths, value]) == (config.rootpath, config.inipath):
            raise pytest.UsageError(
                f"{option} {value}: pytest takes {value} for a path of tests before it knows the option, and looks "
                f"for its configuration there. Write {word} [taken-as-path]"
            )
