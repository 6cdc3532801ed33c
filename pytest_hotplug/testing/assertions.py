"""What the verification proves, asked for in a plugin author's own tests: one assertion for each scenario.

The sandboxed plugin as it lies there now is copied and verified in a child process; the test's own
version, and all else in the sandbox, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.reloader.errors import UsageError, did_you_mean
from pytest_hotplug.safety.check import Check, Scenario
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.judgements import Judgements
from pytest_hotplug.safety.report.as_text import told
from pytest_hotplug.safety.runner import Subjects, chosen
from pytest_hotplug.testing.sandboxed import SandboxedPlugin

__all__ = ["assert_checks", "assert_every_call_old_or_new", "assert_no_leaks", "assert_survives_broken_version"]


def assert_no_leaks(plugin: SandboxedPlugin, *, probe: Any = None) -> None:
    """Assert that nothing is left of old versions: no thread, file, handler, memory or code; about 2 s.

    `probe` says how the plugin is used, as `hotplug.verify.probe` in its manifest does, and stands in its
    place; without either it is only loaded. Exceptions in the manifest hold. Raises AssertionError with every finding.
    """
    __tracebackhide__ = True
    _assert(plugin, _of("cycle", "memory"), probe)


def assert_survives_broken_version(plugin: SandboxedPlugin, *, probe: Any = None) -> None:
    """Assert that whatever is wrong with a new version, the old one serves on, and nothing of the new one is left.

    See `assert_no_leaks` for `probe`. Raises AssertionError with every finding; about 2 s.
    """
    __tracebackhide__ = True
    _assert(plugin, _of("edits"), probe)


def assert_every_call_old_or_new(plugin: SandboxedPlugin, *, probe: Any = None) -> None:
    """Assert that calls during a change of versions are answered by one version each, and come to their end.

    See `assert_no_leaks` for `probe`, which calls need. Raises AssertionError with every finding, UsageError
    `[no-probe]` without a probe; about 2 s.
    """
    __tracebackhide__ = True
    if _assert(plugin, _of("calls"), probe):
        raise UsageError(
            f"{plugin.name}: nothing is called without a probe; give `probe={{...}}` to the assertion, "
            "or hotplug.verify.probe to the plugin's manifest",
            "no-probe",
        )


def assert_checks(plugin: SandboxedPlugin, *checks: str, probe: Any = None) -> None:
    """Assert single promises by the ids of their checks, `no_leaked_threads` say; the fixture `hotplug_verify`.

    See `assert_no_leaks` for `probe`. Raises AssertionError with every finding, UsageError `[unknown-check]`.
    """
    __tracebackhide__ = True
    known = [check.id for check in chosen("full")]
    for name in checks:
        if name not in known:
            raise UsageError(f"there is no check {name!r}{did_you_mean(name, known)}", "unknown-check")
    _assert(plugin, [check for check in ALL if check.id in checks], probe)


def _of(*scenarios: Scenario) -> list[Check]:
    return [check for check in ALL if check.scenario in scenarios]


def _assert(plugin: SandboxedPlugin, checks: Sequence[Check], probe: Any) -> bool:
    """Raise AssertionError with what is found, and tell whether nothing was called for want of a probe."""
    __tracebackhide__ = True
    if not isinstance(plugin, SandboxedPlugin):
        raise UsageError(f"{plugin!r} is no plugin of the sandbox; get one by hotplug.load(name)", "bad-argument")
    manager = plugin._manager
    subjects = Subjects(manager.settings, plugin.path.parent.parent, manager._layouts, probe=probe)
    found = find_plugins(manager._layouts, manager.settings.exclude)
    judgements = Judgements(subjects, {plugin.name: found[plugin.name]})
    verified = [judgements.verified(plugin.name, check) for check in checks]
    failed = [told(plugin.name, check) for one in verified for check in one.checks if check.outcome == "failed"]
    if failed:
        raise AssertionError("\n".join(failed))
    return not any(one.has_probe for one in verified)
