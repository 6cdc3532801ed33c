"""`hotplug schema`: the JSON schema of plugin.json, for editors and for other programs' checks.

Types, choices and defaults are those of the struct that manifests are read into; only what a schema says
beyond them stands here. A manifest of another family (`manifest`, `manifest_keys`) has another shape.
"""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say
from pytest_hotplug.reloader.manifest import BEYOND_KEYS, Manifest
from pytest_hotplug.reloader.settings import Settings

__all__ = ["manifest_schema", "schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MEANINGS = {
    "name": "The plugin's name; must equal its directory's.",
    "version": "Shown and tracked; content decides about a reload, never the version.",
    "description": "What the plugin does; shown.",
    "author": "Who wrote it; shown.",
    "tags": "Words to find it by; shown.",
    "entry_point": 'What an execution calls: "module.function" or "module:function" inside the plugin; "": nothing.',
    "parameters": "The entry's parameters by name: checked and defaulted before each execution.",
    "dependencies": "Installed distributions that must be there before a load, as PEP 508 requirements.",
    "python_version": 'A version specifier such as ">=3.11", checked before a load; "": any.',
    "enabled": "A disabled plugin is listed, not loaded.",
    "depends_on": "Plugins that are loaded first; this one reloads with them.",
    "handover": "How a new version takes over: beside the old one, or after the old one has stopped.",
    "watch_ignore": "Patterns of files that are no change.",
    "load_timeout": "Seconds that a load may take; null: as the settings say.",
    "retire_timeout": "Seconds that an old version has for its calls; null: as the settings say.",
    "hotplug": "How verification uses the plugin (`verify`), and what it excepts.",
}
PARAMETER_MEANINGS = {
    "type": "The JSON type of the argument, or Python's name of it.",
    "required": "Whether an execution must be given it.",
    "default": "What the entry is given when an execution isn't.",
    "options": "The values that are allowed; null: all.",
    "description": "What it is for; shown by `hotplug run NAME --help`.",
}
_BEYOND_TYPES: dict[str, dict[str, Any]] = {
    "name": {"pattern": "^[a-z][a-z0-9_]{0,63}$"},
    "load_timeout": {"minimum": 0},
    "retire_timeout": {"minimum": 0},
}


@click.command()
@directory_option
@json_option
def schema(as_json: bool) -> int:
    """Print the JSON schema of plugin.json (draft 2020-12), for editors and checks.

    Keys that it doesn't name are allowed, as in a manifest.

    \b
    Examples:
      hotplug schema > plugin.schema.json
      hotplug schema --json
    """
    if as_json:
        emit_json({"source": "disk", "schema": manifest_schema()})
    else:
        say(json.dumps(manifest_schema(), indent=2))
    return 0


def manifest_schema() -> dict[str, Any]:
    """Return the schema of a manifest in our own format, as plain data."""
    manifest, parameter, dependencies = _generated()
    described = _described(manifest["properties"], MEANINGS)
    del described["name"]["default"]  # the directory's name
    described["entry_point"]["default"] = Settings().entry
    _described(parameter["properties"], PARAMETER_MEANINGS)
    return {
        "$schema": DIALECT,
        "title": "The manifest of a plugin (plugin.json)",
        "description": "Every key is optional; keys that are not named here are kept.",
        "type": "object",
        "properties": described,
        "additionalProperties": True,
        "$defs": {"parameter": parameter, "dependencies": {**dependencies, "title": "Dependencies"}},
    }


def _generated() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what the structs say of a manifest, of a parameter and of dependencies in their long form."""
    keys = [field for field in msgspec.structs.fields(Manifest) if field.name not in BEYOND_KEYS]
    native = msgspec.defstruct("Native", [(field.name, field.type, _default(field)) for field in keys], kw_only=True)
    _, parts = msgspec.json.schema_components([native], ref_template="#/$defs/{name}")
    text = json.dumps(parts)
    for name, ours in (("Parameter", "parameter"), ("_Dependencies", "dependencies")):
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{ours}"')
    parts = json.loads(text)
    for part in parts.values():
        part.pop("required", None)  # nothing is
    return parts["Native"], parts["Parameter"], parts["_Dependencies"]


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(default=field.default)
    return msgspec.field(default_factory=field.default_factory)


def _described(properties: dict[str, Any], meanings: dict[str, str]) -> dict[str, Any]:
    for name, facts in properties.items():
        facts |= {"description": meanings[name], **_BEYOND_TYPES.get(name, {})}
    return properties
