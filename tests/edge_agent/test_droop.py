"""Droop: bounded, monotone, never faster than its ramp, still inside its band, and silent when nothing is measured."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import SetPointKind
from contracts.topics import Leaf
from device_profiles.profile import load_profile
from edge_agent.config_local import FREQUENCY_WATT, STANDARDS, VOLT_VAR, VOLT_WATT, DroopConfig
from edge_agent.effects import Counters, Effect, WriteDevice, WriteResult
from edge_agent.market.forecast import NetForecast
from edge_agent.steering.control import Control, Mode
from edge_agent.steering.droop import (
    Demand,
    DeviceDroop,
    Seen,
    curve_at_voltage,
    frequency_change_w,
    reactive_of_var,
    volt_watt_limit_w,
)
from edge_agent.steering.flexibility import Flexibility
from edge_agent.steering.local_control import LocalControl
from tests.edge_agent.conftest import Home, ada_config
from tests.edge_agent.test_set_points import BATTERY, INVERTER, NOW_MS, NOW_S, order, writes

EN = replace(STANDARDS["en50549"], devices=("roof",))
IEEE = replace(STANDARDS["ieee1547"], devices=("roof",))
ALL = replace(EN, functions=(FREQUENCY_WATT, VOLT_WATT, VOLT_VAR))
RATED_W = 10_000
mhz = st.integers(45_000, 65_000)
mv = st.integers(150_000, 300_000)


@given(st.sampled_from([EN, IEEE]), mhz, mhz, st.integers(0, 2_000_000))
def test_power_against_frequency_is_monotone_bounded_and_nothing_inside_the_band(
    rules: DroopConfig, one: int, other: int, base_w: int
) -> None:
    low, high = sorted((one, other))
    assert frequency_change_w(rules, low, base_w) <= frequency_change_w(rules, high, base_w)
    assert abs(frequency_change_w(rules, one, base_w)) <= base_w
    if rules.low_mhz <= one <= rules.high_mhz:
        assert frequency_change_w(rules, one, base_w) == 0


@given(st.sampled_from([EN, IEEE]), mhz, st.integers(0, 100_000))
def test_the_slope_is_the_standards_to_the_watt(rules: DroopConfig, frequency_mhz: int, base_w: int) -> None:
    edge = rules.high_mhz if frequency_mhz > rules.nominal_mhz else rules.low_mhz
    beyond = max(0, (frequency_mhz - edge) if edge == rules.high_mhz else (edge - frequency_mhz))
    exact = min(Fraction(base_w * beyond * 1000, rules.nominal_mhz * rules.droop_permille), Fraction(base_w))
    assert abs(abs(frequency_change_w(rules, frequency_mhz, base_w)) - exact) < 1


def test_forty_percent_a_hertz_above_50_2_as_the_european_codes_have_it() -> None:
    assert frequency_change_w(EN, 50_200, RATED_W) == 0
    assert frequency_change_w(EN, 51_200, RATED_W) == 4_000
    assert frequency_change_w(EN, 48_800, RATED_W) == -4_000
    assert frequency_change_w(IEEE, 60_336, RATED_W) == 1_000  # 300 mHz of 5 % of 60 Hz is a tenth


@given(mv, mv)
def test_volt_var_and_volt_watt_are_monotone_and_within_their_corners(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert reactive_of_var(ALL, low, RATED_W) <= reactive_of_var(ALL, high, RATED_W)
    assert abs(reactive_of_var(ALL, one, RATED_W)) <= RATED_W * 44 // 100
    assert volt_watt_limit_w(ALL, low, RATED_W) >= volt_watt_limit_w(ALL, high, RATED_W)
    assert RATED_W // 5 <= volt_watt_limit_w(ALL, one, RATED_W) <= RATED_W


def test_curves_pass_through_their_corners_and_low_voltage_feeds_reactive_power() -> None:
    for permille, output in ALL.volt_var:
        assert curve_at_voltage(ALL.volt_var, permille * 230, 230_000) == output
    assert reactive_of_var(ALL, 207_000, RATED_W) == -4_400 and reactive_of_var(ALL, 260_000, RATED_W) == 4_400
    assert reactive_of_var(ALL, 230_000, RATED_W) == 0
    assert curve_at_voltage(ALL.volt_watt, 1_080 * 230, 230_000) == 600


moments = st.lists(
    st.tuples(
        st.integers(1, 4_000),
        st.one_of(st.none(), st.integers(49_000, 52_000)),
        st.one_of(st.none(), st.integers(200_000, 270_000)),
        st.integers(-RATED_W, RATED_W),
        st.integers(0, 1_000),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150)
@given(st.booleans(), st.sampled_from([EN, ALL, replace(ALL, base="rated", return_s=3)]), moments)
def test_no_output_leaves_its_bounds_or_moves_faster_than_its_ramp(
    stores: bool, rules: DroopConfig, walk: list[tuple[int, int | None, int | None, int, int]]
) -> None:
    droop, now_ms, last, last_var = DeviceDroop(rules, stores, 100), 0, None, 0
    for passed_ms, frequency_mhz, voltage_mv, power_w, soc in walk:
        now_ms += passed_ms
        seen = Seen(now_ms, frequency_mhz, voltage_mv, voltage_mv, power_w, soc)
        demand = droop.follow(seen, RATED_W, now_ms)
        out_w = demand.power_w if stores else demand.limit_w
        assert (demand.limit_w is None) or not stores
        room_w = RATED_W * rules.ramp_permille_per_s * passed_ms // 1_000_000 + 1
        if out_w is not None:
            assert (-RATED_W if stores else 0) <= out_w <= RATED_W
            start_w = last if last is not None else (power_w if stores else max(0, -power_w))
            assert abs(out_w - start_w) <= room_w
        last = out_w
        var = demand.reactive_var or 0
        assert abs(var) <= RATED_W * 44 // 100 + 1
        assert abs(var - last_var) <= room_w + RATED_W * 5 // 1000  # one ramp, then letting go of what rests
        last_var = var


@given(moments)
def test_inside_the_band_nothing_is_ever_asked(walk: list[tuple[int, int | None, int | None, int, int]]) -> None:
    droop, now_ms = DeviceDroop(ALL, False), 0
    for passed_ms, frequency_mhz, voltage_mv, power_w, soc in walk:
        now_ms += passed_ms
        calm_mhz = None if frequency_mhz is None else min(max(frequency_mhz, EN.low_mhz), EN.high_mhz)
        calm_mv = None if voltage_mv is None else min(max(voltage_mv, 226_000), 234_000)
        assert droop.follow(Seen(now_ms, calm_mhz, calm_mv, calm_mv, power_w, soc), RATED_W, now_ms) == Demand()


def test_a_missing_measurement_changes_nothing_until_it_is_stale_and_then_everything_is_let_go() -> None:
    droop = DeviceDroop(EN, False)
    for second in range(10):
        held = droop.follow(Seen(second * 1000, 51_200, None, None, -8_000), RATED_W, second * 1000)
    assert held == Demand(limit_w=4_800)  # 8 kW less forty per cent
    for second in range(10, 19):
        assert droop.follow(Seen(second * 1000, None, None, None, -4_800), RATED_W, second * 1000) == held
    assert droop.follow(Seen(19_000, None, None, None, -4_800), RATED_W, 19_000) == Demand()
    assert not droop.active


def test_after_the_event_output_waits_and_then_returns_by_a_tenth_a_minute() -> None:
    droop, limits = DeviceDroop(EN, False), []
    for second in range(900):
        frequency_mhz = 51_200 if second < 10 else 50_000
        demand = droop.follow(Seen(second * 1000, frequency_mhz, None, None, -8_000), RATED_W, second * 1000)
        limits.append(demand.limit_w)
    assert limits[9] == limits[69] == 4_800  # return_s is a minute
    rising = [limit for limit in limits[70:] if limit is not None]
    assert rising == sorted(rising) and rising[60] - rising[0] in range(950, 1_050)
    assert limits[-1] is None and len(rising) in range(300, 325)  # from 4.8 to 10 kW by 1 kW a minute


def test_a_frequency_that_trembles_at_the_edge_does_not_switch_droop_on_and_off() -> None:
    droop, switched, before = DeviceDroop(EN, False), 0, False
    for second in range(600):
        frequency_mhz = 50_210 if second % 2 else 50_190
        droop.follow(Seen(second * 1000, frequency_mhz, None, None, -8_000), RATED_W, second * 1000)
        switched, before = switched + (droop.active != before), droop.active
    assert switched == 1


def test_a_storage_helps_both_ways_but_never_empties_its_reserve() -> None:
    droop = DeviceDroop(EN, True, reserve_permille=200)
    for second in range(20):
        demand = droop.follow(Seen(second * 1000, 51_200, None, None, 1_000, 500), RATED_W, second * 1000)
    assert demand.power_w == 5_000
    droop = DeviceDroop(EN, True, reserve_permille=200)
    for second in range(20):
        demand = droop.follow(Seen(second * 1000, 48_800, None, None, 0, 500), RATED_W, second * 1000)
    assert demand.power_w == -4_000
    demand = droop.follow(Seen(30_000, 48_800, None, None, 0, 200), RATED_W, 30_000)
    assert demand.power_w is not None and demand.power_w > -4_000
    for second in range(31, 40):
        demand = droop.follow(Seen(second * 1000, 48_800, None, None, 0, 200), RATED_W, second * 1000)
    assert demand.power_w == 0


def test_without_a_rated_power_or_any_sample_nothing_is_asked() -> None:
    droop = DeviceDroop(ALL, False)
    assert droop.follow(None, RATED_W, 0) == Demand()
    assert droop.follow(Seen(0, 52_000, 260_000, 260_000), 0, 0) == Demand()


# In the agent


def drooping_home(folder: Path, **changes: object) -> Home:
    """Ada with droop for battery and roof."""
    rules = replace(EN, devices=("roof", "store"), **changes)  # type: ignore[arg-type]
    home = Home(folder, ada_config(folder, (INVERTER, BATTERY), droop=rules), synchronised_ms=NOW_MS)
    home.agent.on_link(True, NOW_MS)
    return home


def device_mode(home: Home, number: int) -> Mode:
    """Who governs a device."""
    return home.agent._control.devices[number].mode


def answered(home: Home, effects: list[Effect], now_ms: int) -> list[WriteDevice]:
    """The writes, each of them held by its device."""
    made = writes(effects)
    for write in made:
        home.agent.on_written(WriteResult(write.token, write.device, write.value), now_ms)
    return made


def watch(home: Home, from_ms: int, seconds: int, frequency_mhz: int) -> list[WriteDevice]:
    """Both devices polled once a second."""
    made: list[WriteDevice] = []
    for now_ms in range(from_ms, from_ms + seconds * 1000, 1000):
        both = {"frequency_mhz": frequency_mhz, "max_power_w": 10_000}
        made += answered(home, home.sample(now_ms, "roof", power_w=-8_000, **both), now_ms)
        made += answered(home, home.sample(now_ms, "store", power_w=0, soc_permille=500, **both), now_ms)
        made += answered(home, home.agent.on_deadline(now_ms + 500), now_ms + 500)
    return made


def test_droop_governs_after_a_set_point_expired_and_a_new_one_goes_first(tmp_path: Path) -> None:
    home = drooping_home(tmp_path)
    answered(home, home.tell(Leaf.SETPOINT, order(valid_until_s=NOW_S + 5), NOW_MS), NOW_MS)
    assert device_mode(home, 3) == Mode.REMOTE
    made = watch(home, NOW_MS, 5, 51_200)
    assert all(write.value in (2_000, None) for write in made)  # commanded: droop is silent
    made = watch(home, NOW_MS + 5_000, 20, 51_200)
    assert device_mode(home, 3) == Mode.FALLBACK
    assert made[0].value is None and made[-1].device == "store" and made[-1].watchdog_s == 60
    assert [w.value for w in made if w.device == "store"][-1] == 4_000 and not [w for w in made if w.device == "roof"]
    later_s = NOW_S + 30
    fresh = order(2, issued_at_s=later_s, valid_until_s=later_s + 60, power_w=500)
    made = answered(home, home.tell(Leaf.SETPOINT, fresh, later_s * 1000), later_s * 1000)
    assert [write.value for write in made] == [500] and device_mode(home, 3) == Mode.REMOTE


def test_droop_in_autonomous_mode_only_where_the_installer_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert watch(drooping_home(tmp_path / "a"), NOW_MS, 20, 51_200) == []
    (tmp_path / "b").mkdir()
    home = drooping_home(tmp_path / "b", in_autonomous=True)
    made = watch(home, NOW_MS, 20, 51_200)
    roof = [write for write in made if write.device == "roof"]
    assert roof[-1].write == "power_limit_permille" and roof[-1].value in range(470, 491)  # 4.8 of 10 kW
    assert home.agent.metrics()["droop_active"] == 2


def test_droop_that_hears_nothing_any_more_releases_the_device(tmp_path: Path) -> None:
    home = drooping_home(tmp_path, in_autonomous=True)
    watch(home, NOW_MS, 20, 51_200)
    released: list[WriteDevice] = []
    for second in range(20, 40):
        released += answered(home, home.agent.on_deadline(NOW_MS + second * 1000), NOW_MS + second * 1000)
    assert {(write.device, write.value) for write in released if write.value is None} == {
        ("roof", None),
        ("store", None),
    }
    assert home.agent.metrics()["droop_active"] == 0


def test_low_voltage_makes_a_device_that_can_feed_reactive_power(tmp_path: Path) -> None:
    profile = load_profile("sunspec_battery")
    (power,) = profile.writes
    both = replace(profile, writes=(power, replace(power, name="reactive_setpoint_var")))
    rules = replace(EN, devices=("store",), functions=(VOLT_VAR,), in_autonomous=True)
    config, counters = ada_config(tmp_path, (BATTERY,), droop=rules), Counters()
    control = Control(config, config.meters, {"store": both}, lambda _: {}, lambda _: True, counters)
    local = LocalControl(config, control, Flexibility(config, NetForecast({}), counters), counters)
    made: list[WriteDevice] = []
    for second in range(120):
        voltage_mv = 212_000 if second < 60 else 230_000
        now_ms, values = NOW_MS + second * 1_000, {"max_power_w": 10_000, "voltage_l1_mv": voltage_mv}
        effects, _ = local.on_sample("store", values, now_ms)
        for write in writes(effects):
            control.on_written(WriteResult(write.token, write.device, write.value), now_ms)
            made.append(write)
    assert {write.write for write in made} == {"reactive_setpoint_var"}
    assert min(write.value or 0 for write in made) in range(-4_300, -4_150)  # 44 % at 0.92, almost all of it at 0.9217
    assert made[-1].value is None


@pytest.mark.parametrize("limit_w", [500, 3_000])
def test_droop_never_goes_beyond_the_homes_own_limits(tmp_path: Path, limit_w: int) -> None:
    home = drooping_home(tmp_path, in_autonomous=True)
    home.agent._control._config = replace(
        home.config, limits=replace(home.config.limits, max_import_w=limit_w, max_export_w=limit_w)
    )
    made = [w for w in watch(home, NOW_MS, 20, 51_900) if w.device == "store"]
    assert made and max(write.value or 0 for write in made) == limit_w


def test_droop_limits_a_remote_export_only_after_the_remote_is_over(tmp_path: Path) -> None:
    home = drooping_home(tmp_path)
    watch(home, NOW_MS, 1, 50_000)
    at_ms = NOW_MS + 1_000
    limit = order(device=4, kind=int(SetPointKind.EXPORT_LIMIT), power_w=6_000, valid_until_s=NOW_S + 10)
    assert [w.value for w in answered(home, home.tell(Leaf.SETPOINT, limit, at_ms), at_ms)] == [600]
    made = [w for w in watch(home, at_ms, 30, 51_200) if w.device == "roof"]
    assert made[0].value == 600 or made[0].value is None
    assert made[-1].value in range(470, 491) and device_mode(home, 4) == Mode.FALLBACK
