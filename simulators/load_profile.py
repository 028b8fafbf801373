"""What a home consumes: a standard load profile, made individual without changing the day's energy.

A shape is the mean power in W of a home with 1 MWh a year, one value per equal step of whole days. The measured
shape is the German standard load profile H25 (BDEW 2025, from metered households of 2018 and 2019); the synthetic
one is a plain morning and evening bump for tests that must start in milliseconds.

A profile is the mean of thousands of homes, a single home is not: its day is shifted, and a good part of its energy
falls into a few appliance runs, placed where the profile is high. What remains follows the profile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate
from random import Random

DAY_S = 86_400
PROFILE_STEP_S = 900

LUMPY_PERMILLE = 450
"""Share of a day's energy that falls into appliance runs: cooking, washing and drying are a little under half of
a household's electricity without heating (AGEB, application balances of private households)."""

LATEST_SHIFT_S = 45 * 60
"""Homes get up and come home within three quarters of an hour of the mean."""

APPLIANCES = ((2_000, 4), (1_800, 25), (2_200, 35), (1_900, 20), (1_800, 30), (2_300, 45), (1_200, 15))
"""Power in W and minutes of a kettle, a hob, an oven, a washing machine, a dishwasher, a dryer, a vacuum cleaner."""

_SYNTHETIC_HOURS = (5, 4, 4, 4, 4, 5, 8, 10, 10, 9, 9, 10, 11, 10, 9, 9, 10, 13, 16, 17, 16, 13, 10, 7)


@lru_cache(maxsize=8)
def _h25_year_kwh(year: int) -> float:
    """Energy of the profile over a calendar year, in its own unit (its day factors do not sum to a round number)."""
    return math.fsum(_h25_power_kw(date(year, 1, 1), (date(year + 1, 1, 1) - date(year, 1, 1)).days)) / 4


def _h25_power_kw(first: date, days: int) -> list[float]:
    import pandas as pd
    from demandlib.bdew import H25

    quarters = pd.date_range(first.isoformat(), periods=days * DAY_S // PROFILE_STEP_S, freq="15min")
    return [float(value) for value in H25(quarters)]


def h25_shape_w(first: date, days: int = 1) -> tuple[float, ...]:
    """Profile H25 for ``days`` days in W per MWh/a, a value per 900 s; scaled so that a calendar year is 1 MWh."""
    quarters = DAY_S // PROFILE_STEP_S
    years = [(first + timedelta(days=offset)).year for offset in range(days)]
    return tuple(
        power_kw * 1_000_000.0 / _h25_year_kwh(years[number // quarters])
        for number, power_kw in enumerate(_h25_power_kw(first, days))
    )


def synthetic_shape_w(days: int = 1) -> tuple[float, ...]:
    """A household's day in W per MWh/a, a value per 900 s; its mean is that of 1 MWh over 8,760 h."""
    scale = 1_000_000.0 / 8_760 * 24 / sum(_SYNTHETIC_HOURS)
    return tuple(hour * scale for hour in _SYNTHETIC_HOURS for _ in range(4)) * days


def home_load_w(
    shape_w: Sequence[float], shape_step_s: int, annual_load_kwh: int, seed: int, step_s: int
) -> tuple[int, ...]:
    """One home's power in W per ``step_s``, as long as the shape.

    Each day's energy is that of the scaled shape, rounded to one W during one step. ``step_s`` divides
    ``shape_step_s``, and the shape covers whole days.
    """
    if shape_step_s % step_s or len(shape_w) * shape_step_s % DAY_S:
        raise ValueError("a load shape covers whole days, in steps that the home's step divides")
    per_day = DAY_S // shape_step_s
    shift_s = Random(f"shift/{seed}").randint(-LATEST_SHIFT_S, LATEST_SHIFT_S)
    load: list[int] = []
    for first in range(0, len(shape_w), per_day):
        scaled = [power_w * annual_load_kwh / 1000 for power_w in shape_w[first : first + per_day]]
        fine = [power_w for power_w in scaled for _ in range(shape_step_s // step_s)]
        shift = shift_s // step_s % len(fine)
        load += _lumpy_day_w(fine[shift:] + fine[:shift], Random(f"day/{seed}/{first}"), step_s)
    return tuple(load)


def _lumpy_day_w(mean_w: list[float], random: Random, step_s: int) -> list[int]:
    """The same energy as ``mean_w``, with part of it in appliance runs; energies are in W during one step."""
    total = round(math.fsum(mean_w))
    if total <= 0:
        return [0] * len(mean_w)
    weights = list(accumulate(mean_w))
    runs = [0] * len(mean_w)
    left = total * LUMPY_PERMILLE // 1000
    while left > 0:
        power_w, minutes = random.choice(APPLIANCES)
        energy = min(left, power_w * minutes * 60 // step_s)
        steps = max(1, min(minutes * 60, energy * step_s // power_w) // step_s)
        start = random.choices(range(len(runs)), cum_weights=weights)[0]
        for step in range(steps):
            runs[(start + step) % len(runs)] += energy * (step + 1) // steps - energy * step // steps
        left -= energy
    base = total - total * LUMPY_PERMILLE // 1000
    given = 0
    for step, reached in enumerate(weights):
        due = round(base * (reached / weights[-1]))
        runs[step] += due - given
        given = due
    return runs
