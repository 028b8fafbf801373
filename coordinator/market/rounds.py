"""The market room's two tasks for the switchboard: take an order, and run the rounds that are due."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.batch import AuctionRecord
from contracts.interval import SPOT_ROUND, Product, interval_of
from contracts.messages import Bid
from coordinator.config import MarketConfig
from coordinator.market.auctioneer import Round, run_round, run_shared_round
from coordinator.market.book import Book
from coordinator.store.store import Store


@dataclass(frozen=True, slots=True)
class DueRound:
    """A forward round and the instant at which it clears."""

    cleared_at_s: int
    product: Product
    number: int


class Market:
    """Order intake and rounds over the book."""

    def __init__(self, store: Store, config: MarketConfig) -> None:
        self.book = Book(store)
        self._calendar = config.calendar

    def first_round(self, bid: Bid, now_s: int) -> int | None:
        """The first round in which a bid that arrives now takes part; None when the gate is closed."""
        product = Product.from_number(bid.product)
        return self._calendar.schedule(product.length).next_round(product, now_s)

    def due_rounds(self, after_s: int, until_s: int) -> list[DueRound]:
        """Forward rounds with ``after_s < clearing instant <= until_s``, in time order."""
        return [DueRound(*due) for due in self._calendar.rounds_at(after_s, until_s)]

    def next_round_at_s(self, after_s: int) -> int:
        """Instant of the first round after ``after_s`` of any product."""
        shortest = min(schedule.every_s for _, schedule in self._calendar.schedules)
        horizon_s = after_s + shortest
        while not (due := self._calendar.rounds_at(after_s, horizon_s)):
            horizon_s += shortest
        return due[0][0]

    def run(self, due: DueRound) -> AuctionRecord | None:
        """Runs a round; None where no open order takes part and there is nothing to publish.

        The last round of a product is published whenever positions exist, so that they can be shown final.
        """
        number = due.product.number
        is_last = due.number == self._calendar.schedule(due.product.length).last_round(due.product)
        record = None
        if self.book.has_open_orders(number, due.number) or (is_last and self.book.positions(number)):
            previous = self.book.last_auction_hash(number)
            this = Round(number, due.number, due.cleared_at_s, previous)
            record = run_round(this, self.book.entries(number, due.number))
            self.book.keep(record, interval_of(due.cleared_at_s))
            self.book.move(record)
        if is_last:
            self.book.close(number)
        return record

    def run_spot(self, settled: int, deviations_wh: dict[int, int], price: int, cleared_at_s: int) -> AuctionRecord:
        """Trades the deviations of interval ``settled``; always published, also when nobody deviates."""
        product = Product(settled, 1).number
        this = Round(product, SPOT_ROUND, cleared_at_s, self.book.last_auction_hash(product))
        record = run_shared_round(this, deviations_wh, price)
        self.book.keep(record, interval_of(cleared_at_s))
        return record
