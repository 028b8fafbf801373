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
from contracts.commitments import Commitment, unpack_commitments
from contracts.eip712 import LocalValueError, keccak
from contracts.header_rules import auction_node
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, slot_node
from contracts.merkle import AUCTIONS_DEPTH, SUM_BYTES, MerkleSumTree
from contracts.messages import ACCOUNT_LIMIT, Auction

RECORD_VERSION = 2


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
        return MerkleSumTree({s.account: slot_node(s, self.auction) for s in self.slots})


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """All that a header commits to, but the header itself.

    ``readings`` are the packed envelopes of the readings behind the meters, in the order of ``meters``; empty where
    an account's registers are carried over because no reading came in time. ``commitments`` are the lists behind the
    reserves, in the order of ``balances``.
    """

    interval: int
    auctions: tuple[AuctionRecord, ...]
    meters: tuple[MeterLeaf, ...]
    readings: tuple[bytes, ...]
    balances: tuple[BalanceLeaf, ...]
    commitments: tuple[tuple[Commitment, ...], ...] = ()
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
            "commitments": ["0x" + b"".join(c.pack() for c in listed).hex() for listed in self.commitments],
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
        read = cls(
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
            tuple(unpack_commitments(bytes.fromhex(packed[2:])) for packed in document["commitments"]),
            {str(k): int(v) for k, v in document["price_inputs"].items()},
        )
        read._check_trees()
        return read

    def _check_trees(self) -> None:
        """Raises RemoteRecordError where no trees can stand over this: leaves beyond them, sums beyond 128 bits."""
        accounts = [slot.account for record in self.auctions for slot in record.slots]
        accounts += [leaf.account for leaf in self.meters] + [leaf.account for leaf in self.balances]
        moved_nano = sum(abs(leaf.cumulative_nano) for leaf in self.balances)
        beyond = max(accounts, default=0) >= ACCOUNT_LIMIT
        if beyond or len(self.auctions) > 1 << AUCTIONS_DEPTH or moved_nano >> 8 * SUM_BYTES:
            raise RemoteRecordError("the record does not fit into its trees")
