"""Runs a round: newest bids and positions in, a published auction with its slots out.

    entries in account order  →  columns  →  cleared fills  →  slots tree  →  AuctionRecord

The spot round runs through the same lines; there every deviation stands at the round's price, or, where the market
auctions its spot, at the limit of its home's standing order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.batch import AuctionRecord
from contracts.codes import AuctionRule, Side
from contracts.eip712 import keccak
from contracts.leaves import Slot
from contracts.messages import Auction, StandingOrder
from coordinator.market.clearing import ClearedRound, clear_round, clear_shared_round
from coordinator.market.slots_tree import SlotColumns, SlotsTree

NO_SIGNATURE = bytes(32)
NO_ROUND_BEFORE = bytes(32)
"""``previous`` of a product's first round, and of every spot round."""
_BID_COLUMNS = ("version", "side", "quantity_wh", "limit_price", "expiry_s", "filled_before_wh")
_COLUMNS = ("account", *_BID_COLUMNS, "position_wh", "position_cost_nano")

Columns = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One account in a round: its newest bid, what of it is filled, and the position held before.

    An order from the chain that was cancelled there keeps its version alone, every other field of the bid is zero.
    ``signature`` is empty for orders placed on chain and for deviations of homes without a standing order.
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

    def offered_wh(self, cleared_at_s: int) -> int:
        """Quantity that takes part in a round that clears then: nothing of a bid that has expired."""
        return self.quantity_wh - self.filled_before_wh if self.expiry_s >= cleared_at_s else 0


@dataclass(frozen=True, slots=True)
class SignedStandingOrder:
    """A home's standing order with its signature."""

    order: StandingOrder
    signature: bytes

    @property
    def evidence(self) -> bytes:
        """What a record publishes in the place of a signature: the packed order, then the signature over it."""
        return self.order.pack() + self.signature

    @property
    def commitment(self) -> bytes:
        """What a spot slot carries as ``signature_hash``: order and signature, both fixed."""
        return keccak(self.order.struct_hash() + keccak(self.signature))


@dataclass(frozen=True, slots=True)
class Round:
    """Which round is run. ``previous`` is the struct hash of the round before, or zero."""

    product: int
    number: int
    cleared_at_s: int
    previous: bytes


def run_round(this: Round, entries: Sequence[Entry]) -> AuctionRecord:
    """Clears a forward round over ``entries``, accounts strictly increasing.

    A bid that expired stays in its slot and takes no part.
    """
    columns = _columns(entries)
    offered_wh = np.array([e.offered_wh(this.cleared_at_s) for e in entries], np.int64)
    cleared = clear_round(columns["account"], columns["side"], offered_wh, columns["limit_price"])
    signatures = [e.signature for e in entries]
    hashes = [keccak(signature) if signature else NO_SIGNATURE for signature in signatures]
    return _published(this, AuctionRule.FORWARD, columns, cleared, signatures, hashes)


def run_shared_round(this: Round, deviations_wh: Mapping[int, int], price: int) -> AuctionRecord:
    """Trades the deviations ``{account: Wh}`` (positive: needs energy) among each other at ``price``."""
    entries = [_deviation(this, account, wh, price, None) for account, wh in sorted(deviations_wh.items()) if wh]
    columns = _columns(entries)
    cleared = clear_shared_round(columns["account"], columns["side"], columns["quantity_wh"], price)
    none = len(entries)
    return _published(this, AuctionRule.SPOT_SHARED, columns, cleared, [b""] * none, [NO_SIGNATURE] * none)


def run_auctioned_round(
    this: Round, deviations_wh: Mapping[int, int], standing: Mapping[int, SignedStandingOrder], tariffs: tuple[int, int]
) -> AuctionRecord:
    """Auctions the deviations: each at its home's standing limit, without one at the supplier's tariff.

    ``tariffs`` are import and export: what a home without an order pays or gets elsewhere.
    """
    entries, hashes = [], []
    for account, wh in sorted(deviations_wh.items()):
        if not wh:
            continue
        signed = standing.get(account)
        if signed is None:
            limit = tariffs[0] if wh > 0 else tariffs[1]
        else:
            limit = signed.order.max_buy_price if wh > 0 else signed.order.min_sell_price
        entries.append(_deviation(this, account, wh, limit, signed))
        hashes.append(signed.commitment if signed else NO_SIGNATURE)
    columns = _columns(entries)
    cleared = clear_round(columns["account"], columns["side"], columns["quantity_wh"], columns["limit_price"])
    return _published(this, AuctionRule.SPOT_AUCTION, columns, cleared, [e.signature for e in entries], hashes)


def _deviation(this: Round, account: int, wh: int, limit: int, signed: SignedStandingOrder | None) -> Entry:
    """A deviation never expires: its slot says so by the instant of the round itself."""
    side = Side.BUY if wh > 0 else Side.SELL
    version, evidence = (signed.order.version, signed.evidence) if signed else (0, b"")
    return Entry(account, version, side, abs(wh), limit, this.cleared_at_s, 0, 0, 0, evidence)


def _columns(entries: Sequence[Entry]) -> Columns:
    rows = np.array([[getattr(e, name) for name in _COLUMNS] for e in entries], np.int64).reshape(-1, len(_COLUMNS))
    return {name: rows[:, place].copy() for place, name in enumerate(_COLUMNS)}


def _published(
    this: Round,
    rule: AuctionRule,
    columns: Columns,
    cleared: ClearedRound,
    signatures: list[bytes],
    hashes: list[bytes],
) -> AuctionRecord:
    result = cleared.clearing
    signed_fill_wh = np.where(columns["side"] == Side.BUY, cleared.fill_wh, -cleared.fill_wh)
    position_wh = columns["position_wh"] + signed_fill_wh
    cost_nano = columns["position_cost_nano"] + signed_fill_wh * result.price
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
        this.cleared_at_s,
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
