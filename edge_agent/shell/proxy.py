"""A read-only Modbus TCP server: other readers get what the agent read last, and the bus is asked by one alone.

Many inverters and dongles accept one connection, and a serial line has one master. Whoever else wants values (a
charger, a display, an energy manager) connects here instead: unit ``number + 1`` is the [[meter]] with that number,
the registers are the device's own, as they came with the last poll. What the agent does not read is not there, what
is older than three polls is not shown, and nothing is ever written.

    read of polled registers -> the words of the last poll          older than the limit -> exception 11
    of anything else         -> exception 2                         another unit         -> exception 10
    every other function     -> exception 1                         too many a second    -> exception 6
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from edge_agent.config import ProxyConfig
from edge_agent.effects import Counters
from edge_agent.modbus_frame import EXCEPTION_BIT, READ_HOLDING, READ_INPUT, READ_LIMIT
from edge_agent.shell.clock import Clock
from edge_agent.shell.modbus import BusTask, Unit

CLIENTS_LIMIT = 8
"""A charger, a display, a home automation, and as many again; each costs a few kB."""
RATE_LIMIT = 20
BURST_LIMIT = 40
"""Requests a second and at once, of one client: values are new once a second, and a map has a dozen blocks."""
IDLE_LIMIT_S = 300.0
"""A client that has asked nothing for so long is gone, or blocks the place of another."""
STALE_POLLS = 3
STALE_FLOOR_MS = 5_000
_HEADER_BYTES = 6
_REQUEST_LIMIT = 254
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY, NO_PATH, NO_ANSWER = 1, 2, 3, 6, 10, 11


class Proxy:
    """The server of one agent. ``buses`` are those whose devices it shows."""

    def __init__(self, config: ProxyConfig, buses: Iterable[BusTask], clock: Clock, counters: Counters) -> None:
        self.port = config.port
        self._config = config
        self._clock = clock
        self._counters = counters
        self._clients = 0
        self._units: dict[int, Unit] = {}
        for bus in buses:
            for name in bus.names():
                unit = bus.unit(name)
                if unit.config.number < 255:  # beyond that Modbus has no unit for it
                    self._units[unit.config.number + 1] = unit

    async def run(self) -> None:
        """Serves until it is cancelled. Raises OSError where the address cannot be had."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Client(self), self._config.host, self._config.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            await server.serve_forever()
        finally:
            server.close()

    def admit(self) -> bool:
        """Whether there is room for one client more; `leave` gives it back."""
        if self._clients >= CLIENTS_LIMIT:
            self._counters.count("proxy_refused")
            return False
        self._clients += 1
        return True

    def leave(self) -> None:
        """A client is gone."""
        self._clients -= 1

    def answer(self, request: bytes) -> bytes:
        """Unit and PDU of the answer to unit and PDU of a request; at least two bytes come in."""
        unit, function = request[0], request[1]
        code = ILLEGAL_FUNCTION
        if function in (READ_HOLDING, READ_INPUT):
            found = self._read(unit, function, request[2:])
            if isinstance(found, bytes):
                self._counters.count("proxy_read")
                return bytes((unit, function, len(found))) + found
            code = found
        self._counters.count("proxy_exception")
        return exception(unit, function, code)

    def _read(self, number: int, function: int, place: bytes) -> bytes | int:
        if len(place) != 4:
            return ILLEGAL_VALUE
        address, count = int.from_bytes(place[:2], "big"), int.from_bytes(place[2:], "big")
        if not 1 <= count <= READ_LIMIT:
            return ILLEGAL_VALUE
        unit = self._units.get(number)
        if unit is None:
            return NO_PATH
        stale_ms = max(STALE_FLOOR_MS, STALE_POLLS * 1000 * unit.config.poll_s)
        if not unit.blocks or self._clock.now_ms() - unit.read_at_ms > stale_ms:
            return NO_ANSWER
        for question, block in zip(unit.questions or (), unit.blocks, strict=False):
            at = 2 * (address - question.address)
            if question.function == function and 0 <= at <= len(block) - 2 * count:
                return block[at : at + 2 * count]
        return ILLEGAL_ADDRESS


def exception(unit: int, function: int, code: int) -> bytes:
    """An exception answer."""
    return bytes((unit, function | EXCEPTION_BIT, code))


class _Client(asyncio.Protocol):
    """One connection: frames it, bounds its rate, and ends where it speaks no Modbus."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._credit = float(BURST_LIMIT)
        self._credit_at_s = 0.0
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._proxy.admit():
            transport.abort()
            return
        self._transport = transport
        self._credit_at_s = asyncio.get_running_loop().time()
        self._wait()

    def connection_lost(self, _: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._transport = None
            self._proxy.leave()

    def data_received(self, data: bytes) -> None:
        transport, buffer = self._transport, self._buffer
        if transport is None:
            return
        self._wait()
        buffer += data
        while len(buffer) >= _HEADER_BYTES:
            length = buffer[4] << 8 | buffer[5]
            if buffer[2] or buffer[3] or not 2 <= length <= _REQUEST_LIMIT:
                transport.abort()
                return
            if len(buffer) < _HEADER_BYTES + length:
                return
            number, request = bytes(buffer[:4]), bytes(buffer[_HEADER_BYTES : _HEADER_BYTES + length])
            del buffer[: _HEADER_BYTES + length]
            answer = self._proxy.answer(request) if self._may_ask() else exception(request[0], request[1], BUSY)
            if transport.get_write_buffer_size() > _REQUEST_LIMIT * BURST_LIMIT:
                transport.abort()  # asks and does not listen
                return
            transport.write(number + len(answer).to_bytes(2, "big") + answer)

    def _may_ask(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        self._credit = min(BURST_LIMIT, self._credit + (now_s - self._credit_at_s) * RATE_LIMIT)
        self._credit_at_s = now_s
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_LIMIT_S, self._transport.abort)
