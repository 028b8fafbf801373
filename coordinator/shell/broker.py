"""The embedded broker: amqtt in the coordinator's process, with a hook where messages of homes come in.

    home ──PUBLISH──▶ amqtt ──▶ hook ──▶ runtime           nothing a home sends is fanned out to other homes
    home ◀──PUBLISH── amqtt ◀── publish(topic, payload)    straight to the sessions that asked for that topic

amqtt looks at every subscription for every message it passes on, which costs five sixths of its speed with a thousand
agents; so neither direction uses that path. Its limit is the number of connections (``AGENT_LIMIT``): the next home is
refused with MQTT's "server unavailable" and counted, and an operator with more homes runs an external broker.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, StreamWriterAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, ListenerConfig
from amqtt.errors import MQTTError, NoDataError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from contracts.topics import DOWNWARD, PAYLOAD_LIMIT_BYTES, UPWARD, parse_topic
from coordinator.shell.ingest_port import Incoming, OnMessage

AGENT_LIMIT = 1_000
"""Homes with minute batches that amqtt can serve on one core; more than that want a broker of their own."""
PACKET_LIMIT_BYTES = max(PAYLOAD_LIMIT_BYTES.values()) + 1024
"""The largest payload any topic carries and its topic; a packet beyond it ends the connection."""
CONNECT_LIMIT_S = 10
"""A connection that has not said who it is by then is closed."""
SLOW_READER_LIMIT = 64
"""Messages on their way to one home; what comes on top is dropped, the home asks again by repeating."""
SEND_LIMIT_S = 10
SERVER_UNAVAILABLE = bytes((0x20, 2, 0, 3))
"""CONNACK with return code 3 (MQTT 3.1.1, 3.2.2.3)."""


class LocalBrokerError(Exception):
    """The broker cannot run with this configuration."""


class RemotePacketError(Exception):
    """A home sent a packet that is too large. Not one of amqtt's errors, after which it would read on in the middle."""


class _BoundedReader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt is untyped
    """Refuses to read a packet that is larger than any of ours, before a byte of it is kept."""

    async def read(self, n: int = -1) -> bytes:
        if n > PACKET_LIMIT_BYTES:
            raise RemotePacketError(f"a packet of {n} bytes is larger than {PACKET_LIMIT_BYTES}")
        content: bytes = await super().read(n)
        return content


def read_password_file(path: Path) -> dict[str, str]:
    """Lines ``name:sha256-of-password`` as a mapping. The passwords are random tokens, so a fast hash is enough.

    Raises LocalBrokerError on a line that is neither that, a comment nor empty.
    """
    users: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalBrokerError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, digest = line.strip().partition(":")
        if not colon or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise LocalBrokerError(f"{path}:{number}: expected name:sha256")
        users[name] = digest
    return users


class _HookedBroker(Broker):  # type: ignore[misc]  # amqtt is untyped
    """amqtt with its border replaced: who connects, who may use which topic, where messages go."""

    def __init__(self, config: dict[str, Any], owner: EmbeddedBroker) -> None:
        super().__init__(config)
        self._owner = owner
        self.open_connections = 0

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """A new connection: served, or refused with a reason once the limit is reached."""
        if self.open_connections >= self._owner.agent_limit:
            self._owner.counters["broker_connections_refused"] += 1
            await _refuse(reader, writer)
            return
        self.open_connections += 1
        connection = writer.get_extra_info("socket")
        if connection is not None:  # a home that lost its power must not hold its place for ever
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            await self._client_connected(listener_name, _BoundedReader(reader), StreamWriterAdapter(writer))
        finally:
            self.open_connections -= 1

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        opening = super()._initialize_client_session(reader, writer, remote_address, remote_port)
        try:
            opened: tuple[BrokerProtocolHandler, Session] = await asyncio.wait_for(opening, CONNECT_LIMIT_S)
        except TimeoutError:
            await writer.close()
            raise NoDataError("no CONNECT in time") from None
        except (RemotePacketError, ValueError, IndexError, AttributeError, TypeError) as error:
            await writer.close()
            raise MQTTError(f"not a CONNECT packet: {error}") from error
        return opened

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        accepted = self._owner.admits(session.username, session.password)
        session.is_anonymous = self._owner.anonymous
        if not accepted:
            self._owner.counters["broker_logins_refused"] += 1
        return accepted

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        allowed = self._owner.allows(session.username, topic, action)
        if not allowed:
            self._owner.counters["broker_topics_refused"] += 1
        return allowed

    async def _broadcast_message(
        self, session: Session | None, topic: str | None, data: bytes | bytearray | None, _: int | None = None
    ) -> None:
        """Where amqtt would fan out: a PUBLISH or a last will of a home goes to the runtime instead."""
        if session is None or topic is None:
            return
        if self._owner.allows(session.username, topic, Action.PUBLISH):
            self._owner.hand_up(topic, bytes(data or b""))

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Retained states and births are for the coordinator, which stores them itself."""

    def receivers(self, topic: str) -> list[BrokerProtocolHandler]:
        """The connected sessions that asked for exactly this topic."""
        sessions = [session for session, _ in self._subscriptions.get(topic, ())]
        handlers = [self._get_handler(s) for s in sessions if s.transitions.state == "connected"]
        return [handler for handler in handlers if handler is not None]


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Waits for the CONNECT, answers that there is no room, and closes."""
    try:
        await asyncio.wait_for(reader.read(1024), CONNECT_LIMIT_S)
        writer.write(SERVER_UNAVAILABLE)
        await asyncio.wait_for(writer.drain(), CONNECT_LIMIT_S)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


class EmbeddedBroker:
    """The broker for up to ``agent_limit`` homes. Anonymous access only on a loopback address."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 1883,
        *,
        password_file: Path | None = None,
        certificate: Path | None = None,
        certificate_key: Path | None = None,
        agent_limit: int = AGENT_LIMIT,
    ) -> None:
        """With ``password_file`` each home logs in by its name on the feeder and may use only its own topics."""
        self._users = None if password_file is None else read_password_file(password_file)
        if self._users is None and not _is_loopback(host):
            raise LocalBrokerError(f"anonymous access on {host}: give a password file, or listen on 127.0.0.1")
        self.host, self.port = host, port
        self.agent_limit = agent_limit
        self._counters: Counter[str] = Counter()
        self._listener: dict[str, Any] = {"type": "tcp", "bind": f"{host}:{port}"}
        if certificate is not None and certificate_key is not None:
            self._listener |= {"ssl": True, "certfile": str(certificate), "keyfile": str(certificate_key)}
        self._broker: _HookedBroker | None = None
        self._on_message: OnMessage | None = None
        self._sending: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def anonymous(self) -> bool:
        """Whether anybody who reaches the port may connect."""
        return self._users is None

    @property
    def url(self) -> str:
        """Where homes connect."""
        return f"{'mqtts' if 'ssl' in self._listener else 'mqtt'}://{self.host}:{self.port}"

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start, by word."""
        return self._counters

    @property
    def connections(self) -> int:
        """Connections open now."""
        return 0 if self._broker is None else self._broker.open_connections

    async def start(self, on_message: OnMessage) -> None:
        """Listens; with port 0 on a free one, which ``port`` and ``url`` then name. Raises LocalBrokerError."""
        self._on_message = on_message
        config = {"listeners": {"default": self._listener}, "plugins": {}}
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it logs every lost connection as an error; we count
        broker = _HookedBroker(config, self)
        try:
            await broker.start()
        except Exception as error:  # amqtt wraps whatever the socket said
            raise LocalBrokerError(f"cannot listen on {self.host}:{self.port}: {error}") from error
        self._broker = broker
        self.port = int(broker._servers["default"].instance.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes all connections and the port."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._broker is not None:
            broker, self._broker = self._broker, None
            await broker.shutdown()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Sends to the homes that asked for ``topic``, at most once."""
        if self._broker is None:
            return
        for handler in self._broker.receivers(topic):
            if self._sending[id(handler)] >= SLOW_READER_LIMIT:
                self._counters["broker_slow_reader_drops"] += 1
                continue
            self._sending[id(handler)] += 1
            task = asyncio.create_task(self._send(handler, topic, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, handler: BrokerProtocolHandler, topic: str, payload: bytes) -> None:
        try:
            await asyncio.wait_for(handler.mqtt_publish(topic, payload, 0, retain=False), SEND_LIMIT_S)
            self._counters["broker_messages_sent"] += 1
        except Exception:  # a connection that breaks while we write is the home's to repair; it repeats
            self._counters["broker_send_failures"] += 1
        finally:
            self._sending[id(handler)] -= 1
            if not self._sending[id(handler)]:
                del self._sending[id(handler)]

    def hand_up(self, topic: str, payload: bytes) -> None:
        """A message of a home, from the hook."""
        self._counters["broker_messages_received"] += 1
        if self._on_message is not None:
            self._on_message(Incoming(topic, payload))

    def admits(self, username: str | None, password: str | None) -> bool:
        """Whether that name and password may connect."""
        if self._users is None:
            return True
        known = self._users.get(username or "", "0" * 64)
        offered = sha256((password or "").encode()).hexdigest()
        return hmac.compare_digest(known, offered)

    def allows(self, username: str | None, text: str, action: Action) -> bool:
        """Whether the home may publish to, subscribe to or receive that topic: its own, in the right direction."""
        topic = parse_topic(text)
        if topic is None or topic.leaf not in (UPWARD if action == Action.PUBLISH else DOWNWARD):
            return False
        return self._users is None or username == topic.edge


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
