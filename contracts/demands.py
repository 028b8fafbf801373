"""Demands: the questions that anybody may ask about a posted header on chain, and the answers to them.

    withheld → ask_leaf … → Demanded(id, deadline) → answer_… by whoever knows → or challenge_unanswered → header void

One function for each call of ``DataDemands``; the shapes of evidence are those of ``evidence``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from contracts.challenges import commitment_structs
from contracts.commitments import Commitment
from contracts.evidence import (
    NO_AUCTION,
    Call,
    PlacedAuction,
    PlacedBalance,
    PlacedMeter,
    PlacedSlot,
    PostedHeader,
    Struct,
    blank_struct,
    message_struct,
)
from contracts.messages import (
    Auction,
    Bid,
    Header,
    Receipt,
    SetPoint,
    SetPointReport,
    SettlementReading,
    StandingOrder,
)


class Question(IntEnum):
    """What can be demanded, numbered as in ``DataDemands``."""

    AUCTION = 0
    SLOT = 1
    METER = 2
    BALANCE = 3
    SIGNATURE = 4
    READING = 5
    PREVIOUS = 6
    COMMITMENTS = 7
    COVER = 8
    ROUND = 9
    ORDERED = 10


@dataclass(frozen=True, slots=True)
class Demand:
    """A question about a posted header, ready to be asked. ``subject`` is an account, or the leaf of an auction."""

    posted: PostedHeader
    question: Question
    call: Call
    auction_place: int = 0
    subject: int = 0


@dataclass(frozen=True, slots=True)
class Growth:
    """What a demand for cover is about: an account's reserve, the one in the header before, the list behind it."""

    account: int
    reserved_nano: int
    reserved_before_nano: int
    commitments_hash: bytes

    def struct(self) -> Struct:
        """``PromiseDemands.Growth``."""
        return self.account, self.reserved_nano, self.reserved_before_nano, self.commitments_hash


def _call(function: str, *arguments: Any) -> Call:
    return Call("DataDemands", function, arguments)


def ask_leaf(posted: PostedHeader, question: Question, subject: int = 0, auction: PlacedAuction = NO_AUCTION) -> Demand:
    """Demands a leaf or what a hash in it stands for; ``auction`` for slots, signatures and rounds before."""
    call = _call("demand", posted.struct(), int(question), auction.struct(), subject)
    return Demand(posted, question, call, auction.index, subject)


def ask_cover(
    posted: PostedHeader, account: int, previous: Header | None, before: PlacedBalance, balance: PlacedBalance
) -> Demand:
    """Demands what covered the growth of an account's reserve."""
    told = blank_struct(Header) if previous is None else message_struct(previous)
    call = _call("demandCover", posted.struct(), account, told, before.struct(), balance.struct())
    return Demand(posted, Question.COVER, call, subject=account)


def ask_round(
    posted: PostedHeader, receipt: Receipt, signature: bytes, bid: Bid, last: PlacedAuction, after: PlacedAuction
) -> Demand:
    """Demands the round that a receipt promised to a bid and that is missing from its header."""
    shown = message_struct(receipt), signature, message_struct(bid), last.struct(), after.struct()
    return Demand(posted, Question.ROUND, _call("demandRound", posted.struct(), *shown), subject=receipt.account)


def ask_ordered(posted: PostedHeader, account: int, meter: PlacedMeter) -> Demand:
    """Demands the commands behind energy that counts as ordered."""
    return Demand(posted, Question.ORDERED, _call("demandOrdered", posted.struct(), meter.struct()), subject=account)


def challenge_unanswered(number: int, posted: PostedHeader) -> Call:
    """Nobody answered in time: the header is void, the reward is the demander's."""
    return _call("challengeUnanswered", number, posted.struct())


def refund(number: int) -> Call:
    """Gives the fee of a demand back whose header is void or final."""
    return _call("refund", number)


def answer_auction(number: int, posted: PostedHeader, auction: PlacedAuction) -> Call:
    """Answers AUCTION."""
    return _call("answerAuction", number, posted.struct(), auction.struct())


def answer_slot(number: int, posted: PostedHeader, auction: Auction, account: int, slot: PlacedSlot) -> Call:
    """Answers SLOT."""
    return _call("answerSlot", number, posted.struct(), message_struct(auction), account, slot.struct())


def answer_meter(number: int, posted: PostedHeader, account: int, meter: PlacedMeter) -> Call:
    """Answers METER."""
    return _call("answerMeter", number, posted.struct(), account, meter.struct())


def answer_balance(number: int, posted: PostedHeader, account: int, balance: PlacedBalance) -> Call:
    """Answers BALANCE."""
    return _call("answerBalance", number, posted.struct(), account, balance.struct())


def answer_signature(
    number: int, posted: PostedHeader, auction: Auction, account: int, slot: PlacedSlot, signature: bytes
) -> Call:
    """Answers SIGNATURE, but for a slot that commits to a standing order."""
    shown = message_struct(auction), account, slot.struct(), signature
    return _call("answerSignature", number, posted.struct(), *shown)


def answer_standing(
    number: int,
    posted: PostedHeader,
    auction: Auction,
    account: int,
    slot: PlacedSlot,
    order: StandingOrder,
    signature: bytes,
) -> Call:
    """Answers SIGNATURE for a slot that commits to a standing order."""
    shown = message_struct(auction), account, slot.struct(), message_struct(order), signature
    return _call("answerStanding", number, posted.struct(), *shown)


def answer_reading(
    number: int,
    posted: PostedHeader,
    account: int,
    meter: PlacedMeter,
    reading: SettlementReading | None,
    signature: bytes,
) -> Call:
    """Answers READING; without a reading for an account that was never read."""
    told = blank_struct(SettlementReading) if reading is None else message_struct(reading)
    return _call("answerReading", number, posted.struct(), account, meter.struct(), told, signature)


def answer_previous(
    number: int, posted: PostedHeader, auction: Auction, earlier: PostedHeader, before: PlacedAuction
) -> Call:
    """Answers PREVIOUS by the round before, in a posted header."""
    shown = message_struct(auction), earlier.struct(), before.struct()
    return _call("answerPrevious", number, posted.struct(), *shown)


def answer_commitments(
    number: int, posted: PostedHeader, account: int, balance: PlacedBalance, commitments: Sequence[Commitment]
) -> Call:
    """Answers COMMITMENTS."""
    shown = account, balance.struct(), commitment_structs(commitments)
    return _call("answerCommitments", number, posted.struct(), *shown)


def answer_cover(
    number: int,
    posted: PostedHeader,
    growth: Growth,
    covering: PostedHeader,
    balance: PlacedBalance,
    commitments: Sequence[Commitment],
    orders: Sequence[Bid],
) -> Call:
    """Answers COVER by an earlier result, by orders placed on chain, or by both."""
    shown = growth.struct(), covering.struct(), balance.struct(), commitment_structs(commitments)
    return _call("answerCover", number, posted.struct(), *shown, [message_struct(order) for order in orders])


def answer_round(number: int, posted: PostedHeader, version: int, bid: Bid, signature: bytes) -> Call:
    """Answers ROUND: the account itself replaced the bid of that version."""
    return _call("answerRound", number, posted.struct(), version, message_struct(bid), signature)


def answer_ordered(
    number: int,
    posted: PostedHeader,
    account: int,
    ordered_wh: int,
    commands: Sequence[tuple[SetPoint, bytes, SetPointReport, bytes]],
) -> Call:
    """Answers ORDERED by commands that the home reported as applied, by device, term and sequence."""
    told = [(message_struct(s), a, message_struct(r), b) for s, a, r, b in commands]
    return _call("answerOrdered", number, posted.struct(), account, ordered_wh, told)
