"""What accounts may still owe: the lists behind the published reserves, and the cash that is free for another bid.

    slots of a header's last rounds  →  commitments by product  →  lists of the balance leaves

The published list follows from published slots alone (``contracts.commitments``). Acceptance looks further: it also
counts bids that no round has shown yet, and goes on counting a replaced or cancelled one until a round has shown it
gone. So no later header can reserve more than what was covered when the newest bid was taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.batch import AuctionRecord
from contracts.commitments import (
    Commitment,
    bid_reserve_nano,
    carried,
    commitment_of,
    intervals_left,
    listed,
    position_reserve_nano,
)
from contracts.interval import Product
from contracts.messages import Bid
from contracts.round_rules import closing_interval
from coordinator.config import MarketConfig
from coordinator.store.store import Store


class Collateral:
    """Commitments and free cash in the store."""

    def __init__(self, store: Store, market: MarketConfig) -> None:
        self._store = store
        self._market = market

    # -- published ---------------------------------------------------------------------------------------------

    def lists(self, interval: int, settled: int, forward: Sequence[AuctionRecord]) -> dict[int, tuple[Commitment, ...]]:
        """Moves all commitments on to header ``interval``, whose auctions are ``forward``; the list of each account.

        ``forward`` is in order of rounds. The tariff is this header's: it values what clears in it, the rest keeps
        the value that it had.
        """
        last = {record.auction.product: record for record in forward}
        before = {
            (number, account): Commitment(number, bid_nano, interval_nano)
            for number, account, bid_nano, interval_nano in self._store.rows("SELECT * FROM commitments")
        }
        after: dict[tuple[int, int], Commitment] = {}
        for (number, account), commitment in before.items():
            if number not in last:
                is_closed = self._is_closed(Product.from_number(number), interval)
                after[number, account] = carried(commitment, is_closed, settled)
        for number, record in last.items():
            product = Product.from_number(number)
            is_closed = self._is_closed(product, interval)
            for slot in record.slots:
                after[number, slot.account] = commitment_of(
                    slot, product, is_closed, self._market.tariff_import, settled
                )
        self._keep(before, {key: c for key, c in after.items() if c.bid_nano or c.interval_nano})
        of_account: dict[int, list[Commitment]] = {}
        for (_, account), commitment in after.items():
            of_account.setdefault(account, []).append(commitment)
        lists = {account: listed(commitments) for account, commitments in of_account.items()}
        return {account: commitments for account, commitments in lists.items() if commitments}

    def _is_closed(self, product: Product, interval: int) -> bool:
        return closing_interval(product, self._market.terms.gate_leads) <= interval

    def _keep(self, before: dict[tuple[int, int], Commitment], after: dict[tuple[int, int], Commitment]) -> None:
        self._store.run_many(
            "DELETE FROM commitments WHERE product = ? AND account = ?", [key for key in before if key not in after]
        )
        self._store.run_many(
            "INSERT INTO commitments VALUES (?, ?, ?, ?) ON CONFLICT (product, account) DO UPDATE SET"
            " bid_nano = excluded.bid_nano, interval_nano = excluded.interval_nano",
            [(*key, c.bid_nano, c.interval_nano) for key, c in after.items() if before.get(key) != c],
        )

    # -- before a receipt --------------------------------------------------------------------------------------

    def covers(self, bid: Bid) -> bool:
        """Whether deposit and results cover ``bid``; of its product only the dearest version counts."""
        length = Product.from_number(bid.product).length
        needed = bid_reserve_nano(bid.side, bid.quantity_wh, bid.limit_price, length, self._market.tariff_import)
        bound = self._bound_nano(bid.account)
        more = max(0, needed - bound.get(bid.product, 0))
        return more <= self._cash_nano(bid.account) - sum(bound.values()) - self._held_nano(bid.account)

    def products_of(self, account: int) -> set[int]:
        """Products that the account's list may name in a header to come."""
        rows = self._store.rows(
            "SELECT product FROM bids WHERE account = ? AND binds = 1 AND quantity_wh > 0"
            " UNION SELECT product FROM positions WHERE account = ?"
            " UNION SELECT product FROM commitments WHERE account = ?",
            account, account, account,
        )  # fmt: skip
        return {row[0] for row in rows}

    def _cash_nano(self, account: int) -> int:
        return self._store.integer(
            "SELECT p.deposited_nano - p.withdrawn_nano + COALESCE(b.cumulative_nano, 0) FROM participants p"
            " LEFT JOIN balances b USING (account) WHERE account = ?",
            account,
        )

    def _bound_nano(self, account: int) -> dict[int, int]:
        """``{product: worst cost}`` of the dearest bid that binds."""
        bound: dict[int, int] = {}
        rows = self._store.rows(
            "SELECT product, side, quantity_wh - filled_wh, limit_price FROM bids WHERE account = ? AND binds = 1",
            account,
        )
        for number, side, open_wh, limit_price in rows:
            length = Product.from_number(number).length
            nano = bid_reserve_nano(side, open_wh, limit_price, length, self._market.tariff_import)
            bound[number] = max(nano, bound.get(number, 0))
        return bound

    def _held_nano(self, account: int) -> int:
        """Worst cost of all positions over the intervals that are not settled."""
        settled = self._store.mark("settled_interval", -1)
        rows = self._store.rows("SELECT product, position_wh, cost_nano FROM positions WHERE account = ?", account)
        return sum(
            position_reserve_nano(wh, cost, self._market.tariff_import)
            * intervals_left(Product.from_number(number), settled)
            for number, wh, cost in rows
        )
