"""The phrases, read once per version from the JSON file beside this module."""

import json
from importlib.resources import files

_PHRASES: dict[str, str] = json.loads(files(__package__).joinpath("catalogue.json").read_text("utf-8"))


def phrase(language: str) -> str:
    """Return the phrase of a language; raises KeyError."""
    return _PHRASES[language]


def languages() -> list[str]:
    """Return the languages that the catalogue knows."""
    return sorted(_PHRASES)
