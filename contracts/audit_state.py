"""What an auditor carries from record to record, what does not change, and what he finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from contracts.demands import Demand
from contracts.eip712 import Domain, LocalValueError, layout
from contracts.evidence import Call
from contracts.header_rules import Terms
from contracts.interval import PRODUCT_LENGTHS, Product, product_covering
from contracts.leaves import Slot, reading_commitment
from contracts.messages import Auction, Bid, StandingOrder
from contracts.posting import Posting
from contracts.round_rules import closing_interval

INCLUSION_DELAY_S = 900
"""How long an operator may take to see what happened on chain; the trading contract's own figure counts."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in words; the call that proves it, or the demand that brings out what is missing for a proof."""

    text: str
    call: Call | None = None
    demand: Demand | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ForcedOrder:
    """A bid placed on chain, and when it was cancelled or matched there; 0 while it stands."""

    bid: Bid
    closed_at_s: int = 0

    def stands_at(self, at_s: int) -> bool:
        """Whether it was still standing then."""
        return self.closed_at_s == 0 or self.closed_at_s > at_s


@dataclass(frozen=True, slots=True)
class AuditRules:
    """What does not change from record to record. ``forced``: bids placed on chain, by account and version.

    ``deposited_nano``: all that was ever paid into each account; without it cover is not judged.
    """

    domain: Domain
    terms: Terms
    keys: Mapping[int, bytes]
    forced: Mapping[tuple[int, int], ForcedOrder] = field(default_factory=dict)
    inclusion_delay_s: int = INCLUSION_DELAY_S
    deposited_nano: Mapping[int, int] | None = None

    def standing_order(self, slot: Slot, published: bytes) -> tuple[StandingOrder | None, bytes]:
        """Order and signature that a spot slot commits to, out of what was published; None where they are not it."""
        width = layout(StandingOrder).width
        try:
            order = StandingOrder.unpack(published[:width])
        except LocalValueError:
            return None, b""
        fits = reading_commitment(order.struct_hash(), published[width:]) == slot.signature_hash
        return (order, published[width:]) if fits else (None, b"")


Place = tuple[Posting, int]
"""An auction: its header, and its leaf there."""


@dataclass(slots=True)
class AuditState:
    """The headers that later ones build on, and the last round of every product that is not settled yet."""

    count: int = 0
    digest: bytes = bytes(32)
    tip: Posting | None = None
    first: Posting | None = None
    by_interval: dict[int, Posting] = field(default_factory=dict)
    rounds: dict[int, Place] = field(default_factory=dict)
    named: dict[tuple[int, bytes], Place] = field(default_factory=dict)

    def move_to(self, posting: Posting, digest: bytes, terms: Terms) -> None:
        """Makes ``posting`` the tip, and forgets what no later header can refer to."""
        self.count, self.digest, self.tip = posting.index + 1, digest, posting
        self.first = self.first or posting
        self.by_interval[posting.header.interval] = posting
        settled = posting.header.interval - terms.grace
        for product in [p for p in self.rounds if is_settled(p, settled)]:
            del self.rounds[product]
        for key in [k for k in self.named if is_settled(k[0], settled)]:
            del self.named[key]
        needed = set(_closing_intervals(settled, posting.header.interval, terms))
        for interval in [i for i in self.by_interval if i not in needed]:
            del self.by_interval[interval]


def _closing_intervals(settled: int, tip: int, terms: Terms) -> Iterator[int]:
    """Headers that hold, or could have held, the closing round of a product that is still to be settled."""
    for length in PRODUCT_LENGTHS:
        product = product_covering(max(settled + 1, 0), length)
        while (closes := closing_interval(product, terms.gate_leads)) <= tip:
            yield closes
            product = Product(product.first_interval + length, length)


def is_settled(number: int, settled: int) -> bool:
    """Whether every interval of the product with that number is settled; also for numbers that no product has."""
    first, length = divmod(number, 1024)
    return settled >= first + length - 1


def round_hash(place: Place) -> bytes:
    """Struct hash of the auction at a place."""
    posting, number = place
    return posting.record.auctions[number].auction.struct_hash()


def slot_of(place: Place | None, account: int) -> Slot | None:
    """An account's slot in the auction at a place."""
    return None if place is None else place[0].slots(place[1]).get(account)


def is_overfilled(slot: Slot | None, auction: Auction) -> bool:
    """Whether less than nothing of a slot's bid is open at the margin: then its leaf is the lie that can be shown."""
    return slot is not None and slot.marginal_wh(auction.price, auction.long_side, auction.cleared_at_s) < 0


def auction_at(place: Place) -> Auction:
    """The auction at a place."""
    return place[0].record.auctions[place[1]].auction
