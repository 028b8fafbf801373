"""Simulated meters, inverters and batteries as a real Modbus server over TCP sockets.

`MeterServer` answers Modbus TCP or RTU frames over TCP. Each unit is driven by a device profile: on every read
the current values go through the same codec the agent decodes with, every write is decoded and handed on.
Registers outside the map answer exception 2, unknown units are silent as on a real bus.

Faults are plain attributes, to be changed while it runs:
`delay_ms` answers late, `truncate` leaves so many registers off a well-formed answer, `cut_bytes` leaves bytes
off the frame, `busy` answers exception 6, `silent` swallows requests.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from device_profiles.codec import LocalCodecError
from device_profiles.profile import Profile, load_profile

from .simulated_device import OnWrite, ReadValues, SimulatedDevice, WriteRefusedError

__all__ = ["Framing", "MeterServer"]

Framing = Literal["tcp", "rtu-over-tcp"]

_READS = (3, 4)
_WRITES = (6, 16)


class MeterServer:
    """One listening socket with one or several simulated units.

    `read_values` is asked on every read for the measurements as they are now (integers, load convention; what is
    not in the dict reads as the device's "no value"). `on_write(set-point name, value)` is called when a set-point
    takes effect or, with the fall-back, when it stops doing so. `port` 0 picks a free one; `unit` None takes the
    profile's. `requests` counts what arrived, `last_failure` says why a read was answered with exception 4.
    """

    def __init__(
        self,
        profile: Profile | str,
        read_values: ReadValues,
        on_write: OnWrite | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        unit: int | None = None,
        *,
        framing: Framing = "tcp",
        delay_ms: int = 0,
        truncate: int = 0,
        cut_bytes: int = 0,
        busy: bool = False,
        silent: bool = False,
    ) -> None:
        self.host = host
        self.delay_ms = delay_ms
        self.truncate = truncate
        self.cut_bytes = cut_bytes
        self.busy = busy
        self.silent = silent
        self.requests = 0
        self.last_failure = ""
        self._framing = framing
        self._port = port
        self._devices: dict[int, SimulatedDevice] = {}
        self._server: _Server | None = None
        self.add_unit(profile, read_values, on_write, unit)

    def add_unit(
        self,
        profile: Profile | str,
        read_values: ReadValues,
        on_write: OnWrite | None = None,
        unit: int | None = None,
    ) -> None:
        """Put another device on the same bus; before `start`, and each with a unit id of its own."""
        if self._server is not None:
            raise ValueError("units are added before start")
        loaded = load_profile(profile) if isinstance(profile, str) else profile
        number = loaded.bus.unit if unit is None else unit
        if number in self._devices:
            raise ValueError(f"unit {number} is taken")
        self._devices[number] = SimulatedDevice(loaded, read_values, on_write)

    @property
    def port(self) -> int:
        """The port it listens on; the one asked for while it does not listen."""
        return self._port if self._server is None else self._server.bound_port()

    @property
    def units(self) -> frozenset[int]:
        """Unit ids that answer."""
        return frozenset(self._devices)

    async def start(self) -> None:
        """Listen. OSError when the port is taken."""
        if self._server is not None:
            raise ValueError("already started")
        server = _Server(self, self._framing, (self.host, self._port))
        try:
            await server.serve_forever(background=True)
        except RuntimeError as exc:
            raise OSError(f"cannot listen on {self.host}:{self._port}") from exc
        self._server = server

    async def stop(self) -> None:
        """Close the socket and all connections; stops the device watchdogs too. May be called twice."""
        server, self._server = self._server, None
        for device in self._devices.values():
            device.close()
        if server is not None:
            await server.shutdown()  # type: ignore[no-untyped-call]

    def sim_devices(self) -> list[SimDevice]:
        """The units as the protocol library wants them: their maps, and one hook that does all the work."""
        return [
            SimDevice(number, _blocks(device.addresses()), action=self._hook(device))
            for number, device in self._devices.items()
        ]

    def _hook(self, device: SimulatedDevice) -> Any:
        async def answer(
            function: int,
            start: int,
            address: int,
            count: int,
            registers: list[int],
            values: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            if self.busy:
                return ExcCodes.DEVICE_BUSY
            if function in _WRITES and values is not None:
                return self._write(device, address, [int(v) for v in values])
            # The library reads a written register back under the write's own function code.
            code = 3 if function in _WRITES else function
            if code not in _READS:
                return ExcCodes.ILLEGAL_FUNCTION
            if not device.has(code, address, count):
                return ExcCodes.ILLEGAL_ADDRESS
            try:
                registers[address - start : address - start + count] = device.read(code, address, count)
            except LocalCodecError as exc:
                self.last_failure = str(exc)
                return ExcCodes.DEVICE_FAILURE
            return None

        return answer

    def _write(self, device: SimulatedDevice, address: int, words: list[int]) -> ExcCodes | None:
        try:
            device.write(address, words)
        except WriteRefusedError as exc:
            return ExcCodes.ILLEGAL_VALUE if exc.illegal_value else ExcCodes.ILLEGAL_ADDRESS
        except LocalCodecError as exc:
            self.last_failure = str(exc)
            return ExcCodes.DEVICE_FAILURE
        return None


def _blocks(addresses: list[int]) -> list[SimData]:
    """Runs of consecutive addresses; what lies between answers exception 2."""
    blocks: list[SimData] = []
    first = last = addresses[0]
    for address in [*addresses[1:], -1]:
        if address != last + 1:
            blocks.append(SimData(first, count=last - first + 1, values=0, datatype=DataType.REGISTERS))
            first = address
        last = address
    return blocks


class _Server(ModbusTcpServer):
    def __init__(self, owner: MeterServer, framing: Framing, address: tuple[str, int]) -> None:
        self.owner = owner
        framer = FramerType.RTU if framing == "rtu-over-tcp" else FramerType.SOCKET
        super().__init__(owner.sim_devices(), framer=framer, address=address, ignore_missing_devices=True)

    def bound_port(self) -> int:
        listener: Any = self.transport
        return int(listener.sockets[0].getsockname()[1])

    def callback_new_connection(self) -> ServerRequestHandler:
        return _Connection(self, self.owner)


class _Connection(ServerRequestHandler):
    """One client. Faults act here, after the answer is complete, so that a late one keeps its own number."""

    def __init__(self, server: _Server, owner: MeterServer) -> None:
        self.owner = owner
        super().__init__(server, None, None, None)  # type: ignore[no-untyped-call]

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        if self.owner.silent:
            return len(data)
        return int(super().callback_data(data, addr))

    async def handle_request(self) -> None:
        # The library's register store answers exception 4 for a unit it does not know; a bus is silent.
        if self.last_pdu is None or self.last_pdu.dev_id not in self.owner.units:
            return
        self.owner.requests += 1
        await super().handle_request()  # type: ignore[no-untyped-call]

    def pdu_send(self, pdu: ModbusPDU, addr: tuple[Any, ...] | None = None) -> None:
        if self.owner.truncate and pdu.function_code in _READS:
            pdu.registers = list(pdu.registers)[: -self.owner.truncate]
        super().pdu_send(pdu, addr)

    def send(self, data: bytes, addr: tuple[Any, ...] | None = None) -> None:
        if self.owner.cut_bytes:
            data = data[: -self.owner.cut_bytes]
        if self.owner.delay_ms:
            asyncio.get_running_loop().call_later(self.owner.delay_ms / 1000, self._send_late, data)
        else:
            super().send(data, addr)

    def _send_late(self, data: bytes) -> None:
        if self.transport is not None:
            super().send(data)
