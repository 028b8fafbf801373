"""The market room's tasks for the switchboard: say when an order takes part, and run the rounds that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.batch import AuctionRecord
from contracts.codes import AuctionRule
from contracts.interval import SPOT_ROUND, Product, interval_of
from coordinator.config import MarketConfig
from coordinator.market.auctioneer import (
    NO_ROUND_BEFORE,
    Entry,
    Round,
    run_auctioned_round,
    run_round,
    run_shared_round,
)
from coordinator.market.book import Book
from coordinator.market.standing import StandingOrders
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
        self.standing = StandingOrders(store, config.grace)
        self._calendar = config.calendar
        self._config = config

    def first_round(self, product: Product, after_s: int) -> int | None:
        """The first round that clears after ``after_s``; None when the gate is closed."""
        return self._calendar.schedule(product.length).next_round(product, after_s)

    def clears_at_s(self, product: Product, number: int) -> int:
        """When that round clears."""
        return self._calendar.schedule(product.length).clears_at_s(product, number)

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
        """Runs a round; None where there is nothing to publish.

        Published is a round in which an open bid takes part, one that shows a published bid replaced or withdrawn, so
        that its collateral comes free, and the last round of a product with positions or a standing on-chain order,
        so that they can be shown final.
        """
        number, cleared_at_s = due.product.number, due.cleared_at_s
        is_last = due.number == self._calendar.schedule(due.product.length).last_round(due.product)
        entries = self.book.entries(number, due.number, cleared_at_s)
        record = None
        if entries and self._is_published(due, entries, is_last):
            record = run_round(Round(number, due.number, cleared_at_s, self.book.last_auction_hash(number)), entries)
            self.book.keep(record, interval_of(cleared_at_s))
            self.book.move(record)
        if entries:
            self.book.release(number, due.number, cleared_at_s)
        if is_last:
            self.book.close(number)
        return record

    def _is_published(self, due: DueRound, entries: Sequence[Entry], is_last: bool) -> bool:
        number = due.product.number
        if any(entry.offered_wh(due.cleared_at_s) for entry in entries):
            return True
        if is_last and (
            self.book.positions(number) or self.book.has_forced_orders(number, due.number, due.cleared_at_s)
        ):
            return True
        return self.book.has_replaced_slots(number, entries, due.number)

    def run_spot(self, settled: int, deviations_wh: Mapping[int, int], price: int, cleared_at_s: int) -> AuctionRecord:
        """Trades the deviations of interval ``settled``; always published, also when nobody deviates.

        ``price`` is the community price, at which a shared spot round trades; an auctioned one finds its own.
        """
        this = Round(Product(settled, 1).number, SPOT_ROUND, cleared_at_s, NO_ROUND_BEFORE)
        if self._config.spot_rule == AuctionRule.SPOT_AUCTION:
            tariffs = (self._config.tariff_import, self._config.tariff_export)
            record = run_auctioned_round(this, deviations_wh, self.standing.valid_in(settled), tariffs)
        else:
            record = run_shared_round(this, deviations_wh, price)
        self.book.keep(record, interval_of(cleared_at_s))
        return record
