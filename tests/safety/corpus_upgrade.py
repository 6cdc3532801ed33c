"""Upgrades of a plugin: bad ones by the check that must catch them, each for another reason; and good ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.deployed import deployed_at
from pytest_hotplug.safety.runner import Subjects

__all__ = ["BAD", "GOOD", "Release", "Upgrade", "from_ref", "released", "subjects_of", "write"]

Files = dict[str, str]


@dataclass(frozen=True)
class Release:
    """One version: its files, and its manifest beyond the name."""

    files: Files
    version: str = "1.0"
    manifest: dict[str, Any] = field(default_factory=dict)

    def written(self) -> Files:
        """Return all files, the manifest among them."""
        manifest = {"name": "subject", "version": self.version, **self.manifest}
        if manifest.get("files") == "listed":
            manifest["files"] = {name: hashlib.md5(text.encode()).hexdigest() for name, text in self.files.items()}
        return {**self.files, "plugin.json": json.dumps(manifest)}


@dataclass(frozen=True)
class Upgrade:
    """From one release to another; `commit` is the setting."""

    old: Release
    new: Release
    commit: bool = False


def probed(kwargs: dict[str, Any] | None = None, expect: Any = None, **more: Any) -> dict[str, Any]:
    return {"hotplug": {"verify": {"probe": {"kwargs": kwargs or {}, "expect": expect}, **more}}}


def simple(source: str, version: str = "1.0", expect: Any = 1, **more: Any) -> Release:
    return Release({"main.py": source}, version, {**probed(expect=expect), **more})


def four(token: str, version: str, **more: Any) -> Release:
    """Return a version of four files, each with its token."""
    return Release(
        {
            "main.py": f"from . import helper\n\n\ndef run(name='you'):\n    from . import late\n"
            f"    return {{'main': '{token}', 'greeting': helper.greet(name), 'late': late.token()}}\n",
            "helper.py": f"def greet(name):\n    return f'{token} {{name}}'\n",
            "late.py": f"def token():\n    return '{token}'\n",
        },
        version,
        {**probed(expect={"main": token, "late": token}), **more},
    )


RUN = "def run():\n    return {}\n"
OLD = simple(RUN.format(1))
HELPED = Release(
    {
        "main.py": "from .helper import greet\n\n\ndef run():\n    return greet()\n",
        "helper.py": "def greet():\n    return 1\n",
    },
    "1.0",
    probed(expect=1),
)
COUNTS = """\
COUNT = 0


def run():
    global COUNT
    COUNT += 1
    return {{"count": COUNT > 0}}


def save_state():
    return {saved}


def load_state(state, from_version):
    global COUNT
    COUNT = {taken}
"""
COUNTED = simple(COUNTS.format(saved="{'count': COUNT}", taken="state['count']"), expect={"count": True})


def reads(text: str, version: str) -> Release:
    """Return a version that reads a file beside it in each call."""
    source = "from pathlib import Path\n\n\ndef run():\n    return Path(__file__).with_name('text.txt').read_text()\n"
    return Release({"main.py": f"# {text}\n{source}", "text.txt": text}, version, probed(expect=text))


def many(token: str, version: str) -> Release:
    """Return a version of more files than have all their states tried."""
    parts = {f"part{number}.py": f"TOKEN = '{token}'\n" for number in range(5)}
    files = {"main.py": f"TOKEN = '{token}'\n{RUN.format(1)}", **parts}
    return Release(files, version, probed(expect=1, deploy="in-place"))


def new_each_time(number: int) -> Release:
    source = f"import uuid\n\n\ndef run():\n    return {{'id': uuid.uuid4().hex, 'v': {number}}}\n"
    return simple(source, f"1.{number}", expect={"v": number})


def counts(saved: str, taken: str) -> Release:
    return simple(COUNTS.format(saved=saved, taken=taken), "1.1", expect={"count": True})


BAD: dict[str, dict[str, Upgrade]] = {
    "upgrade_from_ref": {
        "a syntax error": Upgrade(OLD, simple("def run(:\n", "1.1")),
        "it raises when it is imported": Upgrade(OLD, simple(f"{RUN.format(1)}\n\nraise OSError('no disk')\n", "1.1")),
        "a function of another module was renamed": Upgrade(
            HELPED,
            Release(
                {**HELPED.files, "main.py": "from . import helper\n\n\ndef run():\n    return helper.hello()\n"},
                "1.1",
                probed(expect=1),
            ),
        ),
        "a call of the old version reads a file that is gone": Upgrade(
            reads("hello", "1.0"), simple("def run():\n    return 'hello'\n", "1.1", expect="hello")
        ),
        "a call of the old version reads a file that says something else": Upgrade(
            reads("hello", "1.0"), reads("good day", "1.1")
        ),
        "the old one can't come back": Upgrade(
            simple("import builtins\nassert not hasattr(builtins, 'migrated')\n\n" + RUN.format(1)),
            simple(
                "import builtins\n\n\ndef on_load():\n    builtins.migrated = True\n\n\n" + RUN.format(2),
                "1.1",
                expect=2,
            ),
        ),
    },
    "half_deployed_states": {
        "files that fit each other, in place": Upgrade(
            four("one", "1.0"), four("two", "1.1", **probed(expect={"main": "two"}, deploy="in-place"))
        ),
        "a function that both files must know, in place": Upgrade(
            HELPED,
            Release(
                {
                    "main.py": "from . import helper\n\n\ndef run():\n    return helper.hello()\n",
                    "helper.py": "def hello():\n    return 1\n",
                },
                "1.1",
                probed(expect=1, deploy="in-place"),
            ),
        ),
        "many files, in place": Upgrade(many("one", "1.0"), many("two", "1.1")),
    },
    "interface_compatible": {
        "a parameter was renamed and is required": Upgrade(
            simple("def run(message='x'):\n    return 1\n"),
            Release({"main.py": "def run(*, text):\n    return 1\n"}, "1.1", probed({"text": "x"}, 1)),
        ),
        "a function is gone": Upgrade(
            simple(RUN.format(1) + "\n\ndef greet():\n    return 1\n"), simple(RUN.format(1), "1.9.9")
        ),
        "a module is gone": Upgrade(HELPED, simple(RUN.format(1), "1.1")),
        "the manifest wants more": Upgrade(
            simple("def run(**kwargs):\n    return 1\n", parameters={"a": {"type": "str"}}),
            Release(
                {"main.py": "def run(**kwargs):\n    return 1\n"},
                "1.1",
                {**probed({"a": "x"}, 1), "parameters": {"a": {"type": "str", "required": True}}},
            ),
        ),
    },
    "version_bumped": {
        "another answer": Upgrade(OLD, simple(RUN.format(2), expect=2)),
        "a file more": Upgrade(OLD, Release({**OLD.files, "words.json": "{}"}, OLD.version, OLD.manifest)),
    },
    "state_migrates": {
        "the old state lacks a key": Upgrade(COUNTED, counts("{'total': COUNT}", "state['total']")),
        "the old version can't take the new state": Upgrade(
            COUNTED, counts("{'total': COUNT}", "state.get('count', 0)")
        ),
        "the state is lost": Upgrade(
            COUNTED, simple("def run():\n    return {'count': True}\n", "1.1", expect={"count": True})
        ),
        "what is taken up is of another kind": Upgrade(COUNTED, counts("{'count': 0}", "str(state['count'])")),
    },
}

GOOD: dict[str, Upgrade] = {
    "four files": Upgrade(four("one", "1.0"), four("two", "1.1")),
    "with a state": Upgrade(COUNTED, counts("{'count': COUNT, 'more': 1}", "state.get('count', 0)")),
    "a state for the first time": Upgrade(
        simple("def run():\n    return {'count': True}\n", expect={"count": True}),
        counts("{'count': COUNT}", "state['count']"),
    ),
    "in commit mode": Upgrade(
        four("one", "1.0", files="listed"),
        four("two", "1.1", files="listed", **probed(expect={"main": "two"}, deploy="in-place")),
        commit=True,
    ),
    "another interface, and a version that says so": Upgrade(
        simple("def run(message='x'):\n    return 1\n", "1.9"),
        Release({"main.py": "def run(*, text):\n    return 1\n"}, "2.0", probed({"text": "x"}, 1)),
    ),
    "the old one ends before the new one begins": Upgrade(
        simple(RUN.format(1), handover="stop-first"), simple(RUN.format(2), "1.1", expect=2, handover="stop-first")
    ),
    "asynchronous": Upgrade(
        simple("import asyncio\n\n\nasync def run():\n    await asyncio.sleep(0)\n    return 1\n"),
        simple("import asyncio\n\n\nasync def run():\n    await asyncio.sleep(0)\n    return 2\n", "1.1", expect=2),
    ),
    "answers that are never the same": Upgrade(new_each_time(1), new_each_time(2)),
}


def write(place: Path, release: Release) -> Path:
    for name, text in release.written().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def subjects_of(root: Path, settings: Settings = Settings()) -> Subjects:  # noqa: B008 - frozen
    return Subjects(settings, root, (Layout(root / "plugins", "plugins"),))


def from_ref(subjects: Subjects, ref: str) -> Subjects:
    return replace(subjects, deployed=deployed_at(ref, subjects.root, subjects.layouts, (), subjects.root))


def released(root: Path, upgrade: Upgrade) -> Subjects:
    """Lay down the old release in a directory of its own, the new one in the work tree."""
    write(root / "deployed" / "subject", upgrade.old)
    write(root / "plugins" / "subject", upgrade.new)
    return from_ref(subjects_of(root, Settings(commit=upgrade.commit)), "deployed")
