"""The entry: greet somebody, politely when asked in the evening."""

from typing import Any

import catalogue  # flat: the plugin's own module, whatever else is called catalogue

from .text import greeting  # relative


def run(name: str, language: str = "en") -> dict[str, Any]:
    """Greet `name` in a language of the catalogue."""
    from polish import polish  # lazily, from inside a function

    return {"greeting": polish(greeting(name, language)), "languages": catalogue.languages()}
