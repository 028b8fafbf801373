"""What a running feeder agrees on. Paths and addresses of servers are the shell's."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.eip712 import Domain
from contracts.header_rules import DEFAULT_GRACE_INTERVALS
from contracts.interval import DEFAULT_CALENDAR, MarketCalendar

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

    def __post_init__(self) -> None:
        if not 0 <= self.tariff_export <= self.base_price <= self.tariff_import:
            raise ValueError("feed-in <= base price <= retail, none negative")
        if len(self.operator) != 20:
            raise ValueError("the operator is an address of 20 bytes")
