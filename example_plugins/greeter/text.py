"""How a greeting is put together."""

from . import catalogue


def greeting(name: str, language: str = "en") -> str:
    """Return the greeting of the catalogue with the name in it."""
    return catalogue.phrase(language).format(name=name)
