"""Killed at any moment, the agent loses no settlement reading and signs none twice differently."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from contracts.interval import interval_start_s
from contracts.messages import SettlementReading, TelemetryBatch
from edge_agent.config import AgentConfig, agent_config_from_toml
from edge_agent.effects import Counters
from edge_agent.frame import FrameKind
from edge_agent.outbox import Outbox
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import Operator, ada_config, start_broker, stop_broker

VIRTUAL_S = interval_start_s(2_000_000)
SPEED = 600
KILLS = 10
SEED = 20_240_611
ROOT = Path(__file__).resolve().parents[2]


def write_config(folder: Path, meter_port: int, broker_port: int, began_s: float) -> AgentConfig:
    """Ada's file, with ten minutes a second."""
    operator = "0x" + ada_config(folder).chain.operator.hex()
    (folder / "key").write_text("00" * 31 + "01")
    (folder / "key").chmod(0o600)
    (folder / "agent.toml").write_text(f"""
[home]
account = 7
feeder = "f1"
edge = "ada"
[chain]
chain_id = 31337
settlement = "0x0000000000000000000000000000000000000009"
operator = "{operator}"
[key]
file = "key"
[broker]
port = {broker_port}
[store]
path = "outbox.db"
[clock]
speed = {SPEED}
epoch_wall_s = {began_s}
epoch_virtual_s = {VIRTUAL_S}
[bidding]
calendar = "street"
[[meter]]
number = 0
name = "main"
profile = "eastron_sdm630"
host = "127.0.0.1"
port = {meter_port}
poll_s = 20
""")
    return agent_config_from_toml(folder / "agent.toml")


async def live_and_die(folder: Path, life_s: float) -> None:
    """One life of the agent, ended by SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge_agent.cli", "run", "-c", str(folder / "agent.toml"),
        cwd=ROOT, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await asyncio.sleep(life_s)
    assert process.returncode is None, "it ended by itself"
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_and_never_contradicts_itself(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def story() -> None:
        chance, began_s = random.Random(SEED), time.time()

        def values() -> dict[str, int]:
            elapsed_s = int((time.time() - began_s) * SPEED)
            return {"import_wh": 10**6 + elapsed_s // 2, "export_wh": 7, "power_w": 1_800, "frequency_mhz": 50_000}

        meter = MeterServer("eastron_sdm630", values)
        await meter.start()
        broker, port = await start_broker()
        config = write_config(tmp_path, meter.port, port, began_s)
        operator = Operator(config)
        lives = [*(chance.uniform(0.7, 3.2) for _ in range(KILLS - 1)), 4.0]
        deaf = asyncio.Event()
        serving = asyncio.create_task(
            operator.serve(port, reachable=lambda: not deaf.is_set() and chance.random() < 0.5)
        )
        for place, life_s in enumerate(lives):
            if place == KILLS - 1:
                deaf.set()  # so that the last life leaves something behind
            await live_and_die(tmp_path, life_s)
        # What the last life left behind, before anything is sent again.
        outbox = Outbox(config.store, Counters())
        left = {(frame.epoch, frame.first) for frame in outbox.pending(FrameKind.SETTLEMENT, 1_000, newest=False)}
        outbox.close()
        serving.cancel()
        serving = asyncio.create_task(operator.serve(port))
        await live_and_die(tmp_path, 6.0)
        serving.cancel()
        judge(operator, left)
        await meter.stop()
        await stop_broker(broker)

    run(story())


def judge(operator: Operator, left: set[tuple[int, int]]) -> None:
    """Every identity and interval has one content; within an epoch no sequence is missing."""
    by_identity: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    by_interval: dict[int, set[bytes]] = defaultdict(set)
    telemetry: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    for envelope in operator.seen:
        message = envelope.message
        if isinstance(message, SettlementReading):
            by_identity[message.epoch, message.sequence].add(envelope.pack())
            by_interval[message.interval].add(envelope.pack())
        elif isinstance(message, TelemetryBatch):
            for place in range(message.count):
                telemetry[message.epoch, message.first_sequence + place].add(envelope.pack())
    assert len(by_identity) >= KILLS and left and left <= set(by_identity)
    assert all(len(contents) == 1 for contents in (*by_identity.values(), *by_interval.values(), *telemetry.values()))
    epochs: dict[int, list[int]] = defaultdict(list)
    for epoch, sequence in by_identity:
        epochs[epoch].append(sequence)
    for sequences in epochs.values():
        assert sorted(sequences) == list(range(min(sequences), max(sequences) + 1))
    readings = {m.interval: m for m in operator.messages(SettlementReading)}  # type: ignore[attr-defined]
    registers = [readings[interval].import_wh for interval in sorted(readings)]  # type: ignore[attr-defined]
    assert registers == sorted(registers)
