"""Counting, across versions."""


def test_the_count_goes_on_after_a_reload(hotplug):
    """The new version begins where the old one ended."""
    counter = hotplug.load()
    counter.execute()
    counter.execute(step=2)
    counter.edit("main.py", "STEP = 1", "STEP = 10")
    assert counter.execute() == {"count": 13}


def test_a_version_that_refuses_the_state_never_serves(hotplug):
    """When load_state raises, the old version keeps serving with its state."""
    counter = hotplug.load()
    counter.execute(step=4)
    counter.edit("utils/checks.py", "if count < 0:", "if count > 3:")
    assert counter.execute() == {"count": 5}
    assert counter.info["state"] == "degraded"
