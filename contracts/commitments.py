"""What an account may still owe, product by product: the reserve, as a public function of its own slots.

    slot of the product's last round  →  Commitment (bid, position)  →  list by product  →  reserved_nano, list hash
                                                         chunks of eight  →  heads (first product, hash)  ──┘

A buyer owes his limit; a seller who does not deliver owes the import tariff less what he was to earn. A balance leaf
carries the sum and the hash of the list, so that too little, too much, an entry that is missing and one that is made
up are each refuted by the slot they should follow from, or by the list of the header before. One product is shown, or
shown to be absent, by the heads of all chunks and the one chunk in which it would stand.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from contracts.codes import Side
from contracts.eip712 import U64, U128, Message, keccak, layout
from contracts.interval import PRODUCT_LENGTH_FACTOR, PRODUCT_LENGTHS, Product
from contracts.leaves import Slot
from contracts.units import amount_nano

COMMITMENTS_LIMIT = 64
"""Open products of one account: 33 hours, 8 quarter-hours, 2 days and 2 weeks fit; more would be dear to refute."""

NO_COMMITMENTS = bytes(32)
"""Hash of the empty list."""

CHUNK_LENGTH = 8
"""Commitments under one head: with eight heads of eight the least is shown of a full list."""

HEAD_BYTES = 8 + 32


@dataclass(frozen=True, slots=True)
class Commitment(Message):
    """What one product may still cost an account: its open bid over all intervals, its position per interval."""

    product: U64
    bid_nano: U128
    interval_nano: U128

    def owed_nano(self, settled: int) -> int:
        """Worst cost when ``settled`` is the last settled interval."""
        return self.bid_nano + self.interval_nano * left_of(self.product, settled)


def intervals_left(product: Product, settled: int) -> int:
    """Intervals of ``product`` that are not settled yet."""
    return left_of(product.number, settled)


def left_of(number: int, settled: int) -> int:
    """The same for any number, as the contract counts: of a length that no product has nothing is left."""
    first, length = divmod(number, PRODUCT_LENGTH_FACTOR)
    return max(0, first + length - max(first, settled + 1)) if length in PRODUCT_LENGTHS else 0


def bid_reserve_nano(side: int, open_wh: int, limit_price: int, intervals: int, tariff_import: int) -> int:
    """Worst cost of an open bid over the ``intervals`` of its product."""
    worst_price = limit_price if side == Side.BUY else tariff_import - limit_price
    return max(0, amount_nano(worst_price, open_wh)) * intervals


def position_reserve_nano(position_wh: int, cost_nano: int, tariff_import: int) -> int:
    """Worst cost of a position for each of its intervals."""
    return max(0, cost_nano + amount_nano(tariff_import, max(0, -position_wh)))


def commitment_of(slot: Slot | None, product: Product, is_closed: bool, tariff_import: int, settled: int) -> Commitment:
    """What the slot of a product's last round leaves open; all zero without a slot, or once all is settled.

    ``is_closed``: the gate of the product has closed, no bid rests any more.
    """
    return commitment_of_number(slot, product.number, is_closed, tariff_import, settled)


def commitment_of_number(
    slot: Slot | None, number: int, is_closed: bool, tariff_import: int, settled: int
) -> Commitment:
    """The same for any number that a liar may have published."""
    if slot is None or left_of(number, settled) == 0:
        return Commitment(number, 0, 0)
    open_wh = 0 if is_closed else slot.open_wh - slot.fill_wh
    return Commitment(
        number,
        bid_reserve_nano(slot.side, open_wh, slot.limit_price, number % PRODUCT_LENGTH_FACTOR, tariff_import),
        position_reserve_nano(slot.position_wh, slot.position_cost_nano, tariff_import),
    )


def carried(before: Commitment, is_closed: bool, settled: int) -> Commitment:
    """The commitment of a product without a round in this header, from the header before."""
    if left_of(before.product, settled) == 0:
        return Commitment(before.product, 0, 0)
    return Commitment(before.product, 0 if is_closed else before.bid_nano, before.interval_nano)


def listed(commitments: Iterable[Commitment]) -> tuple[Commitment, ...]:
    """The list that a balance leaf commits to: by product, without those that owe nothing."""
    return tuple(sorted((c for c in commitments if c.bid_nano or c.interval_nano), key=lambda c: c.product))


def chunks_of(commitments: Sequence[Commitment]) -> list[tuple[Commitment, ...]]:
    """The list in pieces of eight; the last may be shorter."""
    return [tuple(commitments[at : at + CHUNK_LENGTH]) for at in range(0, len(commitments), CHUNK_LENGTH)]


def heads_of(commitments: Sequence[Commitment]) -> bytes:
    """Of each chunk its first product, eight bytes, and the hash of its packed commitments, 32 bytes."""
    return b"".join(
        chunk[0].product.to_bytes(8, "big") + keccak(b"".join(c.pack() for c in chunk))
        for chunk in chunks_of(commitments)
    )


def commitments_hash(commitments: Sequence[Commitment]) -> bytes:
    """What a balance leaf carries for the list: the hash of its heads; zero for the empty one."""
    return keccak(heads_of(commitments)) if commitments else NO_COMMITMENTS


@dataclass(frozen=True, slots=True)
class Opening:
    """What of a list shows one product: all heads, and the commitments of the chunk at place ``chunk``."""

    heads: bytes
    chunk: int
    entries: tuple[Commitment, ...]


def opening_of(commitments: Sequence[Commitment], product: int) -> Opening:
    """The opening that shows what a list by product holds for one, be it nothing."""
    chunks = chunks_of(commitments)
    if not chunks:
        return Opening(b"", 0, ())
    place = max(bisect_right(chunks, product, key=lambda chunk: chunk[0].product) - 1, 0)
    return Opening(heads_of(commitments), place, chunks[place])


def unpack_commitments(packed: bytes) -> tuple[Commitment, ...]:
    """The list of those bytes. Raises LocalValueError where they are none."""
    width = layout(Commitment).width
    return tuple(Commitment.unpack(packed[at : at + width]) for at in range(0, len(packed), width))


def reserved_nano(commitments: Iterable[Commitment], settled: int) -> int:
    """The reserve of an account."""
    return sum(c.owed_nano(settled) for c in commitments)


class ReserveFault(Enum):
    """How a balance leaf's list of commitments refutes it, in the order in which the contract looks."""

    TOO_MANY = "the list is longer than an account may have products open"
    UNSORTED = "the list is not by product, or has a product twice"
    IDLE = "a commitment of the list owes nothing, or its product is settled"
    WRONG_SUM = "the reserve is not the sum of the list"


def reserve_fault(reserve_nano: int, commitments: Sequence[Commitment], settled: int) -> ReserveFault | None:
    """What is wrong with ``reserve_nano`` under its opened list; None when nothing is."""
    if len(commitments) > COMMITMENTS_LIMIT:
        return ReserveFault.TOO_MANY
    if any(a.product >= b.product for a, b in pairwise(commitments)):
        return ReserveFault.UNSORTED
    if any(not (c.bid_nano or c.interval_nano) or left_of(c.product, settled) == 0 for c in commitments):
        return ReserveFault.IDLE
    return None if reserve_nano == reserved_nano(commitments, settled) else ReserveFault.WRONG_SUM
