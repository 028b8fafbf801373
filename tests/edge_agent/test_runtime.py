"""The whole agent on real parts: a simulated meter on a socket, a real broker, an operator behind it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest
from amqtt.broker import Broker as Amqtt

from contracts.codes import SetPointOutcome
from contracts.messages import Bid, SetPoint, SetPointReport, SettlementReading, TelemetryBatch
from contracts.topics import Leaf, topic
from edge_agent.config import AgentConfig, BrokerConfig, MeterConfig
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.runtime import Running
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import ADA, ADA_KEY, Operator, ada_config, eventually, start_broker, stop_broker
from tests.edge_agent.telegram_home import running

Runner = Callable[[Awaitable[None]], None]
VIRTUAL_S = 1_750_000_000 // 86_400 * 86_400 + 3_600
SPEED = 300.0


class Street:
    """Ada's meter and battery, a clock of five minutes a second, and counts of energy that follow it."""

    def __init__(self, folder: Path, port: int, speed: float = SPEED) -> None:
        self.clock = ScaledClock(time.time(), VIRTUAL_S, speed)
        self.taken: list[tuple[str, int]] = []
        self.meter = MeterServer("eastron_sdm630", self._meter)
        self.battery = MeterServer(
            "sunspec_battery", self._battery, lambda name, watts: self.taken.append((name, watts))
        )
        self._folder, self._port = folder, port
        self.config: AgentConfig

    def _meter(self) -> dict[str, int]:
        elapsed_s = self.clock.now_ms() // 1000 - VIRTUAL_S
        return {"import_wh": 10**6 + elapsed_s * 2 // 3, "export_wh": 500, "power_w": 2_400, "frequency_mhz": 50_000}

    def _battery(self) -> dict[str, int]:
        return {"power_w": self.taken[-1][1] if self.taken else 0, "max_power_w": 5_000, "soc_permille": 500}

    async def start(self) -> AgentConfig:
        """Both devices listen; Ada's configuration for them."""
        await self.meter.start()
        await self.battery.start()
        meters = (
            MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", self.meter.port, 1, 30),
            MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", self.battery.port, 1, 30, "battery"),
        )
        return ada_config(self._folder, meters, BrokerConfig("127.0.0.1", self._port))

    async def stop(self) -> None:
        """Both devices are gone."""
        await self.meter.stop()
        await self.battery.stop()


async def day_at_the_broker(folder: Path, port: int) -> None:
    """Readings, telemetry, bids and a set-point make their way through a broker at ``port``."""
    street = Street(folder, port)
    config = await street.start()
    operator = Operator(config)
    serving = asyncio.create_task(operator.serve(port))
    async with running(config, street.clock) as agent:
        await eventually(lambda: len(operator.messages(SettlementReading)) >= 3 and operator.messages(Bid), 30)
        await eventually(lambda: agent.outbox.stat()["pending_settlement"] == 0)
        assert operator.messages(TelemetryBatch)
        now_s = street.clock.now_ms() // 1000
        order = SetPoint(ADA, 3, 0, 1, 1, now_s, now_s + 100_000, 1_200)
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
            await client.publish(topic("f1", "ada", Leaf.SETPOINT), operator.sign(order))
            await eventually(lambda: operator.messages(SetPointReport))
            await client.subscribe(topic("f1", "ada", Leaf.STATE))
            async for message in client.messages:  # amqtt also delivers retained messages of other topics
                if str(message.topic).endswith("/state"):
                    break
            assert message.retain and b'"online": true' in message.payload
        report = operator.messages(SetPointReport)[0]
        assert isinstance(report, SetPointReport) and report.outcome == SetPointOutcome.APPLIED
        assert street.taken == [("power_setpoint_w", 1_200)]
    serving.cancel()
    readings = {message.interval: message for message in operator.messages(SettlementReading)}  # type: ignore[attr-defined]
    registers = [readings[interval].import_wh for interval in sorted(readings)]  # type: ignore[attr-defined]
    assert registers == sorted(registers)
    await street.stop()


def test_a_day_through_the_embedded_broker(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        broker, port = await start_broker()
        await day_at_the_broker(tmp_path, port)
        await stop_broker(broker)

    run(story())


@pytest.mark.real("mosquitto")
def test_a_day_through_mosquitto(run: Runner, tmp_path: Path) -> None:
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([binary, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL)

    async def story() -> None:
        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        while not await listens():
            await asyncio.sleep(0.05)
        await day_at_the_broker(tmp_path, port)

    try:
        run(story())
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
def test_the_broker_goes_away_and_everything_arrives_afterwards(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        first, port = await start_broker()
        street = Street(tmp_path, port)
        config = await street.start()
        operator = Operator(config)
        serving = asyncio.create_task(operator.serve(port))
        async with running(config, street.clock) as agent:
            await eventually(lambda: len(operator.messages(SettlementReading)) >= 1, 20)
            await stop_broker(first)
            serving.cancel()
            await eventually(lambda: agent.outbox.stat()["pending_settlement"] >= 2, 30)
            assert agent.agent.metrics()["link"] == 0
            second: Amqtt
            second, _ = await start_broker(port)
            serving = asyncio.create_task(operator.serve(port))
            await eventually(lambda: agent.outbox.stat()["pending_settlement"] == 0, 60)
        serving.cancel()
        intervals = sorted({m.interval for m in operator.messages(SettlementReading)})  # type: ignore[attr-defined]
        assert intervals == list(range(intervals[0], intervals[-1] + 1))
        await street.stop()
        await stop_broker(second)

    run(story())


def test_the_last_will_says_that_the_agent_is_gone(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        broker, port = await start_broker()
        street = Street(tmp_path, port)
        config = await street.start()
        states: list[bytes] = []

        async def watch() -> None:
            async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
                await client.subscribe(topic("f1", "ada", Leaf.STATE), qos=1)
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    states.append(message.payload)

        watching = asyncio.create_task(watch())
        agent = Running(config, street.clock, ADA_KEY)
        task = asyncio.create_task(agent.run(asyncio.Event()))
        await eventually(lambda: any(b"true" in state for state in states))
        broker_task = agent._broker
        session = next(s for s, _ in broker._sessions.values() if s.client_id == "f1-ada")
        _, handler = broker._sessions[session.client_id]
        assert broker_task is not None
        handler.writer._writer.transport.abort()
        await eventually(lambda: any(b"false" in state for state in states))
        task.cancel()
        watching.cancel()
        await asyncio.gather(task, watching, return_exceptions=True)
        await street.stop()
        await stop_broker(broker)

    run(story())


def accounts(operator: Operator) -> set[int]:
    """Whose settlement readings came."""
    return {m.account for m in operator.messages(SettlementReading) if isinstance(m, SettlementReading)}


def test_twelve_agents_share_one_process(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        broker, port = await start_broker()
        street = Street(tmp_path, port)
        shared = await street.start()
        operator = Operator(shared)
        serving = asyncio.create_task(operator.serve(port))
        stop = asyncio.Event()
        agents = []
        for number in range(12):
            folder = tmp_path / f"home{number}"
            folder.mkdir()
            config = ada_config(folder, shared.meters[:1], shared.broker)
            home = type(config.home)(ADA + number, "f1", f"home{number}")
            agents.append(Running(replace(config, home=home), street.clock, ADA_KEY))
        tasks = [asyncio.create_task(agent.run(stop)) for agent in agents]
        await eventually(lambda: len(accounts(operator)) == 12, 40)
        stop.set()
        await asyncio.gather(*tasks)
        assert all(agent.counters.get("core_failed", 0) == 0 for agent in agents)
        serving.cancel()
        await street.stop()
        await stop_broker(broker)

    run(story())
