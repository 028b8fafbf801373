"""Demand and supply of the feeder, now and per interval, from what the homes measure.

At a home, consumption = net power at the connection point + production behind it. Meter 0 is the connection
point; the others measure inverters and batteries, whose power is negative while they produce. Values older than
the freshness limit do not count, and every sum says how many homes it stands on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coordinator.store.store import Store

FRESH_S = 1_800
"""Twice an interval: a home that has said nothing for longer is not part of the sum."""


@dataclass(frozen=True, slots=True)
class PowerBalance:
    """Sums over the feeder. ``net_w`` positive: the feeder draws from the grid. Absent values are None."""

    demand_w: int
    supply_w: int
    net_w: int
    homes: int
    frequency_mhz: int | None
    lowest_voltage_mv: int | None
    highest_voltage_mv: int | None
    oldest_age_s: int | None


def power_balance(store: Store, now_s: int) -> PowerBalance:
    """The balance from the latest fresh values."""
    rows = store.rows(
        "SELECT account, meter, power_w, voltage_mv, voltage_mv, frequency_mhz, frequency_mhz, taken_at_s"
        " FROM latest_readings WHERE taken_at_s >= ? AND power_w IS NOT NULL",
        now_s - FRESH_S,
    )
    return _sum(rows, now_s)


def interval_balance(store: Store, interval: int) -> PowerBalance:
    """The balance from the mean powers of one interval."""
    rows = store.rows(
        "SELECT account, meter, power_w_sum / power_readings, voltage_mv_min, voltage_mv_max, frequency_mhz_min,"
        " frequency_mhz_max, NULL FROM roll_ups WHERE interval = ? AND power_readings > 0",
        interval,
    )
    return _sum(rows, 0)


def _sum(rows: Iterable[tuple[Any, ...]], now_s: int) -> PowerBalance:
    net: dict[int, int] = {}
    produced: dict[int, int] = {}
    lows, highs, frequencies, ages = [], [], [], []
    for account, meter, power, low, high, frequency_low, frequency_high, taken_at_s in rows:
        home, power_w = account, power
        if meter == 0:
            net[home] = power_w
        else:
            produced[home] = produced.get(home, 0) - min(0, power_w)
        if low is not None and high is not None:
            lows.append(low)
            highs.append(high)
        if frequency_low is not None and frequency_high is not None:
            frequencies.append((frequency_low + frequency_high) // 2)
        if taken_at_s is not None:
            ages.append(now_s - taken_at_s)
    supply = sum(max(produced.get(home, 0), -power, 0) for home, power in net.items())
    return PowerBalance(
        sum(net.values()) + supply,
        supply,
        sum(net.values()),
        len(net),
        sorted(frequencies)[len(frequencies) // 2] if frequencies else None,
        min(lows, default=None),
        max(highs, default=None),
        max(ages, default=None),
    )
