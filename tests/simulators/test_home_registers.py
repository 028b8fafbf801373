"""What a home shows survives the registers of its own devices."""

from __future__ import annotations

import pytest

from device_profiles.codec import decode, encode
from device_profiles.measurement import MEASUREMENTS
from device_profiles.profile import load_profile
from device_profiles.sunspec import layout, resolve
from simulators.home import Home, HomePlan, street
from simulators.load_profile import DAY_S
from simulators.weather import synthetic_day


def devices(home: Home) -> list[tuple[str, dict[str, int]]]:
    """Profile name and current values of every device of the home."""
    found = [(home.plan.meter, home.meter_values())]
    found += [(home.plan.inverter, home.inverter_values())] if home.plan.inverter else []
    found += [(home.plan.battery, home.battery_values())] if home.plan.battery else []
    return found


@pytest.mark.parametrize("plan", street(), ids=lambda plan: plan.name)
def test_every_value_comes_back_from_the_registers_as_finely_as_they_count(plan: HomePlan) -> None:
    home = Home(plan, synthetic_day(1))
    for _ in range(8):
        home.advance(home.now_s + DAY_S // 8)
        for name, values in devices(home):
            profile = load_profile(name)
            if profile.sunspec is not None:
                profile = resolve(profile, layout(profile))
            assert profile.measurements <= set(values)
            shown = decode(profile, encode(profile, values))
            assert set(shown) == set(profile.measurements)
            for measured, value in shown.items():
                # The coarsest registers of the street count 0.1 kWh, 0.1 % and one tenth of a watt or volt.
                tolerance = 50 if MEASUREMENTS[measured].counter else max(100, abs(values[measured]) // 100)
                assert abs(value - values[measured]) <= tolerance, (name, measured)
