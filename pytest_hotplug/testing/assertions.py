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
    _assert_all_of(plugin, "cycle", "memory", probe=probe)


def assert_survives_broken_version(plugin: SandboxedPlugin, *, probe: Any = None) -> None:
    """Assert that whatever is wrong with a new version, the old one serves on, and nothing of the new one is left.

    See `assert_no_leaks` for `probe`. Raises AssertionError with every finding; about 2 s.
    """
    __tracebackhide__ = True
    _assert_all_of(plugin, "edits", probe=probe)


def assert_every_call_old_or_new(plugin: SandboxedPlugin, *, probe: Any = None) -> None:
    """Assert that calls during a change of versions are answered by one version each, and come to their end.

    See `assert_no_leaks` for `probe`, which calls need. Raises AssertionError with every finding, UsageError
    `[no-probe]` without a probe; about 2 s.
    """
    __tracebackhide__ = True
    if _assert_all_of(plugin, "calls", probe=probe):
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
    known = _known(plugin, probe)
    for name in checks:
        if name not in known:
            raise UsageError(f"there is no check {name!r}{did_you_mean(name, list(known))}", "unknown-check")
    _assert(plugin, [check for name, check in known.items() if name in checks], probe)


def _assert_all_of(plugin: SandboxedPlugin, *scenarios: Scenario, probe: Any) -> bool:
    __tracebackhide__ = True
    return _assert(plugin, [one for one in _known(plugin, probe).values() if one.scenario in scenarios], probe)


def _known(plugin: SandboxedPlugin, probe: Any) -> dict[str, Check]:
    """Return every check that applies to a plugin of the sandbox, by its id."""
    return {check.id: check for check in chosen(_subjects(plugin, probe), "full")}


def _subjects(plugin: SandboxedPlugin, probe: Any) -> Subjects:
    if not isinstance(plugin, SandboxedPlugin):
        raise UsageError(f"{plugin!r} is no plugin of the sandbox; get one by hotplug.load(name)", "bad-argument")
    manager = plugin._manager
    return Subjects(manager.settings, plugin.path.parent.parent, manager._layouts, probe=probe)


def _assert(plugin: SandboxedPlugin, checks: Sequence[Check], probe: Any) -> bool:
    """Raise AssertionError with what is found, and tell whether nothing was called for want of a probe."""
    __tracebackhide__ = True
    subjects = _subjects(plugin, probe)
    found = find_plugins(subjects.layouts, subjects.settings.exclude)
    judgements = Judgements(subjects, {plugin.name: found[plugin.name]}, checks)
    verified = [judgements.verified(plugin.name, check) for check in checks]
    failed = [told(plugin.name, check) for one in verified for check in one.checks if check.outcome == "failed"]
    if failed:
        raise AssertionError("\n".join(failed))
    return not any(one.has_probe for one in verified)
