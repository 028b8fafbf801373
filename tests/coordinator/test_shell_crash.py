"""A coordinator that is killed again and again: whatever it acknowledged is in its store, and a replay agrees."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import aiomqtt
import pytest

from contracts.eip712 import Domain
from contracts.envelope import Envelope, open_envelope, seal
from contracts.interval import INTERVAL_S
from contracts.messages import Acknowledgement, SettlementReading
from contracts.signature import address_of, signer_of
from contracts.topics import Leaf, topic
from coordinator.chain_events import AccountOpened
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.shell.operator_config import write_key
from coordinator.store.store import Store
from tests.coordinator.street import key_of

NOWHERE = Domain(0, bytes(20))
KILLS = 4
OPERATOR_KEY = bytes([3]) * 32


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """``coordinator run`` as a process of its own, without a chain."""
    return subprocess.Popen(
        [sys.executable, "-c", "from coordinator.cli import main; main()", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def listening_ports(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Ports of web and broker, from what it says at the start."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("web "):
            web, broker = line.split(", broker ")
            return int(web.rsplit(":", 1)[1]), int(broker.rsplit(":", 1)[1])
    raise AssertionError("the coordinator did not start")


def prepared(folder: Path) -> None:
    """A store with one home in it, and the operator's key."""
    write_key(folder / "operator.key", OPERATOR_KEY)
    store = Store(folder / "coordinator.db")
    market = MarketConfig("street", NOWHERE, address_of(OPERATOR_KEY))
    core = Coordinator(market, store, signer_of(OPERATOR_KEY))
    address = address_of(key_of(1))
    now_ms = int(time.time() * 1000)
    core.on_chain_event(AccountOpened(0, bytes(20), bytes(20)), now_ms)
    core.on_chain_event(AccountOpened(1, address, address), now_ms)
    assert core.enrol(1, "home-1", now_ms)
    store.commit()
    store.close()


async def stream_until_killed(port: int, process: subprocess.Popen[str], first: int, acked: set[int], seed: int) -> int:
    """Publishes readings, collects acknowledgements, and kills at a random moment; the last number."""
    sign = signer_of(key_of(1))
    newest = int(time.time()) // INTERVAL_S - 1
    number = first
    kill_at = time.monotonic() + random.Random(seed).uniform(0.3, 1.0)

    async def listen(client: aiomqtt.Client) -> None:
        async for answer in client.messages:
            envelope = open_envelope(bytes(answer.payload))  # type: ignore[arg-type]
            if isinstance(envelope, Envelope) and isinstance(envelope.message, Acknowledgement):
                acked.update(range(envelope.message.first_sequence, envelope.message.last_sequence + 1))

    try:
        async with aiomqtt.Client("127.0.0.1", port, identifier=f"home-{seed}") as client:
            await client.subscribe(topic("street", "home-1", Leaf.ACK))
            listener = asyncio.create_task(listen(client))
            while time.monotonic() < kill_at:
                number += 1
                interval = newest - 8_000 + number
                reading = SettlementReading(
                    1, 0, 1, number, interval, (interval + 1) * INTERVAL_S, number, 0, 0, 2, bytes(32), bytes(32)
                )
                frame = seal(reading, NOWHERE, sign).pack()
                await client.publish(topic("street", "home-1", Leaf.SETTLEMENT, 0), frame, qos=1)
            process.send_signal(signal.SIGKILL)
            await asyncio.wait([listener], timeout=2)
            listener.cancel()
    except aiomqtt.MqttError:
        pass
    return number


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_coordinator_is_killed_in_full_flight(tmp_path: Path) -> None:
    prepared(tmp_path)
    acked: set[int] = set()
    number = 0
    for seed in range(KILLS):
        process = start(tmp_path, "run", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        try:
            _, broker_port = listening_ports(process)
            number = asyncio.run(stream_until_killed(broker_port, process, number, acked, seed))
        finally:
            process.kill()
            process.wait()
    connection = sqlite3.connect(tmp_path / "coordinator.db")
    kept = {row[0] for row in connection.execute("SELECT sequence FROM settlement_readings")}
    connection.close()
    assert len(acked) > 100
    assert acked - kept == set()
    replayed = start(tmp_path, "replay")
    assert replayed.wait(60) == 0


def test_a_coordinator_that_is_asked_to_stop_ends_well_and_a_second_one_on_its_store_does_not_start(
    tmp_path: Path,
) -> None:
    prepared(tmp_path)
    process = start(tmp_path, "run", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    try:
        web_port, _ = listening_ports(process)
        second = start(tmp_path, "run", "--http", f"127.0.0.1:{web_port}", "--mqtt", "127.0.0.1:0")
        assert second.wait(30) == 69
        status = start(tmp_path, "status", "--http", f"http://127.0.0.1:{web_port}")
        assert status.wait(30) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
