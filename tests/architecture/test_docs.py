"""The documentation is true: what it shows was run, what the code says is explained there."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.doc_blocks import blocks, commands, copy_examples, is_played, play
from tests.architecture.project import PACKAGE, PROJECT, python
from tests.architecture.runbook import entries, has_form, untrue
from tests.architecture.slugs import slugs_in
from tests.testing.watched import delete

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
LINKING = [*PAGES, PROJECT / "CHANGELOG.md", *sorted((PROJECT / "benchmarks").glob("*.md"))]
PUBLIC = ["pytest_hotplug", "pytest_hotplug.testing"]
MESSAGES = PROJECT / "docs" / "messages.md"


def name_of(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def documented() -> list[str]:
    return [slug for slug, _ in entries(MESSAGES.read_text(encoding="utf-8"))]


@pytest.mark.skipif(sys.platform == "win32", reason="the pages show a POSIX shell")
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(is_played, blocks(page)))], ids=name_of)
def test_every_block_of_the_documentation_runs(page: Path, short_path: Path) -> None:
    """Whatever a reader copies from a page works, from top to bottom; a page that names the examples gets a copy."""
    directory = short_path / "reader"
    directory.mkdir()
    if any("example_plugins" in block.text for block in blocks(page)):
        copy_examples(directory)
    try:
        play(page, directory)
    finally:
        if (directory / ".hotplug" / "run").exists():  # a page that failed half-way leaves no worker behind
            python("-m", "pytest_hotplug", "stop", "--timeout", "0", cwd=directory)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a directory whose path leaves room for a worker's socket."""
    place = Path(tempfile.mkdtemp(prefix="hp-"))
    yield place
    delete(place)


def test_a_page_that_lies_is_found_out(tmp_path: Path) -> None:
    """The proof above can fail: by exit code, by output, by an assertion, and by a block of no known kind."""
    lies = {
        "exit": "```console\n$ python -c 'raise SystemExit(3)'\n```\n",
        "output": "```console\n$ echo one\ntwo\n```\n",
        "assertion": "```python\nassert 1 == 2\n```\n",
        "test": "```python\ndef test_it():\n    assert 1 == 2\n```\n",
        "json": "```json\n{]\n```\n",
        "language": "```\nwhat is this?\n```\n",
        "open": "```text\nnever closed\n",
    }
    for name, lie in lies.items():
        page = tmp_path / f"{name}.md"
        page.write_text(lie)
        with pytest.raises((AssertionError, ValueError)):
            play(page, tmp_path)


def test_a_page_that_is_true_passes(tmp_path: Path) -> None:
    """Files, commands with promised output or exit code, scripts and tests are all played, in order."""
    page = tmp_path / "page.md"
    page.write_text(
        "```python title=told.py\nWORD = 'seven'\n```\n"
        "```console\n$ python -c 'import told; print(told.WORD, id(told))'\nseven ...\n"
        "$ exit 2  # exits 2\n```\n"
        "```python\nfrom told import WORD\nassert WORD == 'seven'\n```\n"
        "```python\ndef test_it():\n    assert True\n```\n"
        '```json\n{"a": 1}\n```\n```text\nanything\n```\n'
    )
    assert play(page, tmp_path) == 5
    assert [command.code for command in commands(blocks(page)[1])] == [0, 2]


def test_every_link_leads_somewhere() -> None:
    """No page points to a file that isn't there."""
    dead = [
        f"{name_of(page)} -> {target}"
        for page in LINKING
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_every_slug_has_an_entry() -> None:
    """A message's slug leads to what it means and what to do."""
    found = slugs_in(sorted(PACKAGE.rglob("*.py")))
    assert found.named, "no slug was found in the code"
    missing = {slug: place for slug, place in found.named.items() if slug not in documented()}
    assert missing == {}


def test_every_entry_has_a_slug() -> None:
    """The list of messages holds no message that nobody prints, and none twice."""
    found = slugs_in(sorted(PACKAGE.rglob("*.py")))
    assert [slug for slug in documented() if not found.knows(slug)] == []
    assert len(documented()) == len(set(documented()))


def test_every_entry_says_what_serves_and_what_to_type() -> None:
    """Who is woken finds under every slug a short explanation, what serves and what to type, always in one form."""
    found = entries(MESSAGES.read_text(encoding="utf-8"))
    assert [slug for slug, body in found if not has_form(body)] == []


def test_every_command_of_the_runbook_exists() -> None:
    """What the runbook says to type can be typed: its commands and options are those of the command line."""
    assert untrue(MESSAGES.read_text(encoding="utf-8")) == []


def test_a_runbook_that_lies_is_found_out() -> None:
    """The proofs above can fail: by a line that lacks, is empty, comes twice or elsewhere, a command, an option."""
    serves, types = "- **Serves:** all\n  as before.\n", "- **Type:** nothing.\n"
    assert entries(f"# Page\n## a-slug\nMeans.\n\n{serves}{types}\n## other\n") == [
        ("a-slug", f"Means.\n\n{serves}{types}\n"),
        ("other", ""),
    ]
    assert has_form(f"It means\nthis.\n\n{serves}{types}\n")
    for body in (
        "Means.\n",
        f"Means.\n\n{serves}",
        f"Means.\n\n{types}{serves}",
        f"Means.\n\n- **Serves:**\n{types}",
        f"Means.\n\n{serves}{types}{types}",
        f"Means.\n\n{serves}{types}\nMore.\n",
        f"\n{serves}{types}",
        f"One\ntwo\nthree\nfour.\n\n{serves}{types}",
    ):
        assert not has_form(body), body
    true = ["hotplug why NAME", "X=1 hotplug stop\n  --timeout=5", "hotplug --help", "hotplug run NAME --key 1"]
    lies = ["hotplug whence", "hotplug why NAME --frob", "hotplug -x", "ls && hotplug nix", "pytest --hotplug-frob"]
    assert untrue(" or ".join(f"`{code}`" for code in [*true, "ls -l", "pytest --hotplug-watch", *lies])) == lies


def test_slugs_are_found_in_every_form(tmp_path: Path) -> None:
    """The search above sees fields, parameters, message ends, and slugs that are built."""
    source = tmp_path / "source.py"
    source.write_text(
        "class Fault:\n    plugin: str\n    slug: str\n"
        "class Wrong(Exception):\n    def __init__(self, message, slug): ...\n"
        "def blame(slug, text): ...\n"
        "def slug_for(step):\n    return {'a': 'by-table'}.get(step, f'{step}-failed')\n"
        "def f(name):\n"
        "    '''Not in a docstring. [of-prose]'''\n"
        "    Fault('p', 'by-field'); Wrong('m', slug='by-keyword')\n"
        "    blame('by-call' if name else 'by-other', 'x')\n"
        "    return f'{name} is no good. [by-text]', r'[a-z]', 'first-waits'\n"
    )
    found = slugs_in([source])
    named = {"by-table", "by-field", "by-keyword", "by-call", "by-other", "by-text"}
    assert set(found.named) == named
    assert found.knows("on-load-failed")
    assert not found.knows("first-waits")


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module: str) -> None:
    """`help()` answers for every exported name and for every public method of an exported class."""
    exported = importlib.import_module(module)
    silent = []
    for name in exported.__all__:
        value = getattr(exported, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            silent += [path for path, thing in public_parts(name, value) if not inspect.getdoc(thing)]
    assert silent == []


def public_parts(name: str, value: object) -> list[tuple[str, object]]:
    """Return `value` and, for a class, its own public functions and properties, each with its dotted name."""
    parts = [(name, value)]
    if inspect.isclass(value):
        for key, part in vars(value).items():
            if not key.startswith("_") and (inspect.isroutine(part) or isinstance(part, property)):
                parts.append((f"{name}.{key}", part))
    return parts
