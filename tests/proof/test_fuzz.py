"""Whatever bytes stand in a plugin's files: the old version serves, or the new one does as a whole.

The plugins are the examples. Each of their files is cut off at every byte, its bytes are changed at
random, manifests say anything that JSON can say. A reload never raises; a refusal names the plugin
and a slug, and shows nothing of the reloader's inside. Long runs: `pytest tests/proof --soak 50`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_hotplug import KeptCurrent, Reloaded, Unchanged, Unloaded
from pytest_hotplug.reloader import looking, manifest
from pytest_hotplug.reloader.outcomes import Outcome
from tests.reloader.workshop import Workshop

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "example_plugins"
PLUGINS = ("counter", "greeter", "hot_reload_demo", "pipeline", "ticker")
ARGUMENTS: dict[str, dict[str, Any]] = {"greeter": {"name": "Ada"}, "pipeline": {"names": ["ada", "grace hopper"]}}
SLUGS = frozenset(re.findall(r"^## (\S+)$", (ROOT / "docs" / "messages.md").read_text("utf-8"), re.MULTILINE))
MANIFEST_KEYS = sorted(set(manifest.Manifest.__struct_fields__) - {"extra", "warnings", "file", "lines"})
PARAMETER_KEYS = sorted(manifest.Parameter.__struct_fields__)
FILES = [
    path.relative_to(EXAMPLES).as_posix()
    for path in sorted(EXAMPLES.rglob("*"))
    if path.suffix in (".py", ".json") and not path.name.startswith("test_") and path.parent.name != "tests"
]
CUT_ALWAYS = (  # at every byte in an ordinary run; the other files at every seventh
    "counter/core/count.py",
    "counter/main.py",
    "counter/plugin.json",
    "greeter/catalogue.json",
    "greeter/main.py",
    "greeter/plugin.json",
    "pipeline/plugin.json",
)


class Stand:
    """The example plugins under test: what is written is reloaded, and everything that must hold is looked at."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self.originals = {file: self._original(file) for file in FILES}
        for file in FILES:
            self._write(file, self.originals[file])
        self.manager = shop.manager(load_timeout=5, retire_timeout=5)
        self._said: list[str] = []
        self.manager.subscribe(self._heard)
        self._answers = {plugin: self._answer(plugin) for plugin in PLUGINS}
        self.outcomes: dict[str, int] = {}

    def _original(self, file: str) -> bytes:
        return (EXAMPLES / file).read_bytes().replace(b"from example_plugins.", f"from {self._shop.package}.".encode())

    def _write(self, file: str, data: bytes) -> None:
        plugin, _, inside = file.partition("/")
        self._shop.write(plugin, inside, data)

    def _heard(self, event: Any) -> None:
        if event.kind == "error":
            self._said.append(event.message)

    def _answer(self, plugin: str) -> Any:
        answer = self.manager.execute(plugin, **ARGUMENTS.get(plugin, {}))
        return sorted(answer) if plugin in ("hot_reload_demo", "ticker", "counter") else answer  # their values vary

    def put(self, file: str, data: bytes) -> Outcome:
        """Write a file, reload its plugin, and make sure of the promises."""
        plugin = file.partition("/")[0]
        before = self._serving()
        self._said.clear()
        self._write(file, data)
        outcome = self.manager.reload(plugin)
        self.outcomes[type(outcome).__name__] = self.outcomes.get(type(outcome).__name__, 0) + 1
        after = self._serving()
        if isinstance(outcome, Reloaded):
            assert after[plugin] is not before.get(plugin)
            assert outcome.serving == after[plugin].number
            assert self._bytes_of(after[plugin]) == self._disk(plugin)
        elif isinstance(outcome, Unloaded):
            assert outcome.reason == "disabled"
            assert json.loads(data)["enabled"] is False
            assert plugin not in after
        else:
            assert after == before
            self._assert_told(plugin, outcome)
        self._assert_nothing_left(after)
        return outcome

    def restore(self, file: str) -> None:
        """Put the original back: that is enough for the plugin to serve as in the beginning."""
        plugin = file.partition("/")[0]
        outcome = self.put(file, self.originals[file])
        if outcome.error is not None and outcome.error.slug == "state-refused":
            self.manager.unload(plugin)  # a half version handed over no state, or a wrong one: there is none now
            outcome = self.manager.reload(plugin)
        assert isinstance(outcome, (Reloaded, Unchanged)), outcome
        assert self._bytes_of(self._serving()[plugin]) == self._disk(plugin)
        assert self._answer(plugin) == self._answers[plugin]
        assert self.manager.get_plugin_hot_info(plugin)["state"] == "serving"

    def _serving(self) -> dict[str, Any]:
        return dict(self.manager._registry.serving)

    def _bytes_of(self, generation: Any) -> Mapping[str, bytes]:
        return dict(generation.snapshot.files)

    def _disk(self, plugin: str) -> Mapping[str, bytes]:
        root = self._shop.plugins / plugin
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def _assert_told(self, plugin: str, outcome: Outcome) -> None:
        if isinstance(outcome, Unchanged):
            return
        assert isinstance(outcome, KeptCurrent), outcome
        fault = outcome.error
        assert fault is not None, outcome
        for one in (fault, *fault.more):
            assert one.slug in SLUGS
            assert one.path is None or one.path.is_relative_to(self._shop.plugins)
        for text in self._said or [f"{plugin} {fault}"]:  # nothing is said of a version that was refused before
            assert plugin in text.splitlines()[0]
            assert f"[{fault.slug}]" in text
            assert all(line.isprintable() for line in text.splitlines()), text
            assert "Traceback" not in text
            assert "pytest_hotplug" not in text

    def _assert_nothing_left(self, serving: Mapping[str, Any]) -> None:
        """Every module of a plugin in sys.modules is the one that serves."""
        whole = {name: module for generation in serving.values() for name, module in generation.modules.items()}
        for name, module in list(sys.modules.items()):
            if name.startswith(f"{self._shop.package}."):
                assert whole.get(name) is module, f"{name} is left in sys.modules"


@pytest.fixture
def stand(shop: Workshop) -> Stand:
    """The example plugins, which serve."""
    return Stand(shop)


def fuzzing(examples: int, soak: float) -> Callable[[Any], Any]:
    """Return hypothesis' settings: repeatable in an ordinary run, longer ones look further."""
    return settings(
        max_examples=int(examples * soak),
        deadline=None,
        derandomize=soak == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of a half plugin's own thread
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_cut_off_anywhere(stand: Stand, file: str, soak: float) -> None:
    """F01 F05 D07 R31: a file of which only the beginning is there never breaks a reload, wherever it ends."""
    data = stand.originals[file]
    for length in range(0, len(data), 1 if file in CUT_ALWAYS or soak > 1 else 7):
        stand.put(file, data[:length])
    stand.restore(file)


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, Callable[[bytes], bytes]]:
    """Draw a file and what is done to its bytes: a bit flipped, a byte replaced, bytes added, left out or doubled."""
    file = draw(st.sampled_from([file for file in FILES if (EXAMPLES / file).stat().st_size]))
    place = draw(st.floats(0, 1, exclude_max=True))
    kind = draw(st.sampled_from(["flip", "replace", "insert", "delete", "double"]))
    bit, more, length = draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=4)), draw(st.integers(1, 20))

    def mutate(data: bytes) -> bytes:
        at = int(place * len(data))
        middle = {
            "flip": bytes([data[at] ^ (1 << bit)]) + data[at + 1 :],
            "replace": more[:1] + data[at + 1 :],
            "insert": more + data[at:],
            "delete": data[at + length :],
            "double": data[at : at + length] + data[at:],
        }
        return data[:at] + middle[kind]

    return file, mutate


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of a mutated plugin's own thread
def test_a_file_whose_bytes_are_changed_at_random(stand: Stand, soak: float) -> None:
    """F01 F05 R31: one flipped bit, one byte too many: a whole version or a clear refusal, and the original heals."""

    @fuzzing(400, soak)
    @given(mutations())
    def check(mutation: tuple[str, Callable[[bytes], bytes]]) -> None:
        file, mutate = mutation
        stand.put(file, mutate(stand.originals[file]))
        stand.restore(file)

    check()


@pytest.mark.timeout(3600)
def test_random_bytes_for_source(stand: Stand, soak: float) -> None:
    """F01 S27 R31: a main.py of random bytes, in any encoding that it claims, is refused."""

    @fuzzing(200, soak)
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.text("()[]{}:,.=+-*/%@~<>!#\"'\\ \t\r\nabx01_", max_size=60).map(str.encode),
            st.builds(
                lambda codec, data: f"# -*- coding: {codec} -*-\n".encode() + data,
                st.sampled_from(["latin-1", "utf-16", "utf-7", "rot13", "idna", "punycode", "unicode_escape", "nope"]),
                st.binary(max_size=60),
            ),
        )
    )
    def check(data: bytes) -> None:
        assert isinstance(stand.put("greeter/main.py", data), KeptCurrent)
        stand.restore("greeter/main.py")

    check()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(
        ["main.run", "greeter", "counter", "*", "[", "stop-first", ">=3", "integer", "../x", "\0", "a;b"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(PARAMETER_KEYS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("key", MANIFEST_KEYS)
def test_a_manifest_key_of_any_value(stand: Stand, key: str, soak: float) -> None:
    """F05 S18-S26 R31: whatever JSON stands behind a key, it is taken as promised or refused with its place."""
    table = json.loads(stand.originals["greeter/plugin.json"])

    @fuzzing(25, soak)
    @given(JSON)
    def check(value: Any) -> None:
        stand.put("greeter/plugin.json", json.dumps({**table, key: value}).encode())
        stand.restore("greeter/plugin.json")

    check()


@pytest.mark.timeout(3600)
def test_parameters_of_any_kind(stand: Stand, soak: float) -> None:
    """F05 S26 R31: declarations of parameters may say anything; those that serve can be asked for."""
    table = json.loads(stand.originals["greeter/plugin.json"])

    @fuzzing(60, soak)
    @given(st.dictionaries(st.sampled_from(["name", "language", "other", ""]), st.fixed_dictionaries(
        {}, optional={key: JSON | st.sampled_from(["string", "integer", "array"]) for key in PARAMETER_KEYS}
    ), max_size=3))  # fmt: skip
    def check(parameters: dict[str, Any]) -> None:
        stand.put("greeter/plugin.json", json.dumps({**table, "parameters": parameters}).encode())
        stand.restore("greeter/plugin.json")

    check()


ODD_MANIFESTS: dict[str, dict[str, Any]] = {
    "an endless load_timeout": {"load_timeout": 1e300},
    "no load_timeout": {"load_timeout": 0},
    "a tiny load_timeout": {"load_timeout": 5e-324},
    "an endless retire_timeout": {"retire_timeout": 1e300, "handover": "stop-first"},
    "no retire_timeout": {"retire_timeout": 0, "handover": "stop-first"},
    "a marker that can't be evaluated": {"dependencies": ["pytest; os_name ~= 'a'"]},
    "a marker of an extra": {"dependencies": ["pytest; extra == 'a'"]},
    "a requirement by address": {"dependencies": ["pytest @ file:///nowhere"]},
    "an arbitrary version": {"dependencies": ["pytest===what"], "python_version": "===what"},
    "everything ignored": {"watch_ignore": ["*"]},
    "the manifest ignored": {"watch_ignore": ["plugin.json"]},
    "a pattern that never ends": {"watch_ignore": ["[", "[!", "*" * 30 + "x", "[z-a]"]},
    "itself as a dependency": {"depends_on": ["greeter"]},
    "a circle": {"depends_on": ["pipeline"]},
    "a dependency twice": {"depends_on": ["counter", "counter"]},
    "a dependency with a path": {"depends_on": ["../counter", "counter/main.py", ""]},
    "an entry with a newline": {"entry_point": "main.run\n"},
    "an entry of a class": {"entry_point": "main.Any"},
    "an entry in a package": {"entry_point": "__init__.greeting"},
    "a key like a method": {"__class__": 1, "__init__": 2},
}


@pytest.mark.parametrize("case", ODD_MANIFESTS)
def test_an_odd_manifest(stand: Stand, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F05 S17 S26 R31: values that are well typed and still strange."""
    monkeypatch.setattr(looking, "RACY_NS", 0)  # as if each edit were seconds after the one before
    table = json.loads(stand.originals["greeter/plugin.json"])
    stand.put("greeter/plugin.json", json.dumps({**table, **ODD_MANIFESTS[case]}).encode())
    stand.restore("greeter/plugin.json")


ODD_SOURCES = {
    "deep brackets": b"x = " + b"(" * 5_000 + b")" * 5_000,
    "deep signs": b"x = " + b"-" * 50_000 + b"1",
    "deep attributes": b"x = 1" + b".real" * 50_000,
    "deep blocks": b"".join(b" " * i + b"if 1:\n" for i in range(150)),
    "many else": b"if 1: pass\n" + b"elif 1: pass\n" * 5_000,
    "a long sum": b"x = " + b"+".join([b"1"] * 50_000),
    "a huge power": b"x = 9 ** 9 ** 9 if 0 else 1\n",
    "a huge number": b"x = " + b"9" * 10_000,
    "a huge string": b"x = '" + b"a" * 1_000_000 + b"'",
    "an encoding that warns": b"# coding: unicode_escape\n\\\x01",
    "null bytes": b"\0" * 100,
    "a form feed": b"\f\n" * 100,
    "a mark of byte order": b"\xef\xbb\xbf# coding: latin-1\n",
    "half a character": b"x = '\xc3'\n",
    "the end of DOS": b"x = 1\n\x1a",
    "old line ends": b"x = 1\rdef run(:\r",
    "an exception that can't be told": b"class E(Exception):\n def __str__(self):\n  raise E\nraise E\n",
    "an exception group": b"raise ExceptionGroup('many', [ValueError(1), KeyError(2)])\n",
    "an exception of many lines": b"raise ValueError('\\n\\x1b[31m' * 1000)\n",
    "an exception with a surrogate": b"raise ValueError('\\ud800')\n",
    "its own modules deleted": b"import sys\nfor n in [*sys.modules]:\n if __package__ in n: del sys.modules[n]\n1/0\n",
    "a package in its own place": b"import sys, types\nsys.modules[__name__] = types.ModuleType('other')\n1/0\n",
    "a changed file name": b"__file__ = 7\n__spec__ = None\n__name__ = None\n1/0\n",
}  # fmt: skip


@pytest.mark.parametrize("case", ODD_SOURCES)
def test_an_odd_source(stand: Stand, case: str) -> None:
    """F01 F07 F10 S27 R31: sources that bring compilers, readers of errors and import systems to their limits."""
    outcome = stand.put("greeter/main.py", ODD_SOURCES[case])
    assert isinstance(outcome, KeptCurrent), outcome
    stand.restore("greeter/main.py")


def test_the_first_version_may_be_anything(shop: Workshop) -> None:
    """F01 R31: with no version before it a broken one is refused as clearly, and the whole one loads."""
    shop.plugin("subject", "def run(): return 1\n")
    manager = shop.manager()
    data = (EXAMPLES / "hot_reload_demo" / "main.py").read_bytes()
    for length in range(0, len(data), 50):
        shop.write("subject", "main.py", data[:length])
        outcome = manager.reload("subject")
        assert isinstance(outcome, KeptCurrent), outcome
        assert outcome.serving is None
        assert outcome.error is not None
        assert outcome.error.slug in SLUGS
        assert [name for name in sys.modules if name.startswith(shop.public("subject"))] == []
    shop.write("subject", "plugin.json", b'{"entry_point": "main.demo_function"}')
    shop.write("subject", "main.py", data)
    assert manager.execute("subject")["status"] == "success"


def test_every_key_is_fuzzed() -> None:
    """The keys that are tried are those that there are."""
    assert set(MANIFEST_KEYS) >= {"name", "entry_point", "depends_on", "watch_ignore", "load_timeout"}
    assert {field.name for field in msgspec.structs.fields(manifest.Manifest)} >= set(MANIFEST_KEYS)
