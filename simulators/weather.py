"""The input of simulated homes: days of load shape and sky, measured, from the user's own file, or synthetic.

* ``measured_day``: standard load profile H25 and the measured weather of Greensboro (North Carolina), the TMY3
  station file that comes with pvlib. Station time (without summer time) is taken as the street's UTC, so that noon
  is noon.
* ``simulators.user_csv.csv_day``: the user's own measurements.
* ``synthetic_day``: plain arithmetic from a seed, no heavy imports.

A `DayInput` may cover several days; homes begin again at its first day after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Protocol

from simulators.load_profile import DAY_S, PROFILE_STEP_S, h25_shape_w, synthetic_shape_w
from simulators.solar import PvArray, Site, clear_sky_production_w, measured_production_w

if TYPE_CHECKING:
    import pandas as pd

STATION_FILE = "723170TYA.CSV"
STATION_YEAR = 1990
"""Months of a typical year come from different years; they are set behind each other in this one."""

LONGEST_DAYS = 366
"""A longer input would repeat the typical year anyway."""

SYNTHETIC_LATITUDE_DEG = 36.0
MIDSUMMER = date(2025, 6, 21)


class Sky(Protocol):
    """What a roof gets to work with."""

    def production_w(self, array: PvArray) -> tuple[float, ...]:
        """AC power in W of ``array``, one value per step of the day it belongs to."""


@dataclass(frozen=True, slots=True)
class DayInput:
    """Whole days from ``start_s`` (UTC midnight) in steps of ``step_s``.

    ``load_shape_w`` is the mean power of a home with 1 MWh a year; `Sky` gives the production of an array.
    """

    start_s: int
    step_s: int
    load_shape_w: tuple[float, ...]
    sky: Sky

    def __post_init__(self) -> None:
        if self.start_s % DAY_S or self.step_s <= 0 or DAY_S % self.step_s:
            raise ValueError("a day starts at midnight UTC, in steps that divide it")
        if not self.load_shape_w or len(self.load_shape_w) * self.step_s % DAY_S:
            raise ValueError("the input covers one or more whole days")
        if min(self.load_shape_w) < 0:
            raise ValueError("a load is never negative")

    @property
    def days(self) -> int:
        """How many days it covers."""
        return len(self.load_shape_w) * self.step_s // DAY_S


@dataclass(frozen=True)
class MeasuredSky:
    """Irradiance, temperature and wind at the middle of each step."""

    site: Site
    weather: pd.DataFrame

    def production_w(self, array: PvArray) -> tuple[float, ...]:
        """Through the PV model of `simulators.solar`."""
        return measured_production_w(array, self.site, self.weather)


@dataclass(frozen=True, slots=True)
class SyntheticSky:
    """A clear sky with seeded clouds: ``clearness`` 0..1 for each step of each day."""

    day_of_year: int
    clearness: tuple[tuple[float, ...], ...]

    def production_w(self, array: PvArray) -> tuple[float, ...]:
        """The clear sky of each day, dimmed."""
        return tuple(
            power_w
            for offset, clearness in enumerate(self.clearness)
            for power_w in clear_sky_production_w(array, SYNTHETIC_LATITUDE_DEG, self.day_of_year + offset, clearness)
        )


@dataclass(frozen=True, slots=True)
class MeteredProduction:
    """Production that was metered on one roof, per W of its modules; other roofs are scaled by their size."""

    per_peak_w: tuple[float, ...]

    def production_w(self, array: PvArray) -> tuple[float, ...]:
        """By size alone: a metered roof tells nothing about other directions."""
        return tuple(min(share * array.peak_w, float(array.inverter_w)) for share in self.per_peak_w)


def midnight_s(day: date) -> int:
    """UTC midnight of ``day`` in seconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _check_days(days: int) -> None:
    if not 1 <= days <= LONGEST_DAYS:
        raise ValueError(f"an input covers 1 to {LONGEST_DAYS} days")


def station_weather() -> tuple[Site, pd.DataFrame]:
    """The station's typical year: site, and hourly means whose index stands at the middle of each hour."""
    from pathlib import Path

    import pvlib
    from pvlib.iotools import read_tmy3

    path = Path(pvlib.__file__).parent / "data" / STATION_FILE
    frame, meta = read_tmy3(path, coerce_year=STATION_YEAR)
    frame = frame[["ghi", "dni", "dhi", "temp_air", "wind_speed"]].astype(float)
    frame.index = frame.index - timedelta(minutes=30)
    site = Site(meta["latitude"], meta["longitude"], meta["altitude"], round(meta["TZ"] * 3_600))
    return site, frame.sort_index()


def station_site() -> Site:
    """Where the station stands, and its clock."""
    return station_weather()[0]


def _in_station_year(day: date, site: Site) -> datetime:
    """Midnight of the same day in the station's year; the 29th of February is its eve."""
    number = min(day.day, 28) if day.month == 2 else day.day
    return datetime(STATION_YEAR, day.month, number, tzinfo=site.clock)


def measured_day(day: date = MIDSUMMER, days: int = 1) -> DayInput:
    """``days`` days from ``day``: profile H25 of that date, measured weather of the same month and day."""
    import pandas as pd

    _check_days(days)
    site, hourly = station_weather()
    calendar = [day + timedelta(days=offset) for offset in range(days)]
    quarter = timedelta(seconds=PROFILE_STEP_S)
    middles = [
        _in_station_year(at, site) + quarter * (step + 0.5)
        for at in calendar
        for step in range(DAY_S // PROFILE_STEP_S)
    ]
    index = pd.DatetimeIndex(middles)
    # Between the middles of two hours the mean is interpolated; the year's ends are padded with themselves.
    dense = hourly.reindex(hourly.index.union(index.unique())).interpolate(method="time").ffill().bfill()
    sky = MeasuredSky(site, dense.loc[index])
    return DayInput(midnight_s(day), PROFILE_STEP_S, h25_shape_w(day, days), sky)


def synthetic_day(seed: int, days: int = 1, day: date = MIDSUMMER) -> DayInput:
    """``days`` days with seeded clouds and a plain load shape; standard library only, a fraction of a millisecond."""
    _check_days(days)
    random = Random(f"clouds/{seed}")
    steps_per_hour = 3_600 // PROFILE_STEP_S
    clearness: list[tuple[float, ...]] = []
    for _ in range(days):
        cover = random.uniform(0.0, 0.6)
        hours = [1.0 - cover * random.random() for _ in range(25)]
        clearness.append(
            tuple(
                hours[hour] + (hours[hour + 1] - hours[hour]) * part / steps_per_hour
                for hour in range(24)
                for part in range(steps_per_hour)
            )
        )
    sky = SyntheticSky(day.timetuple().tm_yday, tuple(clearness))
    return DayInput(midnight_s(day), PROFILE_STEP_S, synthetic_shape_w(days), sky)
