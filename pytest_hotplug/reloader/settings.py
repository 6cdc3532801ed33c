"""One frozen struct of settings, one reader.

Precedence: keywords (the command line) > `HOTPLUG_*` environment > `hotplug.toml`, else
`[tool.hotplug]` in pyproject.toml > default. Decides nothing; everybody may import it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from pytest_hotplug.reloader.errors import UsageError, did_you_mean, not_among, visible
from pytest_hotplug.reloader.project import default_package, find_project, plugin_dir_path, settings_table

__all__ = ["InUse", "Layout", "Project", "Settings", "layouts", "read_settings", "unknown_variables"]

LEAST_POLL_INTERVAL = 0.001  # seconds; below it polling is a busy loop
_OTHER_VARIABLES = ("HOTPLUG_WATCH", "HOTPLUG_WATCH_RUN", "HOTPLUG_CI_BUDGET", "HOTPLUG_SOAK")
_NOT_BY_VARIABLE = ("dirs", "manifest_keys")
OnChange = Literal["first-waits", "all-wait", "serve-current"]


class _Dir(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[tool.hotplug.dirs]]` table: a plugin dir whose plugins are laid out in their own way."""

    path: str
    manifest: str | tuple[str, ...] | None = None
    entry: str | None = None
    on_load: str | None = None
    on_unload: str | None = None
    package: str | None = None
    manifest_keys: dict[str, str] | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting with its default; durations are seconds, paths are as the user wrote them."""

    plugin_dirs: tuple[str, ...] = ("plugins",)
    exclude: tuple[str, ...] = ()
    dirs: tuple[_Dir, ...] = ()
    manifest: str | tuple[str, ...] = "plugin.json"
    entry: str = "main.run"
    on_load: str = ""
    on_unload: str = ""
    manifest_keys: dict[str, str] = {}
    package: str | None = None
    pythonpath: tuple[str, ...] = (".",)
    host: str = ""
    host_parameter: str = "host"
    verify_host: str = ""
    verify_registries: tuple[str, ...] = ()
    verify_checks: tuple[str, ...] = ()
    watch_host: Literal["import", "live", "off"] = "import"
    debounce: float = 0.05
    settle_max: float = 2.0
    poll_interval: float | None = None
    force_polling: bool = False
    on_change: OnChange = "first-waits"
    load_timeout: float = 30.0
    retire_timeout: float = 60.0
    state_dir: str = ".hotplug"
    keep_versions: int = 5
    worker_name: str = "worker"
    log_dir: str = "logs"
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    strict_permissions: Literal["auto", "on", "off"] = "auto"
    trusted_owners: tuple[str, ...] = ()
    trust_group: str = ""
    allow_symlink_roots: tuple[str, ...] = ()
    digest: Literal["md5", "blake2b"] = "md5"
    commit: bool = False
    preflight: Literal["auto", "child", "off"] = "auto"


# What may change while plugins serve. The rest says where plugins lie, how they begin or what is known of them.
_AT_ANY_TIME = frozenset(
    ("exclude", "debounce", "settle_max", "poll_interval", "force_polling", "on_change", "load_timeout",
     "retire_timeout", "keep_versions", "log_dir", "log_format", "log_level", "strict_permissions", "trusted_owners",
     "trust_group", "allow_symlink_roots", "commit", "preflight")
)  # fmt: skip


class InUse:
    """The settings that one manager goes by; replaced as a whole, so that who reads them twice may find others."""

    __slots__ = ("now",)

    def __init__(self, settings: Settings) -> None:
        self.now = settings

    def take_over(self, settings: Settings) -> tuple[list[str], list[str]]:
        """Go by other settings from now on, as far as they may change at any time.

        Returns the names of those that differ: what was taken over, and what needs a new manager and stays as it was.
        """
        differ = [name for name in settings.__struct_fields__ if getattr(settings, name) != getattr(self.now, name)]
        taken = [name for name in differ if name in _AT_ANY_TIME]
        self.now = msgspec.structs.replace(self.now, **{name: getattr(settings, name) for name in taken})
        return taken, [name for name in differ if name not in _AT_ANY_TIME]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the plugins of one plugin dir are laid out, and under which public prefix they import.

    `beside` is the directory where modules that lie beside the plugins are found (`path`, except
    in a sandbox, whose copies still import the original's neighbours).
    """

    path: Path
    package: str
    manifest: tuple[str, ...] = ("plugin.json",)
    entry: str = "main.run"
    on_load: str = ""
    on_unload: str = ""
    manifest_keys: Mapping[str, str] = field(default_factory=dict)
    beside: Path | None = None

    @property
    def foreign(self) -> bool:
        """Tell whether the manifests are another family's: their other keys are not ours to judge."""
        return self.manifest != ("plugin.json",) or bool(self.manifest_keys)

    @property
    def entry_module(self) -> str:
        """Return the entry's module by its name inside the plugin ("" is the package itself)."""
        module = self.entry.replace(":", ".").rpartition(".")[0] or "__init__"
        return "" if module == "__init__" else module

    def public_name(self, plugin: str) -> str:
        """Return the name under which `plugin` is imported from outside."""
        return f"{self.package}.{plugin}" if self.package else plugin


@dataclass(frozen=True, slots=True)
class Project:
    """Where the settings came from: the directory, the file, and each value's origin."""

    root: Path
    file: Path | None
    settings: Settings
    origins: Mapping[str, str]


def read_settings(
    start: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Project:
    """Read the settings of the project around `start` (default: the working directory).

    Raises UsageError `[bad-setting]` that names the origin, the setting and the nearest known name.
    """
    root, file = find_project(start or _here())
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, found in (
        (str(file), (settings_table(file) or {}) if file else {}),
        ("environment", _from_environment(os.environ if environ is None else environ)),
        ("command line", {k: v for k, v in (overrides or {}).items() if v is not None}),
    ):
        _reject_unknown(found, origin)
        values.update(found)
        origins.update(dict.fromkeys(found, origin))
    return Project(root, file, make_settings(values, origins), origins)


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory was deleted; go to one that is there", "bad-setting") from None


def make_settings(values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Settings:
    """Check `values` strictly and return them as `Settings`; raises UsageError `[bad-setting]`."""
    _reject_unknown(values, "keyword")
    try:
        settings = msgspec.convert(_plain(values), Settings)
    except msgspec.ValidationError as error:
        where = str(error).rpartition("$.")[2].rstrip("`").split("[")[0]
        origin = (origins or {}).get(where, "keyword")
        said = _choices(where, values.get(where)) or str(error).split(" - at")[0]
        raise UsageError(f"setting {where!r} (from {origin}): {said}", "bad-setting") from None
    for name in (
        "debounce",
        "settle_max",
        "load_timeout",
        "retire_timeout",
        "poll_interval",
        "keep_versions",
    ):
        value = getattr(settings, name) or 0
        if value < 0 or not math.isfinite(value):
            origin = (origins or {}).get(name, "keyword")
            raise UsageError(f"setting {name!r} (from {origin}) must be finite and not negative", "bad-setting")
    if settings.poll_interval is not None and settings.poll_interval < LEAST_POLL_INTERVAL:
        origin = (origins or {}).get("poll_interval", "keyword")
        least = f"must be at least {LEAST_POLL_INTERVAL} seconds"
        raise UsageError(f"setting 'poll_interval' (from {origin}) {least}", "bad-setting")
    return settings


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each `HOTPLUG_*` variable that nobody heeds."""
    names = [name for name in Settings.__struct_fields__ if name not in _NOT_BY_VARIABLE]
    known = (*_OTHER_VARIABLES, *(f"HOTPLUG_{name.upper()}" for name in names))
    given = [name for name in (os.environ if environ is None else environ) if name.startswith("HOTPLUG_")]
    return [
        f"{visible(name)} is no setting{did_you_mean(name, known)} [bad-setting]" for name in given if name not in known
    ]


def layouts(settings: Settings, root: Path) -> tuple[Layout, ...]:
    """Return the layout of every configured plugin dir, paths made absolute against `root`."""
    tables = settings.dirs or tuple(_Dir(path=path) for path in settings.plugin_dirs)
    return tuple(_layout(table, settings, root) for table in tables)


def _layout(table: _Dir, settings: Settings, root: Path) -> Layout:
    def chosen(name: str) -> Any:
        own = getattr(table, name)
        return getattr(settings, name) if own is None else own

    path = plugin_dir_path(table.path, root)
    manifest = chosen("manifest")
    package = chosen("package")
    if package is None:
        package = default_package(table.path, path)
    if package and not all(part.isidentifier() for part in package.split(".")):
        raise UsageError(f"setting 'package': {package!r} is no importable name", "bad-setting")
    return Layout(
        path=path,
        package=package,
        manifest=(manifest,) if isinstance(manifest, str) else tuple(manifest),
        entry=chosen("entry"),
        on_load=chosen("on_load"),
        on_unload=chosen("on_unload"),
        manifest_keys=dict(chosen("manifest_keys")),
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    hints = get_type_hints(Settings)
    found: dict[str, Any] = {}
    if "DB_CHANGE_POLLING_INTERVAL" in environ:
        found["poll_interval"] = _typed("poll_interval", environ["DB_CHANGE_POLLING_INTERVAL"], hints)
    for name in hints:
        text = environ.get(f"HOTPLUG_{name.upper()}")
        if text is not None and name not in _NOT_BY_VARIABLE:
            found[name] = _typed(name, text, hints)
    return found


def _typed(name: str, text: str, hints: Mapping[str, Any]) -> Any:
    """Read an environment text by the setting's type; lists are separated by `os.pathsep`."""
    if hints[name] == tuple[str, ...]:
        return tuple(part for part in text.split(os.pathsep) if part)
    try:
        return msgspec.convert(text, hints[name], strict=False)
    except msgspec.ValidationError as error:
        said = _choices(name, text) or str(error)
        raise UsageError(f"setting {name!r} (from environment): {said}", "bad-setting") from None


def _choices(name: str, value: object) -> str:
    """Say which values a setting may have where only a few words will do, "" where it is another type that is wrong."""
    hint = get_type_hints(Settings).get(name)
    return not_among(value, get_args(hint)) if get_origin(hint) is Literal and isinstance(value, str) else ""


def _reject_unknown(values: Mapping[str, Any], origin: str) -> None:
    known = Settings.__struct_fields__
    for name in values:
        if name not in known:
            raise UsageError(f"unknown setting {name!r} ({origin}){did_you_mean(name, known)}", "bad-setting")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with paths as text, since msgspec knows no Path."""

    def plain(value: Any) -> Any:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, (list, tuple, set)):
            return [plain(item) for item in value]
        return value

    return {name: plain(value) for name, value in values.items()}
