"""Gathers the inputs of the community price for one interval, and keeps what the next days need of it."""

from __future__ import annotations

from contracts.interval import INTERVALS_PER_DAY
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH
from coordinator.config import MarketConfig
from coordinator.pricing.community_price import PriceInputs, community_price, price_factors
from coordinator.store.store import Store

HISTORY_INTERVALS = 7 * INTERVALS_PER_DAY
"""A week: what counts as usual."""
ENOUGH_INTERVALS = 8
"""Two hours: below this there is no usual yet, and a factor stays at one."""


class PriceHistory:
    """Prices and power sums of past intervals in the store."""

    def __init__(self, store: Store, market: MarketConfig) -> None:
        self._store = store
        self._market = market

    def inputs(
        self,
        interval: int,
        demand_w: int,
        supply_w: int,
        frequency_mhz: int | None,
        voltage_mv: int | None,
    ) -> PriceInputs:
        """The inputs for ``interval``; norms and usual prices come from the week before it."""
        since = interval - HISTORY_INTERVALS
        known = self._store.integer("SELECT COUNT(*) FROM prices WHERE interval >= ? AND interval < ?", since, interval)
        enough = known >= ENOUGH_INTERVALS
        same_hour = interval % INTERVALS_PER_DAY // 4
        return PriceInputs(
            base_price=self._market.base_price,
            tariff_import=self._market.tariff_import,
            tariff_export=self._market.tariff_export,
            interval=interval,
            demand_w=demand_w,
            norm_demand_w=self._market.norm_demand_w or (self._mean("demand_w", since, interval) if enough else 0),
            supply_w=supply_w,
            forecast_supply_w=self._quote("weather_supply_w", supply_w),
            norm_supply_w=self._market.norm_supply_w or (self._mean("supply_w", since, interval) if enough else 0),
            history_price=self._mean("price", since, interval, same_hour) if known >= INTERVALS_PER_DAY else 0,
            history_mean=self._mean("price", since, interval) if known >= INTERVALS_PER_DAY else 0,
            frequency_mhz=frequency_mhz or 0,
            voltage_mv=voltage_mv or 0,
            collar_floor=self._quote("price_floor", -PRICE_LIMIT_MICRO_PER_KWH),
            collar_cap=self._quote("price_cap", PRICE_LIMIT_MICRO_PER_KWH),
        )

    def _quote(self, name: str, default: int) -> int:
        return self._store.integer("SELECT value FROM quotes WHERE name = ?", name, default=default)

    def _mean(self, column: str, since: int, until: int, hour: int | None = None) -> int:
        sql = f"SELECT SUM({column}) / COUNT(*) FROM prices WHERE interval >= ? AND interval < ?"
        if hour is None:
            return self._store.integer(sql, since, until)
        return self._store.integer(f"{sql} AND interval % {INTERVALS_PER_DAY} / 4 = ?", since, until, hour)

    def keep(self, inputs: PriceInputs) -> int:
        """Stores and returns the price of ``inputs.interval``."""
        price, factors = community_price(inputs), price_factors(inputs)
        self._store.run(
            "INSERT INTO prices VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            inputs.interval, price, factors.demand, factors.supply, factors.time, factors.stability,
            inputs.demand_w, inputs.supply_w,
        )  # fmt: skip
        return price
