"""The order desk: where market rules, collateral and gate meet before a bid gets its receipt."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.interval import Product
from contracts.messages import FORCED_VERSION, Bid, StandingOrder
from coordinator.config import MarketConfig
from coordinator.ingest import Refusal, order_refusal
from coordinator.market.rounds import Market
from coordinator.settlement.reserve import bid_reserve_nano
from coordinator.settlement.settlement import Settlement
from coordinator.store.store import Store

VERSIONS_A_PRODUCT = 1_000
"""Bids of one account for one product: one for every round of a day ahead, and some. More is a flood."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An order that stands. ``is_new`` is False for one that is here already and only gets its receipt again."""

    is_new: bool
    first_round: int


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
        newest = self._market.book.newest_version(bid.account, bid.product)
        if newest is not None and bid.version <= newest[0]:
            same = bid.version == newest[0] and bid.struct_hash() == newest[1]
            return Verdict(False, newest[2]) if same else Refusal.STALE_VERSION
        if self._market.book.versions(bid.account, bid.product) >= VERSIONS_A_PRODUCT:
            return Refusal.BEYOND_LIMIT
        refusal = order_refusal(bid, self._config, now_s)
        if refusal is not None:
            return refusal
        first_round = self._market.first_round(bid, now_s)
        if first_round is None:
            return Refusal.GATE_CLOSED
        length = Product.from_number(bid.product).length
        freed = self._freed_nano(bid.account, bid.product, length)
        if bid.quantity_wh and not self._settlement.covers(
            bid.account, bid.side, bid.quantity_wh, bid.limit_price, length, freed
        ):
            return Refusal.BEYOND_COLLATERAL
        return Verdict(True, first_round)

    def _freed_nano(self, account: int, product: int, length: int) -> int:
        row = self._store.row(
            "SELECT side, quantity_wh - filled_wh, limit_price FROM bids"
            " WHERE account = ? AND product = ? AND live = 1",
            account, product,
        )  # fmt: skip
        if row is None:
            return 0
        side, open_wh, limit = (value for value in row)
        return bid_reserve_nano(side, open_wh, limit, length, self._config.tariff_import)

    def _judge_standing(self, order: StandingOrder) -> Verdict | Refusal:
        row = self._store.row("SELECT version, hash FROM standing_orders WHERE account = ?", order.account)
        if row is None or order.version > row[0]:
            return Verdict(True, 0)
        return Verdict(False, 0) if row[1] == order.struct_hash() else Refusal.STALE_VERSION

    def accept(self, order: Bid | StandingOrder, signature: bytes, first_round: int, inbox_id: int) -> None:
        """Places an order that was judged to stand."""
        if isinstance(order, Bid):
            self._market.book.place(order, signature, first_round, inbox_id)
            return
        self._store.run(
            "INSERT INTO standing_orders VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account) DO UPDATE SET"
            " version = excluded.version, max_buy_price = excluded.max_buy_price,"
            " min_sell_price = excluded.min_sell_price, valid_from_s = excluded.valid_from_s,"
            " valid_until_s = excluded.valid_until_s, hash = excluded.hash, inbox_id = excluded.inbox_id",
            order.account, order.version, order.max_buy_price, order.min_sell_price, order.valid_from_s,
            order.valid_until_s, order.struct_hash(), inbox_id,
        )  # fmt: skip

    def force(self, bid: Bid, now_s: int) -> bool:
        """Places an order from the chain; False when its gate is closed already or it is here."""
        newest = self._market.book.newest_version(bid.account, bid.product)
        first_round = self._market.first_round(bid, now_s)
        if first_round is None or (newest is not None and newest[0] >= bid.version):
            return False
        self._market.book.place(bid, b"", first_round, 0)
        return True

    def cancel_forced(self, order_id: int) -> None:
        """Takes an order from the chain out of all coming rounds; what was filled stays filled."""
        self._market.book.cancel(FORCED_VERSION | order_id)
