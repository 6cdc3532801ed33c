"""plugin.json -> Manifest, every fault at once.

Reads bytes, never files: the bytes that are hashed are the bytes that are read here. Knows nothing of
where a plugin lies beyond its Layout.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from pytest_hotplug.reloader import strict_json
from pytest_hotplug.reloader.errors import Fault, PluginFault, did_you_mean, not_among
from pytest_hotplug.reloader.settings import Layout

__all__ = ["BEYOND_KEYS", "EntryPoint", "Manifest", "Parameter", "parse_manifest"]

MAX_BYTES = 256 * 1024

ParameterType = Literal[
    "string",
    "str",
    "integer",
    "int",
    "number",
    "float",
    "boolean",
    "bool",
    "array",
    "list",
    "object",
    "dict",
    "any",
]
_ENTRY = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)[.:](?P<attribute>[A-Za-z]\w*)")


class Parameter(msgspec.Struct, frozen=True):
    """What one parameter of the entry must look like."""

    type: ParameterType = "any"
    required: bool = False
    default: Any = msgspec.UNSET
    options: list[Any] | None = None
    description: str = ""


class _Dependencies(msgspec.Struct, frozen=True):
    python: str = ""
    packages: list[str] = []


class EntryPoint(msgspec.Struct, frozen=True):
    """A function inside the plugin: `module` ("" is the package itself) and `attribute`."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module or '__init__'}.{self.attribute}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin says of itself; keys as in docs/reference, everything else is in `extra`."""

    name: str = ""
    version: str = "0"
    description: str | list[str] = ""
    author: str | list[str] = ""
    tags: str | list[str] = []
    entry_point: str = ""
    parameters: dict[str, Parameter] = {}
    dependencies: list[str] | _Dependencies = []
    python_version: str = ""
    enabled: bool = True
    depends_on: list[str] = []
    handover: Literal["beside", "stop-first"] = "beside"
    watch_ignore: list[str] = []
    load_timeout: float | None = None
    retire_timeout: float | None = None
    hotplug: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    file: str = ""
    lines: dict[str, int] = {}

    @property
    def ignored(self) -> list[str]:
        """Return the patterns of files that never count; the manifest counts whatever they say (hence the "!")."""
        return [*self.watch_ignore, f"!{self.file}"] if self.watch_ignore else []

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the PEP 508 requirements, whichever form the manifest used."""
        own = self.dependencies
        return tuple(own.packages if isinstance(own, _Dependencies) else own)

    @property
    def python(self) -> str:
        """Return the Python version specifier, or an empty string."""
        own = self.dependencies
        return self.python_version or (own.python if isinstance(own, _Dependencies) else "")


_DISPLAY = ("name", "version", "description", "author", "tags")
BEYOND_KEYS = ("extra", "warnings", "file", "lines")  # what we know of a manifest beyond its keys
_MOST_KNOWN = 1_000
_known: dict[Path, tuple[bytes, str, Layout, Manifest]] = {}  # what each file said last; a reload asks several times
_TYPES = {f.name: f.type for f in msgspec.structs.fields(Manifest) if f.name not in BEYOND_KEYS}


def parse_manifest(data: bytes | None, *, plugin: str, path: Path, layout: Layout) -> Manifest:
    """Check the manifest's bytes (None: there is no manifest) and return it with all defaults filled in.

    Raises PluginFault with every fault that was found, each with its line.
    """
    if data is None:
        return Manifest(name=plugin, entry_point=layout.entry)
    known = _known.get(path)
    if known is not None and known[:3] == (data, plugin, layout):
        return known[3]
    reader = _Reader(data, plugin, path)
    manifest = reader.read(layout)
    if reader.faults:
        raise PluginFault(*reader.faults)
    _known[path] = (data, plugin, layout, manifest)
    while len(_known) > _MOST_KNOWN:
        _known.pop(next(iter(_known)), None)
    return manifest


def parse_entry(text: str, *, plugin: str, path: Path, line: int | None = None) -> EntryPoint | None:
    """Read `module.attribute` or `module:attribute`; None for "" (no entry).

    Raises PluginFault `[bad-entry]` for anything else, private attributes included.
    """
    if not text:
        return None
    found = _ENTRY.fullmatch(text)
    if found is None:
        message = f"entry {text!r}: expected 'module.function' or 'module:function' inside the plugin"
        raise PluginFault(Fault(plugin, "bad-entry", message, path, line))
    module = found["module"]
    # Python keeps names that it looked up in types: one string for all reloads, not one for each.
    return EntryPoint("" if module == "__init__" else module, sys.intern(found["attribute"]))


class _Reader:
    """One reading of one manifest; collects faults instead of stopping at the first."""

    def __init__(self, data: bytes, plugin: str, path: Path) -> None:
        self.data = data
        self.plugin = plugin
        self.path = path
        self.faults: list[Fault] = []
        self.text = ""
        self.theirs: Mapping[str, str] = {}  # what the manifest calls our keys, where that differs

    def read(self, layout: Layout) -> Manifest:
        self.theirs = layout.manifest_keys
        table = self._table()
        if table is None:
            return Manifest()
        own, extra = self._split(table, layout)
        values = {key: self._value(key, value, layout) for key, value in own.items()}
        values = {key: value for key, value in values.items() if value is not msgspec.UNSET}
        warnings = () if layout.foreign else (*self._misspelled(extra), *self._ignored(own.get("parameters")))
        if values.get("name", self.plugin) != self.plugin and not layout.foreign:
            self._blame(
                "name-mismatch",
                f"name {values['name']!r} differs from the directory {self.plugin!r}",
                ("name",),
            )
        for limit in ("load_timeout", "retire_timeout"):
            if (values.get(limit) or 0) < 0:
                self._blame("bad-manifest", f"/{limit}: expected no negative number of seconds", (limit,))
        values["name"] = values.get("name") or self.plugin
        lines = {key: line for key in own if (line := self._line_of((key,), last=False))}
        values.setdefault("entry_point", layout.entry)
        return Manifest(**values, extra=extra, warnings=warnings, file=self.path.name, lines=lines)

    # -- from bytes to a table ------------------------------------------------------------------

    def _table(self) -> dict[str, Any] | None:
        try:
            table = strict_json.loads(self.data, most=MAX_BYTES, decoded=self._decoded, on_duplicate=self._twice)
        except strict_json.NotStrict as error:
            return self._refuse(str(error), error.line)
        if not isinstance(table, dict):
            return self._refuse(f"expected an object, got {strict_json.json_name(table)}")
        return table

    def _decoded(self, text: str) -> None:
        self.text = text

    def _twice(self, key: str) -> None:
        self._blame("duplicate-key", f"key {key!r} stands twice; which one counts?", (key,), last=True)

    # -- from a table to fields -----------------------------------------------------------------

    def _split(self, table: Mapping[str, Any], layout: Layout) -> tuple[dict[str, Any], dict[str, Any]]:
        """Part the table into our keys (through `manifest_keys`) and the rest."""
        theirs = {their: our for our, their in layout.manifest_keys.items()}
        own: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in table.items():
            our = theirs.get(key, "" if key in layout.manifest_keys else key)
            if our in _TYPES:
                own[our] = value
            else:
                extra[key] = value
        return own, extra

    def _value(self, key: str, value: Any, layout: Layout) -> Any:
        if key == "parameters" and isinstance(value, dict):
            # One by one: the checker's own pointer leaves the keys of a dict out.
            return {name: self._checked((key, name), table, Parameter) for name, table in value.items()}
        if layout.foreign and key in _DISPLAY:
            return _displayed(value, _TYPES[key])
        return self._checked((key,), value, _TYPES[key])

    def _checked(self, at: tuple[str, ...], value: Any, wanted: Any) -> Any:
        """Return `value` as the type that is wanted; blame the manifest and return UNSET if it doesn't fit."""
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            said, _, where = str(error).partition(" - at `$")
            keys = (*at, *re.findall(r"\.(\w+)", where))
            index = "".join(f"/{i}" for i in re.findall(r"\[(\d+)\]", where))
            pointer = "/" + "/".join(keys) + index
            said = _choices(value, wanted) or f"{said[:1].lower()}{said[1:].replace('`', '')}"
            self._blame("bad-manifest", f"{pointer}: {said}", keys)
            return msgspec.UNSET

    def _misspelled(self, extra: Mapping[str, Any]) -> tuple[str, ...]:
        near = ((key, did_you_mean(key, _TYPES)) for key in extra)
        return tuple(f"unknown key {key!r}{hint}" for key, hint in near if hint)

    @staticmethod
    def _ignored(parameters: Any) -> tuple[str, ...]:
        """Name what parameters declare and nobody heeds: a `maximum` that bounds nothing is worse than none."""
        declared = parameters if isinstance(parameters, dict) else {}
        return tuple(
            f"parameter {name!r}: {key!r} is not heeded{did_you_mean(key, Parameter.__struct_fields__)}"
            for name, facts in declared.items()
            if isinstance(facts, dict)
            for key in facts
            if key not in Parameter.__struct_fields__
        )

    # -- faults ---------------------------------------------------------------------------------

    def _refuse(self, message: str, line: int | None = None) -> dict[str, Any] | None:
        """Record that there is nothing to read on; returns None, as whoever gives up returns."""
        name = self.path.name
        self.faults.append(
            Fault(self.plugin, "bad-manifest", f"{name} {message}", self.path, line, self._line_text(line))
        )
        return None

    def _blame(self, slug: str, message: str, keys: tuple[str, ...], *, last: bool = False) -> None:
        line = self._line_of(keys, last=last)
        self.faults.append(Fault(self.plugin, slug, message, self.path, line, self._line_text(line)))

    def _line_of(self, keys: tuple[str, ...], *, last: bool) -> int | None:
        """Return the line of the innermost of `keys`, each looked for behind the one before."""
        position = 0
        for key in (self.theirs.get(keys[0], keys[0]), *keys[1:]):
            found = [m.start() for m in re.finditer(re.escape(json.dumps(key)) + r"\s*:", self.text[position:])]
            if not found:
                break
            position += found[-1] if last else found[0]
        return self.text.count("\n", 0, position) + 1 if position else None

    def _line_text(self, line: int | None) -> str:
        lines = self.text.splitlines()
        return lines[line - 1] if line and line <= len(lines) else ""


def _choices(value: Any, wanted: Any) -> str:
    """Say which words a key may hold, "" where something else is wrong with it."""
    if wanted is Parameter and isinstance(value, dict):
        value, wanted = value.get("type"), ParameterType
    words = get_args(wanted) if get_origin(wanted) is Literal else ()
    return not_among(value, words) if words and isinstance(value, str) and value not in words else ""


def _displayed(value: Any, wanted: Any) -> Any:
    """Return what another family's manifest says for people to read, as text if it is of another type."""
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return json.dumps(value)
