"""A value is reached in steps the profile allows, kept alive at half of the watchdog's time, and let go in the end."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import SetPointKind, SetPointOutcome
from contracts.eip712 import LocalValueError
from contracts.topics import Leaf, topic
from device_profiles.profile import load_profile
from device_profiles.profile_parts import WritePoint
from edge_agent.config import LimitsConfig
from edge_agent.effects import Counters, Effect, WriteDevice, WriteResult
from edge_agent.steering.actuator import Actuator, tolerance_of
from edge_agent.steering.control import SETTLE_MS, Control, Mode
from edge_agent.steering.set_point_rules import permille_of, ramp_for
from tests.edge_agent.conftest import Home, Operator, ada_config
from tests.edge_agent.test_set_points import BATTERY, NOW_MS, NOW_S, order, outcome, steered_home, writes

POWER = load_profile("sunspec_battery").write("power_setpoint_w")


def actuator_of(write: WritePoint, budget: int = 1_000) -> Actuator:
    """An actuator with that many writes to flash."""
    left = iter(range(budget))
    return Actuator("store", write, 2_000, count(1), lambda _: next(left, None) is not None)


def mode_of(home: Home) -> Mode:
    """Who governs the battery."""
    return home.agent._control.devices[3].mode


def run_on(actuator: Actuator, effects: list[Effect] | None, from_ms: int, until_ms: int) -> list[tuple[int, int]]:
    """Time and value of every write while a device holds what it is told and time passes by deadlines."""
    made, now_ms = [], from_ms
    while True:
        for write in writes(effects or []):
            assert write.value is not None
            made.append((now_ms, write.value))
            assert actuator.fault_of(WriteResult(write.token, "store", write.value)) is None
        due_ms = actuator.next_ms()
        if due_ms is None or max(due_ms, now_ms + 1) > until_ms:
            return made
        now_ms = max(due_ms, now_ms + 1)
        effects = actuator.due(now_ms)


@settings(max_examples=150)
@given(
    st.integers(1, 5_000), st.integers(-11_000, 11_000),
    st.lists(st.tuples(st.integers(-11_000, 11_000), st.integers(1, 5_000)), min_size=1, max_size=6),
)  # fmt: skip
def test_no_step_is_larger_than_the_ramp_and_no_two_are_within_a_second(
    ramp: int, start: int, aims: list[tuple[int, int]]
) -> None:
    actuator, now_ms = actuator_of(replace(POWER, ramp_per_s=ramp)), 0
    made: list[tuple[int, int]] = []
    for target, pause_ms in aims:
        effects = actuator.aim(target, start, now_ms + 10_000_000, now_ms)
        made += run_on(actuator, effects, now_ms, now_ms + pause_ms - 1)
        now_ms += pause_ms
    values = [start, *(value for _, value in made)]
    assert all(abs(b - a) <= ramp for a, b in pairwise(values))
    moves = [at for (at, value), before in zip(made, values, strict=False) if value != before]
    assert all(b - a >= 1_000 for a, b in pairwise(moves))


@given(st.integers(1, 3_000), st.integers(-11_000, 11_000), st.integers(-11_000, 11_000))
def test_the_target_is_reached_exactly_and_in_as_few_steps_as_the_ramp_allows(ramp: int, start: int, aim: int) -> None:
    actuator = actuator_of(replace(POWER, ramp_per_s=ramp, watchdog=None))
    effects = actuator.aim(aim, start, 10**9, 0)
    made = run_on(actuator, effects, 0, 30_000_000)
    assert made[-1][1] == aim and actuator.arrived
    assert len(made) == max(1, math.ceil(abs(aim - start) / ramp))


@settings(max_examples=150)
@given(st.integers(1, 5_000), st.integers(0, 11_000), st.just(0) | st.integers(4_140, 11_000))
def test_no_step_of_a_ramp_is_one_that_a_charger_cannot_offer(ramp: int, start: int, aim: int) -> None:
    write = replace(load_profile("keba_p30").write("power_setpoint_w"), ramp_per_s=ramp, watchdog=None)
    actuator = Actuator("car", write, 2_000, count(1), lambda _: True, 4_140)
    values = [value for _, value in run_on(actuator, actuator.aim(aim, start, 10**9, 0), 0, 10**8)]
    assert all(value == 0 or value >= 4_140 for value in values) and values[-1] == aim
    assert all(b - a <= ramp or (a, b) == (0, 4_140) for a, b in pairwise(values))


def test_a_ramp_that_is_not_followed_is_a_bad_read_back_at_once() -> None:
    actuator = actuator_of(replace(POWER, ramp_per_s=500))
    (write,) = actuator.aim(2_000, 0, 60_000, 0) or []
    assert isinstance(write, WriteDevice) and write.value == 500
    assert actuator.fault_of(WriteResult(write.token, "store", 0)) == "reads back 0, not 500"
    assert tolerance_of(500) == 10 and tolerance_of(-5_000) == 50


def test_flash_takes_one_step_and_every_write_costs_one_of_the_days() -> None:
    flash = replace(POWER, ramp_per_s=100, storage="flash")
    actuator = actuator_of(flash, budget=2)
    (write,) = actuator.aim(2_000, 0, 600_000, 0) or []
    assert isinstance(write, WriteDevice) and write.value == 2_000
    actuator.fault_of(WriteResult(write.token, "store", 2_000))
    (again,) = actuator.due(30_000) or []
    assert isinstance(again, WriteDevice) and again.value == 2_000
    actuator.fault_of(WriteResult(again.token, "store", 2_000))
    assert actuator.due(60_000) is None  # the watchdog cannot be rewritten any more
    assert actuator.aim(3_000, 0, 600_000, 60_000) is None


def test_a_repeated_share_is_within_what_the_device_can() -> None:
    assert permille_of(2_500, 10_000) == 250 and permille_of(99_999, 10_000) == 1_000
    assert permille_of(-5, 10_000) == 0 and permille_of(2_500, 0) is None


LIMIT = load_profile("sunspec_103").write("power_limit_permille")


@given(st.none() | st.integers(1, 9_000), st.none() | st.integers(1, 9_000))
def test_the_smaller_of_the_device_s_ramp_and_its_owner_s_counts(device: int | None, owner: int | None) -> None:
    ramp = ramp_for(replace(POWER, ramp_per_s=device), LimitsConfig(ramp_w_per_s=owner), {})
    assert ramp == min((r for r in (device, owner) if r is not None), default=None)
    assert ramp_for(replace(POWER, ramp_per_s=device, storage="flash"), LimitsConfig(ramp_w_per_s=owner), {}) is None


def test_an_owner_s_ramp_in_watts_bounds_shares_of_a_power_that_is_known() -> None:
    limits = LimitsConfig(ramp_w_per_s=500)
    assert ramp_for(LIMIT, limits, {"max_power_w": 10_000}) == 50
    assert ramp_for(LIMIT, limits, {"max_power_w": 10_000_000}) == 1
    assert ramp_for(LIMIT, limits, {}) is None
    assert ramp_for(replace(LIMIT, name="reactive_setpoint_var"), limits, {}) is None


# In the control of a home


def ramped_home(folder: Path, ramp: int, **limits: int) -> Control:
    """Control of a battery whose profile wants a ramp."""
    profile = load_profile("sunspec_battery")
    ramped = replace(profile, writes=tuple(replace(write, ramp_per_s=ramp) for write in profile.writes))
    config = ada_config(folder, (BATTERY,), limits=LimitsConfig(**limits))
    control = Control(
        config, config.meters, {"store": ramped}, lambda _: {"power_w": -1_000}, lambda _: True, Counters()
    )
    control.on_link(True)
    return control


def test_a_set_point_is_reported_applied_only_when_the_ramp_has_arrived(tmp_path: Path) -> None:
    control, now_ms, values = ramped_home(tmp_path, 800), NOW_MS, []
    effects, report = control.on_set_point(order(), True, True, now_ms)
    assert report is None
    while not report:
        for write in writes(effects):
            values.append(write.value)
            _, reports = control.on_written(WriteResult(write.token, "store", write.value), now_ms + 50)
            report = reports[0] if reports else None
        now_ms = max(control.next_ms() or 0, now_ms + 1)
        effects, _ = control.on_deadline(now_ms)
    assert values == [-200, 600, 1_400, 2_000]  # from what it measured, 800 W a second
    assert report.outcome == SetPointOutcome.APPLIED and NOW_MS + 3_000 <= now_ms <= NOW_MS + 35_000


def test_a_new_order_in_the_middle_of_a_ramp_goes_on_from_there(tmp_path: Path) -> None:
    control = ramped_home(tmp_path, 800)
    (first,) = writes(control.on_set_point(order(1), True, True, NOW_MS)[0])
    control.on_written(WriteResult(first.token, "store", first.value), NOW_MS)
    effects, _ = control.on_set_point(order(2, power_w=-3_000), True, True, NOW_MS + 400)
    assert writes(effects) == []  # the last step is not a second old
    (next_step,) = writes(control.on_deadline(NOW_MS + 1_000)[0])
    assert (first.value, next_step.value) == (-200, -1_000)


def test_after_a_quarter_of_an_hour_without_commands_the_home_is_its_own_again(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(valid_until_s=NOW_S + 20), NOW_MS))
    home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    home.agent.on_deadline(NOW_MS + 20_000)
    assert mode_of(home) == Mode.FALLBACK
    home.agent.on_deadline(NOW_MS + 20_000 + SETTLE_MS - 1)
    assert mode_of(home) == Mode.FALLBACK
    home.agent.on_deadline(NOW_MS + 20_000 + SETTLE_MS)
    assert mode_of(home) == Mode.AUTONOMOUS


def test_without_a_link_the_fall_back_stays(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(valid_until_s=NOW_S + 20), NOW_MS))
    home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    home.agent.on_link(False, NOW_MS + 1_000)
    for second in range(20, 2_000, 20):
        home.agent.on_deadline(NOW_MS + second * 1_000)
    assert mode_of(home) == Mode.FALLBACK
    home.agent.on_link(True, NOW_MS + 2_000_000)
    assert mode_of(home) == Mode.AUTONOMOUS


def test_a_command_of_another_kind_releases_what_the_home_wished(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    control = home.agent._control
    home.sample(NOW_MS, "roof", max_power_w=10_000, power_w=-6_000)
    (wish,) = writes(control.wish(4, {"power_limit_permille": 300}, NOW_MS))
    control.on_written(WriteResult(wish.token, "roof", 300), NOW_MS)
    assert home.outbox.recall("control/4")[4:] == ["power_limit_permille"]  # a restart would release it
    limit = order(device=4, kind=int(SetPointKind.EXPORT_LIMIT), power_w=5_000)
    (command,) = writes(home.tell(Leaf.SETPOINT, limit, NOW_MS + 1_000))
    assert command.value == 500 and control.wish(4, {"power_limit_permille": 100}, NOW_MS + 2_000) == []


def test_a_device_without_a_timer_is_told_again_until_it_lets_go(tmp_path: Path) -> None:
    profile = load_profile("sunspec_battery")
    bare = replace(profile, writes=tuple(replace(write, watchdog=None) for write in profile.writes))
    config, counters = ada_config(tmp_path, (BATTERY,)), Counters()
    control = Control(config, config.meters, {"store": bare}, lambda _: {}, lambda _: True, counters)
    control.on_link(True)
    (write,) = writes(control.on_set_point(order(valid_until_s=NOW_S + 5), True, True, NOW_MS)[0])
    control.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    told: list[int] = []
    alarms = 0
    for second in range(5, 900):
        effects, _ = control.on_deadline(NOW_MS + second * 1_000)
        for release in writes(effects):
            told.append(second)
            fault = None if release.value is None and second > 100 else "no answer"
            more, _ = control.on_written(WriteResult(release.token, "store", None, fault), NOW_MS + second * 1_000)
            alarms += len(more)
    assert told == list(range(5, 106, 10)) and alarms == 0 and counters["release_failed"] == 10
    assert control.devices[3].state()[4:] == []


def test_no_wish_reaches_flash_and_none_survives_a_bad_read_back(tmp_path: Path) -> None:
    profile = load_profile("sunspec_battery")
    flash = replace(profile, writes=tuple(replace(write, storage="flash") for write in profile.writes))
    config = ada_config(tmp_path, (BATTERY,))
    control = Control(config, config.meters, {"store": flash}, lambda _: {}, lambda _: True, Counters())
    assert control.wish(3, {"power_setpoint_w": 1_000}, NOW_MS) == []
    control = ramped_home(tmp_path, 100_000)
    (wish,) = writes(control.wish(3, {"power_setpoint_w": 50_000, "unknown": 5}, NOW_MS))
    assert wish.value == 11_000  # the connection's limit
    effects, reports = control.on_written(WriteResult(wish.token, "store", 0), NOW_MS)
    assert control.devices[3].mode == Mode.LOCKED and reports == [] and writes(effects)[0].value is None
    assert control.wish(3, {"power_setpoint_w": 1_000}, NOW_MS) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5])
def test_a_set_point_that_is_not_a_finite_whole_number_cannot_even_be_made(value: float) -> None:
    with pytest.raises((LocalValueError, TypeError, ValueError)):
        order(power_w=value).struct_hash()


@pytest.mark.parametrize("pattern", [math.nan, math.inf, -math.inf])
def test_the_bits_of_a_number_that_is_not_finite_are_out_of_range(tmp_path: Path, pattern: float) -> None:
    home = steered_home(tmp_path)
    (power_w,) = struct.unpack(">i", struct.pack(">f", pattern))
    effects = home.tell(Leaf.SETPOINT, order(power_w=power_w), NOW_MS)
    assert outcome(effects) == SetPointOutcome.OUT_OF_RANGE and not writes(effects)


def test_bytes_that_are_no_set_point_write_nothing(tmp_path: Path) -> None:
    home, chance = steered_home(tmp_path), random.Random(7)
    good = Operator(home.config).sign(order())
    for _ in range(500):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 5)):
            bad[chance.randrange(len(bad))] ^= chance.randrange(1, 256)
        payload = bytes(bad[: chance.choice((len(bad), chance.randrange(len(bad) + 1)))])
        assert not writes(home.agent.on_message(topic("f1", "ada", Leaf.SETPOINT), payload, NOW_MS))
    assert writes(home.agent.on_message(topic("f1", "ada", Leaf.SETPOINT), good, NOW_MS))


def test_the_owner_s_ramp_holds_where_the_profile_has_none(tmp_path: Path) -> None:
    config = ada_config(tmp_path, (BATTERY,), limits=LimitsConfig(ramp_w_per_s=700))
    profiles = {"store": load_profile("sunspec_battery")}
    control = Control(config, config.meters, profiles, lambda _: {"power_w": 0}, lambda _: True, Counters())
    control.on_link(True)
    (first,) = writes(control.on_set_point(order(), True, True, NOW_MS)[0])
    assert first.value == 700


@pytest.mark.parametrize("kind", [SetPointKind.ACTIVE_POWER, SetPointKind.IMPORT_LIMIT])
def test_a_charger_that_is_told_less_than_it_can_offer_stands_still_and_says_so(
    tmp_path: Path, kind: SetPointKind
) -> None:
    charger = replace(BATTERY, name="wall", profile="keba_p30", role="settlement")
    config = ada_config(tmp_path, (charger,))
    control = Control(
        config, config.meters, {"wall": load_profile("keba_p30")}, lambda _: {"power_w": 0}, lambda _: True, Counters()
    )
    control.on_link(True)
    for sequence, told_w, reached_w in ((1, 4_139, 0), (2, 4_140, 4_140), (3, 0, 0)):
        effects, _ = control.on_set_point(order(sequence, kind=int(kind), power_w=told_w), True, True, NOW_MS)
        (write,) = writes(effects)
        _, (report,) = control.on_written(WriteResult(write.token, "wall", write.value), NOW_MS)
        assert (write.value, report.power_w) == (reached_w, reached_w)


@pytest.mark.parametrize(("wished_w", "told_w"), [(4_139, 0), (4_140, 4_140), (1, 0), (0, 0)])
def test_a_charger_is_wished_nothing_that_it_cannot_offer(tmp_path: Path, wished_w: int, told_w: int) -> None:
    charger = replace(BATTERY, name="wall", profile="keba_p30", role="settlement")
    config = ada_config(tmp_path, (charger,))
    control = Control(
        config, config.meters, {"wall": load_profile("keba_p30")}, lambda _: {"power_w": 0}, lambda _: True, Counters()
    )
    (write,) = writes(control.wish(charger.number, {"power_setpoint_w": wished_w}, NOW_MS))
    assert write.value == told_w
