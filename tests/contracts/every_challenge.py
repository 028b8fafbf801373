"""Every challenge that anybody could bring against one posted header, with true evidence.

Each function yields ``Call``s about every slot, leaf or pair of neighbours where that challenge can be brought at all,
and about one account that does not exist. Against an honest header none of them may win.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts import challenges
from contracts.codes import AuctionRule
from contracts.envelope import Envelope, open_envelope
from contracts.evidence import NO_AUCTION, NO_BALANCE, NO_SIBLINGS_20, NO_SLOT, Call, PlacedMeter, PlacedSlot, Tree
from contracts.interval import PRODUCT_LENGTHS, product_covering
from contracts.messages import SettlementReading
from contracts.posting import Posting
from contracts.round_rules import LENGTH_PLACE, closing_interval
from tests.contracts.history import History

NO_METER = PlacedMeter(None, NO_SIBLINGS_20)


def every_challenge(history: History, at: int) -> Iterator[Call]:
    """All of them against ``history.postings[at]``."""
    yield from tree_challenges(history, at)
    yield from clearing_challenges(history, at)
    yield from chain_challenges(history, at)
    yield from promise_challenges(history, at)
    yield from forced_challenges(history, at)
    yield from meter_challenges(history, at)
    yield from commitment_challenges(history, at)


def tree_challenges(history: History, at: int) -> Iterator[Call]:
    """Node sums on the way from every leaf, leaves, totals, places."""
    posting = history.postings[at]
    trees = [(tree, 0) for tree in (Tree.AUCTIONS, Tree.METERS, Tree.BALANCES)]
    trees += [(Tree.SLOTS, place) for place in range(len(posting.record.auctions))]
    for tree, place in trees:
        auction = posting.auction(place) if tree == Tree.SLOTS else NO_AUCTION
        of = posting.tree(tree, place)
        yield challenges.challenge_totals(posting.posted, tree, auction, of.root)
        leaves = leaves_of(posting, tree, place)
        inner = {(height, index >> height) for index in leaves for height in range(of.depth + 1)}
        for height, index in sorted(inner):
            children = [of.node(height - 1, 2 * index + side) if height else of.root for side in (0, 1)]
            shown = posting.node(tree, height, index, place)
            yield challenges.challenge_node_sum(posting.posted, tree, auction, shown, *children)
        for index, packed in leaves.items():
            shown = posting.node(tree, 0, index, place)
            yield challenges.challenge_leaf(posting.posted, tree, auction, shown, packed)
    for place, record in enumerate(posting.record.auctions):
        shown = posting.node(Tree.AUCTIONS, 0, place)
        yield challenges.challenge_auction(posting.posted, record.auction, shown)


def leaves_of(posting: Posting, tree: Tree, place: int) -> dict[int, bytes]:
    """Bytes of the leaves of a tree, by index."""
    if tree == Tree.SLOTS:
        return {account: slot.pack() for account, slot in posting.slots(place).items()}
    if tree == Tree.METERS:
        return {account: leaf.pack() for account, leaf in posting.meters.items()}
    if tree == Tree.BALANCES:
        return {account: leaf.pack() for account, leaf in posting.balances.items()}
    return {place: record.auction.struct_hash() for place, record in enumerate(posting.record.auctions)}


def clearing_challenges(history: History, at: int) -> Iterator[Call]:
    """Fill, signature and standing order of every slot, and fills of absent ones."""
    posting = history.postings[at]
    for place, record in enumerate(posting.record.auctions):
        signatures, auction = posting.signatures(place), posting.auction(place)
        for account in history.everybody:
            slot = posting.slot(place, account)
            yield challenges.challenge_fill(posting.posted, auction, account, slot)
            given = signatures.get(account, b"")
            yield challenges.challenge_signature(posting.posted, auction, slot, given)
            if slot.slot is not None and record.auction.rule == AuctionRule.SPOT_AUCTION:
                order, signature = history.rules.standing_order(slot.slot, given)
                yield challenges.challenge_standing(posting.posted, auction, slot, order, signature)
        beyond = PlacedSlot(None, ())
        yield challenges.challenge_fill(posting.posted, auction, 1 << 20, beyond)


def chain_challenges(history: History, at: int) -> Iterator[Call]:
    """Order of neighbours, rounds, forks with all that was ever posted, carried slots, missing closing rounds."""
    posting = history.postings[at]
    for place in range(len(posting.record.auctions) + 2):
        first, second = posting.auction(place), posting.auction(place + 1)
        yield challenges.challenge_order(posting.posted, first, second)
    earlier_rounds = {
        record.auction.struct_hash(): (other, place)
        for other in history.postings[: at + 1]
        for place, record in enumerate(other.record.auctions)
    }
    for place, record in enumerate(posting.record.auctions):
        auction, before = posting.auction(place), earlier_rounds.get(record.auction.previous)
        told = before[0].record.auctions[before[1]].auction if before else None
        yield challenges.challenge_gate(posting.posted, auction)
        if told is not None:
            yield challenges.challenge_round(posting.posted, auction, told)
        for other, there in earlier_rounds.values():
            if other.record.auctions[there].auction.product == record.auction.product:
                yield challenges.challenge_fork(posting.posted, auction, other.posted, other.auction(there))
        for account in history.everybody:
            held = before[0].slot(before[1], account) if before else NO_SLOT
            yield challenges.challenge_carry(posting.posted, auction, posting.slot(place, account), told, held, account)
    for other, there in earlier_rounds.values():
        cleared = other.record.auctions[there].auction
        last, after = posting.neighbours(cleared.product)
        holders = [s.account for s in other.record.auctions[there].slots if s.position_wh]
        for account in holders[:2]:
            shown = other.posted, other.auction(there), other.slot(there, account)
            yield challenges.challenge_closing(posting.posted, last, after, *shown)


def promise_challenges(history: History, at: int) -> Iterator[Call]:
    """Every receipt that was ever given, against every auction that it could bind."""
    posting = history.postings[at]
    by_product: dict[int, list[int]] = {}
    for place, record in enumerate(posting.record.auctions):
        by_product.setdefault(record.auction.product, []).append(place)
    for receipt in history.market.receipts:
        for place in by_product.get(receipt.product, []) if receipt.product else [0]:
            shown = posting.auction(place), posting.slot(place, receipt.account)
            signature = history.operator_signature(receipt)
            if receipt.product:
                yield challenges.challenge_receipt(posting.posted, *shown, receipt, signature)
            elif history.rules.terms.spot_rule == AuctionRule.SPOT_AUCTION:
                order = history.standing_of(receipt)
                yield challenges.challenge_standing_receipt(posting.posted, *shown, receipt, signature, order)


def forced_challenges(history: History, at: int) -> Iterator[Call]:
    """Every order placed on chain, and every slot of one."""
    posting = history.postings[at]
    for order in history.rules.forced.values():
        last, after = posting.neighbours(order.bid.product)
        place, found = posting.last_place(order.bid.product)
        slot = posting.slot(place, order.bid.account) if found else NO_SLOT
        yield challenges.challenge_forced(posting.posted, last, after, slot, order.bid)
    for place, record in enumerate(posting.record.auctions):
        for slot in record.slots:
            if slot.is_forced:
                shown = posting.auction(place), posting.slot(place, slot.account)
                yield challenges.challenge_withdrawn(posting.posted, *shown)
                order = history.rules.forced[slot.account, slot.version]
                yield challenges.challenge_retired(posting.posted, *shown, order.bid)


def meter_challenges(history: History, at: int) -> Iterator[Call]:
    """Reading, registers, contracted energy of each length and balance of every account."""
    posting, before = history.postings[at], history.postings[at - 1] if at else None
    previous = before.header if before else None
    settled = posting.header.interval - history.rules.terms.grace
    for account in (0, *history.everybody):
        meter = posting.meter(account)
        envelope = open_envelope(last_reading(history, at, account))
        if isinstance(envelope, Envelope) and isinstance(envelope.message, SettlementReading):
            yield challenges.challenge_reading(posting.posted, meter, envelope.message, envelope.signature)
        held = before.meter(account) if before else NO_METER
        yield challenges.challenge_register(posting.posted, previous, held, meter, account)
        for length in PRODUCT_LENGTHS:
            product = product_covering(settled, length)
            closes = closing_interval(product, history.rules.terms.gate_leads)
            closing = history.postings[max(closes - history.postings[0].header.interval, 0)]
            place, found = closing.last_place(product.number)
            slot = closing.slot(place, account) if found else NO_SLOT
            shown = closing.posted, *closing.neighbours(product.number), slot
            yield challenges.challenge_contracted(posting.posted, meter, account, LENGTH_PLACE[length], *shown)
        leaves = before.balance(account) if before else NO_BALANCE, posting.balance(account)
        spot = posting.auction(0), posting.slot(0, account)
        yield challenges.challenge_balance(posting.posted, account, previous, *leaves, meter, *spot)


def last_reading(history: History, at: int, account: int) -> bytes:
    """The packed reading behind an account's leaf, published in this header or in an earlier one."""
    found = (posting.readings.get(account, b"") for posting in reversed(history.postings[: at + 1]))
    return next((packed for packed in found if packed), b"")


def commitment_challenges(history: History, at: int) -> Iterator[Call]:
    """The reserve of every account, and its commitment for every product that is open, traded here or long past."""
    posting, before = history.postings[at], history.postings[at - 1] if at else None
    previous = before.header if before else None
    here = {record.auction.product for record in posting.record.auctions[1:]}
    past = product_covering(posting.header.interval - 9, 1).number
    for account in (0, *history.everybody):
        balance, entries = posting.listed(account)
        yield challenges.challenge_reserve(posting.posted, balance, entries)
        earlier = before.listed(account) if before else (NO_BALANCE, ())
        for number in sorted({*here, past, *(c.product for c in (*entries, *earlier[1]))}):
            place, found = posting.last_place(number)
            neighbours = posting.neighbours(number)
            if found:
                slot = posting.slot(place, account)
                yield challenges.challenge_commitment(posting.posted, account, balance, entries, *neighbours, slot)
            else:
                told = earlier, (balance, entries), number, *neighbours
                yield challenges.challenge_carried_commitment(posting.posted, previous, account, *told)
