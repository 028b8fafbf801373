"""The order desk: where market rules, collateral and gate meet before an order gets its receipt.

A receipt is a promise that anybody can hold against the operator, so it only names a round that was not run yet: the
first one after both the clock and the newest instant until which rounds were cleared.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.commitments import COMMITMENTS_LIMIT
from contracts.interval import INTERVAL_S, Product
from contracts.messages import FORCED_VERSION, Bid, Receipt, StandingOrder
from coordinator.config import MarketConfig
from coordinator.ingest import Refusal, order_refusal
from coordinator.market.rounds import Market
from coordinator.settlement.settlement import Settlement
from coordinator.store.store import Store

VERSIONS_A_PRODUCT = 1_000
"""Bids of one account for one product: one for every round of a day ahead, and some. More is a flood."""

ACCOUNT_SHIFT = 32
"""An on-chain order's number is its account, then its account's own count of orders in the lower 32 bits."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An order that stands, and what its receipt promises.

    ``is_new`` is False for one that is here already and only gets its receipt again. ``first`` is the first round of
    a bid, and the first header of a standing order.
    """

    is_new: bool
    first: int
    receipt: Receipt


class OrderDesk:
    """Judges orders, then places them in the book."""

    def __init__(self, store: Store, config: MarketConfig, market: Market, settlement: Settlement) -> None:
        self._store = store
        self._config = config
        self._market = market
        self._settlement = settlement

    def judge(self, order: Bid | StandingOrder, now_s: int) -> Verdict | Refusal:
        """Whether ``order`` may stand. Changes nothing."""
        return self._judge_bid(order, now_s) if isinstance(order, Bid) else self._judge_standing(order)

    def _judge_bid(self, bid: Bid, now_s: int) -> Verdict | Refusal:
        book, product = self._market.book, Product.from_number(bid.product)
        newest = book.newest_version(bid.account, bid.product)
        if newest is not None and bid.version <= newest[0]:
            same = bid.version == newest[0] and bid.struct_hash() == newest[1]
            return self._bid_verdict(bid, False, newest[2]) if same else Refusal.STALE_VERSION
        if book.versions(bid.account, bid.product) >= VERSIONS_A_PRODUCT:
            return Refusal.BEYOND_LIMIT
        after_s = self._not_cleared_before_s(now_s)
        refusal = order_refusal(bid, self._config, now_s)
        if refusal is not None:
            return refusal
        first_round = self._market.first_round(product, after_s)
        if first_round is None:
            return Refusal.GATE_CLOSED
        if bid.quantity_wh and not self._settlement.covers(bid):
            return Refusal.BEYOND_COLLATERAL
        if bid.quantity_wh:
            committed = self._settlement.collateral.products_of(bid.account)
            if len(committed) >= COMMITMENTS_LIMIT and bid.product not in committed:
                return Refusal.TOO_MANY_PRODUCTS
        return self._bid_verdict(bid, True, first_round)

    def _bid_verdict(self, bid: Bid, is_new: bool, first_round: int) -> Verdict:
        clears_at_s = self._market.clears_at_s(Product.from_number(bid.product), first_round)
        receipt = Receipt(bid.account, bid.product, bid.version, bid.struct_hash(), first_round, clears_at_s)
        return Verdict(is_new, first_round, receipt)

    def _judge_standing(self, order: StandingOrder) -> Verdict | Refusal:
        newest = self._market.standing.newest(order.account)
        if newest is not None and order.version <= newest[0]:
            same = order.version == newest[0] and order.struct_hash() == newest[1]
            return self._standing_verdict(order, False, newest[2]) if same else Refusal.STALE_VERSION
        next_header = self._store.mark("next_header")
        if self._market.standing.is_full(order.account, order, next_header):
            return Refusal.BEYOND_LIMIT
        return self._standing_verdict(order, True, next_header)

    @staticmethod
    def _standing_verdict(order: StandingOrder, is_new: bool, first_header: int) -> Verdict:
        receipt = Receipt(order.account, 0, order.version, order.struct_hash(), 0, spot_clears_at_s(first_header))
        return Verdict(is_new, first_header, receipt)

    def _not_cleared_before_s(self, now_s: int) -> int:
        return max(now_s, self._store.mark("cleared_until_s", now_s))

    def accept(self, order: Bid | StandingOrder, signature: bytes, first: int, inbox_id: int) -> None:
        """Places an order that was judged to stand."""
        if isinstance(order, Bid):
            self._market.book.place(order, signature, first, inbox_id)
        else:
            self._market.standing.place(order, signature, first, inbox_id)

    def force(self, bid: Bid, now_s: int) -> bool:
        """Places an order from the chain; False when its gate is closed already or it is here.

        It takes part from the first round that was not run yet, also where that one is due: after a time without the
        chain an order must not miss its gate for coming to our ears late.
        """
        newest = self._market.book.newest_version(bid.account, bid.product)
        cleared_until_s = self._store.mark("cleared_until_s", -1)
        after_s = cleared_until_s if cleared_until_s >= 0 else now_s
        first_round = self._market.first_round(Product.from_number(bid.product), after_s)
        if first_round is None or (newest is not None and newest[0] >= bid.version):
            return False
        self._market.book.place(bid, b"", first_round, 0)
        return True

    def cancel_forced(self, order_id: int, at_s: int) -> None:
        """Takes an order from the chain out of all rounds that clear from ``at_s`` on; what was filled stays filled."""
        account, nonce = divmod(order_id, 1 << ACCOUNT_SHIFT)
        self._market.book.withdraw(account, FORCED_VERSION | nonce, at_s)


def spot_clears_at_s(header_interval: int) -> int:
    """Instant of the spot round that stands in the header of that interval: the interval's last second."""
    return (header_interval + 1) * INTERVAL_S - 1
