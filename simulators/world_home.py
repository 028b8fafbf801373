"""The shell of one agent in a virtual world: its meter, clock, disk, link and deaths.

    home physics → glitch → sample ─┐
    virtual broker → message ───────┼──▶ real Agent core with real outbox files ──▶ effects → broker, devices
    wrong clock, link, deadline ────┘

A crash drops the object: what its files hold at that instant is copied to a new folder, and the next run opens that,
as after SIGKILL. A restore brings back the database of an earlier hour, but not the lease file beside the key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from contracts.codes import ClockStatus
from contracts.envelope import Envelope, open_envelope, seal
from contracts.messages import SettlementReading
from contracts.signature import Signer
from contracts.topics import Leaf, downlink_filter, parse_topic
from device_profiles.profile import Profile, load_profile
from edge_agent.agent import Agent
from edge_agent.announcement import state
from edge_agent.config import AgentConfig, MeterConfig
from edge_agent.delivery.outbox import Outbox
from edge_agent.effects import Alarm, Counters, Effect, Publish, Sample, WriteDevice, WriteResult
from edge_agent.shell.lease_file import LeaseFile
from simulators.faults import AgentCrash, ClockStep, FaultPlan, Glitch
from simulators.home import Home
from simulators.virtual_broker import VirtualBroker, Will
from simulators.virtual_clock import VirtualClock
from simulators.world_events import (
    AgentAlarmed,
    AgentStarted,
    DeviceWritten,
    Happened,
    HomeHeard,
    HomeSaid,
    MeterShown,
    Tell,
)

METER, BATTERY = "meter", "battery"
CLOCK_CHECK_MS = 10_000
"""How often a shell asks the system about its clock."""
RECONNECT_MS = 2_000
STUCK_PAUSE_MS = 100
WRITE_MS = 200
"""A write and its read-back over Modbus."""
SENTINEL_WH = 0xFFFFFFFF
SPIKE_WH = 1_234_567
LIE_WH = 1_000

MakeAgent = Callable[..., Agent]
"""The Agent class, or one with a planted bug."""


@cache
def profile(name: str) -> Profile:
    """A device profile, read once."""
    return load_profile(name)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a home needs of the world."""

    clock: VirtualClock
    broker: VirtualBroker
    plan: FaultPlan
    tell: Tell
    make_agent: MakeAgent


@dataclass(slots=True)
class HomeShell:
    """One home. ``number`` counts from 0, its account is one more."""

    number: int
    home: Home
    config: AgentConfig
    sign: Signer
    address: bytes
    folder: Path
    parts: Parts
    sample_s: int
    wake_s: int
    agent: Agent | None = None
    outbox: Outbox | None = None
    counters: Counters = field(default_factory=Counters)
    offset_ms: int = 0
    status: ClockStatus = ClockStatus.SYNCHRONISED
    synchronised: bool = True
    """Whether its clock has never been wrong, so that its times can be held against the truth."""
    restored: bool = False
    """Whether this run began over a database of an earlier hour."""
    runs: int = 0
    online: bool = False
    _wake_ms: int | None = None
    _backup: dict[str, bytes] | None = None
    _stuck: dict[str, int] | None = None

    @property
    def account(self) -> int:
        """Account 0 is the supplier's."""
        return self.number + 1

    @property
    def client(self) -> str:
        """The name of its MQTT session."""
        return f"street-{self.config.home.edge}"

    @property
    def now_ms(self) -> int:
        """What its clock says."""
        return max(0, self.parts.clock.now_ms + self.offset_ms)

    # -- life --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Schedules all that this home will do and suffer, then starts the agent."""
        clock, plan = self.parts.clock, self.parts.plan
        start_ms = clock.now_ms
        clock.every(start_ms + 7_000 + 1_300 * self.number, self.sample_s * 1000, self._poll)
        for crash in plan.agent_crashes:
            if crash.home == self.number:
                if crash.restored:
                    clock.at(start_ms + (crash.at_ms - start_ms) // 2, self._back_up)
                clock.at(crash.at_ms, partial(self._crash, crash))
        for step in plan.clock_steps:
            if step.home == self.number:
                clock.at(step.at_ms, partial(self._step_clock, step))
        for window in plan.partitions:
            if window.home in (-1, self.number):
                clock.at(window.from_ms + 45_000, self._notice_link)
                clock.at(window.until_ms + RECONNECT_MS + 700 * self.number, self._connect)
        self._start()

    def _start(self) -> None:
        folder = self.folder / f"run-{self.runs}"
        folder.mkdir(parents=True, exist_ok=True)
        self.counters = Counters()
        path = folder / "outbox.db"
        self.outbox = Outbox(path, self.counters)
        known = {meter.name: profile(meter.profile) for meter in self.config.meters}
        self.agent = self.parts.make_agent(
            self.config, self.outbox, self.sign, self.counters,
            leases=LeaseFile(folder / "key.lease"), profiles=known, address=self.address,
        )  # fmt: skip
        self.parts.tell(AgentStarted(self.number))
        self._wake_ms = None
        self._do(lambda agent: agent.on_clock(self.status, self.now_ms, 0))
        self.parts.clock.after(RECONNECT_MS // 4, self._connect)

    def _files(self) -> dict[str, bytes]:
        folder = self.folder / f"run-{self.runs}"
        return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if not p.name.endswith("-shm")}

    def _back_up(self) -> None:
        if self.agent is not None:
            self._backup = {name: content for name, content in self._files().items() if "lease" not in name}

    def _crash(self, crash: AgentCrash) -> None:
        if self.agent is None:
            return
        files = self._files()
        self.restored = crash.restored and self._backup is not None
        if self.restored and self._backup is not None:
            files = {n: c for n, c in files.items() if "lease" in n} | self._backup
        self.agent = self.outbox = None
        self.online = False
        self.parts.broker.drop(self.client)
        self.parts.tell(Happened(f"agent {self.number} dies; restored {crash.restored}; clock {crash.clock_error_ms}"))
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        self.parts.clock.after(crash.down_ms, lambda: self._start_again(crash))

    def _start_again(self, crash: AgentCrash) -> None:
        if crash.clock_error_ms:
            self.offset_ms, self.status, self.synchronised = crash.clock_error_ms, ClockStatus.UNKNOWN, False
            sync_at_ms = min(self.parts.clock.now_ms + crash.sync_after_ms, self.parts.plan.heal_at_ms)
            self.parts.clock.at(sync_at_ms, self._synchronise)
        self._start()

    def _synchronise(self) -> None:
        step_ms, self.offset_ms, self.status = -self.offset_ms, 0, ClockStatus.SYNCHRONISED
        self._do(lambda agent: agent.on_clock(self.status, self.now_ms, step_ms))

    def _step_clock(self, step: ClockStep) -> None:
        if self.status != ClockStatus.SYNCHRONISED or self.offset_ms:
            return
        self.synchronised = False
        self.parts.tell(Happened(f"the clock of agent {self.number} steps by {step.step_ms} ms"))
        self._set_offset(step.step_ms)
        back_at_ms = min(self.parts.clock.now_ms + step.lasts_ms, self.parts.plan.heal_at_ms)
        self.parts.clock.at(back_at_ms, lambda: self._set_offset(0))

    def _set_offset(self, offset_ms: int) -> None:
        step_ms, self.offset_ms = offset_ms - self.offset_ms, offset_ms
        if step_ms and self.status == ClockStatus.SYNCHRONISED:
            self._do(lambda agent: agent.on_clock(self.status, self.now_ms, step_ms))

    # -- link --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self.agent is None or self.online:
            return
        broker, now_ms = self.parts.broker, self.parts.clock.now_ms
        if self.parts.plan.is_partitioned(self.number, now_ms):
            return
        will = state(self.config, False, self.now_ms // 1000)
        if not broker.connect(self.client, self._hear, Will(will.topic, will.payload)):
            self.parts.clock.after(RECONNECT_MS, self._connect)
            return
        for pattern in downlink_filter(self.config.home.feeder, self.config.home.edge):
            broker.subscribe(self.client, pattern)
        self.online = True
        self._do(lambda agent: agent.on_link(True, self.now_ms))

    def _notice_link(self) -> None:
        """The keep-alive ran out: both ends know that the link is gone."""
        if self.online and self.parts.plan.is_partitioned(self.number, self.parts.clock.now_ms):
            self.lose_link()

    def lose_link(self) -> None:
        """The connection broke; the agent tries again."""
        if not self.online:
            return
        self.online = False
        self.parts.broker.drop(self.client)
        self._do(lambda agent: agent.on_link(False, self.now_ms))
        self.parts.clock.after(RECONNECT_MS + 900 * self.number, self._connect)

    def _hear(self, topic: str, payload: bytes) -> None:
        self.parts.tell(HomeHeard(self.number, topic, payload))
        self._do(lambda agent: agent.on_message(topic, payload, self.now_ms))

    # -- meter -------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self.home.advance(self.parts.clock.now_s)
        if self.agent is None:
            return
        true = self.home.meter_values()
        shown = self._shown(dict(true))
        self.parts.tell(MeterShown(self.number, true["import_wh"], true["export_wh"], shown))
        sample = Sample(METER, self.now_ms, shown, None if shown is not None else "exception")
        self._do(lambda agent: agent.on_sample(sample, self.now_ms))
        if self.home.cells is not None:
            battery = Sample(BATTERY, self.now_ms, self.home.battery_values())
            self._do(lambda agent: agent.on_sample(battery, self.now_ms))

    def _shown(self, values: dict[str, int]) -> dict[str, int] | None:
        glitch = self.parts.plan.glitch_of(self.number, self.parts.clock.now_ms)
        if glitch is not Glitch.STUCK:
            self._stuck = None
        match glitch:
            case Glitch.EXCEPTION:
                return None
            case Glitch.ZERO:
                return values | {"import_wh": 0, "export_wh": 0}
            case Glitch.ROLL_BACK:
                return values | {"import_wh": values["import_wh"] - 700_000}
            case Glitch.ABSENT:
                return {name: value for name, value in values.items() if not name.endswith("port_wh")}
            case Glitch.SENTINEL:
                return values | {"import_wh": SENTINEL_WH}
            case Glitch.SPIKE:
                return values | {"import_wh": values["import_wh"] + SPIKE_WH}
            case Glitch.STUCK:
                self._stuck = self._stuck or {name: values[name] for name in ("import_wh", "export_wh")}
                return values | self._stuck
        return values

    # -- the core ----------------------------------------------------------------------------------------------

    def _do(self, work: Callable[[Agent], list[Effect]]) -> None:
        if self.agent is None:
            return
        for effect in work(self.agent):
            self._carry_out(effect)
        self._plan_wake()

    def _plan_wake(self) -> None:
        if self.agent is None:
            return
        due_ms = self.agent.next_deadline_ms() - self.offset_ms
        now_ms = self.parts.clock.now_ms
        due_ms = due_ms if due_ms > now_ms else now_ms + STUCK_PAUSE_MS
        due_ms = -(-due_ms // (self.wake_s * 1000)) * self.wake_s * 1000 + 37 * self.number
        if self._wake_ms is None or due_ms < self._wake_ms:
            self._wake_ms = due_ms
            self.parts.clock.at(due_ms, lambda: self._wake(due_ms))

    def _wake(self, due_ms: int) -> None:
        if self._wake_ms != due_ms or self.agent is None:
            return
        self._wake_ms = None
        if self.agent.next_deadline_ms() <= self.now_ms:
            self._do(lambda agent: agent.on_deadline(self.now_ms))
        else:
            self._plan_wake()

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Publish):
            self._publish(effect)
            if self.number in self.parts.plan.liars:
                self._lie(effect)
        elif isinstance(effect, Alarm):
            self.parts.tell(AgentAlarmed(self.number, effect.code, effect.text))
        else:
            self._write(effect)

    def _publish(self, said: Publish) -> None:
        self.parts.tell(HomeSaid(self.number, said.topic, said.payload))
        if self.online:
            self.parts.broker.publish(self.client, said.topic, said.payload, said.retain)

    def _lie(self, said: Publish) -> None:
        """A dishonest home signs a second body under the same identity."""
        where, envelope = parse_topic(said.topic), open_envelope(said.payload)
        if where is None or where.leaf != Leaf.SETTLEMENT or not isinstance(envelope, Envelope):
            return
        reading = envelope.message
        if isinstance(reading, SettlementReading):
            second = SettlementReading.from_json(reading.to_json() | {"import_wh": reading.import_wh + LIE_WH})
            self._publish(Publish(said.topic, seal(second, self.config.chain.domain, self.sign).pack()))

    def _write(self, effect: WriteDevice) -> None:
        self.parts.tell(DeviceWritten(self.number, effect))
        watchdog_s = effect.watchdog_s or 60
        value = effect.value
        if effect.device == BATTERY and self.home.cells is not None:
            self.home.advance(self.parts.clock.now_s)
            expires_s = None if value is None else self.parts.clock.now_s + watchdog_s
            self.home.set_battery_power(value, expires_s)
        if effect.token:
            result = WriteResult(effect.token, effect.device, value)
            self.parts.clock.after(WRITE_MS, lambda: self._do(lambda agent: agent.on_written(result, self.now_ms)))

    @property
    def settled(self) -> bool:
        """Whether nothing waits for an acknowledgement."""
        return self.outbox is not None and not self.outbox.stat()["pending_settlement"]


def agent_meters(home: Home) -> tuple[MeterConfig, ...]:
    """The devices an agent reads in this home: the connection's meter, and a battery where there is one."""
    meters = [MeterConfig(0, METER, home.plan.meter, "-")]
    if home.plan.battery is not None:
        meters.append(MeterConfig(1, BATTERY, home.plan.battery, "-", role="battery"))
    return tuple(meters)
