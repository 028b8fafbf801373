"""Closes an interval: the public record of everything in it, and the header that commits to the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.batch import AuctionRecord, BatchRecord
from contracts.commitments import Commitment
from contracts.eip712 import Domain
from contracts.header_rules import FIRST_HEADER_PREVIOUS, header_digest
from contracts.leaves import BalanceLeaf
from contracts.messages import Header
from contracts.signature import Signer
from coordinator.config import MarketConfig
from coordinator.settlement.ledger import MeteredAccount
from coordinator.store.store import Store


def batch_record(
    interval: int,
    spot: AuctionRecord,
    forward: Sequence[AuctionRecord],
    metered: Sequence[MeteredAccount],
    balances: Sequence[BalanceLeaf],
    commitments: Mapping[int, tuple[Commitment, ...]],
    price_inputs: dict[str, int],
) -> BatchRecord:
    """The record of header ``interval``: the spot round first, the forward auctions by product and round."""
    ordered = sorted(forward, key=lambda r: (r.auction.product, r.auction.round))
    return BatchRecord(
        interval,
        (spot, *ordered),
        tuple(m.leaf for m in metered),
        tuple(m.reading for m in metered),
        tuple(balances),
        tuple(commitments.get(leaf.account, ()) for leaf in balances),
        price_inputs,
    )


def header_of(record: BatchRecord, data_hash: bytes, previous: bytes, market: MarketConfig) -> Header:
    """The header that commits to ``record``, whose bytes hash to ``data_hash``, after the header ``previous``."""
    auctions = record.auctions_tree()
    return Header(
        record.interval,
        previous,
        auctions.commitment,
        record.meters_tree().commitment,
        record.balances_tree().commitment,
        data_hash,
        market.tariff_import,
        market.tariff_export,
        record.auctions[0].auction.price,
        auctions.root.a,
    )


class HeaderChain:
    """The headers in the store. ``state`` is built, posted, final or voided."""

    def __init__(self, store: Store, domain: Domain) -> None:
        self._store = store
        self._domain = domain

    def tip(self) -> tuple[int, bytes] | None:
        """Interval and digest of the newest header; None before the first."""
        row = self._store.row("SELECT interval, digest FROM headers ORDER BY interval DESC LIMIT 1")
        return None if row is None else (row[0], bytes(row[1]))

    def previous_digest(self) -> bytes:
        """What the next header carries as ``previous``."""
        tip = self.tip()
        return FIRST_HEADER_PREVIOUS if tip is None else tip[1]

    def keep(self, header: Header, sign: Signer, record: bytes) -> bytes:
        """Stores a built header with its record; the operator's signature over it."""
        digest = header_digest(header, self._domain)
        signature = sign(digest)
        self._store.run(
            "INSERT INTO headers (interval, header, digest, signature, record, state) VALUES (?, ?, ?, ?, ?, 'built')",
            header.interval, header.pack(), digest, signature, record,
        )  # fmt: skip
        return signature

    def posted(self, index: int, digest: bytes, posted_at_s: int, gas: int) -> bool:
        """Notes that a header stands on the chain; False for a header that is not ours."""
        changed = self._store.run(
            "UPDATE headers SET state = 'posted', chain_index = ?, posted_at_s = ?, gas = ?"
            " WHERE digest = ? AND state IN ('built', 'posted')",
            index, posted_at_s, gas, digest,
        )  # fmt: skip
        return changed > 0

    def finalised(self, index: int) -> None:
        """Notes that the header at ``index`` and all before it are final."""
        self._store.run("UPDATE headers SET state = 'final' WHERE chain_index <= ? AND state = 'posted'", index)

    def voided(self, index: int) -> None:
        """Notes that the header at ``index`` and all after it were voided."""
        self._store.run("UPDATE headers SET state = 'voided' WHERE chain_index >= ?", index)

    def unposted(self) -> list[Header]:
        """Headers that are built but not on the chain, in order: what a restart submits again."""
        rows = self._store.rows("SELECT header FROM headers WHERE state = 'built' ORDER BY interval")
        return [Header.unpack(row[0]) for row in rows]
