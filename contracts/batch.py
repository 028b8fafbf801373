"""The public record of one header: everything from which anybody recomputes it, as canonical JSON.

``data_hash`` in the header is the keccak of these bytes, so the record is fixed by what is posted. It holds every
auction with all slots and signatures, every meter leaf with the signed reading behind it, every balance, and the
inputs of the community price. Envelopes and signatures travel as 0x-hex.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from contracts.bounded_json import load_json
from contracts.eip712 import LocalValueError, keccak
from contracts.header_rules import auction_node
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import AUCTIONS_DEPTH, MerkleSumTree
from contracts.messages import Auction

RECORD_VERSION = 1


class RemoteRecordError(Exception):
    """A published record cannot be read: the publisher's fault."""


@dataclass(frozen=True, slots=True)
class AuctionRecord:
    """An auction with its slots in account order, and the signature behind every signed slot."""

    auction: Auction
    slots: tuple[Slot, ...]
    signatures: tuple[bytes, ...]

    def tree(self) -> MerkleSumTree:
        """The slots tree."""
        return MerkleSumTree({s.account: s.node(self.auction.price, self.auction.long_side) for s in self.slots})


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """All that a header commits to, but the header itself.

    ``readings`` are the packed envelopes of the readings behind the meters, in the order of ``meters``; empty where
    an account's registers are carried over because no reading came in time.
    """

    interval: int
    auctions: tuple[AuctionRecord, ...]
    meters: tuple[MeterLeaf, ...]
    readings: tuple[bytes, ...]
    balances: tuple[BalanceLeaf, ...]
    price_inputs: dict[str, int] = field(default_factory=dict)

    def auctions_tree(self) -> MerkleSumTree:
        """The auctions tree: leaf 0 the spot round, then by product and round."""
        return MerkleSumTree({i: auction_node(r.auction) for i, r in enumerate(self.auctions)}, AUCTIONS_DEPTH)

    def meters_tree(self) -> MerkleSumTree:
        """The meters tree."""
        return MerkleSumTree({leaf.account: leaf.node() for leaf in self.meters})

    def balances_tree(self) -> MerkleSumTree:
        """The balances tree."""
        return MerkleSumTree({leaf.account: leaf.node() for leaf in self.balances})

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII."""
        document = {
            "version": RECORD_VERSION,
            "interval": self.interval,
            "auctions": [
                {
                    "auction": r.auction.to_json(),
                    "slots": [s.to_json() for s in r.slots],
                    "signatures": ["0x" + s.hex() for s in r.signatures],
                }
                for r in self.auctions
            ],
            "meters": [m.to_json() for m in self.meters],
            "readings": ["0x" + r.hex() for r in self.readings],
            "balances": [b.to_json() for b in self.balances],
            "price_inputs": self.price_inputs,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @property
    def data_hash(self) -> bytes:
        """What the header commits to."""
        return keccak(self.to_bytes())

    @classmethod
    def from_bytes(cls, record: bytes) -> BatchRecord:
        """The record of those bytes. Raises RemoteRecordError when they are none, or not canonical."""
        try:
            document = load_json(record)
            read = cls._from_document(document)
        except (ValueError, KeyError, TypeError, LocalValueError) as error:
            raise RemoteRecordError(f"not a batch record: {error}") from error
        if read.to_bytes() != record:
            raise RemoteRecordError("the record is not in canonical form")
        return read

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> BatchRecord:
        if document["version"] != RECORD_VERSION:
            raise RemoteRecordError(f"record version {document['version']} is unknown")
        return cls(
            int(document["interval"]),
            tuple(
                AuctionRecord(
                    Auction.from_json(r["auction"]),
                    tuple(Slot.from_json(s) for s in r["slots"]),
                    tuple(bytes.fromhex(s[2:]) for s in r["signatures"]),
                )
                for r in document["auctions"]
            ),
            tuple(MeterLeaf.from_json(m) for m in document["meters"]),
            tuple(bytes.fromhex(r[2:]) for r in document["readings"]),
            tuple(BalanceLeaf.from_json(b) for b in document["balances"]),
            {str(k): int(v) for k, v in document["price_inputs"].items()},
        )
