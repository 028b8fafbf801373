"""Every call by which a lie in a posted header is proven, and the calls of the settlement that carry evidence.

One function for each: it takes what was found and gives the ``Call`` to send. Which rule a challenge judges by is
said in ``clearing_rules``, ``header_rules``, ``round_rules``, ``meter_rules`` and ``commitments``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.commitments import NO_COMMITMENTS, Commitment, opening_of
from contracts.evidence import (
    Call,
    PlacedAuction,
    PlacedBalance,
    PlacedMeter,
    PlacedNode,
    PlacedSlot,
    PostedHeader,
    Struct,
    Tree,
    blank_struct,
    message_struct,
    node_struct,
)
from contracts.leaves import BalanceLeaf
from contracts.merkle import Node, path_bytes
from contracts.messages import Auction, Bid, Header, Receipt, SettlementReading, StandingOrder

NO_SIGNATURE = b""


def post(header: Header) -> Call:
    """Posts the next header."""
    return Call("Settlement", "post", (message_struct(header),))


def finalise(posted: PostedHeader) -> Call:
    """Makes a header and all before it final."""
    return Call("Settlement", "finalise", (posted.struct(),))


def withdraw(account: int, amount_nano: int, balance: PlacedBalance) -> Call:
    """Takes cash out against the final balances; an absent leaf is an account that never traded."""
    leaf = balance.leaf or BalanceLeaf(account, 0, 0, NO_COMMITMENTS)
    return Call("Settlement", "withdraw", (account, amount_nano, message_struct(leaf), path_bytes(balance.siblings)))


def _clearing(function: str, *arguments: Any) -> Call:
    return Call("ClearingChallenges", function, arguments)


def challenge_node_sum(
    posted: PostedHeader, tree: Tree, auction: PlacedAuction, node: PlacedNode, left: Node, right: Node
) -> Call:
    """A node contradicts its children. Of several lies on one path, the topmost is the one that can be shown."""
    arguments = posted.struct(), int(tree), auction.struct(), node.struct(), node_struct(left), node_struct(right)
    return _clearing("challengeNodeSum", *arguments)


def challenge_leaf(posted: PostedHeader, tree: Tree, auction: PlacedAuction, node: PlacedNode, leaf: bytes) -> Call:
    """A leaf, given as the bytes that were hashed, contradicts its place or its claimed sums."""
    return _clearing("challengeLeaf", posted.struct(), int(tree), auction.struct(), node.struct(), leaf)


def challenge_auction(posted: PostedHeader, auction: Auction, node: PlacedNode) -> Call:
    """An auction stands where it may not, or its leaf sums something else than its volume."""
    return _clearing("challengeAuction", posted.struct(), message_struct(auction), node.struct())


def challenge_totals(posted: PostedHeader, tree: Tree, auction: PlacedAuction, root: Node) -> Call:
    """The sums of a root contradict the auction, the header or each other."""
    return _clearing("challengeTotals", posted.struct(), int(tree), auction.struct(), node_struct(root))


def challenge_fill(posted: PostedHeader, auction: PlacedAuction, account: int, slot: PlacedSlot) -> Call:
    """A slot was not filled by the rule, or contradicts the auction's bounds, or is named for one and absent."""
    return _clearing("challengeFill", posted.struct(), auction.struct(), account, slot.struct())


def challenge_signature(posted: PostedHeader, auction: PlacedAuction, slot: PlacedSlot, signature: bytes) -> Call:
    """The bid in a slot is not its account's."""
    return _clearing("challengeSignature", posted.struct(), auction.struct(), slot.struct(), signature)


def challenge_standing(
    posted: PostedHeader, spot: PlacedAuction, slot: PlacedSlot, order: StandingOrder | None, signature: bytes
) -> Call:
    """A slot of a spot auction stands at another limit than its home's standing order."""
    told = blank_struct(StandingOrder) if order is None else message_struct(order)
    return _clearing("challengeStanding", posted.struct(), spot.struct(), slot.struct(), told, signature)


def _round(function: str, *arguments: Any) -> Call:
    return Call("RoundChallenges", function, arguments)


def challenge_order(posted: PostedHeader, first: PlacedAuction, second: PlacedAuction) -> Call:
    """Two neighbouring auctions of a header are out of order, or one stands behind a gap."""
    return _round("challengeOrder", posted.struct(), first.struct(), second.struct())


def challenge_round(posted: PostedHeader, auction: PlacedAuction, before: Auction) -> Call:
    """An auction contradicts the round before it, whose hash it carries."""
    return _round("challengeRound", posted.struct(), auction.struct(), message_struct(before))


def challenge_gate(posted: PostedHeader, auction: PlacedAuction) -> Call:
    """A forward auction was cleared after the gate of its product, or is of none."""
    return _round("challengeGate", posted.struct(), auction.struct())


def challenge_fork(posted: PostedHeader, one: PlacedAuction, other_posted: PostedHeader, other: PlacedAuction) -> Call:
    """Two auctions claim the same place in a product's chain of rounds."""
    return _round("challengeFork", posted.struct(), one.struct(), other_posted.struct(), other.struct())


def challenge_carry(
    posted: PostedHeader,
    auction: PlacedAuction,
    slot: PlacedSlot,
    before: Auction | None,
    slot_before: PlacedSlot,
    account: int,
) -> Call:
    """An account's slot does not follow from its slot in the round before."""
    told = blank_struct(Auction) if before is None else message_struct(before)
    arguments = posted.struct(), auction.struct(), slot.struct(), told, slot_before.struct(), account
    return _round("challengeCarry", *arguments)


def challenge_receipt(
    posted: PostedHeader, auction: PlacedAuction, slot: PlacedSlot, receipt: Receipt, signature: bytes
) -> Call:
    """An auction breaks the operator's own receipt of a bid."""
    arguments = posted.struct(), auction.struct(), slot.struct(), message_struct(receipt), signature
    return _round("challengeReceipt", *arguments)


def challenge_standing_receipt(
    posted: PostedHeader,
    spot: PlacedAuction,
    slot: PlacedSlot,
    receipt: Receipt,
    signature: bytes,
    order: StandingOrder,
) -> Call:
    """A spot auction breaks the operator's own receipt of a standing order."""
    told = message_struct(receipt), signature, message_struct(order)
    return _round("challengeStandingReceipt", posted.struct(), spot.struct(), slot.struct(), *told)


def challenge_forced(
    posted: PostedHeader, last: PlacedAuction, after: PlacedAuction, slot: PlacedSlot, order: Bid
) -> Call:
    """The closing round of a product does not hold an order placed on chain, or there is none."""
    arguments = posted.struct(), last.struct(), after.struct(), slot.struct(), message_struct(order)
    return _round("challengeForced", *arguments)


def challenge_withdrawn(posted: PostedHeader, auction: PlacedAuction, slot: PlacedSlot) -> Call:
    """An order was filled long after it was cancelled on chain."""
    return _round("challengeWithdrawn", posted.struct(), auction.struct(), slot.struct())


def challenge_retired(posted: PostedHeader, auction: PlacedAuction, slot: PlacedSlot, order: Bid) -> Call:
    """A slot was retired under the version of an order that was placed on chain for another product."""
    return _round("challengeRetired", posted.struct(), auction.struct(), slot.struct(), message_struct(order))


def challenge_closing(
    posted: PostedHeader,
    last: PlacedAuction,
    after: PlacedAuction,
    earlier_posted: PostedHeader,
    earlier: PlacedAuction,
    slot: PlacedSlot,
) -> Call:
    """A product whose positions were published has no closing round in the header in which its gate closes."""
    arguments = posted.struct(), last.struct(), after.struct(), earlier_posted.struct(), earlier.struct(), slot.struct()
    return _round("challengeClosing", *arguments)


def _meter(function: str, *arguments: Any) -> Call:
    return Call("MeterChallenges", function, arguments)


def commitment_structs(commitments: Sequence[Commitment]) -> list[Struct]:
    """``Commitment[]``."""
    return [message_struct(c) for c in commitments]


def opening_struct(commitments: Sequence[Commitment], product: int) -> Struct:
    """``Opening``: what of the list shows the product."""
    opening = opening_of(commitments, product)
    return opening.heads, opening.chunk, commitment_structs(opening.entries)


def _previous(previous: Header | None) -> Struct:
    return blank_struct(Header) if previous is None else message_struct(previous)


def challenge_reading(posted: PostedHeader, meter: PlacedMeter, reading: SettlementReading, signature: bytes) -> Call:
    """The reading behind a meter leaf is another one, or forged."""
    return _meter("challengeReading", posted.struct(), meter.struct(), message_struct(reading), signature)


def challenge_register(
    posted: PostedHeader, previous: Header | None, before: PlacedMeter, meter: PlacedMeter, account: int
) -> Call:
    """Registers vanished, moved without a reading or ran backwards, or the deviation is not what follows."""
    arguments = posted.struct(), _previous(previous), before.struct(), meter.struct(), account
    return _meter("challengeRegister", *arguments)


def challenge_contracted(
    posted: PostedHeader,
    meter: PlacedMeter,
    account: int,
    place: int,
    closing: PostedHeader,
    last: PlacedAuction,
    after: PlacedAuction,
    slot: PlacedSlot,
) -> Call:
    """Contracted energy or cost of one product length is not the position of the product's closing round."""
    arguments = posted.struct(), meter.struct(), account, place, closing.struct()
    return _meter("challengeContracted", *arguments, last.struct(), after.struct(), slot.struct())


def challenge_balance(
    posted: PostedHeader,
    account: int,
    previous: Header | None,
    before: PlacedBalance,
    afterwards: PlacedBalance,
    meter: PlacedMeter,
    spot: PlacedAuction,
    slot: PlacedSlot,
) -> Call:
    """An account's balance did not move as its leaves say. ``previous`` is None for the first header."""
    leaves = before.struct(), afterwards.struct(), meter.struct(), spot.struct(), slot.struct()
    return _meter("challengeBalance", posted.struct(), (account, _previous(previous), *leaves))


def challenge_reserve(posted: PostedHeader, balance: PlacedBalance, commitments: Sequence[Commitment]) -> Call:
    """A reserve is not the sum of its list, or the list is none."""
    return _meter("challengeReserve", posted.struct(), balance.struct(), commitment_structs(commitments))


def challenge_commitment(
    posted: PostedHeader,
    account: int,
    balance: PlacedBalance,
    commitments: Sequence[Commitment],
    last: PlacedAuction,
    after: PlacedAuction,
    slot: PlacedSlot,
) -> Call:
    """What a reserve holds for a product is not what its last round in this header leaves open."""
    listed = opening_struct(commitments, last.auction.product if last.auction else 0)
    arguments = posted.struct(), account, balance.struct(), listed
    return _meter("challengeCommitment", *arguments, last.struct(), after.struct(), slot.struct())


def challenge_carried_commitment(
    posted: PostedHeader,
    previous: Header | None,
    account: int,
    before: tuple[PlacedBalance, Sequence[Commitment]],
    afterwards: tuple[PlacedBalance, Sequence[Commitment]],
    product: int,
    last: PlacedAuction,
    after: PlacedAuction,
) -> Call:
    """What a reserve holds for a product without a round in this header is not what it held before."""
    lists = [
        part for placed, listed in (before, afterwards) for part in (placed.struct(), opening_struct(listed, product))
    ]
    arguments = posted.struct(), _previous(previous), account, *lists, product, last.struct(), after.struct()
    return _meter("challengeCarriedCommitment", *arguments)
