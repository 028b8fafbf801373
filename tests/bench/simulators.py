"""The simulators' figures: what meters and homes without hardware cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from contracts.interval import DAY_S, INTERVAL_S
from simulators.home import Home, street
from simulators.weather import synthetic_day
from simulators.world import run_world
from tests.bench.figure import Figure, measured
from tests.device_profiles.test_live_server import second_of_twelve_servers_s


def figures() -> Iterator[Figure]:
    """Processor time, so that neighbours do not matter."""
    polling_s = min(asyncio.run(second_of_twelve_servers_s()) for _ in range(3))
    yield measured("twelve meters polled ten times a second", 100 * polling_s, "% of a core", at_most=50)
    yield measured("physics of a street's day", _day_s(), "s", at_most=0.3)
    run_world(0)
    began = time.process_time()
    for seed in range(5):
        run_world(seed)
    yield measured("one seed of the world, three and a half hours", (time.process_time() - began) / 5, "s", at_most=1)


def _day_s() -> float:
    began = time.process_time()
    for home in [Home(plan, synthetic_day(1)) for plan in street()]:
        for _ in range(DAY_S // INTERVAL_S):
            home.advance(home.now_s + INTERVAL_S)
            home.meter_values()
    return time.process_time() - began
