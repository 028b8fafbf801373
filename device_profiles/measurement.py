"""The words a profile may use: every measured quantity and every set-point, with unit and plausible range.

All values are Python integers in the unit at the end of the name. Load convention: positive power flows into
the device or the home; `import_wh` counts what flowed in, `export_wh` what flowed out, both only upwards.
The range is what a home or a small feeder can show at all; a quality guard may narrow it, never widen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["MEASUREMENTS", "SETPOINTS", "Measurement", "measurement"]

# One bound for every power: 2 MW is more than any connection behind a low-voltage feeder.
_POWER_MAX = 2_000_000
# A cumulative counter of a meter that small stays below 10 TWh for its whole life, and inside 64 bits.
_ENERGY_MAX = 10**13


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity: `name` ends in `unit`; `minimum` and `maximum` are inclusive and in that unit."""

    name: str
    unit: str
    signed: bool
    counter: bool
    minimum: int
    maximum: int
    meaning: str

    @property
    def magnitude(self) -> bool:
        """Whether only its size is told: many devices give a current the sign of the power, others do not."""
        return self.unit == "ma"


def _power(name: str, unit: str, meaning: str) -> Measurement:
    return Measurement(name, unit, True, False, -_POWER_MAX, _POWER_MAX, meaning)


def _counter(name: str, meaning: str) -> Measurement:
    return Measurement(name, "wh", False, True, 0, _ENERGY_MAX, meaning)


def _unsigned(name: str, unit: str, maximum: int, meaning: str, minimum: int = 0) -> Measurement:
    return Measurement(name, unit, False, False, minimum, maximum, meaning)


def _all() -> list[Measurement]:
    found = [
        _power("power_w", "w", "active power, all phases"),
        _power("reactive_var", "var", "reactive power, all phases"),
        _unsigned("apparent_va", "va", _POWER_MAX, "apparent power, all phases"),
        _unsigned("frequency_mhz", "mhz", 70_000, "grid frequency in millihertz", minimum=40_000),
        Measurement("power_factor_permille", "permille", True, False, -1000, 1000, "power factor, all phases"),
        _counter("import_wh", "energy that flowed in since the device was made"),
        _counter("export_wh", "energy that flowed out since the device was made"),
        _unsigned("soc_permille", "permille", 1000, "state of charge"),
        _unsigned("soh_permille", "permille", 1000, "state of health"),
        _unsigned("capacity_wh", "wh", 10**9, "usable size of the storage"),
        _unsigned("stored_wh", "wh", 10**9, "energy in the storage now"),
        _unsigned("max_power_w", "w", _POWER_MAX, "power limit as set up; set-points in permille refer to it"),
        _unsigned("rated_power_w", "w", _POWER_MAX, "power on the nameplate"),
        _unsigned("available_power_w", "w", _POWER_MAX, "power it could feed out without a limit"),
        _unsigned("dc_power_w", "w", _POWER_MAX, "power on the DC side"),
        Measurement("temperature_mc", "mc", True, False, -60_000, 200_000, "cabinet temperature, milli-Celsius"),
        _unsigned("status", "count", 65_535, "operating state, the maker's or SunSpec's number"),
        _unsigned("connection_bits", "count", 65_535, "grid connection flags (SunSpec 122: bit 0 connected)"),
        _unsigned("alarm_bits", "count", 2**32 - 1, "alarm flags, the maker's or SunSpec's bits"),
    ]
    for phase in ("l1", "l2", "l3"):
        found += [
            _power(f"power_{phase}_w", "w", f"active power of {phase.upper()}"),
            _power(f"reactive_{phase}_var", "var", f"reactive power of {phase.upper()}"),
            _unsigned(f"apparent_{phase}_va", "va", _POWER_MAX, f"apparent power of {phase.upper()}"),
            _unsigned(f"voltage_{phase}_mv", "mv", 500_000, f"voltage {phase.upper()} to neutral"),
            _unsigned(f"current_{phase}_ma", "ma", 3_000_000, f"current of {phase.upper()}, magnitude"),
            _counter(f"import_{phase}_wh", f"energy that flowed in on {phase.upper()}"),
            _counter(f"export_{phase}_wh", f"energy that flowed out on {phase.upper()}"),
        ]
    return found


MEASUREMENTS: Mapping[str, Measurement] = MappingProxyType({m.name: m for m in _all()})

SETPOINTS: Mapping[str, Measurement] = MappingProxyType(
    {
        m.name: m
        for m in (
            _power("power_setpoint_w", "w", "power the device shall hold; positive charges or consumes"),
            _unsigned("power_limit_w", "w", _POWER_MAX, "most the device may feed out"),
            _unsigned("power_limit_permille", "permille", 1000, "most it may feed out, of max_power_w"),
            _power("reactive_setpoint_var", "var", "reactive power the device shall take; negative feeds it"),
        )
    }
)


def measurement(name: str) -> Measurement:
    """The measurement or set-point called `name`; KeyError for a word outside the vocabulary."""
    return MEASUREMENTS[name] if name in MEASUREMENTS else SETPOINTS[name]
