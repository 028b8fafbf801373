"""SML, Smart Message Language: the binary telegram of German meters, pushed every one to four seconds.

    1B1B1B1B 01010101   messages, filled up to four bytes   1B1B1B1B 1A fill CRC16      (transport version 1)

Four bytes 1B in the content are sent twice. Both checks must hold: the CRC over the whole file and the one in every
message (X.25, in some older meters Kermit). Read are the entries of every GetListResponse; `sml_tree` has the notation.

Traps: Without the owner's PIN many meters give whole kWh only and no power: what is not there stays absent. The sensor
time is usually seconds since power-up: only a true timestamp dates the telegram. A meter with only the sum of
magnitudes (15.7.0) tells the direction in bit 5 of the status word (FNN specification of the basic meter EDL). DZG's
DVS74 write their power with a sign bit that is none, see `_DZG_RANGES`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from .checksum import crc16_kermit, crc16_x25
from .framing import FrameBuffer, FrameShape
from .obis import Entry, Obis, measurements, micro_of, register_of
from .sml_tree import END, Number, Tree, read_tree
from .telegram import Refusal, Telegram, evidence_of

__all__ = ["SmlDecoder"]

# Real files are 200 to 800 bytes; with a certificate or a long signature a little over 1 kB.
_LIMIT = 4096
_ESCAPE = b"\x1b\x1b\x1b\x1b"
_START = _ESCAPE + b"\x01\x01\x01\x01"
# A start mark; behind another 1B it is the second half of an escape.
_START_MARK = re.compile(rb"(?<!\x1b)\x1b{4}\x01{4}")
# Four bytes 1B in a row hardly ever happen; a stream of nothing else shall not keep us busy.
_MAX_ESCAPES = 16
_GET_LIST_RESPONSE = 0x0701
_END_BYTES = 8
_MAX_FILL = 3
# DLMS unit codes (IEC 62056-62).
_UNITS = {27: "W", 28: "VA", 29: "var", 30: "Wh", 33: "A", 35: "V", 44: "Hz", 255: ""}
_MAKERS = (Obis(129, 129, 199, 130, 3, 255), Obis(1, 0, 96, 50, 1, 1))
_BACKWARD_BIT = 1 << 5
_TIMESTAMP = 2
# Meters with this notation exist since 2008; an earlier "timestamp" is an unset clock.
_EARLIEST_S = 1_199_145_600
# The maker's own statement, kept in libsml's list of faulty ranges: DVS74 with these serial numbers write 327.68 W and
# above as if it were a negative number of two bytes; true negative numbers they always write in four or more.
_DZG_RANGES = ((42_000_000, 48_999_999), (55_000_000, 58_999_999))
_DZG_REGISTERS = {(16, 7), (36, 7), (56, 7), (76, 7)}
_DZG_OCTETS = 3


def _measure(buffer: bytes | bytearray, _seen: int) -> int | Refusal:
    """Length of the file at the start of the buffer; escapes pair up from there on, so it is always read whole."""
    at = len(_START)
    for _ in range(_MAX_ESCAPES):
        at = buffer.find(_ESCAPE, at)
        if at < 0 or at + _END_BYTES > len(buffer):
            return 0
        after = buffer[at + 4 : at + 8]
        if after == _ESCAPE:
            at += 8
        elif after[0] == 0x1A:
            return at + _END_BYTES
        elif after == _START[4:]:
            return Refusal.INCOMPLETE
        else:
            return Refusal.MALFORMED
    return Refusal.MALFORMED


def _content(frame: bytes) -> bytes | Refusal:
    """The messages of a file, without escapes and fill bytes."""
    body, told = frame[:-2], int.from_bytes(frame[-2:], "little")
    if told not in (crc16_x25(body), crc16_kermit(body)):
        return Refusal.CHECKSUM
    fill = frame[-3]
    inner = frame[len(_START) : -_END_BYTES].replace(_ESCAPE + _ESCAPE, _ESCAPE)
    if fill > _MAX_FILL or len(frame) % 4 or inner[len(inner) - fill :].strip(b"\0"):
        return Refusal.MALFORMED
    return inner[: len(inner) - fill]


def _messages(content: bytes) -> Iterator[list[Tree] | Refusal]:
    """The bodies (choice, content) of the messages in a file; one refusal ends them."""
    at = 0
    while at < len(content):
        found = read_tree(content, at)
        if found is None or not isinstance(found[0], list) or len(found[0]) != 6:
            yield Refusal.MALFORMED
            return
        message, end = found
        assert isinstance(message, list)
        body, crc = message[3], message[4]
        if not isinstance(body, list) or len(body) != 2 or not isinstance(crc, Number) or message[5] is not END:
            yield Refusal.MALFORMED
            return
        # Before the CRC: its type byte, its own bytes, and the end mark.
        covered = content[at : end - 2 - len(crc.octets)]
        told = int.from_bytes(crc.octets.rjust(2, b"\0"), "little")
        if told not in (crc16_x25(covered), crc16_kermit(covered)):
            yield Refusal.CHECKSUM
            return
        yield body
        at = end


class SmlDecoder:
    """Decoder of one stream of SML files."""

    refused: Counter[Refusal]

    def __init__(self) -> None:
        self.refused = Counter()
        self._found: list[Telegram] = []
        shape = FrameShape(_START_MARK, 1 + len(_START), _LIMIT, _measure, b"\0")
        self._buffer = FrameBuffer(shape, self._take, self.refused)

    @property
    def buffered_bytes(self) -> int:
        """Bytes kept for the next call, at most 4096."""
        return self._buffer.buffered_bytes

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The telegrams that became whole with `chunk`, oldest first; never raises."""
        self._found = []
        self._buffer.feed(chunk)
        return self._found

    def _take(self, frame: bytes) -> Refusal | None:
        content = _content(frame)
        if isinstance(content, Refusal):
            return content
        telegrams, lists = [], 0
        for body in _messages(content):
            if isinstance(body, Refusal):
                return body
            choice, response = body
            if isinstance(choice, Number) and choice.value == _GET_LIST_RESPONSE:
                lists += 1
                telegram = self._telegram(response, frame)
                if isinstance(telegram, Refusal):
                    return telegram
                telegrams += [telegram] if telegram.values else []
        if not telegrams:
            self.refused[Refusal.EMPTY if lists else Refusal.UNSUPPORTED] += 1
        self._found += telegrams
        return None

    def _telegram(self, response: Tree, frame: bytes) -> Telegram | Refusal:
        if not isinstance(response, list) or len(response) != 7 or not isinstance(response[4], list):
            return Refusal.MALFORMED
        server, values = response[1], response[4]
        rows = [row for row in values if isinstance(row, list) and len(row) == 7]
        if len(rows) != len(values):
            return Refusal.MALFORMED
        named = [(code, row) for row in rows if (code := _code(row[0])) is not None]
        maker = next((row[5] for code, row in named if code in _MAKERS), None)
        texts = {"serial": _serial(server)} if isinstance(server, bytes) and server else {}
        if isinstance(maker, bytes) and maker.isalnum():
            texts["manufacturer"] = maker.decode("ascii")
        backward = _backward(named)
        wrong_sign = isinstance(server, bytes) and _is_faulty_dzg(server)
        entries = [_entry(code, row, backward, wrong_sign) for code, row in named if register_of(code) is not None]
        return Telegram(measurements(entries, self.refused), texts, _time(response[3]), evidence_of(frame))


def _code(name: Tree) -> Obis | None:
    return Obis(*name) if isinstance(name, bytes) and len(name) == 6 else None


def _entry(code: Obis, row: list[Tree], backward: bool | None, wrong_sign: bool) -> Entry:
    unit, scaler, value = row[3:6]
    if not isinstance(value, Number):
        return Entry(code, None, "")
    number = value.value
    if wrong_sign and (code.c, code.d) in _DZG_REGISTERS and value.signed and len(value.octets) <= _DZG_OCTETS:
        number = int.from_bytes(value.octets, "big")
    exponent = scaler.value if isinstance(scaler, Number) else 0
    name = _UNITS.get(unit.value, "?") if isinstance(unit, Number) else ""
    return Entry(code, micro_of(number, exponent), name, backward)


def _backward(named: list[tuple[Obis, list[Tree]]]) -> bool | None:
    """Whether energy flows out, from the status word of the first counter that has one."""
    for code, row in named:
        if code.a == 1 and code.d == 8 and isinstance(row[1], Number):
            return bool(row[1].value & _BACKWARD_BIT)
    return None


def _is_faulty_dzg(server: bytes) -> bool:
    number = int.from_bytes(server[5:], "big")
    return len(server) == 10 and server[:5] == b"\x0a\x01DZG" and any(low <= number <= up for low, up in _DZG_RANGES)


def _serial(server: bytes) -> str:
    """The number on the nameplate (DIN 43863-5: medium, maker, block, eight digits), else the bytes in hex."""
    plate = server[1:] if len(server) == 10 and server[0] == 0x0A else server
    if len(plate) == 9 and plate[0] <= 9 and plate[1:4].isalpha() and plate[1:4].isupper():
        return f"{plate[0]}{plate[1:4].decode('ascii')}{plate[4]:02d}{int.from_bytes(plate[5:], 'big'):08d}"
    return server.decode("ascii") if server.isalnum() else server.hex()


def _time(told: Tree) -> int | None:
    """UTC seconds of a timestamp; None for the seconds index, local times and everything else."""
    if isinstance(told, list) and len(told) == 2:
        choice, at_s = told
        if isinstance(choice, Number) and choice.value == _TIMESTAMP and isinstance(at_s, Number):
            return at_s.value if at_s.value >= _EARLIEST_S else None
    return None
