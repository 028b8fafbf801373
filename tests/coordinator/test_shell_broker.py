"""Both brokers with real clients: what homes send comes up, what is for them goes down, and nobody else hears it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import aiomqtt
import pytest

from contracts.codes import Side
from contracts.envelope import Envelope, open_envelope
from contracts.interval import interval_of
from contracts.messages import Acknowledgement, Receipt
from contracts.topics import Leaf, downlink_filter, topic
from coordinator.shell.broker import PACKET_LIMIT_BYTES, EmbeddedBroker, LocalBrokerError
from coordinator.shell.external_broker import ExternalBroker, LocalBrokerUrlError
from coordinator.shell.ingest_port import Incoming
from tests.coordinator.running import bid_of, incoming, reading_of, running
from tests.coordinator.street import START_S, edge_of

EARLIER = interval_of(START_S) - 1
BID = topic("street", "home-1", Leaf.BID)
RECEIPT = topic("street", "home-1", Leaf.RECEIPT)


@asynccontextmanager
async def listening(broker: EmbeddedBroker) -> AsyncIterator[list[Incoming]]:
    heard: list[Incoming] = []
    await broker.start(heard.append)
    try:
        yield heard
    finally:
        await broker.stop()


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.01)


def home(broker: EmbeddedBroker, name: str, **how: object) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", broker.port, identifier=name, **how)  # type: ignore[arg-type]


async def refused(client: aiomqtt.Client, text: str) -> bool:
    """Whether the broker refuses the subscription."""
    codes = await client.subscribe(text)
    return any(getattr(code, "value", code) >= 0x80 for code in codes)


def test_a_home_hears_its_receipts_and_nobody_else_hears_its_bids() -> None:
    async def scenario() -> None:
        broker = EmbeddedBroker(port=0)
        async with listening(broker) as heard, home(broker, "one") as one, home(broker, "two") as two:
            for text in downlink_filter("street", "home-1"):
                await one.subscribe(text)
            assert await refused(two, BID) and not await refused(two, RECEIPT)
            await two.unsubscribe(RECEIPT)
            await one.publish(BID, b"a bid", qos=1)
            await until(lambda: len(heard) == 1)
            assert (heard[0].topic, heard[0].payload) == (BID, b"a bid")
            await broker.publish(RECEIPT, b"a receipt")
            await broker.publish(topic("street", "home-2", Leaf.RECEIPT), b"another's")
            await broker.publish(topic("street", "home-1", Leaf.ACK), b"an ack")
            arrived = []
            async with asyncio.timeout(5):
                async for message in one.messages:
                    arrived.append((str(message.topic), message.payload))
                    if len(arrived) == 2:
                        break
            assert arrived == [(RECEIPT, b"a receipt"), (topic("street", "home-1", Leaf.ACK), b"an ack")]
            await one.publish(RECEIPT, b"forged downlink", qos=1)
            await one.publish("other/topic", b"not ours", qos=1)
            await one.publish(BID, b"still here", qos=1)
            await until(lambda: len(heard) == 2)
            assert heard[1].payload == b"still here"

    asyncio.run(scenario())


def test_a_home_that_breaks_off_is_reported_by_its_last_will() -> None:
    state = topic("street", "home-1", Leaf.STATE)

    async def scenario() -> None:
        broker = EmbeddedBroker(port=0)
        async with listening(broker) as heard:
            body = connect_packet("one", will=(state, b'{"online": false}'))
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(body)
            assert (await reader.readexactly(4))[3] == 0
            writer.transport.abort()
            await until(lambda: len(heard) == 1)
            assert (heard[0].topic, heard[0].payload) == (state, b'{"online": false}')

    asyncio.run(scenario())


def connect_packet(name: str, will: tuple[str, bytes] | None = None) -> bytes:
    """An MQTT 3.1.1 CONNECT."""

    def text(value: bytes) -> bytes:
        return struct.pack(">H", len(value)) + value

    flags = 2 | (4 if will else 0)
    body = text(b"MQTT") + bytes((4, flags)) + struct.pack(">H", 30) + text(name.encode())
    if will:
        body += text(will[0].encode()) + text(will[1])
    return bytes((0x10, len(body))) + body


def test_beyond_the_limit_the_next_home_is_refused_with_the_reason_and_served_when_one_leaves() -> None:
    async def scenario() -> None:
        broker = EmbeddedBroker(port=0, agent_limit=2)
        async with listening(broker):
            connections = []
            for number in range(2):
                connections.append(await asyncio.open_connection("127.0.0.1", broker.port))
                connections[-1][1].write(connect_packet(f"home-{number}"))
                assert await connections[-1][0].readexactly(4) == bytes((0x20, 2, 0, 0))
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(connect_packet("one-too-many"))
            assert await reader.read() == bytes((0x20, 2, 0, 3))
            assert broker.counters["broker_connections_refused"] == 1
            connections[0][1].close()
            await until(lambda: broker.connections == 1)
            async with home(broker, "next"):
                assert broker.connections == 2
            for _, writer in connections:
                writer.close()

    asyncio.run(scenario())


def test_noise_and_giant_packets_end_only_their_own_connection() -> None:
    async def scenario() -> None:
        broker = EmbeddedBroker(port=0)
        async with listening(broker) as heard, home(broker, "good") as good:
            for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(200), b"\x10\xff\xff\xff\x7f" + bytes(50), b"\xf0\x00"):
                _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
                writer.write(noise)
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(connect_packet("giant"))
            await reader.readexactly(4)
            size = PACKET_LIMIT_BYTES + 100
            length = bytes(((size & 0x7F) | 0x80, (size >> 7 & 0x7F) | 0x80, size >> 14))
            writer.write(b"\x32" + length + bytes(70_000))
            assert await asyncio.wait_for(reader.read(), 5) == b""
            await good.publish(BID, b"still served", qos=1)
            await until(lambda: len(heard) == 1)

    asyncio.run(scenario())


def test_with_a_password_file_a_home_uses_only_its_own_name(tmp_path: Path) -> None:
    users = tmp_path / "passwords"
    users.write_text(f"# homes\nhome-1:{sha256(b'token one').hexdigest()}\n")

    async def scenario() -> None:
        broker = EmbeddedBroker(port=0, password_file=users)
        async with listening(broker) as heard:
            for name, password in (("home-1", "wrong"), ("home-2", "token one"), (None, None)):
                with pytest.raises(aiomqtt.MqttError):
                    async with home(broker, "x", username=name, password=password):
                        pass
            async with home(broker, "one", username="home-1", password="token one") as one:
                assert await refused(one, topic("street", "home-2", Leaf.RECEIPT))
                assert await refused(one, "grid/v1/street/+/receipt")
                await one.publish(topic("street", "home-2", Leaf.BID), b"in another's name", qos=1)
                await one.publish(BID, b"in its own", qos=1)
                await until(lambda: len(heard) == 1)
            assert heard[0].payload == b"in its own"
            assert broker.counters["broker_logins_refused"] == 3

    asyncio.run(scenario())


def test_configurations_that_cannot_be_safe_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(LocalBrokerError, match="anonymous"):
        EmbeddedBroker("0.0.0.0")
    (tmp_path / "bad").write_text("home-1:plain password\n")
    with pytest.raises(LocalBrokerError, match="bad:1"):
        EmbeddedBroker(password_file=tmp_path / "bad")
    with pytest.raises(LocalBrokerError, match="missing"):
        EmbeddedBroker(password_file=tmp_path / "missing")
    for url in ("http://x", "mqtt://", "x", "mqtt://host/path"):
        with pytest.raises(LocalBrokerUrlError):
            ExternalBroker(url, "street")

    async def taken() -> None:
        first = EmbeddedBroker(port=0)
        async with listening(first):
            with pytest.raises(LocalBrokerError, match="cannot listen"):
                await EmbeddedBroker(port=first.port).start(lambda _: None)

    asyncio.run(taken())


async def bid_to_receipt_s(folder: Path, bids: int) -> list[float]:
    """Seconds from a bid's publishing to its receipt at the home, one after the other; checks every receipt."""
    broker = EmbeddedBroker(port=0)
    took = []
    async with running(folder, broker=broker), home(broker, "one") as one:
        await one.subscribe(RECEIPT)
        for version in range(1, bids + 1):
            message = incoming(bid_of(1, Side.BUY, 500, 200_000, version), 1, Leaf.BID)
            began = time.perf_counter()
            await one.publish(message.topic, message.payload, qos=1)
            async with asyncio.timeout(5):
                answer = await anext(aiter(one.messages))
            took.append(time.perf_counter() - began)
            envelope = open_envelope(bytes(answer.payload))  # type: ignore[arg-type]
            assert isinstance(envelope, Envelope) and isinstance(envelope.message, Receipt)
            assert envelope.message.version == version
    return took


def test_every_bid_over_the_embedded_broker_gets_its_own_receipt(tmp_path: Path) -> None:
    assert len(asyncio.run(bid_to_receipt_s(tmp_path, 30))) == 30


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts mosquitto on one free port, again and again, with its queue on disk; ``port`` is in the folder."""
    binary = shutil.which("mosquitto")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {tmp_path}/\n"
        "autosave_interval 1\nuser root\n"
    )
    (tmp_path / "port").write_text(str(port))
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([str(binary), "-c", str(configuration)], stderr=subprocess.DEVNULL)
        processes.append(process)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            time.sleep(0.02)
        raise AssertionError("mosquitto does not listen")

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.real("mosquitto")
def test_what_was_not_committed_comes_again_from_an_external_broker(
    tmp_path: Path, mosquitto: Callable[[], subprocess.Popen[bytes]]
) -> None:
    mosquitto()
    url = f"mqtt://127.0.0.1:{(tmp_path / 'port').read_text()}"

    async def scenario() -> None:
        unkept: list[Incoming] = []
        first = ExternalBroker(url, "street")
        await first.start(unkept.append)
        await until(lambda: first.connected)
        await asyncio.sleep(0.2)
        async with aiomqtt.Client("127.0.0.1", int(url.rsplit(":", 1)[1]), identifier="one") as one:
            for interval in range(EARLIER - 10, EARLIER):
                message = incoming(reading_of(1, interval, interval), 1, Leaf.SETTLEMENT, 0)
                await one.publish(message.topic, message.payload, qos=1)
            await until(lambda: len(unkept) == 10)
            await first.stop()  # taken in, never acknowledged: as after a crash before the commit
            await one.subscribe(topic("street", edge_of(1), Leaf.ACK))
            async with running(tmp_path):
                pass  # the homes are enrolled, as they were before the crash
            async with running(tmp_path, broker=ExternalBroker(url, "street"), enrol=False):
                kept = set()
                async with asyncio.timeout(20):
                    async for answer in one.messages:
                        envelope = open_envelope(bytes(answer.payload))  # type: ignore[arg-type]
                        assert isinstance(envelope, Envelope) and isinstance(envelope.message, Acknowledgement)
                        kept.add(envelope.message.first_sequence)
                        if len(kept) == 10:
                            break
        assert kept == set(range(EARLIER - 10, EARLIER))

    asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
def test_an_external_broker_that_dies_and_comes_back_is_found_again(
    tmp_path: Path, mosquitto: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = mosquitto()
    url = f"mqtt://127.0.0.1:{(tmp_path / 'port').read_text()}"

    async def scenario() -> int:
        broker = ExternalBroker(url, "street")
        async with running(tmp_path, broker=broker) as street:
            await until(lambda: broker.connected)
            process.kill()
            process.wait()
            await until(lambda: not broker.connected)
            await broker.publish(RECEIPT, b"lost, and said so")
            await asyncio.to_thread(mosquitto)
            await until(lambda: broker.connected)
            await asyncio.sleep(0.2)
            async with aiomqtt.Client("127.0.0.1", int(url.rsplit(":", 1)[1])) as one:
                message = incoming(reading_of(1, EARLIER, 5), 1, Leaf.SETTLEMENT, 0)
                await one.publish(message.topic, message.payload, qos=1)
            await street.until(lambda: street.runtime.core.counters["accepted"] == 1)
            return broker.counters["broker_send_failures"]

    assert asyncio.run(scenario()) >= 1
