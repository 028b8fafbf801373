"""The devices of a street as real Modbus TCP servers: one listening socket a device, driven by its profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.profile import load_profile
from simulators.home import Home, HomePlan
from simulators.live.clock_port import NowClock
from simulators.live.modbus import MeterServer
from simulators.live.simulated_device import OnWrite, ReadValues

COMMAND_HOLDS_S = 300
"""A set-point that arrives without a watchdog of its own lasts one dispatch period, then the home is its own again."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a device of a home listens. ``number`` and ``role`` are what the agent's configuration says of it."""

    number: int
    name: str
    profile: str
    role: str
    port: int
    unit: int


class HomeMeters:
    """All servers of a street. Physics moves when somebody reads: a value is as fresh as the question."""

    def __init__(
        self,
        plans: list[HomePlan],
        homes: list[Home],
        clock: NowClock,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] | None = None,
    ) -> None:
        """``ports`` asks for a port by kind of device (meter, inverter, battery); all others are free ones."""
        self._clock = clock
        self._host = host
        self._ports = ports or {}
        self._servers: list[list[tuple[str, str, MeterServer]]] = []
        for plan, home in zip(plans, homes, strict=True):
            devices = [(plan.meter, "settlement", self._server("meter", plan.meter, home, None))]
            if plan.inverter is not None:
                write = self._inverter_writer(home)
                devices.append((plan.inverter, "inverter", self._server("inverter", plan.inverter, home, write)))
            if plan.battery is not None:
                write = self._battery_writer(home)
                devices.append((plan.battery, "battery", self._server("battery", plan.battery, home, write)))
            self._servers.append(devices)

    def _server(self, kind: str, profile: str, home: Home, write: OnWrite | None) -> MeterServer:
        reader = self._reader(home, f"{kind}_values")
        return MeterServer(profile, reader, write, host=self._host, port=self._ports.get(kind, 0))

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1000

    def _reader(self, home: Home, view: str) -> ReadValues:
        def read() -> dict[str, int]:
            home.advance(max(home.now_s, self._now_s()))
            values: dict[str, int] = getattr(home, view)()
            return values

        return read

    def _inverter_writer(self, home: Home) -> OnWrite:
        def write(name: str, value: int) -> None:
            if name == "power_limit_permille":
                home.set_inverter_limit(permille=value, expires_at_s=self._now_s() + COMMAND_HOLDS_S)

        return write

    def _battery_writer(self, home: Home) -> OnWrite:
        def write(name: str, value: int) -> None:
            if name == "power_setpoint_w":
                home.set_battery_power(value, expires_at_s=self._now_s() + COMMAND_HOLDS_S)

        return write

    async def start(self) -> None:
        """Opens every socket."""
        for devices in self._servers:
            for _, _, server in devices:
                await server.start()

    async def stop(self) -> None:
        """Closes every socket."""
        for devices in self._servers:
            for _, _, server in devices:
                await server.stop()

    def endpoints(self, place: int) -> list[Endpoint]:
        """Where the devices of home ``place`` listen; number 0 is the meter that counts for money."""
        return [
            Endpoint(number, role, profile, role, server.port, load_profile(profile).bus.unit)
            for number, (profile, role, server) in enumerate(self._servers[place])
        ]
