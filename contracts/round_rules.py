"""How rounds follow each other: the chain of a product's auctions, the slots carried along it, and what was promised.

    order of a header's auctions     strictly by (product, round), without gaps: absence is shown by two neighbours
    chain of rounds                  ``previous`` names the round before; no two rounds name the same one
    slots along the chain            a slot stays, its version never goes back, its position moves by the fill
    the closing round                stands in the header in which the gate closes; its positions are contracted
    promises                         receipts of the operator, orders placed on chain

Each function judges evidence that was found to lead to its header; ``solidity/src/libraries/RoundRules.sol`` is the
same with the faults in the same order.
"""

from __future__ import annotations

from enum import Enum

from contracts.codes import AuctionRule
from contracts.interval import PRODUCT_LENGTH_FACTOR, Product, find_product, interval_of, product_covering
from contracts.leaves import Slot
from contracts.messages import Auction, Header, Receipt, StandingOrder


class OrderFault(Enum):
    """How two neighbouring leaves of an auctions tree refute it."""

    GAP = "an auction stands behind an empty leaf"
    UNSORTED = "the forward auctions are not strictly by product and round"


def order_fault(index: int, first: Auction | None, second: Auction | None) -> OrderFault | None:
    """What is wrong with the leaves ``index`` and ``index + 1``; None when nothing is."""
    if first is None:
        return None if second is None else OrderFault.GAP
    if second is None or index == 0:  # leaf 0 is the spot round, outside the order
        return None
    ordered = (first.product, first.round) < (second.product, second.round)
    return None if ordered else OrderFault.UNSORTED


def is_last_of(product: int, index: int, auction: Auction | None, after: Auction | None) -> bool | None:
    """Whether the leaf ``index`` holds the last auction of ``product`` in its header; None where there is none.

    ``after`` is the next leaf. Raises ValueError where the two leaves do not settle it.
    """
    if after is not None and after.product <= product:
        raise ValueError("the next leaf is not beyond the product")
    if auction is None or index == 0 or auction.product < product:
        if auction is None and index != 0:
            raise ValueError("an empty leaf says nothing about what stands before it")
        return None
    if auction.product > product:
        raise ValueError("the leaf is beyond the product")
    return True


class RoundFault(Enum):
    """How an auction contradicts the one that its ``previous`` names, or could be of no round at all."""

    ANOTHER_PRODUCT = "the round before is of another product"
    NOT_LATER = "the round does not come after the one before"
    AFTER_GATE = "the gate of the product closed in an earlier header"
    NO_PRODUCT = "no product has that number"


def round_fault(auction: Auction, before: Auction) -> RoundFault | None:
    """What is wrong with ``auction`` after ``before``, whose struct hash it carries; None when nothing is."""
    if before.product != auction.product or before.rule != AuctionRule.FORWARD:
        return RoundFault.ANOTHER_PRODUCT
    if before.round >= auction.round or before.cleared_at_s >= auction.cleared_at_s:
        return RoundFault.NOT_LATER
    return None


def gate_fault(number: int, interval: int, gate_leads: tuple[int, ...]) -> RoundFault | None:
    """What is wrong with a forward auction of that product in the header of ``interval``; None when nothing is.

    What a later round fills would not be delivered, yet it would move the positions that are reserved for.
    """
    product = find_product(number)
    if product is None:
        return RoundFault.NO_PRODUCT
    return RoundFault.AFTER_GATE if closing_interval(product, gate_leads) < interval else None


def is_fork(one: Auction, other: Auction) -> bool:
    """Whether two auctions at different leaves claim the same place in a product's chain of rounds."""
    forward = one.rule == AuctionRule.FORWARD and other.rule == AuctionRule.FORWARD
    return forward and one.product == other.product and one.previous == other.previous


class CarryFault(Enum):
    """How an account's slot contradicts its slot in the round before, in the order in which the contract looks."""

    DROPPED = "the account had a slot in the round before and has none"
    WRONG_POSITION = "the position is not the one before plus the fill"
    VERSION_BACK = "the version is lower than in the round before, or a slot has none"
    RETIRED = "the bid was taken out, though nobody withdrew it"
    BID_CHANGED = "the bid is another one under the same version"
    WRONG_FILLED_BEFORE = "what was filled before is not what the rounds before filled"


def carry_fault(slot: Slot | None, before: Slot | None, price: int, withdrawn: bool) -> CarryFault | None:
    """What is wrong with ``slot`` in a round at ``price`` after ``before`` in the round before; None when nothing is.

    ``withdrawn``: the bid was placed on chain and cancelled there before the round. Then the slot may keep its
    version with every other field of the bid zero ("retired").
    """
    if slot is None:
        return None if before is None else CarryFault.DROPPED
    held_wh, held_nano = (before.position_wh, before.position_cost_nano) if before else (0, 0)
    moved = (held_wh + slot.signed_fill_wh, held_nano + slot.signed_fill_wh * price)
    if (slot.position_wh, slot.position_cost_nano) != moved:
        return CarryFault.WRONG_POSITION
    if slot.version == 0 or (before is not None and slot.version < before.version):
        return CarryFault.VERSION_BACK
    retired = slot.is_retired
    if before is None or slot.version > before.version:
        if retired and not withdrawn:
            return CarryFault.RETIRED
        return None if slot.filled_before_wh == 0 else CarryFault.WRONG_FILLED_BEFORE
    if retired:
        return None if withdrawn or before.is_retired else CarryFault.RETIRED
    if slot.bid_terms != before.bid_terms or slot.signature_hash != before.signature_hash:
        return CarryFault.BID_CHANGED
    same = slot.filled_before_wh == before.filled_before_wh + before.fill_wh
    return None if same else CarryFault.WRONG_FILLED_BEFORE


def closing_interval(product: Product, gate_leads: tuple[int, ...]) -> int:
    """Interval in which the gate of ``product`` closes; the header of it carries the closing round.

    ``gate_leads`` are the intervals between closing and delivery, by product length.
    """
    return product.first_interval - gate_leads[LENGTH_PLACE[product.length]]


def is_closed(number: int, interval: int, gate_leads: tuple[int, ...]) -> bool:
    """Whether the gate of a product has closed in the header of ``interval``, or was never open."""
    first, length = divmod(number, PRODUCT_LENGTH_FACTOR)
    return length not in LENGTH_PLACE or first - gate_leads[LENGTH_PLACE[length]] <= interval


LENGTH_PLACE = {1: 0, 4: 1, 96: 2, 672: 3}
"""Place of a product length in ``gate_leads`` and in the meter leaf."""


class ReceiptFault(Enum):
    """How an auction breaks the operator's own receipt."""

    MISSING = "the account has no slot"
    STALE = "the slot holds an older version"
    ALTERED = "the slot holds another bid under that version"


def receipt_fault(receipt: Receipt, auction: Auction, slot: Slot | None) -> ReceiptFault | None:
    """What is wrong with the account's slot in ``auction`` under a receipt of a bid; None when nothing is."""
    covered = auction.rule == AuctionRule.FORWARD and auction.product == receipt.product
    if not covered or auction.round < receipt.round or auction.cleared_at_s < receipt.clears_at_s:
        return None
    if slot is None:
        return ReceiptFault.MISSING
    if slot.version < receipt.version:
        return ReceiptFault.STALE
    altered = slot.version == receipt.version and slot.bid.struct_hash() != receipt.bid_hash
    return ReceiptFault.ALTERED if altered else None


class ForcedFault(Enum):
    """How a header breaks an order placed on chain."""

    ROUND_MISSING = "no round of the product closes in the header, though an order was placed on chain"
    IGNORED = "the closing round does not hold the order"
    WITHDRAWN_USED = "the order was filled long after it was cancelled on chain"
    ANOTHER_PRODUCT = "a slot is retired under the version of an order for another product"


def forced_fault(order_version: int, closing: Auction | None, slot: Slot | None) -> ForcedFault | None:
    """What is wrong with the closing round for a standing on-chain order; None when nothing is."""
    if closing is None:
        return ForcedFault.ROUND_MISSING
    return ForcedFault.IGNORED if slot is None or slot.version < order_version else None


class StandingFault(Enum):
    """How a slot of a spot round under the rule ``auction`` contradicts its home's standing order."""

    WITHOUT_ORDER = "a home without a standing order stands at another limit than the tariff"
    WRONG_LIMIT = "the limit is not the standing order's"
    NOT_VALID = "the standing order was not valid when the interval began"
    NOT_BY_KEY = "the standing order is not signed by the account"


def standing_fault(
    slot: Slot, order: StandingOrder | None, signed: bool, header: Header, settled: int
) -> StandingFault | None:
    """What is wrong with a slot's limit; ``order`` is what its signature hash commits to, None where it is zero."""
    buying = slot.side == 0
    if order is None:
        tariff = header.tariff_import if buying else header.tariff_export
        return None if slot.version == 0 and slot.limit_price == tariff else StandingFault.WITHOUT_ORDER
    limit = order.max_buy_price if buying else order.min_sell_price
    if order.account != slot.account or order.version != slot.version or slot.limit_price != limit:
        return StandingFault.WRONG_LIMIT
    starts_at_s = settled * 900
    if starts_at_s < order.valid_from_s or (order.valid_until_s and starts_at_s >= order.valid_until_s):
        return StandingFault.NOT_VALID
    return None if signed else StandingFault.NOT_BY_KEY


def closing_header_interval(settled: int, length: int, gate_leads: tuple[int, ...]) -> int:
    """Interval of the header that closes the product of ``length`` that delivers in ``settled``."""
    return closing_interval(product_covering(settled, length), gate_leads)


def promised_header_interval(receipt: Receipt) -> int:
    """Interval of the header in which the first round of a receipted bid stands."""
    return interval_of(receipt.clears_at_s)
