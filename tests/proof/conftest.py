"""The proofs use the workshop of the reloader's tests."""

from __future__ import annotations

from tests.reloader.conftest import shop

__all__ = ["shop"]
