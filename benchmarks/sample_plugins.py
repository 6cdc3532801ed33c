"""Write the plugins that the benchmarks reload: one shape, any number of modules, dataclasses if wanted.

Each contestant gets a copy of its own under a name of its own, so that none warms another's caches.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

FUNCTIONS = 12

FUNCTION = '''
def step_{n}(values: list[int], limit: int = {n}) -> list[int]:
    """Return the values above `limit`, doubled, without repeats."""
    seen = set()
    kept = []
    for value in values:
        if value > limit and value not in seen:
            seen.add(value)
            kept.append(value * 2)
    return kept
'''

DATACLASSES = """
@dataclasses.dataclass
class Order_{n}:
    number: int
    name: str = "order"
    lines: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Line_{n}:
    amount: float
    text: str = ""
"""

# `long` looks at the value twice: a call that goes on while the plugin is reloaded.
ENTRY = """

def run():
    return {value}


def long():
    yield {value}
    yield {value}
"""


@dataclass(frozen=True)
class SamplePlugin:
    """A plugin on disk: its directory, its modules in the order of their imports, and the one to edit."""

    directory: Path
    modules: tuple[str, ...]
    edited: Path
    dataclasses: bool

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if path.suffix in {".py", ".json"})

    def edit(self, value: int) -> None:
        """Make the edited module say `value`.

        The size changes with every edit: importlib would take an edit of the same size within the
        same second for none, and this is about speed.
        """
        self.edited.write_text(module_text(0, value, self.dataclasses) + _entry_of(self), encoding="utf-8")


def module_text(number: int, value: int, with_dataclasses: bool) -> str:
    """Return a module of about 150 lines whose `VALUE` is `value`."""
    parts = [f"import dataclasses\n\nVALUE = {value}  # {'.' * (value % 97)}\n"]
    parts += [FUNCTION.format(n=n) for n in range(FUNCTIONS)]
    if with_dataclasses:
        parts.append(DATACLASSES.format(n=number))
    return "".join(parts)


def write_plugin(parent: Path, name: str, modules: int, with_dataclasses: bool) -> SamplePlugin:
    """Write a plugin of `modules` modules: one is `main` alone, more are a package with `main` and leaves."""
    directory = parent / name
    directory.mkdir(parents=True)
    (directory / "plugin.json").write_text(json.dumps({"name": name, "version": "1.0"}), encoding="utf-8")
    if modules == 1:
        sample = SamplePlugin(directory, (f"{name}.main",), directory / "main.py", with_dataclasses)
    else:
        leaves = [f"leaf_{number}" for number in range(modules - 2)]
        _write_package(directory, leaves, with_dataclasses)
        names = (name, *(f"{name}.{leaf}" for leaf in leaves), f"{name}.main")
        sample = SamplePlugin(directory, names, directory / "leaf_0.py", with_dataclasses)
    sample.edit(0)
    return sample


def _write_package(directory: Path, leaves: list[str], with_dataclasses: bool) -> None:
    (directory / "__init__.py").write_text("", encoding="utf-8")
    for number, leaf in enumerate(leaves):
        (directory / f"{leaf}.py").write_text(module_text(number, 0, with_dataclasses), encoding="utf-8")
    imports = "".join(f"from .{leaf} import VALUE as value_{leaf}\n" for leaf in leaves)
    entry = ENTRY.format(value="value_leaf_0")
    (directory / "main.py").write_text(imports + entry, encoding="utf-8")


def _entry_of(sample: SamplePlugin) -> str:
    return ENTRY.format(value="VALUE") if sample.edited.name == "main.py" else ""


def let_age() -> None:
    """Wait until plugins that were just written are like those that have lain there for a while.

    A reloader may look twice at what is younger than a file system's clock can tell apart; ours does for 2 s.
    """
    time.sleep(2.5)
