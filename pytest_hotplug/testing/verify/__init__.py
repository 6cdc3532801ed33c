"""Verification as pytest items: what `--hotplug-verify` adds to a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.safety.check import Level
from pytest_hotplug.safety.report.writing import check_suffix
from pytest_hotplug.testing.options import given_option
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.verify.items import Verification
from pytest_hotplug.testing.verify.output import HandsOver, Output

__all__ = ["begin"]


def begin(config: pytest.Config, project: TestProject, level: Level) -> None:
    """Register what collects and judges, and what tells of it at the end. Raises UsageError."""
    given = given_option(config, "hotplug_strict")
    strict = bool(config.getini("hotplug_strict") if given is None else given)
    config.pluginmanager.register(Verification(config, project, level, strict=strict), "hotplug-verify")
    config.pluginmanager.register(HandsOver(), "hotplug-verify-hands-over")
    try:
        files = list(_reports(config))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(Output(project.root, files), "hotplug-verify-output")


def _reports(config: pytest.Config) -> Iterator[Path]:
    """Return the files for reports; each counts from where it was written."""
    given = given_option(config, "hotplug_report")
    base = config.rootpath if given is None else config.invocation_params.dir
    for name in config.getini("hotplug_report") if given is None else given:
        check_suffix(base / name)
        yield base / name
