"""Tests of the worker get the reloader's workshop, and must leave the process as they found it."""

from __future__ import annotations

from tests.reloader.conftest import shop

__all__ = ["shop"]
