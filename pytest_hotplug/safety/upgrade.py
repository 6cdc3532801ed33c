"""A plugin on its way from the version that is deployed to the one in the work tree, and back, on one stage.

The other plugins go with it: what is deployed is deployed as a whole. Code outside the plugin dirs is the
work tree's on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.reloader.errors import Fault, HotplugError, fault_from
from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.reloader.outcomes import KeptCurrent
from pytest_hotplug.safety.files import Files
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.parked import Call, NotedPlugin
from pytest_hotplug.safety.probe import BadProbe, Probe, probe_of
from pytest_hotplug.safety.stage import CannotPlay, NotTried, Stage
from pytest_hotplug.safety.version_on_disk import Version, version_of

__all__ = ["Refusal", "Side", "Upgrade", "is_new", "upgrade_on"]

Side = Literal["deployed", "tree"]
World = Mapping[Path, Mapping[str, bytes]]  # a plugin's directory -> its files


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a version does not serve although its files lie there; `slug` is "" where no fault is to blame."""

    reason: str
    slug: str = ""
    fault: Fault | None = None


def is_new(ref: str) -> str:
    """Say of a plugin that what is deployed does not have it."""
    return f"it is new: {ref} does not have it"


def upgrade_on(stage: Stage) -> Upgrade:
    """Return the upgrade that a stage plays; raises NotTried where there is nothing to upgrade from, or to."""
    upgrade = stage.upgrade
    assert upgrade is not None, "the scenario of such checks has made it"
    if upgrade.is_new:
        raise NotTried(is_new(upgrade.ref))
    for version, whose in ((upgrade.deployed, f"the version at {upgrade.ref}"), (upgrade.tree, "the new version")):
        if version.manifest is not None and not version.manifest.enabled:
            raise NotTried(f"{whose} is disabled")
    return upgrade


class Upgrade:
    """Both versions of one plugin, and the stage on which one takes the other's place."""

    def __init__(self, stage: Stage) -> None:
        order = stage.order
        self.stage = stage
        self.ref = order.ref
        places = [replace(layout, path=Path(order.deployed) / f"{n}") for n, layout in enumerate(order.layouts)]
        there = find_plugins(places, order.settings.exclude)
        here = find_plugins(order.layouts, order.settings.exclude)
        of_there = {
            order.layouts[int(f.path.parent.name)].path / f.name: Files(f.path).original for f in there.values()
        }
        of_here = {found.path: Files(found.path).original for found in here.values()}
        # What only one side has stays: whoever needs it there says so when it is loaded.
        self._worlds: Mapping[Side, World] = {"tree": {**of_there, **of_here}, "deployed": {**of_here, **of_there}}
        self._found = here[stage.name]
        self.is_new = stage.name not in there
        self.tree = version_of(self._found, order.settings.digest)
        self.deployed = self.tree if self.is_new else version_of(there[stage.name], order.settings.digest)
        self._probe: Probe | None = None
        self._probe_of_deployed: Probe | None = None

    # -- what it is -----------------------------------------------------------------------------

    @property
    def changed(self) -> list[str]:
        """Return the names of the plugin's files that count and differ, come and gone ones included."""
        before, after = self.deployed.files or {}, self.tree.files or {}
        return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

    # -- what is done ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Let the deployed version serve, freshly loaded, and use it; raises NotTried when that can't be done."""
        self.end()
        stage, what = self.stage, f"the version at {self.ref}"
        try:
            self._lay_down("deployed")
            self._probe_of_deployed = self._probe
            stage.manager.discover()
            stage.manager.load(stage.name)
        except (HotplugError, CannotPlay) as error:
            raise NotTried(
                f"{what} can't be served, so that nothing can be upgraded: {stage.by_name(str(error))}"
            ) from None
        if not self.serves(self.deployed):
            why = stage.manager.get_plugin_hot_info(stage.name)["error"]
            raise NotTried(f"{what} can't be served, so that nothing can be upgraded: {stage.by_name(str(why))}")
        if (wrong := self.use()) is not None:
            raise NotTried(f"{what} fails its own probe: {wrong.message}")

    def end(self) -> None:
        """Let nothing serve any more."""
        manager = self.stage.manager
        for name in list(manager._registry.serving):
            manager.unload(name)
        manager._hot_loader._retirement.join(manager.settings.retire_timeout)

    def switch(self, side: Side) -> Refusal | None:
        """Lay down one side's files and let them serve, as a deployment does; return why they don't."""
        self._lay_down(side)
        return self.take_up(self.tree if side == "tree" else self.deployed)

    def deploy_partly(self, names: Collection[str]) -> None:
        """Let the plugin's files be the deployed ones but for these, which are as in the work tree, or gone."""
        old, new = self._files_of("deployed"), self._files_of("tree")
        # How a version is used is no part of it, and goes with the manifest that says so.
        of_tree = self.tree.manifest is not None and self.tree.manifest.file in names
        files = {name: content for name, content in old.items() if name not in names and not _is_probe(name)}
        files |= {name: content for name, content in new.items() if name in names}
        files |= {name: content for name, content in (new if of_tree else old).items() if _is_probe(name)}
        Files(self.stage.directory).replace_by(files)
        self._read_probe()

    def take_up(self, wanted: Version) -> Refusal | None:
        """Reload, as a call would, and return why the wanted version, with all that it uses, does not serve then."""
        outcome = self.stage.manager.reload(self.stage.name)
        # Its own bytes may serve, and those of a plugin that it uses be refused.
        if self.serves(wanted) and not isinstance(outcome, KeptCurrent):
            return None
        fault = outcome.error
        return Refusal(fault.message if fault else outcome.reason, fault.slug if fault else "", fault)

    def serves(self, wanted: Version) -> bool:
        """Tell whether the plugin's generation is of this version."""
        serving = self.stage.manager._registry.serving.get(self.stage.name)
        return serving is not None and serving.digest == wanted.digest

    # -- how it is used -------------------------------------------------------------------------

    def use(self) -> Fault | None:
        """Use what serves as the manifest that lies there says, and return what went wrong."""
        return self._used(self._probe)[0]

    def use_deployed(self) -> Fault | None:
        """Use what serves as the deployed version's manifest says, and return what went wrong."""
        return self._used(self._probe_of_deployed)[0]

    def first_call(self) -> Call | None:
        """Return the first call of a use that goes well, None when there is none."""
        wrong, plugin = self._used(self._probe)
        return plugin.calls[0] if wrong is None and plugin.calls else None

    def _used(self, probe: Probe | None) -> tuple[Fault | None, NotedPlugin]:
        stage = self.stage
        plugin = NotedPlugin(stage.manager, stage.name)
        try:
            if probe is not None:
                probe(plugin, stage.manager._host.get())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
            return self.fault_of(error, stage.serving.snapshot.files), plugin
        return None, plugin

    def fault_of(self, error: BaseException, files: Mapping[str, bytes]) -> Fault:
        """Return what a call of a version with these files raised, with its place in them."""
        return fault_from(error, plugin=self.stage.name, root=self.stage.directory, files=files, doing="execution")

    # -- what is said ---------------------------------------------------------------------------

    def finding(self, message: str, fault: Fault | None = None) -> Finding:
        """Return an error that leads to the plugin's line, as far as the fault knows it."""
        path = fault.path if fault is not None else None
        if fault is None or path is None or path == self.stage.directory or self.stage.directory not in path.parents:
            return Finding(message=message)
        return Finding(message=message, path=path.relative_to(self.stage.directory).as_posix(), line=fault.line)

    # -- files ----------------------------------------------------------------------------------

    def _files_of(self, side: Side) -> Mapping[str, bytes]:
        return self._worlds[side][self.stage.directory]

    def _lay_down(self, side: Side) -> None:
        for place, files in self._worlds[side].items():
            Files(place).replace_by(files)
        self._read_probe()

    def _read_probe(self) -> None:
        """Read how the version that lies there is used; raises CannotPlay. A broken manifest fails its load."""
        said = version_of(self._found, self.stage.order.settings.digest).verify.get("probe")
        try:
            self._probe = probe_of(said, self.stage.directory)
        except BadProbe as error:
            raise CannotPlay(str(error)) from None
        except Exception as error:  # noqa: BLE001 - the file with the probe is anybody's code
            raise CannotPlay(f"its probe can't be read: {type(error).__name__}: {error}") from None


def _is_probe(name: str) -> bool:
    """Tell whether a file is one of the plugin's own tests, among which its probe may stand."""
    return any(is_test(part) for part in Path(name).parts)
