"""One device of one home behind a real Modbus TCP server: something to point an agent or any other client at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordinator.shell.clock import ScaledClock
from device_profiles.profile import load_profile
from simulators.home import Home, HomePlan, street
from simulators.live.home_meters import HomeMeters
from simulators.weather import synthetic_day

NEWS_S = 60.0


def plan_for(profile: str, seed: int) -> HomePlan:
    """A home that has this device: the first of a street with one of its kind, and this profile in its place."""
    kind: str = load_profile(profile).kind
    fitting = [plan for plan in street(seed=seed) if kind == "meter" or getattr(plan, kind) is not None]
    changes: dict[str, Any] = {kind: profile}
    return replace(fitting[0], **changes)


async def serve_meter(
    profile: str,
    host: str,
    port: int,
    speed: float,
    seed: int,
    say: Callable[[str], object],
) -> None:
    """Serves until cancelled. Raises OSError where the address cannot be had."""
    plan = plan_for(profile, seed)
    now_s = int(time.time())
    day = synthetic_day(seed, days=7)
    home = Home(plan, day)
    home.advance(day.start_s + now_s % 86_400)
    clock = ScaledClock(time.time(), home.now_s, speed)
    meters = HomeMeters([plan], [home], clock, host=host, ports={load_profile(profile).kind: port})
    await meters.start()
    try:
        device = next(e for e in meters.endpoints(0) if e.profile == profile)
        say(f"{profile} of home {plan.name}: modbus tcp {host}:{device.port}, unit {device.unit}; ctrl-c ends it")
        while True:
            await asyncio.sleep(NEWS_S)
            values = home.meter_values()
            say(f"{values['power_w']} W, import {values['import_wh']} Wh, export {values['export_wh']} Wh")
    finally:
        await meters.stop()
