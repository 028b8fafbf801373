"""One simulated device on a pseudo-terminal that speaks Modbus RTU, with a serial line's wire time and its faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from coordinator.shell.clock import ScaledClock
from device_profiles.profile import load_profile
from simulators.home import Home
from simulators.live.serial_bus import FaultPlan, PtyBus
from simulators.live.single_meter import plan_for
from simulators.weather import synthetic_day

FAULTY_SHARE = 0.2
"""How many answers suffer one of the faults that were asked for."""


async def serve_rtu_meter(
    profile: str, path: Path, faults: tuple[str, ...], speed: float, seed: int, say: Callable[[str], object]
) -> None:
    """Serves under the name ``path`` until cancelled. Raises OSError where that name cannot be had."""
    plan, loaded, now_s = plan_for(profile, seed), load_profile(profile), int(time.time())
    day = synthetic_day(seed, days=7)
    home = Home(plan, day)
    home.advance(day.start_s + now_s % 86_400)
    clock = ScaledClock(time.time(), home.now_s, speed)

    def shown() -> dict[str, int]:
        home.advance(max(home.now_s, clock.now_ms() // 1000))
        values: dict[str, int] = getattr(home, f"{loaded.kind}_values")()
        return values

    bus = PtyBus(loaded.bus.baud, loaded.bus.bits_per_character)
    bus.add_unit(loaded, shown)
    if faults:
        bus.faults = FaultPlan(share=FAULTY_SHARE, kinds=faults)
    await bus.start()
    try:
        if path.is_symlink():
            path.unlink()  # of one that was killed
        path.symlink_to(bus.path)
        try:
            frame = f"{loaded.bus.baud} baud, parity {loaded.bus.parity}"
            say(f"{profile} of home {plan.name}: modbus rtu {path}, {frame}, unit {loaded.bus.unit}; ctrl-c ends it")
            await asyncio.Event().wait()
        finally:
            path.unlink(missing_ok=True)
    finally:
        await bus.stop()
