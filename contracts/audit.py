"""Judges a published record against its header by every rule, trusting nobody: the auditor's own recomputation.

    record ↔ header (hash, roots, sums)   each auction: totals, every slot, every signature, order of auctions
    rounds along each product's chain      readings, registers, contracted energy      reserves, balances

``audit_record`` needs the record, its header, the state after the record before (``AuditState``) and what does not
change (``AuditRules``). It returns every fault as a ``Finding``: in words, and as the call that proves it on chain;
or, where something that the header commits to was not published, as the question that demands it.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts import challenges
from contracts.audit_accounts import account_findings
from contracts.audit_rounds import forced_findings, round_findings
from contracts.audit_state import AuditRules, AuditState, Finding, ForcedOrder, is_overfilled
from contracts.batch import BatchRecord
from contracts.clearing_rules import auction_fault, slot_fault
from contracts.codes import AuctionRule
from contracts.demands import Demand, Question, ask_leaf
from contracts.eip712 import LocalValueError, digest, keccak
from contracts.evidence import NO_SLOT, Tree
from contracts.header_rules import header_digest, placement_fault
from contracts.leaves import Slot, slot_node
from contracts.merkle import MerkleSumTree
from contracts.messages import NO_ACCOUNT, Auction, Bid, Header
from contracts.posting import Posting
from contracts.round_rules import order_fault, standing_fault
from contracts.signature import refusal_of

__all__ = ["AuditRules", "AuditState", "Demand", "Finding", "ForcedOrder", "Question", "audit_record"]


def audit_record(
    record: BatchRecord, header: Header, state: AuditState, rules: AuditRules, index: int | None = None
) -> list[Finding]:
    """Every fault of ``record`` under ``header``; ``state`` moves on to the state after it.

    ``index`` is the header's on the chain; by default the one after the last audited.
    """
    posting = Posting(header, state.count if index is None else index, record)
    findings = [*_commitment_findings(posting, state)]
    findings += _auction_findings(posting, rules)
    findings += round_findings(posting, state, rules)
    findings += forced_findings(posting, rules)
    findings += account_findings(posting, state, rules)
    state.move_to(posting, header_digest(header, rules.domain), rules.terms)
    return findings


def _commitment_findings(posting: Posting, state: AuditState) -> Iterator[Finding]:
    """What was published is not what the header commits to: then it is withheld, and can be demanded."""
    record, header = posting.record, posting.header
    roots = {
        Question.AUCTION: ("auctions root", posting.tree(Tree.AUCTIONS).commitment, header.auctions_root),
        Question.METER: ("meters root", posting.tree(Tree.METERS).commitment, header.meters_root),
        Question.BALANCE: ("balances root", posting.tree(Tree.BALANCES).commitment, header.balances_root),
    }
    for question, (name, ours, theirs) in roots.items():
        if ours != theirs:
            yield Finding(f"the {name} is not the header's", demand=ask_leaf(posting.posted, question))
    claims = {
        "interval": (record.interval, header.interval),
        "data hash": (record.data_hash, header.data_hash),
        "previous": (state.digest, header.previous),
    }
    for name, (mine, told) in claims.items():
        if mine != told:
            yield Finding(f"the {name} is not the header's")
    auctions = posting.tree(Tree.AUCTIONS).root
    if auctions.a != header.volume_wh:
        call = challenges.challenge_totals(posting.posted, Tree.AUCTIONS, posting.auction(0), auctions)
        yield Finding("the volume is not the header's", call)
    balances = posting.tree(Tree.BALANCES).root
    if balances.a != balances.b:
        call = challenges.challenge_totals(posting.posted, Tree.BALANCES, posting.auction(0), balances)
        yield Finding("the balances do not sum to zero", call)


def _auction_findings(posting: Posting, rules: AuditRules) -> Iterator[Finding]:
    for place, record in enumerate(posting.record.auctions):
        fault = placement_fault(place, record.auction, posting.header, rules.terms)
        if fault is not None:
            node = posting.node(Tree.AUCTIONS, 0, place)
            call = challenges.challenge_auction(posting.posted, record.auction, node)
            yield Finding(f"auction {place}: {fault.value}", call)
        following = posting.record.auctions[place + 1].auction if place + 1 < len(posting.record.auctions) else None
        disorder = order_fault(place, record.auction, following)
        if disorder is not None:
            call = challenges.challenge_order(posting.posted, posting.auction(place), posting.auction(place + 1))
            yield Finding(f"auction {place}: {disorder.value}", call)
        yield from _slot_findings(posting, place, rules)


def _slot_findings(posting: Posting, place: int, rules: AuditRules) -> Iterator[Finding]:
    record = posting.record.auctions[place]
    auction, slots = record.auction, record.slots
    accounts = [s.account for s in slots]
    if accounts != sorted(set(accounts)) or len(record.signatures) != len(slots):
        yield Finding(f"auction {place}: the slots are not one per account in order, each with its signature")
    tree = posting.tree(Tree.SLOTS, place)
    if tree.commitment != auction.slots_root:
        demand = ask_leaf(posting.posted, Question.SLOT, 0, posting.auction(place))
        yield Finding(f"auction {place}: the slots are not those of the root", demand=demand)
        return
    yield from _totals_findings(posting, place, auction, tree)
    prefix = 0
    for slot in slots:
        fault = slot_fault(slot, auction, prefix)
        prefix += slot_node(slot, auction).c
        overfilled = is_overfilled(slot, auction)
        if fault is not None and not overfilled:
            shown = posting.auction(place), slot.account, posting.slot(place, slot.account)
            call = challenges.challenge_fill(posting.posted, *shown)
            yield Finding(f"auction {place}, slot {slot.account}: {fault.value}", call)
        if slot.product != auction.product or overfilled:
            node = posting.node(Tree.SLOTS, 0, slot.account, place)
            call = challenges.challenge_leaf(posting.posted, Tree.SLOTS, posting.auction(place), node, slot.pack())
            text = "less than nothing is open at the margin" if overfilled else "it is of another product"
            yield Finding(f"auction {place}, slot {slot.account}: {text}", call)
        yield from _signature_findings(posting, place, slot, rules)


def _totals_findings(posting: Posting, place: int, auction: Auction, tree: MerkleSumTree) -> Iterator[Finding]:
    fault = auction_fault(auction, *tree.root.sums)
    if fault is not None:
        call = challenges.challenge_totals(posting.posted, Tree.SLOTS, posting.auction(place), tree.root)
        yield Finding(f"auction {place}: {fault.value}", call)
    if auction.rule == AuctionRule.SPOT_SHARED:
        return
    for named in {auction.lo_account, auction.hi_account} - {NO_ACCOUNT} - set(posting.slots(place)):
        shown = posting.slot(place, named) if named >> tree.depth == 0 else NO_SLOT
        call = challenges.challenge_fill(posting.posted, posting.auction(place), named, shown)
        yield Finding(f"auction {place}: a bound is named after account {named}, which has no slot", call)


def _signature_findings(posting: Posting, place: int, slot: Slot, rules: AuditRules) -> Iterator[Finding]:
    rule = posting.record.auctions[place].auction.rule
    if rule == AuctionRule.SPOT_SHARED or (rule == AuctionRule.FORWARD and slot.is_retired):
        return
    shown = posting.auction(place), posting.slot(place, slot.account)
    signature = posting.signatures(place).get(slot.account, b"")
    if rule == AuctionRule.SPOT_AUCTION:
        yield from _standing_findings(posting, place, slot, signature, rules)
        return
    forced = rules.forced.get((slot.account, slot.version))
    bid = legal_bid(slot)
    if slot.is_forced:
        text = None if forced is not None and forced.bid == bid else "the bid is not the one placed on chain"
    elif not any(slot.signature_hash):
        text = "the bid is not signed"
    elif keccak(signature) != slot.signature_hash:
        demand = ask_leaf(posting.posted, Question.SIGNATURE, slot.account, posting.auction(place))
        yield Finding(f"auction {place}, slot {slot.account}: its signature was not published", demand=demand)
        return
    elif bid is None:
        text = "no bid may be like that"
    else:
        refusal = refusal_of(digest(bid, rules.domain), signature, rules.keys.get(slot.account, b""))
        text = None if refusal is None else refusal.value
    if text is not None:
        call = challenges.challenge_signature(posting.posted, *shown, signature)
        yield Finding(f"auction {place}, slot {slot.account}: {text}", call)


def legal_bid(slot: Slot) -> Bid | None:
    """The bid of a slot; None where no home could have signed one like that."""
    try:
        return slot.bid
    except LocalValueError:
        return None


def _standing_findings(
    posting: Posting, place: int, slot: Slot, published: bytes, rules: AuditRules
) -> Iterator[Finding]:
    order, signature = rules.standing_order(slot, published)
    if order is None and any(slot.signature_hash):
        demand = ask_leaf(posting.posted, Question.SIGNATURE, slot.account, posting.auction(place))
        yield Finding(f"spot slot {slot.account}: its standing order was not published", demand=demand)
        return
    key = rules.keys.get(slot.account, b"")
    signed = order is not None and refusal_of(digest(order, rules.domain), signature, key) is None
    settled = posting.header.interval - rules.terms.grace
    fault = standing_fault(slot, order, signed, posting.header, settled)
    if fault is not None:
        shown = posting.auction(place), posting.slot(place, slot.account), order, signature
        call = challenges.challenge_standing(posting.posted, *shown)
        yield Finding(f"spot slot {slot.account}: {fault.value}", call)
