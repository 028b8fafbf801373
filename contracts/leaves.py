"""The leaves of the three account trees: slot, meter and balance. Leaf index = account number in every tree.

A leaf is packed to fixed-width big-endian bytes and hashed under the leaf tag (see ``merkle``); its sums follow
from its content, so that a leaf that claims other sums refutes itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.codes import LongSide, Side
from contracts.eip712 import I64, I128, U8, U32, U64, U128, Bytes32, Message, keccak
from contracts.interval import ProductLength
from contracts.merkle import Node, leaf_node
from contracts.messages import FORCED_VERSION, Auction, Bid
from contracts.units import amount_nano


@dataclass(frozen=True, slots=True)
class Slot(Message):
    """One account in one auction: its newest bid, what of it was filled before and now, its position in the product.

    From an account's first bid on it has a slot in every round of the product. A bid that has expired stays in its
    slot and takes no part. Sums: buy fill, sell fill, and the quantity at the margin of the long side.
    """

    account: U32
    product: U64
    version: U32
    side: U8
    quantity_wh: U64
    limit_price: I64
    expiry_s: U64
    filled_before_wh: U64
    fill_wh: U64
    position_wh: I64
    position_cost_nano: I128
    signature_hash: Bytes32

    @property
    def open_wh(self) -> int:
        """Quantity that no round before has filled."""
        return self.quantity_wh - self.filled_before_wh

    def offered_wh(self, cleared_at_s: int) -> int:
        """Quantity that takes part in a round that clears then: nothing of a bid that has expired."""
        return self.open_wh if self.expiry_s >= cleared_at_s else 0

    @property
    def signed_fill_wh(self) -> int:
        """Fill as a change of position: positive when bought."""
        return self.fill_wh if self.side == Side.BUY else -self.fill_wh

    @property
    def is_forced(self) -> bool:
        """Whether the bid was placed on chain and not signed."""
        return self.version >= FORCED_VERSION

    @property
    def is_retired(self) -> bool:
        """Whether the slot keeps nothing of an order placed on chain but its version and what it has traded."""
        return self.is_forced and self.quantity_wh == 0

    @property
    def bid_terms(self) -> tuple[int, int, int, int, int]:
        """Version, side, quantity, limit and expiry, also where no legal bid has them."""
        return self.version, self.side, self.quantity_wh, self.limit_price, self.expiry_s

    @property
    def bid(self) -> Bid:
        """The bid this slot claims the account has signed."""
        return Bid(
            self.account, self.product, self.version, self.side, self.quantity_wh, self.limit_price, self.expiry_s
        )

    def marginal_wh(self, price: int, long_side: int, cleared_at_s: int) -> int:
        """What of the bid is offered exactly at ``price`` on the long side; below zero where more was filled before."""
        is_long = long_side == (LongSide.BUY if self.side == Side.BUY else LongSide.SELL)
        return self.offered_wh(cleared_at_s) if is_long and self.limit_price == price else 0

    def node(self, price: int, long_side: int, cleared_at_s: int) -> Node:
        """Leaf node under an auction that cleared at ``price``, then, with ``long_side`` rationed.

        Less than nothing at the margin counts as nothing; ``challengeLeaf`` refutes such a leaf whatever it sums.
        """
        buying = self.side == Side.BUY
        return leaf_node(
            self.pack(),
            self.fill_wh if buying else 0,
            0 if buying else self.fill_wh,
            max(self.marginal_wh(price, long_side, cleared_at_s), 0),
        )


@dataclass(frozen=True, slots=True)
class MeterLeaf(Message):
    """What an account metered, had contracted and was ordered to do in one settled interval, and the deviation.

    Energy and cost of this one interval are kept apart by product length, so that each is refuted by one slot.
    ``reading_hash`` commits to the reading and its signature (``reading_commitment``); zero before the first one.
    Sums: positive deviations, negative deviations.
    """

    account: U32
    import_register_wh: U64
    export_register_wh: U64
    quarter_wh: I64
    quarter_cost_nano: I128
    hour_wh: I64
    hour_cost_nano: I128
    day_wh: I64
    day_cost_nano: I128
    week_wh: I64
    week_cost_nano: I128
    ordered_wh: I64
    deviation_wh: I64
    reading_hash: Bytes32

    @property
    def contracted(self) -> dict[int, tuple[int, int]]:
        """``{length: (energy Wh, cost nano)}`` of the four product lengths."""
        return {
            ProductLength.QUARTER_HOUR: (self.quarter_wh, self.quarter_cost_nano),
            ProductLength.HOUR: (self.hour_wh, self.hour_cost_nano),
            ProductLength.DAY: (self.day_wh, self.day_cost_nano),
            ProductLength.WEEK: (self.week_wh, self.week_cost_nano),
        }

    @property
    def contracted_wh(self) -> int:
        """Contracted energy of all lengths."""
        return self.quarter_wh + self.hour_wh + self.day_wh + self.week_wh

    @property
    def contracted_cost_nano(self) -> int:
        """Cost of the contracted energy of all lengths."""
        return self.quarter_cost_nano + self.hour_cost_nano + self.day_cost_nano + self.week_cost_nano

    def node(self) -> Node:
        """Leaf node of this leaf."""
        return leaf_node(self.pack(), max(self.deviation_wh, 0), max(-self.deviation_wh, 0), 0)


@dataclass(frozen=True, slots=True)
class BalanceLeaf(Message):
    """Result of all trading of an account since the beginning, and what is reserved for what it still owes.

    Cash is deposited - withdrawn + cumulative. ``commitments_hash`` opens ``reserved_nano`` product by product (see
    ``commitments``). Sums: positive results, negative results; over all accounts, the supplier included, they are
    equal.
    """

    account: U32
    cumulative_nano: I128
    reserved_nano: U128
    commitments_hash: Bytes32

    def node(self) -> Node:
        """Leaf node of this leaf."""
        return leaf_node(self.pack(), max(self.cumulative_nano, 0), max(-self.cumulative_nano, 0), 0)


def slot_node(slot: Slot, auction: Auction) -> Node:
    """Leaf node of ``slot`` in the tree of ``auction``."""
    return slot.node(auction.price, auction.long_side, auction.cleared_at_s)


def meter_leaf(
    account: int,
    registers_wh: tuple[int, int],
    contracted: Mapping[int, tuple[int, int]],
    ordered_wh: int,
    deviation_wh: int,
    reading_hash: bytes,
) -> MeterLeaf:
    """A meter leaf from ``{product length: (energy Wh, cost nano)}``; lengths that are absent count as zero."""
    quarter, hour, day, week = (contracted.get(length, (0, 0)) for length in ProductLength)
    return MeterLeaf(account, *registers_wh, *quarter, *hour, *day, *week, ordered_wh, deviation_wh, reading_hash)


def reading_commitment(reading_hash: bytes, signature: bytes) -> bytes:
    """What a meter leaf carries for the reading with that struct hash: the reading and its signature, both fixed."""
    return keccak(reading_hash + keccak(signature))


def settlement_delta_nano(
    meter: MeterLeaf, spot_fill_wh: int, spot_price: int, tariff_import: int, tariff_export: int
) -> int:
    """Change of an account's cumulative result by one settled interval, in nano-currency.

    Contracted energy at its cost, the filled part of the deviation at the spot price, the rest with the
    supplier at the tariff: bought at ``tariff_import``, sold at ``tariff_export``.
    """
    rest_wh = abs(meter.deviation_wh) - spot_fill_wh
    if meter.deviation_wh >= 0:
        cost = amount_nano(spot_price, spot_fill_wh) + amount_nano(tariff_import, rest_wh)
    else:
        cost = -amount_nano(spot_price, spot_fill_wh) - amount_nano(tariff_export, rest_wh)
    return -(meter.contracted_cost_nano + cost)
