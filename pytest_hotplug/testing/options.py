"""What the command line says of our options, also while pytest has not yet filled `config.option`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

__all__ = ["given_option"]


def given_option(config: pytest.Config, name: str) -> Any:
    """Return the value of an option by its destination, None when it was not given."""
    value = vars(config.known_args_namespace).get(name)
    return config.getoption(name, default=None) if value is None else value
