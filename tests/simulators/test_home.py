"""Homes: exact books, limits that hold, values a meter may show."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.measurement import MEASUREMENTS
from simulators.battery import RESERVE_PERMILLE, WS_PER_WH, Battery, cell_power_w
from simulators.home import Home, HomePlan, street
from simulators.load_profile import DAY_S
from simulators.weather import DayInput, MeteredProduction, synthetic_day

STREET = street()
PROSUMER_WITH_BATTERY = next(plan for plan in STREET if plan.battery)
CONSUMER = next(plan for plan in STREET if not plan.pv_wp)

commands = st.lists(
    st.tuples(
        st.integers(1, 9_000),
        st.sampled_from(("limit_w", "limit_permille", "battery", "lift", "release")),
        st.integers(-12_000, 12_000),
        st.integers(1, 7_200),
    ),
    max_size=25,
)


def obey(home: Home, kind: str, value: int, lasts_s: int) -> None:
    """Give one command; what the home has no device for is left out."""
    end_s = home.now_s + lasts_s
    if home.plan.inverter and kind == "limit_w":
        home.set_inverter_limit(power_w=abs(value), expires_at_s=end_s)
    if home.plan.inverter and kind == "limit_permille":
        home.set_inverter_limit(permille=abs(value) % 1001, expires_at_s=end_s)
    if home.plan.inverter and kind == "lift":
        home.set_inverter_limit()
    if home.cells and kind == "battery":
        home.set_battery_power(value, expires_at_s=end_s)
    if home.cells and kind == "release":
        home.set_battery_power(None)


@given(st.sampled_from(STREET), st.integers(0, 1_000), st.sampled_from((15, 60)), commands)
def test_energy_is_conserved_to_the_watt_second_under_any_commands(
    plan: HomePlan, seed: int, step_s: int, orders: list[tuple[int, str, int, int]]
) -> None:
    home = Home(plan, synthetic_day(seed), step_s)
    opening_ws = home.cells.stored_ws if home.cells else 0
    before = home.meter_values()
    for pause_s, kind, value, lasts_s in orders:
        home.advance(home.now_s + pause_s)
        obey(home, kind, value, lasts_s)
    home.advance(home.now_s + 601)
    lost_ws = home.cells.lost_ws if home.cells else 0
    stored_ws = home.cells.stored_ws - opening_ws if home.cells else 0
    assert home.load_ws + lost_ws + stored_ws == home.import_ws - home.export_ws + home.production_ws
    assert lost_ws >= 0
    after = home.meter_values()
    assert after["import_wh"] - before["import_wh"] == home.import_ws // WS_PER_WH
    assert after["export_wh"] - before["export_wh"] == home.export_ws // WS_PER_WH


@given(st.sampled_from(STREET), st.lists(st.integers(1, DAY_S), max_size=30, unique=True))
@settings(max_examples=25)
def test_where_the_clock_stops_in_between_makes_no_difference(plan: HomePlan, stops: list[int]) -> None:
    straight, halting = Home(plan, synthetic_day(5)), Home(plan, synthetic_day(5))
    start_s = straight.now_s
    for home in (straight, halting):
        home.advance(start_s + 100)
        obey(home, "limit_w", 2_000, 30_000)
        obey(home, "battery", -3_000, 40_001)
    for stop in sorted(stops):
        halting.advance(max(halting.now_s, start_s + stop))
    for home in (straight, halting):
        home.advance(start_s + DAY_S + 1)
    assert straight.meter_values() == halting.meter_values()
    assert (straight.import_ws, straight.export_ws) == (halting.import_ws, halting.export_ws)


@given(st.sampled_from(STREET), commands)
@settings(max_examples=25)
def test_counters_never_fall_and_every_value_is_one_a_profile_may_carry(
    plan: HomePlan, orders: list[tuple[int, str, int, int]]
) -> None:
    home = Home(plan, synthetic_day(9))
    home.advance(home.now_s + DAY_S // 2)
    shown: list[dict[str, int]] = []
    for pause_s, kind, value, lasts_s in [*orders, (1, "none", 0, 1)]:
        home.advance(home.now_s + pause_s)
        obey(home, kind, value, lasts_s)
        devices = [home.meter_values()]
        devices += [home.inverter_values()] if plan.inverter else []
        devices += [home.battery_values()] if plan.battery else []
        for values in devices:
            for name, reading in values.items():
                word = MEASUREMENTS[name]
                assert type(reading) is int
                assert word.minimum <= reading <= word.maximum, name
        counters = [{name: at for name, at in values.items() if MEASUREMENTS[name].counter} for values in devices]
        shown.append({f"{index}/{name}": at for index, values in enumerate(counters) for name, at in values.items()})
    for earlier, later in pairwise(shown):
        assert all(earlier[name] <= later[name] for name in earlier)


@given(
    st.integers(1, 50_000),
    st.integers(1, 20_000),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(-30_000, 30_000), st.integers(1, 900)), max_size=40),
)
def test_a_battery_keeps_its_bounds_and_its_books(
    capacity_wh: int, limit_w: int, soc: int, wishes: list[tuple[int, int]]
) -> None:
    battery = Battery(capacity_wh, limit_w, soc)
    opening_ws = battery.stored_ws
    floor_ws = min(opening_ws, capacity_wh * WS_PER_WH * RESERVE_PERMILLE // 1000)
    for wanted_w, duration_s in wishes:
        power_w = battery.sustainable_w(wanted_w, duration_s)
        assert abs(power_w) <= min(abs(wanted_w), limit_w)
        assert power_w * wanted_w >= 0
        battery.advance(power_w, duration_s)
        assert floor_ws <= battery.stored_ws <= capacity_wh * WS_PER_WH
    assert battery.charged_ws - battery.discharged_ws == battery.stored_ws - opening_ws + battery.lost_ws


@given(st.integers(-100_000, 100_000))
def test_a_conversion_never_gains_energy(power_w: int) -> None:
    assert cell_power_w(power_w) <= power_w


def test_a_limit_holds_until_its_watchdog_and_not_a_second_longer() -> None:
    home = Home(PROSUMER_WITH_BATTERY, synthetic_day(1))
    noon_s = home.now_s + DAY_S // 2
    home.advance(noon_s)
    free_w = home.production_w
    assert free_w > 2_000
    home.set_inverter_limit(power_w=1_000, expires_at_s=noon_s + 90)
    assert home.inverter_values()["power_w"] == -1_000
    home.advance(noon_s + 89)
    assert home.production_w == 1_000
    home.advance(noon_s + 90)
    assert home.production_w == home.available_w > 1_000
    assert home.inverter_values()["status"] == 4


def test_a_limit_in_permille_is_of_the_rated_power() -> None:
    home = Home(PROSUMER_WITH_BATTERY, synthetic_day(1))
    home.advance(home.now_s + DAY_S // 2)
    home.set_inverter_limit(permille=100, expires_at_s=home.now_s + 900)
    assert home.production_w == home.plan.inverter_w // 10


def test_a_battery_order_ends_in_self_consumption() -> None:
    home = Home(PROSUMER_WITH_BATTERY, synthetic_day(1))
    start_s = home.now_s
    home.set_battery_power(2_500, expires_at_s=start_s + 70)
    assert home.battery_values()["power_w"] == 2_500
    home.advance(start_s + 70)
    # At midnight nothing is produced: self-consumption means that the battery covers the load.
    assert home.battery_power_w == -home.load_w
    assert home.meter_values()["power_w"] == 0


def test_a_past_command_changes_nothing() -> None:
    home = Home(PROSUMER_WITH_BATTERY, synthetic_day(1))
    home.advance(home.now_s + 1_000)
    before = home.battery_values()
    home.set_battery_power(4_000, expires_at_s=home.now_s)
    assert home.battery_values() == before


@pytest.mark.parametrize(
    "order",
    [
        lambda home: home.set_inverter_limit(power_w=-1, expires_at_s=home.now_s + 9),
        lambda home: home.set_inverter_limit(permille=1_001, expires_at_s=home.now_s + 9),
        lambda home: home.set_inverter_limit(power_w=1, permille=1, expires_at_s=home.now_s + 9),
        lambda home: home.set_inverter_limit(power_w=1),
        lambda home: home.set_battery_power(1),
        lambda home: home.advance(home.now_s - 1),
    ],
)
def test_an_impossible_order_is_refused_and_changes_nothing(order: object) -> None:
    home = Home(PROSUMER_WITH_BATTERY, synthetic_day(1))
    before = (home.meter_values(), home.inverter_values(), home.battery_values())
    with pytest.raises(ValueError, match=r"."):
        order(home)  # type: ignore[operator]
    assert before == (home.meter_values(), home.inverter_values(), home.battery_values())


def test_a_home_without_devices_refuses_their_commands_and_values() -> None:
    home = Home(CONSUMER, synthetic_day(1))
    for call in (home.inverter_values, home.battery_values, home.set_inverter_limit):
        with pytest.raises(ValueError, match="has no"):
            call()
    with pytest.raises(ValueError, match="has no battery"):
        home.set_battery_power(None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"inverter": None},
        {"pv_wp": 0},
        {"pv_wp": 50},
        {"battery": None},
        {"battery_power_w": 0},
        {"battery_wh": 0},
        {"phases": 2},
        {"name": ""},
        {"annual_load_kwh": -1},
        {"pv_tilt_deg": 91},
        {"pv_azimuth_deg": 360},
    ],
)
def test_an_impossible_home_cannot_be_planned(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(PROSUMER_WITH_BATTERY, **wrong)  # type: ignore[arg-type]


def test_the_feeder_decides_the_voltage_once_it_has_spoken() -> None:
    home = Home(CONSUMER, synthetic_day(1))
    assert home.power_w > 0
    assert home.meter_values()["voltage_l1_mv"] < 230_000
    home.set_terminal((231_111, 232_222, 233_333), 49_950)
    home.set_terminal(frequency_mhz=49_960)
    values = home.meter_values()
    assert [values[f"voltage_l{phase}_mv"] for phase in (1, 2, 3)] == [231_111, 232_222, 233_333]
    assert values["frequency_mhz"] == 49_960


@given(st.integers(-2_000_000, 2_000_000), st.sampled_from((1, 3)))
def test_phases_share_the_power_exactly(power_w: int, phases: int) -> None:
    day = DayInput(0, 900, (0.0,) * 96, MeteredProduction((0.0,) * 96))
    home = Home(replace(CONSUMER, phases=phases), day)
    home.power_w = power_w
    values = home.meter_values()
    assert sum(values[f"power_l{phase}_w"] for phase in range(1, phases + 1)) == power_w
    assert ("power_l2_w" in values) == (phases == 3)


def test_a_single_phase_meter_knows_only_the_first_phase() -> None:
    home = Home(next(plan for plan in STREET if plan.phases == 1), synthetic_day(1))
    assert not [name for name in home.meter_values() if "_l2_" in name or "_l3_" in name]


def test_a_street_has_surplus_at_noon_and_deficit_in_the_evening() -> None:
    homes = [Home(plan, synthetic_day(seed)) for seed, plan in enumerate(STREET)]
    exported_ws = []
    for from_h, to_h in ((0, 11), (11, 13), (13, 20), (20, 23)):
        before = sum(home.import_ws - home.export_ws for home in homes)
        for home in homes:
            home.advance(home.now_s + (to_h - from_h) * 3_600)
        exported_ws.append(before - sum(home.import_ws - home.export_ws for home in homes))
    assert exported_ws[1] > 0 > exported_ws[3]


def test_twelve_homes_are_twelve_different_homes() -> None:
    plans = street(12, seed=3)
    assert len({plan.name for plan in plans}) == len({plan.seed for plan in plans}) == 12
    assert 4 <= sum(plan.pv_wp > 0 for plan in plans) <= 8
    assert {plan.meter for plan in plans} == {
        "eastron_sdm630",
        "eastron_sdm120",
        "carlo_gavazzi_em24",
        "schneider_iem3155",
    }
    loads = []
    for plan in plans:
        home = Home(plan, synthetic_day(1))
        home.advance(home.now_s + DAY_S)
        loads.append(home.load_ws)
    assert len(set(loads)) == 12


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
@settings(max_examples=20)
def test_a_longer_street_begins_with_the_shorter_and_repeats_no_name(a: int, b: int, seed: int) -> None:
    short, long = sorted((street(a, seed), street(b, seed)), key=len)
    assert long[: len(short)] == short
    assert len({plan.name for plan in long}) == len(long)


def test_the_same_seed_gives_the_same_day_and_another_seed_another() -> None:
    def day(seed: int) -> list[int]:
        home = Home(replace(PROSUMER_WITH_BATTERY, seed=seed), synthetic_day(seed))
        powers = []
        for _ in range(96):
            home.advance(home.now_s + 900)
            powers.append(home.power_w)
        return powers

    assert day(1) == day(1) != day(2)


def test_after_the_last_day_of_the_input_it_begins_again() -> None:
    home = Home(CONSUMER, synthetic_day(1, days=2))
    days: list[list[int]] = []
    for _day in range(4):
        powers = []
        for _quarter in range(96):
            powers.append(home.power_w)
            home.advance(home.now_s + 900)
        days.append(powers)
    assert days[2:] == days[:2]
    assert days[0] != days[1]
