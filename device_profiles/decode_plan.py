"""Decodes the answers of one read plan straight from their bytes: `codec.decode`, prepared once for many polls.

For every point it is known beforehand which request's answer holds it, at which byte, in which form and with which
scale; so a poll costs one unpacking and one multiplication a point. The result is `codec.decode`'s to the last
integer, which a property test holds. A point that no request covers is left out, as an unread one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct

from .codec import point_value, rollover_at
from .measurement import MEASUREMENTS
from .profile_parts import Point
from .read_plan import Request
from .register_type import raw_from_words, signed_from_raw

__all__ = ["Decoder"]

Blocks = Sequence[bytes]
Reader = Callable[[Blocks], int | None]

_SCALE_MAX = 10
# A float32 has 24 bits, so with factors of at most 29 more the product is exact in a double, and so is rounding it.
_EXACT_FACTOR = 1 << 29


class Decoder:
    """Values of ``points`` from the answers to ``requests``, in the requests' order."""

    def __init__(self, points: Iterable[Point], requests: Sequence[Request]) -> None:
        self._readers: list[tuple[str, Reader]] = []
        self._rollovers: list[tuple[str, Reader]] = []
        for point in points:
            reader = _reader(point, requests)
            if reader is None:
                continue
            self._readers.append((point.measurement, reader))
            if point.counter and point.modulus is not None:
                self._rollovers.append((point.measurement, _rollover_reader(point, requests)))

    def values(self, blocks: Blocks) -> dict[str, int]:
        """Measurement to integer; missing is absent. ``blocks[i]`` holds all bytes of request ``i``."""
        found = {}
        for name, read in self._readers:
            value = read(blocks)
            if value is not None:
                found[name] = value
        return found

    def rollovers(self, blocks: Blocks) -> dict[str, int]:
        """Measurement to the value at which its counter starts again at 0, where that is known."""
        return {name: at for name, read in self._rollovers if (at := read(blocks)) is not None}


def _place(requests: Sequence[Request], function: int, address: int, count: int) -> tuple[int, int] | None:
    """Which block holds these registers, and from which byte on."""
    for place, request in enumerate(requests):
        inside = request.address <= address and address + count <= request.address + request.count
        if request.function == function and inside:
            return place, 2 * (address - request.address)
    return None


def _reader(point: Point, requests: Sequence[Request]) -> Reader | None:
    terms = [_place(requests, point.function, address, point.count) for address in point.terms]
    found = [term for term in terms if term is not None]
    if len(found) < len(terms):
        return None
    if point.scale_register is None:
        return _fast_float(point, found[0]) or _scaled(point, found, lambda _: 0)
    exponent = _exponent_reader(point, requests)
    return None if exponent is None else _scaled(point, found, exponent)


def _fast_float(point: Point, at: tuple[int, int]) -> Reader | None:
    """The commonest form: one float32, high word first, a whole factor."""
    factor, divisor = point.scale
    known = MEASUREMENTS[point.measurement]
    plain = len(point.terms) == 1 and not (point.zero or point.magnitude or known.magnitude)
    whole = divisor == 1 and 0 < factor < _EXACT_FACTOR
    if not plain or not whole or point.type != "float32" or point.word_order != "ABCD":
        return None
    block, byte = at
    unpack = Struct(">f").unpack_from
    factor *= point.sign
    signed, absent = known.signed, frozenset(point.absent)
    limit = float(1 << 63)

    def read(blocks: Blocks) -> int | None:
        number = unpack(blocks[block], byte)[0] * factor
        if not -limit <= number < limit:  # NaN and the infinities too
            return None
        if absent and int.from_bytes(blocks[block][byte : byte + 4], "big") in absent:
            return None
        value = round(number)
        return None if value < 0 and not signed else value

    return read


def _raw_reader(point: Point, at: tuple[int, int]) -> Callable[[Blocks], int]:
    block, byte = at
    count = point.count
    end = byte + 2 * count
    if point.word_order == "ABCD":
        return lambda blocks: int.from_bytes(blocks[block][byte:end], "big")
    words = Struct(f">{count}H").unpack_from
    order = point.word_order
    return lambda blocks: raw_from_words(words(blocks[block], byte), order)


def _scaled(point: Point, terms: Sequence[tuple[int, int]], exponent: Reader) -> Reader:
    raws = [_raw_reader(point, at) for at in terms]

    def read(blocks: Blocks) -> int | None:
        power = exponent(blocks)
        return None if power is None else point_value(point, [raw(blocks) for raw in raws], power)

    return read


def _exponent_reader(point: Point, requests: Sequence[Request]) -> Reader | None:
    assert point.scale_register is not None
    at = _place(requests, point.function, point.scale_register, 1)
    if at is None:
        return None
    block, byte = at

    def read(blocks: Blocks) -> int | None:
        exponent = signed_from_raw(int.from_bytes(blocks[block][byte : byte + 2], "big"), 16)
        return exponent if -_SCALE_MAX <= exponent <= _SCALE_MAX else None

    return read


def _rollover_reader(point: Point, requests: Sequence[Request]) -> Reader:
    if point.scale_register is None:
        fixed = rollover_at(point, 0)
        return lambda _: fixed
    exponent = _exponent_reader(point, requests)

    def read(blocks: Blocks) -> int | None:
        power = None if exponent is None else exponent(blocks)
        return None if power is None else rollover_at(point, power)

    return read
