"""A stream of bytes to and from a meter: a serial line of this machine, or a serial server's TCP port.

Serial lines are set up with termios, raw and non-blocking, and read when the loop says that bytes are there. A line
that is gone (unplugged, hung up, closed by the other side) raises OSError from `read` and `write`; it is then opened
anew, by its path, which a USB adapter may get back.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 4096
"""More than any telegram's part that comes at once, less than a flood that would hold the loop."""
OPEN_LIMIT_S = 5.0
WRITE_LIMIT_S = 5.0
"""300 baud send 30 bytes a second; a question has at most six."""

_PSEUDO_TERMINALS = "/dev/pts/"
_BAUDS = {
    rate: getattr(termios, f"B{rate}")
    for rate in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
    if hasattr(termios, f"B{rate}")
}


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """``parity`` is N, E or O; ``data_bits`` 7 or 8."""

    baud: int
    data_bits: int = 8
    parity: str = "N"
    stop_bits: int = 1

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}"


class ByteLine(Protocol):
    """An open line. Both directions raise OSError once it is gone."""

    @property
    def can_switch(self) -> bool:
        """Whether `set_baud` has an effect."""

    async def read(self) -> bytes:
        """At least one byte, as soon as there is one."""

    async def write(self, chunk: bytes) -> None:
        """Returns once the bytes have left."""

    def set_baud(self, baud: int) -> None:
        """Another speed from now on."""

    def close(self) -> None:
        """May be called twice."""


class SerialLine:
    """A serial device by its path. Raises OSError where it cannot be had, also for a rate the machine does not know."""

    can_switch = True

    def __init__(self, path: str, settings: SerialSettings) -> None:
        self._settings = settings
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(self._fd, termios.TIOCEXCL)  # two readers would each get half of every telegram
            self._set_up(settings)
            termios.tcflush(self._fd, termios.TCIOFLUSH)
        except (OSError, termios.error) as error:
            self.close()
            raise OSError(f"{path} is no serial line we can set to {settings}: {error}") from error

    def _set_up(self, settings: SerialSettings) -> None:
        speed = _BAUDS.get(settings.baud)
        if speed is None:
            raise OSError(f"{settings.baud} baud is no rate of this machine")
        control = termios.CREAD | termios.CLOCAL | (termios.CS7 if settings.data_bits == 7 else termios.CS8)
        if settings.parity != "N":
            control |= termios.PARENB | (termios.PARODD if settings.parity == "O" else 0)
        if settings.stop_bits == 2:
            control |= termios.CSTOPB
        characters = termios.tcgetattr(self._fd)[6]
        # At least one byte, no timer: then nothing to read is EAGAIN, and an empty read means hung up.
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        input_flags = termios.IGNBRK | (termios.IGNPAR if settings.parity == "N" else termios.INPCK)
        attributes = [input_flags, 0, control, 0, speed, speed, characters]
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        except termios.error:
            if not os.ttyname(self._fd).startswith(_PSEUDO_TERMINALS):
                raise
            # It has no wire, so neither parity nor seven bits, and may refuse to be told of them.
            attributes[2] = control & ~(termios.PARENB | termios.PARODD | termios.CSIZE) | termios.CS8
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)

    def fileno(self) -> int:
        """The descriptor, for who watches the line himself. Raises OSError once it is closed."""
        return self._descriptor()

    async def read(self) -> bytes:
        """At least one byte. Raises OSError."""
        while True:
            try:
                chunk = os.read(self._descriptor(), CHUNK_BYTES)
            except BlockingIOError:
                await self._ready(writing=False)
                continue
            if not chunk:
                raise ConnectionResetError("the serial line hung up")
            return chunk

    async def write(self, chunk: bytes) -> None:
        """Returns once the bytes have left at this speed. Raises OSError."""
        left = chunk
        async with asyncio.timeout(WRITE_LIMIT_S):
            while left:
                try:
                    left = left[os.write(self._descriptor(), left) :]
                except BlockingIOError:
                    await self._ready(writing=True)
        bits = 1 + self._settings.data_bits + (self._settings.parity != "N") + self._settings.stop_bits
        await asyncio.sleep(len(chunk) * bits / self._settings.baud)

    async def _ready(self, writing: bool) -> None:
        loop, descriptor = asyncio.get_running_loop(), self._descriptor()
        ready: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not ready.done():
                ready.set_result(None)

        watch, forget = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
        watch(descriptor, tell)
        try:
            await ready
        finally:
            forget(descriptor)

    def set_baud(self, baud: int) -> None:
        """Another speed from now on. Raises OSError."""
        settings = SerialSettings(baud, self._settings.data_bits, self._settings.parity, self._settings.stop_bits)
        try:
            self._set_up(settings)
        except termios.error as error:
            raise OSError(str(error)) from error
        self._settings = settings

    def _descriptor(self) -> int:
        if self._fd < 0:
            raise ConnectionResetError("the line is closed")
        return self._fd

    def close(self) -> None:
        """May be called twice; not while somebody reads."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)


class TcpLine:
    """The other end of a serial server."""

    can_switch = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        """At least one byte. Raises OSError."""
        chunk = await self._reader.read(CHUNK_BYTES)
        if not chunk:
            raise ConnectionResetError("the other side closed the connection")
        return chunk

    async def write(self, chunk: bytes) -> None:
        """Hands the bytes to the system. Raises OSError."""
        self._writer.write(chunk)
        async with asyncio.timeout(WRITE_LIMIT_S):
            await self._writer.drain()

    def set_baud(self, baud: int) -> None:
        """The serial server's own settings stay."""

    def close(self) -> None:
        """May be called twice."""
        self._writer.close()


async def open_tcp(host: str, port: int) -> TcpLine:
    """Raises OSError."""
    async with asyncio.timeout(OPEN_LIMIT_S):
        reader, writer = await asyncio.open_connection(host, port, limit=CHUNK_BYTES)
    return TcpLine(reader, writer)
