"""Shows a package of several modules: relative and flat imports, and a JSON catalogue."""

from .text import greeting

__all__ = ["greeting"]
