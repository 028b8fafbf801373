"""Wires the core to clock, sources of samples, broker and disk, and carries out its effects.

Everything runs in one event loop, so the core is never called twice at a time; several agents may share a loop.
A failing disk, broker or device is a count and an alarm, never the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from contracts.signature import address_of, signer_of
from device_profiles.profile import Profile, load_profile
from edge_agent.agent import Agent
from edge_agent.config import AgentConfig
from edge_agent.delivery.outbox import Outbox
from edge_agent.effects import Alarm, Counters, Effect, Publish, Sample, WriteResult
from edge_agent.shell.broker import Broker
from edge_agent.shell.clock import Clock
from edge_agent.shell.ending import end_all
from edge_agent.shell.lease_file import LeaseFile
from edge_agent.shell.modbus import BusTask
from edge_agent.shell.node_set_points import node_profile
from edge_agent.shell.origin import origin_of
from edge_agent.shell.proxy import Proxy
from edge_agent.shell.sources import sources_of

CLOCK_EVERY_S = 10.0
"""How often the system is asked about its clock."""
DEADLINE_LIMIT_MS = 5_000
"""Longest sleep before deadlines are asked for again; what happens meanwhile may have brought one forward."""
NAP_S = 0.02
"""Deadlines this close together are taken as one: none is finer, and a clock that runs fast must not starve others."""
STUCK_PAUSE_S = 0.1
"""A deadline that a failure keeps in the past must not take the whole processor."""

ALARMS_SHOWN = 20
"""The last alarms stand on the page; older ones are in the log."""

_LOG = logging.getLogger("edge_agent")


class Running:
    """One agent in its world."""

    def __init__(self, config: AgentConfig, clock: Clock, key: bytes, counters: Counters | None = None) -> None:
        self.counters = Counters() if counters is None else counters
        self._clock = clock
        config = replace(config, clock=replace(config.clock, speed=clock.speed))
        config.store.parent.mkdir(parents=True, exist_ok=True)
        profiles, address = load_profiles(config), address_of(key)
        origin, complaints = origin_of(config, address, clock.now_ms() // 1000, self.counters)
        self.outbox = Outbox(config.store, self.counters)
        self.agent = Agent(
            config,
            self.outbox,
            signer_of(key),
            self.counters,
            leases=LeaseFile(config.lease_file),
            profiles=profiles,
            address=address,
            origin=origin,
        )
        self._broker = Broker(config, clock.now_ms, self._on_link, self._on_message, self.counters)
        self._sources = sources_of(config, profiles, clock, self._on_sample, self._on_written, self.counters)
        self._source_of = {name: source for source in self._sources for name in source.names()}
        modbus = [source for source in self._sources if isinstance(source, BusTask)]
        self._proxy = Proxy(config.proxy, modbus, clock, self.counters) if config.proxy.enabled else None
        self._wake = asyncio.Event()
        self._awaited_ms = 0
        self.alarms: deque[tuple[int, Alarm]] = deque(maxlen=ALARMS_SHOWN)
        self._carry_out(lambda: [*complaints])

    async def run(self, stop: asyncio.Event, *companions: Callable[[], object]) -> None:
        """Until ``stop`` is set; then closes the store. A part or companion that breaks is begun again."""
        self._check_clock()
        own = (self._broker.run, self._deadlines, self._clock_checks)
        parts = [*(source.run for source in self._sources), *own, *companions]
        if self._proxy is not None:
            parts.append(self._proxy.run)
        tasks = [asyncio.create_task(self._for_ever(part)) for part in parts]
        try:
            await stop.wait()
        finally:
            await end_all(tasks)
            self.outbox.close()

    async def _for_ever(self, part: Callable[[], object]) -> None:
        while True:
            try:
                await part()  # type: ignore[misc]
            except Exception:  # a part of the shell must not end the agent, whatever broke it
                self.counters.count("part_restarted")
                _LOG.exception("a part of the agent broke and begins again")
                await asyncio.sleep(1.0)

    def _carry_out(self, work: Callable[[], list[Effect]]) -> None:
        """Calls the core and does what it says; a fault in it is told and counted, and the agent goes on."""
        try:
            effects = work()
        except Exception:  # the last line of defence: the next event may well succeed
            self.counters.count("core_failed")
            _LOG.exception("the core failed")
            return
        for effect in effects:
            if isinstance(effect, Publish):
                self._broker.publish(effect)
            elif isinstance(effect, Alarm):
                self.counters.count(f"alarm_{effect.code}")
                self.alarms.append((self._clock.now_ms(), effect))
                _LOG.warning("%s: %s", effect.code, effect.text)
            else:
                self._source_of[effect.device].write(effect)
        if self.agent.next_deadline_ms() < self._awaited_ms:
            self._wake.set()

    @property
    def clock(self) -> Clock:
        """The clock it runs on."""
        return self._clock

    def _on_sample(self, sample: Sample) -> None:
        self._carry_out(lambda: self.agent.on_sample(sample, self._clock.now_ms()))

    def _on_written(self, result: WriteResult) -> None:
        self._carry_out(lambda: self.agent.on_written(result, self._clock.now_ms()))

    def _on_link(self, up: bool) -> None:
        self._carry_out(lambda: self.agent.on_link(up, self._clock.now_ms()))

    def _on_message(self, topic: str, payload: bytes) -> None:
        self._carry_out(lambda: self.agent.on_message(topic, payload, self._clock.now_ms()))

    def _check_clock(self) -> None:
        status, step_ms = self._clock.check()
        self._carry_out(lambda: self.agent.on_clock(status, self._clock.now_ms(), step_ms))

    async def _clock_checks(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_EVERY_S)
            self._check_clock()

    async def _deadlines(self) -> None:
        while True:
            self._wake.clear()
            now_ms = self._clock.now_ms()
            due_ms = self._awaited_ms = self.agent.next_deadline_ms()
            if now_ms >= due_ms:
                self._carry_out(lambda: self.agent.on_deadline(self._clock.now_ms()))
                stuck = self.agent.next_deadline_ms() <= now_ms
                await asyncio.sleep(STUCK_PAUSE_S if stuck else NAP_S)
                continue
            wait_s = min(due_ms - now_ms, DEADLINE_LIMIT_MS * max(1.0, self._clock.speed)) / 1000 / self._clock.speed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)


def load_profiles(config: AgentConfig) -> dict[str, Profile]:
    """The profile of every Modbus device and of every node that steers, by its name. Raises ProfileError."""
    nodes = {meter.name: profile for meter in config.meters if (profile := node_profile(meter)) is not None}
    return {meter.name: load_profile(meter.profile) for meter in config.meters if meter.is_modbus} | nodes


async def run_agent(
    config: AgentConfig, *, clock: Clock, key: bytes, stop: asyncio.Event, counters: Counters | None = None
) -> None:
    """One agent until ``stop`` is set. Raises ProfileError at once for a profile that is refused."""
    await Running(config, clock, key, counters).run(stop)
