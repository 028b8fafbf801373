"""Wired M-Bus (EN 13757-2 link layer, EN 13757-3 variable data structure), the subset an electricity meter needs.

    bytes -> long frame `68 L L 68 C A CI ... CS 16` -> header (serial, maker, medium) -> records -> Telegram

An M-Bus meter speaks only when asked: the transport sends `reset_request` (and `select_request`, where the meter is
called by its number), then `data_request`, and feeds what comes. While `more_follows`, the next `data_request` with the
other frame count bit brings the next part of the answer; the parts are one Telegram, whose evidence is the hash of
their hashes in the order in which they came. Until the last asked for is there nothing counts: half a sum is no sum.
Which records count, and why no others: see `mbus_record.py`. The meter's clock is local time of an unknown zone, so
`taken_at_s` is None.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from firmware_bridge.framing import FrameBuffer, FrameShape
from firmware_bridge.mbus_record import LocalRecordError, Record, measurements, more_follow, records
from firmware_bridge.telegram import Refusal, Telegram, evidence_of, plausible

__all__ = [
    "BROADCAST",
    "PARTS_LIMIT",
    "PRIMARY_LIMIT",
    "SELECTED",
    "MbusDecoder",
    "data_request",
    "reset_request",
    "select_request",
]

BROADCAST = 0xFE
"""The address every slave answers: for one meter on its own line."""
SELECTED = 0xFD
"""The address of the one slave that `select_request` has called by its number."""
PRIMARY_LIMIT = 250
"""The highest address a slave may have; 0 is that of one fresh from the factory."""
PARTS_LIMIT = 16
"""Telegrams of one answer: real meters have up to six."""

_ACKNOWLEDGED, _SHORT, _LONG, _STOP = 0xE5, 0x10, 0x68, 0x16
_SHORT_BYTES = 5
_FRAME_BYTES = 6
"""Bytes of a long frame that its length does not count: start, length twice, start, checksum, stop."""
_LEAST_LENGTH = 3
_SND_NKE, _REQ_UD2, _SND_UD = 0x40, 0x5B, 0x53
_CI_SELECT = 0x52
_ANY = b"\xff\xff\xff\xff"
"""Maker, version and medium that fit every slave."""
_FRAME_COUNT_BIT = 0x20
_RSP_UD, _RSP_UD_MASK = 0x08, 0x4F
"""An answer, whatever its access demand and flow control bits say."""
_CI_LONG_HEADER, _CI_SHORT_HEADER = 0x72, 0x7A
_LONG_HEADER_BYTES, _SHORT_HEADER_BYTES = 12, 4
_ELECTRICITY = 0x02
_STATUS_APPLICATION, _STATUS_GOOD = 0x03, 0x00
_ENCRYPTION_MASK = 0x1F


def reset_request(address: int = BROADCAST) -> bytes:
    """SND_NKE: the slave begins again with its first telegram and answers E5. ValueError for no address."""
    return _short_frame(_SND_NKE, address)


def data_request(address: int = BROADCAST, frame_count: bool = True) -> bytes:
    """REQ_UD2: the slave sends its data; ``frame_count`` is the bit that tells the next from a repetition."""
    return _short_frame(_REQ_UD2 | (_FRAME_COUNT_BIT if frame_count else 0), address)


def select_request(serial: str) -> bytes:
    """SND_UD that selects the slave with that number of eight digits; it answers E5, and to `SELECTED` from now on.

    Every other slave is no longer selected. ValueError for what is no such number.
    """
    if len(serial) != 8 or not (serial.isascii() and serial.isdecimal()):
        raise ValueError(f"{serial!r} is no M-Bus number of eight digits")
    told = bytes((_SND_UD, SELECTED, _CI_SELECT)) + bytes.fromhex(serial)[::-1] + _ANY
    return bytes((_LONG, len(told), len(told), _LONG)) + told + bytes((sum(told) & 0xFF, _STOP))


def _short_frame(control: int, address: int) -> bytes:
    if not 0 <= address <= 0xFF:
        raise ValueError(f"{address} is no M-Bus address")
    return bytes((_SHORT, control, address, (control + address) & 0xFF, _STOP))


def _measure(buffer: bytes | bytearray, _seen: int) -> int | Refusal:
    """Length of the frame at the start of the buffer: an acknowledgement, a question, or an answer."""
    if buffer[0] == _ACKNOWLEDGED:
        return 1
    if buffer[0] == _SHORT:
        return _SHORT_BYTES if len(buffer) >= _SHORT_BYTES else 0
    head = buffer[:4]
    if len(head) > 1 and head[1] < _LEAST_LENGTH:
        return Refusal.NOISE
    if (len(head) > 2 and head[1] != head[2]) or (len(head) > 3 and head[3] != _LONG):
        return Refusal.NOISE
    whole = len(head) == 4 and len(buffer) >= head[1] + _FRAME_BYTES
    return head[1] + _FRAME_BYTES if whole else 0


_SHAPE = FrameShape(re.compile(rb"[\xe5\x10\x68]"), 1, 0xFF + _FRAME_BYTES, _measure)


@dataclass(frozen=True, slots=True)
class _Part:
    """One telegram of an answer."""

    address: int
    texts: dict[str, str]
    told: list[Record]
    evidence: bytes


class MbusDecoder:
    """Answers out of a byte stream; questions (echoes of our own, perhaps) are passed over.

    Of an ``address`` or a ``serial`` number only its answers count, up to ``parts`` telegrams are one answer.
    `acknowledged` counts acknowledgements, `answers` telegrams of any content; `more_follows` says that another part of
    the last one is to be asked for.
    """

    def __init__(self, address: int | None = None, serial: str = "", parts: int = 1) -> None:
        self.refused: Counter[Refusal] = Counter()
        self.acknowledged = self.answers = 0
        self._address, self._serial, self._limit = address, serial, parts
        self._parts: list[_Part] = []
        self._found: list[Telegram] = []
        self._frames = FrameBuffer(_SHAPE, self._take, self.refused)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for more; at most one frame's."""
        return self._frames.buffered_bytes

    @property
    def more_follows(self) -> bool:
        """Whether the last answer is to be continued."""
        return bool(self._parts)

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The telegrams that became whole with ``chunk``, oldest first; never raises."""
        self._frames.feed(chunk)
        found, self._found = self._found, []
        return found

    def _take(self, raw: bytes) -> Refusal | None:
        """Refuses bytes that are no frame at all; a frame that tells us nothing is counted, and is one."""
        if raw[0] == _ACKNOWLEDGED:
            self.acknowledged += 1
            return None
        if raw[-1] != _STOP:
            return Refusal.NOISE if raw[0] == _SHORT else Refusal.INCOMPLETE
        content = raw[1:-2] if raw[0] == _SHORT else raw[4:-2]
        if sum(content) & 0xFF != raw[-2]:
            return Refusal.NOISE if raw[0] == _SHORT else Refusal.CHECKSUM
        telegram = self._answer(raw) if raw[0] == _LONG else None
        if telegram is not None:
            self._found.append(telegram)
        return None

    def _answer(self, raw: bytes) -> Telegram | None:
        control, kind, body = raw[4], raw[6], raw[7:-2]
        if control & _RSP_UD_MASK != _RSP_UD:
            return self._none(Refusal.UNSUPPORTED)
        if self._address is not None and raw[5] != self._address:
            return self._none(Refusal.STRANGER)
        self.answers += 1
        before, self._parts = self._parts, []  # whatever is wrong with one part, the others are none without it
        if kind not in (_CI_LONG_HEADER, _CI_SHORT_HEADER):
            return self._none(Refusal.UNSUPPORTED)
        size = _LONG_HEADER_BYTES if kind == _CI_LONG_HEADER else _SHORT_HEADER_BYTES
        if len(body) < size:
            return self._none(Refusal.MALFORMED)
        header = body[:size]
        texts = _texts(header) if kind == _CI_LONG_HEADER else {}
        if self._serial and texts.get("serial", self._serial) != self._serial:  # a short header tells no number
            return self._none(Refusal.STRANGER)
        is_other_medium = kind == _CI_LONG_HEADER and header[7] != _ELECTRICITY
        if is_other_medium or header[-1] & _ENCRYPTION_MASK:
            return self._none(Refusal.UNSUPPORTED)
        if header[-3] & _STATUS_APPLICATION != _STATUS_GOOD:
            return self._none(Refusal.EMPTY)  # busy or in error: what it sends then means nothing
        try:
            told = records(body[size:])
            more = more_follow(body[size:])
        except LocalRecordError:
            return self._none(Refusal.MALFORMED)
        part = _Part(raw[5], texts, told, evidence_of(raw))
        if before and (before[-1].address, before[-1].texts) != (part.address, part.texts):
            before = []
        before.append(part)
        if more and len(before) < self._limit:
            self._parts = before
            return None
        return self._whole(before)

    def _whole(self, parts: list[_Part]) -> Telegram | None:
        texts = parts[0].texts
        told = [record for part in parts for record in part.told]
        values = plausible(measurements(told, texts.get("manufacturer", "")), self.refused)
        if not values:
            return self._none(Refusal.EMPTY)
        hashes = [part.evidence for part in parts]
        return Telegram(values, texts, None, hashes[0] if len(hashes) == 1 else evidence_of(b"".join(hashes)))

    def _none(self, refusal: Refusal) -> Telegram | None:
        self.refused[refusal] += 1
        return None


def _texts(header: bytes) -> dict[str, str]:
    """Serial number (eight digits, lowest byte first), maker (three letters of five bits) and version."""
    maker = int.from_bytes(header[4:6], "little")
    letters = "".join(chr(64 + (maker >> shift & 0x1F)) for shift in (10, 5, 0))
    texts = {"serial": header[3::-1].hex().upper(), "version": str(header[6])}
    if letters.isalpha() and letters.isupper() and letters.isascii():
        texts["manufacturer"] = letters
    return texts
