"""What is sent when, and how often the outbox is asked; budgets that drop the oldest and say so."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_agent.delivery.outbox as outbox_module
import edge_agent.delivery.replay as replay_module
from contracts.codes import Stream
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import Acknowledgement, GapRecord, TelemetryBatch
from contracts.topics import Leaf
from edge_agent.delivery.frame import Frame, FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.replay import (
    BURST,
    BURST_EVERY_MS,
    FIRST_SPREAD_MS,
    IGNORED_LIMIT,
    REPEAT_LIMIT_MS,
    SPREAD_MS,
    WINDOW,
    Replay,
)
from edge_agent.effects import Counters, Publish
from edge_agent.market.bidding import REST_S
from tests.edge_agent.conftest import ADA, Home
from tests.edge_agent.real_home import NIGHTLY

START_MS = interval_start_s(2_000_000) * 1000


def frame(kind: FrameKind, number: int, size: int = 50) -> Frame:
    """A frame of meter 0; a bid expires never."""
    return Frame(kind, 0, 1, number, number, bytes(size), 1 << 40)


def outbox_with(folder: Path, *frames: Frame) -> Outbox:
    """An outbox that holds these."""
    outbox = Outbox(folder / "o.db", Counters())
    outbox.put(frames, durable=True)
    return outbox


def sent_until(replay: Replay, now_ms: int, until_ms: int, forget: Outbox | None = None) -> list[tuple[int, Frame]]:
    """When what was sent; with ``forget`` everything is acknowledged at once."""
    found = []
    while (at_ms := replay.next_ms()) is not None and at_ms <= until_ms:
        now_ms = max(at_ms, now_ms + 1)
        for one in replay.due(now_ms):
            found.append((now_ms, one))
            if forget is not None:
                forget.remove([one])
                replay.answered([one])
    return found


def test_an_idle_agent_asks_its_database_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.sample(START_MS, import_wh=1, export_wh=1)
    home.agent.on_link(True, START_MS)
    now_ms = START_MS
    home.agent.on_deadline(now_ms)
    home.outbox.acknowledge(list(FrameKind), 0, 1, 0, 1 << 40)
    home.outbox.remove(home.outbox.pending(FrameKind.BID, 100, newest=False))
    assert not home.outbox.waiting(*FrameKind)
    asked: list[str] = []
    assert home.outbox.file.connection is not None
    home.outbox.file.connection.set_trace_callback(asked.append)
    while now_ms < START_MS + 50_000:
        now_ms = max(home.agent.next_deadline_ms(), now_ms + 1)
        home.agent.on_deadline(now_ms)
    assert [text for text in asked if text.startswith("SELECT")] == []


operations = st.lists(
    st.tuples(
        st.sampled_from(["put", "stage", "retry", "ack", "budget", "reopen"]),
        st.sampled_from(list(FrameKind)),
        st.integers(0, 12),
    ),
    max_size=40,
)


@given(operations)
def test_the_counts_in_memory_are_those_of_the_file_whatever_was_done(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, FrameKind, int]]
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "o.db"
    outbox = Outbox(path, Counters())
    for what, kind, number in story:
        if what == "put":
            outbox.put([frame(kind, number, 30 + number)], durable=False)
        elif what == "stage":
            outbox.stage([frame(kind, number)])
        elif what == "retry":
            outbox.retry()
        elif what == "ack":
            outbox.acknowledge([kind], 0, 1, 0, number)
        elif what == "budget":
            outbox.over_budget()
        else:
            outbox.close()
            outbox = Outbox(path, Counters())
        for one in FrameKind:
            assert outbox.waiting(one) == len(outbox.pending(one, 1_000, newest=False))
        outbox.retry()
        stored = outbox.pending(FrameKind.TELEMETRY, 1_000, newest=False)
        assert outbox.stat()["telemetry_bytes"] == sum(len(one.payload) for one in stored)
    outbox.close()


def test_a_frame_that_is_removed_twice_is_counted_once(tmp_path: Path) -> None:
    outbox = outbox_with(tmp_path, frame(FrameKind.BID, 1), frame(FrameKind.BID, 2))
    twice = outbox.pending(FrameKind.BID, 1, newest=False)
    outbox.remove(twice)
    outbox.remove(twice)
    assert outbox.waiting(FrameKind.BID) == 1
    assert [one.first for one in outbox.pending(FrameKind.BID, 9, newest=False)] == [2]


def test_the_newest_settlement_reading_goes_first_then_each_kind_oldest_first(tmp_path: Path) -> None:
    kinds = (FrameKind.TELEMETRY, FrameKind.TELEMETRY_GAP, FrameKind.SETTLEMENT_GAP, FrameKind.SETTLEMENT)
    frames = [frame(kind, number) for kind in kinds for number in range(5)] + [frame(FrameKind.BID, 9)]
    outbox = outbox_with(tmp_path, *frames)
    replay = Replay(outbox, b"ada", Counters())
    replay.on_link(True, 0)
    order = [(one.kind, one.first) for _, one in sent_until(replay, 0, 4_000, outbox)]
    oldest_first = [(kind, n) for kind in sorted(kinds) for n in range(5)]
    oldest_first.remove((FrameKind.SETTLEMENT, 4))
    assert order == [(FrameKind.BID, 9), (FrameKind.SETTLEMENT, 4), *oldest_first]


def test_a_reading_made_during_the_replay_does_not_wait_for_the_backlog(tmp_path: Path) -> None:
    outbox = outbox_with(tmp_path, *(frame(FrameKind.SETTLEMENT, n) for n in range(400)))
    replay = Replay(outbox, b"ada", Counters())
    replay.on_link(True, 0)
    sent_until(replay, 0, 3_000, outbox)
    outbox.put([frame(FrameKind.SETTLEMENT, 9_000)], durable=True)
    replay.wake(3_000)
    coming = sent_until(replay, 3_000, 3_600, outbox)
    assert coming[0][1].first == 9_000


def test_never_faster_than_the_rate_and_never_more_unanswered_than_the_window(tmp_path: Path) -> None:
    outbox = outbox_with(tmp_path, *(frame(FrameKind.SETTLEMENT, n) for n in range(300)))
    replay = Replay(outbox, b"ada", Counters())
    replay.on_link(True, 0)
    answered = sent_until(replay, 0, 60_000, outbox)
    assert len(answered) == 300
    by_instant: dict[int, int] = defaultdict(int)
    for at_ms, _ in answered:
        by_instant[at_ms] += 1
    assert max(by_instant.values()) <= BURST
    assert all(b - a >= BURST_EVERY_MS for a, b in itertools.pairwise(sorted(by_instant)))
    silent = outbox_with(tmp_path, *(frame(FrameKind.SETTLEMENT, n) for n in range(300)))
    replay = Replay(silent, b"ada", Counters())
    replay.on_link(True, 0)
    assert len({one.id for _, one in sent_until(replay, 0, 4_000)}) == WINDOW


def test_frames_that_nobody_answers_do_not_block_the_others_for_ever(tmp_path: Path) -> None:
    outbox = outbox_with(tmp_path, *(frame(FrameKind.SETTLEMENT, n) for n in range(WINDOW * 3)))
    replay = Replay(outbox, b"ada", Counters())
    replay.on_link(True, 0)
    assert len({one.id for _, one in sent_until(replay, 0, 600_000)}) == WINDOW * 3


def test_pauses_double_up_to_a_quarter_of_an_hour_and_a_new_link_begins_anew(tmp_path: Path) -> None:
    outbox = outbox_with(tmp_path, frame(FrameKind.SETTLEMENT, 1))
    replay = Replay(outbox, b"ada", Counters())
    replay.on_link(True, 0)
    times = [at_ms for at_ms, _ in sent_until(replay, 0, 6 * 3_600_000)]
    pauses = [b - a for a, b in itertools.pairwise(times)]
    for before, after in itertools.pairwise(pauses[:7]):
        assert 1.2 < after / before < 3.4
    assert all(0.74 * REPEAT_LIMIT_MS <= pause <= 1.26 * REPEAT_LIMIT_MS for pause in pauses[9:])
    replay.on_link(False, times[-1])
    assert replay.next_ms() is None
    replay.on_link(True, times[-1])
    again = sent_until(replay, times[-1], times[-1] + SPREAD_MS)
    assert len(again) >= 1


def test_starts_after_an_outage_are_spread_evenly_over_the_homes(tmp_path: Path) -> None:
    outbox = outbox_with(tmp_path)
    firsts, laters = [], []
    for number in range(300):
        replay = Replay(outbox, f"home{number}".encode(), Counters())
        replay.on_link(True, 0)
        firsts.append(replay.next_ms() or 0)
        replay.on_link(False, 0)
        replay.on_link(True, 0)
        laters.append(replay.next_ms() or 0)
    for starts, spread_ms in ((firsts, FIRST_SPREAD_MS), (laters, SPREAD_MS)):
        tenths = [0] * 10
        for start_ms in starts:
            tenths[min(start_ms * 10 // spread_ms, 9)] += 1
        assert max(starts) <= spread_ms and min(tenths) >= 12 and max(tenths) <= 55


def test_memory_of_what_was_sent_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "TRACKED_LIMIT", 100)
    outbox = outbox_with(tmp_path, *(frame(FrameKind.SETTLEMENT, n) for n in range(180)))
    replay = Replay(outbox, b"ada", Counters())
    replay.on_link(True, 0)
    assert sent_until(replay, 0, 900_000)
    assert len(replay._sent) <= 100


def bidding_home(folder: Path) -> Home:
    """A home with a forecast, a link and bids on their way."""
    home = Home(folder, synchronised_ms=START_MS)
    for place in range(3):
        now_ms = START_MS + place * INTERVAL_S * 1000 + 1_000
        home.sample(now_ms, import_wh=1_000 + 500 * place, export_wh=0, power_w=2_000)
    home.agent.on_link(True, now_ms)
    home.agent.on_deadline(now_ms)
    return home


def live(home: Home, now_ms: int, until_ms: int, answers: set[Leaf]) -> dict[bytes, int]:
    """How often each bid was sent while the operator answers only readings, or also orders, or nothing."""
    sent: dict[bytes, int] = defaultdict(int)
    while now_ms < until_ms:
        now_ms = max(home.agent.next_deadline_ms(), now_ms + 1)
        effects = home.agent.on_deadline(now_ms)
        if now_ms % 60_000 < 1_000:
            effects += home.sample(now_ms, import_wh=3_000 + now_ms // 60_000 % 10_000, export_wh=0, power_w=2_000)
        for effect in effects:
            if not isinstance(effect, Publish):
                continue
            if effect.topic.endswith("/bid"):
                sent[effect.payload] += 1
            answer = home.operator.answer(effect.topic, effect.payload)
            if answer is not None and Leaf(answer[0].rsplit("/", 1)[1]) in answers:
                home.agent.on_message(*answer, now_ms)
    return sent


BEGIN_MS = START_MS + 2 * INTERVAL_S * 1000 + 1_000


def test_a_bid_that_is_passed_over_while_others_are_answered_is_given_up_and_made_anew_after_a_rest(
    tmp_path: Path,
) -> None:
    home = bidding_home(tmp_path)
    sent = live(home, BEGIN_MS, BEGIN_MS + 50 * 60_000, {Leaf.ACK})
    assert sent and home.counters["bids_unanswered"] >= 2
    assert max(sent.values()) <= IGNORED_LIMIT + 4, "the first pauses are shorter than the time between two answers"
    later_ms = BEGIN_MS + 50 * 60_000
    assert live(home, later_ms, later_ms + REST_S * 1_000, {Leaf.ACK, Leaf.RECEIPT}), "after a rest it bids again"
    assert home.counters["bids_receipted"]


def test_a_silent_operator_has_refused_nothing(tmp_path: Path) -> None:
    home = bidding_home(tmp_path)
    waiting = len(home.stored(FrameKind.BID))
    live(home, BEGIN_MS, BEGIN_MS + 10 * 60_000, set())
    assert "bids_unanswered" not in home.counters or not home.counters["bids_unanswered"]
    assert waiting and len(home.stored(FrameKind.BID)) >= 1


@settings(max_examples=300 if NIGHTLY else 12)
@given(
    telemetry_bytes=st.integers(500, 20_000),
    settlement_rows=st.integers(1, 12),
    steps=st.lists(st.sampled_from(["live", "live", "live", "ack", "crash"]), min_size=5, max_size=30),
)
def test_under_the_tiniest_budgets_all_that_goes_is_named_and_it_is_always_the_oldest(
    tmp_path_factory: pytest.TempPathFactory, telemetry_bytes: int, settlement_rows: int, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "TELEMETRY_LIMIT_BYTES", telemetry_bytes)
        patch.setattr(outbox_module, "SETTLEMENT_LIMIT_ROWS", settlement_rows)
        home = Home(folder, synchronised_ms=START_MS)
        now_ms, acknowledged = START_MS, dict.fromkeys(Stream, 0)
        for step in [*steps, "live"]:
            if step == "ack":
                for stream in Stream:
                    last = acknowledged[stream] = acknowledged[stream] + 3
                    home.tell(Leaf.ACK, Acknowledgement(ADA, 0, int(stream), 1, 0, last), now_ms)
                continue
            if step == "crash":
                home.agent.on_deadline(now_ms + 60_000)  # what memory alone holds is lost by design
                home.outbox.file.close()
                home = Home(folder, synchronised_ms=now_ms)
            for _ in range(8):
                now_ms += 150_000
                home.sample(now_ms, import_wh=now_ms // 1000 % 10**9, export_wh=3, power_w=now_ms % 4_000)
                home.agent.on_deadline(now_ms)
        home.agent.on_deadline(now_ms + 60_000)
        assert home.outbox.stat()["telemetry_bytes"] <= telemetry_bytes
        assert home.outbox.stat()["pending_settlement"] <= settlement_rows
        numbers_stand_once(home)
        home.outbox.close()


def numbers_stand_once(home: Home) -> None:
    """No number of a stream waits twice, and what was dropped for its age is older than all that is kept."""
    for stream, kind, gap_kind in (
        (Stream.SETTLEMENT, FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP),
        (Stream.TELEMETRY, FrameKind.TELEMETRY, FrameKind.TELEMETRY_GAP),
    ):
        kept = [n for one in home.stored(kind) for n in numbers_of(one)]
        gaps = [gap for gap in home.stored(gap_kind) if isinstance(gap, GapRecord)]
        said = [n for gap in gaps for n in range(gap.first_sequence, gap.last_sequence + 1)]
        assert len(kept) == len(set(kept)) and not set(kept) & set(said), stream
        dropped = [gap.last_sequence for gap in gaps if gap.reason == 0]
        assert not dropped or not kept or max(dropped) < min(kept)


def numbers_of(message: object) -> range:
    """The sequences of a reading or batch."""
    if isinstance(message, TelemetryBatch):
        return range(message.first_sequence, message.first_sequence + message.count)
    sequence: int = getattr(message, "sequence")  # noqa: B009
    return range(sequence, sequence + 1)


def test_a_receipt_lost_once_is_not_a_refusal(tmp_path: Path) -> None:
    home = bidding_home(tmp_path)
    live(home, BEGIN_MS, BEGIN_MS + 30_000, {Leaf.ACK})
    assert home.stored(FrameKind.BID)
    live(home, BEGIN_MS + 30_000, BEGIN_MS + 180_000, {Leaf.ACK, Leaf.RECEIPT})
    assert not home.stored(FrameKind.BID)
