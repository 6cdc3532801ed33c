"""From the evidence of a scenario to a judgement of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Attempts, Cycle, Memory

__all__ = ["Evidence", "Judged", "judge"]

Evidence = Cycle | Memory | Attempts
Outcome = Literal["passed", "failed", "note", "xfailed", "skipped", "error"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one check of one plugin.

    `reason` says why it could not be judged ("error"), does not apply ("skipped"), or is not judged by its
    findings alone; `lacks_tool` whether it is skipped only because it can't be tried here.
    """

    check: Check
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    lacks_tool: bool = False


def judge(check: Check, evidence: Evidence) -> Judged:
    """Judge one check by the evidence of its scenario."""
    if evidence.failed:
        return Judged(check, "error", reason=evidence.failed)
    if isinstance(evidence, Cycle) and check.id in evidence.broken:
        return Judged(check, "error", reason=evidence.broken[check.id])
    if not isinstance(evidence, Memory) and check.id in evidence.skipped:
        lacks_tool = check.id in evidence.without_tool
        return Judged(check, "skipped", reason=evidence.skipped[check.id], lacks_tool=lacks_tool)
    if isinstance(evidence, Attempts):
        broken = evidence.broken.get(check.id, "")
        if broken and not any(finding.severity == "error" for finding in evidence.found.get(check.id, ())):
            return Judged(check, "error", reason=broken)
        if not evidence.counts.get(check.id):
            return Judged(check, "error", reason="nothing was tried")  # never green without having proved something
    findings = tuple(sorted(check.judge(check, evidence), key=lambda finding: finding.severity))
    if any(finding.severity == "error" for finding in findings):
        return Judged(check, "failed", findings)
    return Judged(check, "note" if findings else "passed", findings)
