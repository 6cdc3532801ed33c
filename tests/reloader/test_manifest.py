"""plugin.json is read strictly: everything that Python's json lets pass is a fault with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.manifest import Manifest, parse_entry, parse_manifest
from pytest_hotplug.reloader.settings import Layout

PLAIN = Layout(Path("plugins"), "plugins")


def parse(data: Any, layout: Layout = PLAIN) -> Manifest:
    raw = data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    return parse_manifest(raw, plugin="demo", path=Path("plugins/demo/plugin.json"), layout=layout)


def faults(data: Any, layout: Layout = PLAIN) -> tuple[Fault, ...]:
    with pytest.raises(PluginFault) as caught:
        parse(data, layout)
    return caught.value.faults


def test_every_key_has_a_default() -> None:
    """An empty object, or no manifest at all, is a whole manifest."""
    manifest = parse("{}")
    assert (manifest.name, manifest.version, manifest.entry_point, manifest.enabled) == ("demo", "0", "main.run", True)
    assert (manifest.parameters, manifest.packages, manifest.depends_on) == ({}, (), [])
    assert (manifest.handover, manifest.watch_ignore, manifest.load_timeout) == ("beside", [], None)
    none = parse_manifest(None, plugin="demo", path=Path("x"), layout=PLAIN)
    assert (none.name, none.entry_point) == ("demo", "main.run")


def test_a_manifest_of_an_existing_family_is_read() -> None:
    """The format that plugin families use: text or lists for author and tags, both forms of dependencies."""
    manifest = parse(
        {
            "name": "demo",
            "version": "1.2",
            "description": "Says hello",
            "author": ["A", "B"],
            "tags": "demo",
            "entry_point": "main:demo_function",
            "parameters": {"count": {"type": "integer", "required": False, "default": 1, "options": [1, 2]}},
            "dependencies": {"python": ">=3.8", "packages": ["requests>=2"]},
            "category": "other keys are kept",
        }
    )
    assert manifest.packages == ("requests>=2",)
    assert manifest.python == ">=3.8"
    assert manifest.parameters["count"].default == 1
    assert manifest.extra == {"category": "other keys are kept"}
    assert manifest.warnings == ()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'\xef\xbb\xbf{"version": "1"}', "byte order mark"),
        ('{"version": "1"}'.encode("utf-16"), "not UTF-8"),
        ('{"version": "é"}'.encode("latin-1"), "not UTF-8"),
        ('{"extra": NaN}', "NaN is no JSON number"),
        ('{"extra": Infinity}', "Infinity is no JSON number"),
        ('{"extra": -Infinity}', "-Infinity is no JSON number"),
        ('{"load_timeout": 1e999}', "is not finite"),
        ('{"extra": ' + "9" * 5000 + "}", "does not fit into 64 bits"),
        ('{"extra": 9223372036854775808}', "does not fit into 64 bits"),
        ('{"extra": "\\ud800"}', "lone surrogate"),
        ('{"\\udfff": 1}', "lone surrogate"),
        ('{"extra": ' + "[" * 40 + "]" * 40 + "}", "nested deeper than 32"),
        ('{"extra": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper than 32"),
        ('{"extra": "' + "x" * 300_000 + '"}', "at most 262,144"),
        ("[]", "expected an object, got an array"),
        ('"text"', "expected an object, got a string"),
        ("null", "expected an object, got null"),
        ("12", "expected an object, got a number"),
        ("", "is no JSON"),
        ('{"version": "1",}', "is no JSON"),
    ],
)
def test_bytes_that_no_manifest_may_hold_are_refused(data: Any, said: str) -> None:
    """S18 S19 S20 S22 S23 S24: encodings, sizes, depths and numbers are bounded, each with its own message."""
    (fault,) = faults(data)
    assert fault.slug == "bad-manifest"
    assert said in fault.message


def test_brackets_in_texts_are_no_depth() -> None:
    """S19: only real nesting counts."""
    assert parse({"description": "[" * 100 + '\\"{' * 50}).description.startswith("[[")  # type: ignore[union-attr]


def test_a_duplicate_key_is_refused_wherever_it_stands() -> None:
    """S21: which of the two would count?"""
    (fault,) = faults('{\n"parameters": {\n"a": {},\n"a": {}}}')
    assert (fault.slug, fault.line) == ("duplicate-key", 4)
    assert "'a' stands twice" in fault.message


def test_all_faults_are_told_at_once() -> None:
    """S26: every wrong value with its pointer and line, not one per attempt."""
    found = faults(
        '{\n"name": "other",\n"version": 1,\n"enabled": "yes",\n"depends_on": ["a", 2],\n'
        '"parameters": {"n": {"type": "sting"}},\n"handover": "stopfirst"\n}'
    )
    told = {fault.line: fault.message for fault in found}
    assert told[2] == "name 'other' differs from the directory 'demo'"
    assert told[3] == "/version: expected str, got int"
    assert told[4] == "/enabled: expected bool, got str"
    assert told[5] == "/depends_on/1: expected str, got int"
    assert told[6].startswith("/parameters/n/type: expected one of 'string', 'str', 'integer', 'int', ")
    assert told[6].endswith(", got 'sting'; did you mean 'string'?")
    assert told[7] == "/handover: expected one of 'beside', 'stop-first', got 'stopfirst'; did you mean 'stop-first'?"
    text = PluginFault(*found).fault.render("demo: refused.")
    assert all(message in text for message in told.values())


def test_a_misspelled_key_warns_and_is_kept() -> None:
    """S26: "did you mean", but no refusal: other keys are free."""
    manifest = parse({"entry_piont": "x", "anything": 1})
    assert manifest.warnings == ("unknown key 'entry_piont'; did you mean 'entry_point'?",)
    assert manifest.extra == {"entry_piont": "x", "anything": 1}


def test_a_foreign_manifest_is_read_through_its_own_keys() -> None:
    """`manifest_keys` maps ours to theirs; names are display only, misspellings are theirs, faults have their line."""
    theirs = Layout(Path("p"), "p", manifest=("info.json",), manifest_keys={"dependencies": "requirements"})
    manifest = parse({"name": ["x"], "requirements": ["a"], "dependencies": 3, "entry_piont": 1}, theirs)
    assert manifest.packages == ("a",)
    assert manifest.warnings == ()
    assert manifest.extra == {"dependencies": 3, "entry_piont": 1}
    (fault,) = faults('{"name": "other",\n"requirements": 3}', theirs)
    assert fault.line == 2


@pytest.mark.parametrize("text", ["main.run", "main:run", "pkg.sub.run", "__init__:setup", "a_b.c9"])
def test_entries_that_are_fine(text: str) -> None:
    """S17: `module.attribute` or `module:attribute`."""
    assert parse_entry(text, plugin="demo", path=Path("x")) is not None


@pytest.mark.parametrize(
    "text",
    ["run", "main._run", "main:a.b:c", "..host:secret", "main:__builtins__", "a b.c", "main.", ":x", "main.run\n"],
)
def test_entries_that_are_refused(text: str) -> None:
    """S17: nothing private, nothing relative, nothing that is no name."""
    with pytest.raises(PluginFault) as caught:
        parse_entry(text, plugin="demo", path=Path("x"))
    assert caught.value.fault.slug == "bad-entry"


def test_free_text_cannot_forge_a_log_line() -> None:
    """S25: escapes and line ends from a plugin are shown, not obeyed."""
    (fault,) = faults('{"name": "x\\u001b[2J\\n::error::forged"}')
    assert "\x1b" not in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize("cookie", [b"# -*- coding: utf-7 -*-\n", b"#!/bin/python\n# vim: set fileencoding=utf_7 :\n"])
def test_utf_7_is_no_encoding_for_source(cookie: bytes) -> None:
    """S27: an encoding in which comments become code."""
    from pytest_hotplug.reloader.code import compile_source

    with pytest.raises(SyntaxError, match="utf-7"):
        compile_source(cookie + b"x = 1\n", "x.py", "0" * 32)
