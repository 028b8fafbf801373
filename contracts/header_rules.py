"""What a header must hold besides clearing: which auction stands where, and how each balance moves.

A header of interval ``t`` commits to the auctions cleared in ``t`` and settles interval ``t - grace``. Leaf 0 of
its auctions tree is the spot round of the settled interval; the forward auctions follow, sorted by product and
round. The sums of the auctions tree are (volume, 0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.codes import AuctionRule, Side
from contracts.eip712 import Domain, digest
from contracts.interval import DEFAULT_CALENDAR, INTERVAL_S, SPOT_ROUND, Product, ProductLength
from contracts.leaves import MeterLeaf, Slot, settlement_delta_nano
from contracts.merkle import Node, leaf_node
from contracts.messages import Auction, Header

DEFAULT_GRACE_INTERVALS = 4
"""One hour for late readings; what comes later is corrected by the next cumulative registers."""

FIRST_HEADER_PREVIOUS = bytes(32)
"""``previous`` of the first header of a chain."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a deployment fixes for good and every rule may need.

    ``gate_leads``: whole intervals between the one in which a gate closes and delivery, for quarter-hours, hours,
    days and weeks. ``spot_rule``: the rule of every spot round.
    """

    grace: int = DEFAULT_GRACE_INTERVALS
    gate_leads: tuple[int, int, int, int] = DEFAULT_CALENDAR.gate_leads
    spot_rule: AuctionRule = AuctionRule.SPOT_SHARED

    def __post_init__(self) -> None:
        if self.spot_rule == AuctionRule.FORWARD or len(self.gate_leads) != len(ProductLength):
            raise ValueError("a spot rule, and one gate lead for each product length")
        if not all(0 <= lead < 1 << 16 for lead in self.gate_leads):
            raise ValueError("gate leads are 16-bit numbers of intervals")

    @property
    def packed_gate_leads(self) -> int:
        """The four leads as the contract holds them: 16 bits each, quarter-hours lowest."""
        return sum(lead << 16 * place for place, lead in enumerate(self.gate_leads))


class PlacementFault(Enum):
    """Why an auction may not stand at its leaf."""

    SPOT_MISPLACED = "leaf 0 is not the spot round of the settled interval by the agreed rule, or another leaf is one"
    SPOT_PRICE_DIFFERS = "the spot round's price is not the header's"
    CLEARED_OUTSIDE_INTERVAL = "the auction did not clear within the header's interval"


class BalanceFault(Enum):
    """How a balance contradicts the leaves it follows from, in the order in which the contract looks."""

    SPOT_IS_NOT_DEVIATION = "the spot slot does not trade the metered deviation"
    WRONG_CUMULATIVE = "the result did not move by contracts, spot and supplier settlement"


def header_digest(header: Header, domain: Domain) -> bytes:
    """The identity of a header: its EIP-712 digest. The next header's ``previous``."""
    return digest(header, domain)


def auction_node(auction: Auction) -> Node:
    """Leaf of the auctions tree: the struct hash of the auction, summing its volume."""
    return leaf_node(auction.struct_hash(), auction.volume_wh, 0, 0)


def placement_fault(index: int, auction: Auction, header: Header, terms: Terms) -> PlacementFault | None:
    """What is wrong with ``auction`` standing at leaf ``index`` of ``header``; None when nothing is."""
    is_spot = auction.rule != AuctionRule.FORWARD
    if is_spot != (index == 0) or (auction.round == SPOT_ROUND) != is_spot:
        return PlacementFault.SPOT_MISPLACED
    if is_spot:
        settled = header.interval - terms.grace
        if settled < 0 or auction.product != Product(settled, 1).number:
            return PlacementFault.SPOT_MISPLACED
        if auction.rule != terms.spot_rule or auction.previous != bytes(32):
            return PlacementFault.SPOT_MISPLACED
    if is_spot and auction.price != header.spot_price:
        return PlacementFault.SPOT_PRICE_DIFFERS
    if auction.cleared_at_s // INTERVAL_S != header.interval:
        return PlacementFault.CLEARED_OUTSIDE_INTERVAL
    return None


def balance_fault(
    before_nano: int, after_nano: int, meter: MeterLeaf | None, spot_slot: Slot | None, header: Header
) -> BalanceFault | None:
    """What is wrong with one account's move from ``before_nano`` to ``after_nano``; absent leaves count as zero.

    Not for the supplier, whose balance is what makes all balances sum to zero.
    """
    deviation = meter.deviation_wh if meter else 0
    traded = 0
    if spot_slot is not None:
        traded = spot_slot.open_wh if spot_slot.side == Side.BUY else -spot_slot.open_wh
    if traded != deviation:
        return BalanceFault.SPOT_IS_NOT_DEVIATION
    move = 0
    if meter is not None:
        move = settlement_delta_nano(
            meter, spot_slot.fill_wh if spot_slot else 0, header.spot_price, header.tariff_import, header.tariff_export
        )
    return None if after_nano == before_nano + move else BalanceFault.WRONG_CUMULATIVE
