"""Many simulated devices at once: a fleet of Modbus meters, or one whole home, and the agent's file to match.

A fleet is rows of a profile and a count, each on ports of its own (one a meter) or as units behind one port. Every
device shows a home of its own, which lives on the fleet's clock; physics moves when somebody reads.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from coordinator.shell.clock import ScaledClock
from device_profiles.profile import list_profiles, load_profile
from simulators.agent_toml import METERS_LIMIT, agent_toml
from simulators.home import Home, street
from simulators.live.home_meters import HomeMeters
from simulators.live.modbus import MeterServer
from simulators.live.simulated_device import OnWrite, ReadValues
from simulators.live.single_meter import charger_behind, plan_for
from simulators.weather import DayInput, synthetic_day

DEVICES_LIMIT = 1_000
"""A listening socket and a home each: a gigabyte and the default limit of open files."""
UNITS_LIMIT = 247
_DAYS = 7
_ROW_KEYS = {"profile", "count", "port", "one_port"}


class LocalFleetError(ValueError):
    """A fleet that cannot be, with the reason."""


@dataclass(frozen=True, slots=True)
class FleetRow:
    """``count`` devices of a profile on ports from ``port`` on (0: free ones), or as units 1.. behind that one port."""

    profile: str
    count: int = 1
    port: int = 0
    one_port: bool = False

    def __post_init__(self) -> None:
        if self.profile not in list_profiles():
            raise LocalFleetError(f"no profile is called {self.profile!r}")
        most = UNITS_LIMIT if self.one_port else DEVICES_LIMIT
        if not 1 <= self.count <= most:
            raise LocalFleetError(f"{self.profile}: 1 to {most} devices, not {self.count}")
        if not 0 <= self.port <= 65_535 or (self.port and not self.one_port and self.port + self.count > 65_536):
            raise LocalFleetError(f"{self.profile}: no port {self.port}")


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """Where one of them listens."""

    name: str
    profile: str
    port: int
    unit: int


def rows_from_toml(path: Path) -> list[FleetRow]:
    """``[[device]]`` tables with the keys of a FleetRow. Raises LocalFleetError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["device"]
        if not isinstance(tables, list) or not all(isinstance(t, dict) and t.keys() <= _ROW_KEYS for t in tables):
            raise LocalFleetError(f"{path}: every [[device]] has {', '.join(sorted(_ROW_KEYS))}, and nothing else")
        return [FleetRow(**table) for table in tables]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise LocalFleetError(f"{path} is no fleet: {error}") from error


class Fleet:
    """All devices of the rows. ``seed`` says which homes stand behind them."""

    def __init__(self, rows: list[FleetRow], host: str = "127.0.0.1", seed: int = 1, speed: float = 1.0) -> None:
        if not 1 <= sum(row.count for row in rows) <= DEVICES_LIMIT:
            raise LocalFleetError(f"1 to {DEVICES_LIMIT} devices in all")
        day = synthetic_day(seed, days=_DAYS)
        self._clock = _clock_of(day, speed)
        self._names: list[tuple[str, str, MeterServer, int]] = []
        self._servers: list[MeterServer] = []
        for place, row in enumerate(rows):
            self._add(row, f"{place + 1}" if len(rows) > 1 else "", host, seed, day)

    def _add(self, row: FleetRow, tag: str, host: str, seed: int, day: DayInput) -> None:
        kind, unit = load_profile(row.profile).kind, load_profile(row.profile).bus.unit
        for number in range(row.count):
            write: OnWrite | None = None
            if kind == "charger":
                read, write = charger_behind(self._clock)
            else:
                plan = replace(plan_for(row.profile, seed + number), seed=seed + number)
                read = self._reader(Home(plan, day), f"{kind}_values")
            if row.one_port and number:
                self._servers[-1].add_unit(row.profile, read, write, unit=number + 1)
            else:
                port = row.port if row.one_port or not row.port else row.port + number
                server = MeterServer(row.profile, read, write, host, port, 1 if row.one_port else unit)
                self._servers.append(server)
            named = f"meter{tag}-{number + 1}"
            self._names.append((named, row.profile, self._servers[-1], number + 1 if row.one_port else unit))

    def _reader(self, home: Home, view: str) -> ReadValues:
        def read() -> dict[str, int]:
            home.advance(max(home.now_s, self._clock.now_ms() // 1000))
            values: dict[str, int] = getattr(home, view)()
            return values

        return read

    async def start(self) -> None:
        """Opens every socket. Raises OSError."""
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        """Closes every socket."""
        for server in self._servers:
            await server.stop()

    def devices(self) -> list[FleetDevice]:
        """Where they listen."""
        return [FleetDevice(name, profile, server.port, unit) for name, profile, server, unit in self._names]

    def configurations(self, host: str) -> list[str]:
        """Agents' files for all of them, as few as an agent's limit allows."""
        rows: list[dict[str, str | int]] = [
            {"name": d.name, "profile": d.profile, "host": host, "port": d.port, "unit": d.unit} for d in self.devices()
        ]
        parts = [rows[first : first + METERS_LIMIT] for first in range(0, len(rows), METERS_LIMIT)]
        return [
            agent_toml(f"fleet{n}", ({"number": k, **row} for k, row in enumerate(part)), f"{len(part)} meters")
            for n, part in enumerate(parts, 1)
        ]


class SimulatedHome:
    """Meter, inverter and battery of one home, each a Modbus TCP server: on ``port`` and the next ones, 0 is free."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, seed: int = 1, speed: float = 1.0) -> None:
        self.plan = next(plan for plan in street(seed=seed) if plan.battery is not None)
        day = synthetic_day(seed, days=_DAYS)
        self.home = Home(self.plan, day)
        clock = _clock_of(day, speed)
        kinds = ("meter", "inverter", "battery")
        ports = {kind: port + place for place, kind in enumerate(kinds)} if port else {}
        self._host = host
        self._meters = HomeMeters([self.plan], [self.home], clock, host=host, ports=ports)

    async def start(self) -> None:
        """Opens the sockets. Raises OSError."""
        await self._meters.start()

    async def stop(self) -> None:
        """Closes them."""
        await self._meters.stop()

    def devices(self) -> list[FleetDevice]:
        """Where they listen; names are their roles."""
        return [FleetDevice(e.role, e.profile, e.port, e.unit) for e in self._meters.endpoints(0)]

    def configuration(self) -> str:
        """The agent's file."""
        rows: list[dict[str, str | int]] = [
            {
                "number": e.number, "name": e.name, "profile": e.profile, "host": self._host, "port": e.port,
                "unit": e.unit, "role": e.role,
            }
            for e in self._meters.endpoints(0)
        ]  # fmt: skip
        return agent_toml(self.plan.name, rows, f"home {self.plan.name}")


def _clock_of(day: DayInput, speed: float) -> ScaledClock:
    """The first day of the input, at this time of day."""
    now_s = time.time()
    return ScaledClock(now_s, day.start_s + int(now_s) % 86_400, speed)


def lines_of(devices: list[FleetDevice], host: str) -> list[str]:
    """One line a device, for people."""
    return [f"{d.name}: {d.profile}, modbus tcp {host}:{d.port}, unit {d.unit}" for d in devices]


def say_all(lines: list[str], say: Callable[[str], object]) -> None:
    """Every line, and how to end it."""
    for line in lines:
        say(line)
    say("ctrl-c ends it")
