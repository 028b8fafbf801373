"""IEC 62056-21 read-out over an optical head or current loop: mode D (the meter pushes), modes A to C (it is asked).

    mode D   /XXXZ identification CR LF (CR LF)  data lines  ! CR LF
    mode C   -> /?! CR LF                                       `opening()`
             <- /XXXZ identification CR LF                      `Iec62056Decoder.identification`
             -> ACK 0 Z 0 CR LF, then both at Z's rate          `acknowledgement(...)`, `rate_after(...)`
             <- STX data lines ! CR LF ETX BCC

The decoder only listens; it shows in `identification` that a meter waits for its acknowledgement, and the transport
sends. Echoes of what was sent (optical heads give them) are passed over.
The block check character is one exclusive or over 7-bit characters: it sees every damage of one byte, and one in 128
heavy ones goes by it. So a telegram must also have the shape (same registers, same digits) of the one before it, or be
repeated in its new shape. Mode D has no check at all: there the first telegram only sets the shape, and on a line that
has had a block check nothing counts without one. A changed digit in mode D cannot be seen here; parity on the line and
the agent's quality guard are what stands against it.
Past billing periods (`1.8.0*12`) are passed over. The meter's clock has no time zone, so nothing is dated.
"""

from __future__ import annotations

import re
from collections import Counter

from .checksum import bcc
from .framing import FrameBuffer, FrameShape
from .obis import measurements
from .register_text import Shape, entry_of, lines_of, serial_of, shape_of, texts_of_identification
from .telegram import Refusal, Telegram, evidence_of

__all__ = ["Iec62056Decoder", "acknowledgement", "opening", "rate_after"]

# A full read-out with fifteen billing periods is 5 to 10 kB; at 300 baud 16 kB already take nine minutes.
_LIMIT = 16384
_HEADER_LIMIT = 72
_STX, _ETX, _ACK = 0x02, b"\x03", b"\x06"
_IDENTIFICATION = re.compile(rb"/[A-Za-z]{3}[^\r\n!/\x02\x03]{1,64}\r*\n")
_IDENTIFICATION_START = re.compile(rb"/[A-Za-z]{0,3}")
_ECHO = re.compile(rb"(?:\x06[0-9A-I]{3}\r\n)?[\r\n\0]*")
# The end, or the beginning of another telegram: then the end of this one was lost. (EMH has units like P/S.)
_NEXT = re.compile(rb"\x02|/[A-Za-z]{3}|![\r\n]")
_BLOCK_NEXT = re.compile(rb"[\x02\x03]")
_DATA = re.compile(r"[ -~\r\n]*")
_ADDRESS_LIMIT = 32
_RATES_C = {str(index): rate for index, rate in enumerate((300, 600, 1200, 2400, 4800, 9600, 19200))}
_RATES_B = dict(zip("ABCDEF", (600, 1200, 2400, 4800, 9600, 19200), strict=True))
_FIRST_RATE = 300


def opening(address: str = "") -> bytes:
    """The request that wakes a meter up, at 300 baud 7E1; `address` where several share a line.

    ValueError for an address the standard has no room for.
    """
    if len(address) > _ADDRESS_LIMIT or not re.fullmatch(r"[0-9A-Za-z ]*", address):
        raise ValueError(f"not a device address: {address!r}")
    return f"/?{address}!\r\n".encode("ascii")


def acknowledgement(identification: bytes, keep_rate: bool = False) -> bytes:
    """What to answer to an identification line to get the data; empty for modes A and B, which send by themselves.

    With `keep_rate` the meter is asked to stay at 300 baud.
    """
    mark = identification[4:5].decode("latin-1")
    if mark not in _RATES_C:
        return b""
    return _ACK + (b"000" if keep_rate else b"0" + mark.encode("ascii") + b"0") + b"\r\n"


def rate_after(identification: bytes) -> int:
    """The baud rate of the data message after this identification line (and its acknowledgement)."""
    mark = identification[4:5].decode("latin-1")
    return (_RATES_C | _RATES_B).get(mark, _FIRST_RATE)


def _measure(buffer: bytes | bytearray, seen: int) -> int | Refusal:
    """Length of the telegram at the start of the buffer: from `/` or STX to `!` and line end, or to the BCC."""
    if buffer[0] == _STX:
        return _measure_block(buffer, 0, seen)
    header = _IDENTIFICATION.match(buffer)
    if header is None:
        whole = len(buffer) >= _HEADER_LIMIT or b"\n" in buffer
        start = _IDENTIFICATION_START.match(buffer)
        return Refusal.NOISE if whole or start is None or start.end() < min(4, len(buffer)) else 0
    echo = _ECHO.match(buffer, header.end())
    data_at = echo.end() if echo else header.end()
    if len(buffer) > data_at and buffer[data_at] == _STX:
        return _measure_block(buffer, data_at, seen)
    found = _NEXT.search(buffer, max(data_at, seen - 3))
    if found is None:
        return 0
    return found.end() if found.group()[:1] == b"!" else Refusal.INCOMPLETE


def _measure_block(buffer: bytes | bytearray, stx: int, seen: int) -> int | Refusal:
    found = _BLOCK_NEXT.search(buffer, max(stx + 1, seen - 1))
    if found is None:
        return 0
    if found.group() != _ETX:
        return Refusal.INCOMPLETE
    return found.end() + 1 if found.end() < len(buffer) else 0


class Iec62056Decoder:
    """Decoder of one optical head or current loop, whichever mode the meter speaks."""

    refused: Counter[Refusal]

    def __init__(self) -> None:
        self.refused = Counter()
        self._found: list[Telegram] = []
        shape = FrameShape(re.compile(rb"[/\x02]"), 1, _LIMIT, _measure, b"\r\n\0\x7f")
        self._buffer = FrameBuffer(shape, self._take, self.refused)
        self._shape: Shape = ()
        self._has_check = False

    @property
    def buffered_bytes(self) -> int:
        """Bytes kept for the next call, at most 16384."""
        return self._buffer.buffered_bytes

    @property
    def identification(self) -> bytes | None:
        """The identification line after which nothing else came yet.

        A meter that was asked with `opening` waits now for its `acknowledgement`; one that pushes just goes on.
        """
        pending = self._buffer.pending
        return pending.rstrip(b"\r\n") if _IDENTIFICATION.fullmatch(pending) else None

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The telegrams that became whole with `chunk`, oldest first; never raises."""
        self._found = []
        self._buffer.feed(chunk)
        return self._found

    def _take(self, frame: bytes) -> Refusal | None:
        header, mark, block = frame.partition(bytes((_STX,)))
        if mark:
            if bcc(block[:-1]) != block[-1]:
                return Refusal.CHECKSUM
            identification, text = header.decode("latin-1").partition("\n")[0], block[:-2].decode("latin-1")
        else:
            identification, _, text = frame.decode("latin-1").partition("\n")
        data, end, rest = text.partition("!")
        if not mark and self._has_check:
            # A data message that lost its STX looks like a pushed one.
            return Refusal.CHECKSUM
        lines, clean = lines_of(data)
        if not end or rest.strip("\r\n") or not clean or not _DATA.fullmatch(data):
            return Refusal.MALFORMED
        shape = shape_of(lines)
        confirmed = shape == self._shape or (bool(mark) and not self._shape)
        self._shape = shape
        self._has_check |= bool(mark and shape)
        if not confirmed:
            # Gone as a whole: looked at again from inside, it would confirm itself.
            self.refused[Refusal.UNCONFIRMED] += 1
            return None
        values = measurements([entry for entry in (entry_of(line, True) for line in lines) if entry], self.refused)
        if not values:
            self.refused[Refusal.EMPTY] += 1
            return None
        texts = texts_of_identification(identification.strip("\r\n"))
        serial = serial_of(lines)
        texts |= {"serial": serial} if serial else {}
        self._found.append(Telegram(values, texts, None, evidence_of(frame)))
        return None
