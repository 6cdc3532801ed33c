"""Every check, in the order in which they are told; a new one is one file, and its place here."""

from __future__ import annotations

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks import (
    environ_unchanged,
    gc_state_unchanged,
    hooks_unchanged,
    memory_native,
    memory_slope,
    no_atexit_growth,
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
    sys_path_unchanged,
    unraisable_clean,
)

__all__ = ["ALL"]

ALL: tuple[Check, ...] = (
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
    memory_slope.CHECK,
    memory_native.CHECK,
    unraisable_clean.CHECK,
)
