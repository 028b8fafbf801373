"""Sixteen-bit words to one unsigned bit pattern and back, for every register type and word order.

A "raw" value here is the bit pattern read as one big-endian unsigned integer, before sign or float meaning.
Word order names the bytes of a 32-bit value as they arrive: ABCD (Modbus), CDAB (low word first), BADC (bytes
swapped in each word), DCBA (both). For 16 bits only the byte swap counts; for 64 bits all words are reversed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = [
    "SUNSPEC_ABSENT",
    "TYPES",
    "WORD_ORDERS",
    "RegisterType",
    "float_ratio",
    "pack_float",
    "raw_from_words",
    "signed_from_raw",
    "text_from_words",
    "words_from_raw",
    "words_from_text",
]

WORD_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


@dataclass(frozen=True, slots=True)
class RegisterType:
    """`words` is 0 for text, whose length stands in the profile; `accumulates` marks SunSpec's acc types."""

    name: str
    words: int
    form: Literal["signed", "unsigned", "float", "text"]
    accumulates: bool = False

    @property
    def bits(self) -> int:
        """Width of the raw value."""
        return 16 * self.words


TYPES: Mapping[str, RegisterType] = MappingProxyType(
    {
        t.name: t
        for t in (
            RegisterType("int16", 1, "signed"),
            RegisterType("uint16", 1, "unsigned"),
            RegisterType("int32", 2, "signed"),
            RegisterType("uint32", 2, "unsigned"),
            RegisterType("int64", 4, "signed"),
            RegisterType("uint64", 4, "unsigned"),
            RegisterType("float32", 2, "float"),
            RegisterType("float64", 4, "float"),
            RegisterType("acc32", 2, "unsigned", accumulates=True),
            RegisterType("acc64", 4, "unsigned", accumulates=True),
            RegisterType("enum16", 1, "unsigned"),
            RegisterType("bitfield16", 1, "unsigned"),
            RegisterType("bitfield32", 2, "unsigned"),
            RegisterType("sunssf", 1, "signed"),
            RegisterType("string", 0, "text"),
        )
    }
)

# What SunSpec writes where a point is not implemented. An accumulator of 0 means "not accumulated".
SUNSPEC_ABSENT: Mapping[str, int] = MappingProxyType(
    {
        "int16": 0x8000,
        "uint16": 0xFFFF,
        "int32": 0x8000_0000,
        "uint32": 0xFFFF_FFFF,
        "int64": 0x8000_0000_0000_0000,
        "uint64": 0xFFFF_FFFF_FFFF_FFFF,
        "float32": 0x7FC0_0000,
        "float64": 0x7FF8_0000_0000_0000,
        "acc32": 0,
        "acc64": 0,
        "enum16": 0xFFFF,
        "bitfield16": 0xFFFF,
        "bitfield32": 0xFFFF_FFFF,
        "sunssf": 0x8000,
        "string": 0,
    }
)


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8


def raw_from_words(words: Sequence[int], order: str) -> int:
    """The bit pattern of `words` as they came from the wire."""
    raw = 0
    for word in reversed(words) if order in ("CDAB", "DCBA") else words:
        raw = raw << 16 | (_swapped(word) if order in ("BADC", "DCBA") else word)
    return raw


def words_from_raw(raw: int, count: int, order: str) -> list[int]:
    """The `count` words that carry the bit pattern `raw` on the wire; exact inverse of `raw_from_words`."""
    words = [raw >> 16 * i & 0xFFFF for i in range(count)]
    if order in ("BADC", "DCBA"):
        words = [_swapped(word) for word in words]
    if order in ("ABCD", "BADC"):
        words.reverse()
    return words


def signed_from_raw(raw: int, bits: int) -> int:
    """Two's complement."""
    return raw - (1 << bits) if raw >> bits - 1 else raw


def float_ratio(raw: int, words: int) -> tuple[int, int] | None:
    """The exact fraction an IEEE 754 pattern stands for; None for NaN and the infinities."""
    if words == 2:
        value: float = struct.unpack(">f", raw.to_bytes(4, "big"))[0]
    else:
        value = struct.unpack(">d", raw.to_bytes(8, "big"))[0]
    if value != value or value in (float("inf"), float("-inf")):
        return None
    return value.as_integer_ratio()


def pack_float(numerator: int, denominator: int, words: int) -> int:
    """The IEEE 754 pattern nearest to the fraction; OverflowError where the type is too small for it."""
    value = numerator / denominator
    return int.from_bytes(struct.pack(">f" if words == 2 else ">d", value), "big")


def text_from_words(words: Sequence[int], characters: int = 2) -> str:
    """Two characters a word, or one in its low byte; cut at the first NUL, foreign bytes become '?', blanks go."""
    octets = b"".join(word.to_bytes(2, "big")[2 - characters :] for word in words)
    return "".join(chr(b) if 32 <= b < 127 else "?" for b in octets.split(b"\0")[0]).strip()


def words_from_text(text: str, count: int, characters: int = 2) -> list[int]:
    """`count` words that carry `text`, cut or NUL-padded to fit."""
    octets = text.encode("ascii", "replace")[: characters * count].ljust(characters * count, b"\0")
    return [int.from_bytes(octets[i : i + characters], "big") for i in range(0, len(octets), characters)]
