"""What ``ClearingChallenges`` and ``RoundChallenges`` judge, in Python (see ``court``)."""

from __future__ import annotations

from typing import Any

from contracts.clearing_rules import SlotFault, auction_fault, slot_fault
from contracts.codes import AuctionRule
from contracts.eip712 import keccak
from contracts.evidence import Lie, Tree
from contracts.header_rules import placement_fault
from contracts.interval import INTERVAL_S, Product, find_product
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, reading_commitment
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, LEAF_TAG, PARENT_TAG, Node, commitment
from contracts.messages import FORCED_VERSION, NO_ACCOUNT, Auction, Bid, Header, Receipt, StandingOrder
from contracts.round_rules import (
    ForcedFault,
    carry_fault,
    closing_interval,
    forced_fault,
    gate_fault,
    is_fork,
    order_fault,
    receipt_fault,
    round_fault,
    standing_fault,
)
from tests.contracts.court import (
    ONLY_FAULT,
    Court,
    LeafFault,
    NodeFault,
    Refused,
    Shown,
    SignatureFault,
    TotalsFault,
    auction_node_of,
    closing,
    is_forward,
    numbered,
    read,
    require_auction,
    require_slot,
    rooted,
    ruling,
)

LEAF_WIDTH = {Tree.SLOTS: Slot, Tree.METERS: MeterLeaf, Tree.BALANCES: BalanceLeaf}
AUCTION_LEAF_BYTES = 32


def _root(header: Header, tree: int, auction: Any) -> bytes:
    if tree == Tree.SLOTS:
        shown = Shown.auction(auction)
        if shown.leaf is None:
            raise Refused("NotInTree")
        require_auction(header, shown)
        return bytes(shown.leaf.slots_root)
    if tree not in set(Tree):
        raise Refused("Panic")  # the contract's enum has no such member
    roots = {Tree.AUCTIONS: header.auctions_root, Tree.METERS: header.meters_root, Tree.BALANCES: header.balances_root}
    return roots[Tree(tree)]


def _require_node(root: bytes, tree: int, node: Any) -> tuple[Node, int, int]:
    claimed, height, index, path = Node(*node[0]), node[1], node[2], node[3]
    depth = AUCTIONS_DEPTH if tree == Tree.AUCTIONS else DEPTH
    if height > depth or rooted(index, claimed, path, depth - height)[0] != root:
        raise Refused("NotInTree")
    return claimed, height, index


@ruling("challengeNodeSum")
def node_sum(court: Court, proof: Any, tree: int, auction: Any, node: Any, left: Any, right: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    claimed, height, _ = _require_node(_root(header, tree, auction), tree, node)
    one, other = Node(*left), Node(*right)
    fault = 0
    if claimed.hash == EMPTY.hash:
        fault = 0 if claimed == EMPTY else NodeFault.EMPTY_WITH_SUMS
    elif claimed.hash == keccak(PARENT_TAG + one.pack() + other.pack()):
        sums = tuple(a + b for a, b in zip(one.sums, other.sums, strict=True))
        if height == 0:
            fault = NodeFault.PARENT_AT_LEAF
        elif one == other == EMPTY:
            fault = NodeFault.EMPTY_WITH_HASH
        elif sums != claimed.sums:
            fault = NodeFault.WRONG_SUMS
    return Lie.NODE_SUM, fault


@ruling("challengeLeaf")
def leaf(court: Court, proof: Any, tree: int, auction: Any, node: Any, packed: bytes) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    claimed, height, index = _require_node(_root(header, tree, auction), tree, node)
    if claimed.hash != keccak(LEAF_TAG + packed):
        raise Refused("NotInTree")
    return Lie.LEAF, _leaf_fault(Tree(tree), auction, claimed, (height, index), packed)


def _leaf_fault(tree: Tree, auction: Any, claimed: Node, at: tuple[int, int], packed: bytes) -> int:
    height, index = at
    kind = LEAF_WIDTH.get(tree)
    width = AUCTION_LEAF_BYTES if kind is None else len(_zero(kind))
    if height:
        return LeafFault.WRONG_HEIGHT
    if len(packed) != width:
        return LeafFault.WRONG_LENGTH
    if kind is None:
        return 0
    content = kind.unpack(packed)
    cleared = Shown.auction(auction).leaf
    if isinstance(content, Slot):
        if content.account == index and content.product != cleared.product:
            return LeafFault.WRONG_PRODUCT
        if content.marginal_wh(cleared.price, cleared.long_side, cleared.cleared_at_s) < 0:
            return LeafFault.WRONG_SUMS
        if content.account != index:
            return LeafFault.WRONG_INDEX
        implied = content.node(cleared.price, cleared.long_side, cleared.cleared_at_s)
        return 0 if implied == claimed else LeafFault.WRONG_SUMS
    if content.account != index:
        return LeafFault.WRONG_INDEX
    return 0 if content.node() == claimed else LeafFault.WRONG_SUMS


def _zero(kind: Any) -> bytes:
    from contracts.eip712 import layout

    return bytes(layout(kind).width)


@ruling("challengeAuction")
def auction_(court: Court, proof: Any, auction: Any, node: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    claimed, height, index = _require_node(header.auctions_root, Tree.AUCTIONS, node)
    told = read(Auction, auction)
    implied = auction_node_of(told)
    if height or claimed.hash != implied.hash:
        raise Refused("NotInTree")
    if claimed.sums != implied.sums:
        return Lie.LEAF, LeafFault.WRONG_SUMS
    return Lie.AUCTION, numbered(placement_fault(index, told, header, court.terms))


@ruling("challengeTotals")
def totals(court: Court, proof: Any, tree: int, auction: Any, root: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    told = Node(*root)
    if commitment(told) != _root(header, tree, auction):
        raise Refused("NotInTree")
    fault = 0
    if tree == Tree.SLOTS:
        fault = numbered(auction_fault(Shown.auction(auction).leaf, *told.sums))
    elif tree == Tree.BALANCES and told.a != told.b:
        fault = TotalsFault.BALANCES_UNBALANCED
    elif tree == Tree.AUCTIONS and told.a != header.volume_wh:
        fault = TotalsFault.VOLUME_DIFFERS
    return Lie.TOTALS, fault


@ruling("challengeFill")
def fill(court: Court, proof: Any, auction: Any, account: int, slot: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    shown, placed = Shown.of(Slot, slot), Shown.auction(auction)
    if placed.leaf is None:
        raise Refused("NotInTree")
    cleared = require_auction(header, placed)
    assert cleared is not None
    if shown.leaf is not None:
        return Lie.FILL, numbered(slot_fault(shown.leaf, cleared, require_slot(cleared, account, shown)))
    if account >> DEPTH == 0:
        require_slot(cleared, account, shown)
    fault = None
    if cleared.rule != AuctionRule.SPOT_SHARED and account != NO_ACCOUNT:
        named = {cleared.lo_account: SlotFault.NOT_AT_LO}
        fault = named.get(account) or ({cleared.hi_account: SlotFault.NOT_AT_HI}.get(account))
    return Lie.FILL, numbered(fault)


@ruling("challengeSignature")
def signature_(court: Court, proof: Any, auction: Any, slot: Any, signature: bytes) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared, found = _forward_slot(header, auction, slot)
    if found.is_retired or not is_forward(cleared):
        raise Refused("NothingIsWrong")
    terms = (found.side, found.quantity_wh, found.limit_price, found.expiry_s)
    bid = read(Bid, (found.account, found.product, found.version, *terms))
    if found.version >= FORCED_VERSION:
        order = court.forced.get((found.account, found.version))
        return Lie.SIGNATURE, 0 if order and order.bid == bid else SignatureFault.NOT_THE_FORCED_BID
    if found.signature_hash == bytes(32):
        return Lie.SIGNATURE, SignatureFault.UNSIGNED
    if keccak(signature) != found.signature_hash:
        raise Refused("WrongEvidence")
    return Lie.SIGNATURE, 0 if court.is_signed(found.account, bid, signature) else SignatureFault.NOT_BY_KEY


def _forward_slot(header: Header, auction: Any, slot: Any) -> tuple[Auction, Slot]:
    shown, placed = Shown.of(Slot, slot), Shown.auction(auction)
    cleared = require_auction(header, placed, present=True)
    if shown.leaf is None:
        raise Refused("NothingIsWrong")
    assert cleared is not None
    require_slot(cleared, shown.leaf.account, shown)
    return cleared, shown.leaf


@ruling("challengeStanding")
def standing(court: Court, proof: Any, spot: Any, slot: Any, order: Any, signature: bytes) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared, found = _forward_slot(header, spot, slot)
    if cleared.rule != AuctionRule.SPOT_AUCTION:
        raise Refused("NothingIsWrong")
    told = None
    if found.signature_hash != bytes(32):
        told = read(StandingOrder, order)
        if reading_commitment(told.struct_hash(), signature) != found.signature_hash:
            raise Refused("WrongEvidence")
    signed = told is not None and court.is_signed(found.account, told, signature)
    return Lie.STANDING, numbered(standing_fault(found, told, signed, header, court.settled(header)))


@ruling("challengeOrder")
def order_(court: Court, proof: Any, first: Any, second: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    one, other = Shown.auction(first), Shown.auction(second)
    require_auction(header, one)
    require_auction(header, other)
    if other.index != one.index + 1:
        raise Refused("WrongNeighbours")
    return Lie.ORDER, numbered(order_fault(one.index, one.leaf, other.leaf))


@ruling("challengeRound")
def round_(court: Court, proof: Any, auction: Any, before: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared = require_auction(header, Shown.auction(auction), present=True)
    assert cleared is not None
    return Lie.ROUND, numbered(round_fault(cleared, _before(cleared, before)))


def _before(auction: Auction, struct: Any) -> Auction:
    if auction.previous == bytes(32):
        raise Refused("NothingIsWrong")
    before: Auction = read(Auction, struct)
    if before.struct_hash() != auction.previous:
        raise Refused("WrongEvidence")
    return before


@ruling("challengeGate")
def gate(court: Court, proof: Any, auction: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared = require_auction(header, Shown.auction(auction), present=True)
    assert cleared is not None
    if not is_forward(cleared):
        raise Refused("NothingIsWrong")
    return Lie.ROUND, numbered(gate_fault(cleared.product, header.interval, court.terms.gate_leads))


@ruling("challengeFork")
def fork(court: Court, proof: Any, one: Any, other_proof: Any, other: Any) -> tuple[Lie, int]:
    header, index = court.require_open(proof)
    other_header, other_index = court.require_posted(other_proof)
    mine, theirs = Shown.auction(one), Shown.auction(other)
    first = require_auction(header, mine, present=True)
    second = require_auction(other_header, theirs, present=True)
    assert first is not None and second is not None
    if (index, mine.index) == (other_index, theirs.index) or other_index > index:
        raise Refused("NothingIsWrong")
    return Lie.FORK, ONLY_FAULT if is_fork(first, second) else 0


@ruling("challengeCarry")
def carry(
    court: Court, proof: Any, auction: Any, slot: Any, before: Any, slot_before: Any, account: int
) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared = require_auction(header, Shown.auction(auction), present=True)
    assert cleared is not None
    if not is_forward(cleared):
        raise Refused("NothingIsWrong")
    now, held = Shown.of(Slot, slot), Shown.of(Slot, slot_before)
    require_slot(cleared, account, now)
    if cleared.previous != bytes(32):
        require_slot(_before(cleared, before), account, held)
    elif held.leaf is not None:
        raise Refused("NotInTree")
    found = now.leaf
    withdrawn = found is not None and court.is_withdrawn(account, found.version, cleared.cleared_at_s)
    return Lie.CARRY, numbered(carry_fault(found, held.leaf, cleared.price, withdrawn))


@ruling("challengeReceipt")
def receipt_(court: Court, proof: Any, auction: Any, slot: Any, receipt: Any, signature: bytes) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared = require_auction(header, Shown.auction(auction), present=True)
    promised, shown = read(Receipt, receipt), Shown.of(Slot, slot)
    assert cleared is not None
    require_slot(cleared, promised.account, shown)
    court.by_operator(promised, signature)
    return Lie.RECEIPT, numbered(receipt_fault(promised, cleared, shown.leaf))


@ruling("challengeStandingReceipt")
def standing_receipt(
    court: Court, proof: Any, spot: Any, slot: Any, receipt: Any, signature: bytes, order: Any
) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared = require_auction(header, Shown.auction(spot), present=True)
    promised, shown, told = read(Receipt, receipt), Shown.of(Slot, slot), read(StandingOrder, order)
    assert cleared is not None
    require_slot(cleared, promised.account, shown)
    court.by_operator(promised, signature)
    if told.struct_hash() != promised.bid_hash:
        raise Refused("WrongEvidence")
    starts_s = court.settled(header) * INTERVAL_S
    valid = told.valid_from_s <= starts_s and (told.valid_until_s == 0 or starts_s < told.valid_until_s)
    covered = cleared.rule == AuctionRule.SPOT_AUCTION and promised.product == 0
    due = covered and valid and cleared.cleared_at_s >= promised.clears_at_s
    stale = due and shown.leaf is not None and shown.leaf.version < promised.version
    return Lie.RECEIPT, 2 if stale else 0


def _on_record(court: Court, struct: Any) -> Bid:
    order: Bid = read(Bid, struct)
    known = court.forced.get((order.account, order.version))
    if known is None or known.bid != order:
        raise Refused("WrongEvidence")
    return order


def _closes_in(court: Court, number: int, header: Header) -> bool:
    product = find_product(number)
    return product is not None and closing_interval(product, court.terms.gate_leads) == header.interval


@ruling("challengeForced")
def forced(court: Court, proof: Any, last: Any, after: Any, slot: Any, order: Any) -> tuple[Lie, int]:
    header, index = court.require_open(proof)
    placed = _on_record(court, order)
    if index == 0 or not _closes_in(court, placed.product, header):
        raise Refused("NothingIsWrong")
    final, shown = Shown.auction(last), Shown.of(Slot, slot)
    found = closing(header, placed.product, final, Shown.auction(after))
    if found:
        require_slot(final.leaf, placed.account, shown)
    at_s = final.leaf.cleared_at_s if found else Product.from_number(placed.product).start_s
    if court.is_withdrawn(placed.account, placed.version, at_s):
        raise Refused("NothingIsWrong")
    return Lie.FORCED, numbered(forced_fault(placed.version, final.leaf if found else None, shown.leaf))


@ruling("challengeWithdrawn")
def withdrawn(court: Court, proof: Any, auction: Any, slot: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared, found = _forward_slot(header, auction, slot)
    closed_at_s = court.closed_at(found.account, found.version)
    if not is_forward(cleared) or closed_at_s == 0 or found.fill_wh == 0:
        raise Refused("NothingIsWrong")
    late = cleared.cleared_at_s >= closed_at_s + court.inclusion_delay_s
    return Lie.FORCED, numbered(ForcedFault.WITHDRAWN_USED) if late else 0


@ruling("challengeRetired")
def retired(court: Court, proof: Any, auction: Any, slot: Any, order: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    cleared, found = _forward_slot(header, auction, slot)
    if not is_forward(cleared):
        raise Refused("NothingIsWrong")
    placed = _on_record(court, order)
    if (placed.account, placed.version) != (found.account, found.version):
        raise Refused("WrongEvidence")
    other = found.is_retired and placed.product != cleared.product
    return Lie.FORCED, numbered(ForcedFault.ANOTHER_PRODUCT) if other else 0


@ruling("challengeClosing")
def closing_(
    court: Court, proof: Any, last: Any, after: Any, earlier_proof: Any, earlier: Any, slot: Any
) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    earlier_header, _ = court.require_posted(earlier_proof)
    cleared, found = _forward_slot(earlier_header, earlier, slot)
    if not is_forward(cleared):
        raise Refused("NothingIsWrong")
    asked = _closes_in(court, cleared.product, header) and earlier_header.interval <= header.interval
    held = found.position_wh or found.position_cost_nano
    missing = not closing(header, cleared.product, Shown.auction(last), Shown.auction(after))
    return Lie.CLOSING, ONLY_FAULT if asked and held and missing else 0
