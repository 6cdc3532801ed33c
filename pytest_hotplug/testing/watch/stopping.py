"""How a run is held up and ended, whatever processes it goes on in."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod

__all__ = ["GRACE", "Stoppable"]

GRACE = 3.0  # seconds that a cancelled run gets for its fixtures' teardown
_REPEAT = 0.2  # seconds after which a debugger's prompt is told again


class Stoppable(ABC):
    """A run that hears signals, `_collected` once it has anything to tear down."""

    _collected = False

    def cancel(self, at_prompt: bool = False) -> None:
        """End the run: fixtures are torn down as after Ctrl-C, and what is left then is killed."""
        if self._collected:  # before that a traceback would be noise
            self._ask_to_end(at_prompt)
        self._signal(signal.SIGKILL)
        self._wait(GRACE)

    def _ask_to_end(self, at_prompt: bool) -> None:
        self._signal(signal.SIGTERM if at_prompt else signal.SIGINT)
        self._signal(signal.SIGCONT)  # what is stopped would never hear it
        if at_prompt:  # a read that begins just after the signal never hears of it
            until = time.monotonic() + GRACE
            while time.monotonic() < until and not self._wait(_REPEAT):
                self._signal(signal.SIGTERM)
        else:
            self._wait(GRACE)

    def pause(self) -> None:
        """Stop the run where it is, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a run that was stopped go on."""
        self._signal(signal.SIGCONT)

    @abstractmethod
    def _signal(self, number: signal.Signals) -> None:
        """Send it to the processes that are left, if any is."""

    @abstractmethod
    def _wait(self, seconds: float) -> bool:
        """Wait until the processes are gone, at most so long; return whether they are."""
