"""What a running feeder agrees on. Paths and addresses of servers are the shell's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from contracts.codes import AuctionRule
from contracts.eip712 import Domain
from contracts.header_rules import DEFAULT_GRACE_INTERVALS, Terms
from contracts.interval import DEFAULT_CALENDAR, MarketCalendar
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH, PRICE_TICK_MICRO_PER_KWH

MICRO_CENT = 10_000


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """One feeder's market. Prices in micro-currency per kWh."""

    feeder: str
    domain: Domain
    operator: bytes
    tariff_import: int = 32 * MICRO_CENT
    tariff_export: int = 8 * MICRO_CENT
    base_price: int = 20 * MICRO_CENT
    grace: int = DEFAULT_GRACE_INTERVALS
    calendar: MarketCalendar = DEFAULT_CALENDAR
    norm_demand_w: int = 0
    norm_supply_w: int = 0
    connection_limit_w: int = 150_000
    """What a home's connection can carry: registers that claim more since they last moved are not settled."""
    spot_rule: AuctionRule = AuctionRule.SPOT_SHARED

    def __post_init__(self) -> None:
        if not 0 <= self.tariff_export <= self.base_price <= self.tariff_import:
            raise ValueError("feed-in <= base price <= retail, none negative")
        if len(self.operator) != 20:
            raise ValueError("the operator is an address of 20 bytes")
        if self.terms.spot_rule == AuctionRule.SPOT_AUCTION and not all(
            tariff % PRICE_TICK_MICRO_PER_KWH == 0 and tariff <= PRICE_LIMIT_MICRO_PER_KWH
            for tariff in (self.tariff_import, self.tariff_export)
        ):
            raise ValueError("tariffs are limits of an auctioned spot round: whole ticks within the price limit")

    @property
    def terms(self) -> Terms:
        """What the deployment of this market has fixed for good."""
        return _terms(self.grace, self.calendar, self.spot_rule)


@lru_cache(maxsize=64)
def _terms(grace: int, calendar: MarketCalendar, spot_rule: AuctionRule) -> Terms:
    return Terms(grace, calendar.gate_leads, spot_rule)
