"""Answers to demands: an honest operator opens on chain whatever he committed to, before the time is over.

    Demanded on chain → noted → answer from the published records (and, for promises, from the books) → SubmitAnswer

A demand without an answer is a person's matter: an alarm says which, while there is time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from contracts import demands
from contracts.batch import BatchRecord
from contracts.codes import AuctionRule
from contracts.demands import Growth, Question
from contracts.eip712 import layout
from contracts.envelope import Envelope, open_envelope
from contracts.evidence import Call
from contracts.interval import PRODUCT_LENGTH_FACTOR
from contracts.leaves import MeterLeaf, reading_commitment
from contracts.messages import FORCED_VERSION, Auction, Bid, Header, SettlementReading, StandingOrder
from contracts.meter_rules import NO_READING
from contracts.posting import Posting
from coordinator.effects import Alarm, SubmitAnswer
from coordinator.store.store import Store

COVER_LAG_INTERVALS = 96
"""How far back a result may cover a reserve: what the deployment gave ``DataDemands``; a day by default."""

ALREADY_SAID = frozenset(Question) - {Question.COVER, Question.ROUND}
"""Questions whose event says all; of the others a second event of the same call says the rest."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A demand about the header at ``index``: ``place`` of the auction it is about, ``subject`` as asked.

    ``promise`` is the JSON of what the second event of a demand for cover or for a round says.
    """

    number: int
    index: int
    question: int
    place: int
    subject: int
    deadline_s: int
    promise: str = ""


class AnswerDesk:
    """Open demands in the store, and what answers them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def raised(self, asked: Asked) -> list[SubmitAnswer | Alarm]:
        """Notes a demand, and answers it where its event says all."""
        self._store.run(
            "INSERT OR REPLACE INTO demands VALUES (?, ?, ?, ?, ?, ?, ?)",
            asked.number, asked.index, asked.question, asked.place, asked.subject, asked.deadline_s, asked.promise,
        )  # fmt: skip
        return self._answered(asked) if asked.question in ALREADY_SAID else []

    def told(self, number: int, **promise: int | str) -> list[SubmitAnswer | Alarm]:
        """The second event of a demand: what it is about."""
        self._store.run("UPDATE demands SET promise = ? WHERE number = ?", json.dumps(promise), number)
        return [effect for asked in self.open() if asked.number == number for effect in self._answered(asked)]

    def closed(self, number: int) -> None:
        """Forgets a demand: it was answered, or is void."""
        self._store.run("DELETE FROM demands WHERE number = ?", number)

    def open(self) -> list[Asked]:
        """Every demand that waits for its answer."""
        return [Asked(*row) for row in self._store.rows("SELECT * FROM demands ORDER BY number")]

    def again(self) -> list[SubmitAnswer | Alarm]:
        """The answers to every open demand, after a restart."""
        return [effect for asked in self.open() for effect in self._answered(asked)]

    def _answered(self, asked: Asked) -> list[SubmitAnswer | Alarm]:
        call = self.answer(asked)
        if call is None:
            name = Question(asked.question).name if asked.question in set(Question) else str(asked.question)
            text = f"demand {asked.number} ({name}, header {asked.index}, about {asked.subject}) has no answer here"
            return [Alarm("demand_unanswerable", f"{text}; the header falls at {asked.deadline_s}")]
        return [SubmitAnswer(asked.number, call, asked.deadline_s)]

    def answer(self, asked: Asked) -> Call | None:
        """The call that answers a demand; None where there is none to give."""
        posting = self._posting(asked.index)
        if posting is None or asked.question not in set(Question):
            return None
        number, proof, account = asked.number, posting.posted, asked.subject
        match Question(asked.question):
            case Question.AUCTION:
                return demands.answer_auction(number, proof, posting.auction(asked.subject))
            case Question.METER:
                return demands.answer_meter(number, proof, account, posting.meter(account))
            case Question.BALANCE:
                return demands.answer_balance(number, proof, account, posting.balance(account))
            case Question.COMMITMENTS:
                return demands.answer_commitments(number, proof, account, *posting.listed(account))
            case Question.READING:
                return self._reading(asked, posting)
            case Question.COVER:
                return self._cover(asked, posting, json.loads(asked.promise or "{}"))
            case Question.ROUND:
                return self._round(asked, posting, json.loads(asked.promise or "{}"))
            case Question.ORDERED:  # nothing is ever settled as ordered here
                return None
            case _:
                return self._of_auction(asked, posting)

    def _of_auction(self, asked: Asked, posting: Posting) -> Call | None:
        if asked.place >= len(posting.record.auctions):
            return None
        auction = posting.record.auctions[asked.place].auction
        if asked.question == Question.SLOT:
            slot = posting.slot(asked.place, asked.subject)
            return demands.answer_slot(asked.number, posting.posted, auction, asked.subject, slot)
        if asked.question == Question.SIGNATURE:
            return self._signature(asked, posting, auction)
        return self._previous(asked, posting, auction)

    def _cover(self, asked: Asked, posting: Posting, promise: dict[str, Any]) -> Call | None:
        """The newest result that covers a reserve, or orders placed on chain beside it."""
        if not promise:
            return None
        told = promise["reserved_nano"], promise["reserved_before_nano"], bytes.fromhex(promise["commitments_hash"])
        growth = Growth(asked.subject, *told)
        listed = posting.commitments.get(growth.account, ())
        orders = tuple(o for o in (self._forced(growth.account, c.product) for c in listed) if o is not None)
        forced = {order.product for order in orders}
        settled = posting.record.auctions[0].auction.product // PRODUCT_LENGTH_FACTOR
        rest_nano = sum(c.owed_nano(settled) for c in listed if c.product not in forced)
        deposited = self._deposited(growth.account)
        for index in range(asked.index, max(-1, asked.index - COVER_LAG_INTERVALS - 1), -1):
            covering = self._posting(index)
            if covering is None:
                return None
            leaf = covering.balances.get(growth.account)
            cash_nano = deposited + (leaf.cumulative_nano if leaf else 0)
            by_cash = cash_nano >= growth.reserved_nano
            if by_cash or (orders and rest_nano <= max(growth.reserved_before_nano, cash_nano)):
                shown = covering.posted, covering.balance(growth.account), listed, () if by_cash else orders
                return demands.answer_cover(asked.number, posting.posted, growth, *shown)
        return None

    def _round(self, asked: Asked, posting: Posting, promise: dict[str, Any]) -> Call | None:
        """The bid by which an account itself replaced the one that was promised a round."""
        if not promise:
            return None
        row = self._store.row(
            "SELECT version, side, quantity_wh, limit_price, expiry_s, signature FROM bids"
            " WHERE account = ? AND product = ? AND version > ? ORDER BY version DESC LIMIT 1",
            asked.subject, promise["product"], promise["version"],
        )  # fmt: skip
        if row is None:
            return None
        bid = Bid(asked.subject, promise["product"], *row[:5])
        return demands.answer_round(asked.number, posting.posted, promise["version"], bid, bytes(row[5]))

    # -- where answers come from -------------------------------------------------------------------------------

    def _posting(self, index: int) -> Posting | None:
        row = self._store.row(
            "SELECT header, record FROM headers WHERE chain_index = ? AND state IN ('posted', 'final')", index
        )
        return None if row is None else Posting(Header.unpack(row[0]), index, BatchRecord.from_bytes(row[1]))

    def _deposited(self, account: int) -> int:
        return self._store.integer("SELECT deposited_nano FROM participants WHERE account = ?", account)

    def _forced(self, account: int, product: int) -> Bid | None:
        row = self._store.row(
            "SELECT version, side, quantity_wh, limit_price, expiry_s FROM bids"
            " WHERE account = ? AND product = ? AND version >= ? ORDER BY version DESC LIMIT 1",
            account, product, FORCED_VERSION,
        )  # fmt: skip
        return None if row is None else Bid(account, product, *row)

    def _signature(self, asked: Asked, posting: Posting, auction: Auction) -> Call:
        account = asked.subject
        slot = posting.slot(asked.place, account)
        published = posting.signatures(asked.place).get(account, b"")
        shown = asked.number, posting.posted, auction, account, slot
        if auction.rule == AuctionRule.SPOT_AUCTION and published:
            width = layout(StandingOrder).width
            return demands.answer_standing(*shown, StandingOrder.unpack(published[:width]), published[width:])
        return demands.answer_signature(*shown, published)

    def _previous(self, asked: Asked, posting: Posting, auction: Auction) -> Call | None:
        row = self._store.row(
            "SELECT h.chain_index, a.product FROM auctions a JOIN headers h ON h.interval = a.header_interval"
            " WHERE a.hash = ?",
            auction.previous,
        )
        earlier = None if row is None or row[0] is None else self._posting(row[0])
        if earlier is None:
            return None
        hashes = [record.auction.struct_hash() for record in earlier.record.auctions]
        before = earlier.auction(hashes.index(auction.previous))
        return demands.answer_previous(asked.number, posting.posted, auction, earlier.posted, before)

    def _reading(self, asked: Asked, posting: Posting) -> Call | None:
        account = asked.subject
        meter = posting.meter(account)
        shown = asked.number, posting.posted, account, meter
        if meter.leaf is None or meter.leaf.reading_hash == NO_READING:
            return demands.answer_reading(*shown, None, b"")
        found = self._behind(meter.leaf)
        return None if found is None else demands.answer_reading(*shown, *found)

    def _behind(self, leaf: MeterLeaf) -> tuple[SettlementReading, bytes] | None:
        """The reading that a leaf commits to: the newest with its registers, out of the inbox."""
        rows = self._store.rows(
            "SELECT inbox_id FROM settlement_readings WHERE account = ? AND import_wh = ? AND export_wh = ?"
            " ORDER BY interval DESC",
            leaf.account, leaf.import_register_wh, leaf.export_register_wh,
        )  # fmt: skip
        for (inbox_id,) in rows:
            envelope = open_envelope(self._store.input_payload(inbox_id))
            if isinstance(envelope, Envelope) and isinstance(envelope.message, SettlementReading):
                committed = reading_commitment(envelope.message.struct_hash(), envelope.signature)
                if committed == leaf.reading_hash:
                    return envelope.message, envelope.signature
        return None
