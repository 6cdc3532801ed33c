"""Ticking, and nothing left behind."""

import threading


def ticking() -> list[str]:
    """Return the names of ticking threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ticker-")]


def test_it_ticks(hotplug):
    """The thread runs while the plugin is loaded."""
    assert hotplug.load().execute()["ticks"] > 0


def test_one_thread_after_many_reloads(hotplug):
    """Each retired version's thread is joined."""
    ticker = hotplug.load()
    for interval in ("0.02", "0.03", "0.04"):
        ticker.edit("main.py", ticker.module("main").INTERVAL.__repr__(), interval)
        assert ticker.execute()["interval"] == float(interval)
        hotplug.wait_for("retired", "ticker")
    assert len(ticking()) == 1
