"""What counts as a change inside a source, block by block."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from pytest_hotplug.testing.affected.blocks import BODY, DOCSTRINGS, WHOLE, Blocks, read_blocks

SOURCE = '''
import os

TOP = 1


def plain(a, b=2):
    """Say it."""
    return a + b


class Box:
    """A box."""

    size = 3

    def open(self):
        """Open it."""

        def inner():
            return 1

        return inner()

    @property
    def wide(self):
        """Tell whether it is wide."""
        return self.size > 2


@staticmethod
def marked():
    """Be marked."""
    return [n for n in range(3)]
'''


def changed(old: str, new: str) -> set[str]:
    """Return the blocks that an edit of the source changes; the file as a whole is left out."""
    assert old in SOURCE
    before, after = read_blocks(SOURCE.encode()), read_blocks(SOURCE.replace(old, new).encode())
    names = before.digests.keys() | after.digests.keys()
    return {name for name in names if before.digest(name) != after.digest(name)} - {WHOLE}


@pytest.mark.parametrize(
    ("old", "new", "blocks"),
    [
        ("a + b", "b + a", {"plain()"}),
        ("a + b", "a +  b  # sum", set()),
        ("\n\ndef plain", "\n\n\n# here\n\n\ndef plain", set()),
        ("b=2", "b=3", {BODY}),
        ("b=2", "b: int = 2", {BODY}),
        ("TOP = 1", "TOP = 2", {BODY}),
        ("size = 3", "size = 4", {"class Box"}),
        ("return 1", "return 2", {"Box.open.inner()"}),
        ("self.size > 2", "self.size > 3", {"Box.wide()"}),
        ("@staticmethod", "@classmethod", {BODY}),
        ("range(3)", "range(4)", {"marked()"}),
        ("Say it", "Tell it", {DOCSTRINGS}),
        ("Be marked", "Be seen", {"marked()", DOCSTRINGS}),
        ("Tell whether", "Say whether", {"Box.wide()", DOCSTRINGS}),
        ("class Box:", "def new(): pass\n\n\nclass Box:", {BODY, "new()"}),
        ("size = 3\n", "size = 3\n\n    def shut(self): pass\n", {"class Box", "Box.shut()"}),
    ],
)
def test_an_edit_changes_these_blocks(old: str, new: str, blocks: set[str]) -> None:
    """The smallest thing that can matter changes, and nothing beside it."""
    assert changed(old, new) == blocks


def test_code_objects_lead_to_their_blocks() -> None:
    """What Python tells of a running function, decorated or nested, names its block."""
    at = read_blocks(SOURCE.encode()).at
    code = compile(SOURCE, "x.py", "exec")
    found = []
    waiting = [code]
    while waiting:
        each = waiting.pop()
        waiting += [inner for inner in each.co_consts if hasattr(inner, "co_consts")]
        if not each.co_name.startswith("<"):
            found.append(at[f"{each.co_qualname}@{each.co_firstlineno}"])
    assert sorted(found) == ["Box.open()", "Box.open.inner()", "Box.wide()", "class Box", "marked()", "plain()"]


def test_a_source_that_does_not_compile_is_one_block() -> None:
    """A syntax error concerns whoever uses anything of the file, and so does its mending."""
    for broken in (b"def f(:\n", b"\x00", b"# coding: nonsense\n"):
        blocks = read_blocks(broken)
        assert blocks.broken
        assert blocks.digest("f()") == blocks.digest(BODY) != ""


def test_fingerprints_are_equal_in_every_process() -> None:
    """They hang on no hash seed and no order of sets."""
    source = dedent("def f(x):\n    return x in {'a', 'b', 'c'} or x == 1.5j\n")
    imported = "from pytest_hotplug.testing.affected.blocks import read_blocks"
    script = f"{imported}; print(read_blocks({source!r}.encode()).digests)"
    told = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert told == {f"{read_blocks(source.encode()).digests}\n"}


def test_equal_names_are_told_from_each_other() -> None:
    """A getter and a setter, or both branches of an `if`, are blocks of their own."""
    source = b"if X:\n    def f(): return 1\nelse:\n    def f(): return 2\n"
    assert {"f()", "f() #2"} <= read_blocks(source).digests.keys()
    assert isinstance(read_blocks(source), Blocks)
