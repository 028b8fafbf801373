"""Everything that can be asked about an honest header, with the honest answer and with answers that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from contracts import demands
from contracts.codes import AuctionRule
from contracts.demands import Demand, Growth, Question
from contracts.eip712 import keccak
from contracts.envelope import Envelope, open_envelope
from contracts.evidence import NO_BALANCE, Call
from contracts.interval import INTERVAL_S, Product
from contracts.messages import Bid, Receipt, SetPoint, SetPointReport, SettlementReading
from contracts.posting import Posting
from tests.contracts.every_challenge import last_reading
from tests.contracts.history import History
from tests.contracts.retelling import Scene

Answer = Callable[[int], Call]


@dataclass(frozen=True)
class Asked:
    """A demand, its answer, and calls that must not pass for one, each with the error that refuses it."""

    demand: Demand
    answer: Answer
    refused: tuple[tuple[Answer, str], ...] = ()


def leaf_questions(history: History, at: int) -> Iterator[Asked]:
    """Auctions, meters, balances, readings and lists of a header: of every account, and of one that has none."""
    posting, other = history.postings[at], history.postings[at - 1]
    header = posting.posted
    for place in (*range(len(posting.record.auctions)), 4_000, 4_095):
        shown = posting.auction(place)
        yield Asked(
            demands.ask_leaf(header, Question.AUCTION, place),
            lambda n, a=shown: demands.answer_auction(n, header, a),
            (
                (lambda n, p=place: demands.answer_auction(n, header, posting.auction((p + 1) % 4_096)), "NotAsked"),
                (lambda n, a=shown: demands.answer_auction(n, other.posted, a), "NotAsked"),
                (lambda n, a=shown: demands.answer_auction(n, header, denied(a, "auction")), "NotInTree"),
            ),
        )
    for account in history.everybody:
        yield from account_questions(history, at, account)


def denied(placed: Any, name: str) -> Any:
    """The evidence turned round: an empty leaf where something stands; where nothing does, another place."""
    return replace(placed, **{name: None}) if getattr(placed, name) is not None else replace(placed, siblings=())


def account_questions(history: History, at: int, account: int) -> Iterator[Asked]:
    posting = history.postings[at]
    header, meter, balance = posting.posted, posting.meter(account), posting.balance(account)
    wrong = account % history.market.accounts + 1
    yield Asked(
        demands.ask_leaf(header, Question.METER, account),
        lambda n: demands.answer_meter(n, header, account, meter),
        (
            (lambda n: demands.answer_meter(n, header, wrong, posting.meter(wrong)), "NotAsked"),
            (lambda n: demands.answer_meter(n, header, account, posting.meter(wrong)), "NotInTree"),
        ),
    )
    yield Asked(
        demands.ask_leaf(header, Question.BALANCE, account),
        lambda n: demands.answer_balance(n, header, account, balance),
        ((lambda n: demands.answer_balance(n, header, account, posting.balance(0)), "NotInTree"),),
    )
    entries = posting.commitments.get(account, ())
    short = ((lambda n: demands.answer_commitments(n, header, account, balance, entries[1:]), "WrongEvidence"),)
    yield Asked(
        demands.ask_leaf(header, Question.COMMITMENTS, account),
        lambda n: demands.answer_commitments(n, header, account, balance, entries),
        short if entries else (),
    )
    envelope = open_envelope(last_reading(history, at, account))
    if isinstance(envelope, Envelope) and isinstance(envelope.message, SettlementReading):
        reading, signature = envelope.message, envelope.signature
        altered = replace(reading, import_wh=reading.import_wh + 1)
        yield Asked(
            demands.ask_leaf(header, Question.READING, account),
            lambda n: demands.answer_reading(n, header, account, meter, reading, signature),
            (
                (lambda n: demands.answer_reading(n, header, account, meter, altered, signature), "WrongEvidence"),
                (lambda n: demands.answer_reading(n, header, account, meter, reading, b"no"), "WrongEvidence"),
            ),
        )


def auction_questions(history: History, at: int) -> Iterator[Asked]:
    """Slots, signatures and rounds before, of every auction and every account."""
    posting = history.postings[at]
    for place, record in enumerate(posting.record.auctions):
        before = history.round_before(record.auction)
        if before is not None:
            yield previous_question(posting, place, before)
        for account in history.everybody:
            yield slot_question(history, posting, place, account)
            yield signature_question(history, posting, place, account)


def previous_question(posting: Posting, place: int, before: tuple[Posting, int]) -> Asked:
    header, auction = posting.posted, posting.record.auctions[place].auction
    earlier, there = before[0].posted, before[0].auction(before[1])
    return Asked(
        demands.ask_leaf(header, Question.PREVIOUS, auction=posting.auction(place)),
        lambda n: demands.answer_previous(n, header, auction, earlier, there),
        (
            (lambda n: demands.answer_previous(n, header, auction, header, posting.auction(place)), "WrongEvidence"),
            (lambda n: demands.answer_previous(n, header, auction, earlier, before[0].auction(0)), "WrongEvidence"),
        ),
    )


def slot_question(history: History, posting: Posting, place: int, account: int) -> Asked:
    header, auction = posting.posted, posting.record.auctions[place].auction
    slot, wrong = posting.slot(place, account), account % history.market.accounts + 1
    refused: list[tuple[Answer, str]] = []
    if slot.slot is not None and posting.slots(place).get(wrong) is not None:
        other = posting.slot(place, wrong)
        refused = [(lambda n: demands.answer_slot(n, header, auction, account, other), "NotInTree")]
    demand = demands.ask_leaf(header, Question.SLOT, account, posting.auction(place))
    return Asked(demand, lambda n: demands.answer_slot(n, header, auction, account, slot), tuple(refused))


def signature_question(history: History, posting: Posting, place: int, account: int) -> Asked:
    header, auction = posting.posted, posting.record.auctions[place].auction
    slot, given = posting.slot(place, account), posting.signatures(place).get(account, b"")
    demand = demands.ask_leaf(header, Question.SIGNATURE, account, posting.auction(place))
    if auction.rule == AuctionRule.SPOT_AUCTION and slot.slot is not None and any(slot.slot.signature_hash):
        order, signature = history.rules.standing_order(slot.slot, given)
        assert order is not None
        shown, older = (header, auction, account, slot), replace(order, version=order.version - 1)
        passed = order.struct_hash() + keccak(signature)
        return Asked(
            demand,
            lambda n: demands.answer_standing(n, *shown, order, signature),
            (
                (lambda n: demands.answer_standing(n, *shown, older, signature), "WrongEvidence"),
                (lambda n: demands.answer_signature(n, *shown, passed), "WrongEvidence"),
            ),
        )
    refused = ((lambda n: demands.answer_signature(n, header, auction, account, slot, given + b"!"), "WrongEvidence"),)
    return Asked(
        demand,
        lambda n: demands.answer_signature(n, header, auction, account, slot, given),
        refused if given else (),
    )


def cover_question(history: History, at: int, lag: int) -> tuple[Asked, int, int]:
    """A growth that only an older result covers: with the account, and the deposit that makes it so."""
    posting, before = history.postings[at], history.postings[at - 1]
    for account in range(1, history.market.accounts + 1):
        now, last = posting.balances.get(account), before.balances.get(account)
        grown = now is not None and now.reserved_nano > (last.reserved_nano if last else 0)
        result = last.cumulative_nano if last else 0
        for other in history.postings[max(at - lag, 0) : at - 1]:
            held = other.balances.get(account)
            older = held.cumulative_nano if held else 0
            if now is not None and grown and older > result and now.reserved_nano > older:
                growth = Growth(account, now.reserved_nano, last.reserved_nano if last else 0, now.commitments_hash)
                return cover_asked(posting, before, other, growth), account, now.reserved_nano - older
    raise LookupError("no such growth in this header")


def cover_asked(posting: Posting, before: Posting, covering: Posting, growth: Growth) -> Asked:
    account, header = growth.account, posting.posted
    balance = posting.balance(account)
    leaves = before.balance(account) if before is not posting else NO_BALANCE, balance

    def answer(number: int, by: Posting = covering, told: Growth = growth) -> Call:
        return demands.answer_cover(number, header, told, by.posted, by.balance(account), (), ())

    return Asked(
        demands.ask_cover(header, account, before.header, *leaves),
        answer,
        (
            (lambda n: answer(n, by=before), "NotCovered"),
            (lambda n: answer(n, told=replace(growth, reserved_nano=1)), "NotAsked"),
        ),
    )


def round_question(scene: Scene) -> Asked:
    """The operator promised a round that he did not hold; the home has replaced its bid since."""
    posting, history = scene.posting, scene.history
    product = Product(scene.interval + 40, 1).number
    at_s = scene.interval * INTERVAL_S + 77
    bid = Bid(1, product, 3, 0, 500, 100_000, at_s)
    receipt = Receipt(1, product, 3, bid.struct_hash(), 9, at_s)
    newer = replace(bid, version=4, quantity_wh=0)
    neighbours = posting.neighbours(product)
    signature = history.operator_signature(receipt)
    header = posting.posted

    def answer(number: int, told: Bid = newer, signer: int = 1) -> Call:
        return demands.answer_round(number, header, 3, told, scene.sign(signer, told))

    return Asked(
        demands.ask_round(header, receipt, signature, bid, *neighbours),
        answer,
        (
            (lambda n: answer(n, told=bid), "NotCovered"),
            (lambda n: answer(n, signer=2), "WrongEvidence"),
            (lambda n: answer(n, told=replace(newer, product=Product(scene.interval + 41, 1).number)), "NotAsked"),
        ),
    )


def ordered_question(scene: Scene, posting: Posting, account: int) -> Asked:
    """Energy counts as ordered: behind it stand two commands that the home has carried out."""
    header, leaf = posting.posted, posting.meters[account]
    starts_s = scene.settled * INTERVAL_S
    commands = []
    for device in (1, 2):
        command = SetPoint(account, device, 0, 1, 7, starts_s - 60, starts_s + 600, -4_000)
        report = SetPointReport(account, device, 1, 7, 0, -4_000, starts_s)
        commands.append((command, scene.history.operator_signature(command), report, scene.sign(account, report)))
    unapplied = replace(commands[0][2], outcome=1)
    idle = (commands[0][0], commands[0][1], unapplied, scene.sign(account, unapplied))
    energy_wh = leaf.ordered_wh

    def answer(number: int, told: Any = tuple(commands), wh: int = energy_wh) -> Call:
        return demands.answer_ordered(number, header, account, wh, told)

    return Asked(
        demands.ask_ordered(header, account, posting.meter(account)),
        answer,
        (
            (lambda n: answer(n, told=()), "NotCovered"),
            (lambda n: answer(n, told=(commands[0],)), "NotCovered"),
            (lambda n: answer(n, told=(commands[0], commands[0])), "WrongEvidence"),
            (lambda n: answer(n, told=(idle,)), "WrongEvidence"),
            (lambda n: answer(n, wh=1), "NotAsked"),
        ),
    )
