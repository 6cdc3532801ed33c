"""Other content has another version."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage
from pytest_hotplug.safety.upgrade import upgrade_on

__all__ = ["CHECK"]


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    upgrade = upgrade_on(stage)
    before, after = upgrade.deployed, upgrade.tree
    for version, where in ((before, f"at {upgrade.ref}"), (after, "in the work tree")):
        if version.manifest is None:
            raise NotTried(f"its manifest {where} can't be read: {version.problem}")
    assert before.manifest is not None and after.manifest is not None, "that was looked at"  # noqa: PT018
    if before.digest == after.digest or before.manifest.version != after.manifest.version:
        yield None
        return
    names = upgrade.changed
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    message = f"its version is {after.manifest.version!r} as at {upgrade.ref}, and other content: {shown}"
    yield Finding(message=message, path=after.manifest.file, line=after.manifest.lines.get("version"))


CHECK = Check(
    id="version_bumped",
    title="Other content has another version",
    how="Where any file that counts differs from the deployed one, the manifest's `version` must differ too.",
    remedy="Raise `version` in the manifest; it is how people tell what is deployed.",
    scenario="upgrade",
    attempt=_attempt,
    judge=attempted,
)
