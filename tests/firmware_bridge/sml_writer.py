"""SML files written apart from the decoder: elements, messages with their CRC, transport with its escapes and CRC."""

from __future__ import annotations

from collections.abc import Sequence

from tests.firmware_bridge.test_checksum import by_division

ABSENT = b"\x01"
ESCAPE = b"\x1b" * 4


def crc(octets: bytes, kermit: bool = False) -> bytes:
    """Both bytes as they stand on the wire, the low one first."""
    start = 0 if kermit else 0xFFFF
    return by_division(octets, 16, 0x1021, start, start).to_bytes(2, "little")


def element(kind: int, content: bytes) -> bytes:
    """A leaf; beyond 15 bytes with as many length bytes as it takes."""
    size = 1
    while len(content) + size >= 1 << (4 * size):
        size += 1
    length = len(content) + size
    nibbles = [(length >> (4 * place)) & 15 for place in reversed(range(size))]
    nibbles[0] |= kind << 4
    head = [nibble | (0x80 if place < size - 1 else 0) for place, nibble in enumerate(nibbles)]
    return bytes(head) + content


def string(content: bytes) -> bytes:
    return element(0, content)


def signed(value: int, size: int) -> bytes:
    return element(5, value.to_bytes(size, "big", signed=True))


def unsigned(value: int, size: int) -> bytes:
    return element(6, value.to_bytes(size, "big"))


def listed(*entries: bytes) -> bytes:
    assert len(entries) < 256
    head = bytes([0x70 | len(entries)]) if len(entries) < 16 else bytes([0xF0 | len(entries) >> 4, len(entries) & 15])
    return head + b"".join(entries)


def entry(code: str, value: bytes, unit: int = 30, scaler: int = -1, status: bytes = ABSENT) -> bytes:
    """One register; `code` is six numbers."""
    name = string(bytes(int(group) for group in code.split()))
    return listed(name, status, ABSENT, unsigned(unit, 1), signed(scaler, 1), value, ABSENT)


def message(choice: int, body: bytes, kermit: bool = False, wrong: bool = False) -> bytes:
    """One message with its CRC."""
    inner = string(b"\x00\x01") + unsigned(0, 1) + unsigned(0, 1) + listed(unsigned(choice, 2), body)
    covered = b"\x76" + inner
    check = crc(covered, kermit)
    return covered + element(6, bytes([check[0] ^ wrong, check[1]])) + b"\x00"


def value_list(server: bytes, entries: Sequence[bytes], time: bytes = ABSENT) -> bytes:
    """A GetListResponse."""
    return listed(ABSENT, string(server), ABSENT, time, listed(*entries), ABSENT, ABSENT)


def transported(content: bytes, kermit: bool = False) -> bytes:
    """Escapes doubled, filled up to four bytes, with start, end and CRC."""
    fill = -len(content) % 4
    body = content.replace(ESCAPE, ESCAPE + ESCAPE) + bytes(fill)
    covered = ESCAPE + b"\x01" * 4 + body + ESCAPE + b"\x1a" + bytes([fill])
    return covered + crc(covered, kermit)


def sml_file(server: bytes, entries: Sequence[bytes], time: bytes = ABSENT, kermit: bool = False) -> bytes:
    """Opening, one value list, closing."""
    opening = message(0x0101, listed(ABSENT, ABSENT, string(b"f"), string(server), ABSENT, ABSENT), kermit)
    values = message(0x0701, value_list(server, entries, time), kermit)
    return transported(opening + values + message(0x0201, listed(ABSENT), kermit), kermit)
