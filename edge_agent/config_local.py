"""What an installer decides about the home's own devices: droop, breaker, battery, vehicle; each absent by default.

Powers in W, frequencies in mHz, voltages in mV; curves are pairs (voltage in permille of nominal, output in permille
of the rated power), rising in voltage. The standards' figures are defaults that an installer may change, not the
standards' text; the network operator's word counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

Curve = tuple[tuple[int, int], ...]

FREQUENCY_WATT, VOLT_WATT, VOLT_VAR = "frequency-watt", "volt-watt", "volt-var"
DROOP_FUNCTIONS = (FREQUENCY_WATT, VOLT_WATT, VOLT_VAR)


@dataclass(frozen=True, slots=True)
class DroopConfig:
    """Local droop for ``devices`` (names of meters) that have none of their own.

    Outside ``low_mhz`` … ``high_mhz`` power follows the frequency: ``droop_permille`` of nominal frequency moves all
    of the base, which is the device's power at that moment (``base`` moment) or its rated power (rated). Back inside
    by ``hysteresis_mhz`` for ``return_s``, it returns by ``return_permille_per_min``; other moves are at most
    ``ramp_permille_per_s``. A measurement older than ``stale_s`` ends it. ``rated_w`` is asked of the device where 0.
    """

    devices: tuple[str, ...]
    functions: tuple[str, ...] = (FREQUENCY_WATT,)
    in_autonomous: bool = False
    nominal_mhz: int = 50_000
    low_mhz: int = 49_800
    high_mhz: int = 50_200
    droop_permille: int = 50
    base: str = "moment"
    hysteresis_mhz: int = 20
    nominal_mv: int = 230_000
    hysteresis_mv: int = 500
    volt_watt: Curve = ((1060, 1000), (1100, 200))
    volt_var: Curve = ((920, 440), (980, 0), (1020, 0), (1080, -440))
    blend_permille: int = 300
    ramp_permille_per_s: int = 500
    return_s: int = 60
    return_permille_per_min: int = 100
    stale_s: int = 10
    rated_w: int = 0


STANDARDS = {
    "en50549": DroopConfig(()),
    "ieee1547": DroopConfig(
        (), nominal_mhz=60_000, low_mhz=59_964, high_mhz=60_036, base="rated", nominal_mv=240_000,
        hysteresis_mhz=5,
    ),
}  # fmt: skip
"""EN 50549-1: LFSM from 50.2 and 49.8 Hz, 5 %. IEEE 1547-2018 category B: ±36 mHz, 5 %, volt-var to 44 %."""


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When the home's software breaker opens, and how long it stays open."""

    voltage_low_mv: int = 195_500
    voltage_high_mv: int = 264_500
    frequency_low_mhz: int = 47_500
    frequency_high_mhz: int = 51_500
    voltage_hysteresis_mv: int = 6_900
    frequency_hysteresis_mhz: int = 300
    trip_s: int = 3
    overload_s: int = 30
    read_back_failures: int = 3
    clock_jump_s: int = 60
    hold_off_s: int = 60
    probation_s: int = 30


@dataclass(frozen=True, slots=True)
class BatteryConfig:
    """The home's own battery: ``meter`` is its name. ``efficiency_permille`` is the round trip's.

    ``own_logic``: left alone it serves the home's own consumption. ``hourly_import_price`` has one price for each UTC
    hour, or none: then the tariff's counts all day.
    """

    meter: str
    capacity_wh: int
    max_charge_w: int
    max_discharge_w: int
    reserve_permille: int = 100
    efficiency_permille: int = 900
    own_logic: bool = True
    hourly_import_price: tuple[int, ...] = ()

    @property
    def one_way_permille(self) -> int:
        """Efficiency of one direction: both cost the same."""
        return isqrt(self.efficiency_permille * 1000)

    def allows(self, power_w: int, soc_permille: int | None) -> bool:
        """Whether the owner lets anybody ask this of the battery; a full one and the reserve are left alone."""
        if not -self.max_discharge_w <= power_w <= self.max_charge_w:
            return False
        return power_w >= 0 or soc_permille is None or soc_permille > self.reserve_permille


@dataclass(frozen=True, slots=True)
class VehicleConfig:
    """A vehicle that needs ``needs_wh`` every day until minute ``by_minute`` of the UTC day.

    ``meter`` is its charger's name, which must count ``import_wh``. The first ``at_once_wh`` are charged as soon as
    possible, so that there is always a way to a hospital.
    """

    meter: str
    needs_wh: int
    by_minute: int
    max_charge_w: int
    at_once_wh: int = 0
