"""The checksums have their catalogue's check values and agree with a bit-by-bit reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.checksum import bcc, crc16_arc, crc16_kermit, crc16_modbus, crc16_x25, crc32c

# Name, polynomial, start and final exclusive or, not reflected, as in the catalogue of parametrised CRC algorithms.
KINDS: list[tuple[Callable[[bytes], int], int, int, int, int, int]] = [
    (crc16_arc, 16, 0x8005, 0, 0, 0xBB3D),
    (crc16_modbus, 16, 0x8005, 0xFFFF, 0, 0x4B37),
    (crc16_x25, 16, 0x1021, 0xFFFF, 0xFFFF, 0x906E),
    (crc16_kermit, 16, 0x1021, 0, 0, 0x2189),
    (crc32c, 32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, 0xE3069283),
]
EACH = pytest.mark.parametrize(
    ("checksum", "width", "polynomial", "start", "final", "check"), KINDS, ids=[kind[0].__name__ for kind in KINDS]
)


def mirrored(value: int, width: int) -> int:
    return int(f"{value:0{width}b}"[::-1], 2)


def by_division(octets: bytes, width: int, polynomial: int, start: int, final: int) -> int:
    """Long division of the message, highest bit first, with mirrored bytes and a mirrored result."""
    state = start
    for octet in octets:
        state ^= mirrored(octet, 8) << (width - 8)
        for _ in range(8):
            carry = state >> (width - 1)
            state = (state << 1) & ((1 << width) - 1)
            state ^= polynomial if carry else 0
    return mirrored(state, width) ^ final


@EACH
def test_a_checksum_of_the_nine_digits_is_the_catalogues(
    checksum: Callable[[bytes], int], width: int, polynomial: int, start: int, final: int, check: int
) -> None:
    assert checksum(b"123456789") == check


@EACH
@given(octets=st.binary(max_size=64))
def test_a_checksum_is_the_rest_of_a_division(
    checksum: Callable[[bytes], int], width: int, polynomial: int, start: int, final: int, check: int, octets: bytes
) -> None:
    assert checksum(octets) == by_division(octets, width, polynomial, start, final)


@given(octets=st.binary(min_size=1, max_size=64), at=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_block_check_sees_every_change_of_one_byte(octets: bytes, at: int, change: int) -> None:
    at %= len(octets)
    changed = octets[:at] + bytes([octets[at] ^ change]) + octets[at + 1 :]
    assert bcc(changed) == bcc(octets) ^ change
    # Published example of IEC 62056-21 password messages: SOH P0 STX (1234567) ETX has BCC "P".
    assert bcc(b"P0\x02(1234567)\x03") == ord("P")
