"""Plugins whose calls don't bear that versions change meanwhile, by the check that must catch it."""

from __future__ import annotations

__all__ = ["UNSAFE_CALLS"]

_RUN = "\n\ndef run():\n    return 1\n"
_HELPER = "def value():\n    return 1\n"
_SHARED_HELPER = (
    "import abc\nfrom . import helper\n\n{keep}\n\n\ndef run():\n    return own() * abc.helper.value()\n"
    "\n\ndef own():\n    return 1\n"
)
_REGISTRY = (
    "import abc, time\nabc.registry = getattr(abc, 'registry', {})\nabc.registry.clear()\ntime.sleep(0.002)\n\n\n"
    "def value():\n    return 1\n\n\nabc.registry['value'] = value\n\n\n"
    "def run():\n    return abc.registry['value']()\n"
)

UNSAFE_CALLS: dict[str, dict[str, dict[str, str]]] = {
    "every_call_old_or_new": {
        "a helper that somebody else keeps": {
            "main.py": _SHARED_HELPER.format(keep="vars(abc).setdefault('helper', helper)"),
            "helper.py": _HELPER,
        },
        "a registry that is filled anew": {"main.py": _REGISTRY},
    },
    "in_flight_completes": {
        "a helper that the next version replaces": {
            "main.py": _SHARED_HELPER.format(keep="abc.helper = helper"),
            "helper.py": _HELPER,
        },
        "a file that the next version closes": {
            "main.py": "import abc, io\nif hasattr(abc, 'shared'):\n    abc.shared.close()\n"
            "MINE = abc.shared = io.StringIO('1')\n\n\n"
            "def run():\n    MINE.seek(0)\n    return int(MINE.read())\n"
        },
    },
    "reload_storm": {
        "a thread for each version": {
            "main.py": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()" + _RUN
        },
        "a class of each version in a list": {
            "main.py": "import abc\nabc.kept = getattr(abc, 'kept', [])\n\n\nclass Kept:\n    def of(self):\n"
            "        return self\n\n\nabc.kept.append(Kept)" + _RUN
        },
    },
}
