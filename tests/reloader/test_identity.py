"""Which module a name means: one object per generation, whatever form the import has."""

from __future__ import annotations

import builtins
import gc
import importlib
import inspect
import pickle
import sys
import threading
import traceback
import typing
from types import CodeType, ModuleType
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, Reloaded
from pytest_hotplug.reloader.code import compile_with
from tests.reloader.workshop import PATIENCE, Workshop, running


def reloaded(shop: Workshop, before: dict[str, str], after: dict[str, str]) -> Any:
    """Load `before`, bring `after` to disk, and return the manager."""
    shop.plugin("subject", before)
    manager = shop.manager()
    manager.load("subject")
    for file, text in after.items():
        shop.write("subject", file, text)
    return manager


def test_every_form_of_import_gives_the_same_module_object(shop: Workshop) -> None:
    """L04: relative, full, renamed, from-package and flat imports mean one module, at import time and later."""
    full = shop.public("subject", "helper")
    main = f"""
from . import helper as relative
import {full}
import {full} as renamed
from {shop.public("subject")} import helper as from_package
import helper as flat
import importlib
by_name = importlib.import_module(".helper", __package__)
AT_IMPORT = [relative, {full}, renamed, from_package, flat, by_name]
def run():
    from . import helper as relative
    import {full}
    import {full} as renamed
    from {shop.public("subject")} import helper as from_package
    import helper as flat
    return AT_IMPORT + [relative, {full}, renamed, from_package, flat, __import__("helper")]
"""
    shop.plugin("subject", {"main.py": main, "helper.py": "N = 1\n"})
    path = list(sys.path)
    manager = shop.manager()
    modules = manager.execute("subject")
    assert {id(module) for module in modules} == {id(manager.module("subject", "helper"))}
    assert sys.modules[full] is modules[0]
    assert "helper" not in sys.modules
    assert sys.path == path


def test_packages_inside_a_plugin_import_in_every_form(shop: Workshop) -> None:
    """Flat names reach into packages too: `import core.db`, `from core.db import x`, `from ..core import db`."""
    files = {
        "main.py": "import core.db\nimport core.db as db\nfrom core.db import N\nfrom core import db as d\n"
        "from sub import leaf\ndef run(): return core.db is db is d is leaf.up, N, leaf.N\n",
        "core/__init__.py": "",
        "core/db.py": "N = 4\n",
        "sub/leaf.py": "from ..core import db as up\nfrom ..core.db import N\n",
    }
    shop.plugin("subject", files)
    assert shop.manager().execute("subject") == (True, 4, 4)


def test_two_plugins_with_utils_never_see_each_others(shop: Workshop) -> None:
    """L04 R8: both own `utils`, both import it flat and late, both run at once."""
    for name in ("one", "two"):
        main = "def run():\n    import utils\n    from utils import NAME\n    return utils.NAME, NAME\n"
        shop.plugin(name, {"main.py": main, "utils.py": f"NAME = {name!r}\n"})
    manager = shop.manager()
    wrong: list[Any] = []

    def call(name: str) -> None:
        for number in range(60):
            if (got := manager.execute(name)) != (name, name):
                wrong.append(got)
            if number % 10 == 0:
                manager.force_reload_plugin(name)

    with running(lambda: call("one"), lambda: call("two"), lambda: call("one"), lambda: call("two")) as errors:
        pass
    assert (errors, wrong) == ([], [])
    assert "utils" not in sys.modules


def test_flat_names_mean_standard_library_then_own_then_installed(shop: Workshop) -> None:
    """S16: a plugin's json.py hides nothing, its own pytest.py comes before the installed one."""
    main = (
        "import json, pytest, msgspec\nfrom . import json as own\n"
        "def run(): return json.dumps([1]), pytest.N, own.N, msgspec.__name__\n"
    )
    shop.plugin("subject", {"main.py": main, "json.py": "N = 'own json'\n", "pytest.py": "N = 'own pytest'\n"})
    assert shop.manager().execute("subject") == ("[1]", "own pytest", "own json", "msgspec")
    assert sys.modules["pytest"] is pytest


def test_a_helper_that_was_edited_is_served_through_names(shop: Workshop) -> None:
    """L01: `from .util import f` gives the new f."""
    manager = reloaded(
        shop,
        {"main.py": "from .util import f\ndef run(): return f()\n", "util.py": "def f(): return 1\n"},
        {"util.py": "def f(): return 2\n"},
    )
    assert manager.execute("subject") == 2


def test_a_constant_that_is_handed_on_follows(shop: Workshop) -> None:
    """L02: re-exports through the package's __init__ are new as well."""
    files = {"__init__.py": "from .util import V as API\n", "main.py": "from .util import V\nfrom . import API\n"}
    manager = reloaded(
        shop,
        {**files, "main.py": files["main.py"] + "def run(): return V, API\n", "util.py": "V = 1\n"},
        {"util.py": "V = 2\n"},
    )
    assert manager.execute("subject") == (2, 2)


def test_a_star_import_gets_new_names(shop: Workshop) -> None:
    """L03: `from .util import *` brings what the new util has, and what its __all__ names."""
    manager = reloaded(
        shop,
        {"main.py": "from .util import *\ndef run(): return a\n", "util.py": "a = 1\n"},
        {"main.py": "from .util import *\ndef run(): return a, b\n", "util.py": "a = 2\nb = 3\n"},
    )
    assert manager.execute("subject") == (2, 3)


def test_a_plugin_that_imports_another_one_serves_its_new_code(shop: Workshop) -> None:
    """L05: B is served with the new A after A alone was edited."""
    shop.plugin("aa", "N = 1\ndef run(): return N\n")
    shop.plugin("bb", f"from {shop.package}.aa.main import N\ndef run(): return N\n")
    manager = shop.manager()
    assert manager.execute("bb") == 1
    shop.write("aa", "main.py", "N = 2\ndef run(): return N\n")
    assert manager.execute("bb") == 2
    assert manager.get_plugin_hot_info("bb")["depends_on"] == ["aa"]


def test_circular_imports_reload_together(shop: Workshop) -> None:
    """L06: main and util import each other, both are edited."""
    main = "from . import util\nN = {n}\ndef run(): return N, util.both()\n"
    util = "from . import main\nM = {n}\ndef both(): return main.N, M\n"
    manager = reloaded(
        shop,
        {"main.py": main.format(n=1), "util.py": util.format(n=1)},
        {"main.py": main.format(n=2), "util.py": util.format(n=2)},
    )
    assert manager.execute("subject") == (2, (2, 2))


CLASSES = """
import enum, functools, dataclasses
class Base:
    def name(self): return {n}
class Child(Base):
    KIND = {n}
    def name(self, extra={n}): return super(Child, self).name(), extra, self.KIND
@dataclasses.dataclass
class Point:
    x: int = {n}
    {field}
class Color(enum.Enum):
    RED = {n}
def wrap(f):
    @functools.wraps(f)
    def inner(*a): return ({n}, f(*a))
    return inner
@wrap
def wrapped(): return {n}
@functools.lru_cache
def cached(): return {n}
def make():
    def handler(): return {n}
    return handler
HANDLERS = {{"x": make()}}
def __getattr__(name):
    if name == "lazy": return {n}
    raise AttributeError(name)
def run():
    from . import main
    return [Child().name(), Point().x, Color.RED.value, wrapped(), cached(), HANDLERS["x"](), main.lazy]
"""


def test_every_kind_of_definition_is_new_and_the_old_ones_still_work(shop: Workshop) -> None:
    """L10 L11 L12 L13 L15 L16 L19 L20: nothing of the old version leaks into the new one, nor the reverse."""
    manager = reloaded(
        shop,
        {"main.py": CLASSES.format(n=1, field="")},
        {"main.py": CLASSES.format(n=2, field="y: int = 3")},
    )
    old = manager.module("subject", "main")
    child, handler = old.Child(), old.HANDLERS["x"]
    assert manager.execute("subject") == [(2, 2, 2), 2, 2, (2, 2), 2, 2, 2]
    assert (child.name(), handler(), old.cached()) == ((1, 1, 1), 1, 1)
    assert manager.module("subject", "main").Point(1).y == 3
    with pytest.raises(AttributeError):
        _ = old.Point(1).y


def test_a_function_that_was_removed_is_gone(shop: Workshop) -> None:
    """L14: the name vanishes, also for those who look it up by its public name."""
    manager = reloaded(shop, {"main.py": "def old(): pass\ndef run(): pass\n"}, {"main.py": "def run(): pass\n"})
    manager.reload("subject")
    assert not hasattr(sys.modules[shop.public("subject", "main")], "old")


def test_a_resource_changes_together_with_the_code(shop: Workshop) -> None:
    """L17: importlib.resources serves each version its own data, in flight and after."""
    main = (
        "import importlib.resources, pkgutil\nN = {n}\n"
        "def read(): return [N, importlib.resources.files(__package__).joinpath('data', 'x.json').read_text(), "
        "pkgutil.get_data(__name__, 'data/x.json').decode()]\ndef run(): return read()\n"
    )
    shop.plugin("subject", {"main.py": main.format(n=1), "data/x.json": "1", "data/note.txt": "text"})
    manager = shop.manager()
    assert manager.execute("subject") == [1, "1", "1"]
    shop.write("subject", "data/x.json", "2")
    shop.write("subject", "main.py", main.format(n=2))
    assert manager.execute("subject") == [2, "2", "2"]
    package = importlib.resources.files(manager.module("subject"))
    assert sorted(item.name for item in package.joinpath("data").iterdir()) == ["note.txt", "x.json"]
    assert package.joinpath("data/note.txt").read_bytes() == b"text"
    with pytest.raises(FileNotFoundError):
        package.joinpath("nothing").read_text()


def test_a_directory_without_init_is_a_package_too(shop: Workshop) -> None:
    """L18: helpers in a namespace package reload like others."""
    manager = reloaded(
        shop,
        {"main.py": "from .space.helper import N\ndef run(): return N\n", "space/helper.py": "N = 1\n"},
        {"space/helper.py": "N = 2\n"},
    )
    assert manager.execute("subject") == 2


def test_current_instances_pickle(shop: Workshop) -> None:
    """L07: names are the same in every generation, so bytes of an old instance load as the new class."""
    code = "class Thing:\n    def __init__(self): self.n = 1\n    VERSION = {n}\ndef run(): return Thing()\n"
    manager = reloaded(shop, {"main.py": code.format(n=1)}, {"main.py": code.format(n=2)})
    old = pickle.dumps(manager.load("subject").entry.function())
    new = manager.execute("subject")
    again = pickle.loads(pickle.dumps(new))
    assert type(again) is type(new)
    assert (pickle.loads(old).n, pickle.loads(old).VERSION) == (1, 2)


def test_sources_and_tracebacks_show_the_new_lines(shop: Workshop) -> None:
    """M02 M03: after a reload, inspect and tracebacks show what runs, not what ran."""
    manager = reloaded(
        shop,
        {"main.py": "def run():\n    raise ValueError('first')\n"},
        {"main.py": "# moved\n\ndef run():\n    raise ValueError('second')\n"},
    )
    with pytest.raises(ValueError, match="second") as caught:
        manager.execute("subject")
    text = "".join(traceback.format_exception(caught.value))
    assert "main.py\", line 4, in run\n    raise ValueError('second')" in text
    assert inspect.getsource(manager.module("subject", "main").run).endswith("raise ValueError('second')\n")


def test_types_resolve_in_the_current_module(shop: Workshop) -> None:
    """Dataclasses and type hints with string annotations find their module while it is loaded, and after."""
    main = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import get_type_hints\n"
    main += "class Other: pass\n@dataclass\nclass Rec:\n    other: Other\n    number: int = {n}\n"
    main += "HINTS = get_type_hints(Rec)\ndef run(): return HINTS['other'] is Other, Rec(Other()).number\n"
    manager = reloaded(shop, {"main.py": main.format(n=1)}, {"main.py": main.format(n=2)})
    assert manager.execute("subject") == (True, 2)
    current = manager.module("subject", "main")
    assert typing.get_type_hints(current.Rec)["other"] is current.Other


# -- from outside --------------------------------------------------------------------------------


def test_importing_a_public_name_loads_the_plugin_and_follows_it(shop: Workshop) -> None:
    """`import plugins.x.main` outside loads what a manager knows; a new import gives the newest generation."""
    shop.plugin("subject", "N = 1\ndef run(): return N\n")
    manager = shop.manager()
    manager.discover()
    name = shop.public("subject", "main")
    first = importlib.import_module(name)
    assert first is manager.module("subject", "main")
    shop.write("subject", "main.py", "N = 2\ndef run(): return N\n")
    manager.reload("subject")
    second = importlib.import_module(name)
    assert (first.N, second.N) == (1, 2)
    assert second is manager.module("subject", "main")
    assert getattr(sys.modules[shop.package], "subject") is manager.module("subject")  # noqa: B009  # a name of the test's own
    manager.unload("subject")
    assert name not in sys.modules


def test_a_plugin_that_came_later_can_be_imported_at_once(shop: Workshop) -> None:
    """N14: a plugin that was put there after the manager's last look is found by imports, inside and outside."""
    shop.plugin("first", f"def run():\n    from {shop.package}.second.main import N\n    return N\n")
    manager = shop.manager()
    manager.load("first")
    shop.plugin("second", "N = 2\ndef run(): return N\n")
    assert manager.execute("first") == 2
    shop.plugin("third", "N = 3\ndef run(): return N\n")
    assert importlib.import_module(shop.public("third", "main")).N == 3
    assert "third" in manager.discover()
    assert list(shop.plugins.rglob("__pycache__")) == []


def test_importing_a_broken_plugin_is_an_import_error_that_says_why(shop: Workshop) -> None:
    """From outside, a plugin that can't be loaded fails as imports do, with the fault's own text."""
    shop.plugin("subject", "def run(:\n")
    shop.manager().discover()
    with pytest.raises(ImportError, match=r"main.py:1 .*\[syntax-error\]|syntax-error"):
        importlib.import_module(shop.public("subject", "main"))


def test_a_module_that_was_imported_before_is_replaced_and_returns(shop: Workshop, caplog: Any) -> None:
    """A module that ordinary machinery imported is replaced at the first load with one warning, and comes back."""
    shop.plugin("subject", "def run(): return 1\n")
    name = shop.public("subject")
    before = ModuleType(name)
    sys.modules[name] = before
    try:
        manager = shop.manager()
        manager.load("subject")
        assert sys.modules[name] is manager.module("subject")
        assert [r.message for r in caplog.records if r.levelname == "WARNING"] == ["hotplug.imported_before_load"]
        manager.close()
        assert sys.modules[name] is before
    finally:
        sys.modules.pop(name, None)
        sys.modules.pop(shop.package, None)


def test_the_own_package_prefix_leaves_with_the_last_manager(shop: Workshop) -> None:
    """A prefix that only we could find is in sys.modules no longer than a plugin needs it."""
    shop.plugin("subject", "def run(): return 1\n")
    with shop.manager() as manager:
        manager.load("subject")
        assert shop.package in sys.modules
    assert shop.package not in sys.modules


# -- layouts -------------------------------------------------------------------------------------


def test_a_dotted_package_is_a_prefix_of_several_parts(shop: Workshop) -> None:
    """`package = "app.addons"`: full, relative and outside imports work below it."""
    package = f"{shop.package}.addons.v1"
    main = f"import {package}.subject.part\nfrom {package}.subject import part\nimport {package}.subject.part as p\n"
    main += f"def run(): return {package}.subject.part is part is p, __name__\n"
    shop.plugin("subject", {"main.py": main, "part.py": ""})
    manager = shop.manager(package=package)
    assert manager.execute("subject") == (True, f"{package}.subject.main")
    assert importlib.import_module(f"{package}.subject.part") is manager.module("subject", "part")
    manager.close()
    assert [name for name in sys.modules if name.startswith(shop.package)] == []


def test_without_a_package_a_plugin_is_a_top_level_package(shop: Workshop) -> None:
    """`package = ""`: families that import themselves absolutely work; in-flight code keeps its own modules."""
    name = f"top_{shop.package}"
    main = f"import {name}.part\nfrom {name}.part import N\n"
    main += f"def run():\n    import {name}.late\n    return N, {name}.late.N\n"
    shop.plugin(name, {"main.py": main, "part.py": "N = 1\n", "late.py": "N = 1\n"})
    manager = shop.manager(package="")
    assert manager.execute(name) == (1, 1)
    old = manager.load(name)
    for file in ("part.py", "late.py"):
        shop.write(name, file, "N = 2\n")
    assert manager.execute(name) == (2, 2)
    assert old.entry is not None
    assert old.entry.function() == (1, 1)
    assert sys.modules[name] is manager.module(name)
    manager.close()
    assert name not in sys.modules


@pytest.mark.parametrize("name", ["json", "pytest", "py"])
def test_without_a_package_no_plugin_may_hide_a_module(shop: Workshop, name: str) -> None:
    """S2: a plugin named like a standard or installed module is refused there, and harmless under a prefix."""
    shop.plugin(name, "def run(): return 'plugin'\n")
    assert shop.manager().execute(name) == "plugin"
    with pytest.raises(PluginLoadError, match=r"\[shadowed-name\]"):
        shop.manager(package="").execute(name)
    assert sys.modules["pytest"] is pytest


def test_a_foreign_family_works_unchanged(shop: Workshop) -> None:
    """info.json, setup and teardown in __init__.py, requirements under another name, a display name of any type."""
    files = {
        "__init__.py": "STEPS = []\ndef setup(bot): STEPS.append(('setup', bot))\n"
        "def teardown(bot): STEPS.append(('teardown', bot))\ndef main(text): return text.upper()\n",
        "info.json": '{"name": {"en": "Nice"}, "tags": 3, "requirements": ["msgspec"], "anything": [1]}',
    }
    shop.plugin("family", files)
    manager = shop.manager(
        manifest="info.json",
        entry="__init__:main",
        on_load="__init__:setup",
        on_unload="__init__:teardown",
        manifest_keys={"dependencies": "requirements"},
    )
    manager._host.set("the bot")
    assert manager.execute("family", text="hi") == "HI"
    generation = manager.load("family")
    assert generation.manifest.packages == ("msgspec",)
    assert generation.manifest.extra == {"anything": [1]}
    steps = manager.module("family").STEPS
    assert steps == [("setup", "the bot")]
    manager.unload("family")
    assert steps == [("setup", "the bot"), ("teardown", "the bot")]


def test_the_first_manifest_that_exists_counts(shop: Workshop) -> None:
    """`manifest` may be a list: the first one found is read."""
    shop.plugin(
        "family", {"main.py": "def run(): return 1\n", "b.json": '{"version": "b"}', "c.json": '{"version": "c"}'}
    )
    manager = shop.manager(manifest=["a.json", "b.json", "c.json"])
    assert manager.load("family").version == "b"


def test_an_extension_module_is_refused_by_name(shop: Workshop) -> None:
    """S15 N11: what can't be unloaded can't be hot; as a dependency it keeps its identity."""
    from importlib.machinery import EXTENSION_SUFFIXES

    shop.plugin("subject", {"main.py": "import msgspec\ndef run(): return msgspec\n"})
    manager = shop.manager()
    import msgspec

    assert manager.execute("subject") is msgspec
    manager.force_reload_plugin("subject")
    assert manager.execute("subject") is msgspec
    shop.write("subject", f"fast{EXTENSION_SUFFIXES[0]}", b"\0")
    shop.write("subject", "main.py", "def run(): return 2\n")
    outcome = manager.reload("subject")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == "extension-module"


def test_old_generations_are_collected(shop: Workshop) -> None:
    """M01 R28: after many reloads of a plugin with dataclasses, caches and lambdas at most two versions are alive."""
    main = "from dataclasses import dataclass\nimport typing, functools, enum\nfrom . import part\n"
    main += "@dataclass\nclass Big:\n    data: typing.Optional[list[int]] = None\n    f = lambda self: part\n"
    main += "class E(enum.Enum):\n    A = 1\n@functools.lru_cache\ndef run(): return {n}\n"
    shop.plugin("subject", {"main.py": main.format(n=0), "part.py": "N = 1\n"})
    manager = shop.manager()
    for number in range(1, 8):
        shop.write("subject", "main.py", main.format(n=number))
        assert isinstance(manager.reload("subject"), Reloaded)
        assert manager.execute("subject") == number
    gc.collect()
    assert manager.get_plugin_hot_info("subject")["generations_alive"] == 1
    kept = manager.load("subject")
    manager.force_reload_plugin("subject")
    gc.collect()
    assert manager.get_plugin_hot_info("subject")["generations_alive"] == 2
    del kept
    gc.collect()
    assert manager.get_plugin_hot_info("subject")["generations_alive"] == 1


def test_a_module_whose_import_fails_is_handed_to_nobody(shop: Workshop) -> None:
    """L: who asks for it while another thread's import of it fails gets it from an import of its own."""
    lazy = (
        "import builtins\nbuiltins.tries += 1\nif builtins.tries == 1:\n    builtins.begun.set()\n"
        "    builtins.go_on.wait(60)\n    raise RuntimeError('the first try fails')\nEND = 1\n"
    )
    shop.plugin("greeter", {"main.py": "def run(): return 1\n", "lazy.py": lazy}, {"version": "1"})
    begun, go_on = threading.Event(), threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("tries", 0), ("begun", begun), ("go_on", go_on)):
            patch.setattr(builtins, name, value, raising=False)
        namespace = shop.manager().load("greeter").namespace
        full = namespace.full_name("lazy")

        class HandsOver(dict[str, ModuleType]):
            """Lets the import that fails come to its end just after another thread has found its module."""

            def get(self, name: str, default: Any = None) -> Any:
                found = super().get(name, default)
                if name == full and found is not None and threading.current_thread() is not failing:
                    go_on.set()
                    failing.join()
                return found

        namespace.modules = HandsOver(namespace.modules)
        errors: list[BaseException] = []

        def fail() -> None:
            try:
                namespace.load(full)
            except RuntimeError as error:
                errors.append(error)

        failing = threading.Thread(target=fail)
        failing.start()
        assert begun.wait(PATIENCE)
        assert namespace.load(full).END == 1
    assert [str(error) for error in errors] == ["the first try fails"]


def test_a_module_that_replaces_itself_is_what_a_late_import_gets(shop: Workshop) -> None:
    """L: what a module puts into sys.modules in its own place counts, whenever it is imported."""
    itself = "import sys, types\nclass M(types.ModuleType): KIND = 'wished'\nsys.modules[__name__] = M(__name__)\n"
    main = "def run():\n    from . import itself\n    return itself.KIND\n"
    shop.plugin("greeter", {"main.py": main, "itself.py": itself}, {"version": "1"})
    manager = shop.manager()
    assert (manager.execute("greeter"), manager.execute("greeter")) == ("wished", "wished")


def test_a_source_that_watch_ignore_names_is_new_with_the_next_version(shop: Workshop) -> None:
    """L: it is no change of its own, and a version that is loaded for another one executes its newest bytes."""
    main = "from .made import X\nN = {n}\ndef run(): return N, X\n"
    files = {"main.py": main.format(n=1), "made.py": "X = 1\n"}
    shop.plugin("greeter", files, {"version": "1", "watch_ignore": ["made.py"]})
    manager = shop.manager()
    assert manager.execute("greeter") == (1, 1)
    shop.write("greeter", "made.py", "X = 2\n")
    assert manager.execute("greeter") == (1, 1)
    shop.write("greeter", "main.py", main.format(n=2))
    assert manager.execute("greeter") == (2, 2)


def test_a_late_import_is_compiled_as_everything_is_by_then(shop: Workshop) -> None:
    """What records tests compiles what is imported from then on, and no longer once it has ended."""
    lazy = "def f(): return 1\n"
    main = (
        "def run():\n    from . import first\n    return first.f()\n"
        "def again():\n    from . import second\n    return second.f()\n"
    )
    shop.plugin("greeter", {"main.py": main, "first.py": lazy, "second.py": lazy}, {"version": "1"})

    def other(data: bytes, filename: str) -> CodeType:
        return compile(data.replace(b"return 1", b"return 2"), filename, "exec", dont_inherit=True)

    manager = shop.manager()
    manager.load("greeter")
    undo = compile_with(other)
    try:
        assert manager.execute("greeter") == 2
    finally:
        undo()
    assert manager.call("greeter", "again") == 1
