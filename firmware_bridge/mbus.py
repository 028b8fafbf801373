"""Wired M-Bus (EN 13757-2 link layer, EN 13757-3 variable data structure), the subset an electricity meter needs.

    bytes -> long frame `68 L L 68 C A CI ... CS 16` -> header (serial, maker, medium) -> records -> Telegram

An M-Bus meter speaks only when asked: the transport sends `reset_request`, then `data_request`, and feeds what comes.
Which records count, and why no others: see `mbus_record.py`. The meter's clock is local time of an unknown zone, so
`taken_at_s` is None.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from firmware_bridge.framing import FrameBuffer, FrameShape
from firmware_bridge.mbus_record import LocalRecordError, Record, measurements, records
from firmware_bridge.telegram import Refusal, Telegram, evidence_of, plausible

__all__ = ["BROADCAST", "MbusDecoder", "data_request", "reset_request"]

BROADCAST = 0xFE
"""The address every slave answers: for one meter on its own line."""

_ACKNOWLEDGED, _SHORT, _LONG, _STOP = 0xE5, 0x10, 0x68, 0x16
_SHORT_BYTES = 5
_FRAME_BYTES = 6
"""Bytes of a long frame that its length does not count: start, length twice, start, checksum, stop."""
_LEAST_LENGTH = 3
_SND_NKE, _REQ_UD2 = 0x40, 0x5B
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


class MbusDecoder:
    """Answers out of a byte stream; acknowledgements and questions (echoes of our own, perhaps) are passed over."""

    def __init__(self) -> None:
        self.refused: Counter[Refusal] = Counter()
        self._found: list[Telegram] = []
        self._frames = FrameBuffer(_SHAPE, self._take, self.refused)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for more; at most one frame's."""
        return self._frames.buffered_bytes

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The telegrams that became whole with ``chunk``, oldest first; never raises."""
        self._frames.feed(chunk)
        found, self._found = self._found, []
        return found

    def _take(self, raw: bytes) -> Refusal | None:
        """Refuses bytes that are no frame at all; a frame that tells us nothing is counted, and is one."""
        if raw[0] == _ACKNOWLEDGED:
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
        if control & _RSP_UD_MASK != _RSP_UD or kind not in (_CI_LONG_HEADER, _CI_SHORT_HEADER):
            return self._none(Refusal.UNSUPPORTED)
        size = _LONG_HEADER_BYTES if kind == _CI_LONG_HEADER else _SHORT_HEADER_BYTES
        if len(body) < size:
            return self._none(Refusal.MALFORMED)
        header = body[:size]
        is_other_medium = kind == _CI_LONG_HEADER and header[7] != _ELECTRICITY
        if is_other_medium or header[-1] & _ENCRYPTION_MASK:
            return self._none(Refusal.UNSUPPORTED)
        if header[-3] & _STATUS_APPLICATION != _STATUS_GOOD:
            return self._none(Refusal.EMPTY)  # busy or in error: what it sends then means nothing
        texts = _texts(header) if kind == _CI_LONG_HEADER else {}
        try:
            told: Iterable[Record] = records(body[size:])
        except LocalRecordError:
            return self._none(Refusal.MALFORMED)
        values = plausible(measurements(told, texts.get("manufacturer", "")), self.refused)
        if not values:
            return self._none(Refusal.EMPTY)
        return Telegram(values, texts, None, evidence_of(raw))

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
