"""DSMR P1 and its relatives: the text telegram a smart meter pushes every one to ten seconds.

    /XXXZ identification CR LF CR LF    data lines `code(value*unit)` CR LF    ! CRC16 CR LF

Read are DSMR 2.2 to 5.x (Netherlands), e-MUCS/Fluvius (Belgium), Smarty (Luxembourg, decrypted), the Swedish, Danish,
Swiss, Irish and Hungarian cousins and EasyMeter's. The CRC is CRC-16/ARC over everything from `/` to `!`, in up to
four hex digits (some meters drop leading zeros). DSMR 2.2 and 3 have none; there a telegram counts only if

- it has neither version nor time line, which every telegram with a CRC has at least one of,
- no telegram with a CRC has ever come on this stream,
- it has the same registers with the same digits as the telegram before it (so the first one only sets the shape).

A changed digit in a telegram without a CRC cannot be seen by anybody; the agent's quality guard is what stands behind.
Water, gas and heat channels (0-1 to 0-4) are passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

from .checksum import crc16_arc
from .framing import FrameBuffer, FrameShape
from .obis import measurements
from .register_text import Line, Shape, entry_of, lines_of, serial_of, shape_of, texts_of_identification
from .telegram import Refusal, Telegram, evidence_of

__all__ = ["DsmrDecoder"]

# The longest real telegrams (five channels, failure log, 1024 characters of text in hex) stay below 4 kB.
_LIMIT = 8192
_HEADER_LIMIT = 72
_HEADER = re.compile(rb"/[A-Za-z]{3}[^\r\n!/]{1,64}\r?\n")
_HEADER_START = re.compile(rb"/[A-Za-z]{0,3}")
# The end, or the beginning of another telegram: then the end of this one was lost.
_NEXT = re.compile(rb"\n!|/[A-Za-z]{3}")
_CRC = re.compile(rb"([0-9A-Fa-f]{4})|([0-9A-Fa-f]{0,3})[\r\n]")
_CRC_START = re.compile(rb"[0-9A-Fa-f]{0,3}")
_PRINTABLE = re.compile(r"[ -~\r\n]*")
_SINCE_CHECKSUM = {"0-0:1.0.0", "1-3:0.2.8", "0-0:96.1.4"}
_CENTRAL_EUROPE_S = 3600
# The first of these meters were made in 2007; an earlier time is that of an unset clock.
_EARLIEST_S = 1_167_609_600
_TIME = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([WS])")


def _measure(buffer: bytes | bytearray, seen: int) -> int | Refusal:
    """Length of the telegram at the start of the buffer, with its CRC."""
    header = _HEADER.match(buffer)
    if header is None:
        whole = len(buffer) >= _HEADER_LIMIT or b"\n" in buffer
        start = _HEADER_START.match(buffer)
        return Refusal.NOISE if whole or start is None or start.end() < min(4, len(buffer)) else 0
    # The end mark may have been seen, with up to three digits of the CRC.
    found = _NEXT.search(buffer, max(header.end() - 1, seen - 6))
    if found is None:
        return 0
    if found.group() != b"\n!":
        return Refusal.INCOMPLETE
    end = _CRC.match(buffer, found.end())
    if end is not None:
        return end.end()
    return 0 if _CRC_START.fullmatch(buffer, found.end()) else Refusal.MALFORMED


class DsmrDecoder:
    """Decoder of one P1 stream.

    `standard_offset_s` is what the meter's `W` clock is ahead of UTC, one hour for Central Europe; `S` is one hour
    more. `S` outside of European summer time shows that the clock is another one, and dates nothing.
    """

    refused: Counter[Refusal]

    def __init__(self, standard_offset_s: int = _CENTRAL_EUROPE_S) -> None:
        self.refused = Counter()
        self._offset_s = standard_offset_s
        self._found: list[Telegram] = []
        shape = FrameShape(re.compile(rb"/"), 1, _LIMIT, _measure, b"\r\n\0")
        self._buffer = FrameBuffer(shape, self._take, self.refused)
        self._has_checksum = False
        self._shape: Shape = ()

    @property
    def buffered_bytes(self) -> int:
        """Bytes kept for the next call, at most 8192."""
        return self._buffer.buffered_bytes

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The telegrams that became whole with `chunk`, oldest first; never raises."""
        self._found = []
        self._buffer.feed(chunk)
        return self._found

    def _take(self, frame: bytes) -> Refusal | None:
        frame = frame.rstrip(b"\r\n")
        checked, _, digits = frame.rpartition(b"!")
        if digits and int(digits, 16) != crc16_arc(checked + b"!"):
            return Refusal.CHECKSUM
        header, _, text = checked.decode("latin-1").partition("\n")
        lines, clean = lines_of(text)
        if digits:
            self._has_checksum = True
        else:
            refusal = self._unprotected(lines, clean and bool(_PRINTABLE.fullmatch(header + text)))
            if refusal is Refusal.UNCONFIRMED:
                self.refused[refusal] += 1
                return None
            if refusal is not None:
                return refusal
        self._telegram(header, lines, frame)
        return None

    def _unprotected(self, lines: list[Line], clean: bool) -> Refusal | None:
        """Whether a telegram without CRC may count, see the module."""
        if self._has_checksum or {line.address for line in lines} & _SINCE_CHECKSUM:
            return Refusal.CHECKSUM
        if not clean:
            return Refusal.MALFORMED
        shape = shape_of(lines)
        confirmed = shape == self._shape
        self._shape = shape
        return None if confirmed else Refusal.UNCONFIRMED

    def _telegram(self, header: str, lines: list[Line], frame: bytes) -> None:
        entries = [entry for entry in map(entry_of, lines) if entry is not None]
        values = measurements(entries, self.refused)
        if not values:
            self.refused[Refusal.EMPTY] += 1
            return
        first = {line.address: line.groups[0] for line in reversed(lines)}
        texts = texts_of_identification(header)
        optional = {"serial": serial_of(lines), "version": first.get("1-3:0.2.8") or first.get("0-0:96.1.4")}
        texts |= {name: text for name, text in optional.items() if text}
        taken_at_s = self._time(first.get("0-0:1.0.0", ""))
        self._found.append(Telegram(values, texts, taken_at_s, evidence_of(frame)))

    def _time(self, text: str) -> int | None:
        """YYMMDDhhmmss and W or S to seconds of UTC."""
        found = _TIME.fullmatch(text)
        if found is None:
            return None
        year, month, day, hour, minute, second = (int(group) for group in found.groups()[:6])
        try:
            local = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            return None
        summer = found.group(7) == "S"
        at_s = int(local.timestamp()) - self._offset_s - (3600 if summer else 0)
        unset = at_s < _EARLIEST_S or (summer and not _in_summer(at_s))
        return None if unset else at_s


def _in_summer(at_s: int) -> bool:
    """European summer time: from 01:00 UTC on the last Sunday of March to 01:00 UTC on that of October."""
    year = datetime.fromtimestamp(at_s, UTC).year
    march, october = (_last_sunday(year, month) for month in (3, 10))
    return march <= at_s < october


def _last_sunday(year: int, month: int) -> int:
    day = datetime(year, month, 31, 1, tzinfo=UTC)
    return int((day - timedelta(days=(day.weekday() + 1) % 7)).timestamp())
