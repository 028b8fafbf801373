"""The auditor's view of rounds: each product's chain of auctions, the slots carried along it, on-chain orders."""

from __future__ import annotations

from collections.abc import Iterator

from contracts import challenges
from contracts.audit_state import (
    AuditRules,
    AuditState,
    Finding,
    Place,
    auction_at,
    is_overfilled,
    round_hash,
    slot_of,
)
from contracts.codes import AuctionRule
from contracts.demands import Question, ask_leaf
from contracts.evidence import NO_SLOT, Call
from contracts.interval import Product, find_product
from contracts.leaves import Slot
from contracts.messages import Auction
from contracts.posting import Posting
from contracts.round_rules import (
    ForcedFault,
    carry_fault,
    closing_interval,
    forced_fault,
    gate_fault,
    is_fork,
    round_fault,
)

NO_ROUND = bytes(32)


def round_findings(posting: Posting, state: AuditState, rules: AuditRules) -> list[Finding]:
    """Faults in the chains of rounds that this header continues; ``state`` learns its rounds."""
    findings: list[Finding] = []
    for place, record in enumerate(posting.record.auctions):
        auction = record.auction
        if auction.rule != AuctionRule.FORWARD:
            continue
        before = state.rounds.get(auction.product)
        findings += _one_round(posting, place, auction, before, state, rules)
        state.rounds[auction.product] = (posting, place)
        state.named.setdefault((auction.product, auction.previous), (posting, place))
    findings += _unclosed(posting, state, rules)
    return findings


def _one_round(
    posting: Posting, place: int, auction: Auction, before: Place | None, state: AuditState, rules: AuditRules
) -> Iterator[Finding]:
    name = f"auction {place}"
    late = gate_fault(auction.product, posting.header.interval, rules.terms.gate_leads)
    if late is not None:
        call = challenges.challenge_gate(posting.posted, posting.auction(place))
        yield Finding(f"{name}: {late.value}", call)
    if auction.previous != (NO_ROUND if before is None else round_hash(before)):
        yield _broken_chain(posting, place, auction, state)
        return
    if before is not None:
        earlier = before[0].record.auctions[before[1]].auction
        fault = round_fault(auction, earlier)
        if fault is not None:
            call = challenges.challenge_round(posting.posted, posting.auction(place), earlier)
            yield Finding(f"{name}: {fault.value}", call)
    slots_before = before[0].slots(before[1]) if before else {}
    for account in sorted({*posting.slots(place), *slots_before}):
        slot = posting.slots(place).get(account)
        held = slots_before.get(account)
        if is_overfilled(slot, auction) or (before is not None and is_overfilled(held, auction_at(before))):
            continue  # refuted as a leaf; no path through it can be computed
        withdrawn = slot is not None and is_withdrawn(slot, auction.cleared_at_s, rules)
        lie = carry_fault(slot, held, auction.price, withdrawn)
        if lie is not None:
            yield Finding(f"{name}, slot {account}: {lie.value}", _carry(posting, place, before, account))
        if slot is not None and slot.fill_wh and is_withdrawn(slot, auction.cleared_at_s, rules, late=True):
            call = challenges.challenge_withdrawn(posting.posted, posting.auction(place), posting.slot(place, account))
            yield Finding(f"{name}, slot {account}: {ForcedFault.WITHDRAWN_USED.value}", call)
        order = rules.forced.get((account, slot.version)) if slot is not None and slot.is_retired else None
        if order is not None and order.bid.product != auction.product:
            shown = posting.auction(place), posting.slot(place, account), order.bid
            call = challenges.challenge_retired(posting.posted, *shown)
            yield Finding(f"{name}, slot {account}: {ForcedFault.ANOTHER_PRODUCT.value}", call)


def _broken_chain(posting: Posting, place: int, auction: Auction, state: AuditState) -> Finding:
    rival = state.named.get((auction.product, auction.previous))
    text = f"auction {place}: the round before is not the one that was published"
    if rival is None:
        demand = ask_leaf(posting.posted, Question.PREVIOUS, 0, posting.auction(place))
        return Finding(text, demand=demand)
    assert is_fork(auction, rival[0].record.auctions[rival[1]].auction)
    other = rival[0].auction(rival[1])
    return Finding(text, challenges.challenge_fork(posting.posted, posting.auction(place), rival[0].posted, other))


def _carry(posting: Posting, place: int, before: Place | None, account: int) -> Call:
    earlier = None if before is None else before[0].record.auctions[before[1]].auction
    shown = NO_SLOT if before is None else before[0].slot(before[1], account)
    return challenges.challenge_carry(
        posting.posted, posting.auction(place), posting.slot(place, account), earlier, shown, account
    )


def is_withdrawn(slot: Slot, at_s: int, rules: AuditRules, late: bool = False) -> bool:
    """Whether the slot's order was placed on chain and cancelled there by then; ``late``: long before."""
    order = rules.forced.get((slot.account, slot.version)) if slot.is_forced else None
    if order is None or order.closed_at_s == 0:
        return False
    return order.closed_at_s + (rules.inclusion_delay_s if late else 0) <= at_s


def _unclosed(posting: Posting, state: AuditState, rules: AuditRules) -> Iterator[Finding]:
    """Products with positions whose gate closes in this header without a round."""
    for number, (earlier, place) in state.rounds.items():
        product = find_product(number)
        if product is None or closing_interval(product, rules.terms.gate_leads) != posting.header.interval:
            continue
        if posting.last_place(number)[1]:
            continue
        holders = [s.account for s in earlier.record.auctions[place].slots if s.position_wh or s.position_cost_nano]
        if holders:
            last, after = posting.neighbours(number)
            shown = earlier.posted, earlier.auction(place), earlier.slot(place, holders[0])
            call = challenges.challenge_closing(posting.posted, last, after, *shown)
            yield Finding(f"product {number} has positions and no closing round", call)


def forced_findings(posting: Posting, rules: AuditRules) -> Iterator[Finding]:
    """Orders placed on chain that the closing round of their product does not hold.

    Not in the first header, which may begin after a gate in the middle of its interval.
    """
    if posting.index == 0:
        return
    for (account, version), order in rules.forced.items():
        product = Product.from_number(order.bid.product)
        if closing_interval(product, rules.terms.gate_leads) != posting.header.interval:
            continue
        place, found = posting.last_place(order.bid.product)
        closing = posting.record.auctions[place].auction if found else None
        if not order.stands_at(closing.cleared_at_s if closing else product.start_s):
            continue
        fault = forced_fault(version, closing, slot_of((posting, place), account) if found else None)
        if fault is not None:
            slot = posting.slot(place, account) if found else NO_SLOT
            call = challenges.challenge_forced(posting.posted, *posting.neighbours(order.bid.product), slot, order.bid)
            yield Finding(f"order {version} of account {account}: {fault.value}", call)
