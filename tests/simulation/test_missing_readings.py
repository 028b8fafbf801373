"""What the operator misses he asks for: real cores on both ends, and a network that loses, delays and forgets.

In the end every number that was ever lent is with the operator, as a reading or in a gap record; what a home has told
gone is never sent afterwards; and nobody asks without end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import GapReason, Stream
from contracts.eip712 import Domain
from contracts.envelope import Envelope, open_envelope
from contracts.interval import STREET_CALENDAR, interval_start_s
from contracts.messages import GapRecord, ReadingRequest, SettlementReading, TelemetryBatch
from contracts.signature import address_of, signer_of
from contracts.topics import Leaf, parse_topic
from coordinator import request_desk
from coordinator.chain_events import AccountOpened
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.effects import Publish as Said
from coordinator.replay import feed, first_difference, replay
from coordinator.request_desk import REQUESTS_A_MINUTE
from coordinator.store.coverage import span_of
from coordinator.store.store import Store
from edge_agent.config import TelemetryConfig
from edge_agent.delivery.gaps import KINDS
from edge_agent.effects import Effect, Publish
from simulators.world import run_world
from tests.edge_agent.conftest import ADA, ADA_KEY, OPERATOR_KEY, Home, ada_config
from tests.simulation.seeds import NIGHTLY

START_MS = interval_start_s(2_000_000) * 1000
STEP_MS = 300_000
SIGN = signer_of(OPERATOR_KEY)
Number = tuple[int, int]
"""Stream and sequence: the numbers of a stream go on from epoch to epoch."""


@dataclass
class Pair:
    """Ada's agent and her operator, and what passed between them."""

    folder: Path
    home: Home = field(init=False)
    seed: int = 0
    lost_permille: int = 0
    now_ms: int = START_MS
    polls: int = 0
    gone: dict[tuple[int, int, int], int] = field(default_factory=dict)
    requests: list[tuple[int, ReadingRequest]] = field(default_factory=list)
    gaps: list[GapRecord] = field(default_factory=list)
    loses: Callable[[bytes], bool] = lambda _: False

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.config = ada_config(self.folder, telemetry=TelemetryConfig(300))
        chain = self.config.chain
        domain = Domain(chain.chain_id, chain.settlement)
        self.market = MarketConfig("f1", domain, address_of(OPERATOR_KEY), calendar=STREET_CALENDAR)
        self.core = Coordinator(self.market, Store(), SIGN)
        self.core.on_deadline(self.now_ms)
        for account in range(ADA + 1):
            owner = address_of(ADA_KEY) if account == ADA else bytes([account]) * 20
            self.core.on_chain_event(AccountOpened(account, owner, owner), self.now_ms)
        assert self.core.enrol(ADA, "ada", self.now_ms)
        self.start_home()

    def start_home(self) -> None:
        """A first start, or one after the process was killed."""
        if hasattr(self, "home"):
            self.home.outbox.file.close()
        self.home = Home(self.folder, self.config, synchronised_ms=self.now_ms)
        self.deliver(self.home.agent.on_link(True, self.now_ms))

    def restore_operator(self, inputs: int) -> None:
        """The operator goes on from a backup that holds only his first ``inputs`` inputs."""
        older = Coordinator(self.market, Store(), SIGN)
        for entry in list(self.core.store.inputs())[:inputs]:
            feed(older, entry)
        self.core = older

    def inputs(self) -> int:
        """How many inputs the operator has taken."""
        return self.core.store.integer("SELECT COUNT(*) FROM inbox")

    def is_lost(self) -> bool:
        return self.random.randrange(1000) < self.lost_permille

    def deliver(self, effects: list[Effect]) -> None:
        """Up, and what is answered down; each hop may lose it."""
        said = [effect for effect in effects if isinstance(effect, Publish)]
        for one in said:
            self.note(one.payload)
            if self.is_lost() or self.loses(one.payload):
                continue
            for answer in self.core.on_message(one.topic, one.payload, self.now_ms):
                if isinstance(answer, Said) and answer.topic:
                    self.bring_down(answer)

    def bring_down(self, answer: Said) -> None:
        where, envelope = parse_topic(answer.topic), open_envelope(answer.payload)
        if where is not None and where.leaf == Leaf.REQUEST:
            assert isinstance(envelope, Envelope) and isinstance(envelope.message, ReadingRequest)
            self.requests.append((self.now_ms, envelope.message))
        if not self.is_lost():
            self.deliver(self.home.agent.on_message(answer.topic, answer.payload, self.now_ms))

    def note(self, payload: bytes) -> None:
        """Nothing is sent that was told gone before."""
        envelope = open_envelope(payload)
        message = envelope.message if isinstance(envelope, Envelope) else None
        if isinstance(message, SettlementReading | TelemetryBatch):
            span = span_of(message)
            for number in range(span.first, span.last + 1):
                assert (span.of.stream, span.epoch, number) not in self.gone, "it was told gone, and comes"
        elif isinstance(message, GapRecord):
            self.gaps.append(message)
            reading, _ = KINDS[Stream(message.stream)]
            span = span_of(message)
            waiting = self.home.outbox.held((reading,), message.meter, message.epoch, span.first, span.last)
            assert waiting == [], "it waits, and is told gone"
            for number in range(message.first_sequence, min(message.last_sequence, message.first_sequence + 5_000) + 1):
                self.gone[message.stream, message.epoch, number] = message.reason

    def step(self) -> None:
        """Five minutes: a poll, then seconds in which the agent sends and repeats."""
        self.now_ms += STEP_MS
        self.polls += 1
        values = {"import_wh": 1_000 + 10 * self.polls, "export_wh": 5, "power_w": 120}
        self.deliver(self.home.sample(self.now_ms, **values))
        for _ in range(8):
            self.now_ms += 1_000
            self.deliver(self.home.agent.on_deadline(self.now_ms))
        self.now_ms -= 8_000
        self.core.on_deadline(self.now_ms)

    def accounted(self, stream: int) -> list[int]:
        """Every number the operator holds or knows the fate of, out of his tables."""
        rows = self.core.store.rows
        found = [
            (f, last) for f, last in rows("SELECT first_sequence, last_sequence FROM gaps WHERE stream = ?", stream)
        ]
        if stream == 0:
            found += [(n, n) for (n,) in rows("SELECT sequence FROM settlement_readings")]
        else:
            found += [(f, f + n - 1) for f, n in rows("SELECT first_sequence, count FROM telemetry_batches")]
        return sorted({number for first, last in found for number in range(first, last + 1)})

    def judge(self) -> None:
        """All that must hold in the end."""
        for stream in (0, 1):
            numbers = self.accounted(stream)
            assert numbers == list(range(len(numbers))), "every number is held, or in a gap"
            lent = self.home.agent._sequences.unused(f"0/{stream}")
            assert lent - 2 <= len(numbers) <= lent
        minutes = Counter(at_ms // 60_000 for at_ms, _ in self.requests)
        assert max(minutes.values(), default=0) <= REQUESTS_A_MINUTE
        assert self.core.readings.requests.open_holes == 0
        assert all(at_ms < self.now_ms - 3_600_000 for at_ms, _ in self.requests), "who misses nothing asks nothing"
        assert first_difference(self.core.store, replay(self.core.store, self.market, SIGN).store) is None


EVENTS = ["step"] * 12 + ["kill", "back up", "restore"]


def play(seed: int, lost_permille: int, events: list[str]) -> Pair:
    """Two hours or so of trouble, then eight in which nothing is lost."""
    with TemporaryDirectory() as folder:
        pair = Pair(Path(folder), seed=seed, lost_permille=lost_permille)
        backup = pair.inputs()
        for event in events:
            match event:
                case "kill":
                    pair.start_home()
                case "back up":
                    backup = pair.inputs()
                case "restore":
                    pair.restore_operator(backup)
                case _:
                    pair.step()
        pair.lost_permille = 0
        for _ in range(12 * 8):
            pair.step()
        pair.judge()
        return pair


@pytest.mark.slow
@settings(max_examples=100 if NIGHTLY else 10, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    lost_permille=st.sampled_from([0, 200, 500]),
    events=st.lists(st.sampled_from(EVENTS), min_size=8, max_size=36),
)
def test_every_number_ends_as_a_reading_or_in_a_gap_whatever_is_lost(
    seed: int, lost_permille: int, events: list[str]
) -> None:
    play(seed, lost_permille, events)


@pytest.mark.parametrize("seed", [1, 2])
def test_after_losses_a_kill_and_a_restored_operator_every_number_is_accounted_for(seed: int) -> None:
    events = ["step"] * 5 + ["back up"] + ["step"] * 4 + ["kill"] + ["step"] * 4 + ["restore"] + ["step"] * 3
    pair = play(seed, 300, events)
    assert pair.requests and GapReason.ACKNOWLEDGED in {gap.reason for gap in pair.gaps}


def test_an_operator_restored_from_an_older_store_is_told_what_the_home_has_forgotten(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    for _ in range(12):
        pair.step()
    backup, held = pair.inputs(), pair.accounted(0)
    for _ in range(24):
        pair.step()
    pair.restore_operator(backup)
    for _ in range(36):
        pair.step()
    told = [(gap.stream, gap.first_sequence, gap.reason) for gap in pair.gaps]
    assert sorted(told) == [(0, held[-1] + 1, GapReason.ACKNOWLEDGED), (1, 12, GapReason.ACKNOWLEDGED)]
    assert len(pair.requests) == 2
    pair.judge()


def test_what_the_home_still_has_is_sent_again_within_seconds_and_no_gap_is_told(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    sent_at: list[int] = []

    def loses_one(payload: bytes) -> bool:
        envelope = open_envelope(payload)
        if not isinstance(envelope, Envelope) or not isinstance(envelope.message, SettlementReading):
            return False
        is_second = envelope.message.sequence == 1
        sent_at.extend([pair.now_ms] * is_second)
        return is_second and not pair.requests

    pair.loses = loses_one
    while not pair.requests and pair.polls < 60:
        pair.step()
    (asked,) = {(request.first_sequence, request.last_sequence) for _, request in pair.requests}
    assert asked == (1, 1)
    assert sent_at[-1] - pair.requests[0][0] <= 2_000 < sent_at[-1] - sent_at[-2]
    assert pair.accounted(0) == list(range(len(pair.accounted(0)))) and pair.gaps == []


def test_an_honest_network_brings_no_request_at_all(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    for _ in range(24):
        pair.step()
    pair.start_home()
    for _ in range(24):
        pair.step()
    assert pair.requests == [] and {gap.reason for gap in pair.gaps} == {GapReason.LEASE_SKIPPED}
    pair.judge()


def test_an_operator_who_asks_at_once_disturbs_nobody_in_a_faulty_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_desk, "MISSING_S", 5)
    for seed in (6, 2, *range(10, 20)):  # most worlds are whole again before anybody asks
        result = run_world(seed)
        assert result.ok, result.verdicts
        if result.counters["coordinator_requests"]:
            return
    raise AssertionError("nobody asked for anything in any of these worlds")
