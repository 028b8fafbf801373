"""The two things a bus can hang on, as one: a TCP connection or a serial line that brings bytes as they come.

Both push: `received` is called in the loop with every chunk, `lost` once the other side is gone. Time on a serial
line is counted in characters: `characters_s` says how long so many take, `gap_s` how long the line must be silent
between two frames (3.5 characters, 1.75 ms above 19200 baud).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable
from typing import Protocol

from edge_agent.shell.byte_line import SerialLine, SerialSettings

CONNECT_TIMEOUT_S = 3.0
CHUNK_BYTES = 4096
FAST_BAUD = 19_200
FAST_GAP_S = 0.00175

Received = Callable[[bytes], None]
Lost = Callable[[], None]


class Wire(Protocol):
    """An open connection."""

    def send(self, frame: bytes) -> None:
        """Raises OSError where it is gone."""

    def close(self) -> None:
        """May be called twice."""


class TcpWire(asyncio.Protocol):
    """One TCP connection."""

    def __init__(self, received: Received, lost: Lost) -> None:
        self._received, self._lost = received, lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop hands the connection over."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._transport is not None:
            self._received(data)

    def connection_lost(self, _: Exception | None) -> None:
        """The other side is gone, or we closed."""
        if self._transport is not None:
            self._transport = None
            self._lost()

    def send(self, frame: bytes) -> None:
        """Raises OSError where the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the other side closed the connection")
        self._transport.write(frame)

    def close(self) -> None:
        """Drops what is still to be sent: a request nobody waits for must not go out."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


async def open_tcp_wire(host: str, port: int, received: Received, lost: Lost) -> TcpWire:
    """Raises OSError, TimeoutError among it."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, wire = await asyncio.get_running_loop().create_connection(lambda: TcpWire(received, lost), host, port)
    return wire


class SerialWire:
    """One serial line. Raises OSError where it cannot be had."""

    def __init__(self, path: str, settings: SerialSettings, received: Received, lost: Lost) -> None:
        self._line = SerialLine(path, settings)
        self._fd = self._line.fileno()
        self._received, self._lost = received, lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            chunk = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._received(chunk)
        else:  # hung up: a USB adapter was pulled
            self.close()
            self._lost()

    def send(self, frame: bytes) -> None:
        """Raises OSError: the line is gone, or so full that a frame does not fit, which a working one never is."""
        if self._fd < 0:
            raise ConnectionResetError("the serial line is closed")
        with contextlib.suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)  # what came before the question cannot be its answer
        if os.write(self._fd, frame) != len(frame):
            raise OSError("the serial line does not take bytes any more")

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, termios.TIOCNXCL)  # others may hold the device open and want it back
            self._fd = -1
            self._line.close()


def characters_s(count: int, settings: SerialSettings) -> float:
    """Seconds so many characters take: start, data bits, parity if any, stop bits."""
    bits = 1 + settings.data_bits + (settings.parity != "N") + settings.stop_bits
    return count * bits / settings.baud


def gap_s(settings: SerialSettings) -> float:
    """Silence between two frames."""
    return FAST_GAP_S if settings.baud > FAST_BAUD else characters_s(7, settings) / 2
