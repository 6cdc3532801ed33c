"""Versions of one plugin that differ in nothing but their token, deployed one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.exchange import exchange
from pytest_hotplug.reloader.outcomes import KeptCurrent
from pytest_hotplug.safety.files import Files
from pytest_hotplug.safety.history import History
from pytest_hotplug.safety.stage import CannotPlay, NotTried, Stage
from pytest_hotplug.safety.tokens import calling, hear_tokens, with_token

__all__ = ["Versions", "mark"]


class Versions:
    """The plugin on the stage, whose next version is exchanged for the present one as a whole.

    Raises NotTried where that can't be done, or calls would show nothing.
    """

    def __init__(self, stage: Stage) -> None:
        if not stage.has_probe:
            raise NotTried("its manifest has no probe, so nothing is called")
        self._stage = stage
        self._beside = stage.directory.parent.parent / "next"
        self.history = History()
        self.token = 0
        self.publish()
        self.call()  # what is done once for all, by whichever call comes first
        self.functions = len(self.call())
        if not self.functions:
            raise NotTried("its probe calls none of its own functions")

    def publish(self) -> None:
        """Deploy the next version and let it serve; raises CannotPlay when it is refused."""
        self.token += 1
        for name, content in _marked(self._stage.sources, self.token).items():
            path = self._beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            with self.history.publishing(self.token):
                exchange(self._beside, self._stage.directory)
                outcome = self._stage.manager.reload(self._stage.name)
        except UsageError as error:
            raise NotTried(str(error)) from None
        finally:
            shutil.rmtree(self._beside)
        if isinstance(outcome, KeptCurrent):
            raise CannotPlay(f"its version {self.token} was refused: {outcome.error or outcome.reason}")

    def call(self) -> list[int]:
        """Use the plugin as its probe says, and return the tokens of what was called; what it raises passes."""
        with calling() as call:
            self._stage.probe()
        return call.tokens


def mark(stage: Stage) -> None:
    """Let already the first version tell its token, 0: what somebody keeps of it is told like any other code."""
    hear_tokens()
    stage.files.lay_down(_marked(stage.sources, 0))
    stage.files = Files(stage.directory)


def _marked(sources: Mapping[str, bytes], token: int) -> dict[str, bytes]:
    return {name: _with_token(name, content, token) for name, content in sources.items()}


def _with_token(name: str, content: bytes, token: int) -> bytes:
    try:
        return with_token(content, token) if name.endswith(".py") else content
    except (SyntaxError, ValueError):  # no program: that it is a good version is for the load to say
        return content
