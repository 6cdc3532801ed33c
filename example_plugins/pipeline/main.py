"""Shows a plugin that uses another one, and sub-packages whose names others have too."""

from typing import Any

from core.steps import run_steps
from utils.names import tidy

from example_plugins.greeter.text import greeting


def run(names: list[str] | None = None) -> dict[str, Any]:
    """Tidy the names and greet each."""
    return {"greetings": run_steps(names or [], [tidy, greeting])}
