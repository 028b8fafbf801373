"""The operator asks for what he misses: what waits comes again, and of the rest he is told why it is gone, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import GapReason, Stream
from contracts.envelope import Envelope, open_envelope
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import Acknowledgement, GapRecord, ReadingRequest, SettlementReading
from contracts.topics import Leaf
from edge_agent.delivery import requests as requests_module
from edge_agent.delivery.frame import FrameKind
from edge_agent.delivery.replay import BURST
from edge_agent.delivery.requests import GAPS_AN_ANSWER, GAPS_WAITING_LIMIT, REQUESTS_A_MINUTE
from edge_agent.delivery.sequence import LEASE
from edge_agent.effects import Effect, Publish
from tests.edge_agent.conftest import ADA, ADA_KEY, CY_KEY, Home
from tests.edge_agent.real_home import NIGHTLY

START_MS = interval_start_s(2_000_000) * 1000
STEP_MS = INTERVAL_S * 1000
READINGS = 24


def home_with_readings(folder: Path, count: int = READINGS) -> tuple[Home, int]:
    """Settled intervals with sequences from 0 on, and the time after them."""
    home = Home(folder, synchronised_ms=START_MS)
    for place in range(count):
        home.sample(START_MS + place * STEP_MS, import_wh=1_000 + 90 * place, export_wh=5, power_w=360)
    assert [reading.sequence for reading in home.readings()] == list(range(count))
    return home, START_MS + count * STEP_MS - 1_000


def request_of(first: int = 0, last: int = 0, epoch: int = 1) -> ReadingRequest:
    return ReadingRequest(ADA, 0, int(Stream.SETTLEMENT), epoch, first, last, START_MS // 1000)


def acknowledge(home: Home, first: int, last: int, now_ms: int) -> None:
    home.tell(Leaf.ACK, Acknowledgement(ADA, 0, int(Stream.SETTLEMENT), 1, first, last), now_ms)


def told(home: Home) -> list[tuple[int, int, int]]:
    """First, last and reason of the gap records that wait."""
    found = [m for m in home.stored(FrameKind.SETTLEMENT_GAP) if isinstance(m, GapRecord)]
    return sorted((gap.first_sequence, gap.last_sequence, gap.reason) for gap in found)


def sequences_in(effects: list[Effect]) -> list[int]:
    """The settlement readings among what is sent."""
    opened = [open_envelope(effect.payload) for effect in effects if isinstance(effect, Publish)]
    messages = [envelope.message for envelope in opened if isinstance(envelope, Envelope)]
    return [message.sequence for message in messages if isinstance(message, SettlementReading)]


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (replace(request_of(), account=ADA + 1), "other_account"),
        (replace(request_of(), meter=5), "unknown_meter"),
        (request_of(0, READINGS), "not_lent"),
        (request_of(epoch=2), "not_lent"),
        (request_of(epoch=0), "not_lent"),
        (replace(request_of(), stream=int(Stream.TELEMETRY), last_sequence=2**62), "not_lent"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_by_name_and_changes_nothing(
    tmp_path: Path, request_: ReadingRequest, name: str
) -> None:
    home, now_ms = home_with_readings(tmp_path)
    acknowledge(home, 0, READINGS, now_ms)
    home.tell(Leaf.REQUEST, request_, now_ms)
    assert home.counters[f"request_{name}"] == 1
    assert told(home) == []


@pytest.mark.parametrize("key", [CY_KEY, ADA_KEY])
def test_only_the_operator_may_ask(tmp_path: Path, key: bytes) -> None:
    home, now_ms = home_with_readings(tmp_path)
    acknowledge(home, 0, READINGS, now_ms)
    home.tell(Leaf.REQUEST, request_of(), now_ms, key)
    home.tell(Leaf.ACK, request_of(), now_ms)
    assert home.counters["message_wrong_signer"] == home.counters["message_wrong_kind"] == 1
    assert told(home) == []


@settings(max_examples=60 if NIGHTLY else 8, deadline=None)
@given(
    acknowledged=st.lists(st.tuples(st.integers(0, READINGS - 1), st.integers(0, 6)), max_size=5),
    asked=st.lists(st.tuples(st.integers(0, READINGS - 1), st.integers(0, READINGS)), min_size=1, max_size=6),
)
def test_exactly_what_waits_no_more_is_told_gone_and_each_number_once(
    acknowledged: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    with TemporaryDirectory() as folder:
        home, now_ms = home_with_readings(Path(folder))
        for first, more in acknowledged:
            acknowledge(home, first, first + more, now_ms)
        waiting = {reading.sequence for reading in home.readings()}
        wanted: set[int] = set()
        for first, more in asked:
            last = min(first + more, READINGS - 1)
            home.tell(Leaf.REQUEST, request_of(first, last), now_ms)
            home.tell(Leaf.REQUEST, request_of(first, last), now_ms)
            wanted |= set(range(first, last + 1))
            now_ms += 60_000
        said = [n for first, last, _ in told(home) for n in range(first, last + 1)]
        assert len(said) == len(set(said)), "no number is told gone twice while the first record waits"
        assert set(said) == wanted - waiting
        assert {reading.sequence for reading in home.readings()} == waiting
        assert {reason for _, _, reason in told(home)} <= {GapReason.ACKNOWLEDGED}


def test_a_batch_that_reaches_over_the_edges_of_a_request_still_waits_whole(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    for place in range(30):
        home.sample(START_MS + place * 1_000, import_wh=1_000, export_wh=5, power_w=360)
        if place % 10 == 9:
            home.agent._uplink.store(home.agent._meters["main"].seal(), START_MS)
    home.outbox.retry()
    telemetry = int(Stream.TELEMETRY)
    home.tell(Leaf.ACK, Acknowledgement(ADA, 0, telemetry, 1, 10, 19), START_MS + 30_000)
    for first, last in ((3, 5), (5, 25), (19, 20), (29, 29)):
        home.tell(Leaf.REQUEST, replace(request_of(first, last), stream=telemetry), START_MS + 30_000)
    found = [m for m in home.stored(FrameKind.TELEMETRY_GAP) if isinstance(m, GapRecord)]
    assert [(gap.first_sequence, gap.last_sequence) for gap in found] == [(10, 19)]
    home.tell(Leaf.REQUEST, replace(request_of(30, 30), stream=telemetry), START_MS + 30_000)
    assert home.counters["request_not_lent"] == 1, "what is in memory has no number yet"


def test_what_waits_is_sent_again_at_once_and_not_faster_than_everything_else(tmp_path: Path) -> None:
    home, now_ms = home_with_readings(tmp_path)
    home.agent.on_link(True, now_ms)
    for second in range(3_600):  # long enough without an answer for pauses of minutes
        home.agent.on_deadline(now_ms + second * 1000)
    now_ms += 3_600_000
    quiet = home.agent.on_deadline(now_ms + 1_000)
    assert 3 not in sequences_in(quiet)
    sent = [*home.tell(Leaf.REQUEST, request_of(3, 3), now_ms + 2_000), *home.agent.on_deadline(now_ms + 2_500)]
    assert sequences_in(sent).count(3) == 1
    for step in range(20):
        burst = home.tell(Leaf.REQUEST, request_of(0, READINGS - 1), now_ms + 3_000 + step * 50)
        assert len(burst) <= BURST
    assert told(home) == []


def test_requests_without_end_are_answered_a_few_times_a_minute_and_fill_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "GAPS_WAITING_LIMIT", 20)
    home, now_ms = home_with_readings(tmp_path, 60)
    for place in range(0, 60, 2):
        acknowledge(home, place, place, now_ms)
    for place in range(60):
        home.tell(Leaf.REQUEST, request_of(place, place), now_ms)
    assert len(told(home)) <= REQUESTS_A_MINUTE and home.counters["request_too_many"] == 60 - REQUESTS_A_MINUTE
    home.tell(Leaf.REQUEST, request_of(0, 59), now_ms + 60_000)
    home.tell(Leaf.REQUEST, request_of(0, 59), now_ms + 60_000)
    assert len(told(home)) <= REQUESTS_A_MINUTE + GAPS_AN_ANSWER and home.counters["request_unacknowledged"] == 1
    assert GAPS_WAITING_LIMIT < 512, "they wait in memory beside telemetry"


def test_where_much_waits_a_request_is_answered_for_its_first_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "WAITING_LIMIT", 8)
    home, now_ms = home_with_readings(tmp_path)
    acknowledge(home, 2, 3, now_ms)
    acknowledge(home, 12, 13, now_ms)
    home.tell(Leaf.REQUEST, request_of(0, READINGS - 1), now_ms)
    assert told(home) == [(2, 3, GapReason.ACKNOWLEDGED)]
    home.tell(Leaf.REQUEST, request_of(8, READINGS - 1), now_ms)
    assert told(home)[1:] == [(12, 13, GapReason.ACKNOWLEDGED)]


def test_the_home_says_lease_skipped_and_corrupt_store_where_it_knows_better(tmp_path: Path) -> None:
    home, now_ms = home_with_readings(tmp_path, 4)
    home.outbox.file.close()
    for part in tmp_path.glob("outbox.db*"):
        part.unlink()
    again = Home(tmp_path, synchronised_ms=now_ms)
    again.tell(Leaf.REQUEST, request_of(0, LEASE - 1), now_ms)
    assert told(again) == [], "the next housekeeping tells that with its own reason"
    for place in range(5, 8):
        again.sample(START_MS + place * STEP_MS, import_wh=2_000 + 90 * place, export_wh=5, power_w=360)
    now_ms = START_MS + 8 * STEP_MS
    again.agent.on_deadline(now_ms)
    by_itself = told(again)
    assert by_itself == [(0, 3, GapReason.CORRUPT_STORE), (4, LEASE - 1, GapReason.LEASE_SKIPPED)]
    again.tell(Leaf.REQUEST, request_of(0, LEASE - 1), now_ms)
    assert told(again) == by_itself, "they wait already"
    acknowledge(again, 0, LEASE - 1, now_ms)  # and now the operator has forgotten them as well
    again.tell(Leaf.REQUEST, request_of(0, LEASE - 1), now_ms + 1)
    assert told(again) == by_itself
    used = [reading.sequence for reading in again.readings()]
    again.tell(Leaf.ACK, Acknowledgement(ADA, 0, int(Stream.SETTLEMENT), 2, used[0], used[0]), now_ms)
    again.tell(Leaf.REQUEST, request_of(10, used[-1], epoch=2), now_ms + 2)
    assert told(again)[1:3] == [(4, LEASE - 1, GapReason.LEASE_SKIPPED), (10, LEASE - 1, GapReason.LEASE_SKIPPED)]
    assert told(again)[3:] == [(used[0], used[0], GapReason.ACKNOWLEDGED)]


def test_a_store_that_cannot_be_read_is_no_reason_to_call_anything_gone(tmp_path: Path) -> None:
    home, now_ms = home_with_readings(tmp_path)
    acknowledge(home, 0, 3, now_ms)
    home.outbox.file.fault = "disk I/O error"
    home.tell(Leaf.REQUEST, request_of(0, READINGS - 1), now_ms)
    assert home.counters["request_store_fails"] == 1 and told(home) == []


def test_gap_records_are_dated_so_without_a_clock_only_what_waits_is_sent(tmp_path: Path) -> None:
    home, now_ms = home_with_readings(tmp_path)
    acknowledge(home, 0, 3, now_ms)
    home.outbox.close()
    unsure = Home(tmp_path)
    unsure.agent.on_link(True, 5_000)
    unsure.tell(Leaf.REQUEST, request_of(0, READINGS - 1), 9_000)
    assert unsure.counters["request_clock_unknown"] == 1 and told(unsure) == []


def test_a_gap_record_made_for_a_request_goes_up_and_is_written_only_when_it_waits(tmp_path: Path) -> None:
    home, now_ms = home_with_readings(tmp_path)
    home.agent.on_link(True, now_ms)
    acknowledge(home, 0, READINGS - 1, now_ms)
    home.agent.on_deadline(now_ms + 10_000)
    sent = home.tell(Leaf.REQUEST, request_of(5, 9), now_ms + 20_000) + home.agent.on_deadline(now_ms + 21_000)
    opened = [open_envelope(effect.payload) for effect in sent if isinstance(effect, Publish)]
    gaps = [e.message for e in opened if isinstance(e, Envelope) and isinstance(e.message, GapRecord)]
    assert [(g.first_sequence, g.last_sequence, g.reason) for g in gaps] == [(5, 9, GapReason.ACKNOWLEDGED)]
    assert home.counters["gap_acknowledged"] == 1
    assert home.outbox._stored[FrameKind.SETTLEMENT_GAP] == 0
    home.outbox.retry()
    assert home.outbox._stored[FrameKind.SETTLEMENT_GAP] == 1
