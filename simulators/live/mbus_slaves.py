"""M-Bus slaves as the master of a line sees them: resets, selection by number, parts told apart by a bit.

master's bytes -> every slave of the line -> E5 | telegram | nothing; of two that speak at once nothing is readable
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["MbusLine", "MbusSlave", "Spoken"]

_EVERYBODY, _SELECTED = 0xFE, 0xFD
_BUFFER_BYTES = 64
_ACKNOWLEDGEMENT = b"\xe5"


class MbusSlave:
    """The link layer of one slave. ``telegrams`` gives what it would tell now, in as many parts as it takes."""

    def __init__(self, address: int, serial: str, telegrams: Callable[[], list[bytes]]) -> None:
        self._address, self._serial, self._telegrams = address, serial, telegrams
        self._heard = bytearray()
        self._selected = False
        self._bit: int | None = None
        self._place = 0
        self._parts: list[bytes] = []

    def answer(self, chunk: bytes) -> bytes:
        """What it says to a question, or to a part of one."""
        self._heard += chunk
        del self._heard[:-_BUFFER_BYTES]
        said = b""
        while (frame := self._frame()) is not None:
            said = self._short(frame[1], frame[2]) if frame[0] == 0x10 else self._long(frame[4:-2])
        return said

    def _frame(self) -> bytes | None:
        """The first whole frame of the master, taken out with what stood before it."""
        for start, mark in enumerate(self._heard):
            rest = bytes(self._heard[start:])
            size = 5 if mark == 0x10 else rest[1] + 6 if mark == 0x68 and len(rest) > 1 else 0
            content = rest[1 : size - 2] if mark == 0x10 else rest[4 : size - 2]
            if 0 < size <= len(rest) and rest[size - 1] == 0x16 and sum(content) & 0xFF == rest[size - 2]:
                del self._heard[: start + size]
                return rest[:size]
        return None

    def _short(self, control: int, address: int) -> bytes:
        if address not in (self._address, _EVERYBODY) and not (address == _SELECTED and self._selected):
            return b""
        if control == 0x40:
            self._bit, self._place, self._parts = None, 0, []
            self._selected &= address != _SELECTED
            return _ACKNOWLEDGEMENT
        if control & 0x4F != 0x4B:
            return b""
        bit = control & 0x20
        if self._bit is None or not self._parts:
            self._parts, self._place = self._telegrams(), 0
        elif bit != self._bit:
            self._place = (self._place + 1) % len(self._parts)
        self._bit = bit
        return self._parts[self._place] if self._parts else b""

    def _long(self, content: bytes) -> bytes:
        """SND_UD to the network layer: the number, maker, version and medium of the slave that is meant; F is any."""
        if len(content) != 11 or content[1:3] != bytes((_SELECTED, 0x52)):
            return b""
        meant = content[3:7][::-1].hex()
        fits = all(wanted in ("f", own) for wanted, own in zip(meant, self._serial.zfill(8), strict=True))
        self._selected, self._bit, self._parts = fits, None, []
        return _ACKNOWLEDGEMENT if fits else b""


class Spoken(Protocol):
    """A meter that answers bytes."""

    def answer(self, chunk: bytes) -> bytes:
        """What it says to a question, or to a part of one."""


class MbusLine:
    """Several slaves on one line, which is a meter's to whom it is plugged."""

    is_asked = True
    baud: int | None = None

    def __init__(self, slaves: Sequence[Spoken]) -> None:
        self._slaves = slaves

    def answer(self, chunk: bytes) -> bytes:
        """The answer of the one that is meant."""
        said = [answer for slave in self._slaves if (answer := slave.answer(chunk))]
        return said[0] if len(said) == 1 else b"\xff" * max(map(len, said), default=0)

    def telegram(self) -> bytes:
        """Nobody speaks unasked."""
        return b""
