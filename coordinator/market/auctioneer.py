"""Runs a round: open orders and positions in, a published auction with its slots out.

    entries in account order  →  columns  →  cleared fills  →  slots tree  →  AuctionRecord

The spot round runs through the same lines; there every deviation stands at the round's price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.batch import AuctionRecord
from contracts.eip712 import keccak
from contracts.leaves import Slot
from contracts.messages import Auction, AuctionRule, Side
from coordinator.market.clearing import ClearedRound, clear_round, clear_shared_round
from coordinator.market.slots_tree import SlotColumns, SlotsTree

NO_SIGNATURE = bytes(32)
_BID_COLUMNS = ("version", "side", "quantity_wh", "limit_price", "expiry_s", "filled_before_wh")
_COLUMNS = ("account", *_BID_COLUMNS, "position_wh", "position_cost_nano")

Columns = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One account in a round: its live bid, what of it is filled, and the position held before.

    ``version`` 0 and ``quantity_wh`` 0 where the account only carries a position. ``signature`` is empty for
    orders placed on chain and for deviations.
    """

    account: int
    version: int
    side: int
    quantity_wh: int
    limit_price: int
    expiry_s: int
    filled_before_wh: int
    position_wh: int
    position_cost_nano: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Round:
    """Which round is run. ``previous`` is the struct hash of the round before, or zero."""

    product: int
    number: int
    cleared_at_s: int
    previous: bytes


def run_round(this: Round, entries: Sequence[Entry]) -> AuctionRecord:
    """Clears a forward round over ``entries``, accounts strictly increasing.

    A bid that expired takes no part; its account keeps a slot only for the position.
    """
    live = [e if e.expiry_s >= this.cleared_at_s else _position_only(e) for e in entries]
    columns = _columns(live)
    open_wh = columns["quantity_wh"] - columns["filled_before_wh"]
    cleared = clear_round(columns["account"], columns["side"], open_wh, columns["limit_price"])
    return _published(this, AuctionRule.FORWARD, columns, cleared, [e.signature for e in live])


def run_shared_round(this: Round, deviations_wh: dict[int, int], price: int) -> AuctionRecord:
    """Trades the deviations ``{account: Wh}`` (positive: needs energy) among each other at ``price``."""
    entries = [
        Entry(account, 0, Side.BUY if wh > 0 else Side.SELL, abs(wh), price, 0, 0, 0, 0, b"")
        for account, wh in sorted(deviations_wh.items())
        if wh
    ]
    columns = _columns(entries)
    cleared = clear_shared_round(columns["account"], columns["side"], columns["quantity_wh"], price)
    return _published(this, AuctionRule.SPOT_SHARED, columns, cleared, [b""] * len(entries))


def _position_only(entry: Entry) -> Entry:
    return Entry(entry.account, 0, 0, 0, 0, 0, 0, entry.position_wh, entry.position_cost_nano, b"")


def _columns(entries: Sequence[Entry]) -> Columns:
    rows = np.array([[getattr(e, name) for name in _COLUMNS] for e in entries], np.int64).reshape(-1, len(_COLUMNS))
    return {name: rows[:, place].copy() for place, name in enumerate(_COLUMNS)}


def _published(
    this: Round, rule: AuctionRule, columns: Columns, cleared: ClearedRound, signatures: list[bytes]
) -> AuctionRecord:
    result = cleared.clearing
    signed_fill_wh = np.where(columns["side"] == Side.BUY, cleared.fill_wh, -cleared.fill_wh)
    position_wh = columns["position_wh"] + signed_fill_wh
    cost_nano = columns["position_cost_nano"] + signed_fill_wh * result.price
    hashes = [keccak(signature) if signature else NO_SIGNATURE for signature in signatures]
    after_bid = (cleared.fill_wh, position_wh, cost_nano)
    rows = zip(columns["account"], *(columns[name] for name in _BID_COLUMNS), *after_bid, strict=True)
    slots = tuple(_slot(this.product, [int(v) for v in row], h) for row, h in zip(rows, hashes, strict=True))
    tree = SlotsTree(
        SlotColumns(
            product=this.product,
            account=columns["account"],
            **{name: columns[name] for name in _BID_COLUMNS},
            fill_wh=cleared.fill_wh,
            position_wh=position_wh,
            position_cost_nano=cost_nano,
            signature_hash=np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        ),
        result.price,
        result.long_side,
    )
    auction = Auction(
        this.product, this.number, int(rule), this.cleared_at_s, result.price, result.lo, result.hi,
        result.lo_account, result.hi_account, result.volume_wh, result.marginal_wh, result.rationed_wh,
        int(result.long_side), tree.commitment, this.previous,
    )  # fmt: skip
    return AuctionRecord(auction, slots, tuple(signatures))


def _slot(product: int, values: list[int], signature_hash: bytes) -> Slot:
    account, version, side, quantity, limit, expiry, filled_before, fill, position, cost = values
    return Slot(
        account, product, version, side, quantity, limit, expiry, filled_before, fill, position, cost, signature_hash
    )
