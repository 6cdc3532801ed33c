"""Show failures beside the lines of a pull request, where GitHub Actions runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

__all__ = ["annotations_of"]


def annotations_of(failures: list[Any], root: str) -> Iterator[str]:
    """Yield a workflow command for each failed report; none outside of GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    workspace = os.environ.get("GITHUB_WORKSPACE", root)
    for report in failures:
        crash = getattr(report.longrepr, "reprcrash", None)
        path = crash.path if crash is not None else os.path.join(root, report.nodeid.split("::")[0])
        place = f"file={_property(os.path.relpath(path, workspace))}" + (f",line={crash.lineno}" if crash else "")
        lines = str(report.longrepr).strip().splitlines() or ["failed"]
        message = crash.message if crash is not None else lines[-1]
        yield f"::error {place},title={_property(report.nodeid)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
