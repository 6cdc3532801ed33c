"""Plugins that an edit, a broken version or the end of a version does harm to, by the check that must catch it."""

from __future__ import annotations

__all__ = ["UNSAFE_EDITS"]

Files = dict[str, str]

_RUN = "\n\ndef run():\n    return 1\n"
# Real ways in which a plugin makes a part of itself optional, and so serves half of itself.
_OPTIONAL = "try:\n    from . import helper\nexcept Exception:\n    helper = None\n" + _RUN
_SCANNING = (
    "import importlib, pkgutil\nPARTS = []\nfor found in pkgutil.iter_modules(__path__):\n"
    "    try:\n        PARTS.append(importlib.import_module(f'{__name__}.{found.name}'))\n"
    "    except Exception as error:\n        print(error)\n"
)
_OWN_SOURCE = (
    "import ast\n\n\ndef run():\n    with open(__file__) as file:\n        ast.parse(file.read())\n    return 1\n"
)
_OWN_MANIFEST = (
    "import json, pathlib\nHERE = pathlib.Path(__file__).parent\n\n\ndef run():\n"
    "    return len([json.loads((HERE / 'plugin.json').read_text())])\n"
)
_WRITES = (
    "import pathlib\nFILE = pathlib.Path(__file__).parent / {name!r}\nKEPT = FILE.read_bytes()\n\n\ndef run():\n"
    "    FILE.write_bytes(KEPT)\n    return 1\n"
)

UNSAFE_EDITS: dict[str, dict[str, Files]] = {
    "identical_content_no_reload": {
        "counts its calls in its directory": {
            "main.py": "import json, pathlib\nFILE = pathlib.Path(__file__).parent / 'hits.json'\n\n\ndef run():\n"
            "    FILE.write_text(json.dumps(int(FILE.read_text()) + 1))\n    return 1\n",
            "hits.json": "0",
        },
        "generates a module of its own": {
            "main.py": "import pathlib, time\n\n\ndef run():\n"
            "    (pathlib.Path(__file__).parent / 'made.py').write_text(f'MADE = {time.time_ns()}')\n    return 1\n",
        },
    },
    "change_is_seen": {
        "a function that stays for ever": {
            "main.py": "import abc\n\n\ndef first():\n    return 1\n\n\nabc.first = getattr(abc, 'first', first)\n"
            "run_first = abc.first" + _RUN,
        },
        "a registry that never forgets": {
            "main.py": "import abc\nabc.made = getattr(abc, 'made', {})\n\n\nclass Handler:\n    def handle(self):\n"
            "        return 1\n\n\nHANDLERS = abc.made\nHANDLERS.setdefault('one', Handler)" + _RUN,
        },
    },
    "syntax_error_kept": {
        "reads its own source": {"main.py": _OWN_SOURCE},
        "writes its own source": {"main.py": _WRITES.format(name="main.py")},
    },
    "import_error_kept": {
        "a helper that may fail": {"main.py": _OPTIONAL, "helper.py": "VALUE = 1\n"},
        "a scan that goes on": {
            "__init__.py": "",
            "main.py": "from . import parts" + _RUN,
            "parts/__init__.py": _SCANNING,
            "parts/one.py": "ONE = 1\n",
        },
    },
    "missing_entry_kept": {
        "made up by the module": {
            "main.py": "def __getattr__(name):\n    if name.startswith('__'):\n        raise AttributeError(name)\n"
            "    return lambda *a, **k: 1" + _RUN
        },
        "its own source needed": {"main.py": _OWN_SOURCE},
    },
    "bad_manifest_kept": {
        "read in each call": {"main.py": _OWN_MANIFEST},
        "written in each call": {"main.py": _WRITES.format(name="plugin.json")},
    },
    "half_written_kept": {
        "data read in each call": {
            "main.py": "import pathlib\n\n\ndef run():\n"
            "    return int((pathlib.Path(__file__).parent / 'one.txt').read_text())\n",
            "one.txt": "1",
        },
        "a directory of its own in each call": {
            "main.py": "import os\nCACHE = os.path.join(os.path.dirname(__file__), 'cache')\n\n\ndef run():\n"
            "    os.makedirs(CACHE, exist_ok=True)\n    return 1\n",
        },
    },
    "side_effects_rolled_back": {
        "a descriptor at import": {"main.py": "import os\nPIPE = os.pipe()" + _RUN},
        "a class that somebody keeps": {
            "main.py": "import abc\nabc.kept = getattr(abc, 'kept', [])\n\n\nclass Kept:\n    def of(self):\n"
            "        return self\n\n\nabc.kept.append(Kept)" + _RUN
        },
        "a directory in on_load": {
            "main.py": "import os, tempfile\n\n\ndef on_load():\n    os.close(tempfile.mkstemp()[0])" + _RUN
        },
    },
    "teardown_failure_contained": {
        "a lock that the end gives back": {
            "main.py": "import os\nOWN = []\n\n\ndef run():\n    if not OWN:\n"
            "        OWN.append(os.open('plugin.lock', os.O_CREAT | os.O_EXCL))\n    return 1\n\n\n"
            "def on_unload():\n    for fd in OWN:\n        os.close(fd)\n        os.unlink('plugin.lock')\n",
        },
        "a port that the end closes": {
            "main.py": "import hostapp, socket\nOWN = []\n\n\ndef run():\n    if not OWN:\n"
            "        OWN.append(socket.create_server(hostapp.HOOKS.get('address', ('127.0.0.1', 0))))\n"
            "        hostapp.HOOKS['address'] = OWN[0].getsockname()\n        hostapp.HANDLERS.append(OWN[0])\n"
            "    return 1\n\n\ndef on_unload():\n    for server in OWN:\n        server.close()\n",
        },
    },
}
