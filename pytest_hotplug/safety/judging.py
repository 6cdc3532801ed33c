"""From the evidence of a scenario to a judgement of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Cycle, Memory

__all__ = ["Evidence", "Judged", "judge"]

Evidence = Cycle | Memory
Outcome = Literal["passed", "failed", "note", "xfailed", "error"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one check of one plugin.

    `reason` says why it could not be judged ("error"), or is not judged by its findings alone.
    """

    check: Check
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    reason: str = ""


def judge(check: Check, evidence: Evidence) -> Judged:
    """Judge one check by the evidence of its scenario."""
    if evidence.failed:
        return Judged(check, "error", reason=evidence.failed)
    findings = tuple(sorted(check.judge(check, evidence), key=lambda finding: finding.severity))
    if any(finding.severity == "error" for finding in findings):
        return Judged(check, "failed", findings)
    return Judged(check, "note" if findings else "passed", findings)
