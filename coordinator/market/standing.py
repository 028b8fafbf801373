"""Standing orders: the limits under which homes join the spot rounds, with every version that may still count.

An interval is traded at the highest version that was valid when it began. A later version that begins tomorrow, or
has ended, leaves the one before in force: its receipt still stands.
"""

from __future__ import annotations

from contracts.interval import interval_start_s
from contracts.messages import StandingOrder
from coordinator.market.auctioneer import SignedStandingOrder
from coordinator.store.store import Store

STANDING_LIMIT = 32
"""Orders of one account that may still count: one in force and a month of days to come. More is a flood."""
_NEVER_S = 2**63
"""When an order without an end ends: beyond every time that a message can carry."""


class StandingOrders:
    """The standing orders in the store. ``grace`` is how many intervals a header settles late."""

    def __init__(self, store: Store, grace: int) -> None:
        self._store = store
        self._grace = grace

    def newest(self, account: int) -> tuple[int, bytes, int] | None:
        """Version, hash and first header of an account's newest order; None where there was none."""
        row = self._store.row(
            "SELECT version, hash, first_header FROM standing_orders WHERE account = ? ORDER BY version DESC LIMIT 1",
            account,
        )
        return None if row is None else (row[0], bytes(row[1]), row[2])

    def is_full(self, account: int, after: StandingOrder, next_header: int) -> bool:
        """Whether ``after`` would be one order too many that may still count."""
        kept = [o for o in self._of(account) if not self._is_spent(o, after, next_header)]
        return len(kept) >= STANDING_LIMIT

    def place(self, order: StandingOrder, signature: bytes, first_header: int, inbox_id: int) -> None:
        """Keeps ``order``, which counts from the spot round of ``first_header`` on; forgets what never counts again."""
        for old in self._of(order.account):
            if self._is_spent(old, order, first_header):
                self._store.run(
                    "DELETE FROM standing_orders WHERE account = ? AND version = ?", old.account, old.version
                )
        self._store.run(
            "INSERT INTO standing_orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            order.account, order.version, order.valid_from_s, order.valid_until_s, order.pack(), signature,
            order.struct_hash(), first_header, inbox_id,
        )  # fmt: skip

    def valid_in(self, interval: int) -> dict[int, SignedStandingOrder]:
        """The order of every home that was in force when ``interval`` began."""
        start_s = interval_start_s(interval)
        rows = self._store.rows(
            "SELECT account, MAX(version), terms, signature FROM standing_orders WHERE valid_from_s <= ?"
            " AND (valid_until_s = 0 OR valid_until_s > ?) GROUP BY account",
            start_s, start_s,
        )  # fmt: skip
        return {row[0]: SignedStandingOrder(StandingOrder.unpack(row[2]), bytes(row[3])) for row in rows}

    def _of(self, account: int) -> list[StandingOrder]:
        rows = self._store.rows("SELECT terms FROM standing_orders WHERE account = ?", account)
        return [StandingOrder.unpack(row[0]) for row in rows]

    def _is_spent(self, old: StandingOrder, new: StandingOrder, next_header: int) -> bool:
        """Whether ``old`` is over for every spot round to come, or ``new`` stands in its place throughout."""
        from_s = max(old.valid_from_s, interval_start_s(next_header - self._grace))
        ends_s, new_ends_s = (o.valid_until_s or _NEVER_S for o in (old, new))
        return ends_s <= from_s or (new.valid_from_s <= from_s and ends_s <= new_ends_s)
