"""The connection to the home's own broker for Home Assistant; its loss costs nothing but the picture there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import aiomqtt

from edge_agent.config import AgentConfig
from edge_agent.config_site import HomeAssistantConfig
from edge_agent.effects import Counters
from edge_agent.home_assistant import OFFLINE, Discovery
from edge_agent.shell.broker import password_of
from edge_agent.shell.ending import end_all
from edge_agent.status import AgentStatus

BACK_OFF_S = 15.0
TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30
INCOMING_LIMIT = 16
"""One topic with a handful of messages a day."""

_LOG = logging.getLogger("edge_agent.home_assistant")


class HomeAssistantLink:
    """Tells Home Assistant what ``status`` says, every few seconds, until cancelled."""

    def __init__(
        self, config: AgentConfig, settings: HomeAssistantConfig, status: Callable[[], AgentStatus], counters: Counters
    ) -> None:
        self._settings = settings
        self._status = status
        self._counters = counters
        self._discovery = Discovery(config, settings)
        self._identifier = f"energy-grid-{config.home.feeder}-{config.home.edge}-ha"
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Connects again and again."""
        while True:
            try:
                async with self._client() as client:
                    await client.subscribe(self._discovery.birth_topic, qos=1)
                    self._discovery.forget()
                    self._counters.count("home_assistant_connected")
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
                self._counters.count("home_assistant_lost")
                _LOG.warning("%s:%s: %s", self._settings.host, self._settings.port, error)
            await asyncio.sleep(BACK_OFF_S)

    def _client(self) -> aiomqtt.Client:
        found = self._settings
        return aiomqtt.Client(
            found.host,
            found.port,
            username=found.username,
            password=password_of(found.password_file),
            identifier=self._identifier,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            will=aiomqtt.Will(self._discovery.availability_topic, OFFLINE, qos=1, retain=True),
            keepalive=KEEP_ALIVE_S,
            timeout=TIMEOUT_S,
            max_queued_incoming_messages=INCOMING_LIMIT,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        tasks = [asyncio.create_task(self._listen(client)), asyncio.create_task(self._tell(client))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:  # a planned end is no accident, so the last will would not be sent
            await client.publish(self._discovery.availability_topic, OFFLINE, qos=1, retain=True)
            raise
        finally:
            await end_all(tasks)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            if isinstance(payload, bytes) and self._discovery.on_message(str(message.topic), payload):
                self._counters.count("home_assistant_birth")
                self._wake.set()

    async def _tell(self, client: aiomqtt.Client) -> None:
        while True:
            self._wake.clear()
            for message in self._discovery.on_status(self._status()):
                await client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            try:
                await asyncio.wait_for(self._wake.wait(), self._settings.every_s)
            except TimeoutError:
                continue
