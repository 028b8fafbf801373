"""Meters whose values come as MQTT messages on the home's own broker: one client for all meters of a broker.

    message -> every meter whose filter matches -> its decoder -> latest values -> Sample, at most one a poll

A retained message says nothing about when it was measured, so it is counted and dropped. A broker that is gone is
tried again with back-off; meanwhile, as for a meter that is silent, samples with a fault are given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiomqtt

from edge_agent.config import BrokerConfig, MeterConfig
from edge_agent.effects import Counters, Sample, WriteDevice, WriteResult
from edge_agent.readings.latest_values import LatestValues
from edge_agent.shell.clock import Clock
from edge_agent.shell.ending import end_all
from edge_agent.shell.telegrams import Pace, count_refusals
from firmware_bridge.json_path import JsonPathDecoder
from firmware_bridge.shelly import ShellyDecoder, channel_of
from firmware_bridge.tasmota import TasmotaDecoder
from firmware_bridge.telegram import MessageDecoder

AGE_S = 60.0
AGE_POLLS = 3
"""Shelly gen 1 repeats every value at least twice a minute."""
GATHER_S = 1.0
"""The messages of one burst come within a few hundred milliseconds."""
TOGETHER_S = 10.0
"""Registers further apart are of two moments: at 11 kW, the most most homes have, 10 s are 30 Wh."""
LEAST_TOGETHER_S = 3.0
"""Whatever the period: the time we gather, and what a busy broker may be late."""
INCOMING_LIMIT = 256
"""Messages that wait for us: a burst of 64 meters."""
TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30


def message_decoder(meter: MeterConfig) -> MessageDecoder:
    """The decoder the configuration asks for. Raises LocalPathError for a bad path."""
    if meter.telegram == "tasmota":
        return TasmotaDecoder()
    if meter.telegram == "shelly":
        return ShellyDecoder(channel_of(meter.topic))
    return JsonPathDecoder(dict(meter.paths))


class _Meter:
    """One meter behind the broker."""

    def __init__(
        self, config: MeterConfig, clock: Clock, on_sample: Callable[[Sample], None], counters: Counters
    ) -> None:
        self.config = config
        self._clock = clock
        self._on_sample = on_sample
        self._counters = counters
        self._decoder = message_decoder(config)
        # A broker's delays are real seconds, also where the clock runs faster.
        together_s = min(max(config.poll_s, LEAST_TOGETHER_S), TOGETHER_S) * max(clock.speed, 1.0)
        self._latest = LatestValues(max(AGE_S, AGE_POLLS * config.poll_s), together_s)
        self._pace = Pace(config.poll_s, clock.speed)
        self._gathering: asyncio.TimerHandle | None = None

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() * self._clock.speed

    def take(self, topic: str, payload: bytes) -> None:
        """One message of its topics."""
        telegrams = self._decoder.decode(topic, payload)
        count_refusals(self._decoder.refused, self._counters)
        for telegram in telegrams:
            self._counters.count("telegrams")
            self._latest.take(telegram, self._now_s())
        if not telegrams or not self._pace.is_due():
            return
        if self._latest.is_whole(self._now_s()):
            self._give()
        elif self._latest.has_registers(self._now_s()) and self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(GATHER_S / self._clock.speed, self._give)

    def _give(self) -> None:
        self.stop()
        now_ms, merged = self._clock.now_ms(), self._latest.merged(self._now_s())
        if merged is not None:
            self._pace.given()
            sample = Sample(self.config.name, now_ms, merged.values, serial=merged.serial, evidence=merged.evidence)
            self._on_sample(sample)

    def stop(self) -> None:
        """No sample will come by itself."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def watch(self, trouble: Callable[[], str]) -> None:
        """Tells every silence, and what the broker's trouble is."""
        while True:
            await self._pace.silence()
            fault = trouble() or f"no message with its registers for {self._pace.silence_s:g} s"
            self._on_sample(Sample(self.config.name, self._clock.now_ms(), None, fault))


class MqttMetersTask:
    """All meters of one broker; ``broker`` gives its address and, where it is the agent's own, the credentials."""

    def __init__(
        self,
        meters: Sequence[MeterConfig],
        broker: BrokerConfig,
        clock: Clock,
        on_sample: Callable[[Sample], None],
        on_written: Callable[[WriteResult], None],
        counters: Counters | None = None,
    ) -> None:
        self._counters = Counters() if counters is None else counters
        self._meters = [_Meter(meter, clock, on_sample, self._counters) for meter in meters]
        self._broker = broker
        self._on_written = on_written
        self._pace = Pace(1, clock.speed)
        self._trouble = "the broker was not reached yet"

    def names(self) -> list[str]:
        """The meters behind it."""
        return [meter.config.name for meter in self._meters]

    def write(self, order: WriteDevice) -> None:
        """A meter that sends messages takes no set-points."""
        self._on_written(WriteResult(order.token, order.device, None, "it only sends messages"))

    def close(self) -> None:
        """Nothing is given any more."""
        for meter in self._meters:
            meter.stop()

    async def run(self) -> None:
        """Listens until it is cancelled."""
        watching = [asyncio.create_task(meter.watch(lambda: self._trouble)) for meter in self._meters]
        attempt = 0
        try:
            while True:
                try:
                    async with self._client() as client:
                        for pattern in sorted({meter.config.topic for meter in self._meters}):
                            await client.subscribe(pattern, qos=0)
                        attempt, self._trouble = 0, ""
                        self._counters.count("meter_broker_connected")
                        await self._listen(client)
                except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
                    self._counters.count("meter_broker_lost")
                    self._trouble = f"broker {self._broker.host}:{self._broker.port}: {error}"
                await self._pace.pause(attempt)
                attempt += 1
        finally:
            self.close()
            await end_all(watching)

    def _client(self) -> aiomqtt.Client:
        broker, password = self._broker, None
        if broker.password_file is not None:
            password = broker.password_file.read_text(encoding="utf-8").rstrip("\n")
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=password,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            keepalive=KEEP_ALIVE_S,
            timeout=TIMEOUT_S,
            max_queued_incoming_messages=INCOMING_LIMIT,
        )

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if message.retain:
                self._counters.count("telegram_retained")
                continue
            payload = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
            for meter in self._meters:
                if message.topic.matches(meter.config.topic):
                    meter.take(str(message.topic), payload)
