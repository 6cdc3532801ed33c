"""Nothing of an old version lives on, once nothing of it is running."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Cycle
from pytest_hotplug.safety.findings import place_in

__all__ = ["CHECK"]


def _judge(check: Check, cycle: Cycle) -> Iterable[Finding]:
    looks: dict[tuple[str, ...], list[str]] = {}
    for survivor in cycle.survivors:
        looks.setdefault((survivor.held, survivor.place, *survivor.chain), []).append(survivor.after)
    for (held, place, *chain), after in looks.items():
        path, line = place_in(place)
        after_reloads = after.count("reloads")
        yield Finding(
            message=f"an old version lives on: {' -> '.join([*chain, held])}"
            + (f"; {after_reloads} of them after {cycle.reloads} reloads" if after_reloads else "; after unload"),
            path=path,
            line=line,
            chain=(*chain, held),
            remedy=check.remedy,
            growth=after_reloads / cycle.reloads or None,
        )


CHECK = Check(
    id="old_modules_die",
    title="Nothing of an old version lives on",
    how=(
        "Each namespace of a version holds a canary that is only weakly referenced here. After the reloads, "
        "and once more after unload, the canaries that still live are followed through `gc.get_referrers` to "
        "the first holder outside the plugin, past what the collector cannot see (frames, signal handlers, "
        "hooks, context variables) as well."
    ),
    remedy="Take back in on_unload what was handed to others, or give its undo to context.register().",
    judge=_judge,
)
