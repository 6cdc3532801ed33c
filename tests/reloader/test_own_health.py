"""What plugins say of their own health, and what they can't do to those who ask."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pytest_hotplug.reloader import own_health
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, running

RUN = "def run(): return 1\n"


def askers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hotplug-health-")]


def test_a_health_that_hangs_is_told_and_the_others_are_reported(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe returns within the time limit, names who does not answer, and costs one thread in all."""
    monkeypatch.setattr(own_health, "PATIENCE", 0.2)
    with gate("health") as (opening, opened):
        wait = "; ".join(opening.strip().splitlines())
        shop.plugin("hangs", f"def health():\n    {wait}\n" + RUN)
        shop.plugin("ill", "def health(): return {'status': 'ill'}\n" + RUN)
        shop.plugin("well", "def health(): return True\n" + RUN)
        manager = shop.manager()
        for name in ("hangs", "ill", "well"):
            manager.load(name)
        for _ in range(3):
            begun = time.monotonic()
            health = manager.health()
            assert time.monotonic() - begun < PATIENCE / 2
            assert health["status"] == "degraded"
            assert health["reasons"] == [
                "hangs: health() did not answer within 0.2 s [health-timeout]",
                "ill: health() says {'status': 'ill'}",
            ]
            assert health["calls_in_flight"] == 0
        assert askers() == ["hotplug-health-hangs"]
        shop.plugin("hangs", "def health(): return True\n" + RUN)
        assert manager.execute("hangs") == 1
        assert manager.health()["reasons"] == ["ill: health() says {'status': 'ill'}"], "its successor is asked anew"
        opened.set()
        eventually(lambda: not askers(), "the end of the lost thread")


def test_two_plugins_whose_health_asks_for_everybodys_get_an_answer(shop: Workshop) -> None:
    """`health()` that calls `manager.health()` does not ask itself, nor wait for another one that does the same."""
    main = "from tests.reloader.test_own_health import ask\n{how} health(): return ask()['status'] == 'ok'\n" + RUN
    for name, how in (("one", "def"), ("two", "def"), ("three", "async def")):
        shop.plugin(name, main.format(how=how))
    manager = shop.manager()
    for name in ("one", "two", "three"):
        manager.load(name)
    asks.append(manager.health)
    try:
        assert manager.health()["reasons"] == []
        with running(manager.health, manager.health) as errors:
            pass
        assert errors == []
    finally:
        asks.clear()


asks: list[Any] = []


def ask() -> dict[str, Any]:
    """Stand for a host's `manager.health()` inside a plugin."""
    answer: dict[str, Any] = asks[-1]()
    return answer


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()", "ValueError('full')"])
def test_whatever_a_health_raises_is_its_answer(shop: Workshop, raised: str) -> None:
    """Not even an exit leaves `manager.health()`."""
    shop.plugin("subject", f"def health(): raise {raised}\n" + RUN)
    manager = shop.manager()
    manager.load("subject")
    (reason,) = manager.health()["reasons"]
    assert reason.startswith(f"subject: health() raised {raised.partition('(')[0]}")
