"""Frames of the node link: COBS between zero bytes, CRC-32C at the end, at most 512 bytes on the wire.

COBS (Cheshire and Baker 1999) replaces every zero by the distance to the next one, so that a zero is only ever a
delimiter and a reader finds back after any fault at the next zero. The C twin is `node/frame.c`.
"""

from __future__ import annotations

from collections import Counter

from firmware_bridge.checksum import crc32c
from firmware_bridge.telegram import Refusal

FRAME_WIRE_LIMIT_BYTES = 512
"""With one delimiter; fits a small UART buffer."""
FRAME_LIMIT_BYTES = FRAME_WIRE_LIMIT_BYTES - 4
"""Before encoding, checksum included: COBS adds one byte per 254 begun, and the delimiter one."""
CRC_BYTES = 4


def cobs_encode(raw: bytes) -> bytes:
    """``raw`` without zeros, no delimiter; at least one byte."""
    encoded = bytearray()
    run = bytearray()
    for byte in raw:
        if len(run) == 254:
            encoded += b"\xff" + run
            run.clear()
        if byte:
            run.append(byte)
        else:
            encoded += bytes([len(run) + 1]) + run
            run.clear()
    return bytes(encoded + bytes([len(run) + 1]) + run)


def cobs_decode(encoded: bytes) -> bytes | None:
    """What was encoded; None for bytes no encoder makes."""
    raw = bytearray()
    at = 0
    while at < len(encoded):
        run = encoded[at]
        part = encoded[at + 1 : at + run]
        if run == 0 or len(part) != run - 1 or 0 in part:
            return None
        raw += part
        at += run
        if run < 255 and at < len(encoded):
            raw.append(0)
    return bytes(raw)


def wrap_frame(frame: bytes) -> bytes:
    """A frame as it stands on the wire, delimiter included. Raises ValueError for one that is too long."""
    if len(frame) + CRC_BYTES > FRAME_LIMIT_BYTES:
        raise ValueError(f"a frame of {len(frame)} bytes does not fit {FRAME_LIMIT_BYTES}")
    return cobs_encode(frame + crc32c(frame).to_bytes(CRC_BYTES, "little")) + b"\0"


class FrameReader:
    """Collects a stream into checked frames; counts in ``refused`` what was none. Never holds over 512 bytes."""

    def __init__(self, refused: Counter[Refusal]) -> None:
        self._refused = refused
        self._encoded = bytearray()
        self._overlong = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames, without checksum, that became whole."""
        frames = []
        *ended, rest = chunk.split(b"\0")
        for part in ended:
            self._grow(part)
            if self._overlong:
                self._refused[Refusal.OVERLONG] += 1
            elif self._encoded:
                frame = self._checked(bytes(self._encoded))
                if frame is not None:
                    frames.append(frame)
            self._encoded.clear()
            self._overlong = False
        self._grow(rest)
        return frames

    def _grow(self, part: bytes) -> None:
        if len(self._encoded) + len(part) >= FRAME_WIRE_LIMIT_BYTES:
            self._overlong = True
            self._encoded.clear()
        if not self._overlong:
            self._encoded += part

    def _checked(self, encoded: bytes) -> bytes | None:
        raw = cobs_decode(encoded)
        if raw is None or len(raw) <= CRC_BYTES:
            self._refused[Refusal.NOISE] += 1
            return None
        frame, sum_bytes = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
        if crc32c(frame) != int.from_bytes(sum_bytes, "little"):
            self._refused[Refusal.CHECKSUM] += 1
            return None
        return frame
