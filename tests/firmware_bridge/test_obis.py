"""Registers become measurements exactly: right sign, right unit, and no sum that lacks a part."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.measurement import MEASUREMENTS
from firmware_bridge.obis import REGISTERS, Entry, Obis, measurements, micro_of, obis_from_text, register_of
from firmware_bridge.telegram import Refusal


def entry(code: str, value: int | None, unit: str, backward: bool | None = None) -> Entry:
    found = obis_from_text(code)
    assert found is not None
    return Entry(found, None if value is None else value * 10**6, unit, backward)


def meant(*entries: Entry) -> dict[str, int]:
    return measurements(entries, Counter())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1-0:1.8.0*255", Obis(1, 0, 1, 8, 0, 255)),
        ("1-0:1.8.0", Obis(1, 0, 1, 8, 0, 255)),
        ("1.8.0", Obis(1, 0, 1, 8, 0, 255)),
        ("32.7", Obis(1, 0, 32, 7, 0, 255)),
        ("1.8.0*12", Obis(1, 0, 1, 8, 0, 12)),
        ("1.8.1&12", Obis(1, 0, 1, 8, 1, 12)),
        ("0-1:24.2.1", Obis(0, 1, 24, 2, 1, 255)),
    ],
)
def test_a_code_is_read_with_the_groups_it_leaves_out(text: str, code: Obis) -> None:
    assert obis_from_text(text) == code


@pytest.mark.parametrize(
    "text", ["", "F.F", "C.1.0", "1", "1-0", "1-0:1.8.0.255", "1.8.256", "1.8.0*", " 1.8.0", "١.8.0"]
)
def test_what_is_no_code_is_refused(text: str) -> None:
    assert obis_from_text(text) is None


def test_every_register_is_a_measurement_of_the_vocabulary() -> None:
    assert {register.measurement for register in REGISTERS.values()} <= set(MEASUREMENTS)
    signed = {register.measurement for register in REGISTERS.values() if register.sign < 0}
    assert all(MEASUREMENTS[name].signed for name in signed)


@given(mantissa=st.integers(-(10**15), 10**15), exponent=st.integers(-30, 12))
def test_a_value_is_exact_in_millionths_or_none(mantissa: int, exponent: int) -> None:
    exact = Fraction(mantissa) * Fraction(10) ** (exponent + 6)
    found = micro_of(mantissa, exponent)
    assert found is None or found == exact
    if -6 <= exponent <= 9:
        assert found is not None


def test_power_is_the_signed_register_or_import_minus_export() -> None:
    plus, minus, signed = entry("1.7.0", 500, "W"), entry("2.7.0", 800, "W"), entry("16.7.0", -299, "W")
    assert meant(plus, minus) == {"power_w": -300}
    assert meant(plus, minus, signed) == {"power_w": -299}
    assert meant(plus) == {"power_w": 500}
    assert meant(minus) == {"power_w": -800}


@pytest.mark.parametrize(("backward", "power_w"), [(True, -137), (False, 137)])
def test_the_sum_of_magnitudes_takes_its_sign_from_the_status_word(backward: bool, power_w: int) -> None:
    assert meant(entry("15.7.0", 137, "W", backward)) == {"power_w": power_w}


def test_the_sum_of_magnitudes_without_a_status_word_is_no_power() -> None:
    assert meant(entry("15.7.0", 137, "W")) == {}


@given(tariffs=st.dictionaries(st.integers(1, 63), st.integers(0, 10**9), min_size=1, max_size=8))
def test_a_counter_is_the_sum_of_its_tariffs_where_it_has_no_total(tariffs: dict[int, int]) -> None:
    entries = [entry(f"1.8.{tariff}", wh, "Wh") for tariff, wh in tariffs.items()]
    assert meant(*entries) == {"import_wh": sum(tariffs.values())}
    assert meant(*entries, entry("1.8.0", 7, "Wh")) == {"import_wh": 7}


def test_a_sum_that_lacks_a_part_is_absent_not_smaller() -> None:
    one, two = entry("1.8.1", 100, "Wh"), entry("1.8.2", None, "")
    assert meant(one, two) == {}
    assert meant(one, two, entry("1.8.0", 300, "Wh")) == {"import_wh": 300}
    assert meant(entry("1.7.0", 5, "W"), entry("2.7.0", 5, "VA")) == {}


def test_a_register_told_twice_and_differently_is_counted_and_left_out() -> None:
    refused: Counter[Refusal] = Counter()
    twice = [entry("1.8.1", 100, "Wh"), entry("1-1:1.8.1", 101, "Wh"), entry("1.8.2", 5, "Wh")]
    assert measurements([*twice, entry("32.7.0", 230, "V")], refused) == {"voltage_l1_mv": 230_000}
    assert refused == {Refusal.IMPLAUSIBLE: 1}
    assert meant(entry("1.8.0", 100, "Wh"), entry("1-1:1.8.0*255", 100, "Wh")) == {"import_wh": 100}


def test_past_billing_periods_are_passed_over_but_for_a_lone_zeroth() -> None:
    now, past, zeroth = entry("1.8.0", 9, "Wh"), entry("1.8.0*12", 5, "Wh"), entry("1.8.0*00", 7, "Wh")
    assert meant(now, past, zeroth) == {"import_wh": 9}
    assert meant(past, zeroth) == {"import_wh": 7}
    assert meant(past) == {}
    assert meant(zeroth, entry("1.8.0*00", 0, "Wh")) == {}


@pytest.mark.parametrize("code", ["0-1:24.2.1", "7-0:3.1.0", "1-3:1.8.0", "1.6.0", "1.8.64", "1.7.1", "99.97.0"])
def test_what_is_not_a_measurement_of_this_meter_is_passed_over(code: str) -> None:
    found = obis_from_text(code)
    assert found is not None
    assert register_of(found) is None


def test_an_implausible_value_is_counted_and_the_others_stand() -> None:
    refused: Counter[Refusal] = Counter()
    found = measurements([entry("1.8.0", -1, "Wh"), entry("2.8.0", 1, "Wh"), entry("13.7.0", 4, "")], refused)
    assert found == {"export_wh": 1}
    assert refused == {Refusal.IMPLAUSIBLE: 2}


def test_a_current_is_a_magnitude() -> None:
    assert meant(entry("31.7.0", -3, "A")) == {"current_l1_ma": 3000}
