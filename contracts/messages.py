"""Every message that a party signs or commits to: one frozen dataclass each.

Field order is the wire order, the EIP-712 order and the Solidity order. Registers are cumulative, prices are
micro-currency per kWh, costs nano-currency, times UTC seconds. Power follows the load convention: positive
flows into the home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from contracts.codes import ClockStatus, GapReason, SetPointKind, SetPointOutcome, Side, Stream
from contracts.eip712 import I32, I64, U8, U16, U32, U64, Bytes32, LocalValueError, Message
from contracts.interval import Product
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH, PRICE_TICK_MICRO_PER_KWH, QUANTITY_LIMIT_WH

SUPPLIER = 0
"""Account number of the supplier, the counterparty of whatever the community leaves over."""

TREE_DEPTH = 20
ACCOUNT_LIMIT = 1 << TREE_DEPTH
"""Account numbers are leaf indices of trees of this depth: 1,048,576 accounts a feeder group."""

NO_ACCOUNT = 0xFFFFFFFF
"""Stands where no account is named."""

FORCED_VERSION = 1 << 31
"""Bids with this bit in their version were placed on chain, not signed; they outrank every signed version."""


def _check_account(account: int) -> None:
    if account >= ACCOUNT_LIMIT:
        raise LocalValueError(f"account {account} is beyond {ACCOUNT_LIMIT - 1}")


def _check_price(name: str, price: int) -> None:
    if abs(price) > PRICE_LIMIT_MICRO_PER_KWH:
        raise LocalValueError(f"{name} {price} is beyond ±{PRICE_LIMIT_MICRO_PER_KWH} micro/kWh")


def _check_tick(name: str, price: int) -> None:
    _check_price(name, price)
    if price % PRICE_TICK_MICRO_PER_KWH:
        raise LocalValueError(f"{name} {price} is not a multiple of the tick of {PRICE_TICK_MICRO_PER_KWH} micro/kWh")


@dataclass(frozen=True, slots=True)
class SettlementReading(Message):
    """Cumulative registers of a meter at the end of ``interval``; ``chain_head`` commits to the telemetry so far."""

    SIGNED_BY: ClassVar[str] = "home"

    account: U32
    meter: U16
    epoch: U32
    sequence: U64
    interval: U64
    taken_at_s: U64
    import_wh: U64
    export_wh: U64
    flags: U16
    clock: U8
    chain_head: Bytes32
    evidence_hash: Bytes32

    def check(self) -> None:
        _check_account(self.account)
        ClockStatus(self.clock)


@dataclass(frozen=True, slots=True)
class TelemetryBatch(Message):
    """Readings ``first_sequence … +count-1`` of one meter, hash-chained from ``previous_head`` to ``head``."""

    SIGNED_BY: ClassVar[str] = "home"

    account: U32
    meter: U16
    epoch: U32
    first_sequence: U64
    count: U16
    first_taken_at_s: U64
    last_taken_at_s: U64
    previous_head: Bytes32
    head: Bytes32
    readings_root: Bytes32

    def check(self) -> None:
        _check_account(self.account)
        if self.count == 0 or self.last_taken_at_s < self.first_taken_at_s:
            raise LocalValueError("a telemetry batch has at least one reading and does not run backwards")
        if self.first_sequence + self.count > 1 << 63:
            raise LocalValueError("the sequences of a telemetry batch stay below 2**63")


@dataclass(frozen=True, slots=True)
class Bid(Message):
    """One live order of an account for a product; a higher version replaces it, quantity 0 cancels it."""

    SIGNED_BY: ClassVar[str] = "home"

    account: U32
    product: U64
    version: U32
    side: U8
    quantity_wh: U64
    limit_price: I64
    expiry_s: U64

    def check(self) -> None:
        _check_account(self.account)
        if self.account == SUPPLIER:
            raise LocalValueError("the supplier does not bid")
        if self.side not in (Side.BUY, Side.SELL):
            raise LocalValueError(f"side {self.side} is neither buy nor sell")
        if self.quantity_wh > QUANTITY_LIMIT_WH:
            raise LocalValueError(f"quantity {self.quantity_wh} is beyond {QUANTITY_LIMIT_WH} Wh per interval")
        _check_tick("limit_price", self.limit_price)
        try:
            Product.from_number(self.product)
        except ValueError as error:
            raise LocalValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class StandingOrder(Message):
    """Limits under which a home joins every spot round until ``valid_until_s`` (0: until replaced)."""

    SIGNED_BY: ClassVar[str] = "home"

    account: U32
    version: U32
    max_buy_price: I64
    min_sell_price: I64
    valid_from_s: U64
    valid_until_s: U64

    def check(self) -> None:
        _check_account(self.account)
        _check_tick("max_buy_price", self.max_buy_price)
        _check_tick("min_sell_price", self.min_sell_price)


@dataclass(frozen=True, slots=True)
class Receipt(Message):
    """The operator's promise that a bid takes part from ``round`` on, which clears at ``clears_at_s``.

    For a standing order ``product`` and ``round`` are 0, and it counts in every spot round from that instant on.
    """

    SIGNED_BY: ClassVar[str] = "operator"

    account: U32
    product: U64
    version: U32
    bid_hash: Bytes32
    round: U32
    clears_at_s: U64


@dataclass(frozen=True, slots=True)
class Acknowledgement(Message):
    """The operator holds readings ``first_sequence … last_sequence`` of a stream durably; the home may forget them."""

    SIGNED_BY: ClassVar[str] = "operator"

    account: U32
    meter: U16
    stream: U8
    epoch: U32
    first_sequence: U64
    last_sequence: U64

    def check(self) -> None:
        Stream(self.stream)
        if self.last_sequence < self.first_sequence:
            raise LocalValueError("an acknowledgement covers at least one reading")


@dataclass(frozen=True, slots=True)
class SetPoint(Message):
    """An absolute, expiring command to one device of a home. ``term`` is the coordinator's fencing token."""

    SIGNED_BY: ClassVar[str] = "operator"

    account: U32
    device: U16
    kind: U8
    term: U32
    sequence: U64
    issued_at_s: U64
    valid_until_s: U64
    power_w: I32

    def check(self) -> None:
        _check_account(self.account)
        SetPointKind(self.kind)
        if self.valid_until_s <= self.issued_at_s:
            raise LocalValueError("a set-point expires after it was issued")


@dataclass(frozen=True, slots=True)
class SetPointReport(Message):
    """What the home did with set-point ``sequence``, and the power read back."""

    SIGNED_BY: ClassVar[str] = "home"

    account: U32
    device: U16
    term: U32
    sequence: U64
    outcome: U8
    power_w: I32
    taken_at_s: U64

    def check(self) -> None:
        _check_account(self.account)
        SetPointOutcome(self.outcome)


@dataclass(frozen=True, slots=True)
class GapRecord(Message):
    """The home says that readings of this range were dropped and why."""

    SIGNED_BY: ClassVar[str] = "home"

    account: U32
    meter: U16
    stream: U8
    epoch: U32
    first_sequence: U64
    last_sequence: U64
    reason: U8
    recorded_at_s: U64

    def check(self) -> None:
        _check_account(self.account)
        Stream(self.stream)
        GapReason(self.reason)
        if self.last_sequence < self.first_sequence:
            raise LocalValueError("a gap covers at least one reading")


@dataclass(frozen=True, slots=True)
class ReadingRequest(Message):
    """The operator misses readings of this range: the home sends what it holds and says of the rest why it is gone."""

    SIGNED_BY: ClassVar[str] = "operator"

    account: U32
    meter: U16
    stream: U8
    epoch: U32
    first_sequence: U64
    last_sequence: U64
    requested_at_s: U64

    def check(self) -> None:
        _check_account(self.account)
        Stream(self.stream)
        if self.last_sequence < self.first_sequence:
            raise LocalValueError("a request asks for at least one reading")


@dataclass(frozen=True, slots=True)
class Auction(Message):
    """The published result of one round of one product. ``previous`` is the struct hash of the round before, or 0.

    ``marginal_wh`` is all quantity of ``long_side`` exactly at ``price``, ``rationed_wh`` the part of it that is
    filled. ``lo_account`` and ``hi_account`` name the slots that attain the bounds of the price interval.
    """

    SIGNED_BY: ClassVar[str] = "operator"

    product: U64
    round: U32
    rule: U8
    cleared_at_s: U64
    price: I64
    lo: I64
    hi: I64
    lo_account: U32
    hi_account: U32
    volume_wh: U64
    marginal_wh: U64
    rationed_wh: U64
    long_side: U8
    slots_root: Bytes32
    previous: Bytes32


@dataclass(frozen=True, slots=True)
class Header(Message):
    """One interval of the market: all auctions cleared in it, and the settlement of the interval ``grace`` before."""

    SIGNED_BY: ClassVar[str] = "operator"

    interval: U64
    previous: Bytes32
    auctions_root: Bytes32
    meters_root: Bytes32
    balances_root: Bytes32
    data_hash: Bytes32
    tariff_import: I64
    tariff_export: I64
    spot_price: I64
    volume_wh: U64


MESSAGES: tuple[type[Message], ...] = (
    SettlementReading,
    TelemetryBatch,
    Bid,
    StandingOrder,
    Receipt,
    Acknowledgement,
    SetPoint,
    SetPointReport,
    GapRecord,
    Auction,
    Header,
    ReadingRequest,
)
"""Every message; the position is its kind number on the wire."""
