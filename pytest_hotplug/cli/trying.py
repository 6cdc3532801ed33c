"""Try a version as the project's settings say, in a child process, and put what became of it into words."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_hotplug.cli.ondisk import read_plugin
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import PluginLoadError, visible
from pytest_hotplug.reloader.preflight import Order, Tried, preflight
from pytest_hotplug.reloader.settings import layouts, read_settings

__all__ = ["as_facts", "skipped", "try_version"]


def try_version(found: Found, source: Path | None = None) -> Tried:
    """Try a version of a plugin: the one in place, or the one that lies in the directory `source`."""
    project = read_settings()
    settings = project.settings
    tried = replace(found, path=source.absolute()) if source else found
    own_limit = read_plugin(tried).manifest.load_timeout
    order = Order(
        names=(found.name,),
        found=(tried,) if source else (),
        settings=settings,
        layouts=layouts(settings, project.root),
    )
    path = [*(str((project.root / place).resolve()) for place in settings.pythonpath), *sys.path]
    limit = settings.load_timeout if own_limit is None else own_limit
    return preflight(order, limit=limit, path=path)


def as_facts(found: Found, tried: Tried) -> dict[str, Any]:
    """Return what became of a version as plain data with a text."""
    if tried.fault is not None:
        return _facts(found.name, slug=tried.slug, text=str(PluginLoadError(tried.fault)))
    if tried.slug:
        return _facts(found.name, slug=tried.slug, text=tried.text)
    text = visible(f"{found.name}: version {tried.version} loads ({tried.digest[:12]})")
    return _facts(found.name, version=tried.version, digest=tried.digest, text=text, warnings=tried.warnings)


def skipped(plugin: str, version: str, digest: str) -> dict[str, Any]:
    """Return what `as_facts` returns, for a disabled plugin that is not tried."""
    text = f"{plugin}: disabled, not checked"
    return _facts(plugin, version=version, digest=digest, text=text, skipped="disabled")


def _facts(
    plugin: str, *, version: str | None = None, digest: str | None = None, slug: str = "", text: str,
    warnings: tuple[str, ...] = (), skipped: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what became of one version; without a slug it loads, skipped it was not tried."""
    return {
        "plugin": plugin,
        "ok": None if skipped else not slug,
        "skipped": skipped,
        "version": version,
        "digest": digest,
        "slug": slug,
        "text": text,
        "warnings": list(warnings),
    }
