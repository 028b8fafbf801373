"""SML's own notation (BSI TR-03109-1, annex IV, "SML 1.04" chapter 6): type-length-value trees from bytes.

The first byte of an element holds its type (bits 4 to 6) and length (bits 0 to 3, more nibbles while bit 7 is set). The
length counts the element's own bytes, for a list its entries. `00` ends a message, `01` is an empty string and stands
for everything optional that is left out. Depth and size are bounded before anything is built.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["END", "Number", "Tree", "read_tree"]


class Number(NamedTuple):
    """An integer with the bytes it was written in; some meters use a signed type for unsigned values."""

    value: int
    octets: bytes
    signed: bool


class _End(NamedTuple):
    """End of an SML message."""


END = _End()
Tree: TypeAlias = "bytes | bool | Number | list[Tree] | _End"

# A GetListResponse has its deepest element at 7: message, body, response, list, entry, time, choice.
_MAX_DEPTH = 10
# Longest list in practice is the value list with some 40 registers.
_MAX_ENTRIES = 200
_STRING, _BOOLEAN, _INTEGER, _UNSIGNED, _LIST = 0, 4, 5, 6, 7


def _head(octets: bytes, at: int) -> tuple[int, int, int] | None:
    """Type, length and the bytes the two take."""
    kind, length, size = (octets[at] >> 4) & 7, 0, 0
    while size < 3 and at + size < len(octets):
        octet = octets[at + size]
        if size and octet & 0x70:
            return None
        length = length << 4 | octet & 0x0F
        size += 1
        if not octet & 0x80:
            return kind, length, size
    return None


def read_tree(octets: bytes, at: int, depth: int = 0) -> tuple[Tree, int] | None:
    """The element that begins at `at` and the place behind it; None where there is no whole and allowed one."""
    if at >= len(octets) or depth > _MAX_DEPTH:
        return None
    if octets[at] == 0:
        return END, at + 1
    head = _head(octets, at)
    if head is None:
        return None
    kind, length, size = head
    if kind == _LIST:
        return _read_list(octets, at + size, length, depth)
    end = at + length
    content = octets[at + size : end]
    if length < size or end > len(octets):
        return None
    if kind == _STRING:
        return content, end
    if kind in (_INTEGER, _UNSIGNED) and 1 <= len(content) <= 8:
        signed = kind == _INTEGER
        return Number(int.from_bytes(content, "big", signed=signed), content, signed), end
    return (content != b"\0", end) if kind == _BOOLEAN and len(content) == 1 else None


def _read_list(octets: bytes, at: int, length: int, depth: int) -> tuple[Tree, int] | None:
    if length > _MAX_ENTRIES:
        return None
    entries: list[Tree] = []
    for _ in range(length):
        found = read_tree(octets, at, depth + 1)
        if found is None:
            return None
        entry, at = found
        entries.append(entry)
    return entries, at
