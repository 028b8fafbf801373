"""After everything is healed the world finds back: nothing acknowledged is lost, nothing signed is stuck, and the
chain has every header. Alarms fall silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.codes import GapReason, Stream
from contracts.interval import INTERVAL_S
from contracts.messages import Acknowledgement, Bid, SettlementReading
from contracts.topics import Leaf, parse_topic
from edge_agent.delivery.frame import FrameKind
from simulators.auditors.auditor import Findings, Opened
from simulators.world_events import AgentAlarmed, AgentStarted, HomeSaid, OperatorAlarmed, OperatorSaid, WorldEvent

if TYPE_CHECKING:
    from simulators.world import World

PATIENCE_S = 1_260
"""An agent repeats at least every 19 minutes; then one answer."""
SETTLE_S = 420
"""The newest interval's reading comes with the first sample after its end, five minutes at most, and travels."""
HEADER_BOUND_S = 180
"""A header closes five seconds after its interval; then two polls of the chain and its finality depth."""
ALARMS_LIMIT = 3
FUTURE_INTERVALS = 3
"""A clock that was an hour ahead has settled that hour already; nothing is settled twice."""

Identity = tuple[int, int, int, int]


JUDGED_ELSEWHERE = ("equivocation", "implausible_registers")
"""Alarms about what a home signed: the auditors of signatures and of energy say whether they are right."""


class LivenessAuditor:
    """Remembers what was signed and promised; asks at the end where it is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("liveness")
        self._open = Opened()
        self._signed: dict[Identity, SettlementReading] = {}
        self._acknowledged: set[tuple[int, int, int, int, int]] = set()
        self._excused: set[Identity] = set()
        self._forgetful: set[int] = set()
        self._late_alarms: dict[str, int] = {}

    def observe(self, event: WorldEvent) -> None:
        """Readings, promises, and alarms long after healing."""
        match event:
            case HomeSaid(_, topic, payload):
                where = parse_topic(topic)
                envelope = self._open(payload) if where is not None and where.leaf == Leaf.SETTLEMENT else None
                if envelope is not None and isinstance(envelope.message, SettlementReading):
                    reading = envelope.message
                    self._signed[reading.account, reading.meter, reading.epoch, reading.sequence] = reading
            case OperatorSaid(topic, payload) if topic.endswith("/ack"):
                envelope = self._open(payload)
                if envelope is not None and isinstance(envelope.message, Acknowledgement):
                    ack = envelope.message
                    self._acknowledged.add((ack.account, ack.meter, ack.stream, ack.epoch, ack.first_sequence))
            case AgentStarted(home):
                self._started(home)
            case AgentAlarmed(home, code, _):
                self._alarm(f"agent {home}: {code}")
            case OperatorAlarmed(code, _) if code not in JUDGED_ELSEWHERE:
                self._alarm(f"coordinator: {code}")

    def _started(self, home: int) -> None:
        """A database of an earlier hour cannot hold what was signed since: what was not acknowledged went with it."""
        shell = self._world.homes[home]
        if not shell.restored or shell.outbox is None:
            return
        self._forgetful.add(shell.account)
        held = set()
        for frame in shell.outbox.pending(FrameKind.SETTLEMENT, 1_024, newest=False):
            held.add((shell.account, frame.meter, frame.epoch, frame.first))
        self._excused |= {identity for identity in self._signed if identity[0] == shell.account} - held

    def _alarm(self, name: str) -> None:
        if self._world.clock.now_ms > self._world.plan.heal_at_ms + PATIENCE_S * 1000:
            self._late_alarms[name] = self._late_alarms.get(name, 0) + 1

    def verdict(self) -> list[str]:
        """Where everything is at the end."""
        core = self._world.operator.core
        if core is None:
            self._findings.add("the coordinator does not run")
            return self._findings.texts()
        for name, count in sorted(self._late_alarms.items()):
            if count > ALARMS_LIMIT:
                self._findings.add(f"{count} alarms long after healing: {name}")
        self._kept_promises()
        self._outboxes()
        self._tail()
        self._headers()
        return self._findings.texts()

    def _kept_promises(self) -> None:
        core = self._world.operator.core
        assert core is not None
        held: set[tuple[int, ...]] = set(
            core.store.rows("SELECT account, meter, epoch, sequence FROM settlement_readings")
        )
        batches: set[tuple[int, ...]] = set(
            core.store.rows("SELECT account, meter, epoch, first_sequence FROM telemetry_batches")
        )
        # A home that says he had acknowledged it explains nothing: he has lost it. One that forgot may be wrong.
        gaps: set[tuple[int, ...]] = {
            tuple(identity)
            for *identity, reason in core.store.rows(
                "SELECT account, meter, stream, epoch, first_sequence, reason FROM gaps"
            )
            if reason != GapReason.ACKNOWLEDGED or identity[0] in self._forgetful
        }
        for account, meter, stream, epoch, first in sorted(self._acknowledged):
            known = held if stream == Stream.SETTLEMENT else batches
            if (account, meter, epoch, first) not in known and (account, meter, stream, epoch, first) not in gaps:
                self._findings.add(f"acknowledged and lost: account {account}, {Stream(stream).name.lower()} {first}")
        for identity, reading in sorted(self._signed.items()):
            old = reading.taken_at_s + PATIENCE_S < self._world.clock.now_s and identity not in self._excused
            if old and identity not in held and (*identity[:2], 0, *identity[2:]) not in gaps:
                self._findings.add(f"signed and never arrived: account {reading.account}, interval {reading.interval}")

    def _outboxes(self) -> None:
        now_s = self._world.clock.now_s
        for home in self._world.homes:
            if home.outbox is None or home.agent is None:
                self._findings.add(f"agent {home.number} does not run")
                continue
            for frame in home.outbox.pending(FrameKind.SETTLEMENT, 64, newest=False):
                envelope = self._open(frame.payload)
                reading = envelope.message if envelope is not None else None
                if isinstance(reading, SettlementReading) and reading.taken_at_s + PATIENCE_S < now_s:
                    self._findings.add(f"agent {home.number} still holds the reading of interval {reading.interval}")
            waiting = home.outbox.stat()["pending_telemetry"]
            if waiting > 8:
                self._findings.add(f"agent {home.number} still holds {waiting} telemetry batches")
            for frame in home.outbox.pending(FrameKind.BID, 64, newest=False):
                envelope = self._open(frame.payload)
                if envelope is not None and isinstance(envelope.message, Bid) and frame.expires_s + 120 < now_s:
                    self._findings.add(f"agent {home.number} still holds an expired bid")

    def _tail(self) -> None:
        """Every interval that ended in health has its reading; a home that was never ill has all of them."""
        world = self._world
        core = world.operator.core
        assert core is not None
        last = (world.clock.now_s - SETTLE_S) // INTERVAL_S - 1
        healed = world.plan.heal_at_ms // 1000 // INTERVAL_S + 1
        ill = {c.home for c in world.plan.agent_crashes} | {s.home for s in world.plan.clock_steps}
        glitched = {g.window.home for g in world.plan.glitches}
        for home in world.homes:
            if glitched & {-1, home.number}:
                continue
            first = healed if home.number in ill else world.start_ms // 1000 // INTERVAL_S + 1
            first += FUTURE_INTERVALS if any(s.home == home.number for s in world.plan.clock_steps) else 0
            rows = core.store.rows(
                "SELECT interval FROM settlement_readings WHERE account = ? AND meter = 0", home.account
            )
            missing = sorted(set(range(first, last + 1)) - {row[0] for row in rows})
            if missing:
                self._findings.add(f"home {home.number} has no reading of the intervals {missing}")

    def _headers(self) -> None:
        world = self._world
        core = world.operator.core
        assert core is not None
        rows = core.store.rows("SELECT interval, state FROM headers ORDER BY interval")
        due = [interval for interval, _ in rows if (interval + 1) * INTERVAL_S + HEADER_BOUND_S < world.clock.now_s]
        intervals = [interval for interval, _ in rows]
        if intervals and intervals != list(range(intervals[0], intervals[-1] + 1)):
            self._findings.add("the headers have holes")
        expected = (world.clock.now_s - HEADER_BOUND_S) // INTERVAL_S - 1
        if not intervals or intervals[-1] < expected:
            self._findings.add(f"the newest header is {intervals[-1:]}, {expected} is due")
        late = [interval for interval, state in rows if interval in due and state == "built"]
        if late:
            self._findings.add(f"headers that are not on the chain: {late}")
        if world.chain.header_count < len(due):
            self._findings.add(f"the chain has {world.chain.header_count} headers of {len(due)}")
