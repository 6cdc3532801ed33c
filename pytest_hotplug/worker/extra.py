"""Say what to install when the extra `worker` is missing."""

from __future__ import annotations

from pytest_hotplug.reloader.errors import HotplugError

__all__ = ["extra_missing"]


def extra_missing(error: ImportError) -> HotplugError:
    """Return what to raise where a package of the extra can't be imported."""
    package = (error.name or "a package").partition(".")[0]
    remedy = "pip install 'pytest-hotplug[worker]'"
    return HotplugError(f"{package} is not installed, which workers speak through: {remedy} [worker-extra-missing]")
