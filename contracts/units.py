"""Integer units, the money rule and the exact split of a share.

Money never divides: a price is in micro-currency per kWh, an amount in nano-currency, so that
1 micro/kWh is 1 nano/Wh and ``price * energy`` is the amount, exactly. Where a share must be cut,
it is cut by cumulative rounding, which telescopes to exactly the whole.
"""

from __future__ import annotations

MICRO_PER_UNIT = 1_000_000
NANO_PER_UNIT = 1_000_000_000

PRICE_TICK_MICRO_PER_KWH = 100
"""Limits of bids are whole ticks: 100 micro/kWh = 0.01 ct/kWh."""

PRICE_LIMIT_MICRO_PER_KWH = 10_000_000
"""A limit price is within ±10 units of currency per kWh; twice the harmonised European clearing maximum of
4 EUR/kWh leaves room for scarcity, and bounds every worst case."""

QUANTITY_LIMIT_WH = 1_000_000_000
"""One bid is at most 1 GWh per interval. With 2**20 accounts every sum stays below 2**50, so sums are exact
even in double-precision array code."""


def amount_nano(price_micro_per_kwh: int, energy_wh: int) -> int:
    """Amount in nano-currency of ``energy_wh`` Wh at ``price_micro_per_kwh``; exact, either may be negative."""
    return price_micro_per_kwh * energy_wh


def cumulative_share(prefix: int, quantity: int, give: int, total: int) -> int:
    """The part of ``give`` that falls to ``quantity`` standing after ``prefix`` out of ``total``.

    ``floor((L+q)*R/M) - floor(L*R/M)``: the parts of a partition of ``total`` sum to exactly ``give``,
    and no part exceeds its quantity while ``give <= total``. With ``total`` 0 the share is 0.
    """
    if total == 0:
        return 0
    return (prefix + quantity) * give // total - prefix * give // total
