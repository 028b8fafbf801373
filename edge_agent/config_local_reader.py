"""Reads [droop], [breaker], [battery] and [vehicle]; every table that is not there is off."""

from __future__ import annotations

from itertools import pairwise

from contracts.units import PRICE_LIMIT_MICRO_PER_KWH
from edge_agent.config_local import (
    DROOP_FUNCTIONS,
    STANDARDS,
    BatteryConfig,
    BreakerConfig,
    Curve,
    DroopConfig,
    VehicleConfig,
)
from edge_agent.config_section import Section

_POWER_LIMIT_W = 2_000_000
_ENERGY_LIMIT_WH = 10_000_000
_POINTS_LIMIT = 16
"""A curve of a grid code has two to six corners."""


def read_droop(table: Section, meters: frozenset[str]) -> DroopConfig:
    """[droop]; ``meters`` are the names it may steer."""
    base = STANDARDS[table.text("standard", "en50549", tuple(STANDARDS))]
    droop = DroopConfig(
        _names(table, "devices", meters),
        _names(table, "functions", frozenset(DROOP_FUNCTIONS), base.functions),
        table.flag("in_autonomous", base.in_autonomous),
        table.integer("nominal_mhz", 40_000, 70_000, base.nominal_mhz),
        table.integer("low_mhz", 40_000, 70_000, base.low_mhz),
        table.integer("high_mhz", 40_000, 70_000, base.high_mhz),
        table.integer("droop_permille", 1, 500, base.droop_permille),
        table.text("base", base.base, ("moment", "rated")),
        table.integer("hysteresis_mhz", 0, 1_000, base.hysteresis_mhz),
        table.integer("nominal_mv", 50_000, 500_000, base.nominal_mv),
        table.integer("hysteresis_mv", 0, 20_000, base.hysteresis_mv),
        _curve(table, "volt_watt", base.volt_watt, 0),
        _curve(table, "volt_var", base.volt_var, -1000),
        table.integer("blend_permille", 1, 1000, base.blend_permille),
        table.integer("ramp_permille_per_s", 1, 1000, base.ramp_permille_per_s),
        table.integer("return_s", 0, 3_600, base.return_s),
        table.integer("return_permille_per_min", 1, 60_000, base.return_permille_per_min),
        table.integer("stale_s", 1, 600, base.stale_s),
        table.integer("rated_w", 0, _POWER_LIMIT_W, base.rated_w),
    )
    if not droop.low_mhz < droop.nominal_mhz < droop.high_mhz:
        table.refuse("low_mhz < nominal_mhz < high_mhz does not hold")
    table.done()
    return droop


def _names(table: Section, key: str, among: frozenset[str], default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """A list of different names, each one of ``among``; required without a default."""
    table.seen.add(key)
    value = table.values.get(key, None if default is None else list(default))
    if not isinstance(value, list) or not value or any(type(name) is not str or name not in among for name in value):
        table.refuse(f"{key} is {value!r}, allowed is a list of {', '.join(sorted(among)) or 'nothing'}")
        return ()
    if len(set(value)) != len(value):
        table.refuse(f"{key} names one twice")
    return tuple(value)


def _meter(table: Section, meters: frozenset[str]) -> str:
    """The name of a device that can be written to."""
    name = table.text("meter")
    if name and name not in meters:
        table.refuse(f"meter is {name!r}, allowed are {', '.join(sorted(meters)) or 'none: no Modbus device is there'}")
    return name


def _curve(table: Section, key: str, default: Curve, low: int) -> Curve:
    """Pairs of voltage and output in permille, rising in voltage and never rising in output."""
    table.seen.add(key)
    rows = table.values.get(key)
    if rows is None:
        return default
    legal = isinstance(rows, list) and 2 <= len(rows) <= _POINTS_LIMIT and all(_is_corner(row, low) for row in rows)
    if legal:
        falling = all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(rows))
        if falling:
            return tuple((row[0], row[1]) for row in rows)
    table.refuse(f"{key} must be 2 to {_POINTS_LIMIT} pairs of permille, rising in voltage, not rising in output")
    return default


def _is_corner(row: object, low: int) -> bool:
    if not isinstance(row, list) or len(row) != 2 or any(type(value) is not int for value in row):
        return False
    return bool(500 <= row[0] <= 1500 and low <= row[1] <= 1000)


def read_breaker(table: Section) -> BreakerConfig:
    """[breaker]."""
    base = BreakerConfig()
    breaker = BreakerConfig(
        table.integer("voltage_low_mv", 0, 500_000, base.voltage_low_mv),
        table.integer("voltage_high_mv", 0, 500_000, base.voltage_high_mv),
        table.integer("frequency_low_mhz", 40_000, 70_000, base.frequency_low_mhz),
        table.integer("frequency_high_mhz", 40_000, 70_000, base.frequency_high_mhz),
        table.integer("voltage_hysteresis_mv", 0, 50_000, base.voltage_hysteresis_mv),
        table.integer("frequency_hysteresis_mhz", 0, 2_000, base.frequency_hysteresis_mhz),
        table.integer("trip_s", 1, 600, base.trip_s),
        table.integer("overload_s", 1, 3_600, base.overload_s),
        table.integer("read_back_failures", 1, 100, base.read_back_failures),
        table.integer("clock_jump_s", 1, 86_400, base.clock_jump_s),
        table.integer("hold_off_s", 1, 3_600, base.hold_off_s),
        table.integer("probation_s", 1, 3_600, base.probation_s),
    )
    if breaker.voltage_high_mv - breaker.voltage_low_mv <= 2 * breaker.voltage_hysteresis_mv:
        table.refuse("the voltage band is narrower than its hysteresis")
    if breaker.frequency_high_mhz - breaker.frequency_low_mhz <= 2 * breaker.frequency_hysteresis_mhz:
        table.refuse("the frequency band is narrower than its hysteresis")
    table.done()
    return breaker


def read_battery(table: Section, meters: frozenset[str]) -> BatteryConfig:
    """[battery]."""
    battery = BatteryConfig(
        _meter(table, meters),
        table.integer("capacity_wh", 1, _ENERGY_LIMIT_WH),
        table.integer("max_charge_w", 0, _POWER_LIMIT_W),
        table.integer("max_discharge_w", 0, _POWER_LIMIT_W),
        table.integer("reserve_permille", 0, 1000, 100),
        table.integer("efficiency_permille", 1, 1000, 900),
        table.flag("own_logic", True),
        _hourly(table),
    )
    table.done()
    return battery


def _hourly(table: Section) -> tuple[int, ...]:
    """24 prices, or none."""
    table.seen.add("hourly_import_price")
    rows, limit = table.values.get("hourly_import_price", []), PRICE_LIMIT_MICRO_PER_KWH
    if isinstance(rows, list) and len(rows) in (0, 24) and all(type(p) is int and -limit <= p <= limit for p in rows):
        return tuple(rows)
    table.refuse("hourly_import_price must be 24 prices, one for each hour of the UTC day")
    return ()


def read_vehicle(table: Section, meters: frozenset[str]) -> VehicleConfig:
    """[vehicle]."""
    vehicle = VehicleConfig(
        _meter(table, meters),
        table.integer("needs_wh", 1, _ENERGY_LIMIT_WH),
        table.integer("by_minute", 0, 1_439),
        table.integer("max_charge_w", 1, _POWER_LIMIT_W),
        table.integer("at_once_wh", 0, _ENERGY_LIMIT_WH, 0),
    )
    if vehicle.at_once_wh > vehicle.needs_wh:
        table.refuse("at_once_wh is more than needs_wh")
    table.done()
    return vehicle
