"""The settlement room's task for the switchboard: settle an interval and close the header that carries it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.batch import AuctionRecord, BatchRecord
from contracts.eip712 import keccak
from contracts.messages import Bid, Header
from contracts.signature import Signer
from coordinator.config import MarketConfig
from coordinator.settlement.collateral import Collateral
from coordinator.settlement.header import HeaderChain, batch_record, header_of
from coordinator.settlement.ledger import Ledger, MeteredAccount
from coordinator.store.store import Store


@dataclass(frozen=True, slots=True)
class ClosedHeader:
    """A header with the operator's signature and the record it commits to, with the record's published bytes."""

    header: Header
    signature: bytes
    record: BatchRecord
    record_bytes: bytes


class Settlement:
    """Ledger and header chain over the store."""

    def __init__(self, store: Store, config: MarketConfig, sign: Signer) -> None:
        self.ledger = Ledger(store, config)
        self.collateral = Collateral(store, config)
        self.headers = HeaderChain(store, config.domain)
        self._store = store
        self._config = config
        self._sign = sign

    def covers(self, bid: Bid) -> bool:
        """Whether deposit and results cover one more bid at its worst."""
        return self.collateral.covers(bid)

    def close(
        self,
        interval: int,
        metered: list[MeteredAccount],
        spot: AuctionRecord,
        forward: Sequence[AuctionRecord],
        price_inputs: dict[str, int],
    ) -> ClosedHeader:
        """Settles ``interval - grace`` and builds, signs and keeps header ``interval``."""
        settled = interval - self._config.grace
        self.ledger.settle(settled, metered, spot)
        self.ledger.forget_delivered(settled)
        self._store.set_mark("settled_interval", settled)
        lists = self.collateral.lists(interval, settled, forward)
        balances = self.ledger.balance_leaves(settled, lists)
        record = batch_record(interval, spot, forward, metered, balances, lists, price_inputs)
        packed = record.to_bytes()
        header = header_of(record, keccak(packed), self.headers.previous_digest(), self._config)
        signature = self.headers.keep(header, self._sign, packed)
        return ClosedHeader(header, signature, record, packed)
