"""What a verification proves, asserted in a plugin author's own test."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hotplug import UsageError
from pytest_hotplug.testing import (
    Hotplug,
    assert_every_call_old_or_new,
    assert_no_leaks,
    assert_survives_broken_version,
)

KNOWN = {"reason": "known", "until": "2099-01-01"}
LEAKS = "import threading\n\n\ndef run():\n    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
HALF = "try:\n    from . import helper\nexcept Exception:\n    helper = None\n\n\ndef run():\n    return 1\n"
KEPT = "import abc\nabc.registry = getattr(abc, 'registry', {})\n\n\ndef value():\n    return 1\n\n\n"
KEPT += "abc.registry.setdefault('value', value)\n\n\ndef run():\n    return own() and abc.registry['value']()\n\n\n"
KEPT += "def own():\n    return 1\n"


def test_a_plugin_that_keeps_the_promises_passes(hotplug: Hotplug) -> None:
    """And serves in the sandbox as before: what is verified is a copy of what lies there now."""
    plugin = hotplug.create("fine", {"main.py": "def run():\n    return 1\n"})
    assert plugin.execute() == 1
    plugin.edit("main.py", "return 1", "return 2")
    assert_no_leaks(plugin, probe={"expect": 2})
    assert_survives_broken_version(plugin, probe={"expect": 2})
    assert_every_call_old_or_new(plugin, probe={"expect": 2})
    assert plugin.execute() == 2


@pytest.mark.parametrize(
    ("promise", "files", "said"),
    [
        (assert_no_leaks, {"main.py": LEAKS}, "main.py:5: thread that runs Event.wait: 1 more with each reload"),
        (
            assert_survives_broken_version,
            {"main.py": HALF, "helper.py": "A = 1\n"},
            "an exception at import of helper.py: the broken version serves all the same",
        ),
        (assert_every_call_old_or_new, {"main.py": KEPT}, "while versions changed"),
    ],
    ids=["leaks", "half a version", "mixed calls"],
)
def test_one_that_breaks_a_promise_fails_with_what_was_found(
    hotplug: Hotplug, promise: Any, files: dict[str, str], said: str
) -> None:
    """The finding, its line and what to do, as the verification tells them."""
    plugin = hotplug.create("bad", files, manifest={"hotplug": {"verify": {"probe": {}}}})
    with pytest.raises(AssertionError) as caught:
        promise(plugin)
    assert said in str(caught.value)


def test_an_exception_of_the_manifest_holds_here_too(hotplug: Hotplug) -> None:
    """It was given for a reason, until a day."""
    verify = {"probe": {}, "allow": {"no_leaked_threads": KNOWN, "memory_slope": KNOWN}}
    assert_no_leaks(hotplug.create("known", {"main.py": LEAKS}, manifest={"hotplug": {"verify": verify}}))


def test_single_checks_are_asserted_by_their_ids(hotplug: Hotplug, hotplug_verify: Any) -> None:
    """Those that are named, and no other; a name that is none is told with the near ones."""
    plugin = hotplug.create("bad", {"main.py": LEAKS})
    hotplug_verify(plugin, "environ_unchanged", "hooks_unchanged", probe={})
    with pytest.raises(AssertionError, match=r"main.py:5: thread that runs Event.wait"):
        hotplug_verify(plugin, "no_leaked_threads", probe={})
    with pytest.raises(UsageError, match=r"did you mean 'no_leaked_threads'.*\[unknown-check\]"):
        hotplug_verify(plugin, "no_leaked_thread")
    with pytest.raises(UsageError, match=r"'bad' is no plugin of the sandbox"):
        hotplug_verify("bad", "no_leaked_threads")


def test_calls_need_a_probe(hotplug: Hotplug) -> None:
    """An assertion that proved nothing does not pass."""
    with pytest.raises(UsageError, match=r"\[no-probe\]"):
        assert_every_call_old_or_new(hotplug.create("unused", {"main.py": "def run():\n    return 1\n"}))
