"""Read docs/messages.md as an operator does: an entry for each slug, and in it what serves and what to type.

An entry is a heading of the second level that holds the slug alone, at most three lines that say
what the message means, and a list of two items, `- **Serves:** ...` and `- **Type:** ...`. What
stands there as code and calls `hotplug`, or an option of ours to pytest, must be something that there is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from pytest_hotplug.cli.run import cli
from tests.architecture.project import PACKAGE

ENTRY = re.compile(r"^## `?([a-z-]+)`?\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
OUR_OPTION = re.compile(r"--hotplug-[a-z-]+")
ITEM = r"- \*\*{}:\*\* \S[^\n]*(?:\n  \S[^\n]*)*\n"  # further lines of it are indented
FORM = re.compile(r"\S[^\n]*\n(?:\S[^\n]*\n){0,2}\n" + ITEM.format("Serves") + ITEM.format("Type") + r"\n*")
WORDS = ("**Serves:**", "**Type:**")


def entries(text: str) -> list[tuple[str, str]]:
    """Return slug and body of each entry, in order."""
    return ENTRY.findall(text)


def has_form(body: str) -> bool:
    """Tell whether a body is an explanation and the two lines, each once and not empty."""
    return FORM.fullmatch(body) is not None and all(body.count(word) == 1 for word in WORDS)


def untrue(text: str) -> list[str]:
    """Return the commands of a text that don't exist, or have no such option."""
    return [code for code in map(_in_one_line, CODE.findall(text)) if any(_faults(code))]


def _in_one_line(code: str) -> str:
    return " ".join(code.split())


def _faults(code: str) -> Iterator[str]:
    yield from (option for option in OUR_OPTION.findall(code) if option not in _options_to_pytest())
    words = shlex.split(code) if re.search(r"(?:^|\s)hotplug\s", code) else []
    for place in (number for number, word in enumerate(words) if word == "hotplug"):
        yield from _faults_of(words[place + 1 :])


def _faults_of(words: list[str]) -> Iterator[str]:
    """Yield what the command line does not know; `words` are what stands behind `hotplug`."""
    name, *rest = words
    of_group = name.startswith("-")
    command = cli if of_group else cli.get_command(click.Context(cli), name)
    if command is None:
        yield name
    elif not command.context_settings.get("ignore_unknown_options"):  # else they are a plugin's parameters
        known = _options_of(command)
        given = words if of_group else rest
        yield from (word for word in given if word.startswith("-") and word.partition("=")[0] not in known)


def _options_of(command: click.Command) -> set[str]:
    context = click.Context(command, help_option_names=["-h", "--help"])
    return {option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts)}


def _options_to_pytest() -> set[str]:
    """Return the options that our plugin adds: read, since pytest has no public list of them."""
    source = (PACKAGE / "testing" / "pytest_plugin.py").read_text(encoding="utf-8")
    return set(re.findall(r'^ +"(--hotplug-[a-z-]+)",$', source, flags=re.MULTILINE))
