"""All async plugins of a manager share one event loop: none of them ends it for the others."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from pytest_hotplug import UsageError
from pytest_hotplug.reloader import loop_thread
from tests.reloader.workshop import PATIENCE, Workshop, eventually, running

CALM = "async def run(inside=None, gate=None):\n    import asyncio\n    if inside:\n        inside.set()\n"
CALM += "        while not gate.is_set(): await asyncio.sleep(0.01)\n    return 'calm'\n"


@pytest.mark.parametrize("ending", ["stop", "close"])
def test_a_plugin_that_ends_its_loop_fails_alone(shop: Workshop, ending: str) -> None:
    """`get_running_loop().stop()` is refused where it stands; what others run goes on, and so do later calls."""
    line = f"asyncio.get_running_loop().{ending}()"
    shop.plugin("rude", f"import asyncio\nasync def run(end=True):\n    if end: {line}\n    return 'rude'\n")
    shop.plugin("calm", CALM)
    manager = shop.manager()
    inside, gate = threading.Event(), threading.Event()
    answers: list[Any] = []
    with running(lambda: answers.append(manager.execute("calm", inside=inside, gate=gate))) as errors:
        assert inside.wait(PATIENCE)
        with pytest.raises(UsageError, match=r"rude: .*\[loop-stopped\]"):
            manager.execute("rude")
        assert manager.execute("rude", end=False) == "rude"
        gate.set()
    assert (errors, answers) == ([], ["calm"])
    assert manager.health()["calls_in_flight"] == 0


@pytest.mark.parametrize("how", ["asyncio.BaseEventLoop.stop(loop)", "loop.call_soon(sys.exit)"])
def test_a_loop_that_is_stopped_behind_its_back_goes_on(shop: Workshop, how: str) -> None:
    """Whatever makes it pause, the call that did it and every other one come to their end."""
    main = f"import asyncio, sys\nasync def run():\n    loop = asyncio.get_running_loop()\n    {how}\n"
    shop.plugin("rude", main + "    for _ in range(3): await asyncio.sleep(0)\n    return 'rude'\n")
    manager = shop.manager()
    for _ in range(3):
        assert manager.execute("rude") == "rude"


def test_a_loop_that_is_closed_all_the_same_fails_what_ran_on_it_and_is_replaced(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call that was under way is told, with its plugin's name; no lease is lost and the next call works."""
    main = "import asyncio, threading\n"
    main += "def _end(loop): type(loop).close(loop)\n"
    main += "async def run(end=True):\n    loop = asyncio.get_running_loop()\n    if not end: return 'rude'\n"
    main += "    loop.run_forever = lambda: _end(loop)\n    asyncio.BaseEventLoop.stop(loop)\n"
    main += "    await asyncio.sleep(60)\n"
    shop.plugin("rude", main)
    shop.plugin("calm", CALM)
    manager = shop.manager()
    inside, gate = threading.Event(), threading.Event()
    with (
        caplog.at_level(logging.ERROR, "hotplug"),
        running(lambda: manager.execute("calm", inside=inside, gate=gate)) as errors,
    ):
        assert inside.wait(PATIENCE)
        with pytest.raises(UsageError, match=r"rude: .*\[loop-stopped\]"):
            manager.execute("rude")
    assert [str(error)[:5] for error in errors] == ["calm:"]
    assert isinstance(errors[0], UsageError)
    assert errors[0].slug == "loop-stopped"
    assert {record.plugin for record in caplog.records if record.msg == "hotplug.loop_stopped"} == {"rude", "calm"}  # type: ignore[attr-defined]
    assert manager.execute("calm") == "calm"
    assert manager.execute("rude", end=False) == "rude"
    eventually(lambda: manager.health()["calls_in_flight"] == 0, "the leases")


def test_a_task_that_ignores_its_cancellation_does_not_hold_up_the_close(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close()` waits a while for async work, says what does not end, and returns."""
    monkeypatch.setattr(loop_thread, "PATIENCE", 0.2)
    shop.plugin("calm", CALM)
    manager = shop.manager()
    manager.execute("calm")
    ended = threading.Event()

    async def stubborn() -> None:
        while not ended.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    with running(lambda: manager._loop.run(stubborn(), "stubborn")) as errors:
        eventually(lambda: len(asyncio.all_tasks(manager._loop._own.loop)) == 1, "its begin")  # type: ignore[union-attr]
        manager.close()
        ended.set()
    assert len(errors) == 1
