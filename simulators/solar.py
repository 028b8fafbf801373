"""What a roof produces: an array of PV modules with its inverter, under a measured or a synthetic sky.

Measured weather goes through pvlib: solar position (NREL SPA), transposition to the module plane (Hay-Davies),
cell temperature (Faiman), PVWatts module, losses and inverter. The synthetic sky is a clear sky in a few lines of
plain trigonometry, for tests that must start in milliseconds. Both return AC power in W, never negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TEMPERATURE_COEFFICIENT_PER_K = -0.0035
"""Crystalline silicon, PVWatts version 5, premium module."""

INVERTER_EFFICIENCY = 0.96
"""Nominal efficiency of the PVWatts inverter."""

SYNTHETIC_PERFORMANCE_RATIO = 0.82
"""All losses of the synthetic sky in one factor: PVWatts' 14 % system losses and 4 % of the inverter."""


@dataclass(frozen=True, slots=True)
class PvArray:
    """Modules of ``peak_w`` (standard test conditions) on one plane; azimuth 90 is east, 180 south."""

    peak_w: int
    tilt_deg: int
    azimuth_deg: int
    inverter_w: int

    def __post_init__(self) -> None:
        if self.peak_w <= 0 or self.inverter_w <= 0:
            raise ValueError("an array has modules and an inverter")
        if not 0 <= self.tilt_deg <= 90 or not 0 <= self.azimuth_deg < 360:
            raise ValueError("tilt is within 0..90 degrees, azimuth within 0..359")


@dataclass(frozen=True, slots=True)
class Site:
    """Where the weather was measured."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    utc_offset_s: int
    """Of the station's standard time."""

    @property
    def clock(self) -> timezone:
        """The station's standard time, without summer time."""
        return timezone(timedelta(seconds=self.utc_offset_s))


def measured_production_w(array: PvArray, site: Site, weather: pd.DataFrame) -> tuple[float, ...]:
    """AC power in W for every row of ``weather``.

    Its index is time-zone aware and stands at the middle of each step; its columns are ghi, dni, dhi in W/m2,
    temp_air in Celsius and wind_speed in m/s.
    """
    from pvlib import inverter, irradiance, pvsystem, solarposition, temperature

    sun = solarposition.get_solarposition(weather.index, site.latitude_deg, site.longitude_deg, site.altitude_m)
    plane = irradiance.get_total_irradiance(
        array.tilt_deg,
        array.azimuth_deg,
        sun["apparent_zenith"],
        sun["azimuth"],
        weather["dni"],
        weather["ghi"],
        weather["dhi"],
        dni_extra=irradiance.get_extra_radiation(weather.index),
        model="haydavies",
    )
    irradiance_w_m2 = plane["poa_global"].fillna(0.0).clip(lower=0.0).where(sun["apparent_elevation"] > 0, 0.0)
    cell_c = temperature.faiman(irradiance_w_m2, weather["temp_air"], weather["wind_speed"])
    dc_w = pvsystem.pvwatts_dc(irradiance_w_m2, cell_c, array.peak_w, TEMPERATURE_COEFFICIENT_PER_K)
    dc_w = dc_w * (1 - pvsystem.pvwatts_losses() / 100)
    ac_w = inverter.pvwatts(dc_w, array.inverter_w / INVERTER_EFFICIENCY, INVERTER_EFFICIENCY)
    return tuple(float(power_w) for power_w in ac_w.fillna(0.0).clip(lower=0.0))


def clear_sky_production_w(
    array: PvArray, latitude_deg: float, day_of_year: int, clearness: Sequence[float]
) -> tuple[float, ...]:
    """AC power in W over one day under a clear sky, dimmed by ``clearness`` (0..1 for each equal step of the day).

    Declination after Cooper (1969), direct irradiance after Meinel (1976), diffuse light a tenth of it and the same
    from all of the sky. Solar noon is at noon.
    """
    latitude, tilt, azimuth = (math.radians(angle) for angle in (latitude_deg, array.tilt_deg, array.azimuth_deg))
    declination = math.radians(23.45) * math.sin(math.radians(360 * (284 + day_of_year) / 365))
    normal = (math.sin(tilt) * math.sin(azimuth), math.sin(tilt) * math.cos(azimuth), math.cos(tilt))
    powers: list[float] = []
    for step, clear in enumerate(clearness):
        hour_angle = math.tau * ((step + 0.5) / len(clearness) - 0.5)
        east = -math.cos(declination) * math.sin(hour_angle)
        noonward = math.cos(declination) * math.cos(hour_angle)
        north = math.cos(latitude) * math.sin(declination) - math.sin(latitude) * noonward
        up = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * noonward
        if up <= 0.01:
            powers.append(0.0)
            continue
        direct_w_m2 = 1353 * 0.7 ** ((1 / up) ** 0.678)
        facing = max(0.0, east * normal[0] + north * normal[1] + up * normal[2])
        plane_w_m2 = direct_w_m2 * (facing + 0.1 * up * (1 + normal[2]) / 2)
        power_w = array.peak_w * plane_w_m2 / 1000 * clear * SYNTHETIC_PERFORMANCE_RATIO
        powers.append(min(power_w, float(array.inverter_w)))
    return tuple(powers)
