"""Why there is nothing to judge."""

from __future__ import annotations

__all__ = ["CannotPlay", "NoTool", "NotTried"]


class CannotPlay(Exception):
    """The plugin can't be verified; the text says why."""


class NotTried(Exception):
    """A check does not apply to this plugin; the text says why."""


class NoTool(NotTried):
    """A check can't be tried here, for lack of something that this machine doesn't have; the text says what."""
