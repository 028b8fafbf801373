"""A day from the user's own file: ``time,load_w,ghi_w_m2,temperature_c`` or ``load_w,pv_w``.

The file describes one home; the homes of a street are scaled from it by their annual load and by the size of their
roof. Rows are equal steps over whole days; ``time`` is optional, ISO 8601 or HH:MM, and where it is there it must
agree with equal steps. A home without production is a file without ``pv_w`` and ``ghi_w_m2``: then the sun does
not shine.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

from simulators.load_profile import DAY_S
from simulators.weather import (
    LONGEST_DAYS,
    MIDSUMMER,
    DayInput,
    MeasuredSky,
    MeteredProduction,
    Sky,
    midnight_s,
    station_site,
)

COLUMNS = ("time", "load_w", "ghi_w_m2", "temperature_c", "pv_w")

FILE_ANNUAL_LOAD_KWH = 3_500
"""What the file's home is taken to consume in a year where the user does not say: a German three-person household."""

FILE_PV_WP = 10_000
"""The file's roof where the user does not say."""

SHORTEST_STEP_S = 60
"""Homes are simulated in steps of a minute."""

WIND_M_S = 1.0
"""Where no wind is given: pvlib's default, a little on the warm side."""

LIMITS = {
    "load_w": (0.0, 1e6),
    "pv_w": (0.0, 1e6),
    "ghi_w_m2": (0.0, 1_500.0),
    "temperature_c": (-60.0, 60.0),
}
"""What a home can show at all; a value outside is a mistake in the file, not weather."""


class LocalCsvError(ValueError):
    """The user's file cannot be read as a day; the message names the line."""


def csv_day(
    path: Path,
    day: date = MIDSUMMER,
    *,
    annual_load_kwh: int = FILE_ANNUAL_LOAD_KWH,
    pv_wp: int = FILE_PV_WP,
) -> DayInput:
    """The file's days, beginning on ``day``. Raises LocalCsvError for a file that is no day, OSError for no file."""
    if annual_load_kwh <= 0 or pv_wp <= 0:
        raise LocalCsvError("the file's home has a positive annual load and a positive size of roof")
    columns, times = _read_columns(path)
    rows = len(columns["load_w"])
    step_s = _step_s(times, rows)
    if rows * step_s > LONGEST_DAYS * DAY_S:
        raise LocalCsvError(f"{path.name}: {rows} rows of {step_s} s are more than {LONGEST_DAYS} days")
    shape = tuple(load_w * 1000 / annual_load_kwh for load_w in columns["load_w"])
    return DayInput(midnight_s(day), step_s, shape, _sky(columns, rows, day, step_s, pv_wp))


def _read_columns(path: Path) -> tuple[dict[str, list[float]], list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        unknown = sorted(set(names) - set(COLUMNS))
        if unknown or len(set(names)) != len(names):
            raise LocalCsvError(f"{path.name}:1: unknown or repeated columns {unknown or names}; known: {COLUMNS}")
        if "load_w" not in names:
            raise LocalCsvError(f"{path.name}:1: the column load_w is missing")
        if "pv_w" in names and "ghi_w_m2" in names:
            raise LocalCsvError(f"{path.name}:1: either pv_w or ghi_w_m2, not both")
        reader.fieldnames = names
        columns: dict[str, list[float]] = {name: [] for name in names if name != "time"}
        times: list[str] = []
        for row in reader:
            if None in row or None in row.values():
                raise LocalCsvError(f"{path.name}:{reader.line_num}: the row has not {len(names)} fields")
            times += [row["time"].strip()] if "time" in row else []
            for name, values in columns.items():
                values.append(_number(row[name], name, f"{path.name}:{reader.line_num}"))
    return columns, times


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise LocalCsvError(f"{where}: {name} is no number: {text!r}") from None
    low, high = LIMITS[name]
    if not math.isfinite(value) or not low <= value <= high:
        raise LocalCsvError(f"{where}: {name} {text.strip()} is outside {low:g}..{high:g}")
    return value


def _seconds(text: str) -> float:
    """Position of a time on the file's own axis."""
    try:
        if len(text) <= len("HH:MM:SS"):
            at = time.fromisoformat(text)
            return at.hour * 3600 + at.minute * 60 + at.second
        stamp = datetime.fromisoformat(text)
        return (stamp.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        raise LocalCsvError(f"no time: {text!r}; expected ISO 8601 or HH:MM") from None


def _step_s(times: Sequence[str], rows: int) -> int:
    if rows == 0:
        raise LocalCsvError("the file has no rows")
    if not times:
        if DAY_S % rows or DAY_S // rows < SHORTEST_STEP_S:
            raise LocalCsvError(f"{rows} rows without a time are no equal steps of one day")
        return DAY_S // rows
    seconds = [_seconds(text) for text in times]
    steps = {later - earlier for earlier, later in pairwise(seconds)}
    if len(steps) != 1:
        raise LocalCsvError(f"the times are not in equal steps: {sorted(steps)[:4]} s")
    step = steps.pop()
    if step < SHORTEST_STEP_S or step % SHORTEST_STEP_S or DAY_S % step:
        raise LocalCsvError(f"steps of {step:g} s are not whole minutes that divide a day")
    if rows * step % DAY_S or seconds[0] % DAY_S:
        raise LocalCsvError(f"{rows} rows of {step:g} s from {times[0]} are not whole days from midnight")
    return int(step)


def _sky(columns: dict[str, list[float]], rows: int, day: date, step_s: int, pv_wp: int) -> Sky:
    """Metered production as it is; irradiance split into direct and diffuse (Erbs) at the station's site."""
    if "ghi_w_m2" not in columns:
        return MeteredProduction(tuple(power_w / pv_wp for power_w in columns.get("pv_w", [0.0] * rows)))
    import pandas as pd
    from pvlib import irradiance, solarposition

    site = station_site()
    first = datetime(day.year, day.month, day.day, tzinfo=site.clock) + timedelta(seconds=step_s / 2)
    index = pd.date_range(first, periods=rows, freq=f"{step_s}s")
    ghi = pd.Series(columns["ghi_w_m2"], index=index)
    sun = solarposition.get_solarposition(index, site.latitude_deg, site.longitude_deg, site.altitude_m)
    split = irradiance.erbs(ghi, sun["zenith"], index)
    temperature = columns.get("temperature_c", [20.0] * rows)
    weather = {"ghi": ghi, "dni": split["dni"], "dhi": split["dhi"], "temp_air": temperature, "wind_speed": WIND_M_S}
    return MeasuredSky(site, pd.DataFrame(weather, index=index))
