"""Edits as people make them, drawn at random, of a project's plugins, their data and their tests.

An edit returns the files that it touched. Everything comes from one seeded `random.Random`, so that a
seed tells the whole story.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from tests.testing.watched import delete

__all__ = ["Editor"]

_NUMBER = re.compile(r"(?<![\w.\"'-])\d+(?![\w.\"'])")
_TEXT = re.compile(r"(?<=\")[A-Za-z][\w ,!]*(?=\")")
_RETURN = re.compile(r"return (?!None$).+$", re.MULTILINE)
_TEST = re.compile(r"def (test_\w+)\(")
_OPERATORS = {"==": "!=", " + ": " - ", " not in ": " in ", " < ": " >= ", " and ": " or "}
_CONFTEST = "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef around():\n    {line}\n    yield\n"
_NEW_TEST = "def test_number_{number}():\n    assert {number} % 3\n"


class Editor:
    """Edits the project below `root`; `originals` is a whole copy of its plugin directory, to restore from.

    `only`: the ways to edit, None for all of them; `below`: where, if not everywhere.
    """

    def __init__(
        self,
        root: Path,
        plugin_dir: str,
        originals: Path,
        seed: int,
        only: Collection[str] | None = None,
        below: Path | None = None,
    ) -> None:
        self._below = below or root
        self._root = root
        self._plugins = root / plugin_dir
        self._originals = originals
        self._random = random.Random(seed)
        ways: list[tuple[int, Callable[[], str]]] = [
            (10, self._change_a_value),
            (4, self._change_a_return),
            (4, self._turn_an_operator),
            (3, self._break_the_syntax),
            (3, self._delete_a_line),
            (4, self._comment),
            (2, self._touch),
            (12, self._restore_one),
            (3, self._restore_all),
            (3, self._rename_a_test),
            (2, self._add_a_test_file),
            (2, self._delete_a_file),
            (1, self._delete_a_plugin),
            (1, self._copy_a_plugin),
            (2, self._write_a_conftest),
            (1, self._move_a_module),
        ]
        self._ways = [(w, way) for w, way in ways if only is None or way.__name__.removeprefix("_") in only]

    def edit(self) -> str:
        """Make one edit and say which."""
        said = ""
        while not said:  # not every way finds something to edit
            weights = [weight for weight, _ in self._ways]
            said = self._random.choices([way for _, way in self._ways], weights)[0]()
        return said

    # -- what is there --------------------------------------------------------------------------

    def _files(self, *suffixes: str, tests: bool | None = None) -> list[Path]:
        found = (path for path in self._below.rglob("*") if path.suffix in suffixes and "__pycache__" not in path.parts)
        return sorted(path for path in found if tests is None or path.name.startswith("test_") is tests)

    def _directories(self) -> list[Path]:
        """Return the plugins' directories: what lies in a `__pycache__` is nobody's source."""
        return sorted(path for path in self._plugins.iterdir() if path.is_dir() and path.name != "__pycache__")

    def _one(self, *suffixes: str, tests: bool | None = None) -> Path | None:
        files = self._files(*suffixes, tests=tests)
        return self._random.choice(files) if files else None

    def _save(self, path: Path, text: str) -> None:
        """Save as some editors do, by renaming, or as others do, by truncating and writing."""
        if self._random.random() < 0.5:
            beside = path.with_name(f".{path.name}.new")
            beside.write_text(text)
            beside.replace(path)
        else:
            path.write_text(text)

    def _change(self, path: Path | None, pattern: re.Pattern[str], new: Callable[[str], str]) -> str:
        text = path.read_text() if path else ""
        found = list(pattern.finditer(text))
        if path is None or not found:
            return ""
        match = self._random.choice(found)
        self._save(path, text[: match.start()] + new(match[0]) + text[match.end() :])
        return f"{path.relative_to(self._root)}: {match[0]!r} -> {new(match[0])!r}"

    # -- ways -----------------------------------------------------------------------------------

    def _change_a_value(self) -> str:
        path = self._one(".py", ".json")
        if self._random.random() < 0.5:
            return self._change(path, _NUMBER, lambda number: str(int(number) + 1))
        return self._change(path, _TEXT, lambda text: f"{text}x")

    def _change_a_return(self) -> str:
        return self._change(self._one(".py", tests=False), _RETURN, lambda _: "return None")

    def _turn_an_operator(self) -> str:
        old = self._random.choice(list(_OPERATORS))
        return self._change(self._one(".py"), re.compile(re.escape(old)), lambda _: _OPERATORS[old])

    def _break_the_syntax(self) -> str:
        return self._change(self._one(".py", ".json"), re.compile(r"[(:]"), lambda found: f"{found}]")

    def _delete_a_line(self) -> str:
        return self._change(self._one(".py"), re.compile(r"^.+\n", re.MULTILINE), lambda _: "")

    def _comment(self) -> str:
        return self._change(self._one(".py"), re.compile(r"$", re.MULTILINE), lambda _: "  # so it is")

    def _touch(self) -> str:
        path = self._one(".py", ".json")
        if path is None:
            return ""
        path.touch()
        return f"{path.relative_to(self._root)}: touched"

    def _restore_one(self) -> str:
        path = self._random.choice(sorted(path for path in self._originals.rglob("*") if path.is_file()))
        name = path.relative_to(self._originals)
        here = self._plugins / name
        if here.exists() and here.read_bytes() == path.read_bytes():
            return ""
        here.parent.mkdir(parents=True, exist_ok=True)
        self._save(here, path.read_text())
        return f"{name}: restored"

    def _restore_all(self) -> str:
        for path in self._files(".py", ".json"):
            if path.is_relative_to(self._plugins) and not (self._originals / path.relative_to(self._plugins)).exists():
                path.unlink()
        shutil.copytree(self._originals, self._plugins, dirs_exist_ok=True)
        return "all restored"

    def _rename_a_test(self) -> str:
        return self._change(self._one(".py", tests=True), _TEST, lambda found: f"{found[:-1]}_x(")

    def _add_a_test_file(self) -> str:
        number = self._random.randrange(1000)
        place = self._random.choice(self._directories())
        (place / f"test_number_{number}.py").write_text(_NEW_TEST.format(number=number))
        return f"{place.name}/test_number_{number}.py: added"

    def _delete_a_file(self) -> str:
        path = self._one(".py", ".json")
        if path is None:
            return ""
        path.unlink()
        return f"{path.relative_to(self._root)}: deleted"

    def _delete_a_plugin(self) -> str:
        places = self._directories()
        if len(places) < 3:
            return ""
        place = self._random.choice(places)
        delete(place)
        return f"{place.name}/: deleted"

    def _copy_a_plugin(self) -> str:
        place = self._random.choice(sorted(path for path in self._originals.iterdir() if path.is_dir()))
        copy = self._plugins / f"{place.name}_too"
        if copy.exists():
            return ""
        shutil.copytree(place, copy)
        manifest = copy / "plugin.json"
        manifest.write_text(manifest.read_text().replace(f'"name": "{place.name}"', f'"name": "{copy.name}"'))
        return f"{copy.name}/: copied"

    def _write_a_conftest(self) -> str:
        place = self._random.choice([self._plugins, *self._directories()])
        line = self._random.choice(["pass", "assert 1 == 2", "import pytest"])
        (place / "conftest.py").write_text(_CONFTEST.format(line=line))
        return f"{place.name}/conftest.py: {line}"

    def _move_a_module(self) -> str:
        path = self._one(".py", tests=False)
        if path is None or path.name in ("main.py", "__init__.py", "conftest.py"):
            return ""
        path.rename(path.with_name(f"moved_{path.name}"))
        return f"{path.relative_to(self._root)}: moved"
