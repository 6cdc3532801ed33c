"""Ask plugins how they are, by their own `health()`; one that doesn't answer holds up nobody for long.

Each is asked on a thread of its own, all at once. A question that was not answered yet is not put
again: a plugin that hangs costs one thread, however often health is probed. Judges nothing else.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import Lease, Leases
from pytest_hotplug.reloader.registry import Registry
from pytest_hotplug.reloader.settings import InUse
from pytest_hotplug.reloader.waiting import Bell

__all__ = ["OwnHealth"]

PATIENCE = 5.0  # seconds that a plugin has for its answer; `load_timeout` where that is shorter
_ASKED: contextvars.ContextVar[bool] = contextvars.ContextVar("hotplug_asked", default=False)


class OwnHealth:
    """Puts the question to the plugins of one manager."""

    def __init__(self, registry: Registry, leases: Leases, in_use: InUse) -> None:
        self._registry = registry
        self._leases = leases
        self._in_use = in_use
        self._open: dict[Generation, _Question] = {}
        self._lock = threading.Lock()  # guards _open

    def after_fork(self) -> None:
        """Forget, in a child process, the questions that threads of the parent were to answer."""
        self._open = {}
        self._lock = threading.Lock()

    def complaints(self) -> dict[str, str]:
        """Return by plugin what is wrong; nothing when a plugin's own `health()` asks: it would wait for itself."""
        if _ASKED.get():
            return {}
        questions = {name: question for name in sorted(self._registry.serving) if (question := self._put_to(name))}
        return {name: said for name, question in questions.items() if (said := question.answer())}

    def _put_to(self, name: str) -> _Question | None:
        """Return the question that a plugin is at, a new one if none is; None when it has no opinion."""
        lease = self._leases.take(name, lambda: self._registry.serving.get(name), wait=False)
        if lease is None:
            return None
        generation = lease.generation
        hook, own = generation.hooks.health, generation.manifest.load_timeout
        if hook is None:
            self._leases.give_back(lease)
            return None
        patience = min(PATIENCE, self._in_use.now.load_timeout if own is None else own)
        fresh = _Question(self._leases, lease, hook, patience, self._answered)
        with self._lock:
            question = self._open.setdefault(generation, fresh)
        if question is fresh:
            fresh.begin()
        else:
            self._leases.give_back(lease)
        return question

    def _answered(self, generation: Generation) -> None:
        with self._lock:
            self._open.pop(generation, None)


class _Question:
    """One question, and as many as want to hear the answer."""

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        hook: Callable[[], Any],
        patience: float,
        then: Callable[[Generation], None],
    ) -> None:
        self._leases = leases
        self._lease = lease
        self._hook = hook
        self._patience = patience
        self._then = then
        self._deadline = time.monotonic() + patience
        self._bell = Bell()  # guards _said
        self._said: str | None = None

    def begin(self) -> None:
        name = f"hotplug-health-{self._lease.generation.name}"
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._ask,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._leases.give_back(self._lease)
            self._end(f"health() can't be asked: {error}")

    def answer(self) -> str:
        """Return what is wrong, "" when nothing is."""
        self._bell.wait_for(lambda: self._said is not None, self._deadline - time.monotonic())
        if self._said is not None:
            return self._said
        self._leases.give_back(self._lease)  # its successor must not wait for it as well
        return f"health() did not answer within {self._patience:g} s [health-timeout]"

    def _ask(self) -> None:
        _ASKED.set(True)
        generation = self._lease.generation
        try:
            said = _judged(generation.context.run(self._leases.call(self._lease, self._hook)))
        except BaseException as error:  # noqa: BLE001  # whatever a plugin raises here is its answer
            said = f"health() raised {type(error).__name__}: {error}"
        self._end(said)

    def _end(self, said: str) -> None:
        self._then(self._lease.generation)
        with self._bell.lock:
            self._said = said
            self._bell.ring()


def _judged(said: Any) -> str:
    """Return what is wrong according to an answer: false, or a dict whose status isn't "ok"."""
    well = said.get("status", "ok") == "ok" if isinstance(said, dict) else said is None or bool(said)
    return "" if well else f"health() says {said!r}"
