"""The input of homes: measured profiles and weather against independent references, and the user's file."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.home import Home, street
from simulators.load_profile import DAY_S, LUMPY_PERMILLE, h25_shape_w, home_load_w, synthetic_shape_w
from simulators.solar import PvArray, clear_sky_production_w, measured_production_w
from simulators.user_csv import LocalCsvError, csv_day
from simulators.weather import DayInput, MeteredProduction, measured_day, station_weather, synthetic_day

SAMPLE = Path(__file__).parents[2] / "simulators" / "samples" / "street_day.csv"
SOUTH = PvArray(10_000, 30, 180, 8_300)


def test_importing_the_homes_loads_no_heavy_library() -> None:
    code = (
        "import sys, simulators.home, simulators.user_csv\n"
        "simulators.home.Home(simulators.home.street()[0], simulators.weather.synthetic_day(1))\n"
        "print([name for name in ('pandas', 'numpy', 'pvlib', 'demandlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("year", [2024, 2025])
def test_the_standard_profile_sums_to_the_annual_energy(year: int) -> None:
    days = (date(year + 1, 1, 1) - date(year, 1, 1)).days
    energy_wh = math.fsum(h25_shape_w(date(year, 1, 1), days)) / 4
    assert energy_wh == pytest.approx(1_000_000, rel=1e-9)


def test_the_standard_profile_is_the_published_table_with_its_day_factor() -> None:
    # BDEW H25, January, working day, 00:00: 20.126 kWh; day factor of the first working day, 2 January 2025.
    published = 20.126 * (-3.92e-10 * 2**4 + 3.2e-7 * 2**3 - 7.02e-5 * 2**2 + 0.0021 * 2 + 1.24)
    summer = 25.976 * (-3.92e-10 * 182**4 + 3.2e-7 * 182**3 - 7.02e-5 * 182**2 + 0.0021 * 182 + 1.24)
    winter_w, july_w = h25_shape_w(date(2025, 1, 2))[0], h25_shape_w(date(2025, 7, 1))[0]
    assert winter_w / july_w == pytest.approx(published / summer, rel=1e-6)


@given(
    st.lists(st.floats(0, 2_000), min_size=96, max_size=96),
    st.integers(0, 20_000),
    st.integers(0, 2**32),
    st.sampled_from((60, 300, 900)),
)
@settings(max_examples=30)
def test_scatter_keeps_the_days_energy_and_is_never_negative(
    shape: list[float], annual_kwh: int, seed: int, step_s: int
) -> None:
    load = home_load_w(shape, 900, annual_kwh, seed, step_s)
    assert len(load) == DAY_S // step_s
    assert min(load) >= 0
    expected = math.fsum(shape) * annual_kwh / 1000 * (900 // step_s)
    assert sum(load) == pytest.approx(expected, abs=1)


def test_a_single_home_is_lumpier_than_the_mean_and_many_homes_are_the_mean() -> None:
    shape = synthetic_shape_w()
    homes = [home_load_w(shape, 900, 3_500, seed, 60) for seed in range(300)]
    mean = [sum(home[minute] for home in homes) / len(homes) for minute in range(1_440)]
    assert max(homes[0]) > 3 * max(mean)
    for hour in range(1, 23):
        hourly = sum(mean[hour * 60 : hour * 60 + 60]) / 60
        assert hourly == pytest.approx(sum(shape[hour * 4 : hour * 4 + 4]) / 4 * 3.5, rel=0.35)
    assert 0 < LUMPY_PERMILLE < 1000


def test_the_yearly_yield_is_that_of_the_stations_climate() -> None:
    site, hourly = station_weather()
    yields = {
        azimuth: sum(measured_production_w(PvArray(10_000, 30, azimuth, 8_300), site, hourly)) / 10_000
        for azimuth in (0, 90, 180, 270)
    }
    # Independent of the model: yield = horizontal irradiation x gain of the tilt (1.05 to 1.2 at this latitude)
    # x performance ratio (0.7 to 0.85 for roofs), in kWh per kW and year; and what roofs of the region report.
    horizontal_kwh_m2 = float(hourly["ghi"].sum()) / 1000
    assert 1.05 * 0.7 * horizontal_kwh_m2 < yields[180] < 1.2 * 0.85 * horizontal_kwh_m2
    assert 1_000 < yields[180] < 1_700
    assert yields[0] < yields[90] < yields[180]
    assert yields[90] == pytest.approx(yields[270], rel=0.1)


def test_no_roof_produces_at_night_and_none_beyond_its_inverter() -> None:
    for day in (measured_day(date(2025, 6, 30)), measured_day(date(2025, 12, 21)), synthetic_day(1)):
        production = day.sky.production_w(SOUTH)
        assert len(production) == 96
        night = [*production[: 4 * 4], *production[21 * 4 :]]
        assert set(night) == {0.0}
        assert 0 < max(production) <= SOUTH.inverter_w + 1e-6


def test_quarter_hours_carry_the_energy_of_the_hours_they_come_from() -> None:
    site, hourly = station_weather()
    july = hourly.iloc[181 * 24 : 212 * 24]
    by_hours = sum(measured_production_w(SOUTH, site, july))
    by_quarters = sum(measured_day(date(2025, 7, 1), 31).sky.production_w(SOUTH)) / 4
    assert by_quarters == pytest.approx(by_hours, rel=0.03)


def test_a_leap_day_and_the_turn_of_the_year_have_weather() -> None:
    for first, days in ((date(2024, 2, 28), 3), (date(2025, 12, 31), 2)):
        day = measured_day(first, days)
        production = day.sky.production_w(SOUTH)
        assert day.days == days
        assert len(production) == len(day.load_shape_w) == 96 * days
        assert all(math.isfinite(power_w) for power_w in production)


def test_the_plain_clear_sky_agrees_with_the_library_on_a_clear_day() -> None:
    from pandas import DataFrame, date_range
    from pvlib import clearsky, irradiance, solarposition

    site, _ = station_weather()
    index = date_range("1990-06-21 00:07:30", periods=96, freq="15min", tz=site.clock)
    sun = solarposition.get_solarposition(index, site.latitude_deg, site.longitude_deg)
    clear = clearsky.haurwitz(sun["apparent_zenith"])["ghi"]
    for tilt, azimuth in ((0, 180), (30, 180), (30, 90), (30, 270)):
        array = PvArray(10_000, tilt, azimuth, 8_300)
        plain = clear_sky_production_w(array, site.latitude_deg, 172, [1.0] * 96)
        split = irradiance.erbs(clear, sun["zenith"], index)
        frame = DataFrame({"ghi": clear, "dni": split["dni"], "dhi": split["dhi"]}, index=index)
        reference = measured_production_w(array, site, frame.assign(temp_air=25.0, wind_speed=2.0))
        assert sum(plain) == pytest.approx(sum(reference), rel=0.15)


@pytest.mark.parametrize("days", [0, -1, 367])
def test_an_input_has_at_least_a_day_and_at_most_a_year(days: int) -> None:
    with pytest.raises(ValueError, match="days"):
        synthetic_day(1, days)
    with pytest.raises(ValueError, match="days"):
        measured_day(days=days)


@pytest.mark.parametrize(
    ("start_s", "step_s", "shape"),
    [(1, 900, 96), (0, 0, 96), (0, 7, 96), (0, 900, 95), (0, 900, 0), (0, 900, -96)],
)
def test_an_input_that_is_no_whole_day_cannot_be_made(start_s: int, step_s: int, shape: int) -> None:
    values = (-1.0 if shape < 0 else 1.0,) * abs(shape)
    with pytest.raises(ValueError, match=r"."):
        DayInput(start_s, step_s, values, MeteredProduction(values))


def test_the_shipped_sample_drives_a_street() -> None:
    day = csv_day(SAMPLE, date(2025, 5, 10))
    homes = [Home(plan, day) for plan in street()]
    for home in homes:
        home.advance(home.now_s + DAY_S)
    produced_wh = sum(home.production_ws for home in homes) / 3_600
    assert 100_000 < produced_wh < 400_000
    # The sample was taken from the measured day: irradiance is split again, so that little may differ.
    measured = measured_day(date(2025, 5, 10)).sky.production_w(SOUTH)
    assert sum(day.sky.production_w(SOUTH)) == pytest.approx(sum(measured), rel=0.05)


def test_metered_production_is_scaled_by_the_size_of_the_roof(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("load_w,pv_w\n" + "400,1000\n" * 24, encoding="utf-8")
    day = csv_day(path, annual_load_kwh=4_000, pv_wp=5_000)
    assert (day.step_s, day.load_shape_w[0]) == (3_600, 100.0)
    assert day.sky.production_w(SOUTH)[0] == pytest.approx(2_000)


def test_a_file_without_sun_is_a_home_without_production(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("\ufefftime,load_w\n" + "".join(f"2025-01-01T{h:02d}:00,5\n" for h in range(24)), encoding="utf-8")
    assert set(csv_day(path).sky.production_w(SOUTH)) == {0.0}


ROWS = "".join(f"{hour:02d}:00,100\n" for hour in range(24))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "load_w is missing"),
        ("load_w\n", "no rows"),
        ("power\n1\n", "unknown"),
        ("load_w,load_w\n1,1\n", "repeated"),
        ("load_w,pv_w,ghi_w_m2\n1,1,1\n", "not both"),
        ("load_w,pv_w\n1\n", ":2: the row has not 2"),
        ("load_w\n1,2\n", ":2: the row has not 1"),
        ("load_w\nmuch\n", ":2: load_w is no number"),
        ("load_w\nnan\n", ":2: load_w nan is outside"),
        ("load_w\n-1\n", "outside"),
        ("load_w\n" + "1\n" * 7, "no equal steps"),
        ("load_w\n" + "1\n" * 2_880, "no equal steps"),
        ("time,load_w\n" + ROWS.replace("03:00", "03:30"), "not in equal steps"),
        ("time,load_w\n" + ROWS.replace("03:00", "noon"), "no time"),
        ("time,load_w\n" + ROWS.removesuffix("23:00,100\n"), "not whole days"),
        ("time,load_w\n00:00,1\n", "equal steps"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LocalCsvError, match=message):
        csv_day(path)
