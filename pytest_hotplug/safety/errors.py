"""Why there is nothing to judge."""

from __future__ import annotations

__all__ = ["CannotPlay", "NotTried"]


class CannotPlay(Exception):
    """The plugin can't be verified; the text says why."""


class NotTried(Exception):
    """A check does not apply to this plugin, or can't be tried here; the text says why."""
