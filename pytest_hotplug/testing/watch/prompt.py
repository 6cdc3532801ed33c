"""One line of text, typed key by key while the watch goes on: the loop feeds it, it never waits.

Knows nothing of what is asked, and neither reads nor writes the terminal.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Prompt"]

_ENTER, _ERASE, _CANCEL, _ERASE_ALL = "\r\n", "\x7f\b", "\x1b", "\x15"


class Prompt:
    """A question that is being answered; `answered` is called with the text once Enter is pressed."""

    def __init__(self, question: str, answered: Callable[[str], None]) -> None:
        self._question = question
        self._answered = answered
        self._text = ""

    @property
    def line(self) -> str:
        """Return what the terminal's line should show."""
        return f"{self._question}: {self._text}"

    def feed(self, key: str) -> bool:
        """Take in a key; return False when the prompt is over, answered or left by Escape."""
        if key in _ENTER:
            self._answered(self._text.strip())
            return False
        if key == _CANCEL:
            return False
        if key in _ERASE:
            self._text = self._text[:-1]
        elif key == _ERASE_ALL:
            self._text = ""
        elif key.isprintable():
            self._text += key
        return True
