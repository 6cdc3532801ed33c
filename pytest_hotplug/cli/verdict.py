"""What an error means: a sentence with its slug, and an exit code. The same in every process of a command."""

from __future__ import annotations

import traceback

import click

from pytest_hotplug.reloader.errors import HotplugError, ParameterError, UnknownPlugin, UsageError

__all__ = ["Told", "verdict"]


class Told(click.ClickException):
    """A text that is complete, and the exit code that it means."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def verdict(error: BaseException) -> tuple[str, int]:
    """Return what to say of an error and the exit code; a fault of ours is shown with its traceback first."""
    if isinstance(error, click.UsageError):
        message = error.format_message()
        return (message if message.endswith("]") else f"{message} [usage]"), 4
    if isinstance(error, click.ClickException):
        return error.format_message(), error.code if isinstance(error, Told) else 1
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "interrupted", 2
    if isinstance(error, (ParameterError, UnknownPlugin, UsageError)):
        return str(error), 4
    if isinstance(error, HotplugError):
        return str(error), 1
    traceback.print_exception(error)
    return f"internal error: {error!r}; please report it with the lines above [internal]", 3
