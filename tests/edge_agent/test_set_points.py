"""Commands: each refusal by its name, each outcome reported, and silence that ends in the device's own fall-back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.codes import ClockStatus, SetPointKind, SetPointOutcome
from contracts.interval import interval_start_s
from contracts.messages import SetPoint
from contracts.topics import Leaf
from device_profiles.profile import load_profile
from edge_agent.config import LimitsConfig, MeterConfig
from edge_agent.effects import Alarm, Counters, Effect, WriteDevice, WriteResult
from edge_agent.steering.control import LOCK_MS, TRANSITIONS, Control, Device, Mode, Turn
from tests.edge_agent.conftest import ADA, CY_KEY, Home, ada_config, reports_in

NOW_S = interval_start_s(2_000_000)
NOW_MS = NOW_S * 1000
BATTERY = MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", 1502, role="battery")
INVERTER = MeterConfig(4, "roof", "sunspec_103", "127.0.0.1", 1503, role="inverter")


def steered_home(folder: Path) -> Home:
    """Ada with a battery and an inverter, her clock right and her link up."""
    meter = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1")
    config = ada_config(folder, (meter, BATTERY, INVERTER))
    home = Home(folder, config, synchronised_ms=NOW_MS)
    home.agent.on_link(True, NOW_MS)
    return home


def order(sequence: int = 1, **changes: Any) -> SetPoint:
    """The operator wants the battery to take 2 kW for two minutes."""
    plain = SetPoint(ADA, 3, int(SetPointKind.ACTIVE_POWER), 1, sequence, NOW_S, NOW_S + 120, 2_000)
    return replace(plain, **changes)


def writes(effects: list[Effect]) -> list[WriteDevice]:
    """The writes among effects."""
    return [effect for effect in effects if isinstance(effect, WriteDevice)]


def outcome(effects: list[Effect]) -> SetPointOutcome:
    """The one outcome reported."""
    (report,) = reports_in(effects)
    return SetPointOutcome(report.outcome)


def test_a_good_set_point_is_written_with_its_watchdog_and_reported_after_the_read_back(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(), NOW_MS))
    assert (write.device, write.write, write.value, write.watchdog_s) == ("store", "power_setpoint_w", 2_000, 60)
    effects = home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS + 300)
    assert outcome(effects) == SetPointOutcome.APPLIED
    assert reports_in(effects)[0].power_w == 2_000


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"valid_until_s": NOW_S - 1, "issued_at_s": NOW_S - 100}, SetPointOutcome.EXPIRED),
        ({"issued_at_s": NOW_S + 60, "valid_until_s": NOW_S + 120}, SetPointOutcome.NOT_YET_VALID),
        ({"power_w": 11_001}, SetPointOutcome.OUT_OF_RANGE),
        ({"power_w": -11_001}, SetPointOutcome.OUT_OF_RANGE),
        ({"device": 9}, SetPointOutcome.NO_SUCH_DEVICE),
        ({"device": 0}, SetPointOutcome.NO_SUCH_DEVICE),
        ({"kind": int(SetPointKind.IMPORT_LIMIT), "device": 9}, SetPointOutcome.NO_SUCH_DEVICE),
    ],
)
def test_a_refused_set_point_is_named_reported_and_not_written(
    tmp_path: Path, changes: dict[str, int], expected: SetPointOutcome
) -> None:
    home = steered_home(tmp_path)
    effects = home.tell(Leaf.SETPOINT, order(**changes), NOW_MS)
    assert outcome(effects) == expected and not writes(effects)
    assert home.counters[f"setpoint_{expected.name.lower()}"] == 1


def test_a_forged_set_point_is_refused_and_its_reports_are_bounded(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    said = [home.tell(Leaf.SETPOINT, order(n), NOW_MS, CY_KEY) for n in range(1, 50)]
    assert outcome(said[0]) == SetPointOutcome.WRONG_ISSUER
    assert not any(writes(effects) for effects in said)
    assert sum(len(reports_in(effects)) for effects in said) <= 6
    assert home.counters["setpoint_wrong_issuer"] == 49
    (write,) = writes(home.tell(Leaf.SETPOINT, order(1), NOW_MS))  # the forged ones used nothing up
    assert write.value == 2_000


def test_an_unsynchronised_clock_obeys_nothing(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    home.agent.on_clock(ClockStatus.UNKNOWN, NOW_MS)
    effects = home.tell(Leaf.SETPOINT, order(), NOW_MS)
    assert outcome(effects) == SetPointOutcome.CLOCK_UNSYNCHRONISED and not writes(effects)


def test_a_replay_and_an_older_term_are_refused_also_after_a_restart(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(5, term=2), NOW_MS))
    home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    assert outcome(home.tell(Leaf.SETPOINT, order(4, term=2), NOW_MS)) == SetPointOutcome.REPLAYED
    assert outcome(home.tell(Leaf.SETPOINT, order(9, term=1), NOW_MS)) == SetPointOutcome.REPLAYED
    again = Home(tmp_path, home.config, synchronised_ms=NOW_MS)
    again.agent.on_link(True, NOW_MS)
    effects = again.tell(Leaf.SETPOINT, order(5, term=2), NOW_MS)
    assert outcome(effects) == SetPointOutcome.REPLAYED and not writes(effects)


def test_the_sequence_is_durable_before_the_write(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    assert home.outbox.recall("control/3") is None
    assert writes(home.tell(Leaf.SETPOINT, order(5), NOW_MS))
    assert home.outbox.recall("control/3")[:2] == [1, 5]


def test_a_set_point_that_cannot_be_stored_is_not_written(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    assert home.outbox.file.connection is not None
    home.outbox.file.connection.execute("PRAGMA query_only=1")
    effects = home.tell(Leaf.SETPOINT, order(5), NOW_MS)
    assert not writes(effects) and home.counters["setpoint_not_stored"] == 1
    home.outbox.file.connection.execute("PRAGMA query_only=0")
    assert writes(home.tell(Leaf.SETPOINT, order(5), NOW_MS))


def test_a_repeated_set_point_repeats_its_report_and_no_write(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(), NOW_MS))
    home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    effects = home.tell(Leaf.SETPOINT, order(), NOW_MS + 5_000)
    assert outcome(effects) == SetPointOutcome.APPLIED and not writes(effects)


def test_the_watchdog_is_rewritten_at_half_time_and_never_outlives_the_order(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    effects = home.tell(Leaf.SETPOINT, order(), NOW_MS)
    now_ms, seconds = NOW_MS, []
    while writes(effects) and now_ms < NOW_MS + 119_000:
        (write,) = writes(effects)
        assert write.watchdog_s is not None
        seconds.append(write.watchdog_s)
        assert now_ms + write.watchdog_s * 1000 <= NOW_MS + 120_000
        home.agent.on_written(WriteResult(write.token, "store", 2_000), now_ms + 10)
        effects = []
        while not writes(effects) and now_ms < NOW_MS + 119_000:
            now_ms = max(home.agent.next_deadline_ms(), now_ms + 1)
            effects = home.agent.on_deadline(now_ms)
    assert seconds == [60, 60, 60]


def test_an_expired_set_point_is_released_and_reported(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(valid_until_s=NOW_S + 20), NOW_MS))
    assert write.watchdog_s == 20
    home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    effects = home.agent.on_deadline(NOW_MS + 20_000)
    assert outcome(effects) == SetPointOutcome.FELL_BACK
    assert [(w.device, w.value) for w in writes(effects)] == [("store", None)]
    assert not writes(home.agent.on_deadline(NOW_MS + 21_000))


@pytest.mark.parametrize("result", [(1_500, None), (None, None), (2_000, "no answer")])
def test_a_bad_read_back_locks_the_device_and_releases_it(
    tmp_path: Path, result: tuple[int | None, str | None]
) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(), NOW_MS))
    effects = home.agent.on_written(WriteResult(write.token, "store", *result), NOW_MS)
    assert outcome(effects) == SetPointOutcome.READ_BACK_FAILED
    assert any(isinstance(effect, Alarm) for effect in effects) and writes(effects)[0].value is None
    later = home.tell(Leaf.SETPOINT, order(2), NOW_MS + 1_000)
    assert outcome(later) == SetPointOutcome.READ_BACK_FAILED and not writes(later)
    home.agent.on_deadline(NOW_MS + LOCK_MS)
    fresh_s = NOW_S + LOCK_MS // 1000
    assert writes(home.tell(Leaf.SETPOINT, order(3, issued_at_s=fresh_s, valid_until_s=fresh_s + 60), NOW_MS + LOCK_MS))


def test_silence_after_a_write_is_a_bad_read_back(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    home.tell(Leaf.SETPOINT, order(), NOW_MS)
    assert outcome(home.agent.on_deadline(NOW_MS + 2_000)) == SetPointOutcome.READ_BACK_FAILED


def test_an_export_limit_becomes_permille_of_what_the_inverter_can(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    limit = order(device=4, kind=int(SetPointKind.EXPORT_LIMIT), power_w=2_500)
    assert outcome(home.tell(Leaf.SETPOINT, limit, NOW_MS)) == SetPointOutcome.OUT_OF_RANGE  # its size is not known yet
    home.sample(NOW_MS, "roof", max_power_w=10_000, power_w=-6_000)
    (write,) = writes(home.tell(Leaf.SETPOINT, limit, NOW_MS))
    assert (write.write, write.value) == ("power_limit_permille", 250)


def test_after_a_restart_what_may_be_in_force_is_released(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    home.tell(Leaf.SETPOINT, order(), NOW_MS)
    again = Home(tmp_path, home.config, synchronised_ms=NOW_MS)
    (release,) = writes(again.agent.on_deadline(NOW_MS + 1_000))
    assert (release.device, release.write, release.value) == ("store", "power_setpoint_w", None)


def test_a_report_waits_for_the_link(tmp_path: Path) -> None:
    home = steered_home(tmp_path)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(), NOW_MS))
    home.agent.on_link(False, NOW_MS)
    assert reports_in(home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)) == []
    assert outcome(home.agent.on_link(True, NOW_MS + 1)) == SetPointOutcome.APPLIED
    assert reports_in(home.agent.on_link(True, NOW_MS + 2)) == []


def test_a_device_with_flash_has_a_daily_budget_that_survives_a_restart(tmp_path: Path) -> None:
    profile = load_profile("sunspec_battery")
    flash = replace(profile, writes=tuple(replace(write, storage="flash") for write in profile.writes))
    config = ada_config(tmp_path, (BATTERY,), limits=LimitsConfig(writes_per_day=2))
    kept: dict[int, list[object]] = {}

    def begin() -> Control:
        def keep(device: Device) -> bool:
            kept[device.config.number] = device.state()
            return True

        control = Control(config, config.meters, {"store": flash}, lambda _: {}, keep, Counters())
        for number, device in control.devices.items():
            device.restore(kept.get(number))
        return control

    def answer(control: Control, sequence: int, now_ms: int) -> object:
        now_s = now_ms // 1000
        wanted = order(sequence, issued_at_s=now_s, valid_until_s=now_s + 60)
        effects, report = control.on_set_point(wanted, True, True, now_ms)
        return "written" if effects else SetPointOutcome(report.outcome) if report else None

    control = begin()
    assert answer(control, 1, NOW_MS) == "written"
    control = begin()
    assert answer(control, 2, NOW_MS) == "written"
    assert answer(control, 3, NOW_MS) == SetPointOutcome.WRITE_BUDGET_SPENT
    assert answer(begin(), 4, NOW_MS) == SetPointOutcome.WRITE_BUDGET_SPENT
    assert answer(control, 5, NOW_MS + 86_400_000) == "written"


def test_every_move_of_the_state_table_leads_somewhere_and_only_a_lock_needs_time(tmp_path: Path) -> None:
    assert {turn for _, turn in TRANSITIONS} == set(Turn)
    assert set(TRANSITIONS.values()) == set(Mode)
    assert [turn for (mode, turn) in TRANSITIONS if mode == Mode.LOCKED] == [Turn.UNLOCKED]
    home = steered_home(tmp_path)
    home.tell(Leaf.SETPOINT, order(), NOW_MS)
    assert home.agent.metrics()["mode_remote"] == 1
    home.agent.on_link(False, NOW_MS)
    assert home.agent.metrics()["mode_hold"] == 1
    home.agent.on_link(True, NOW_MS)
    assert home.agent.metrics()["mode_remote"] == 1
