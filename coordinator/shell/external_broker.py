"""An external MQTT broker (mosquitto, NATS, any 3.1.1 broker): subscribe to the homes' topics, acknowledge by hand.

    broker ──PUBLISH qos 1──▶ paho's thread ──▶ event loop ──▶ runtime ──commit──▶ PUBACK

The session is persistent and a message is acknowledged after the store's commit, so what a crash undid comes again.
A lost connection is tried again for ever, with a growing pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contracts.topics import PAYLOAD_LIMIT_BYTES, uplink_filter
from coordinator.shell.ingest_port import Incoming, OnMessage

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1, 60
"""Between attempts to reconnect: doubled each time up to a minute, so that a broker that restarts is not trampled."""
KEEP_ALIVE_S = 30
SEND_QUEUE_LIMIT = 10_000
"""Messages waiting for the broker while it is away; homes repeat what they miss, so the newest are dropped."""
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class LocalBrokerUrlError(ValueError):
    """The broker's URL is not ``mqtt://host[:port]`` or ``mqtts://host[:port]``."""


class ExternalBroker:
    """A client of the broker at ``url`` that takes in everything of one feeder."""

    def __init__(
        self,
        url: str,
        feeder: str,
        *,
        username: str | None = None,
        password_file: Path | None = None,
        certificate_authority: Path | None = None,
        client_id: str | None = None,
    ) -> None:
        """One coordinator a feeder: ``client_id`` names the persistent session. Raises LocalBrokerUrlError."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise LocalBrokerUrlError(f"{url!r} is not mqtt://host[:port] or mqtts://host[:port]")
        self._url = url
        self._feeder = feeder
        self._host = parts.hostname
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._counters: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: OnMessage | None = None
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"coordinator-{feeder}",
            clean_session=False,
            manual_ack=True,
        )
        self._client.reconnect_delay_set(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._client.max_queued_messages_set(SEND_QUEUE_LIMIT)
        if username is not None:
            password = None if password_file is None else password_file.read_text(encoding="utf-8").strip()
            self._client.username_pw_set(username, password)
        if parts.scheme == "mqtts":
            authority = None if certificate_authority is None else str(certificate_authority)
            self._client.tls_set_context(ssl.create_default_context(cafile=authority))
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._arrived

    @property
    def url(self) -> str:
        """Where the broker is."""
        return self._url

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start, by word."""
        return self._counters

    @property
    def connected(self) -> bool:
        """Whether the broker is reached now."""
        return bool(self._client.is_connected())

    async def start(self, on_message: OnMessage) -> None:
        """Begins to connect and returns at once; the broker may come later."""
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._client.connect_async(self._host, self._port, KEEP_ALIVE_S)
        self._client.loop_start()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Sends at most once. While the broker is away nothing is kept: homes repeat."""
        if not self._client.is_connected():
            self._counters["broker_send_failures"] += 1
            return
        sent = self._client.publish(topic, payload, qos=0)
        self._counters["broker_messages_sent" if sent.rc == paho.MQTT_ERR_SUCCESS else "broker_send_failures"] += 1

    async def stop(self) -> None:
        """Leaves; the session stays at the broker."""
        self._client.disconnect()
        await asyncio.get_running_loop().run_in_executor(None, self._client.loop_stop)

    def _connected(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._counters["broker_logins_refused"] += 1
            return
        self._counters["broker_connects"] += 1
        client.subscribe([(text, 1) for text in uplink_filter(self._feeder)])

    def _disconnected(self, _: paho.Client, __: Any, ___: Any, ____: Any, _____: Any) -> None:
        self._counters["broker_disconnects"] += 1

    def _arrived(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        def acknowledge() -> None:
            client.ack(message.mid, message.qos)

        self._counters["broker_messages_received"] += 1
        if len(message.payload) > max(PAYLOAD_LIMIT_BYTES.values()):
            self._counters["broker_oversized"] += 1
            acknowledge()
            return
        assert self._loop is not None and self._on_message is not None
        with contextlib.suppress(RuntimeError):  # the loop closed while we were being stopped; the broker keeps it
            self._loop.call_soon_threadsafe(
                self._on_message, Incoming(message.topic, bytes(message.payload), acknowledge)
            )
