"""The state directory as commands use it: what is kept of versions, pauses and history; and no worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_hotplug.cli.ondisk import find_on_disk
from pytest_hotplug.reloader.errors import HotplugError, InvalidPluginName, UnknownPlugin, near, visible
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.settings import Project, read_settings
from pytest_hotplug.reloader.store import DiskStore

__all__ = ["known_plugins", "no_worker", "opened_store", "shown", "state_dir"]


@contextmanager
def opened_store(*, writes: bool = False) -> Iterator[DiskStore]:
    """Give the project's store; raises HotplugError `[state-unusable]` when the directory can't be used."""
    project = read_settings()
    try:
        yield DiskStore(state_dir(project), project.settings.keep_versions, writes=writes)
    except OSError as error:
        why = visible(error.strerror or str(error))
        raise HotplugError(f"the state directory {shown(project)} can't be used: {why} [state-unusable]") from None


def known_plugins(store: DiskStore, *names: str) -> list[str]:
    """Return the plugins that lie on disk or of which something is kept; raises UnknownPlugin for other `names`."""
    known = sorted({*find_on_disk(), *store.known()})
    for name in names:
        if name not in known:
            raise (UnknownPlugin if is_plugin_name(name) else InvalidPluginName)(name, known)
    return known


def shown(project: Project | None = None) -> str:
    """Return the state directory as people are told of it."""
    return visible(near(state_dir(project or read_settings())))


def no_worker(*, local: bool = True) -> HotplugError:
    """Return what to say when a command needs a worker and none answers; `local`: it has an option for that."""
    project = read_settings()
    socket = state_dir(project) / "run" / f"{project.settings.worker_name}.sock"
    place = visible(near(socket))
    way_out = "with --local it is done in this process" if local else "only a worker knows what it serves"
    return HotplugError(f"no worker answers at {place}; {way_out} [no-worker]")


def state_dir(project: Project) -> Path:
    """Return the project's state directory, whether or not it is there."""
    return project.root / Path(project.settings.state_dir).expanduser()
