"""Why there is nothing to judge."""

from __future__ import annotations

import traceback

__all__ = ["CannotPlay", "NoTool", "NotTried", "fault_of"]


class CannotPlay(Exception):
    """The plugin can't be verified; the text says why."""


class NotTried(Exception):
    """A check does not apply to this plugin; the text says why."""


class NoTool(NotTried):
    """A check can't be tried here, for lack of something that this machine doesn't have; the text says what."""


def fault_of(error: Exception) -> str:
    """Say what a check raised itself, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"the check itself failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
