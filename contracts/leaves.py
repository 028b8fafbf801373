"""The leaves of the three account trees: slot, meter and balance. Leaf index = account number in every tree.

A leaf is packed to fixed-width big-endian bytes and hashed under the leaf tag (see ``merkle``); its sums follow
from its content, so that a leaf that claims other sums refutes itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.eip712 import I64, I128, U8, U32, U64, U128, Bytes32, Message
from contracts.merkle import Node, leaf_node
from contracts.messages import Bid, LongSide, Side
from contracts.units import amount_nano


@dataclass(frozen=True, slots=True)
class Slot(Message):
    """One account in one auction: its bid, what was filled before and now, and its position in the product.

    An account that only carries a position has version 0 and quantity 0. Sums: buy fill, sell fill, and the
    open quantity at the margin of the long side.
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
        """Quantity that takes part in this round."""
        return self.quantity_wh - self.filled_before_wh

    @property
    def signed_fill_wh(self) -> int:
        """Fill as a change of position: positive when bought."""
        return self.fill_wh if self.side == Side.BUY else -self.fill_wh

    @property
    def bid(self) -> Bid:
        """The bid this slot claims the account has signed."""
        return Bid(
            self.account, self.product, self.version, self.side, self.quantity_wh, self.limit_price, self.expiry_s
        )

    def node(self, price: int, long_side: int) -> Node:
        """Leaf node under an auction that cleared at ``price`` with ``long_side`` rationed."""
        buying = self.side == Side.BUY
        at_margin = self.limit_price == price and long_side == (LongSide.BUY if buying else LongSide.SELL)
        return leaf_node(
            self.pack(),
            self.fill_wh if buying else 0,
            0 if buying else self.fill_wh,
            self.open_wh if at_margin else 0,
        )


@dataclass(frozen=True, slots=True)
class MeterLeaf(Message):
    """What an account metered, had contracted and was ordered to do in one settled interval, and the deviation.

    ``contracted_cost_nano`` is the cost of the contracted energy of this one interval over all product lengths.
    Sums: positive deviations, negative deviations.
    """

    account: U32
    import_register_wh: U64
    export_register_wh: U64
    contracted_wh: I64
    contracted_cost_nano: I128
    ordered_wh: I64
    deviation_wh: I64
    reading_hash: Bytes32

    def node(self) -> Node:
        """Leaf node of this leaf."""
        return leaf_node(self.pack(), max(self.deviation_wh, 0), max(-self.deviation_wh, 0), 0)


@dataclass(frozen=True, slots=True)
class BalanceLeaf(Message):
    """Result of all trading of an account since the beginning, and what is reserved for what it still owes.

    Cash is deposited - withdrawn + cumulative. Sums: positive results, negative results; over all accounts,
    the supplier included, they are equal.
    """

    account: U32
    cumulative_nano: I128
    reserved_nano: U128

    def node(self) -> Node:
        """Leaf node of this leaf."""
        return leaf_node(self.pack(), max(self.cumulative_nano, 0), max(-self.cumulative_nano, 0), 0)


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
