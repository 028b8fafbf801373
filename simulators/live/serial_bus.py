"""A serial Modbus RTU bus with several simulated units: on a pseudo-terminal, or behind a gateway's TCP port.

`RtuBus` is the wire as a half-duplex line has it: a frame takes as long as its characters at this speed, the unit
thinks for its turnaround, and only then its answer travels, character time by character time. A frame for a unit
that is not there meets silence. Faults are told per answer by a `FaultPlan`: a script, then a chance, both repeatable.
Units are driven by device profiles, as in `modbus.py`; what each of them held at every answer is kept in `history`,
so that a test can compare what was read with what was there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import tty
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from device_profiles.codec import LocalCodecError
from device_profiles.profile import Profile, load_profile
from device_profiles.register_type import TYPES

from .simulated_device import OnWrite, ReadValues, SimulatedDevice, WriteRefusedError

__all__ = ["FAULTS", "FaultPlan", "GatewayBus", "PtyBus", "RtuBus"]

FAULTS = (
    "late", "short", "duplicate", "crc", "busy", "wrong unit", "garbage", "half", "silent", "sentinel", "late double",
)  # fmt: skip
"""What an answer can suffer. Counters that roll over and clocks that jump are the values' own: see `rolled`."""
HISTORY_LIMIT = 100_000
FRAME_LIMIT_BYTES = 260
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, DEVICE_BUSY = 1, 2, 3, 4, 6
_READ_REQUEST_BYTES = 8
_GARBAGE = bytes((0x00, 0xFF, 0x13, 0x55, 0xAA, 0x7E))


@dataclass
class FaultPlan:
    """Which answer suffers what: first the script's words ("" is none), then ``share`` of them by chance.

    ``late_s`` is how late "late" comes; ``units`` None means all of them.
    """

    script: deque[str] = field(default_factory=deque)
    share: float = 0.0
    kinds: tuple[str, ...] = FAULTS
    late_s: float = 1.0
    units: frozenset[int] | None = None
    random: Random = field(default_factory=lambda: Random(1))

    def next(self, unit: int) -> str:
        """What happens to the next answer of this unit."""
        if self.units is not None and unit not in self.units:
            return ""
        if self.script:
            return self.script.popleft()
        return self.random.choice(self.kinds) if self.share and self.random.random() < self.share else ""


class RtuBus:
    """The line and its units. ``send`` is where bytes for the master go; `receive` takes the master's."""

    def __init__(self, baud: int = 9600, bits: int = 10, turnaround_ms: int | None = None) -> None:
        self.faults = FaultPlan()
        self.requests = 0
        self.dead: set[int] = set()
        self.history: dict[int, list[dict[str, int]]] = {}
        self.suffered: dict[str, int] = {}
        self._devices: dict[int, tuple[SimulatedDevice, ReadValues]] = {}
        self._character_s = bits / baud
        self._turnaround_ms = turnaround_ms
        self._heard = bytearray()
        self._heard_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._free_s = 0.0

    def add_unit(
        self, profile: Profile | str, read_values: ReadValues, unit: int | None = None, on_write: OnWrite | None = None
    ) -> None:
        """Another device on the line. ValueError for a number that is taken."""
        loaded = load_profile(profile) if isinstance(profile, str) else profile
        number = loaded.bus.unit if unit is None else unit
        if number in self._devices:
            raise ValueError(f"unit {number} is taken")
        shown: list[dict[str, int]] = []
        self.history[number] = shown

        def read() -> dict[str, int]:
            values = read_values()
            if len(shown) < HISTORY_LIMIT:
                shown.append(dict(values))
            return values

        self._devices[number] = (SimulatedDevice(loaded, read, on_write), read_values)

    def receive(self, chunk: bytes, send: Callable[[bytes], None]) -> None:
        """Bytes of the master; a silence of two frames' gap between them begins a new frame."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._heard_s > max(0.05, 7 * self._character_s):
            self._heard.clear()
        self._heard_s = now_s
        self._heard += chunk
        while frame := self._take_frame():
            self._begin(frame, send)

    def _take_frame(self) -> bytes:
        """The next request with a right checksum; what stands before it is passed over."""
        heard = self._heard
        for start in range(len(heard)):
            size = _request_bytes(heard[start:])
            frame = bytes(heard[start : start + size])
            if size and len(frame) == size and crc(frame[:-2]) == frame[-2:]:
                del heard[: start + size]
                return frame
        del heard[:-FRAME_LIMIT_BYTES]
        return b""

    def _begin(self, frame: bytes, send: Callable[[bytes], None]) -> None:
        unit = frame[0]
        self.requests += 1
        if unit not in self._devices or unit in self.dead:
            return
        task = asyncio.get_running_loop().create_task(self._answer(frame, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, frame: bytes, send: Callable[[bytes], None]) -> None:
        """Request travels, unit thinks, answer travels: the last character arrives when the line has carried it."""
        loop = asyncio.get_running_loop()
        device, _ = self._devices[frame[0]]
        turnaround_ms = device.profile.bus.turnaround_ms if self._turnaround_ms is None else self._turnaround_ms
        begun_s = max(loop.time(), self._free_s)
        asked_s = begun_s + len(frame) * self._character_s
        await _until(asked_s + turnaround_ms / 1000)
        fault = self.faults.next(frame[0])
        self.suffered[fault] = self.suffered.get(fault, 0) + 1
        if fault == "late":
            answer = seal(frame[0], self._reply(device, frame))  # what it held when it was asked
            await asyncio.sleep(self.faults.late_s)
            await self._travel(answer, send)
            return
        for pause_s, octets in self._spoilt(device, frame, fault):
            await asyncio.sleep(pause_s)
            await self._travel(octets, send)

    def _spoilt(self, device: SimulatedDevice, frame: bytes, fault: str) -> Iterable[tuple[float, bytes]]:
        """What travels instead of the right answer, and after which pauses."""
        unit = frame[0]
        if fault == "silent":
            return
        if fault == "busy":
            yield 0.0, seal(unit, bytes((frame[1] | 0x80, DEVICE_BUSY)))
            return
        body = self._reply(device, frame)
        good = seal(unit, body)
        if fault == "garbage":
            yield 0.0, _GARBAGE
            yield 0.01, good
        elif fault in ("duplicate", "late double"):
            yield 0.0, good
            yield 0.0 if fault == "duplicate" else 0.03, good
        elif fault == "short":
            yield 0.0, seal(unit, bytes((body[0], max(body[1] - 2, 0))) + body[2:-2]) if len(body) > 4 else good[:-1]
        elif fault == "half":
            yield 0.0, good[: len(good) // 2]
        elif fault == "crc":
            yield 0.0, good[:-1] + bytes((good[-1] ^ 0x40,))
        elif fault == "wrong unit":
            yield 0.0, seal(unit % 247 + 1, body)
        elif fault == "sentinel":
            yield 0.0, seal(unit, sentinel(device, frame, body))
        else:
            yield 0.0, good

    async def _travel(self, octets: bytes, send: Callable[[bytes], None]) -> None:
        """In pieces, as a receiver's buffer hands them on; nobody else can use the line meanwhile."""
        loop = asyncio.get_running_loop()
        begun_s = max(loop.time(), self._free_s)
        self._free_s = begun_s + len(octets) * self._character_s
        for end in range(16, len(octets) + 16, 16):
            await _until(begun_s + min(end, len(octets)) * self._character_s)
            send(octets[end - 16 : end])

    def _reply(self, device: SimulatedDevice, frame: bytes) -> bytes:
        """Function code and what follows it."""
        function, address, count = frame[1], int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        try:
            if function in (3, 4):
                if not 1 <= count <= 125 or not device.has(function, address, count):
                    return bytes((function | 0x80, ILLEGAL_ADDRESS))
                words = device.read(function, address, count)
                return bytes((function, 2 * count)) + b"".join(word.to_bytes(2, "big") for word in words)
            if function == 6:
                device.write(address, [count])
            elif function == 16:
                octets = frame[7:-2]
                device.write(address, [int.from_bytes(octets[i : i + 2], "big") for i in range(0, len(octets), 2)])
            else:
                return bytes((function | 0x80, ILLEGAL_FUNCTION))
        except WriteRefusedError as error:
            return bytes((function | 0x80, ILLEGAL_VALUE if error.illegal_value else ILLEGAL_ADDRESS))
        except LocalCodecError:
            return bytes((function | 0x80, DEVICE_FAILURE))
        return frame[1:6]

    async def quiet(self) -> None:
        """Ends everything under way, and the devices' watchdogs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device, _ in self._devices.values():
            device.close()


class PtyBus(RtuBus):
    """The line on a pseudo-terminal; the master opens `path`."""

    path = ""

    async def start(self) -> None:
        """Makes the pseudo-terminal. Raises OSError."""
        self._master, self._slave = pty.openpty()  # our own end of the slave keeps it alive between two masters
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self.receive(os.read(self._master, 4096), self._send)

    def _send(self, octets: bytes) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._master, octets)

    async def stop(self) -> None:
        """Hangs up."""
        await self.quiet()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


class GatewayBus(RtuBus):
    """The same line behind a TCP port that carries RTU frames; an answer goes to the connection that asked."""

    port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listens. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(4096):
                self.receive(chunk, self._send)
        self._writers.discard(writer)
        writer.close()

    def _send(self, octets: bytes) -> None:
        """A gateway does not know whose question an answer was: whoever is connected now gets it."""
        for writer in self._writers:
            if not writer.is_closing():
                writer.write(octets)

    async def stop(self) -> None:
        """Closes everything."""
        await self.quiet()
        self._server.close()
        for writer in list(self._writers):
            writer.close()


def sentinel(device: SimulatedDevice, frame: bytes, body: bytes) -> bytes:
    """The answer with every number of the profile replaced by the device's "no value", where it has one."""
    function, address, count = frame[1], int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    if body[0] & 0x80 or function not in (3, 4):
        return body
    octets = bytearray(body)
    for point in device.profile.points:
        at = 2 + 2 * (point.address - address)
        end = point.address + point.count
        inside = point.function == function and address <= point.address and end <= address + count
        absent = point.absent[0] if point.absent else 0x7FC0_0000 if TYPES[point.type].form == "float" else None
        if inside and absent is not None and point.word_order == "ABCD":
            octets[at : at + 2 * point.count] = absent.to_bytes(2 * point.count, "big")
    return bytes(octets)


def rolled(values: dict[str, int], counter: str, modulus: int, offset: int) -> dict[str, int]:
    """The same values with a counter that began ``offset`` below its end and starts again at 0 there."""
    return {**values, counter: (values[counter] + modulus - offset) % modulus}


async def _until(at_s: float) -> None:
    left_s = at_s - asyncio.get_running_loop().time()
    if left_s > 0:
        await asyncio.sleep(left_s)


def crc(octets: bytes | bytearray) -> bytes:
    """CRC-16/MODBUS bit by bit: slow, and independent of the agent's."""
    value = 0xFFFF
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


def seal(unit: int, body: bytes) -> bytes:
    """A frame: unit, body, checksum."""
    frame = bytes((unit,)) + body
    return frame + crc(frame)


def _request_bytes(heard: bytes | bytearray) -> int:
    """Length of the request that begins here; 0 where none can, or not enough is there to say."""
    if len(heard) < _READ_REQUEST_BYTES:
        return 0
    if heard[1] == 16:
        return 9 + heard[6]
    return _READ_REQUEST_BYTES
