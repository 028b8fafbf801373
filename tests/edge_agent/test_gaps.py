"""What will never come is said in signed records: after crashes, damage and loss of the database, and only then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_agent.delivery.sequence as sequence_module
from contracts.codes import GapReason, Stream
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import GapRecord, TelemetryBatch
from contracts.topics import Leaf
from edge_agent.delivery.frame import FrameKind
from edge_agent.delivery.gaps import holes_between
from edge_agent.delivery.sequence import LEASE, TELEMETRY_LEASE
from edge_agent.effects import Alarm, Effect
from tests.edge_agent.conftest import Home, reply_to
from tests.edge_agent.real_home import NIGHTLY

START_MS = interval_start_s(2_000_000) * 1000
STEP_MS = INTERVAL_S * 1000


def gaps_of(home: Home, kind: FrameKind = FrameKind.SETTLEMENT_GAP) -> list[GapRecord]:
    """The gap records that wait."""
    return [message for message in home.stored(kind) if isinstance(message, GapRecord)]


def settle(home: Home, first: int, count: int) -> list[Effect]:
    """So many settled intervals from START on, a poll each."""
    effects = []
    for place in range(first, first + count):
        now_ms = START_MS + place * STEP_MS
        effects += home.sample(now_ms, import_wh=1_000 + 90 * place, export_wh=5, power_w=360)
        effects += home.agent.on_deadline(now_ms)
    return effects


def crash(home: Home) -> None:
    """The process is gone; nothing is flushed."""
    home.outbox.file.close()


def acknowledge_all(home: Home, now_ms: int) -> None:
    """The operator has everything that waits."""
    for kind in FrameKind:
        for message in home.stored(kind):
            answer = reply_to(message)
            assert answer is not None
            home.tell(Leaf.ACK, answer, now_ms)


def test_a_first_start_and_a_running_agent_have_no_gap(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 5)
    assert gaps_of(home) == gaps_of(home, FrameKind.TELEMETRY_GAP) == []


def test_a_crash_skips_the_rest_of_the_lease_and_says_exactly_which_numbers(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 3)
    crash(home)
    again = Home(tmp_path, synchronised_ms=START_MS + 3 * STEP_MS)
    settle(again, 3, 1)
    (gap,) = gaps_of(again)
    assert (gap.epoch, gap.first_sequence, gap.last_sequence) == (1, 3, LEASE - 1)
    assert (gap.stream, gap.reason, gap.account) == (Stream.SETTLEMENT, GapReason.LEASE_SKIPPED, 7)
    assert gap.recorded_at_s == (START_MS + 3 * STEP_MS) // 1000
    (telemetry,) = gaps_of(again, FrameKind.TELEMETRY_GAP)
    assert (telemetry.epoch, telemetry.last_sequence) == (1, TELEMETRY_LEASE - 1)
    assert [r.sequence for r in again.readings()] == [0, 1, 2, LEASE]
    assert again.counters["gap_lease_skipped"] == 2


def test_telemetry_that_memory_alone_held_is_named_with_the_rest_of_its_lease(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 2)
    home.outbox.retry()
    stored = {n for batch in home.stored(FrameKind.TELEMETRY) for n in numbers_of(batch)}
    now_ms = START_MS + STEP_MS
    for place in range(3):  # in memory alone, before the next mark and after it
        now_ms += STEP_MS // 2
        home.sample(now_ms, import_wh=2_000 + place, export_wh=5, power_w=360)
        home.agent._uplink.store(home.agent._meters["main"].seal(), now_ms)
    assert len(home.readings()) == 3 and len(home.stored(FrameKind.TELEMETRY)) > len(stored)
    crash(home)
    again = Home(tmp_path, synchronised_ms=now_ms)
    again.agent.on_deadline(now_ms)
    said = [n for gap in gaps_of(again, FrameKind.TELEMETRY_GAP) for n in numbers_of(gap)]
    assert sorted([*stored, *said]) == list(range(TELEMETRY_LEASE)), "each number once: stored, or in the gap"


def numbers_of(message: object) -> range:
    """The sequences of a batch or gap record."""
    if isinstance(message, TelemetryBatch):
        return range(message.first_sequence, message.first_sequence + message.count)
    assert isinstance(message, GapRecord)
    return range(message.first_sequence, message.last_sequence + 1)


def test_a_gap_is_told_once_and_not_again_after_the_next_restart(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 2)
    for place in range(2, 6):
        crash(home)
        home = Home(tmp_path, synchronised_ms=START_MS + place * STEP_MS)
        settle(home, place, 1)
        assert [gap.epoch for gap in gaps_of(home)] == [place - 1]
        acknowledge_all(home, START_MS + place * STEP_MS)
        home.outbox.retry()


def test_gaps_wait_for_a_clock_because_they_are_dated(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 2)
    crash(home)
    unsure = Home(tmp_path)
    unsure.agent.on_deadline(5_000)
    assert gaps_of(unsure) == []
    crash(unsure)
    sure = Home(tmp_path, synchronised_ms=START_MS + 2 * STEP_MS)
    sure.agent.on_deadline(START_MS + 2 * STEP_MS)
    assert [gap.first_sequence for gap in gaps_of(sure)] == [2]


def test_a_lost_database_is_an_alarm_and_a_gap_over_what_it_held(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 4)
    crash(home)
    for part in tmp_path.glob("outbox.db*"):
        part.unlink()
    again = Home(tmp_path, synchronised_ms=START_MS + 4 * STEP_MS)
    effects = settle(again, 4, 1)
    assert any(isinstance(effect, Alarm) and "older than the lease file" in effect.text for effect in effects)
    assert again.counters["store_behind_leases"] == 1
    found = [(gap.first_sequence, gap.last_sequence, gap.reason) for gap in gaps_of(again)]
    assert found == [(0, 3, GapReason.CORRUPT_STORE), (4, LEASE - 1, GapReason.LEASE_SKIPPED)]
    assert again.readings()[-1].import_wh >= 1_000 + 90 * 4, "the energy goes on"


def test_an_older_database_with_a_newer_lease_file_names_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    folder, backup = tmp_path / "home", tmp_path / "backup"
    folder.mkdir()
    home = Home(folder, synchronised_ms=START_MS)
    settle(home, 0, 2)
    shutil.copytree(folder, backup)
    settle(home, 2, 3)
    crash(home)
    for part in folder.glob("outbox.db*"):
        part.unlink()
    for part in backup.glob("outbox.db*"):
        shutil.copy(part, folder / part.name)
    again = Home(folder, synchronised_ms=START_MS + 5 * STEP_MS)
    settle(again, 5, 1)
    lost = [gap for gap in gaps_of(again) if gap.reason == GapReason.CORRUPT_STORE]
    assert [(gap.epoch, gap.first_sequence, gap.last_sequence) for gap in lost] == [(1, 2, 4)]
    assert [r.sequence for r in again.readings()] == [0, 1, LEASE]


def test_an_older_lease_file_with_a_newer_database_changes_nothing_and_is_no_alarm(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 2)
    old = home.config.lease_file.read_bytes()
    settle(home, 2, 70)
    crash(home)
    home.config.lease_file.write_bytes(old)
    again = Home(tmp_path, synchronised_ms=START_MS + 72 * STEP_MS)
    settle(again, 72, 1)
    assert "store_behind_leases" not in again.counters
    assert [r.sequence for r in again.readings()] == [*range(72), 2 * LEASE]
    assert [(gap.first_sequence, gap.last_sequence) for gap in gaps_of(again)] == [(72, 2 * LEASE - 1)]


def test_an_unreadable_lease_file_skips_far_and_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 2)
    crash(home)
    home.config.lease_file.write_text("{not json")
    again = Home(tmp_path, synchronised_ms=START_MS + 2 * STEP_MS)
    settle(again, 2, 1)
    (gap,) = gaps_of(again)
    assert (gap.first_sequence, gap.last_sequence) == (2, LEASE + sequence_module.UNREADABLE_SKIP - 1)
    assert again.readings()[-1].sequence == gap.last_sequence + 1


def test_damage_while_running_names_what_was_lost_and_nothing_that_still_waits(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 4)
    assert home.outbox.file.connection is not None
    home.outbox.file.connection.execute("DELETE FROM frame WHERE kind = 1 AND first IN (1, 2)")
    home.outbox.file.condemn(ValueError("planted"))
    home.sample(START_MS + 4 * STEP_MS, import_wh=5_000, export_wh=5)
    home.agent.on_deadline(START_MS + 4 * STEP_MS + 60_000)
    assert [(gap.first_sequence, gap.last_sequence) for gap in gaps_of(home)] == [(1, 2)]
    assert {gap.reason for gap in gaps_of(home)} == {GapReason.CORRUPT_STORE}
    assert sorted(r.sequence for r in home.readings()) == [0, 3, 4]


def test_a_stored_frame_that_the_disk_has_changed_is_not_sent_but_said_to_be_lost(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 3)
    assert home.outbox.file.connection is not None
    payload = bytearray(home.outbox.pending(FrameKind.SETTLEMENT, 2, newest=False)[1].payload)
    payload[60] ^= 1
    home.outbox.file.connection.execute("UPDATE frame SET payload = ? WHERE kind = 1 AND first = 1", (bytes(payload),))
    crash(home)
    now_ms = START_MS + 2 * STEP_MS + 60_000
    again = Home(tmp_path, synchronised_ms=now_ms)
    again.agent.on_link(True, now_ms)
    sent = []
    until_ms = now_ms + 120_000
    while now_ms < until_ms:
        now_ms = max(again.agent.next_deadline_ms(), now_ms + 1)
        sent += [e.payload for e in again.agent.on_deadline(now_ms) if hasattr(e, "topic") and "settlement" in e.topic]
    assert bytes(payload) not in sent and again.counters["frames_damaged"] == 1
    assert (1, 1, GapReason.CORRUPT_STORE) in [(g.first_sequence, g.last_sequence, g.reason) for g in gaps_of(again)]
    assert [r.sequence for r in again.readings()] == [0, 2]


def test_an_exchanged_meter_has_its_numbers_told_under_both_epochs(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    settle(home, 0, 2)
    metering = home.agent._meters["main"]
    metering._begin_epoch()
    settle(home, 2, 2)
    crash(home)
    again = Home(tmp_path, synchronised_ms=START_MS + 4 * STEP_MS)
    settle(again, 4, 1)
    assert [(g.epoch, g.first_sequence, g.last_sequence) for g in gaps_of(again)] == [(2, 4, LEASE - 1)]
    assert [(r.epoch, r.sequence) for r in again.readings()] == [(1, 0), (1, 1), (2, 2), (2, 3), (3, LEASE)]


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=12)


@given(st.integers(0, 40), st.integers(0, 60), ranges)
def test_holes_are_exactly_what_is_not_held(first: int, end: int, held: list[tuple[int, int]]) -> None:
    spans = sorted((begin, begin + size) for begin, size in held)
    inside = {number for begin, last in spans for number in range(begin, last + 1)}
    holes = holes_between(first, end, spans)
    assert all(begin <= last for begin, last in holes)
    found = [number for begin, last in holes for number in range(begin, last + 1)]
    assert found == [number for number in range(first, end) if number not in inside]


@settings(max_examples=400 if NIGHTLY else 10)
@given(st.lists(st.sampled_from(["poll", "poll", "interval", "crash", "ack", "lose", "damage"]), max_size=25))
def test_whatever_happens_every_number_is_a_reading_or_in_a_gap_and_none_that_waits_is_in_one(
    tmp_path_factory: pytest.TempPathFactory, story: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("home")
    now_ms, energy_wh = START_MS, 1_000
    home = Home(folder, synchronised_ms=now_ms)
    came: dict[Stream, set[int]] = {stream: set() for stream in Stream}
    said: dict[Stream, set[int]] = {stream: set() for stream in Stream}
    for step in [*story, "interval", "poll"]:
        now_ms += STEP_MS if step == "interval" else 60_000
        energy_wh += 10
        if step == "ack":
            acknowledge_all(home, now_ms)
        elif step in ("crash", "lose", "damage"):
            crash(home)
            if step == "lose":
                for part in folder.glob("outbox.db*"):
                    part.unlink()
            elif step == "damage":
                (folder / "outbox.db").write_bytes(b"\xff" * 9_000)
            home = Home(folder, synchronised_ms=now_ms)
        for _ in range(3):  # seals between two looks at the disk, so that telemetry waits in memory when it crashes
            now_ms += 1_000
            home.sample(now_ms, import_wh=energy_wh, export_wh=3, power_w=600)
            home.agent._uplink.store(home.agent._meters["main"].seal(), now_ms)
        home.sample(now_ms, import_wh=energy_wh, export_wh=3, power_w=600)
        home.agent.on_deadline(now_ms)
        waits: dict[Stream, set[int]] = {stream: set() for stream in Stream}
        for reading in home.readings():
            waits[Stream.SETTLEMENT].add(reading.sequence)
        for batch in home.stored(FrameKind.TELEMETRY):
            assert isinstance(batch, TelemetryBatch)
            waits[Stream.TELEMETRY].update(range(batch.first_sequence, batch.first_sequence + batch.count))
        for kind in (FrameKind.SETTLEMENT_GAP, FrameKind.TELEMETRY_GAP):
            for gap in gaps_of(home, kind):
                said[Stream(gap.stream)].update(range(gap.first_sequence, gap.last_sequence + 1))
        for stream in Stream:
            came[stream] |= waits[stream]
            assert not waits[stream] & said[stream], "a number that waits is said never to come"
    for stream in Stream:
        explained = came[stream] | said[stream]
        assert explained == set(range(max(explained, default=-1) + 1))
    home.outbox.close()
