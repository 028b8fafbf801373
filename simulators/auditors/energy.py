"""What is signed is what flowed: registers against the true physics, never more than the truth, never backwards.

A meter that glitches may leave energy to a later reading, so for such a home the truth is an upper bound; for a home
whose meter was well, every signed pair of registers must have stood on the meter at or after the interval's end.
What a meter counted while its agent was away nobody can know: where the very first value after a start is a lie
upwards, the agent believes it, and the upper bound is not asked of that home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.interval import INTERVAL_S
from contracts.messages import SettlementReading
from contracts.topics import Leaf, parse_topic
from edge_agent.readings.metering import REWIND_INTERVALS
from simulators.auditors.auditor import Findings, Opened, account_named
from simulators.world_events import AgentStarted, HomeSaid, MeterShown, OperatorAlarmed, WorldEvent

if TYPE_CHECKING:
    from simulators.world import World

CLOCK_SLACK_MS = 1_000


class EnergyAuditor:
    """Remembers what each meter truly showed and when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("energy")
        self._open = Opened()
        self._stood: dict[int, dict[tuple[int, int], int]] = {}
        self._newest: dict[int, tuple[int, int]] = {}
        self._glitched: set[int] = set()
        self._just_started: set[int] = set()
        self._deceived: set[int] = set()
        self._signed: dict[int, dict[int, tuple[int, int]]] = {}

    def observe(self, event: WorldEvent) -> None:
        """Truth and signed readings."""
        match event:
            case AgentStarted(home):
                self._just_started.add(home)
            case MeterShown(home, true_import, true_export, shown):
                pair = (true_import, true_export)
                if home in self._just_started and shown is not None and shown.get("import_wh", 0) > true_import:
                    self._deceived.add(home)
                self._just_started.discard(home)
                self._stood.setdefault(home, {})[pair] = self._world.clock.now_ms
                self._newest[home] = pair
                if shown is None or (shown.get("import_wh"), shown.get("export_wh")) != pair:
                    self._glitched.add(home)
            case OperatorAlarmed("implausible_registers", text):
                accused = account_named(text) - 1
                if accused not in self._deceived and accused not in self._world.plan.liars:
                    self._findings.add(f"home {accused}: its energy was refused although its meter never lied upwards")
            case HomeSaid(home, topic, payload) if home not in self._world.plan.liars:
                where = parse_topic(topic)
                if where is not None and where.leaf == Leaf.SETTLEMENT:
                    envelope = self._open(payload)
                    if envelope is not None and isinstance(envelope.message, SettlementReading):
                        self._judge(home, envelope.message)

    def _judge(self, home: int, reading: SettlementReading) -> None:
        signed = self._signed.setdefault(home, {})
        if (
            reading.interval in signed
            or reading.interval > self._world.clock.now_ms // 1000 // INTERVAL_S + REWIND_INTERVALS
        ):
            return  # a clock weeks ahead: the operator refuses it, and the agent signs that interval again in its time
        pair = signed[reading.interval] = (reading.import_wh, reading.export_wh)
        name = f"home {home}, interval {reading.interval}"
        truth = self._newest.get(home, (0, 0))
        if home not in self._deceived and (pair[0] > truth[0] or pair[1] > truth[1]):
            self._findings.add(f"{name}: registers {pair} are more than the meter has counted, {truth}")
        for interval, other in signed.items():
            ordered = (interval < reading.interval) == (other[0] <= pair[0] and other[1] <= pair[1])
            if interval != reading.interval and other != pair and not ordered:
                self._findings.add(f"{name}: registers {pair} contradict {other} of interval {interval}")
        if home in self._glitched:
            return
        stood_until_ms = self._stood[home].get(pair)
        if stood_until_ms is None:
            self._findings.add(f"{name}: registers {pair} never stood on the meter")
        elif self._world.homes[home].synchronised:
            end_ms = (reading.interval + 1) * INTERVAL_S * 1000
            if stood_until_ms < end_ms - CLOCK_SLACK_MS:
                self._findings.add(f"{name}: registers {pair} stood on the meter only before the interval's end")

    def verdict(self) -> list[str]:
        """And the energy of all statements is the difference of the registers they began and ended with."""
        core = self._world.operator.core
        if core is None:
            return self._findings.texts()
        metered = dict(core.store.rows("SELECT account, SUM(metered_wh) FROM statements GROUP BY account"))
        for account, imported, exported in core.store.rows("SELECT account, import_wh, export_wh FROM registers"):
            home = account - 1
            signed = self._signed.get(home, {})
            if home in self._world.plan.liars or (imported, exported) not in signed.values():
                continue
            firsts = [pair[0] - pair[1] for pair in signed.values()]
            if imported - exported - metered.get(account, 0) not in firsts:
                self._findings.add(f"home {home}: metered energy is not a difference of two signed registers")
        return self._findings.texts()
