"""`pytest --hotplug-watch`: watch, reload, rerun the affected tests.

`main` decides whether to watch at all; the work is in `loop`. Imported only when watch mode is
asked for.
"""

from __future__ import annotations

import os
import sys

import pytest

__all__ = ["main", "why_not_watching"]


def main(config: pytest.Config) -> int | None:
    """Watch until the user quits and return the exit code; None for one ordinary run instead."""
    events = config.getoption("hotplug_events") or config.getini("hotplug_events")
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)  # pytest has put the null device in place of the terminal
    reason = why_not_watching(config)
    if reason:
        sys.stderr.write(f"hotplug: {reason}; this is one ordinary run. [not-watching]\n")
        if capture is not None:
            capture.resume_global_capture()
            capture.suspend_global_capture()
        return None
    if capture is not None:
        capture.stop_global_capturing()
    _fill_standard_descriptors()
    from pytest_hotplug.testing.watch.keys import is_terminal
    from pytest_hotplug.testing.watch.loop import watch_tests

    if (config.option.usepdb or config.option.trace) and not is_terminal(sys.stdin):
        option = "--pdb" if config.option.usepdb else "--trace"
        sys.stderr.write(f"hotplug: there is no terminal for a debugger, so {option} does nothing [no-debugger]\n")

    return watch_tests(config, events)


def why_not_watching(config: pytest.Config) -> str:
    """Return why a run that is asked to watch does not, or an empty string; can be asked before the conftests."""
    options = config.known_args_namespace
    if options.collectonly or options.help or getattr(options, "version", 0):
        return "nothing would be run"
    if os.name != "posix":
        return "watch mode needs a POSIX system for now"
    events = getattr(options, "hotplug_events", None) or config.getini("hotplug_events")
    if events or os.environ.get("HOTPLUG_WATCH") == "always":
        return ""
    if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
        return "CI is set"
    from pytest_hotplug.testing.watch.keys import is_terminal

    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return "there is no terminal"
    return ""


def _fill_standard_descriptors() -> None:
    """Open the null device where a standard stream was closed: a pipe of ours must not become one of a child."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
