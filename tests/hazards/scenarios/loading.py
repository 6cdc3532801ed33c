"""L: whose code and whose objects one gets after a reload."""

from __future__ import annotations

import pickle
from typing import Any

from tests.hazards.adapter import LOAD_STATE
from tests.hazards.ours import ours
from tests.hazards.stage import RUN, Stage
from tests.hazards.suite import hazard, without_help

UTIL = "N = %n\ndef f(): return N\n"


@hazard("L01", 'A helper is edited that main uses by "from .util import f".')
def from_import_of_an_edited_helper(stage: Stage) -> None:
    stage.start({"main.py": "from .util import f, N\ndef run(): return f(), N\n", "util.py": UTIL})
    stage.update({"util.py": UTIL})
    assert stage.call() == (2, 2)


@hazard("L02", "A constant is handed on by __init__ to main; its edit arrives.")
def constant_handed_on_by_the_package(stage: Stage) -> None:
    stage.start({
        "__init__.py": "from .util import N as API\n",
        "main.py": "from .util import N\nfrom . import API\ndef run(): return N, API\n",
        "util.py": UTIL,
    })  # fmt: skip
    stage.update({"util.py": UTIL})
    assert stage.call() == (2, 2)


@hazard("L03", "A new name of a star-imported module is there for the new main.")
def new_name_by_star_import(stage: Stage) -> None:
    main = "from .util import *\ndef run(): return {name}\n"
    stage.start({"main.py": main.format(name="N"), "util.py": "N = 1\n"})
    stage.update({"util.py": "N = 1\nM = %n\n", "main.py": main.format(name="N, M")})
    assert stage.call() == (1, 2)


@hazard("L04", 'Two plugins both "import utils", each its own.')
def two_flat_plugins_with_one_module_name(stage: Stage) -> None:
    main = "import utils\ndef run(): return utils.NAME\n"
    for plugin in ("plug", "other"):
        stage.create({"main.py": main, "utils.py": f"NAME = '{plugin} %n'\n"}, plugin)
        stage.reloader.flat(plugin)
    for plugin in ("plug", "other"):
        stage.reloader.start(plugin)
    assert [stage.call(plugin=plugin) for plugin in ("plug", "other")] == ["plug 1", "other 1"]
    stage.update({"utils.py": "NAME = 'other %n'\n"}, "other")
    assert [stage.call(plugin=plugin) for plugin in ("plug", "other")] == ["plug 1", "other 2"]


@hazard("L05", "Plugin B imports from plugin A; after an edit of A, B serves the new A.")
def plugin_that_imports_from_an_edited_plugin(stage: Stage) -> None:
    stage.start({"main.py": UTIL + "def run(): return N\n"})
    stage.start("from PACKAGE.plug.main import f, N\ndef run(): return f(), N\n", "user")
    assert stage.call(plugin="user") == (1, 1)
    stage.update({"main.py": UTIL + "def run(): return N\n"})
    assert stage.call(plugin="user") == (2, 2)


@hazard("L06", "main and util import each other, and both are edited.")
def circular_imports(stage: Stage) -> None:
    main = "from . import util\nN = %n\ndef run(): return N, util.both()\n"
    util = "from . import main\nM = %n\ndef both(): return main.N, M\n"
    stage.start({"main.py": main, "util.py": util})
    stage.update({"main.py": main, "util.py": util})
    assert stage.call() == (2, (2, 2))


THINGS = """
import enum
VERSION = %n
class Thing:
    def __init__(self, n=0): self.n = n
    def version(self): return VERSION
class Color(enum.Enum):
    RED = "red"
things = [Thing()]
favourite = [Color.RED]
def thing(): return things[0]
def color(): return favourite[0]
def red(): return Color.RED
def run(): return VERSION
"""
HANDED_OVER = """
def save_state(): return {"things": [thing.n for thing in things], "favourite": favourite[0].name}
def load_state(state, from_version):
    things[:] = [Thing(n) for n in state["things"]]
    favourite[:] = [Color[state["favourite"]]]
"""
PLAIN_STATE = "the plugin hands plain data over by save_state and load_state; the host asks it for the object anew"


def _host_holds(stage: Stage, function: str) -> Any:
    """Reload while the host holds an object of the plugin; return what it holds afterwards."""
    files = {"main.py": THINGS + HANDED_OVER if stage.helped else THINGS}
    stage.start(files)
    held = stage.call(function)
    if function == "thing":
        held.n = 41
        stage.host.pickled = pickle.dumps(held)
    stage.update(files)
    assert stage.call() == 2
    return stage.call(function) if stage.helped else held


def assert_named_as_holding(stage: Stage, held: object, what: str, place: str) -> None:
    """Assert that we tell who keeps an old version alive, by which object of which line."""
    stage.host.kept.append(held)
    (holder,) = ours(stage).manager.why("plug")["holders"]
    assert holder["generation"] == 1
    assert what in holder["held"]
    assert holder["place"].endswith(place)


@hazard(
    "L07",
    "Pickle: old bytes load, a new instance dumps, and so does the one that the host held before.",
    help=(LOAD_STATE,),
    how=PLAIN_STATE,
)
def pickle_across_a_reload(stage: Stage) -> None:
    held = _host_holds(stage, "thing")
    again = pickle.loads(stage.host.pickled)
    assert (again.n, again.version()) == (41, 2)
    assert pickle.loads(pickle.dumps(stage.reloader.module("plug").Thing(5))).n == 5
    assert pickle.loads(pickle.dumps(held)).n == 41


@without_help("L07")
def pickling_an_old_instance_is_refused_by_name(stage: Stage) -> None:
    held = _host_holds(stage, "thing")
    said = ""
    try:
        pickle.dumps(held)
    except pickle.PicklingError as error:
        said = str(error)
    assert f"{stage.public()}.Thing" in said
    assert_named_as_holding(stage, held, "Thing", "main.py:4")


@hazard(
    "L08", "An instance that the host held is one of the new class.", help=(LOAD_STATE,), how=PLAIN_STATE
)  # fmt: skip
def isinstance_across_a_reload(stage: Stage) -> None:
    held = _host_holds(stage, "thing")
    assert isinstance(held, stage.reloader.module("plug").Thing)
    assert held.n == 41


@without_help("L08")
def an_old_instance_keeps_its_class_and_is_named(stage: Stage) -> None:
    held = _host_holds(stage, "thing")
    assert not isinstance(held, stage.reloader.module("plug").Thing)
    assert held.version() == 1
    assert_named_as_holding(stage, held, "Thing", "main.py:4")


@hazard(
    "L09", 'An enum member that the host held compares with "is".', help=(LOAD_STATE,), how=PLAIN_STATE
)  # fmt: skip
def enum_member_held_by_the_host(stage: Stage) -> None:
    held = _host_holds(stage, "color")
    assert held is stage.call("red")


@without_help("L09")
def an_old_member_still_compares_by_name_and_value(stage: Stage) -> None:
    held = _host_holds(stage, "color")
    new = stage.call("red")
    assert held is not new
    assert (held.name, held.value) == (new.name, new.value)


@hazard("L10", "An old instance calls a method that uses super(Child, self).")
def old_instance_calls_super(stage: Stage) -> None:
    main = "class Base:\n    def name(self): return 'base'\nclass Child(Base):\n"
    main += "    def name(self): return super(Child, self).name(), 'child'\ndef make(): return Child()\n" + RUN
    stage.start(main)
    held = stage.call("make")
    stage.update(main)
    assert held.name() == ("base", "child")
    assert stage.call("make").name() == ("base", "child")
    assert stage.call() == 2


@hazard("L11", "The body of a decorator's wrapper is edited.")
def decorator_wrapper_edited(stage: Stage) -> None:
    main = (
        "import functools\ndef wrap(f):\n    @functools.wraps(f)\n    def inner(): return %n, f()\n    return inner\n"
    )
    stage.start(main + "@wrap\ndef run(): return 'body'\n")
    stage.update(main + "@wrap\ndef run(): return 'body'\n")
    assert stage.call() == (2, "body")


@hazard("L12", "A cached function is edited; its cached answers are dropped.")
def lru_cached_function_edited(stage: Stage) -> None:
    main = "import functools\n@functools.lru_cache\ndef run(): return %n\n"
    stage.start(main)
    assert stage.call() == 1
    stage.update(main)
    assert stage.call() == 2


@hazard("L13", "A module's __getattr__ is edited.")
def module_getattr_edited(stage: Stage) -> None:
    lazy = "def __getattr__(name):\n    if name == 'lazy': return %n\n    raise AttributeError(name)\n"
    files = {"main.py": "from . import util\ndef run(): return util.lazy\n", "util.py": lazy}
    stage.start(files)
    stage.update({"util.py": lazy})
    assert stage.call() == 2


@hazard("L14", "A function that was removed is gone.")
def function_removed(stage: Stage) -> None:
    stage.start("def old(): return 1\n" + RUN)
    stage.update(RUN)
    assert stage.call() == 2
    assert not hasattr(stage.reloader.module("plug"), "old")


@hazard("L15", "A class gets another base.")
def base_class_changed(stage: Stage) -> None:
    main = "class A:\n    def who(self): return 'a'\nclass B:\n    def who(self): return 'b'\n"
    main += "class C({base}): pass\ndef run(): return C().who(), C.__mro__[1].__name__\n"
    stage.start(main.format(base="A"))
    stage.update(main.format(base="B"))
    assert stage.call() == ("b", "B")


@hazard("L16", "A dataclass gains a field.")
def dataclass_gains_a_field(stage: Stage) -> None:
    main = "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int = 1\n{field}"
    main += "def run(): return repr(Point()), [f.name for f in dataclasses.fields(Point)]\n"
    stage.start(main.format(field=""))
    stage.update(main.format(field="    y: int = 2\n"))
    assert stage.call() == ("Point(x=1, y=2)", ["x", "y"])


@hazard("L17", "A resource that is read through importlib.resources changes together with the code.")
def resource_changed_with_the_code(stage: Stage) -> None:
    main = "import importlib.resources as r\nN = '%n'\nDATA = r.files(__package__).joinpath('data.txt').read_text()\n"
    main += "def run(): return N, DATA, r.files(__package__).joinpath('data.txt').read_text()\n"
    stage.start({"main.py": main, "data.txt": "%n"})
    stage.update({"data.txt": "%n", "main.py": main})
    assert stage.call() == ("2", "2", "2")


@hazard("L18", "A helper in a directory without __init__.py is edited.")
def helper_in_a_namespace_package(stage: Stage) -> None:
    stage.start({"main.py": "from .space import helper\ndef run(): return helper.N\n", "space/helper.py": UTIL})
    stage.update({"space/helper.py": UTIL})
    assert stage.call() == 2


@hazard("L19", "A default argument and a class attribute are edited.")
def default_argument_and_class_attribute(stage: Stage) -> None:
    main = "class K:\n    KIND = %n\n    def m(self, x=%n): return x\ndef run(y=%n): return y, K.KIND, K().m()\n"
    stage.start(main)
    stage.update(main)
    assert stage.call() == (2, 2, 2)


@hazard("L20", "A factory's closures lie in a module's dict, HANDLERS = {\"x\": make()}.")
def closures_in_a_module_dict(stage: Stage) -> None:
    main = "def make(n):\n    def handler(): return n, %n\n    return handler\nHANDLERS = {'x': make(%n)}\n"
    stage.start(main + "def run(): return HANDLERS['x']()\n")
    stage.update(main + "def run(): return HANDLERS['x']()\n")
    assert stage.call() == (2, 2)
