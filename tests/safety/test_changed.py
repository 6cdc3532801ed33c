"""Which plugins are concerned by what differs from a git revision."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.settings import layouts, read_settings
from pytest_hotplug.safety.changed import plugins_changed_since

FILES = {
    "hotplug.toml": 'plugin_dirs = ["plugins"]\n',
    "conf.py": "TAX = 1\n",
    "words.py": "import conf\n",
    "other.py": "",
    "plugins/shop/main.py": "from plugins.bank.main import pay\ndef run(): return pay()\n",
    "plugins/bank/main.py": "def pay(): return 1\ndef run(): return 1\n",
    "plugins/greeter/main.py": "import words\nfrom . import late\ndef run(): return 1\n",
    "plugins/greeter/late.py": "def soon():\n    import soon\n",
    "plugins/lone/main.py": "def run(): return 1\n",
    "plugins/lone/text.txt": "hello\n",
    "plugins/odd/main.py": "import importlib, sys\ndef run(): return importlib.import_module(sys.argv[0])\n",
    "plugins/user/main.py": "def run(): return 1\n",
}
DEPENDS = {"user": ["shop"]}


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@y.invalid", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        if name.startswith("plugins/") and name.endswith("main.py"):
            plugin = (tmp_path / name).parent
            manifest = {"name": plugin.name, "depends_on": DEPENDS.get(plugin.name, [])}
            (plugin / "plugin.json").write_text(json.dumps(manifest))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    return tmp_path


def changed(root: Path, ref: str = "HEAD") -> dict[str, str]:
    settings = read_settings(root, environ={}).settings
    return plugins_changed_since(ref, settings, root, layouts(settings, root))


@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        ("README.md", {}),
        ("plugins/lone/text.txt", {"lone": "text.txt changed"}),
        ("plugins/lone/new.py", {"lone": "new.py changed"}),
        ("plugins/bank/plugin.json", {
            "bank": "plugin.json changed",
            "shop": "bank, which it uses, changed",
            "user": "bank, which it uses, changed",
        }),
        ("plugins/user/main.py", {
            "user": "main.py changed",
            "shop": "user, which uses it, changed",
            "bank": "user, which uses it, changed",
        }),
        ("words.py", {
            "greeter": "words.py changed, which it imports",
            "odd": "words.py changed, and it imports modules by computed names",
        }),
        ("conf.py", {
            "greeter": "conf.py changed, which it imports",
            "odd": "conf.py changed, and it imports modules by computed names",
        }),
        ("soon.py", {
            "greeter": "soon.py changed, which it imports",
            "odd": "soon.py changed, and it imports modules by computed names",
        }),
        ("other.py", {"odd": "other.py changed, and it imports modules by computed names"}),
        ("tests/test_all.py", {}),
        ("hotplug.toml", dict.fromkeys(
            ("bank", "greeter", "lone", "odd", "shop", "user"), "hotplug.toml changed, which all plugins are run with"
        )),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_concerns_a_plugin(file: str, concerned: dict[str, str], project: Path) -> None:
    """Its files, what it uses and who uses it, modules of the project that it imports, directly or not; settings."""
    (project / file).parent.mkdir(exist_ok=True)
    with (project / file).open("a") as edited:
        edited.write("# more\n" if not file.endswith(".json") else " ")
    assert changed(project) == concerned


def test_what_is_gone_concerns_who_used_it(project: Path) -> None:
    """A module of the project, and a plugin."""
    (project / "conf.py").unlink()
    assert changed(project)["greeter"] == "conf.py changed, which it imports"
    git(project, "checkout", "--", ".")
    git(project, "rm", "-rq", "plugins/shop")
    assert changed(project)["user"] == "shop, which it uses, changed"


def test_nothing_and_nobody(project: Path) -> None:
    """Nothing differs; the revision is unknown."""
    assert changed(project) == {}
    with pytest.raises(UsageError, match=r"origin v9.*unknown-ref"):
        changed(project, "origin/v9")
