"""Who calls the plugin can go on doing so, or is warned by its version."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from packaging.version import InvalidVersion
from packaging.version import Version as Parsed

from pytest_hotplug.reloader.manifest import Manifest
from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NoTool, NotTried, Stage
from pytest_hotplug.safety.upgrade import Upgrade, upgrade_on
from pytest_hotplug.safety.version_on_disk import Version

if TYPE_CHECKING:
    import griffe

__all__ = ["CHECK"]


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    upgrade = upgrade_on(stage)
    if find_spec("griffe") is None:
        raise NoTool("griffe is not installed: pip install 'pytest-hotplug[api]'")
    before, after = _read(upgrade.deployed, f"at {upgrade.ref}"), _read(upgrade.tree, "in the work tree")
    breaking = [*_of_parameters(before, after), *_of_names(upgrade)]
    if not breaking or _is_major(before.version, after.version):
        yield None
        return
    for finding in breaking:
        message = f"{finding.message}, and its version goes from {before.version!r} to {after.version!r}"
        yield msgspec.structs.replace(finding, message=message)


def _read(version: Version, where: str) -> Manifest:
    """Return a version's manifest; raises NotTried where that or a source can't be read."""
    if version.manifest is None:
        raise NotTried(f"its manifest {where} can't be read: {version.problem}")
    for name, content in (version.files or {}).items():
        if name.endswith(".py"):
            try:
                compile(content, name, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                raise NotTried(f"{name} {where} can't be parsed ({error}): such a version is refused anyway") from None
    return version.manifest


def _is_major(before: str, after: str) -> bool:
    """Tell whether the first number of a version grew."""
    try:
        old, new = Parsed(before), Parsed(after)
    except InvalidVersion:
        return False
    return (new.epoch, new.major) > (old.epoch, old.major)


def _of_parameters(before: Manifest, after: Manifest) -> Iterator[Finding]:
    """Compare what the manifests let callers pass; only where both declare it."""
    for name, new in after.parameters.items():
        old = before.parameters.get(name)
        said = ""
        if new.required and not (old and old.required) and before.parameters:
            said = "is required now"
        elif old is not None and new.type not in (old.type, "any"):
            said = f"is {new.type!r} now instead of {old.type!r}"
        elif old is not None and new.options is not None:
            gone = [option for option in old.options or [] if option not in new.options]
            said = f"has no option {gone[0]!r} any more" if gone else "has options now" if old.options is None else ""
        if said:
            line = after.lines.get("parameters")
            yield Finding(message=f"parameter {name!r} {said}", path=after.file, line=line)


def _of_names(upgrade: Upgrade) -> Iterator[Finding]:
    """Compare all public functions, classes and modules; nothing is executed."""
    import griffe

    with tempfile.TemporaryDirectory() as place:
        plugin = upgrade.stage.name
        before = _parsed(Path(place, "deployed"), plugin, upgrade.deployed.files or {})
        after = _parsed(Path(place, "tree"), plugin, upgrade.tree.files or {})
        for breakage in griffe.find_breaking_changes(before, after):
            if breakage.kind is griffe.BreakageKind.ATTRIBUTE_CHANGED_VALUE:
                continue  # a constant that has another value is no other interface
            what = breakage.obj.path.removeprefix(f"{plugin}.")
            said = breakage.kind.value
            yield _located(f"{what}: {said[:1].lower()}{said[1:]}", breakage, Path(place, "tree", plugin))


def _parsed(place: Path, plugin: str, files: Mapping[str, bytes]) -> griffe.Object | griffe.Alias:
    """Read the sources of a version without executing them; each directory of them is a package."""
    import griffe

    top = place / plugin
    for name, content in files.items():
        if name.endswith(".py"):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            for above in (path.parent, *path.parent.parents):
                if not above.is_relative_to(top):
                    break
                (above / "__init__.py").touch()
    (top / "__init__.py").parent.mkdir(parents=True, exist_ok=True)
    (top / "__init__.py").touch()
    return griffe.load(plugin, search_paths=[place], try_relative_path=False, allow_inspection=False)


def _located(message: str, breakage: griffe.Breakage, top: Path) -> Finding:
    """Lead to the line in the new version, if it still has one."""
    filepath = breakage.obj.filepath
    if isinstance(filepath, Path) and filepath.is_relative_to(top):
        return Finding(message=message, path=filepath.relative_to(top).as_posix(), line=breakage.obj.lineno)
    return Finding(message=message)


CHECK = Check(
    id="interface_compatible",
    title="Who calls the plugin can go on doing so, or is warned by the first number of its version",
    how=(
        "griffe (the extra `api`) compares the entry and the public names of both versions without executing "
        "them: what is removed, required anew or changed breaks callers, and needs a higher first number of "
        "`version`."
    ),
    remedy="Keep the old name or parameter beside the new one, or raise the first number of `version` in the manifest.",
    scenario="upgrade",
    attempt=_attempt,
    judge=attempted,
)
