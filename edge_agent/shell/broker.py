"""The MQTT link, 3.1.1: last will, own topics, bounded publishing, reconnection with back-off.

The broker is a pipe, not a store: nothing relies on what it queues. A publish that finds the queue full is dropped
and counted; the core sends again what nobody acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import aiomqtt

from contracts.topics import downlink_filter
from edge_agent.announcement import state
from edge_agent.config import AgentConfig
from edge_agent.delivery.replay import part_of
from edge_agent.effects import Counters, Publish
from edge_agent.shell.ending import end_all

QUEUE_LIMIT = 256
"""Publishes that wait for the socket: four seconds at the replay's highest rate."""
UNDER_WAY_LIMIT = 10
"""Publishes without a PUBACK; aiomqtt warns above ten."""
BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30
INCOMING_LIMIT = 256

_LOG = logging.getLogger("edge_agent.broker")


class Broker:
    """One connection, kept alive. ``on_link`` and ``on_message`` are called in the loop."""

    def __init__(
        self,
        config: AgentConfig,
        now_ms: Callable[[], int],
        on_link: Callable[[bool], None],
        on_message: Callable[[str, bytes], None],
        counters: Counters,
    ) -> None:
        self._config = config
        self._now_ms = now_ms
        self._on_link = on_link
        self._on_message = on_message
        self._counters = counters
        self._queue: asyncio.Queue[Publish] = asyncio.Queue(QUEUE_LIMIT)

    def publish(self, message: Publish) -> None:
        """Queues a publish; dropped and counted where there is no room."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._counters.count("publish_dropped")

    async def run(self) -> None:
        """Connects again and again until it is cancelled."""
        attempt = 0
        home = self._config.home
        seed = f"{home.feeder}/{home.edge}".encode()
        while True:
            connected = False
            try:
                async with self._client() as client:
                    for pattern in downlink_filter(home.feeder, home.edge):
                        await client.subscribe(pattern, qos=1)
                    connected, attempt = True, 0
                    self._counters.count("broker_connected")
                    self._drain()
                    self._on_link(True)
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
                self._counters.count("broker_lost")
                _LOG.warning("broker %s:%s: %s", self._config.broker.host, self._config.broker.port, error)
            finally:
                if connected:
                    self._on_link(False)
            pause_s = BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)]
            attempt += 1
            await asyncio.sleep(pause_s * (0.5 + part_of(seed, attempt) / 2))

    def _client(self) -> aiomqtt.Client:
        broker = self._config.broker
        will = state(self._config, False, max(self._now_ms(), 0) // 1000)
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=password_of(broker.password_file),
            identifier=f"{self._config.home.feeder}-{self._config.home.edge}",
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=True),
            keepalive=KEEP_ALIVE_S,
            timeout=TIMEOUT_S,
            max_queued_incoming_messages=INCOMING_LIMIT,
            max_concurrent_outgoing_calls=UNDER_WAY_LIMIT,
        )

    def _drain(self) -> None:
        """What waited for the old connection is stale: the core announces itself and repeats."""
        while not self._queue.empty():
            self._queue.get_nowait()

    async def _serve(self, client: aiomqtt.Client) -> None:
        receiving = asyncio.create_task(self._receive(client))
        sending = [asyncio.create_task(self._transmit(client)) for _ in range(UNDER_WAY_LIMIT - 2)]
        tasks = [receiving, *sending]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_all(tasks)

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            self._on_message(str(message.topic), bytes(payload) if isinstance(payload, bytes | bytearray) else b"")

    async def _transmit(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._queue.get()
            await client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            self._counters.count("published")


def password_of(path: Path | None) -> str | None:
    """The broker password in a file, None without one. Raises OSError."""
    return None if path is None else path.read_text(encoding="utf-8").rstrip("\n")
