"""Assertions in scenarios show their values, as those in tests do."""

import pytest

pytest.register_assert_rewrite("tests.hazards.scenarios")
