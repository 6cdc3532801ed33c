"""How the stateful proofs run: bounded and repeatable by default, longer and further with `--soak`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

__all__ = ["run_machine"]


def run_machine(machine: type[RuleBasedStateMachine], soak: float) -> None:
    """Run a machine; raises what the first broken rule or invariant raised."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(25 * soak),
            stateful_step_count=25,
            deadline=None,
            derandomize=soak == 1,  # the ordinary run is repeatable, longer ones look further
            suppress_health_check=list(HealthCheck),
        ),
    )
