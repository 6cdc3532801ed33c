"""`hotplug schema`: an editor knows plugin.json as well as the reloader does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_hotplug.reloader.errors import PluginFault
from pytest_hotplug.reloader.manifest import parse_manifest
from pytest_hotplug.reloader.settings import Layout
from tests.architecture.project import PROJECT
from tests.cli.terminal import User

EXAMPLES = sorted((PROJECT / "example_plugins").glob("*/plugin.json"))
WRONG: dict[str, Any] = {
    "no object": ["name"],
    "name of another type": {"name": 1},
    "name that no directory of a plugin has": {"name": "Demo Plugin"},
    "version as a number": {"version": 1.0},
    "description as a table": {"description": {}},
    "author as a list of numbers": {"author": [1]},
    "tags as a number": {"tags": 3},
    "entry as a list": {"entry_point": ["main.run"]},
    "parameters as a list": {"parameters": ["count"]},
    "a parameter as a text": {"parameters": {"count": "integer"}},
    "a parameter of an unknown type": {"parameters": {"count": {"type": "decimal"}}},
    "a parameter required in words": {"parameters": {"count": {"required": "yes"}}},
    "options as a text": {"parameters": {"count": {"options": "1, 2"}}},
    "dependencies as a text": {"dependencies": "requests"},
    "packages as a text": {"dependencies": {"packages": "requests"}},
    "a Python version as a number": {"python_version": 3.11},
    "enabled in words": {"enabled": "yes"},
    "enabled as a number": {"enabled": 1},
    "depends_on as a text": {"depends_on": "greeter"},
    "an unknown hand-over": {"handover": "both"},
    "watch_ignore as a text": {"watch_ignore": "*.log"},
    "a load timeout in words": {"load_timeout": "long"},
    "a load timeout below zero": {"load_timeout": -1},
    "a retire timeout below zero": {"retire_timeout": -0.5},
    "hotplug as a list": {"hotplug": []},
}


def is_read(manifest: Any, name: str) -> bool:
    """Tell whether the reloader takes a manifest of the plugin `name`."""
    try:
        parse_manifest(
            json.dumps(manifest).encode(), plugin=name, path=Path(f"{name}/plugin.json"), layout=Layout(Path("p"), "p")
        )
    except PluginFault:
        return False
    return True


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Draft202012Validator:
    printed = User(tmp_path_factory.mktemp("anywhere")).types("schema")
    assert (printed.code, printed.err) == (0, "")
    return Draft202012Validator(printed.json)


def test_the_schema_is_one_of_its_draft(validator: Draft202012Validator) -> None:
    """Every validator of draft 2020-12 can use it, and an editor has a text to show for each key."""
    schema: Any = validator.schema
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    for properties in (schema["properties"], schema["$defs"]["parameter"]["properties"]):
        assert all(facts["description"] for facts in properties.values())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_it_accepts_every_example(validator: Draft202012Validator, file: Path) -> None:
    """What serves has no red line in an editor."""
    manifest = json.loads(file.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(manifest)) == []
    assert is_read(manifest, file.parent.name)


@pytest.mark.parametrize("wrong", WRONG)
def test_what_it_refuses_the_reloader_refuses_too(validator: Draft202012Validator, wrong: str) -> None:
    """An editor's red line is one that `hotplug check` would draw as well, and the other way round."""
    assert not validator.is_valid(WRONG[wrong])
    assert not is_read(WRONG[wrong], "demo")


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"name": "demo", "category": "a key of mine", "$schema": "plugin.schema.json"},
        {"author": ["A", "B"], "tags": "one", "description": ["two", "lines"]},
        {"dependencies": {"python": ">=3.8", "packages": ["requests>=2"], "system": "mine"}},
        {"parameters": {"count": {"type": "int", "default": 1, "options": [1, 2], "unit": "mine"}}},
        {"load_timeout": None, "retire_timeout": 2, "entry_point": "", "handover": "stop-first"},
    ],
)
def test_it_accepts_what_the_reloader_accepts(validator: Draft202012Validator, right: Any) -> None:
    """Keys of mine, both forms of dependencies, and null where the settings decide."""
    assert is_read(right, "demo")
    assert list(validator.iter_errors(right)) == []


def test_it_names_the_keys_of_the_reference(validator: Draft202012Validator) -> None:
    """The page, the schema and the code know the same keys."""
    page = (PROJECT / "docs/reference/plugin.md").read_text(encoding="utf-8")
    table = page.partition("## Manifest\n")[2].partition("\nOne parameter:")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    schema: Any = validator.schema
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(schema["properties"])


def test_programs_get_it_with_its_source(user: User) -> None:
    """--json is one object with a schema version, as with every command."""
    told = user.types("schema", "--json").json
    assert (told["schema_version"], told["source"]) == (1, "disk")
    assert told["schema"] == user.types("schema").json
