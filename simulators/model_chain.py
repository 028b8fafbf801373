"""The settlement contract as a model: what anybody can observe of posting, finality and deposits, without an EVM.

Same refusals in the same order, same events in the same order as the compiled contract; a test drives both with one
sequence of calls and compares. ``SettlementPort`` is what a world needs of either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from contracts.codes import AuctionRule
from contracts.eip712 import Domain
from contracts.header_rules import FIRST_HEADER_PREVIOUS, header_digest
from contracts.interval import INTERVAL_S
from contracts.messages import Header
from coordinator.chain_events import AccountOpened, ChainEvent, Deposited, HeaderFinalised, HeaderPosted

FINALITY_WINDOW_S = 3_600
"""Short, so that a world of a few hours sees headers become final."""
MINIMUM_BOND_NANO = 1_000 * 10**9
MODEL_DOMAIN = Domain(31_337, b"settlement-model-...")
MODEL_TARIFFS = (320_000, 80_000)
"""Import and export, as governance has set them; those of a market's defaults."""
MODEL_GAS = 75_000
"""What a header costs at most; the model does not meter."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One event and when its block was made."""

    event: ChainEvent
    at_s: int


class SettlementPort(Protocol):
    """A settlement chain as a world drives it. Every act returns the name of its refusal, or None."""

    domain: Domain

    @property
    def tip_digest(self) -> bytes:
        """Digest of the newest header; zero before the first."""

    @property
    def header_count(self) -> int:
        """Headers that stand."""

    @property
    def finalised_count(self) -> int:
        """Headers that are final."""

    def open_account(self, owner: bytes, key: bytes) -> str | None:
        """The registrar opens the next account."""

    def deposit(self, account: int, amount_nano: int) -> str | None:
        """Money comes in for an account."""

    def post(self, header: Header) -> str | None:
        """The coordinator posts the next header."""

    def finalise(self, header: Header, index: int) -> str | None:
        """Anybody makes a header, and all before it, final."""

    def logs(self) -> list[Logged]:
        """All events of the chain as it is now, in order."""

    def reorganise(self) -> bool:
        """Undoes the newest post if nothing follows it; whether it did."""


class Time(Protocol):
    """Where block times come from."""

    @property
    def now_s(self) -> int:
        """Seconds, UTC."""


@dataclass(slots=True)
class ModelChain:
    """The model. ``bond_nano``, ``tariffs`` and ``halted`` are set by whoever plays governance."""

    time: Time
    domain: Domain = MODEL_DOMAIN
    governance: bytes = bytes(20)
    bond_nano: int = MINIMUM_BOND_NANO
    halted: bool = False
    tariffs: tuple[int, int] = MODEL_TARIFFS
    spot_rule: AuctionRule = AuctionRule.SPOT_SHARED
    finalised_count: int = 0
    _posted: list[tuple[bytes, Header, int]] = field(default_factory=list)
    _accounts: list[bytes] = field(default_factory=list)
    _logs: list[Logged] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open(self.governance, self.governance)

    @property
    def tip_digest(self) -> bytes:
        """Digest of the newest header; zero before the first."""
        return self._posted[-1][0] if self._posted else FIRST_HEADER_PREVIOUS

    @property
    def header_count(self) -> int:
        """Headers that stand."""
        return len(self._posted)

    def _log(self, event: ChainEvent) -> None:
        self._logs.append(Logged(event, self.time.now_s))

    def _open(self, owner: bytes, key: bytes) -> None:
        self._accounts.append(owner)
        self._log(AccountOpened(len(self._accounts) - 1, owner, key))

    def open_account(self, owner: bytes, key: bytes) -> str | None:
        """The registrar opens the next account."""
        if bytes(20) in (owner, key):
            return "ZeroAddress"
        if owner in self._accounts:
            return "AlreadyOpened"
        self._open(owner, key)
        return None

    def deposit(self, account: int, amount_nano: int) -> str | None:
        """Money comes in for an account."""
        if self.halted:
            return "IsHalted"
        if account >= len(self._accounts):
            return "UnknownAccount"
        self._log(Deposited(account, amount_nano))
        return None

    def post(self, header: Header) -> str | None:
        """The coordinator posts the next header."""
        if self.halted:
            return "IsHalted"
        if self.bond_nano < MINIMUM_BOND_NANO:
            return "BondTooSmall"
        if header.previous != self.tip_digest:
            return "NotAfterTip"
        if self._posted and header.interval != self._posted[-1][1].interval + 1:
            return "WrongInterval"
        if (header.interval + 1) * INTERVAL_S > self.time.now_s:
            return "IntervalNotOver"
        if (header.tariff_import, header.tariff_export) != self.tariffs:
            return "NotTheTariffs"
        within = header.tariff_export <= header.spot_price <= header.tariff_import
        if self.spot_rule == AuctionRule.SPOT_SHARED and not within:
            return "PriceOutOfBounds"
        digest = header_digest(header, self.domain)
        self._posted.append((digest, header, self.time.now_s))
        self._log(HeaderPosted(len(self._posted) - 1, digest, self.time.now_s, MODEL_GAS))
        return None

    def finalise(self, header: Header, index: int) -> str | None:
        """Anybody makes a header, and all before it, final."""
        if index >= len(self._posted):
            return "UnknownHeader"
        if index < self.finalised_count:
            return "AlreadyFinal"
        digest, _, at_s = self._posted[index]
        if digest != header_digest(header, self.domain):
            return "UnknownHeader"
        if self.time.now_s < at_s + FINALITY_WINDOW_S:
            return "StillChallengeable"
        self.finalised_count = index + 1
        self._log(HeaderFinalised(index))
        return None

    def logs(self) -> list[Logged]:
        """All events of the chain as it is now, in order."""
        return self._logs

    def reorganise(self) -> bool:
        """Undoes the newest post if nothing follows it; whether it did."""
        if not self._posted or not isinstance(self._logs[-1].event, HeaderPosted):
            return False
        self._posted.pop()
        self._logs.pop()
        return True
