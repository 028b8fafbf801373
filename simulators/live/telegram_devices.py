"""Simulated meters that send telegrams, over real lines: a pty, a TCP port, an MQTT broker.

    TelegramMeter (what it shows, how it speaks, its faults)
      |  MbusSlave, several of them an MbusLine   (mbus_slaves.py)
      `-> PtyMeter   a serial device of this machine, with a name of your choice
       -> TcpMeter   what a serial server offers
       -> MqttMeter  messages to a real broker

Meters that push send a telegram a period; M-Bus answers its master, IEC 62056-21 mode C its opening and the
acknowledgement (``asked``), and speaks and hears at its own speed of the moment: on a pseudo-terminal that is set to
another one it hears nothing, and what it says is garbled. Faults are plain attributes of `TelegramFaults`, to be
changed while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import termios
import time
import tty
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiomqtt

from simulators.live.mbus_slaves import MbusSlave
from simulators.telegrams import MESSAGES, STREAMS, Messages, Values, iec_block, mbus_parts

__all__ = ["MqttMeter", "PtyMeter", "TcpMeter", "TelegramFaults", "TelegramMeter"]

SERIAL = "12345678"
_CHUNK_BYTES = 4096
_QUESTION_BYTES = 64
_IEC_ACKNOWLEDGED = re.compile(rb"\x060([0-6])0\r\n")
_IEC_BAUD = 300
_IEC_REACTION_S = 0.2
_CHARACTER_BITS = 10
_HEARD_LIMIT = 64
_GARBAGE = b"\x00\xff/?x\x1b\x1b\x1b\x1b\x01h\x10\x16!"


@dataclass(slots=True)
class TelegramFaults:
    """``cut`` loses the second half of every telegram, ``garbage`` sends nonsense before it, ``wrong_checksum`` flips
    a bit in its middle, ``duplicate`` sends it twice, ``silent`` sends nothing."""

    cut: bool = False
    garbage: bool = False
    wrong_checksum: bool = False
    duplicate: bool = False
    silent: bool = False

    def on(self, telegram: bytes) -> bytes:
        """What of it reaches the line."""
        if self.silent or not telegram:
            return b""
        if self.wrong_checksum:
            place = len(telegram) // 2
            telegram = telegram[:place] + bytes((telegram[place] ^ 0x01,)) + telegram[place + 1 :]
        if self.cut:
            telegram = telegram[: len(telegram) // 2]
        if self.duplicate:
            telegram *= 2
        return _GARBAGE + telegram if self.garbage else telegram


class TelegramMeter:
    """What a meter says in the words of ``kind``; ``read_values`` is asked anew for every telegram."""

    def __init__(
        self,
        kind: str,
        read_values: Callable[[], Values],
        asked: bool = False,
        serial: str = SERIAL,
        address: int = 1,
        parts: int = 1,
    ) -> None:
        if kind not in STREAMS and kind not in MESSAGES:
            raise ValueError(f"{kind!r} is none of {', '.join((*STREAMS, *MESSAGES))}")
        self.kind = kind
        self.faults = TelegramFaults()
        self.sent = 0
        self.is_asked = asked or kind == "mbus"
        self._serial = serial
        self._read_values = read_values
        self._question = bytearray()
        self.baud = _IEC_BAUD if kind == "iec62056" and asked else None
        self._address, self._parts = address, parts
        self._slave = MbusSlave(address, serial, self._mbus_parts) if kind == "mbus" else None

    def _mbus_parts(self) -> list[bytes]:
        self.sent += 1
        raws = mbus_parts(self._read_values(), self._serial, int(time.time()), self._address, self._parts)
        return [self.faults.on(raw) for raw in raws]

    def telegram(self) -> bytes:
        """The telegram of now, with its faults."""
        raw = STREAMS[self.kind](self._read_values(), self._serial, int(time.time()))
        self.sent += 1
        return self.faults.on(raw)

    def messages(self, name: str) -> Messages:
        """The messages of now, with their faults."""
        self.sent += 1
        found = MESSAGES[self.kind](self._read_values(), name, int(time.time()))
        return [(topic, told) for topic, payload in found if (told := self.faults.on(payload))]

    def answer(self, chunk: bytes) -> bytes:
        """What it says to a question, or to a part of one."""
        if not self.is_asked:
            return b""
        if self._slave is not None:
            said = self._slave.answer(chunk)
            return b"" if self.faults.silent else said
        self._question += chunk
        del self._question[:-_QUESTION_BYTES]
        return self._answer_iec()

    def _answer_iec(self) -> bytes:
        if b"/?!\r\n" in self._question:
            self._question.clear()
            return b"" if self.faults.silent else b"/ESG5SIMULATED\r\n"
        if acknowledged := _IEC_ACKNOWLEDGED.search(self._question):
            self.sent += 1
            self.baud = _IEC_BAUD << int(acknowledged[1])
            self._question.clear()
            return self.faults.on(iec_block(self._read_values(), self._serial))
        return b""


class Speaker(Protocol):
    """A meter, or a line of several. ``baud`` is its speed of the moment, None where it has but one."""

    is_asked: bool
    baud: int | None

    def telegram(self) -> bytes:
        """What it says unasked."""

    def answer(self, chunk: bytes) -> bytes:
        """What it says to a question, or to a part of one."""


class PtyMeter:
    """A meter on a pseudo-terminal. ``link`` is a path that leads to it; it stays the same when `unplug` and `plug`
    have put another terminal behind it, like a name in /dev/serial/by-id. ``heard`` are the last questions, each with
    the speed that the other end was set to."""

    def __init__(self, meter: Speaker, link: Path, period_s: float = 1.0) -> None:
        self.meter = meter
        self.link = link
        self.heard: deque[tuple[int, bytes]] = deque(maxlen=_HEARD_LIMIT)
        self._period_s = period_s
        self._fd = self._other = -1
        self._pushing: asyncio.Task[None] | None = None

    def plug(self) -> None:
        """The device appears. Raises OSError."""
        self._fd, self._other = os.openpty()
        tty.setraw(self._other)
        os.set_blocking(self._fd, False)
        if self.link.is_symlink():
            self.link.unlink()  # another kind of file is not ours to remove
        self.link.symlink_to(os.ttyname(self._other))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._asked)
        self._pushing = None if self.meter.is_asked else asyncio.create_task(self._push())

    def unplug(self) -> None:
        """The device is gone: who reads it sees it hang up."""
        if self._fd < 0:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._pushing is not None:
            self._pushing.cancel()
        os.close(self._fd)
        os.close(self._other)
        self._fd = self._other = -1
        self.link.unlink(missing_ok=True)

    def line_baud(self) -> int:
        """What the reader's end is set to; a terminal's two ends have one setting. 0 for a rate without a name."""
        speed = termios.tcgetattr(self._fd)[5]
        named = (int(name[1:]) for name in dir(termios) if re.fullmatch("B[0-9]+", name))
        return next((baud for baud in named if getattr(termios, f"B{baud}") == speed), 0)

    def _asked(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            chunk, baud = os.read(self._fd, _CHUNK_BYTES), self.meter.baud
            if baud is None:
                self._send(self.meter.answer(chunk))
                return
            self.heard.append((self.line_baud(), chunk))
            if self.heard[-1][0] == baud and (said := self.meter.answer(chunk)):
                wire_s = len(chunk) * _CHARACTER_BITS / baud
                asyncio.get_running_loop().call_later(wire_s + _IEC_REACTION_S, self._send_at_speed, said, self._fd)

    def _send_at_speed(self, chunk: bytes, descriptor: int) -> None:
        """Speaks, and is at its first speed again; who listens at another one reads nonsense."""
        if descriptor == self._fd:
            self._send(chunk if self.line_baud() == self.meter.baud else bytes(b ^ 0x55 for b in chunk))
        if not chunk.startswith(b"/"):
            self.meter.baud = _IEC_BAUD

    def _send(self, chunk: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: as on a wire, it is lost
            os.write(self._fd, chunk)

    async def _push(self) -> None:
        while True:
            self._send(self.meter.telegram())
            await asyncio.sleep(self._period_s)


class TcpMeter:
    """A meter behind a serial server; everybody who connects hears it."""

    def __init__(self, meter: Speaker, host: str = "127.0.0.1", port: int = 0, period_s: float = 1.0) -> None:
        self.meter = meter
        self.port = port
        self._host = host
        self._period_s = period_s
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pushing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens; the port is then known. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._pushing = None if self.meter.is_asked else asyncio.create_task(self._push())

    async def stop(self) -> None:
        """Closes the port and every connection."""
        if self._pushing is not None:
            self._pushing.cancel()
        for writer in list(self._writers):
            writer.close()
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                writer.write(self.meter.answer(chunk))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _push(self) -> None:
        while True:
            telegram = self.meter.telegram()
            for writer in self._writers:
                writer.write(telegram)
            await asyncio.sleep(self._period_s)


class MqttMeter:
    """A meter that publishes to a broker as ``name``; run it as a task."""

    def __init__(self, meter: TelegramMeter, name: str, host: str, port: int, period_s: float = 1.0) -> None:
        self.meter = meter
        self.name = name
        self._host, self._port, self._period_s = host, port, period_s

    async def run(self) -> None:
        """Publishes until cancelled, also again after the broker was away."""
        while True:
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                async with aiomqtt.Client(self._host, self._port, protocol=aiomqtt.ProtocolVersion.V311) as client:
                    while True:
                        for topic, payload in self.meter.messages(self.name):
                            await client.publish(topic, payload, qos=1)
                        await asyncio.sleep(self._period_s)
            await asyncio.sleep(self._period_s)
