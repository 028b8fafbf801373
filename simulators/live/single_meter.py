"""One device of one home on a real socket or line: something to point an agent or any other client at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coordinator.shell.clock import ScaledClock
from device_profiles.profile import load_profile
from simulators.charger import Charger
from simulators.home import Home, HomePlan, street
from simulators.live.home_meters import HomeMeters
from simulators.live.modbus import MeterServer
from simulators.live.simulated_device import OnWrite, ReadValues
from simulators.live.telegram_devices import MqttMeter, PtyMeter, TcpMeter, TelegramMeter
from simulators.telegrams import MESSAGES
from simulators.weather import synthetic_day

NEWS_S = 60.0


def plan_for(profile: str, seed: int) -> HomePlan:
    """A home that has this device: the first of a street with one of its kind, and this profile in its place.

    Meters, inverters and batteries; a charger is no part of a home's plan.
    """
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
    if load_profile(profile).kind == "charger":
        await _serve_charger(profile, host, port, speed, say)
        return
    plan = plan_for(profile, seed)
    home, clock = _home_now(plan, seed, speed)
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


async def _serve_charger(profile: str, host: str, port: int, speed: float, say: Callable[[str], object]) -> None:
    clock = ScaledClock(time.time(), int(time.time()), speed)
    read, write = charger_behind(clock)
    server = MeterServer(profile, read, write, host=host, port=port)
    await server.start()
    try:
        unit = load_profile(profile).bus.unit
        say(f"{profile} with a vehicle: modbus tcp {host}:{server.port}, unit {unit}; ctrl-c ends it")
        while True:
            await asyncio.sleep(NEWS_S)
            say(f"{read()['power_w']} W, import {read()['import_wh']} Wh")
    finally:
        await server.stop()


def charger_behind(clock: ScaledClock) -> tuple[ReadValues, OnWrite]:
    """A charger that moves when somebody reads it or sets its power."""
    charger = Charger(clock.now_ms() // 1000)

    def read() -> dict[str, int]:
        charger.advance(clock.now_ms() // 1000)
        return charger.values()

    def write(name: str, value: int) -> None:
        charger.advance(clock.now_ms() // 1000)
        if name == "power_setpoint_w":
            charger.set_power(value)

    return read, write


@dataclass(frozen=True, slots=True)
class TelegramLine:
    """Where telegrams go: a pseudo-terminal called ``serial`` where it is given, else the port; messages a broker."""

    host: str
    port: int
    serial: Path | None
    broker: tuple[str, int]
    name: str
    period_s: float


async def serve_telegrams(
    kind: str,
    line: TelegramLine,
    asked: bool,
    faults: tuple[str, ...],
    speed: float,
    seed: int,
    say: Callable[[str], object],
) -> None:
    """Sends until cancelled. Raises OSError where the line cannot be had."""
    plan = street(seed=seed)[0]
    home, clock = _home_now(plan, seed, speed)

    def shown() -> dict[str, int]:
        home.advance(max(home.now_s, clock.now_ms() // 1000))
        return home.meter_values()

    meter = TelegramMeter(kind, shown, asked)
    for fault in faults:
        setattr(meter.faults, fault, True)
    said = f"{kind} of home {plan.name}"
    if kind in MESSAGES:
        publisher = MqttMeter(meter, line.name, *line.broker, period_s=line.period_s)
        topics = ", ".join(sorted({topic for topic, _ in MESSAGES[kind](shown(), line.name, 0)}))
        say(f"{said}: mqtt {line.broker[0]}:{line.broker[1]}, {topics}; ctrl-c ends it")
        await publisher.run()
    elif line.serial is not None:
        device = PtyMeter(meter, line.serial, line.period_s)
        device.plug()
        say(f"{said}: serial {line.serial}; ctrl-c ends it")
        try:
            await asyncio.Event().wait()
        finally:
            device.unplug()
    else:
        server = TcpMeter(meter, line.host, line.port, line.period_s)
        await server.start()
        say(f"{said}: tcp {line.host}:{server.port}; ctrl-c ends it")
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop()


def _home_now(plan: HomePlan, seed: int, speed: float) -> tuple[Home, ScaledClock]:
    """The home on the first day of its input at this time of day, and its clock."""
    now_s = int(time.time())
    day = synthetic_day(seed, days=7)
    home = Home(plan, day)
    home.advance(day.start_s + now_s % 86_400)
    return home, ScaledClock(time.time(), home.now_s, speed)
