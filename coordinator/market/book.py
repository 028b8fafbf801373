"""The order book as tables: bids with their versions, positions, auctions and slots.

A higher version replaces a bid, quantity 0 cancels it; what is not filled rests until it expires. No version is ever
deleted: a round shows each account's newest bid that was promised for it, open or not.

``live`` is an account's newest bid while it is open. ``binds`` is a bid that a balance leaf may still have to cover:
from its arrival until a later round has come without it, because until then its slot is what was published last.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.batch import AuctionRecord
from contracts.codes import AuctionRule
from contracts.leaves import Slot
from contracts.messages import FORCED_VERSION, Auction, Bid
from coordinator.market.auctioneer import NO_ROUND_BEFORE, Entry
from coordinator.store.store import Store


class Book:
    """Bids, positions and results in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest_version(self, account: int, product: int) -> tuple[int, bytes, int] | None:
        """Version, bid hash and first round of the newest bid; None where there was none."""
        row = self._store.row(
            "SELECT version, hash, first_round FROM bids WHERE account = ? AND product = ?"
            " ORDER BY version DESC LIMIT 1",
            account, product,
        )  # fmt: skip
        return None if row is None else (row[0], bytes(row[1]), row[2])

    def versions(self, account: int, product: int) -> int:
        """How many bids of an account for a product were ever placed."""
        return self._store.integer("SELECT COUNT(*) FROM bids WHERE account = ? AND product = ?", account, product)

    def place(self, bid: Bid, signature: bytes, first_round: int, inbox_id: int) -> None:
        """Makes ``bid`` the newest one of its account and product."""
        self._store.run("UPDATE bids SET live = 0 WHERE account = ? AND product = ?", bid.account, bid.product)
        self._store.run(
            "INSERT INTO bids (account, product, version, side, quantity_wh, limit_price, expiry_s, hash, signature,"
            " first_round, live, inbox_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            bid.account, bid.product, bid.version, bid.side, bid.quantity_wh, bid.limit_price,
            bid.expiry_s, bid.struct_hash(), signature, first_round, int(bid.quantity_wh > 0), inbox_id,
        )  # fmt: skip

    def withdraw(self, account: int, version: int, at_s: int) -> None:
        """Notes that an order placed on chain was cancelled there at ``at_s``: no later round takes it."""
        self._store.run(
            "UPDATE bids SET live = 0, cancelled_at_s = ? WHERE account = ? AND version = ? AND cancelled_at_s IS NULL",
            at_s, account, version,
        )  # fmt: skip

    def entries(self, product: int, round_number: int, cleared_at_s: int) -> list[Entry]:
        """The newest bid promised for that round of everybody who ever bid for ``product``, in account order.

        Also those that are filled, cancelled or expired; positions only come from bids and ride along.
        """
        rows = self._store.rows(
            "SELECT account, MAX(version), side, quantity_wh, limit_price, expiry_s, filled_wh, signature,"
            " cancelled_at_s FROM bids WHERE product = ? AND first_round <= ? GROUP BY account ORDER BY account",
            product, round_number,
        )  # fmt: skip
        held = self.positions(product) if rows else {}
        entries = []
        for account, version, side, quantity, limit, expiry, filled, signature, cancelled_at_s in rows:
            position, cost = held.get(account, (0, 0))
            if cancelled_at_s is not None and cancelled_at_s <= cleared_at_s:
                entries.append(Entry(account, version, 0, 0, 0, 0, 0, position, cost, b""))
                continue
            bid = (account, version, side, quantity, limit, expiry, filled)
            entries.append(Entry(*bid, position, cost, bytes(signature)))
        return entries

    def has_replaced_slots(self, product: int, entries: Sequence[Entry], round_number: int) -> bool:
        """Whether a bid that earlier rounds showed open would be shown replaced or withdrawn by this one."""
        newest = {entry.account: entry for entry in entries}
        rows = self._store.rows(
            "SELECT account, version FROM bids WHERE product = ? AND binds = 1 AND first_round < ?"
            " AND quantity_wh > filled_wh",
            product, round_number,
        )  # fmt: skip
        return any(
            account in newest and (version < newest[account].version or newest[account].quantity_wh == 0)
            for account, version in rows
        )

    def has_forced_orders(self, product: int, round_number: int, cleared_at_s: int) -> bool:
        """Whether an order placed on chain for ``product`` still stands there at that instant."""
        row = self._store.row(
            "SELECT 1 FROM bids WHERE product = ? AND version >= ? AND first_round <= ?"
            " AND (cancelled_at_s IS NULL OR cancelled_at_s > ?) LIMIT 1",
            product, FORCED_VERSION, round_number, cleared_at_s,
        )  # fmt: skip
        return row is not None

    def positions(self, product: int) -> dict[int, tuple[int, int]]:
        """``{account: (position_wh, cost_nano)}`` per interval of the product."""
        rows = self._store.rows("SELECT account, position_wh, cost_nano FROM positions WHERE product = ?", product)
        return {a: (p, c) for a, p, c in rows}

    def last_auction_hash(self, product: int) -> bytes:
        """Struct hash of the newest forward round of ``product``; zero where there was none."""
        row = self._store.row(
            "SELECT hash FROM auctions WHERE product = ? AND rule = ? ORDER BY round DESC LIMIT 1",
            product, int(AuctionRule.FORWARD),
        )  # fmt: skip
        return NO_ROUND_BEFORE if row is None else bytes(row[0])

    def keep(self, record: AuctionRecord, header_interval: int) -> None:
        """Stores a result."""
        auction = record.auction
        self._store.run(
            "INSERT INTO auctions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            auction.product, auction.round, auction.rule, auction.cleared_at_s, header_interval, auction.price,
            auction.volume_wh, auction.struct_hash(), auction.pack(),
        )  # fmt: skip
        self._store.run_many(
            "INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (auction.product, auction.round, s.account, s.fill_wh, s.side, s.pack(), signature)
                for s, signature in zip(record.slots, record.signatures, strict=True)
            ],
        )

    def move(self, record: AuctionRecord) -> None:
        """Applies the fills of a forward round to bids and positions."""
        product = record.auction.product
        filled = [s for s in record.slots if s.fill_wh]
        self._store.run_many(
            "UPDATE bids SET filled_wh = filled_wh + ?, live = (live AND filled_wh + ? < quantity_wh)"
            " WHERE account = ? AND product = ? AND version = ?",
            [(s.fill_wh, s.fill_wh, s.account, product, s.version) for s in filled],
        )
        self._store.run_many(
            "INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT (product, account) DO UPDATE SET"
            " position_wh = excluded.position_wh, cost_nano = excluded.cost_nano",
            [(s.account, product, s.position_wh, s.position_cost_nano) for s in filled],
        )

    def release(self, product: int, round_number: int, cleared_at_s: int) -> None:
        """After a round: what it showed replaced or withdrawn binds nobody any more."""
        self._store.run(
            "UPDATE bids SET binds = 0 WHERE product = ? AND binds = 1 AND (cancelled_at_s <= ? OR version <"
            " (SELECT MAX(version) FROM bids AS newer WHERE newer.product = bids.product"
            " AND newer.account = bids.account AND newer.first_round <= ?))",
            product, cleared_at_s, round_number,
        )  # fmt: skip

    def close(self, product: int) -> None:
        """After gate closure nothing rests any more."""
        self._store.run("UPDATE bids SET live = 0, binds = 0 WHERE product = ? AND (live = 1 OR binds = 1)", product)

    def records_of_header(self, interval: int) -> list[AuctionRecord]:
        """The forward auctions that cleared in ``interval``, by product and round."""
        rows = self._store.rows(
            "SELECT auction FROM auctions WHERE header_interval = ? AND rule = 0 ORDER BY product, round", interval
        )
        return [self._record(Auction.unpack(row[0])) for row in rows]

    def _record(self, auction: Auction) -> AuctionRecord:
        rows = self._store.rows(
            "SELECT slot, signature FROM slots WHERE product = ? AND round = ? ORDER BY account",
            auction.product, auction.round,
        )  # fmt: skip
        slots = tuple(Slot.unpack(row[0]) for row in rows)
        return AuctionRecord(auction, slots, tuple(bytes(row[1]) for row in rows))
