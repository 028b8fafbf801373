"""The order book as tables: bids with their versions, positions, auctions and slots.

One live bid per account and product; a higher version replaces it, quantity 0 cancels it. What is not filled rests
until it expires.
"""

from __future__ import annotations

from contracts.batch import AuctionRecord
from contracts.leaves import Slot
from contracts.messages import Auction, Bid
from coordinator.market.auctioneer import Entry
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
        """Makes ``bid`` the live one of its account and product."""
        self._store.run("UPDATE bids SET live = 0 WHERE account = ? AND product = ?", bid.account, bid.product)
        self._store.run(
            "INSERT INTO bids (account, product, version, side, quantity_wh, limit_price, expiry_s, hash, signature,"
            " first_round, live, inbox_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            bid.account, bid.product, bid.version, bid.side, bid.quantity_wh, bid.limit_price,
            min(bid.expiry_s, 2**63 - 1), bid.struct_hash(), signature, first_round, int(bid.quantity_wh > 0), inbox_id,
        )  # fmt: skip

    def cancel(self, version: int) -> None:
        """Ends the order with that version; for versions that exist once, those of orders placed on chain."""
        self._store.run("UPDATE bids SET live = 0 WHERE version = ? AND live = 1", version)

    def entries(self, product: int, round_number: int) -> list[Entry]:
        """Everybody with a live bid from ``round_number`` or before, or a position, in account order."""
        rows = self._store.rows(
            "SELECT account, version, side, quantity_wh, limit_price, expiry_s, filled_wh, signature FROM bids"
            " WHERE product = ? AND live = 1 AND first_round <= ?",
            product, round_number,
        )  # fmt: skip
        bids = {r[0]: r[1:] for r in rows}
        held = self.positions(product)
        entries = []
        for account in sorted({*bids, *held}):
            version, side, quantity, limit, expiry, filled, signature = bids.get(account, (0, 0, 0, 0, 0, 0, b""))
            position, cost = held.get(account, (0, 0))
            entries.append(Entry(account, version, side, quantity, limit, expiry, filled, position, cost, signature))
        return entries

    def has_open_orders(self, product: int, round_number: int) -> bool:
        """Whether a live bid takes part in that round."""
        return (
            self._store.row(
                "SELECT 1 FROM bids WHERE product = ? AND live = 1 AND first_round <= ? LIMIT 1", product, round_number
            )
            is not None
        )

    def positions(self, product: int) -> dict[int, tuple[int, int]]:
        """``{account: (position_wh, cost_nano)}`` per interval of the product."""
        rows = self._store.rows("SELECT account, position_wh, cost_nano FROM positions WHERE product = ?", product)
        return {a: (p, c) for a, p, c in rows}

    def last_auction_hash(self, product: int) -> bytes:
        """Struct hash of the newest round of ``product``; zero where there was none."""
        row = self._store.row("SELECT hash FROM auctions WHERE product = ? ORDER BY round DESC LIMIT 1", product)
        return bytes(32) if row is None else bytes(row[0])

    def keep(self, record: AuctionRecord, header_interval: int) -> None:
        """Stores a result; fills move bids and, in forward rounds, positions."""
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
            "UPDATE bids SET filled_wh = filled_wh + ?, live = (filled_wh + ? < quantity_wh)"
            " WHERE account = ? AND product = ? AND version = ?",
            [(s.fill_wh, s.fill_wh, s.account, product, s.version) for s in filled],
        )
        self._store.run_many(
            "INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT (product, account) DO UPDATE SET"
            " position_wh = excluded.position_wh, cost_nano = excluded.cost_nano",
            [(s.account, product, s.position_wh, s.position_cost_nano) for s in filled],
        )

    def close(self, product: int) -> None:
        """After gate closure nothing rests any more."""
        self._store.run("UPDATE bids SET live = 0 WHERE product = ? AND live = 1", product)

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
