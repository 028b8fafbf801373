"""The messages between a metering node and its gateway, byte for byte as NODE.md has them; little-endian.

Up (from the node): header ``type u8 · version u8 · epoch u32 · uptime_ms u64``, body, signature 64 over
SHA-256("energy-grid/node/1" ‖ header ‖ body). Down: header ``type u8 · version u8 · epoch u32 · counter u32``, body,
tag 16 of HMAC-SHA-256 with the link key over header ‖ body. A checksum follows in both (`cobs.py`).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from firmware_bridge.node_signature import SIGNATURE_BYTES, TAG_BYTES

VERSION = 1
CHUNK_BYTES = 256
"""Of an image in one frame; a divisor of every flash page."""
ENVELOPE_PART_BYTES = 384
VALID_LIMIT_MS = 900_000
"""A set-point outlives no market interval."""
_UP = struct.Struct("<BBIQ")
_DOWN = struct.Struct("<BBII")
_HELLO = struct.Struct("<IQBB16s16s16s16s16s64s")
_READING = struct.Struct("<QQBxHQQii7III")
_REPORT = struct.Struct("<IB")
_REPLY = struct.Struct("<BBBBQQIH")
_LOG = struct.Struct("<IB")
_TIME = struct.Struct("<QB")
_ACK = struct.Struct("<Q")
_COMMAND = struct.Struct("<IBiQI")
_DOMAIN = b"energy-grid/node/1"

VALUES = (
    "import_wh", "export_wh", "power_w", "reactive_var", "voltage_l1_mv", "voltage_l2_mv", "voltage_l3_mv",
    "current_l1_ma", "current_l2_ma", "current_l3_ma", "frequency_mhz",
)  # fmt: skip
"""In the order of a READING; bit n of its mask says that value n is there."""


class Up(IntEnum):
    """Types from the node."""

    HELLO = 0x01
    READING = 0x03
    REPORT = 0x05
    UPDATE = 0x06
    LOG = 0x07


class Down(IntEnum):
    """Types to the node."""

    TIME = 0x82
    ACK = 0x84
    CMD = 0x85
    UPDATE = 0x86


class UpdateStep(IntEnum):
    """What an UPDATE frame asks for, and what the answer answers."""

    QUERY = 0
    ENVELOPE = 1
    CHUNK = 2
    COMPLETE = 3
    SWITCH = 4
    CONFIRM = 5
    ROLLBACK = 6


class SetPoint(IntEnum):
    """What a CMD sets."""

    RELEASE = 0
    POWER_W = 1
    LIMIT_W = 2


class Outcome(IntEnum):
    """What became of a CMD."""

    APPLIED = 0
    STALE = 1
    OUT_OF_RANGE = 2
    UNKNOWN_KIND = 3
    EXPIRED = 4
    DEVICE_FAILED = 5


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks. ``heard`` is the last counter of ours it took; ``installed`` the sequence of its firmware."""

    heard: int
    installed: int
    stage: int
    flags: int
    vendor_id: bytes
    class_id: bytes
    device_id: bytes
    serial: str
    version: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. ``status`` is the letter of the node's clock, ``command`` the set-point in force (0 none)."""

    sequence: int
    taken_at_s: int
    status: str
    values: dict[str, int]
    command: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Report:
    """What became of set-point ``number``."""

    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class UpdateReply:
    """Where an update stands on the node: ``received`` bytes of the image, ``held`` bytes of the envelope."""

    step: int
    refusal: int
    stage: int
    active: int
    installed: int
    candidate: int
    received: int
    held: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the node's log; level as in syslog."""

    number: int
    level: int
    text: str


Body = Hello | Reading | Report | UpdateReply | LogLine


@dataclass(frozen=True, slots=True)
class UpFrame:
    """A frame from a node, read but not yet verified."""

    epoch: int
    uptime_ms: int
    body: Body
    signature: bytes
    digest: bytes


def signed_digest(header_and_body: bytes) -> bytes:
    """What a node signs: 32 bytes."""
    return sha256(_DOMAIN + header_and_body).digest()


def read_up(frame: bytes) -> UpFrame | None:
    """The frame; None for a version, type or length that is not ours."""
    if len(frame) < _UP.size + SIGNATURE_BYTES:
        return None
    signed, signature = frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]
    kind, version, epoch, uptime_ms = _UP.unpack_from(signed)
    if version != VERSION or kind not in _READERS:
        return None
    try:
        body = _READERS[kind](signed[_UP.size :])
    except (struct.error, ValueError):
        return None
    return UpFrame(epoch, uptime_ms, body, signature, signed_digest(signed))


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode("ascii")


def _hello(packed: bytes) -> Hello:
    heard, installed, stage, flags, vendor, model, device, serial, version, key = _HELLO.unpack(packed)
    return Hello(heard, installed, stage, flags, vendor, model, device, _text(serial), _text(version), key)


def _reading(packed: bytes) -> Reading:
    sequence, taken_at_s, status, present, *numbers, command, dropped = _READING.unpack(packed)
    if chr(status) not in "UISR" or present >> len(VALUES):
        raise ValueError("unknown status or value")
    values = {name: numbers[place] for place, name in enumerate(VALUES) if present >> place & 1}
    return Reading(sequence, taken_at_s, chr(status), values, command, dropped)


def _report(packed: bytes) -> Report:
    number, outcome = _REPORT.unpack(packed)
    return Report(number, Outcome(outcome))


def _reply(packed: bytes) -> UpdateReply:
    return UpdateReply(*_REPLY.unpack(packed))


def _log(packed: bytes) -> LogLine:
    number, level = _LOG.unpack_from(packed)
    return LogLine(number, level, packed[_LOG.size :].decode("utf-8", "replace"))


_READERS: dict[int, Callable[[bytes], Body]] = {
    Up.HELLO: _hello,
    Up.READING: _reading,
    Up.REPORT: _report,
    Up.UPDATE: _reply,
    Up.LOG: _log,
}


def seal_down(kind: Down, epoch: int, counter: int, body: bytes, link_key: bytes) -> bytes:
    """A frame to a node, without its checksum."""
    frame = _DOWN.pack(kind, VERSION, epoch, counter) + body
    return frame + hmac.digest(link_key, frame, "sha256")[:TAG_BYTES]


def time_body(unix_ms: int, status: str) -> bytes:
    """TIME: the gateway's clock and how far it can be trusted."""
    return _TIME.pack(unix_ms, ord(status))


def ack_body(sequence: int) -> bytes:
    """ACK: the reading that is safe now."""
    return _ACK.pack(sequence)


def command_body(number: int, kind: SetPoint, value: int, heard_uptime_ms: int, valid_ms: int) -> bytes:
    """CMD: a set-point that ends by itself ``valid_ms`` after ``heard_uptime_ms`` of the node's own clock."""
    return _COMMAND.pack(number, kind, value, heard_uptime_ms, valid_ms)


def step_body(step: UpdateStep) -> bytes:
    """UPDATE: a step without bytes."""
    return bytes([step])


def envelope_body(offset: int, total: int, part: bytes) -> bytes:
    """UPDATE: a part of the envelope."""
    return struct.pack("<BHH", UpdateStep.ENVELOPE, offset, total) + part


def chunk_body(offset: int, part: bytes) -> bytes:
    """UPDATE: a part of the image."""
    return struct.pack("<BI", UpdateStep.CHUNK, offset) + part
