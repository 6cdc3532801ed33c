"""`--hotplug-ref` and `--hotplug-ref-digest`: what is deployed, found out before anything is collected."""

from __future__ import annotations

import pytest

from pytest_hotplug.reloader.errors import HotplugError, UsageError
from pytest_hotplug.safety.deployed import Deployed, check_digests, deployed_at
from pytest_hotplug.testing.options import given_option
from pytest_hotplug.testing.project import TestProject

__all__ = ["deployed_by"]


def deployed_by(config: pytest.Config, project: TestProject) -> Deployed | None:
    """Return what options or ini say is deployed, None where they say nothing; raises pytest.UsageError."""
    given = given_option(config, "hotplug_ref")
    digests = given_option(config, "hotplug_ref_digest") or config.getini("hotplug_ref_digest")
    ref = config.getini("hotplug_ref") if given is None else given
    start = config.rootpath if given is None else config.invocation_params.dir
    try:
        if not ref:
            _check_that_nobody_asked(given, digests)
            return None
        exclude = project.settings.exclude
        deployed = deployed_at(ref, project.root, project.layouts, exclude, start)
        check_digests(deployed, digests, project.layouts, exclude, project.settings.digest)
    except HotplugError as error:
        raise pytest.UsageError(f"--hotplug-ref={ref}: {error}") from None
    return deployed


def _check_that_nobody_asked(given: str | None, digests: list[str]) -> None:
    """Refuse an empty ref, as an unset variable in CI makes it: nothing would be proved, and nobody would see."""
    if given is not None:
        raise UsageError("the ref is empty; name a git revision or a directory", "unknown-ref")
    if digests:
        raise UsageError("--hotplug-ref-digest says which digest that must have, so it must be given", "unknown-ref")
