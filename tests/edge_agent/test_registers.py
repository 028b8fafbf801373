"""Whatever a meter says, what is signed never runs backwards, and an interval is settled once at most."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import ClockStatus, ReadingFlag
from contracts.envelope import Envelope, open_envelope
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import SettlementReading, TelemetryBatch
from contracts.telemetry import open_batch
from edge_agent.config import MeterConfig
from edge_agent.delivery.frame import FrameKind
from edge_agent.effects import Sample
from edge_agent.readings.metering import REWIND_INTERVALS
from edge_agent.readings.quality import PATIENCE_MS, Baseline, CounterGuard, StuckGuard, plausible
from tests.edge_agent.conftest import Home, ada_config

START_S = interval_start_s(2_000_000)
START_MS = START_S * 1000

glitches = st.one_of(
    st.just(("good", 0)),
    st.just(("good", 0)),
    st.just(("zero", 0)),
    st.just(("absent", 0)),
    st.just(("silent", 0)),
    st.tuples(st.just("jump"), st.integers(-(10**7), 10**7)),
    st.tuples(st.just("forward"), st.integers(1, 40_000)),
    st.tuples(st.just("clock"), st.sampled_from([-3_600_000, 3_600_000, 14 * 86_400_000, -5_000, -14 * 86_400_000])),
)


@given(st.lists(st.tuples(st.integers(1, 700), glitches), min_size=1, max_size=60))
def test_registers_never_run_backwards_and_an_interval_is_settled_once_but_for_a_wild_clock(
    steps: list[tuple[int, tuple[str, int]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), synchronised_ms=START_MS)
        now_ms, true_wh = START_MS, 5_000_000
        for elapsed_s, (what, size) in steps:
            now_ms += elapsed_s * 1000
            true_wh += elapsed_s
            values = {"import_wh": true_wh, "export_wh": true_wh // 2, "power_w": 3600}
            if what == "zero":
                values["import_wh"] = 0
            elif what == "absent":
                del values["export_wh"]
            elif what == "silent":
                values = {}
            elif what == "jump":
                values["import_wh"] = max(0, true_wh + size)
            elif what == "forward":
                true_wh += size
            elif what == "clock":
                now_ms = max(now_ms + size, 1_000)
                home.agent.on_clock(ClockStatus.SYNCHRONISED, now_ms, size)
            home.sample(now_ms, **values)
            home.agent.on_deadline(now_ms)
        readings = home.readings()
        for before, after in itertools.pairwise(readings):
            # Only a clock that was hours or weeks ahead makes an interval come again, under a later sequence.
            assert after.interval > before.interval or before.interval - after.interval > REWIND_INTERVALS
            assert after.import_wh >= before.import_wh and after.export_wh >= before.export_wh
            assert after.epoch >= before.epoch and after.sequence > before.sequence
        for reading in readings:
            assert reading.taken_at_s >= interval_start_s(reading.interval + 1)
        assert home.counters.get("core_failed", 0) == 0
        home.outbox.close()


def test_every_interval_of_a_good_meter_has_the_registers_of_its_first_poll_after_the_end(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    for second in range(0, 4 * INTERVAL_S, 7):
        home.sample(START_MS + second * 1000, import_wh=1_000 + second, export_wh=0, power_w=3600)
    readings = home.readings()
    # The first sample stands at the end of the interval before.
    assert [r.interval for r in readings] == [1_999_999, 2_000_000, 2_000_001, 2_000_002]
    for reading in readings[1:]:
        first_poll_s = -(-(interval_start_s(reading.interval + 1) - START_S) // 7) * 7
        assert reading.taken_at_s - START_S == first_poll_s
        assert reading.import_wh == 1_000 + first_poll_s and reading.flags == 0
        assert reading.clock == ClockStatus.SYNCHRONISED


def test_the_settlement_reading_commits_to_all_telemetry_of_its_interval(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    for second in range(0, INTERVAL_S + 10, 10):
        home.agent.on_deadline(START_MS + second * 1000 - 1)
        home.sample(START_MS + second * 1000, import_wh=1_000 + second, export_wh=0, power_w=3600)
    frames = home.outbox.pending(FrameKind.TELEMETRY, 1_000, newest=False)
    home.outbox.acknowledge([FrameKind.SETTLEMENT], 0, 1, 0, 0)
    reading = home.readings()[0]
    last, rows = b"", []
    for frame in frames:
        envelope = open_envelope(frame.payload)
        assert isinstance(envelope, Envelope) and isinstance(envelope.message, TelemetryBatch)
        assert last in (b"", envelope.message.previous_head)
        last = envelope.message.head
        rows += open_batch(envelope.message, envelope.attachment)
    assert reading.chain_head == last
    assert [row.sequence for row in rows] == list(range(INTERVAL_S // 10))
    assert rows[-1].taken_at_s == START_S + INTERVAL_S - 10
    assert rows[0].power_w == 3600 and rows[0].voltage_mv is None


def test_a_dead_meter_is_held_and_flagged_and_an_interval_without_any_value_has_no_reading(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS + 10_000, import_wh=100, export_wh=5)
    home.sample(START_MS + 100_000, import_wh=200, export_wh=5)
    for second in range(110, 3 * INTERVAL_S, 10):
        home.sample(START_MS + second * 1000)
    held = home.readings()[-1]
    assert (held.interval, held.import_wh) == (2_000_000, 200)
    assert held.flags & ReadingFlag.HELD and held.flags & ReadingFlag.LATE
    assert held.taken_at_s >= START_S + INTERVAL_S + 300
    home.sample(START_MS + 3 * INTERVAL_S * 1000 + 5_000, import_wh=900, export_wh=5)
    assert [r.interval for r in home.readings()] == [1_999_999, 2_000_000, 2_000_002]
    assert home.readings()[-1].import_wh == 900 and home.readings()[-1].flags == 0


def test_a_meter_without_an_export_register_has_no_settlement_reading(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS + 1_000, import_wh=100)
    assert home.readings() == []
    assert home.counters["settlement_register_absent"] == 1


def test_a_one_way_meter_settles_with_an_export_register_of_nought(tmp_path: Path) -> None:
    meter = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", one_way=True)
    home = Home(tmp_path, ada_config(tmp_path, (meter,)), synchronised_ms=START_MS)
    home.sample(START_MS + 1_000, import_wh=100)
    home.sample(START_MS + 600_000, power_w=40)
    home.sample(START_MS + INTERVAL_S * 1000 + 1_000, import_wh=150)
    assert [(r.import_wh, r.export_wh) for r in home.readings()] == [(100, 0), (150, 0)]


def test_an_unsynchronised_clock_measures_and_signs_nothing_until_its_step_is_known(tmp_path: Path) -> None:
    home = Home(tmp_path)
    boot_ms = 86_400_000  # 2 January 1970
    home.agent.on_clock(ClockStatus.UNKNOWN, boot_ms)
    for second in range(0, 2 * INTERVAL_S + 60, 30):
        home.sample(boot_ms + second * 1000, import_wh=1_000 + second, export_wh=0, power_w=3600)
        home.agent.on_deadline(boot_ms + second * 1000)
    assert home.readings() == [] and home.stored(FrameKind.TELEMETRY) == []
    step_ms = START_MS - boot_ms
    now_ms = START_MS + (2 * INTERVAL_S + 60) * 1000
    home.agent.on_clock(ClockStatus.SYNCHRONISED, now_ms, step_ms)
    readings = home.readings()
    assert [r.interval for r in readings] == [1_999_999, 2_000_000, 2_000_001]
    assert {r.clock for r in readings} == {ClockStatus.RELATIVE}
    assert readings[1].import_wh == 1_000 + INTERVAL_S


def test_an_exchanged_meter_goes_on_where_the_old_one_stood_in_a_new_epoch(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)

    def poll(second: int, import_wh: int, serial: str) -> None:
        now_ms = START_MS + second * 1000
        values = {"import_wh": import_wh, "export_wh": import_wh // 2}
        home.agent.on_sample(Sample("main", now_ms, values, serial=serial), now_ms)

    poll(1, 50_000_000, "old")
    poll(600, 50_000_100, "old")
    poll(700, 10, "new")
    poll(901, 60, "new")
    before, after = home.readings()
    assert after.import_wh == 50_000_150 and after.epoch > before.epoch
    assert after.flags & ReadingFlag.METER_EXCHANGED


def test_a_rolled_over_register_keeps_its_energy(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    modulus = 1 << 32
    for second, raw in ((1, modulus - 40), (600, modulus - 10), (901, 20), (1801, 30)):
        now_ms = START_MS + second * 1000
        values = {"import_wh": raw, "export_wh": 0}
        home.agent.on_sample(Sample("main", now_ms, values, rollovers={"import_wh": modulus}), now_ms)
    readings = home.readings()
    assert [r.import_wh for r in readings] == [modulus - 40, modulus + 20, modulus + 30]
    assert readings[1].flags & ReadingFlag.ROLLED_OVER and not readings[2].flags


@given(st.lists(st.integers(0, 2**33), min_size=2, max_size=80), st.sampled_from([None, 1 << 16, 1 << 32]))
def test_a_guard_never_lets_its_register_fall_whatever_it_is_told(raws: list[int], modulus: int | None) -> None:
    guard = CounterGuard(11_000)
    register: int | None = None
    for place, raw in enumerate(raws):
        guard.judge(raw, place * 90_000, modulus, exchanged=False)
        assert guard.baseline is not None
        assert register is None or guard.baseline.register >= register
        register = guard.baseline.register


def test_a_value_that_contradicts_for_a_quarter_of_an_hour_is_another_meter() -> None:
    guard = CounterGuard(11_000, Baseline(9_000_000, 0, 0))
    flags = [
        guard.judge(500 + at_ms // 60_000, at_ms, None, False) for at_ms in range(1_000, PATIENCE_MS + 70_000, 60_000)
    ]
    assert flags[0] == ReadingFlag.HELD | ReadingFlag.ROLLED_BACK
    assert flags[-1] in (ReadingFlag.METER_EXCHANGED, ReadingFlag.NONE)
    assert ReadingFlag.METER_EXCHANGED in flags
    assert guard.baseline is not None and 9_000_000 <= guard.baseline.register <= 9_000_002


def test_a_single_zero_changes_nothing() -> None:
    guard = CounterGuard(11_000, Baseline(9_000_000, 0, 0))
    assert guard.judge(0, 1_000, 1 << 32, False) & ReadingFlag.HELD
    assert guard.judge(9_000_001, 2_000, 1 << 32, False) == ReadingFlag.NONE


def test_after_a_restart_a_week_of_energy_is_confirmed_by_a_second_sample_and_a_terawatt_hour_never_is() -> None:
    week = CounterGuard(11_000, Baseline(9_000_000, 0, None))
    assert week.judge(9_700_000, 1_000, None, False) == ReadingFlag.HELD
    assert week.judge(9_700_001, 2_000, None, False) == ReadingFlag.NONE
    assert week.baseline is not None and week.baseline.register == 9_700_001
    glitch = CounterGuard(11_000, Baseline(9_000_000, 0, None))
    for second in range(1, 800):
        assert glitch.judge(10**12, second * 1_000, None, False) & ReadingFlag.IMPLAUSIBLE


def test_after_a_restart_a_small_advance_is_believed_at_once() -> None:
    guard = CounterGuard(11_000, Baseline(9_000_000, 0, None))
    assert guard.judge(9_000_080, 1_000, None, False) == ReadingFlag.NONE


@pytest.mark.parametrize("away_ms", [None, 86_400_000])
@given(
    spike=st.integers(0, 95_000_000),
    place=st.integers(0, 3),
    poll_s=st.sampled_from([1, 10, 60]),
    modulus=st.sampled_from([None, 10**7, 10**8, 1 << 32]),
)
def test_one_spike_after_a_restart_or_a_long_silence_never_moves_a_register(
    away_ms: int | None, spike: int, place: int, poll_s: int, modulus: int | None
) -> None:
    true_wh = 6_000_000
    began_ms = 10**9
    guard = CounterGuard(11_000, Baseline(true_wh, 0, None if away_ms is None else began_ms - away_ms))
    true_wh += 3_000
    for number in range(8):
        true_wh += poll_s
        raw = spike if number == place and abs(spike - true_wh) > 5_000 else true_wh
        guard.judge(raw, began_ms + number * poll_s * 1_000, modulus, False)
        assert guard.baseline is not None and guard.baseline.register <= true_wh
    assert guard.baseline is not None and guard.baseline.register == true_wh


def test_a_meter_that_reboots_with_the_agent_and_shows_zeros_has_not_rolled_over() -> None:
    guard = CounterGuard(11_000, Baseline(60_000_000, 0, None))
    for second in range(1, 5):
        assert guard.judge(0, second * 1_000, 10**8, False) & ReadingFlag.HELD
    guard.judge(60_000_500, 5_000, 10**8, False)
    guard.judge(60_000_500, 6_000, 10**8, False)
    assert guard.baseline is not None and guard.baseline.register == 60_000_500


def test_a_roll_over_while_the_agent_was_off_keeps_its_energy() -> None:
    guard = CounterGuard(11_000, Baseline(99_999_000, 0, None))
    assert guard.judge(700, 1_000, 10**8, False) == ReadingFlag.HELD
    assert guard.judge(701, 2_000, 10**8, False) == ReadingFlag.ROLLED_OVER
    assert guard.baseline is not None and guard.baseline.register == 100_000_701


def test_a_spike_in_the_first_sample_after_a_crash_is_not_signed_and_the_second_good_one_is(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS + 1_000, import_wh=1_000_000, export_wh=5)
    home.outbox.close()
    later_ms = START_MS + 2 * INTERVAL_S * 1000
    again = Home(tmp_path, synchronised_ms=later_ms)
    again.sample(later_ms, import_wh=1_040_000, export_wh=5)  # 160 kW for a quarter of an hour
    again.sample(later_ms + 1_000, import_wh=1_000_500, export_wh=5)
    assert len(again.readings()) == 1, "nothing is signed before it is confirmed"
    again.sample(later_ms + 2_000, import_wh=1_000_501, export_wh=5)
    assert again.readings()[-1].import_wh == 1_000_501
    assert not again.readings()[-1].flags & ReadingFlag.HELD
    assert again.counters["flag_held"] == 2


def test_a_counter_that_stands_still_under_load_is_stuck() -> None:
    guard = StuckGuard()
    flags = [guard.judge((1_000, 0), 2_000, second * 1000) for second in range(1, 900)]
    assert flags[0] == ReadingFlag.NONE and flags[-1] == ReadingFlag.STUCK
    assert guard.judge((1_001, 0), 2_000, 901_000) == ReadingFlag.NONE


@given(
    st.dictionaries(
        st.sampled_from(["power_w", "voltage_l1_mv", "frequency_mhz", "nonsense"]), st.integers(-(2**63), 2**63)
    )
)
def test_values_out_of_range_are_absent_never_clipped(values: dict[str, int]) -> None:
    kept, flag = plausible(values)
    assert kept.items() <= values.items()
    assert bool(flag) == (len(kept) < len(values))
    assert "nonsense" not in kept


def test_readings_survive_as_signed_by_ada(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS + 1_000, import_wh=1, export_wh=1)
    frame = home.outbox.pending(FrameKind.SETTLEMENT, 1, newest=True)[0]
    assert home.operator.answer("grid/v1/f1/ada/settlement/0", frame.payload) is not None
    assert isinstance(home.operator.seen[0].message, SettlementReading)
