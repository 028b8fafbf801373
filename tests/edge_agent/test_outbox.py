"""The store: budgets, broken files, full disks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import edge_agent.delivery.outbox as outbox_module
from contracts.codes import GapReason, Stream
from contracts.envelope import Envelope, open_envelope
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import GapRecord, TelemetryBatch
from edge_agent.delivery.frame import Frame, FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.effects import Alarm, Counters
from tests.edge_agent.conftest import Home, reply_to

START_MS = interval_start_s(2_000_000) * 1000


def frame(number: int, kind: FrameKind = FrameKind.SETTLEMENT, payload: bytes = b"x" * 100) -> Frame:
    """A stored frame of meter 0."""
    return Frame(kind, 0, 1, number, number, payload)


def test_ninety_days_of_intervals_of_four_meters_fit_and_nothing_is_dropped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", Counters())
    outbox.put([frame(n) for n in range(90 * 96 * 4)], durable=True)
    assert outbox.over_budget() == []
    assert outbox.stat()["pending_settlement"] == 34_560


def test_telemetry_beyond_its_budget_goes_oldest_first_and_leaves_a_signed_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "TELEMETRY_LIMIT_BYTES", 6_000)
    home = Home(tmp_path, synchronised_ms=START_MS)
    for second in range(0, 3 * INTERVAL_S, 10):
        now_ms = START_MS + second * 1000
        home.agent.on_deadline(now_ms)
        home.sample(now_ms, import_wh=1_000 + second, export_wh=0, power_w=second)
    home.agent.on_deadline(now_ms + 60_000)
    gaps = home.stored(FrameKind.TELEMETRY_GAP)
    batches = home.stored(FrameKind.TELEMETRY)
    assert gaps and batches and len(home.readings()) == 3
    covered: list[int] = []
    for gap in gaps:
        assert isinstance(gap, GapRecord) and (gap.stream, gap.reason) == (Stream.TELEMETRY, GapReason.BUDGET)
        covered += range(gap.first_sequence, gap.last_sequence + 1)
    for batch in batches:
        assert isinstance(batch, TelemetryBatch)
        covered += range(batch.first_sequence, batch.first_sequence + batch.count)
    assert covered == list(range(covered[-1] + 1)), "every sequence is either kept or said to be gone"
    for gap in gaps:
        answer = reply_to(gap)
        assert answer is not None
        home.agent.on_message("grid/v1/f1/ada/ack", home.operator.sign(answer), now_ms)
    assert home.stored(FrameKind.TELEMETRY_GAP) == []


def test_a_corrupt_database_is_set_aside_and_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"this is not a database" * 400)
    home = Home(tmp_path, synchronised_ms=START_MS)
    effects = home.sample(START_MS, import_wh=1, export_wh=1)
    assert len(home.readings()) == 1
    assert (tmp_path / "outbox.db.corrupt-1").exists()
    assert home.counters["store_quarantined"] == 1 and any(isinstance(e, Alarm) for e in effects)


def test_readings_in_the_sound_part_of_a_damaged_database_are_carried_over(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", Counters())
    outbox.put([frame(n) for n in range(50)], durable=True)
    outbox.put([frame(n, FrameKind.TELEMETRY, b"t" * 3_000) for n in range(200)], durable=True)
    outbox.close()
    image = bytearray((tmp_path / "o.db").read_bytes())
    image[-40_000:-20_000] = b"\xff" * 20_000
    (tmp_path / "o.db").write_bytes(image)
    counters = Counters()
    again = Outbox(tmp_path / "o.db", counters)
    assert counters["store_quarantined"] == 1
    kept = again.pending(FrameKind.SETTLEMENT, 100, newest=False)
    assert [f.first for f in kept] == list(range(50))


def test_damage_that_shows_only_while_running_is_set_aside_too(tmp_path: Path) -> None:
    counters = Counters()
    outbox = Outbox(tmp_path / "o.db", counters)
    outbox.put([frame(n) for n in range(2_000)], durable=True)
    assert outbox.file.connection is not None
    outbox.file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox.file.connection.execute("PRAGMA cache_size=1")
    with (tmp_path / "o.db").open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * 150_000)
    outbox.pending(FrameKind.SETTLEMENT, 2_000, newest=False)
    outbox.put([frame(9_999)], durable=True)
    assert counters["store_quarantined"] == 1
    assert 9_999 in [f.first for f in outbox.pending(FrameKind.SETTLEMENT, 3_000, newest=False)]


def test_a_disk_that_takes_nothing_is_an_alarm_and_readings_go_out_from_memory(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS, import_wh=1, export_wh=1)
    assert home.outbox.file.connection is not None
    home.outbox.file.connection.execute("PRAGMA max_page_count=1")  # SQLITE_FULL on the next page
    home.outbox.file.connection.execute("PRAGMA query_only=1")
    effects = []
    for place in range(1, 5):
        effects += home.sample(START_MS + place * INTERVAL_S * 1000, import_wh=1 + place, export_wh=1)
    assert [r.import_wh for r in home.readings()] == [1, 2, 3, 4, 5]
    assert home.outbox.stat()["unsaved"] >= 4 and any(isinstance(e, Alarm) and e.code == "store" for e in effects)
    home.outbox.file.connection.execute("PRAGMA query_only=0")
    home.outbox.file.connection.execute("PRAGMA max_page_count=1000000")
    for minutes in (1, 2):
        home.agent.on_deadline(START_MS + (5 * INTERVAL_S + 60 * minutes) * 1000)
    assert home.outbox.stat()["unsaved"] == 0
    assert [r.import_wh for r in home.readings()] == [1, 2, 3, 4, 5]


def test_a_real_full_database_is_survived(tmp_path: Path) -> None:
    counters = Counters()
    outbox = Outbox(tmp_path / "o.db", counters)
    assert outbox.file.connection is not None
    pages = outbox.file.connection.execute("PRAGMA page_count").fetchone()[0]
    outbox.file.connection.execute(f"PRAGMA max_page_count={pages}")
    outbox.put([frame(n, payload=bytes(5_000)) for n in range(5)], durable=True)
    assert counters["store_failed"] == 1 and outbox.complaints
    assert len(outbox.pending(FrameKind.SETTLEMENT, 10, newest=False)) == 5
    gone = outbox.acknowledge([FrameKind.SETTLEMENT], 0, 1, 0, 3)
    assert len(gone) == 4 and len(outbox.pending(FrameKind.SETTLEMENT, 10, newest=True)) == 1


def test_a_folder_that_is_missing_is_an_alarm_and_not_the_end(tmp_path: Path) -> None:
    counters = Counters()
    outbox = Outbox(tmp_path / "nowhere" / "o.db", counters)
    outbox.put([frame(1)], durable=True)
    assert outbox.complaints
    assert len(outbox.pending(FrameKind.SETTLEMENT, 10, newest=False)) == 1
    (tmp_path / "nowhere").mkdir()
    outbox.retry()
    assert outbox.fault is None and outbox.stat()["unsaved"] == 0


def test_memory_is_bounded_while_the_disk_takes_nothing_and_settlement_stays_longest(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "nowhere" / "o.db", Counters())
    outbox.put([frame(n) for n in range(100)], durable=True)
    outbox.stage([frame(n, FrameKind.TELEMETRY) for n in range(1_000)])
    assert outbox.stat()["unsaved"] == outbox_module.UNSAVED_LIMIT
    assert len(outbox.pending(FrameKind.SETTLEMENT, 1_000, newest=False)) == 100


def test_settlement_is_fsynced_and_telemetry_is_not(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", Counters())
    seen: list[str] = []
    assert outbox.file.connection is not None
    outbox.file.connection.set_trace_callback(lambda sql: seen.append(sql) if "synchronous" in sql else None)
    outbox.put([frame(1)], durable=True)
    outbox.stage([frame(1, FrameKind.TELEMETRY)])
    outbox.retry()
    assert seen == ["PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"]
    mode = outbox.file.connection.execute("PRAGMA journal_mode").fetchone()[0]
    assert mode == "wal"


def test_telemetry_that_is_acknowledged_within_a_minute_never_reaches_the_card(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", Counters())
    outbox.stage([frame(n, FrameKind.TELEMETRY) for n in range(4)])
    assert len(outbox.acknowledge([FrameKind.TELEMETRY], 0, 1, 0, 2)) == 3
    outbox.retry()
    assert [f.first for f in Outbox(tmp_path / "o.db", Counters()).pending(FrameKind.TELEMETRY, 9, newest=False)] == [3]


def test_the_file_is_plain_sqlite_that_others_can_read(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS, import_wh=1, export_wh=1)
    with sqlite3.connect(f"file:{tmp_path / 'outbox.db'}?mode=ro", uri=True) as connection:
        (payload,) = connection.execute("SELECT payload FROM frame WHERE kind = 1").fetchone()
    assert isinstance(open_envelope(payload), Envelope)
