"""The community's dynamic price: what a shared spot round trades at.

    price = base * (0.3 demand + 0.3 supply + 0.2 time + 0.2 stability)

Each factor is an integer in permille around 1000, bounded to 500 … 1500, and computed from inputs that stand in
the public record, so that anybody recomputes the price to the last micro. The result lies inside the price oracle's
collar, as far as that lies between feed-in and retail tariff.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from contracts.units import PRICE_LIMIT_MICRO_PER_KWH

ONE = 1_000
LOWEST, HIGHEST = 500, 1_500
NOMINAL_FREQUENCY_MHZ = 50_000
NOMINAL_VOLTAGE_MV = 230_000
FREQUENCY_PERMILLE_PER_MHZ = 1
"""200 mHz, the deviation at which all primary reserve is used, moves the stability factor by 0.2."""
VOLTAGE_SHARE = 2
"""Ten per cent of voltage, the limit of EN 50160, moves the factor by 0.05."""

HOUR_OF_DAY_PERMILLE = (
    880, 860, 850, 850, 860, 900, 980, 1060, 1080, 1040, 1000, 970,
    950, 940, 940, 960, 1010, 1090, 1160, 1180, 1140, 1060, 980, 920,
)  # fmt: skip
"""Default time factor by UTC hour until a history of prices exists: nights below, evenings above one; mean 986."""


@dataclass(frozen=True, slots=True)
class PriceInputs:
    """Everything the price depends on; it is published with each batch. Powers in W, prices in micro/kWh.

    ``norm_*`` are the feeder's usual demand and supply; ``forecast_supply_w`` is what the weather lets expect.
    ``history_price`` is the usual price at this time of day and ``history_mean`` over the day; 0 where unknown.
    ``collar_floor`` and ``collar_cap`` are the oracle's; without one, the bounds of any price.
    """

    base_price: int
    tariff_import: int
    tariff_export: int
    interval: int
    demand_w: int
    norm_demand_w: int
    supply_w: int
    forecast_supply_w: int
    norm_supply_w: int
    history_price: int
    history_mean: int
    frequency_mhz: int
    voltage_mv: int
    collar_floor: int = -PRICE_LIMIT_MICRO_PER_KWH
    collar_cap: int = PRICE_LIMIT_MICRO_PER_KWH

    def to_record(self) -> dict[str, int]:
        """The form in which the inputs are published."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PriceFactors:
    """The four factors in permille."""

    demand: int
    supply: int
    time: int
    stability: int


def _bounded(permille: int) -> int:
    return max(LOWEST, min(HIGHEST, permille))


def price_factors(inputs: PriceInputs) -> PriceFactors:
    """The factors: more demand than usual raises the price, more supply lowers it; so do history and an unwell grid."""
    demand = _bounded(ONE * inputs.demand_w // inputs.norm_demand_w) if inputs.norm_demand_w > 0 else ONE
    supply = ONE
    if inputs.norm_supply_w > 0:
        expected_w = (inputs.supply_w + inputs.forecast_supply_w) // 2
        supply = _bounded(HIGHEST - (HIGHEST - ONE) * expected_w // inputs.norm_supply_w)
    if inputs.history_mean > 0 and inputs.history_price > 0:
        time = _bounded(ONE * inputs.history_price // inputs.history_mean)
    else:
        time = HOUR_OF_DAY_PERMILLE[inputs.interval % 96 // 4]
    stability = ONE
    if inputs.frequency_mhz > 0:
        stability += (NOMINAL_FREQUENCY_MHZ - inputs.frequency_mhz) * FREQUENCY_PERMILLE_PER_MHZ
    if inputs.voltage_mv > 0:
        stability += (NOMINAL_VOLTAGE_MV - inputs.voltage_mv) * ONE // (NOMINAL_VOLTAGE_MV * VOLTAGE_SHARE)
    return PriceFactors(demand, supply, time, _bounded(stability))


def community_price(inputs: PriceInputs) -> int:
    """The price in micro-currency per kWh, rounded down, inside the collar and between feed-in and retail."""
    factors = price_factors(inputs)
    weighted = 3 * factors.demand + 3 * factors.supply + 2 * factors.time + 2 * factors.stability
    price = inputs.base_price * weighted // (10 * ONE)
    price = max(inputs.collar_floor, min(inputs.collar_cap, price))
    return max(inputs.tariff_export, min(inputs.tariff_import, price))
