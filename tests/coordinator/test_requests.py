"""What is missing is found without a scan, asked for with patience and a bound, and given up aloud."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import GapReason, Stream
from contracts.envelope import Envelope, open_envelope
from contracts.interval import INTERVAL_S
from contracts.messages import GapRecord, ReadingRequest, SettlementReading
from contracts.signature import address_of, signer_of
from contracts.telemetry import CHAIN_START, TelemetryReading, batch_of, pack_columns
from contracts.topics import Leaf
from coordinator.coordinator import Coordinator, Reception
from coordinator.effects import Alarm, Publish
from coordinator.replay import first_difference, replay
from coordinator.request_desk import ATTEMPTS_LIMIT, MISSING_S, REQUESTS_A_MINUTE, RequestDesk
from coordinator.store.coverage import SEQUENCE_LIMIT, Coverage, Span, StreamOf
from coordinator.store.readings import Readings
from coordinator.store.store import Store
from tests.coordinator.street import ADA, BO, MARKET, OPERATOR, Street

MAIN = StreamOf(ADA, 0, Stream.TELEMETRY)
SPANS = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 40), st.integers(0, 6)), max_size=30)


def missing_of(spans: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Epoch and number of what is missing, number by number."""
    held: dict[int, set[int]] = {}
    for epoch, first, more in spans:
        held.setdefault(epoch, set()).update(range(first, first + more + 1))
    found, reached = [], -1
    for epoch, numbers in sorted(held.items()):
        begins = min(reached + 1, min(numbers))
        found += [(epoch, n) for n in range(begins, max(numbers)) if n not in numbers]
        reached = max(reached, max(numbers))
    return found


@settings(max_examples=150, deadline=None)
@given(SPANS)
def test_holes_are_exactly_the_missing_numbers_in_whatever_order_readings_come(
    spans: list[tuple[int, int, int]],
) -> None:
    coverage = Coverage(Store())
    before: list[Span] = []
    for place, (epoch, first, more) in enumerate(spans):
        is_plain = coverage.add(Span(MAIN, epoch, first, first + more))
        found = coverage.holes(MAIN, 1_000)
        assert [(h.epoch, n) for h in found for n in range(h.first, h.last + 1)] == missing_of(spans[: place + 1])
        assert before == found or not is_plain or before, "only a stream with holes is looked at after a plain message"
        before = found
    assert bool(coverage.suspects()) >= bool(coverage.holes(MAIN, 1))


@settings(max_examples=60, deadline=None)
@given(SPANS)
def test_a_store_of_before_there_were_spans_gets_the_same_ones(spans: list[tuple[int, int, int]]) -> None:
    store = Store()
    coverage = Coverage(store)
    for place, (epoch, first, more) in enumerate(spans):
        last = first + more
        coverage.add(Span(MAIN, epoch, first, last))
        if place % 2:
            store.run("INSERT OR REPLACE INTO gaps VALUES (?, 0, 1, ?, ?, ?, 0)", ADA, epoch, 100 * place, 100 * place)
            coverage.add(Span(MAIN, epoch, 100 * place, 100 * place))
            store.run("INSERT INTO gaps VALUES (?, 0, 0, ?, ?, ?, 0)", BO, epoch, 1_000 * place, last + 1_000 * place)
            coverage.add(Span(StreamOf(BO, 0, 0), epoch, 1_000 * place, last + 1_000 * place))
        row = (ADA, 0, epoch, first, more + 1, bytes(32), place)
        store.run("INSERT OR IGNORE INTO telemetry_batches VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
        store.run(
            "UPDATE telemetry_batches SET count = MAX(count, ?) WHERE epoch = ? AND first_sequence = ?",
            more + 1, epoch, first,
        )  # fmt: skip
    grown = store.rows("SELECT * FROM spans")
    store.run("DELETE FROM spans")
    Coverage(store)
    assert store.rows("SELECT * FROM spans") == grown


def test_the_largest_numbers_there_are_break_nothing() -> None:
    coverage = Coverage(Store())
    coverage.add(Span(MAIN, 1, 5, SEQUENCE_LIMIT))
    assert coverage.add(Span(MAIN, 1, SEQUENCE_LIMIT, SEQUENCE_LIMIT + 9))
    coverage.add(Span(MAIN, 2, SEQUENCE_LIMIT, SEQUENCE_LIMIT))
    assert coverage.holes(MAIN, 9) == [Span(MAIN, 1, 0, 4)]
    coverage.add(Span(MAIN, 1, 0, SEQUENCE_LIMIT))
    assert coverage.holes(MAIN, 9) == []


def test_what_lies_before_an_epoch_and_beyond_all_earlier_ones_is_missing_too() -> None:
    coverage = Coverage(Store())
    coverage.add(Span(MAIN, 2, 100, 110))
    assert coverage.holes(MAIN, 9) == [Span(MAIN, 2, 0, 99)]
    coverage.add(Span(MAIN, 1, 0, 63))
    assert coverage.holes(MAIN, 9) == [Span(MAIN, 2, 64, 99)]
    coverage.add(Span(MAIN, 1, 64, 99))
    assert coverage.holes(MAIN, 9) == []


def requests_in(effects: object) -> list[ReadingRequest]:
    """What is asked for among effects, each signed by the operator."""
    assert isinstance(effects, list)
    frames = [e.payload for e in effects if isinstance(e, Publish) and e.topic.endswith("/request")]
    found = []
    for frame in frames:
        envelope = open_envelope(frame)
        assert isinstance(envelope, Envelope) and isinstance(envelope.message, ReadingRequest)
        assert envelope.signature_refusal(MARKET.domain, address_of(OPERATOR)) is None
        found.append(envelope.message)
    return found


def say(street: Street, sequence: int, meter: int = 0, epoch: int = 1) -> Reception:
    """A batch of a single reading."""
    at_s = street.now_s - 1
    batch = [TelemetryReading(sequence, at_s, 0, sequence, 1, 5, None, 230_000, 50_000)]
    message = batch_of(ADA, meter, epoch, CHAIN_START, batch)
    return street.send(message, Leaf.TELEMETRY, meter, attachment=pack_columns(batch))


def talk(street: Street, minutes: int, sequence: int, every: int = 1) -> list[tuple[int, ReadingRequest]]:
    """Ada goes on from ``sequence``, a batch every so many minutes; minute and request of what she is asked."""
    asked = []
    for minute in range(every, minutes + 1, every):
        street.now_s += 60 * every
        reception = say(street, sequence + minute // every - 1)
        street.effects += reception.effects
        asked += [(minute, request) for request in requests_in(reception.effects)]
    return asked


def test_a_hole_is_asked_for_after_twenty_minutes_and_ever_more_slowly_then_given_up_aloud() -> None:
    street = Street()
    for sequence in (0, 1, 5):
        say(street, sequence)
    street.effects.clear()
    asked = talk(street, 6_000, 6, every=5)
    assert {(r.first_sequence, r.last_sequence, r.epoch, r.stream) for _, r in asked} == {(2, 4, 1, Stream.TELEMETRY)}
    assert len(asked) == ATTEMPTS_LIMIT
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(asked)]
    assert all(MISSING_S // 60 << place <= pause for place, pause in enumerate(pauses))
    assert asked[0][0] == MISSING_S // 60
    alarms = {alarm.text for alarm in street.effects if isinstance(alarm, Alarm) and alarm.code == "readings_missing"}
    (text,) = alarms
    assert "account 1" in text and "2 to 4" in text
    desk = street.core.readings.requests
    assert (desk.open_holes, desk.given_up, street.core.counters["requests"]) == (1, 1, ATTEMPTS_LIMIT)


def test_what_comes_by_itself_within_the_time_is_never_asked_for() -> None:
    street = Street()
    for sequence in (0, 100):
        say(street, sequence)
    for sequence in range(1, 100):  # slowly, but it is being filled
        street.now_s += 600
        assert requests_in(say(street, sequence).effects) == []
    assert street.core.readings.requests.open_holes == 0


def test_many_holes_are_joined_and_what_is_left_is_bounded_a_minute() -> None:
    street = Street()
    for sequence in range(0, 60, 2):
        say(street, sequence)
    for place in range(1, 12):
        street.send(gap(10_000 * place, 10_000 * place + 1_000), Leaf.TELEMETRY, 0)
    asked = talk(street, 39, 200_000)
    minutes = [minute for minute, _ in asked]
    assert max(map(minutes.count, minutes)) == REQUESTS_A_MINUTE
    ranges = [(r.first_sequence, r.last_sequence) for _, r in asked]
    assert ranges[:3] == [(1, 1), (3, 9_999), (11_001, 19_999)], "holes of a batch's length apart are one request"
    assert len(ranges) == len(set(ranges)) == 13


def test_a_home_that_invents_meters_and_holes_is_asked_no_faster_and_remembered_no_further() -> None:
    street = Street()
    asked: list[int] = []
    for place in range(900):
        street.now_s += 5
        found = requests_in(say(street, 1 + 2 * (place // 300), meter=place % 300).effects)
        asked += [street.now_s // 60] * len(found)
    assert asked and max(map(asked.count, asked)) <= REQUESTS_A_MINUTE
    assert street.core.readings.requests.open_holes <= 64 * 3


def test_a_restart_asks_again_and_a_replay_has_the_same_spans() -> None:
    street = Street()
    for sequence in (0, 1, 5):
        say(street, sequence)
    street.core = Coordinator(MARKET, street.store, signer_of(OPERATOR))
    assert [(r.first_sequence, r.last_sequence) for _, r in talk(street, 30, 6)] == [(2, 4)]
    assert first_difference(street.store, replay(street.store, MARKET, signer_of(OPERATOR)).store) is None


def gap(first: int, last: int, reason: GapReason = GapReason.ACKNOWLEDGED) -> GapRecord:
    return GapRecord(ADA, 0, int(Stream.TELEMETRY), 1, first, last, int(reason), 5)


def test_a_gap_record_over_what_is_held_closes_the_rest_and_the_reading_counts() -> None:
    street = Street()
    for sequence in (0, 3, 7):
        say(street, sequence)
    assert street.send(gap(1, 5), Leaf.TELEMETRY, 0).refusal is None
    assert street.store.integer("SELECT COUNT(*) FROM telemetry_batches") == 3
    assert Readings(street.store).coverage.holes(MAIN, 9) == [Span(MAIN, 1, 6, 6)]
    assert say(street, 4).refusal is None, "one that comes after all counts as well"
    assert street.store.integer("SELECT COUNT(*) FROM telemetry_batches") == 4


def test_a_longer_gap_record_with_the_same_beginning_is_no_repeat_and_a_shorter_one_is() -> None:
    street = Street()
    for last, known in ((5, "new_readings"), (9, "new_readings"), (7, "duplicates"), (9, "duplicates")):
        before = street.core.counters[known]
        street.send(gap(1, last), Leaf.TELEMETRY, 0)
        assert street.core.counters[known] == before + 1
    assert street.store.rows("SELECT first_sequence, last_sequence FROM gaps") == [(1, 9)]
    assert first_difference(street.store, replay(street.store, MARKET, signer_of(OPERATOR)).store) is None


def test_settlement_readings_are_missed_by_stream_and_meter() -> None:
    street = Street()
    for sequence in (0, 2):
        at_s = street.now_s
        reading = SettlementReading(
            ADA, 3, 1, sequence, at_s // INTERVAL_S - 3 + sequence, at_s, 5, 5, 0, 2, bytes(32), bytes(32)
        )
        street.send(reading, Leaf.SETTLEMENT, 3)
    assert [(r.meter, r.stream, r.first_sequence, r.last_sequence) for _, r in talk(street, 25, 0)] == [(3, 0, 1, 1)]


def test_a_thousand_homes_without_losses_are_two_spans_each_and_nobody_is_looked_at() -> None:
    coverage = Coverage(Store())
    rows = [(account, 0, stream, 1, 0, 8_640 * 15) for account in range(1, 1_001) for stream in (0, 1)]
    coverage._store.run_many("INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?)", rows)
    desk = RequestDesk(coverage)
    assert desk.open_holes == 0 and coverage.suspects() == []
    assert replace(MAIN, account=1_000) not in coverage.suspects()


def test_a_hole_before_an_epoch_is_asked_for_as_far_as_it_is_open_still() -> None:
    street = Street()
    say(street, 9, epoch=2)
    for sequence in range(5):  # the end of the epoch before comes late, and closes part of it
        street.now_s += 300
        assert requests_in(say(street, sequence).effects) == []
    asked = []
    for sequence in range(10, 40):
        street.now_s += 60
        asked += requests_in(say(street, sequence, epoch=2).effects)
    assert [(r.epoch, r.first_sequence, r.last_sequence) for r in asked] == [(2, 5, 8)]
