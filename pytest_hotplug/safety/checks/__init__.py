"""Every check, in the order in which they are told: ours, each one file with its place here, then the project's own."""

from __future__ import annotations

from collections.abc import Collection

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks import (
    bad_manifest_kept,
    change_is_seen,
    environ_unchanged,
    every_call_old_or_new,
    gc_state_unchanged,
    half_deployed_states,
    half_written_kept,
    hooks_unchanged,
    identical_content_no_reload,
    import_error_kept,
    in_flight_completes,
    interface_compatible,
    memory_native,
    memory_slope,
    missing_entry_kept,
    no_atexit_growth,
    no_class_cache_leak,
    no_duplicate_registrations,
    no_foreign_modules_purged,
    no_handler_growth,
    no_leaked_fds,
    no_leaked_processes,
    no_leaked_sockets,
    no_leaked_tasks,
    no_leaked_threads,
    no_leaked_timers,
    no_monkeypatch,
    no_permanent_registrations,
    no_signal_handlers,
    no_warning_filters,
    old_modules_die,
    process_state_unchanged,
    reload_storm,
    side_effects_rolled_back,
    state_migrates,
    syntax_error_kept,
    sys_path_unchanged,
    teardown_failure_contained,
    unraisable_clean,
    upgrade_from_ref,
    version_bumped,
)

__all__ = ["ALL", "asked"]

# A project's own are added by `added`, before anything is judged, and nothing is ever taken out.

ALL: list[Check] = [
    old_modules_die.CHECK,
    no_leaked_threads.CHECK,
    no_leaked_processes.CHECK,
    no_monkeypatch.CHECK,
    no_leaked_timers.CHECK,
    no_leaked_tasks.CHECK,
    no_atexit_growth.CHECK,
    no_signal_handlers.CHECK,
    no_leaked_fds.CHECK,
    no_leaked_sockets.CHECK,
    no_handler_growth.CHECK,
    no_warning_filters.CHECK,
    environ_unchanged.CHECK,
    sys_path_unchanged.CHECK,
    no_foreign_modules_purged.CHECK,
    hooks_unchanged.CHECK,
    gc_state_unchanged.CHECK,
    process_state_unchanged.CHECK,
    no_permanent_registrations.CHECK,
    no_duplicate_registrations.CHECK,
    no_class_cache_leak.CHECK,
    memory_slope.CHECK,
    memory_native.CHECK,
    unraisable_clean.CHECK,
    identical_content_no_reload.CHECK,
    change_is_seen.CHECK,
    syntax_error_kept.CHECK,
    import_error_kept.CHECK,
    missing_entry_kept.CHECK,
    bad_manifest_kept.CHECK,
    half_written_kept.CHECK,
    side_effects_rolled_back.CHECK,
    teardown_failure_contained.CHECK,
    every_call_old_or_new.CHECK,
    in_flight_completes.CHECK,
    reload_storm.CHECK,
    upgrade_from_ref.CHECK,
    half_deployed_states.CHECK,
    interface_compatible.CHECK,
    version_bumped.CHECK,
    state_migrates.CHECK,
]


def asked(ids: Collection[str]) -> list[Check]:
    """Return the checks with these ids, in the order in which they are played."""
    return [check for check in ALL if check.id in ids]
