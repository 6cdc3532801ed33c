"""Files as a saver leaves them for a moment: empty, or cut off.

Savers that truncate first show an empty file in most saves to a watch this quick. Executes nothing.
"""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path

__all__ = ["is_suspect"]


def is_suspect(path: Path) -> bool:
    """Tell whether a source or a .json is empty or can't be parsed; a file that is gone is as it is meant."""
    if path.suffix not in (".py", ".json"):
        return False
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return not data.strip() or not _parses(path, data)


def _parses(path: Path, data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            json.loads(data) if path.suffix == ".json" else ast.parse(data)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return True
