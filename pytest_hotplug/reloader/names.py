"""What a name tells: which directories can be plugins, which files never count to a plugin's version.

Looks at names alone, never at the disk. Everybody may import it; it imports nothing of the package.
"""

from __future__ import annotations

import keyword
import re

__all__ = ["is_noise", "is_plugin_name", "is_test"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}


def is_plugin_name(name: object) -> bool:
    """Tell whether `name` could name a plugin: no device, no keyword, `[a-z][a-z0-9_]{0,63}`."""
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and name not in _DEVICES
        and not keyword.iskeyword(name)
    )


def is_noise(name: str) -> bool:
    """Tell whether a file or directory of this name never belongs to a plugin's version."""
    return (
        name[0] in ".#"
        or name.endswith(("~", ".swp", ".swx", ".tmp", ".pyc", "___jb_tmp___", "___jb_old___"))
        or name in ("__pycache__", "4913")
    )


def is_test(name: str) -> bool:
    """Tell whether a file or directory of this name is part of a plugin's own tests."""
    return name in ("tests", "conftest.py") or (
        name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))
    )
