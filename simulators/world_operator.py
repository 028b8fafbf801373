"""The shell of the coordinator in a virtual world: group commit, deadlines, the chain's follower, and its deaths.

    broker → queue → work: deadline, group of inputs → store.commit() → effects → broker, records, poster

It keeps the rules of the real shell: effects leave after the commit, chain events are read from the number of events
that the inbox holds, headers in state ``built`` are submitted again after a start. A death before the commit takes the
whole group with it, one after the commit takes what should have been said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from contracts.header_rules import header_digest
from contracts.messages import Header
from contracts.signature import Signer
from contracts.topics import Leaf, parse_topic, uplink_filter
from coordinator.chain_events import ChainEvent, HeaderFinalised, HeaderPosted
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.effects import Alarm, Effect, Publish, PublishRecord, SubmitHeader
from coordinator.store.store import Store
from simulators.faults import ChainFault, CoordinatorCrash, CrashPoint, FaultPlan
from simulators.model_chain import FINALITY_WINDOW_S, SettlementPort
from simulators.virtual_broker import VirtualBroker
from simulators.virtual_clock import VirtualClock
from simulators.world_events import (
    ChainSaid,
    Happened,
    HeaderSubmitted,
    OperatorAlarmed,
    OperatorHeard,
    OperatorSaid,
    PostRefused,
    RecordPublished,
    Tally,
    Tell,
)

CLIENT = "operator"
GROUP_WAIT_MS = 20
CHAIN_POLL_MS = 20_000
FINALITY_DEPTH_S = 40
"""Events count once they are this old: what a reorganisation undoes was never told to the core."""
RECONNECT_MS = 1_000
POSTS_A_POLL = 16

MakeCoordinator = Callable[[MarketConfig, Store, Signer], Coordinator]
Work = Callable[[Coordinator], list[Effect]]


class Poster:
    """Brings headers onto the chain and its events to the core. Dies with the coordinator."""

    def __init__(self, chain: SettlementPort, clock: VirtualClock, plan: FaultPlan, tell: Tell, seen: int) -> None:
        self._chain = chain
        self._clock = clock
        self._plan = plan
        self._tell = tell
        self._seen = seen
        self._read = seen
        self._waiting: dict[bytes, Header] = {}
        self._unfinal: dict[int, tuple[Header, int]] = {}

    def take(self, header: Header) -> None:
        """A header to be posted; the same one again changes nothing."""
        self._waiting[header_digest(header, self._chain.domain)] = header

    def poll(self) -> list[ChainEvent]:
        """New final events, each once and in order; then one step of posting. Nothing while the chain is away."""
        now_ms = self._clock.now_ms
        if self._plan.chain_does(ChainFault.DOWN, now_ms):
            return []
        if self._plan.chain_does(ChainFault.REORGANISED, now_ms) and self._may_reorganise():
            self._chain.reorganise()
        events = self._new_events(now_ms)
        if not self._plan.chain_does(ChainFault.REVERTING, now_ms):
            self._post()
            self._finalise()
        return events

    def _may_reorganise(self) -> bool:
        logs = self._chain.logs()
        return bool(logs) and self._clock.now_s - logs[-1].at_s < FINALITY_DEPTH_S

    def _new_events(self, now_ms: int) -> list[ChainEvent]:
        depth_s = FINALITY_DEPTH_S + (600 if self._plan.chain_does(ChainFault.DELAYED, now_ms) else 0)
        logs = self._chain.logs()
        ready = sum(1 for log in logs if log.at_s <= self._clock.now_s - depth_s)
        first = max(0, self._read - 3) if self._plan.chain_does(ChainFault.REPEATING, now_ms) else self._read
        found = []
        for place in range(first, ready):
            if place < self._seen:  # the node told it before
                continue
            event = logs[place].event
            self._seen = place + 1
            found.append(event)
            self._note(event)
        self._read = max(self._read, ready)
        return found

    def _note(self, event: ChainEvent) -> None:
        if isinstance(event, HeaderPosted):
            header = self._waiting.pop(event.digest, None)
            if header is not None:
                self._unfinal[event.index] = (header, event.posted_at_s)
        elif isinstance(event, HeaderFinalised):
            self._unfinal = {i: entry for i, entry in self._unfinal.items() if i > event.index}

    def _post(self) -> None:
        for _ in range(POSTS_A_POLL):
            tip = self._chain.tip_digest
            header = next((h for h in self._waiting.values() if h.previous == tip), None)
            if header is None:
                return
            refusal = self._chain.post(header)
            if refusal is not None:
                self._tell(PostRefused(header.interval, refusal))
                return

    def _finalise(self) -> None:
        over_s = self._clock.now_s - FINALITY_WINDOW_S
        due = [index for index, (_, posted_at_s) in self._unfinal.items() if posted_at_s <= over_s]
        if len(due) >= 4:
            self._chain.finalise(self._unfinal[max(due)][0], max(due))
            for index in due:
                del self._unfinal[index]


@dataclass(slots=True)
class OperatorShell:
    """One coordinator between its broker and its chain."""

    market: MarketConfig
    sign: Signer
    path: Path
    clock: VirtualClock
    broker: VirtualBroker
    chain: SettlementPort
    plan: FaultPlan
    tell: Tell
    make: MakeCoordinator
    core: Coordinator | None = None
    poster: Poster | None = None
    records: dict[int, bytes] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    _queue: list[Work] = field(default_factory=list)
    _planned_ms: int | None = None
    _crashes: list[CoordinatorCrash] = field(default_factory=list)
    _life: int = 0

    def begin(self) -> None:
        """Schedules its deaths and its polls of the chain, then starts."""
        self._crashes = sorted(self.plan.coordinator_crashes, key=lambda c: (c.at_ms, c.down_ms))
        for crash in self._crashes:
            self.clock.at(crash.at_ms, self._plan_work)
        self.clock.every(self.clock.now_ms + 1_000, CHAIN_POLL_MS, self._poll_chain)
        self._start()

    # -- life --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        store = Store(self.path)
        self.core = self.make(self.market, store, self.sign)
        seen = store.integer("SELECT COUNT(*) FROM inbox WHERE kind = 'chain'")
        self.poster = Poster(self.chain, self.clock, self.plan, self.tell, seen)
        for interval, record in store.rows("SELECT interval, record FROM headers WHERE state = 'built'"):
            self._keep_record(int(interval), bytes(record))
        self._carry_out(self.core.resume())
        self._connect()
        self._plan_work()

    def _die(self, crash: CoordinatorCrash) -> None:
        assert self.core is not None
        self.core.store.close()
        for name, count in self.core.counters.items():
            self.tally.add(name, count)
        self.core = self.poster = None
        self._queue.clear()
        self._planned_ms = None
        self._life += 1
        self.broker.drop(CLIENT)
        self.tell(Happened(f"the coordinator dies {crash.point.value}"))
        until_heal_ms = max(RECONNECT_MS, self.plan.heal_at_ms - self.clock.now_ms)
        self.clock.after(min(crash.down_ms, until_heal_ms), self._start)

    def _connect(self) -> None:
        if self.core is None or self.broker.is_connected(CLIENT):
            return
        if not self.broker.connect(CLIENT, self._hear):
            self.clock.after(RECONNECT_MS, self._connect)
            return
        for pattern in uplink_filter(self.market.feeder):
            self.broker.subscribe(CLIENT, pattern)

    def lose_link(self) -> None:
        """The broker is gone; the coordinator connects again."""
        self.clock.after(RECONNECT_MS, self._connect)

    # -- inputs ------------------------------------------------------------------------------------------------

    def ask(self, work: Work) -> None:
        """Queues work for the core, as a request of an operator; lost while it is down."""
        if self.core is not None:
            self._queue.append(work)
            self._plan_work()

    def _hear(self, topic: str, payload: bytes) -> None:
        def work(core: Coordinator) -> list[Effect]:
            where = parse_topic(topic)
            if where is not None and where.leaf in (Leaf.STATE, Leaf.BIRTH):
                return core.on_message(topic, payload, self.clock.now_ms)
            reception = core.receive(topic, payload, self.clock.now_ms)
            self.tell(OperatorHeard(topic, payload, reception.refusal))
            return reception.effects

        self.ask(work)

    def _poll_chain(self) -> None:
        if self.core is None or self.poster is None:
            return
        events = self.poster.poll()
        if events:
            self.ask(lambda core: [e for event in events for e in core.on_chain_event(event, self.clock.now_ms)])
            for event in events:
                self.tell(ChainSaid(event))

    # -- work --------------------------------------------------------------------------------------------------

    def _plan_work(self) -> None:
        if self.core is None:
            return
        due_ms = self.clock.now_ms + GROUP_WAIT_MS
        if not self._queue and not self._crash_due():
            due_ms = max(due_ms, self.core.next_deadline_ms())
        if self._planned_ms is None or due_ms < self._planned_ms:
            self._planned_ms = due_ms
            life = self._life
            self.clock.at(due_ms, lambda: self._work(due_ms, life))

    def _crash_due(self) -> bool:
        return bool(self._crashes) and self._crashes[0].at_ms <= self.clock.now_ms

    def _work(self, due_ms: int, life: int) -> None:
        if self.core is None or life != self._life or self._planned_ms != due_ms:
            return
        self._planned_ms = None
        core, group = self.core, self._queue
        self._queue = []
        effects = core.on_deadline(self.clock.now_ms) if self.clock.now_ms >= core.next_deadline_ms() else []
        for work in group:
            effects += work(core)
        if self._crash_due():
            crash = self._crashes.pop(0)
            if crash.point is CrashPoint.BEFORE_EFFECTS:
                core.store.commit()
            self._die(crash)
            return
        core.store.commit()
        self._carry_out(effects)
        self._plan_work()

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish(topic, payload):
                    self.tell(OperatorSaid(topic, payload))
                    self.broker.publish(CLIENT, topic, payload)
                case PublishRecord(interval, record):
                    self._keep_record(interval, record)
                case SubmitHeader(header):
                    self.tell(HeaderSubmitted(header))
                    if self.poster is not None:
                        self.poster.take(header)
                case Alarm(code, text):
                    self.tell(OperatorAlarmed(code, text))

    def _keep_record(self, interval: int, record: bytes) -> None:
        self.records[interval] = record
        self.tell(RecordPublished(interval, record))
