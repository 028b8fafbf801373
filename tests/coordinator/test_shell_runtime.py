"""The runtime: nothing leaves before the commit, and a crash loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from contracts.codes import Side
from contracts.envelope import Envelope, open_envelope
from contracts.interval import INTERVAL_S, interval_of
from contracts.messages import Acknowledgement, Receipt
from contracts.topics import Leaf
from coordinator.chain_events import HeaderPosted
from coordinator.coordinator import Coordinator
from coordinator.running import LocalStoppedError
from coordinator.shell import runtime as runtime_module
from coordinator.shell.alarms import AlarmLog
from coordinator.shell.clock import ScaledClock, SystemClock
from coordinator.shell.ingest_port import Incoming
from coordinator.shell.records import publish_record
from tests.coordinator.running import HandBroker, ListedChain, bid_of, incoming, opened, reading_of, running
from tests.coordinator.street import START_S

EARLIER = interval_of(START_S) - 1


def committed(path: Path, sql: str) -> int:
    """What another connection sees: committed rows only."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute(sql).fetchone()[0])
    finally:
        connection.close()


def test_an_acknowledgement_leaves_only_after_its_reading_is_committed(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(text: str, payload: bytes) -> None:
        envelope = open_envelope(payload)
        if isinstance(envelope, Envelope) and isinstance(envelope.message, Acknowledgement):
            sql = f"SELECT COUNT(*) FROM settlement_readings WHERE sequence = {envelope.message.first_sequence}"
            seen.append(committed(tmp_path / "store.db", sql))

    async def scenario() -> None:
        broker = HandBroker(look)
        async with running(tmp_path, broker=broker) as street:
            for interval in range(EARLIER - 20, EARLIER):
                broker.hand_in(incoming(reading_of(1, interval, interval), 1, Leaf.SETTLEMENT, 0))
            await street.until(lambda: len(seen) == 20)

    asyncio.run(scenario())
    assert seen == [1] * 20


def test_the_broker_is_told_after_the_commit_and_even_for_refused_messages(tmp_path: Path) -> None:
    told: list[int] = []

    async def scenario() -> None:
        broker = HandBroker()
        async with running(tmp_path, broker=broker) as street:
            good = incoming(reading_of(1, EARLIER, 10), 1, Leaf.SETTLEMENT, 0)
            sql = "SELECT COUNT(*) FROM settlement_readings"

            def acknowledge() -> None:
                told.append(committed(tmp_path / "store.db", sql))

            broker.hand_in(Incoming(good.topic, good.payload, acknowledge))
            broker.hand_in(Incoming(good.topic, b"not an envelope", acknowledge))
            await street.until(lambda: len(told) == 2)

    asyncio.run(scenario())
    assert told == [1, 1]


def test_a_group_of_inputs_shares_one_commit(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, int]:
        broker = HandBroker()
        async with running(tmp_path, broker=broker) as street:
            before = street.runtime.counters.copy()
            for interval in range(EARLIER - 300, EARLIER):
                broker.hand_in(incoming(reading_of(1, interval, interval), 1, Leaf.SETTLEMENT, 0))
            await street.until(lambda: street.runtime.counters["inputs"] - before["inputs"] >= 300)
            return street.runtime.counters["inputs"] - before["inputs"], street.runtime.counters["groups"] - before[
                "groups"
            ]

    inputs, groups = asyncio.run(scenario())
    assert inputs == 300
    assert groups <= 10


def test_a_full_queue_drops_the_newest_counts_and_alarms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "QUEUE_LIMIT", 10)

    async def scenario() -> tuple[int, int, int]:
        broker = HandBroker()
        async with running(tmp_path, broker=broker) as street:
            for interval in range(EARLIER - 25, EARLIER):
                broker.hand_in(incoming(reading_of(1, interval, interval), 1, Leaf.SETTLEMENT, 0))
            await street.until(lambda: len(broker.sent) == 10)
            dropped, alarms = street.runtime.counters["inputs_dropped"], street.runtime.alarms.counters["overload"]
            for interval in range(EARLIER - 25, EARLIER - 15):
                broker.hand_in(incoming(reading_of(1, interval, interval), 1, Leaf.SETTLEMENT, 0))
            await street.until(lambda: len(broker.sent) == 20)
            return dropped, alarms, len(broker.sent)

    assert asyncio.run(scenario()) == (15, 15, 20)


def test_an_input_that_breaks_the_core_is_left_out_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, list[int], int]:
        broker = HandBroker()
        async with running(tmp_path, broker=broker) as street:

            def broken(core: Coordinator, now_ms: int) -> tuple[None, list[object]]:
                core.store.append_input(now_ms, "quote", "half", b"done")
                raise ZeroDivisionError("a fault of ours")

            broker.hand_in(incoming(reading_of(1, EARLIER - 1, 5), 1, Leaf.SETTLEMENT, 0))
            with pytest.raises(ZeroDivisionError):
                await street.runtime.request(broken)  # type: ignore[arg-type]
            broker.hand_in(incoming(reading_of(2, EARLIER, 6), 2, Leaf.SETTLEMENT, 0))
            await street.until(lambda: len(broker.sent) == 2)
            path = tmp_path / "store.db"
            halves = committed(path, "SELECT COUNT(*) FROM inbox WHERE topic = 'half'")
            kept = committed(path, "SELECT COUNT(*) FROM settlement_readings")
            return halves, [kept], street.runtime.counters["core_faults"]

    halves, kept, faults = asyncio.run(scenario())
    assert (halves, kept) == (0, [2])
    assert faults >= 1


def test_records_stand_on_disk_before_their_headers_are_submitted(tmp_path: Path) -> None:
    missing: list[int] = []

    class StrictChain(ListedChain):
        async def submit(self, header: object) -> None:
            if not (tmp_path / "records" / f"{header.interval}.json").exists():  # type: ignore[attr-defined]
                missing.append(header.interval)  # type: ignore[attr-defined]
            await super().submit(header)  # type: ignore[arg-type]

    async def scenario() -> int:
        chain = StrictChain(opened(3))
        async with running(tmp_path, chain=chain) as street:
            await street.move_to(START_S + 3 * INTERVAL_S + 60)
            await street.until(lambda: len(chain.headers) == 3)
            return len(chain.headers)

    assert asyncio.run(scenario()) == 3
    assert missing == []
    assert len(list((tmp_path / "records").glob("*.json"))) == 3


def test_after_a_restart_unposted_headers_are_submitted_again_and_events_come_once(tmp_path: Path) -> None:
    async def first() -> list[bytes]:
        async with running(tmp_path) as street:
            await street.move_to(START_S + 2 * INTERVAL_S + 60)
            await street.until(lambda: len(street.chain.headers) == 2)
            rows = await street.runtime.request(
                lambda core, _: (core.store.rows("SELECT digest FROM headers ORDER BY interval"), [])
            )
            return [bytes(row[0]) for row in rows]

    digests = asyncio.run(first())
    for path in (tmp_path / "records").glob("*.json"):
        path.unlink()

    async def second() -> tuple[int, list[int], str]:
        chain = ListedChain([*opened(3), HeaderPosted(0, digests[0], START_S + 1000, 67_000)])
        async with running(tmp_path, chain=chain, enrol=False) as street:
            await street.move_to(START_S + 2 * INTERVAL_S + 61)
            cash = committed(tmp_path / "store.db", "SELECT SUM(deposited_nano) FROM participants")
            await street.until(
                lambda: committed(tmp_path / "store.db", "SELECT COUNT(*) FROM headers WHERE state = 'posted'") == 1
            )
            state = await street.runtime.request(
                lambda core, _: (str(core.store.rows("SELECT state FROM headers ORDER BY interval")), [])
            )
            return cash, [h.interval for h in chain.headers], state

    cash, submitted, state = asyncio.run(second())
    assert cash == 3 * 10**12
    assert len(submitted) == 2
    assert state == "[('posted',), ('built',)]"
    assert len(list((tmp_path / "records").glob("*.json"))) == 2


def test_a_request_after_the_stop_is_refused_and_one_before_it_is_finished(tmp_path: Path) -> None:
    async def scenario() -> object:
        async with running(tmp_path) as street:
            order = bid_of(1, Side.BUY, 500, 200_000)
            message = incoming(order, 1, Leaf.BID)
            pending = asyncio.create_task(street.runtime.submit(message.topic, message.payload))
            await asyncio.sleep(0)
        reception = await pending
        with pytest.raises(LocalStoppedError):
            await street.runtime.submit("grid/v1/street/home-1/bid", b"")
        return reception

    reception = asyncio.run(scenario())
    envelope = open_envelope(reception.effects[0].payload)  # type: ignore[attr-defined]
    assert isinstance(envelope, Envelope) and isinstance(envelope.message, Receipt)


def test_a_record_is_whole_or_absent_and_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    path = publish_record(tmp_path / "r", 7, b"{}")
    first = path.stat().st_mtime_ns
    assert publish_record(tmp_path / "r", 7, b"{}").stat().st_mtime_ns == first
    assert publish_record(tmp_path / "r", 7, b'{"a":1}').read_bytes() == b'{"a":1}'
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["7.json"]


def test_an_alarm_that_repeats_is_counted_always_and_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    alarms = AlarmLog(as_json=True)
    for _ in range(50):
        alarms.report("overload", "too much")
    alarms.report("other", "else")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["code"] for line in lines] == ["overload", "other"]
    assert alarms.counters == {"overload": 50, "other": 1}
    assert len(alarms.recent) == 51


def test_a_scaled_clock_lets_an_hour_pass_in_a_moment() -> None:
    async def scenario() -> int:
        clock = ScaledClock(SystemClock().now_ms() / 1000, START_S, 36_000)
        await clock.sleep_until_ms((START_S + 3_600) * 1000)
        return clock.now_ms() // 1000 - START_S

    assert 3_600 <= asyncio.run(scenario()) < 3_600 + 20_000
    with pytest.raises(ValueError):
        ScaledClock(0, 0, 0)
