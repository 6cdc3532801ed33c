"""C: calls, reloads and imports at the same time."""

from __future__ import annotations

import time

from tests.hazards.stage import RUN, WAITING, InFlight, Stage
from tests.hazards.suite import hazard
from tests.threads import eventually, nervous_switching

UTIL = "N = %n\n"
HEAD = "import hazard_host as host\nfrom . import util\nN = %n\n"


@hazard("C01", "A call in flight reads globals before and after the reload: all old.")
def call_in_flight(stage: Stage) -> None:
    main = HEAD + f"def run():\n    before = N, util.N\n    {WAITING}\n    return before, N, util.N\n"
    files = {"main.py": main, "util.py": UTIL}
    stage.start(files)
    with stage.in_flight("run") as call:
        stage.update(files)
    assert call.result == ((1, 1), 1, 1)
    assert stage.call() == ((2, 2), 2, 2)


@hazard("C02", "A generator in flight: all old.")
def generator_in_flight(stage: Stage) -> None:
    main = HEAD + "def run():\n    yield N, util.N\n    yield N, util.N\n"
    files = {"main.py": main, "util.py": UTIL}
    stage.start(files)
    results = stage.call()
    assert next(results) == (1, 1)
    stage.update(files)
    assert next(results) == (1, 1)
    assert list(stage.call()) == [(2, 2), (2, 2)]


@hazard("C03", "A coroutine in flight across an await: all old.")
def coroutine_in_flight(stage: Stage) -> None:
    main = "import asyncio\n" + HEAD + "async def run():\n    before = N, util.N\n    host.inside.set()\n"
    main += "    assert await asyncio.to_thread(host.go.wait, 8)\n    return before, N, util.N\n"
    files = {"main.py": main, "util.py": UTIL}
    stage.start(files)
    with stage.in_flight_async("run") as call:
        stage.update(files)
    assert call.result == ((1, 1), 1, 1)
    with stage.in_flight_async("run") as call:
        stage.host.go.set()
    assert call.result == ((2, 2), 2, 2)


@hazard("C04", 'A lazy "from . import util" inside an old function gets the old util after the reload.')
def lazy_import_in_old_code(stage: Stage) -> None:
    forms = {
        "relative": "from . import util",
        "full": "import PACKAGE.plug.util; util = PACKAGE.plug.util",
        "renamed": "import PACKAGE.plug.util as util",
        "from_package": "from PACKAGE.plug import util",
    }
    main = "import hazard_host as host\nfrom . import util as first\nN = %n\ndef run(): return N\n"
    for name, form in forms.items():
        main += f"def {name}():\n    {WAITING}\n    {form}\n    return N, util.N\n"
    files = {"main.py": main, "util.py": UTIL}
    stage.start(files)
    for name in forms:
        old = stage.number
        with stage.in_flight(name) as call:
            stage.update(files)
        assert (name, call.result) == (name, (old, old))
        assert (name, stage.call(name)) == (name, (stage.number, stage.number))


@hazard("C05", "Four threads call during six reloads: never a mixed pair, never an exception.")
def four_threads_during_six_reloads(stage: Stage) -> None:
    main = "from . import util\nN = %n\ndef run():\n    from . import util as again\n    return N, util.N, again.N\n"
    files = {"main.py": main, "util.py": UTIL}
    stage.start(files)
    with nervous_switching(), stage.calling(threads=4) as answers:
        for number in range(2, 8):
            stage.update(files)
            assert stage.call() == (number,) * 3
    assert set(map(repr, answers)) <= {repr((n,) * 3) for n in range(1, 8)}


@hazard("C06", "Two reloads at once from two threads: both end, the newest serves.")
def two_reloads_at_once(stage: Stage) -> None:
    files = {"main.py": "from . import util\nN = %n\ndef run(): return N, util.N\n", "util.py": UTIL}
    stage.start(files)
    for number in range(2, 6):
        stage.number = number
        stage.write(files)
        for reload in [stage.reload_beside(), stage.reload_beside()]:
            assert reload.result in ("new", "unchanged")
        assert stage.call() == (number, number)


@hazard("C07", "A reload asked for from inside the plugin's own call: no deadlock, the call ends on old code.")
def reload_from_inside_a_call(stage: Stage) -> None:
    main = "import hazard_host as host\nN = %n\ndef run():\n    before = N\n    host.reload()\n    return before, N\n"
    stage.start(main)
    stage.host.reload = lambda: stage.update(main)
    assert InFlight(stage.call).result == (1, 1)
    stage.host.reload = lambda: None
    assert stage.call() == (2, 2)


@hazard("C08", "While a new version imports slowly, calls are served by the old one at once.")
def calls_during_a_slow_import(stage: Stage) -> None:
    stage.start(RUN)
    stage.number = 2
    stage.write(f"import hazard_host as host\n{WAITING}\n{RUN}")
    looking = stage.reload_beside()
    eventually(stage.host.inside.is_set, "the slow import's begin")
    began = time.monotonic()
    assert [InFlight(stage.call).result for _ in range(10)] == [1] * 10
    assert time.monotonic() - began < 2
    assert looking.thread.is_alive(), "the slow import was over before the calls were"
    stage.host.go.set()
    assert looking.result == "new"
    assert stage.call() == 2
