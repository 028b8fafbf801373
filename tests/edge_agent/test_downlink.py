"""What comes down: only the operator's signature releases anything, and no bytes disturb the agent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.codes import Stream
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import Acknowledgement, Bid, Receipt, StandingOrder
from contracts.topics import DOWNWARD, Leaf, topic
from edge_agent.delivery.frame import FrameKind
from edge_agent.effects import Publish
from tests.edge_agent.conftest import ADA, ADA_KEY, CY_KEY, Home

START_MS = interval_start_s(2_000_000) * 1000
EVERYTHING = Acknowledgement(ADA, 0, int(Stream.SETTLEMENT), 1, 0, 2**63 - 1)


def home_with_history(folder: Path) -> Home:
    """Two settled intervals, so that there is something to acknowledge and a forecast to bid from."""
    home = Home(folder, synchronised_ms=START_MS)
    for place in range(3):
        now_ms = START_MS + place * INTERVAL_S * 1000 + 1_000
        home.sample(now_ms, import_wh=1_000 + 500 * place, export_wh=0, power_w=2_000)
    home.agent.on_link(True, now_ms)
    home.agent.on_deadline(now_ms + 60_000)
    return home


NOW_MS = START_MS + 2 * INTERVAL_S * 1000 + 61_000


def test_only_the_operators_acknowledgement_releases_readings(tmp_path: Path) -> None:
    home = home_with_history(tmp_path)
    before = home.readings()
    assert len(before) == 3
    for key in (CY_KEY, ADA_KEY):
        home.tell(Leaf.ACK, EVERYTHING, NOW_MS, key)
    home.tell(Leaf.ACK, replace(EVERYTHING, account=ADA + 1), NOW_MS)
    home.tell(Leaf.ACK, replace(EVERYTHING, epoch=2), NOW_MS)
    home.tell(Leaf.ACK, replace(EVERYTHING, meter=1), NOW_MS)
    assert home.readings() == before
    assert home.counters["message_wrong_signer"] == 2 and home.counters["ack_other_account"] == 1
    home.tell(Leaf.ACK, replace(EVERYTHING, last_sequence=0), NOW_MS)
    assert home.readings() == before[1:]
    home.tell(Leaf.ACK, EVERYTHING, NOW_MS)
    assert home.readings() == []
    assert home.stored(FrameKind.TELEMETRY), "the other stream is another acknowledgement"
    home.tell(Leaf.ACK, replace(EVERYTHING, stream=int(Stream.TELEMETRY)), NOW_MS)
    assert home.stored(FrameKind.TELEMETRY) == []


def test_what_was_acknowledged_stays_forgotten_after_a_restart(tmp_path: Path) -> None:
    home = home_with_history(tmp_path)
    home.tell(Leaf.ACK, EVERYTHING, NOW_MS)
    home.outbox.close()
    assert Home(tmp_path).readings() == []


def test_a_bid_is_repeated_until_its_own_receipt_comes(tmp_path: Path) -> None:
    home = home_with_history(tmp_path)
    orders = home.stored(FrameKind.BID)
    bids = [order for order in orders if isinstance(order, Bid)]
    standing = [order for order in orders if isinstance(order, StandingOrder)]
    assert bids and len(standing) == 1
    bid = bids[0]
    good = Receipt(ADA, bid.product, bid.version, bid.struct_hash(), 0, NOW_MS // 1000)
    home.tell(Leaf.RECEIPT, good, NOW_MS, CY_KEY)
    home.tell(Leaf.RECEIPT, replace(good, bid_hash=bytes(32)), NOW_MS)
    home.tell(Leaf.RECEIPT, replace(good, version=bid.version + 1), NOW_MS)
    assert len(home.stored(FrameKind.BID)) == len(orders)
    home.tell(Leaf.RECEIPT, good, NOW_MS)
    home.tell(Leaf.RECEIPT, Receipt(ADA, 0, standing[0].version, standing[0].struct_hash(), 0, NOW_MS // 1000), NOW_MS)
    assert len(home.stored(FrameKind.BID)) == len(orders) - 2


def test_unacknowledged_readings_are_repeated_ever_more_slowly(tmp_path: Path) -> None:
    home = home_with_history(tmp_path)
    sent: dict[bytes, list[int]] = {}
    now_ms = NOW_MS
    while now_ms < NOW_MS + 3_600_000:
        now_ms = max(home.agent.next_deadline_ms(), now_ms + 1)
        for effect in home.agent.on_deadline(now_ms):
            if isinstance(effect, Publish) and "/settlement/" in effect.topic:
                sent.setdefault(effect.payload, []).append(now_ms)
    assert len(sent) >= 2
    for times in sent.values():
        pauses = [b - a for a, b in itertools.pairwise(times)]
        assert 4 <= len(times) <= 16
        assert pauses[-1] > 10 * pauses[0]


def test_without_a_link_nothing_is_published_and_nothing_is_lost(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    effects = []
    for place in range(300):
        now_ms = START_MS + place * INTERVAL_S * 1000
        effects += home.sample(now_ms, import_wh=1_000 + place, export_wh=0)
        effects += home.agent.on_deadline(now_ms)
    assert not [effect for effect in effects if isinstance(effect, Publish)]
    assert len(home.readings()) == 300


def test_after_an_outage_the_newest_reading_goes_first_and_then_the_oldest(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    for place in range(100):
        now_ms = START_MS + place * INTERVAL_S * 1000
        home.sample(now_ms, import_wh=1_000 + place, export_wh=0)
    home.agent.on_link(True, now_ms)
    order: list[int] = []
    while len(order) < 100:
        now_ms = max(home.agent.next_deadline_ms(), now_ms + 1)
        for effect in home.agent.on_deadline(now_ms):
            assert isinstance(effect, Publish)
            if "/settlement/" in effect.topic:
                answer = home.operator.answer(effect.topic, effect.payload)
                assert answer is not None
                order.append(home.operator.seen[-1].message.interval)  # type: ignore[attr-defined]
                home.agent.on_message(*answer, now_ms)
    first = 2_000_000 - 1
    assert order == [first + 99, *range(first, first + 99)]
    assert home.readings() == []


def test_homes_come_back_at_different_times_and_each_at_the_same_one_again(tmp_path: Path) -> None:
    def first_send_ms(name: str) -> int:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        home = Home(folder)
        config = replace(home.config, home=replace(home.config.home, edge=name))
        home = Home(folder, config)
        home.agent.on_link(True, 0)
        home.agent.on_link(False, 1)
        home.agent.on_link(True, 2)
        wait_ms = home.agent._uplink.next_ms()
        assert wait_ms is not None
        return wait_ms

    times = [first_send_ms(f"home{n}") for n in range(20)]
    assert len(set(times)) == 20 and max(times) - min(times) > 10_000 and max(times) <= 30_002
    assert first_send_ms("home0") == times[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(sorted(DOWNWARD)), st.binary(max_size=600), st.booleans())
def test_no_bytes_on_any_topic_disturb_the_agent(tmp_path: Path, leaf: Leaf, payload: bytes, framed: bool) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    where = topic("f1", "ada", leaf)
    home.agent.on_message(where, b"\xe6\x01" + payload if framed else payload, START_MS)
    assert sum(home.counters.values()) >= 1
    home.outbox.close()


def test_messages_of_other_homes_and_oversized_ones_are_counted_and_dropped(tmp_path: Path) -> None:
    home = home_with_history(tmp_path)
    home.agent.on_message("grid/v1/f1/bo/ack", b"", NOW_MS)
    home.agent.on_message("grid/v1/f1/ada/bid", b"", NOW_MS)
    home.agent.on_message("nonsense", b"", NOW_MS)
    home.agent.on_message(topic("f1", "ada", Leaf.ACK), bytes(5_000), NOW_MS)
    home.tell(Leaf.RECEIPT, EVERYTHING, NOW_MS)
    assert home.counters["message_unknown_topic"] == 3
    assert home.counters["message_oversized"] == 1 and home.counters["message_wrong_kind"] == 1
