"""The auditor's view of accounts: readings, registers, contracted energy, balances, and the lists behind reserves."""

from __future__ import annotations

from collections.abc import Iterator

from contracts import challenges
from contracts.audit_state import AuditRules, AuditState, Finding, auction_at, is_overfilled, slot_of
from contracts.commitments import (
    Commitment,
    ReserveFault,
    carried,
    commitment_of_number,
    commitments_hash,
    reserve_fault,
)
from contracts.demands import Question, ask_cover, ask_leaf, ask_ordered
from contracts.envelope import Envelope, open_envelope
from contracts.evidence import NO_BALANCE, NO_SIBLINGS_20, NO_SLOT, Call, PlacedMeter
from contracts.header_rules import balance_fault
from contracts.interval import PRODUCT_LENGTHS, product_covering
from contracts.leaves import MeterLeaf, reading_commitment
from contracts.messages import SUPPLIER, SettlementReading
from contracts.meter_rules import NO_READING, contracted_differs, reading_fault, register_fault
from contracts.posting import Posting
from contracts.round_rules import LENGTH_PLACE, closing_interval, is_closed

NO_METER = PlacedMeter(None, NO_SIBLINGS_20)


def account_findings(posting: Posting, state: AuditState, rules: AuditRules) -> Iterator[Finding]:
    """Every fault of meters, balances and reserves; the rounds of this header are known to ``state`` already."""
    before = state.tip
    settled = posting.header.interval - rules.terms.grace
    accounts = {*posting.meters, *posting.balances, *_traders(posting, state, settled)}
    if before is not None:
        accounts |= {*before.meters, *before.balances}
    for account in sorted(accounts):
        if account == SUPPLIER:
            yield from _supplier_findings(posting, before)
            yield from _reserve_findings(posting, before, account, settled, rules)
            continue
        yield from _reading_findings(posting, before, account, settled, rules)
        yield from _register_findings(posting, before, account)
        yield from _contracted_findings(posting, account, settled, state, rules)
        yield from _balance_findings(posting, before, account)
        yield from _reserve_findings(posting, before, account, settled, rules)


def _supplier_findings(posting: Posting, before: Posting | None) -> Iterator[Finding]:
    """The supplier meters nothing and trades nothing; its balance is what makes all sum to zero."""
    trades = posting.record.auctions and SUPPLIER in posting.slots(0)
    if trades or SUPPLIER in posting.meters:
        yield Finding("the supplier takes part in the spot round", _balance_call(posting, before, SUPPLIER))


def _traders(posting: Posting, state: AuditState, settled: int) -> set[int]:
    """Accounts with a slot in a round of this header, or in the last round of a product that now delivers."""
    found = {slot.account for record in posting.record.auctions for slot in record.slots}
    for length in PRODUCT_LENGTHS if settled >= 0 else ():
        place = state.rounds.get(product_covering(settled, length).number)
        if place is not None:
            found |= set(place[0].slots(place[1]))
    return found


def _reading_findings(
    posting: Posting, before: Posting | None, account: int, settled: int, rules: AuditRules
) -> Iterator[Finding]:
    leaf = posting.meters.get(account)
    if leaf is None:
        return
    if leaf.ordered_wh:
        demand = ask_ordered(posting.posted, account, posting.meter(account))
        yield Finding(f"meter {account}: energy counts as ordered, and no order was published", demand=demand)
    held = before.meters.get(account) if before else None
    packed = posting.readings.get(account, b"")
    if leaf.reading_hash == NO_READING or (not packed and held and held.reading_hash == leaf.reading_hash):
        return
    found = _reading(packed, leaf)
    if found is None:
        demand = ask_leaf(posting.posted, Question.READING, account)
        yield Finding(f"meter {account}: the reading is not the one committed to", demand=demand)
        return
    reading, envelope = found
    signed = envelope.signature_refusal(rules.domain, rules.keys.get(account, b"")) is None
    fault = reading_fault(leaf, reading, settled, signed)
    if fault is not None:
        call = challenges.challenge_reading(posting.posted, posting.meter(account), reading, envelope.signature)
        yield Finding(f"meter {account}: {fault.value}", call)


def _reading(packed: bytes, leaf: MeterLeaf) -> tuple[SettlementReading, Envelope] | None:
    envelope = open_envelope(packed)
    if not isinstance(envelope, Envelope) or not isinstance(envelope.message, SettlementReading):
        return None
    committed = reading_commitment(envelope.message.struct_hash(), envelope.signature)
    return (envelope.message, envelope) if committed == leaf.reading_hash else None


def _register_findings(posting: Posting, before: Posting | None, account: int) -> Iterator[Finding]:
    held = before.meters.get(account) if before else None
    fault = register_fault(posting.meters.get(account), held)
    if fault is not None:
        previous = None if before is None else before.header
        shown = NO_METER if before is None else before.meter(account)
        call = challenges.challenge_register(posting.posted, previous, shown, posting.meter(account), account)
        yield Finding(f"meter {account}: {fault.value}", call)


def _contracted_findings(
    posting: Posting, account: int, settled: int, state: AuditState, rules: AuditRules
) -> Iterator[Finding]:
    leaf = posting.meters.get(account)
    for length in PRODUCT_LENGTHS:
        if settled < 0:
            continue
        product = product_covering(settled, length)
        place = state.rounds.get(product.number)
        slot = slot_of(place, account)
        if place is not None and is_overfilled(slot, auction_at(place)):
            continue
        if not contracted_differs(leaf, length, slot):
            continue
        closes = closing_interval(product, rules.terms.gate_leads)
        closing = posting if closes == posting.header.interval else state.by_interval.get(closes)
        text = f"meter {account}: contracted energy or cost of {length} intervals is not that of the positions"
        if closing is None:
            closing = state.first or posting
            last = after = closing.auction(0)
            position = NO_SLOT
        else:
            last, after = closing.neighbours(product.number)
            found = closing.last_place(product.number)
            position = closing.slot(found[0], account) if found[1] else NO_SLOT
        shown = posting.meter(account), account, LENGTH_PLACE[length], closing.posted, last, after, position
        yield Finding(text, challenges.challenge_contracted(posting.posted, *shown))


def _balance_findings(posting: Posting, before: Posting | None, account: int) -> Iterator[Finding]:
    held, leaf = before.balances.get(account) if before else None, posting.balances.get(account)
    spot = posting.slots(0).get(account) if posting.record.auctions else None
    if spot is not None and is_overfilled(spot, auction_at((posting, 0))):
        return
    moved = (held.cumulative_nano if held else 0), (leaf.cumulative_nano if leaf else 0)
    fault = balance_fault(*moved, posting.meters.get(account), spot, posting.header)
    if fault is None:
        return
    yield Finding(f"balance {account}: {fault.value}", _balance_call(posting, before, account))


def _balance_call(posting: Posting, before: Posting | None, account: int) -> Call:
    return challenges.challenge_balance(
        posting.posted,
        account,
        None if before is None else before.header,
        NO_BALANCE if before is None else before.balance(account),
        posting.balance(account),
        posting.meter(account),
        posting.auction(0),
        posting.slot(0, account) if posting.record.auctions else NO_SLOT,
    )


def _reserve_findings(
    posting: Posting, before: Posting | None, account: int, settled: int, rules: AuditRules
) -> Iterator[Finding]:
    leaf, entries = posting.balances.get(account), posting.commitments.get(account, ())
    if leaf is not None and commitments_hash(entries) != leaf.commitments_hash:
        demand = ask_leaf(posting.posted, Question.COMMITMENTS, account)
        yield Finding(f"balance {account}: the list behind the reserve was not published", demand=demand)
        return
    fault = reserve_fault(leaf.reserved_nano if leaf else 0, entries, settled)
    if account == SUPPLIER and leaf is not None and (leaf.reserved_nano or entries):
        fault = ReserveFault.WRONG_SUM
    if fault is not None:
        call = challenges.challenge_reserve(posting.posted, posting.balance(account), entries)
        yield Finding(f"balance {account}: {fault.value}", call)
        return
    if account == SUPPLIER:
        return
    old = {c.product: c for c in (before.commitments.get(account, ()) if before else ())}
    new = {c.product: c for c in entries}
    here = {r.auction.product for r in posting.record.auctions[1:]}
    for number in sorted({*old, *new, *here}):
        yield from _commitment_findings(posting, before, account, number, (old, new), settled, rules)
    yield from _cover_findings(posting, before, account, rules)


def _commitment_findings(
    posting: Posting,
    before: Posting | None,
    account: int,
    number: int,
    lists: tuple[dict[int, Commitment], dict[int, Commitment]],
    settled: int,
    rules: AuditRules,
) -> Iterator[Finding]:
    nothing = Commitment(number, 0, 0)
    closed = is_closed(number, posting.header.interval, rules.terms.gate_leads)
    place, found = posting.last_place(number)
    if found:
        slot = slot_of((posting, place), account)
        if is_overfilled(slot, auction_at((posting, place))):
            return
        expected = commitment_of_number(slot, number, closed, posting.header.tariff_import, settled)
    else:
        expected = carried(lists[0].get(number, nothing), closed, settled)
    if lists[1].get(number, nothing) == expected:
        return
    entries = tuple(lists[1].values())
    neighbours = posting.neighbours(number)
    text = f"balance {account}: the commitment of product {number} is not what its rounds leave open"
    if found:
        shown = posting.balance(account), entries, *neighbours, posting.slot(place, account)
        yield Finding(text, challenges.challenge_commitment(posting.posted, account, *shown))
        return
    earlier = (NO_BALANCE, ()) if before is None else before.listed(account)
    previous = None if before is None else before.header
    told = earlier, posting.listed(account), number, *neighbours
    yield Finding(text, challenges.challenge_carried_commitment(posting.posted, previous, account, *told))


def _cover_findings(posting: Posting, before: Posting | None, account: int, rules: AuditRules) -> Iterator[Finding]:
    leaf = posting.balances.get(account)
    if leaf is None or rules.deposited_nano is None:
        return
    held = before.balances.get(account) if before else None
    had_nano = held.cumulative_nano if held else 0
    grew = leaf.reserved_nano > (held.reserved_nano if held else 0)
    if grew and leaf.reserved_nano > rules.deposited_nano.get(account, 0) + had_nano:
        shown = NO_BALANCE if before is None else before.balance(account)
        previous = None if before is None else before.header
        demand = ask_cover(posting.posted, account, previous, shown, posting.balance(account))
        yield Finding(f"balance {account}: the reserve grew beyond the cash that covers it", demand=demand)
