"""Modbus frames without a wire: a question, its bytes, and which of the bytes that come back are its answer.

    Question -> frame.ask() -> bytes out ...... bytes in -> frame.feed() -> payload | exception code | None (not yet)

An RTU answer carries neither a number nor an address, so nothing but its shape tells it from another's: unit,
function, byte count, checksum. `RtuFrame` looks for exactly that shape anywhere in what came, so that noise, other
units' frames, cut frames and doubles are passed over. What has the very shape of the answer and still is another's,
a late one, is `shell/bus.py`'s to prevent. Over TCP the transaction number tells them apart.
"""

from __future__ import annotations

from typing import Protocol

from firmware_bridge.checksum import crc16_modbus

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
READ_LIMIT, WRITE_LIMIT = 125, 123
"""Registers in one request, by the standard."""
EXCEPTION_BIT = 0x80
BUFFER_LIMIT_BYTES = 1024
"""Four of the longest frames: whatever babbles beyond that is cut from the front."""
_MBAP_BYTES = 6
_MBAP_LIMIT = 254
_RTU_ENVELOPE_BYTES = 3


class RemoteFrameError(Exception):
    """What came is no Modbus, or an answer of the wrong shape: the connection cannot be trusted any more."""


def crc16(octets: bytes | bytearray | memoryview) -> bytes:
    """CRC-16/MODBUS (reflected 0x8005, from 0xFFFF), low byte first, as it stands behind a frame."""
    return crc16_modbus(octets).to_bytes(2, "little")


def words_of(payload: bytes) -> list[int]:
    """Registers of an answer."""
    return [payload[at] << 8 | payload[at + 1] for at in range(0, len(payload), 2)]


class Question:
    """One request to one unit and the shape of its answer; made once and asked many times.

    ``body`` is unit and PDU. A good answer is ``head`` and then ``payload_bytes``; the head of a write's answer is
    all of it.
    """

    __slots__ = ("address", "body", "count", "function", "head", "payload_bytes", "rtu", "unit")

    def __init__(self, unit: int, function: int, address: int, count: int, words: bytes = b"") -> None:
        if not 0 <= unit <= 255 or not 0 <= address <= 0xFFFF or not 1 <= count <= READ_LIMIT:
            raise ValueError(f"no such request: unit {unit}, {count} registers from {address}")
        self.unit, self.function, self.address, self.count = unit, function, address, count
        place = bytes((unit, function)) + address.to_bytes(2, "big")
        if function in (READ_HOLDING, READ_INPUT):
            self.body = place + count.to_bytes(2, "big")
            self.head, self.payload_bytes = bytes((unit, function, 2 * count)), 2 * count
        elif function == WRITE_ONE and len(words) == 2:
            self.body = self.head = place + words
            self.payload_bytes = 0
        elif function == WRITE_MANY and len(words) == 2 * count and count <= WRITE_LIMIT:
            self.head, self.payload_bytes = place + count.to_bytes(2, "big"), 0
            self.body = self.head + bytes((len(words),)) + words
        else:
            raise ValueError(f"function {function} with {len(words)} bytes for {count} registers")
        self.rtu = self.body + crc16(self.body)

    @property
    def shape(self) -> tuple[int, int]:
        """What an RTU answer to a read can be told from others of its unit by: function and registers."""
        return self.function, self.count

    @property
    def answer_characters(self) -> int:
        """Length of a good answer on a serial line."""
        return len(self.head) + self.payload_bytes + 2


def write_question(unit: int, address: int, words: tuple[int, ...] | list[int]) -> Question:
    """Function 6 for one register, 16 for more."""
    octets = b"".join(word.to_bytes(2, "big") for word in words)
    return Question(unit, WRITE_ONE if len(words) == 1 else WRITE_MANY, address, len(words), octets)


class Frame(Protocol):
    """One framing's state between a question and its answer. ``strays`` counts bytes that belonged to no question."""

    strays: int

    def ask(self, question: Question) -> bytes:
        """The frame to send; what came before does not count any more."""

    def feed(self, chunk: bytes) -> bytes | int | None:
        """Payload of the answer, exception code, or None as long as neither is there. Raises RemoteFrameError."""

    def idle(self) -> bool:
        """Nothing is expected any more. False where the connection is out of step because half a frame came."""


class RtuFrame:
    """Frames with unit in front and checksum behind, as on a serial line."""

    def __init__(self) -> None:
        self.strays = 0
        self._question: Question | None = None
        self._buffer = bytearray()

    def ask(self, question: Question) -> bytes:
        """The frame to send."""
        self.idle()
        self._question = question
        return question.rtu

    def idle(self) -> bool:
        """Nothing is expected any more; a checksum finds back into step by itself."""
        self.strays += len(self._buffer)
        self._buffer.clear()
        self._question = None
        return True

    def feed(self, chunk: bytes) -> bytes | int | None:
        """The first frame of the expected shape with a right checksum, wherever it begins."""
        question = self._question
        if question is None:
            self.strays += len(chunk)
            return None
        buffer = self._buffer
        buffer += chunk
        size = len(question.head) + question.payload_bytes
        at = self._find(question.head, size)
        if at >= 0:
            payload = bytes(buffer[at + len(question.head) : at + size])
            self._took(at, size)
            return payload
        at = self._find(bytes((question.unit, question.function | EXCEPTION_BIT)), _RTU_ENVELOPE_BYTES)
        if at >= 0:
            code = buffer[at + 2]
            self._took(at, _RTU_ENVELOPE_BYTES)
            return code
        if len(buffer) > BUFFER_LIMIT_BYTES:
            self.strays += len(buffer) - BUFFER_LIMIT_BYTES // 2
            del buffer[: -BUFFER_LIMIT_BYTES // 2]
        return None

    def _find(self, head: bytes, size: int) -> int:
        """Where a whole frame of ``size`` bytes and its checksum begins; -1 for nowhere yet."""
        buffer = self._buffer
        at = buffer.find(head)
        while 0 <= at <= len(buffer) - size - 2:
            if crc16(buffer[at : at + size]) == buffer[at + size : at + size + 2]:
                return at
            at = buffer.find(head, at + 1)
        return -1

    def _took(self, at: int, size: int) -> None:
        del self._buffer[at : at + size + 2]
        self.idle()


class TcpFrame:
    """Frames with transaction number and length in front (MBAP). Late answers carry an old number and are dropped."""

    def __init__(self) -> None:
        self.strays = 0
        self._number = 0
        self._question: Question | None = None
        self._buffer = bytearray()

    def ask(self, question: Question) -> bytes:
        """The frame to send, under the next number."""
        self._question = question
        self._number = (self._number + 1) & 0xFFFF
        return self._number.to_bytes(2, "big") + b"\0\0" + len(question.body).to_bytes(2, "big") + question.body

    def idle(self) -> bool:
        """Nothing is expected any more; half a frame cannot be told from a frame whose end is missing."""
        self._question = None
        return not self._buffer

    def feed(self, chunk: bytes) -> bytes | int | None:
        """The answer with our number. Raises RemoteFrameError where that has another shape, or nothing is a frame."""
        buffer = self._buffer
        buffer += chunk
        found: bytes | int | None = None
        while len(buffer) >= _MBAP_BYTES:
            length = buffer[4] << 8 | buffer[5]
            if buffer[2] or buffer[3] or not 3 <= length <= _MBAP_LIMIT:
                raise RemoteFrameError("what came is not Modbus TCP")
            if len(buffer) < _MBAP_BYTES + length:
                break
            number, body = buffer[0] << 8 | buffer[1], bytes(buffer[_MBAP_BYTES : _MBAP_BYTES + length])
            del buffer[: _MBAP_BYTES + length]
            if self._question is None or number != self._number:
                self.strays += _MBAP_BYTES + length
                continue
            found = _answer_in(self._question, body)
            self._question = None
        return found


def _answer_in(question: Question, body: bytes) -> bytes | int:
    head = question.head
    if len(body) == len(head) + question.payload_bytes and body.startswith(head):
        return body[len(head) :]
    if len(body) == _RTU_ENVELOPE_BYTES and body[0] == question.unit and body[1] == question.function | EXCEPTION_BIT:
        return body[2]
    raise RemoteFrameError("an answer of another shape, or another's answer")
