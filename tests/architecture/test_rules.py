"""Every security rule and every watching rule has a test that names it, or a page says why it hasn't."""

from __future__ import annotations

import re

import pytest

from tests.architecture.project import PROJECT

TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "tests").rglob("test_*.py")))
NOT_HERE_YET = {*(f"S{number}" for number in range(29, 33))}  # the control socket of a worker
ON_A_PAGE = {"S36"}  # docs/explanation/security.md says what watching a foreign repository means


@pytest.mark.parametrize("rule", [*(f"S{n}" for n in range(1, 37)), *(f"W{n}" for n in range(1, 27))])
def test_a_rule_is_named_by_a_test(rule: str) -> None:
    """Who changes the code sees which promise a test stands for."""
    if rule in NOT_HERE_YET | ON_A_PAGE:
        return
    assert re.search(rf"\b{rule}\b", TESTS), f"no test names {rule}"
