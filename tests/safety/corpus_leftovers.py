"""Plugins that leave something behind, each for one reason, by the check that must catch it."""

from __future__ import annotations

__all__ = ["UNSAFE_LEFTOVERS"]

_RUN = "\n\ndef run():\n    return 1\n"

UNSAFE_LEFTOVERS: dict[str, dict[str, str]] = {
    "old_modules_die": {
        "a class in a list of another module": "import abc\nabc.kept = getattr(abc, 'kept', [])\nclass Kept: pass\n"
        "abc.kept.append(Kept)" + _RUN,
        "an exception that is kept": "import sys\ndef run():\n    try:\n        raise ValueError\n"
        "    except ValueError as error:\n        sys.last_exc_of_plugin = error\n    return 1\n",
    },
    "no_leaked_threads": {
        "at import": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()" + _RUN,
        "in a call": "import threading\ndef run():\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n    return 1\n",
        "a pool that somebody else keeps": "import abc\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "def run():\n    abc.pools = [*getattr(abc, 'pools', []), ThreadPoolExecutor(1)]\n"
        "    return abc.pools[-1].submit(int, 1).result()\n",
    },
    "no_leaked_processes": {
        "in a call": "import subprocess, sys\ndef run():\n"
        "    subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n    return 1\n",
        "at import": "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])" + _RUN,
    },
    "no_monkeypatch": {
        "a function": "import json\ndef run():\n    json.dumps = lambda *a, **k: 'mine'\n    return 1\n",
        "a method": "import string\ndef run():\n    string.Template.substitute = mine\n    return 1\n"
        "def mine(self):\n    return ''\n",
    },
    "no_leaked_timers": {
        "a thread's": "import threading\ndef run():\n    timer = threading.Timer(600, run)\n    timer.daemon = True\n"
        "    timer.start()\n    return 1\n",
        "the kernel's": "import signal\ndef run():\n    signal.setitimer(signal.ITIMER_VIRTUAL, 600)\n    return 1\n",
    },
    "no_leaked_tasks": {
        "deaf to its end": "import asyncio\nasync def forever():\n    while True:\n        try:\n"
        "            await asyncio.sleep(600)\n        except asyncio.CancelledError:\n            pass\n"
        "async def run():\n    asyncio.get_running_loop().kept = asyncio.ensure_future(forever())\n    return 1\n",
        "of somebody else's code": "import asyncio\nasync def run():\n    loop = asyncio.get_running_loop()\n"
        "    loop.kept = [*getattr(loop, 'kept', []), loop.create_task(asyncio.Event().wait())]\n    return 1\n",
    },
    "no_atexit_growth": {
        "in a call": "import atexit\ndef run():\n    atexit.register(print)\n    return 1\n",
        "of its own": "import atexit\ndef run():\n    atexit.register(bye)\n    return 1\ndef bye():\n    pass\n",
    },
    "no_signal_handlers": {
        "of its own": "import signal\ndef run():\n    signal.signal(signal.SIGUSR1, lambda *a: None)\n    return 1\n",
        "blocked": "import signal\ndef run():\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])\n"
        "    return 1\n",
    },
    "no_leaked_fds": {
        "a file": "KEEP = []\ndef run():\n    import builtins\n    builtins.kept = getattr(builtins, 'kept', [])\n"
        "    builtins.kept.append(open(__file__))\n    return 1\n",
        "a pipe": "import os\ndef run():\n    os.pipe()\n    return 1\n",
    },
    "no_leaked_sockets": {
        "a socket": "import builtins, socket\ndef run():\n    builtins.socks = getattr(builtins, 'socks', [])\n"
        "    builtins.socks.append(socket.socket())\n    return 1\n",
        "a temporary file": "import tempfile\ndef run():\n    tempfile.mkstemp()\n    return 1\n",
    },
    "no_handler_growth": {
        "in a call": "import logging\ndef run():\n    logging.getLogger('app').addHandler(logging.StreamHandler())\n"
        "    return 1\n",
        "a filter": "import logging\nclass Mine:\n    def filter(self, record):\n        return True\n"
        "def run():\n    logging.getLogger('app').addFilter(Mine())\n    return 1\n",
        "a level": "import logging, itertools\nCOUNT = itertools.count\ndef run():\n"
        "    logging.getLogger('app').setLevel(logging.getLogger('app').level + 1)\n    return 1\n",
    },
    "no_warning_filters": {
        "of its own class": "import warnings\nclass Mine(UserWarning): pass\ndef run():\n"
        "    warnings.simplefilter('ignore', Mine)\n    return 1\n",
        "how they are shown": "import warnings\ndef run():\n"
        "    warnings.showwarning = lambda *a, **k: None\n    return 1\n",
    },
    "environ_unchanged": {
        "a value that grows": "import os\ndef run():\n    os.environ['GROWS'] = os.environ.get('GROWS', '') + 'x'\n"
        "    return 1\n",
        "a variable for each": "import os, uuid\ndef run():\n"
        "    os.environ[f'V_{uuid.uuid4().hex}'] = '1'\n    return 1\n",
    },
    "sys_path_unchanged": {
        "in a call": "import sys\ndef run():\n    sys.path.append('/nowhere')\n    return 1\n",
        "a finder": "import sys\nclass Finder:\n    @staticmethod\n    def find_spec(name, path=None, target=None):\n"
        "        return None\ndef run():\n    sys.meta_path.append(Finder)\n    return 1\n",
    },
    "no_foreign_modules_purged": {
        "removed": "import sys\ndef run():\n    sys.modules.pop('decimal', None)\n    return 1\n",
        "replaced": "import sys, types\ndef run():\n    sys.modules['colorsys'] = types.ModuleType('colorsys')\n"
        "    return 1\n",
    },
    "hooks_unchanged": {
        "excepthook": "import sys\ndef run():\n    sys.excepthook = lambda *a: None\n    return 1\n",
        "a profiler": "import sys\ndef run():\n    sys.setprofile(lambda *a: None)\n    return 1\n",
    },
    "gc_state_unchanged": {
        "a callback": "import gc\ndef run():\n    gc.callbacks.append(lambda *a: None)\n    return 1\n",
        "a threshold": "import gc\ndef run():\n    gc.set_threshold(gc.get_threshold()[0] + 1)\n    return 1\n",
    },
    "process_state_unchanged": {
        "the umask": "import os\ndef run():\n    os.umask(os.umask(0) ^ 1)\n    return 1\n",
        "the recursion limit": "import sys\ndef run():\n    sys.setrecursionlimit(sys.getrecursionlimit() + 1)\n"
        "    return 1\n",
    },
    "no_permanent_registrations": {
        "a fork handler": "import os\ndef run():\n    os.register_at_fork(before=lambda: None)\n    return 1\n",
        "an audit hook": "import sys\ndef run():\n    sys.addaudithook(lambda *a: None)\n    return 1\n",
    },
    # The host's module has `HANDLERS`, a list, and `HOOKS`, a table of lists.
    "no_duplicate_registrations": {
        "a function": "import hostapp\ndef handle():\n    pass\nhostapp.HANDLERS.append(handle)" + _RUN,
        "an object in a table": "import hostapp\nclass Hook:\n    def on(self):\n        pass\ndef on_load():\n"
        "    hostapp.HOOKS.setdefault('start', []).append(Hook())" + _RUN,
    },
    "no_class_cache_leak": {
        "single dispatch": "import pkgutil\nclass Mine:\n    def it(self):\n        pass\ndef run():\n"
        "    pkgutil.iter_importer_modules.register(Mine, Mine.it)\n    return 1\n",
        "copyreg": "import copyreg\nclass Mine:\n    def it(self):\n        pass\ndef run():\n"
        "    copyreg.pickle(Mine, Mine.it)\n    return 1\n",
        "a subclass": "import abc, email.policy\nclass Mine(email.policy.Policy):\n    def it(self):\n        pass\n"
        "abc.kept = [*getattr(abc, 'kept', []), Mine]" + _RUN,
    },
    "unraisable_clean": {
        "in __del__": "class Bad:\n    def __del__(self):\n        raise ValueError('in del')\ndef run():\n    Bad()\n"
        "    return 1\n",
        "in a thread": "import threading\ndef fails():\n    raise KeyError('x')\ndef run():\n"
        "    thread = threading.Thread(target=fails)\n    thread.start()\n    thread.join()\n    return 1\n",
        "never awaited": "async def forgotten():\n    pass\ndef run():\n    forgotten()\n    return 1\n",
    },
    "memory_slope": {
        "one object": "import abc\nabc.heap = getattr(abc, 'heap', [])\ndef run():\n    abc.heap.append(object())\n"
        "    return 1\n",
        "some now and then": "import abc\nabc.heap = getattr(abc, 'heap', [])\ndef run():\n"
        "    abc.turns = getattr(abc, 'turns', 0) + 1\n    if abc.turns % 3 == 0:\n"
        "        abc.heap.extend(object() for _ in range(200))\n    return 1\n",
    },
    "memory_native": {
        "by malloc": "import ctypes\nLIBC = ctypes.CDLL(None)\nLIBC.malloc.restype = ctypes.c_void_p\ndef run():\n"
        "    ctypes.memset(LIBC.malloc(ctypes.c_size_t(1 << 20)), 1, 1 << 20)\n    return 1\n",
        "by mmap": "import mmap, abc\nabc.maps = getattr(abc, 'maps', [])\ndef run():\n"
        "    abc.maps.append(mmap.mmap(-1, 1 << 20))\n    abc.maps[-1].write(b'x' * (1 << 20))\n    return 1\n",
    },
}
