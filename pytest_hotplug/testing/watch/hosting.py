"""The plugin host as the watch keeps it: told of edits once they are quiet, started again when a plugin took it down.

Knows no tests and no runs; belongs to the thread of the watch loop.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import Any

import msgspec

from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.testing.project import TestProject
from pytest_hotplug.testing.watch.agenda import Agenda
from pytest_hotplug.testing.watch.processes import HostProcess, Message
from pytest_hotplug.testing.watch.voice import Voice

__all__ = ["Hosting"]

RESTARTS = 5


class Hosting:
    """At most one host. `agenda` is that of the loop's thread."""

    def __init__(
        self,
        project: TestProject | None,
        settings: Settings,
        agenda: Agenda,
        inbox: queue.SimpleQueue[Message],
        voice: Voice,
    ) -> None:
        self._project = project
        self._settings = settings
        self._agenda = agenda
        self._inbox = inbox
        self._voice = voice
        self._host: HostProcess | None = None
        self._ends = 0
        self._hosted: set[str] = set()
        self._waiting: set[str] = set()  # plugins to look at once their files are quiet

    def start(self) -> None:
        """Start the host, if the settings want one."""
        if self._project is None or self._settings.watch_host == "off":
            return
        settings = msgspec.to_builtins(self._settings)
        self._host = HostProcess(settings, self._project.root, self._inbox)
        self._host.look(sorted(self._hosted))

    def renew(self) -> None:
        """Start it if it is not there, however often it ended."""
        self._ends = 0
        if self._host is None:
            self.start()

    def stop(self) -> None:
        """End it."""
        if self._host is not None:
            self._host.stop()

    def changed(self, plugins: Iterable[str]) -> None:
        """Let it look at plugins whose files changed, when they are quiet."""
        if self._host is None:
            return
        touched = set(plugins)
        self._hosted |= touched
        self._waiting |= touched
        if self._waiting:
            self._agenda.put_off("host", self._settings.debounce, self._let_it_look)

    def _let_it_look(self) -> None:
        plugins, self._waiting = self._waiting, set()
        if self._host is not None:
            self._host.look(sorted(plugins))

    def loaded(self, plugins: Iterable[str]) -> None:
        """Let it load what tests loaded, so that the next edit finds a version that serves."""
        new = set(plugins) - self._hosted
        if self._host is not None and new:
            self._hosted |= new
            self._host.look(sorted(new))

    def hear(self, facts: dict[str, Any]) -> None:
        """Take in what it tells."""
        log, screen = self._voice.log, self._voice.screen
        if facts["kind"] == "reloaded":
            log.write("reloaded", **{name: facts[name] for name in ("plugin", "generation", "digest")})
            if facts["generation"] != 1 or facts["again"]:
                screen.reloaded(facts, self._settings.watch_host == "live")
        elif facts["kind"] == "refused":
            log.write("refused", plugin=facts["plugin"], error=facts["error"], serving=facts["generation"])
            screen.refused(facts)

    def ended(self, end: tuple[HostProcess, int]) -> None:
        """Start it again, unless it ends over and over."""
        process, code = end
        if process is not self._host:
            return
        self._host = None
        self._ends += 1
        if self._ends > RESTARTS:
            self._voice.fallback(f"the plugin host ended {self._ends} times; it is not started again")
            return
        ended = f"was ended by signal {-code}" if code < 0 else f"was ended by a plugin (exit code {code})"
        self._voice.fallback(f"the host process {ended}; it is started again")
        self._hosted.clear()
        self.start()
