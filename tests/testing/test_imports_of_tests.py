"""The modules of test files: made once, whole for every thread, and gone when their code fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.testing.imports import PluginTestModules
from pytest_hotplug.testing.places import Place, Places, PluginRoot


class Tests:
    """One plugin's test directory and the modules made of it."""

    __test__ = False

    def __init__(self, path: Path) -> None:
        self.directory = path / "plugins" / "greeter" / "tests"
        self.directory.mkdir(parents=True)
        (self.directory.parent / "main.py").write_text("raise SystemExit('plugin code was executed')")
        self.modules = PluginTestModules(Places([PluginRoot(path / "plugins", "plugins")]))

    def write(self, name: str, text: str) -> Place:
        (self.directory / name).write_text(text)
        place = self.modules.places.of_path(self.directory / name)
        assert place is not None
        return place

    def load(self, name: str, text: str) -> Any:
        return self.modules.load(self.write(name, text))


@pytest.fixture
def tests(tmp_path: Path) -> Iterator[Tests]:
    before = set(sys.modules)
    yield Tests(tmp_path)
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "plugins":
            del sys.modules[name]


def test_threads_that_need_one_file_wait_for_it(tests: Tests) -> None:
    """Two threads that import the same support file get one module, executed once and complete."""
    text = "import threading\nSTARTED, GO = threading.Event(), threading.Event()\nRUNS = []\n"
    tests.load("events.py", text)
    slow = "from .events import STARTED, GO, RUNS\nRUNS.append(1)\nSTARTED.set()\nassert GO.wait(20)\nDONE = True\n"
    place = tests.write("slow.py", slow)
    events: Any = sys.modules["plugins.greeter.tests.events"]
    with ThreadPoolExecutor() as threads:
        first = threads.submit(tests.modules.load, place)
        assert events.STARTED.wait(20)
        second = threads.submit(lambda: (tests.modules.load(place), vars(sys.modules[place.name])["DONE"]))
        events.GO.set()
        assert second.result(20) == (first.result(20), True)
    assert events.RUNS == [1]


def test_files_may_import_each_other(tests: Tests) -> None:
    """A circle of support files ends as it does in Python: the second sees the first half-made."""
    tests.write("one.py", "A = 1\nfrom . import two\nB = 2\n")
    two = tests.load("two.py", "from . import one\nSEEN = hasattr(one, 'B')\n")
    one: Any = sys.modules["plugins.greeter.tests.one"]
    assert (one.two, two.one, two.SEEN) == (two, one, True)


def test_a_file_that_fails_leaves_no_module(tests: Tests) -> None:
    """After an error the file can be mended and imported again in the same process."""
    place = tests.write("support.py", "raise RuntimeError('not yet')")
    with pytest.raises(RuntimeError, match="not yet"):
        tests.modules.load(place)
    assert place.name not in sys.modules
    assert tests.load("support.py", "MENDED = True\n# longer").MENDED


def test_a_file_that_is_not_there_is_named(tests: Tests) -> None:
    """A missing support file is an ordinary ModuleNotFoundError with its public name, and runs no plugin."""
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'plugins\.greeter\.tests\.nosuch'") as error:
        tests.load("asks.py", "from .nosuch import x\n")
    assert error.value.name == "plugins.greeter.tests.nosuch"


def test_names_that_a_module_takes_from_builtins_are_the_present_ones(
    tests: Tests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`monkeypatch` on builtins reaches test code, `__import__` included, and is undone with it."""
    text = "def ask():\n    return input()\ndef fetch():\n    import nowhere\n    return nowhere\n"
    support = tests.load("support.py", text + "class Made: pass\n")
    with monkeypatch.context() as patched:
        patched.setattr("builtins.input", lambda: "yes")
        patched.setattr("builtins.__import__", lambda name, *args: name)
        assert support.ask() == "yes"
        assert support.fetch() == "nowhere"
    with pytest.raises(ModuleNotFoundError):
        support.fetch()
    assert isinstance(support.Made, type)


def test_what_test_code_pickles_is_what_it_would_be_elsewhere(tests: Tests) -> None:
    """Iterators and methods can be pickled and copied in a plugin's test as in any other file."""
    text = "import copy, pickle\ndef both(value):\n    return pickle.loads(pickle.dumps(value)), copy.copy(value)\n"
    support = tests.load("support.py", text)
    for value in (iter([1]), reversed([1]), iter({1: 2}), iter("1"), enumerate([1]), zip([1], [2], strict=True)):
        pickled, copied = support.both(value)
        assert list(pickled) == list(copied)
    for method in ("".join, list.append, dict.fromkeys):
        pickled, copied = support.both(method)
        assert pickled == copied == method


def test_two_files_that_would_have_one_name_are_refused(tests: Tests) -> None:
    """`test_a.b.py` and `test_a_b.py` would be the same module: the second says which file has the name."""
    first, second = tests.write("test_a_b.py", ""), tests.write("test_a.b.py", "")
    assert first == second
    tests.modules.load_file(first, tests.directory / "test_a_b.py")
    with pytest.raises(ImportError, match=r"test_a_b is imported from .*test_a_b\.py already"):
        tests.modules.load_file(second, tests.directory / "test_a.b.py")


def test_the_packages_around_test_files_are_not_made(tests: Tests) -> None:
    """Importing test files leaves only test-side names in sys.modules: nothing of the plugin, not its parent."""
    tests.write("other.py", "")
    tests.load("support.py", "from . import other\n")
    assert {name for name in sys.modules if name.split(".")[0] == "plugins"} == {
        "plugins.greeter.tests",
        "plugins.greeter.tests.other",
        "plugins.greeter.tests.support",
    }
