"""A meter that sends telegrams at Ada's home, on a fast clock, and who listens to it."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from contracts.envelope import Envelope, open_envelope
from contracts.messages import SettlementReading
from contracts.signature import address_of
from edge_agent.config import AgentConfig, BrokerConfig, MeterConfig
from edge_agent.delivery.frame import FrameKind
from edge_agent.effects import Counters, Sample, WriteResult
from edge_agent.shell.clock import ScaledClock, SystemClock
from edge_agent.shell.mqtt_meters import MqttMetersTask
from edge_agent.shell.runtime import Running
from edge_agent.shell.telegrams import TelegramTask
from simulators.live.telegram_devices import TelegramMeter
from tests.edge_agent.conftest import ADA_KEY, eventually

Runner = Callable[[Awaitable[None]], None]
VIRTUAL_S = 1_750_000_000 // 86_400 * 86_400 + 3_600
SPEED = 300.0
PERIOD_S = 0.05
POLL_S = 30
"""Virtual seconds: a tenth of a real one."""


class Meter(TelegramMeter):
    """A home that takes 2.4 kW, on a clock of five minutes a second; remembers the hashes of what it sent."""

    def __init__(self, kind: str, clock: ScaledClock, asked: bool = False) -> None:
        self.hashes: set[bytes] = set()
        self._identification = b""
        self._clock = clock
        super().__init__(kind, self._shown, asked)

    def _shown(self) -> dict[str, int]:
        elapsed_s = self._clock.now_ms() // 1000 - VIRTUAL_S
        return {"import_wh": 10**6 + elapsed_s * 2 // 3, "export_wh": 500, "power_w": 2_400, "voltage_l1_mv": 230_000}

    def telegram(self) -> bytes:
        """Pushed, or the answer of M-Bus."""
        return self._remember(super().telegram())

    def answer(self, chunk: bytes) -> bytes:
        """An identification is an answer too, and no telegram."""
        return self._remember(super().answer(chunk))

    def _remember(self, raw: bytes) -> bytes:
        if raw.startswith(b"/"):
            self._identification = raw
        # A line end behind the last mark is part of no telegram; an identification is part of what follows it.
        for whole in (self._identification + raw, raw, raw[:-1], raw.rstrip(b"\r\n")):
            self.hashes.add(hashlib.sha256(whole).digest())
        return raw


def a_clock() -> ScaledClock:
    """Five minutes a second."""
    return ScaledClock(time.time(), VIRTUAL_S, SPEED)


def on_device(link: Path, telegram: str, poll_s: int = POLL_S, baud: int | None = None) -> MeterConfig:
    """Ada's meter on a serial line."""
    return MeterConfig(
        0, "main", "", "", 0, poll_s=poll_s, link="telegram", device=str(link), baud=baud, telegram=telegram
    )


def on_port(port: int, telegram: str, poll_s: int = POLL_S) -> MeterConfig:
    """Ada's meter behind a serial server."""
    return MeterConfig(0, "main", "", "127.0.0.1", port, poll_s=poll_s, link="telegram", telegram=telegram)


def on_broker(port: int, telegram: str, topic: str, poll_s: int = POLL_S, **more: object) -> MeterConfig:
    """Ada's meter on the home's own broker."""
    return MeterConfig(
        0,
        "main",
        "",
        "127.0.0.1",
        port,
        poll_s=poll_s,
        link="mqtt",
        telegram=telegram,
        topic=topic,
        **more,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def running(config: AgentConfig, clock: ScaledClock) -> AsyncIterator[Running]:
    """Ada's agent while the block runs; no coordinator is there, so its readings stay in the outbox."""
    stop = asyncio.Event()
    agent = Running(config, clock, ADA_KEY)
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)
        assert agent.counters.get("core_failed", 0) == 0 and agent.counters.get("part_restarted", 0) == 0


def readings(agent: Running, config: AgentConfig) -> list[SettlementReading]:
    """The signed settlement readings that wait."""
    found = []
    for frame in agent.outbox.pending(FrameKind.SETTLEMENT, 100, newest=False):
        opened = open_envelope(frame.payload)
        assert isinstance(opened, Envelope) and isinstance(opened.message, SettlementReading)
        assert opened.signature_refusal(config.chain.domain, address_of(ADA_KEY)) is None
        found.append(opened.message)
    return found


async def settles(config: AgentConfig, clock: ScaledClock, number: int = 2) -> list[SettlementReading]:
    """That many signed readings with a telegram's hash, and registers that rise."""
    async with running(config, clock) as agent:
        await eventually(lambda: len([r for r in readings(agent, config) if any(r.evidence_hash)]) >= number, 30)
        made = readings(agent, config)
    registers = [reading.import_wh for reading in made]
    assert registers == sorted(registers) and len(set(registers)) == len(registers)
    return made


class Listener:
    """Takes what a source gives."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.results: list[WriteResult] = []

    @property
    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.values is not None]

    @property
    def faults(self) -> list[str]:
        return [sample.fault for sample in self.samples if sample.fault is not None]


@asynccontextmanager
async def listening(
    meter: MeterConfig, clock: ScaledClock | SystemClock, counters: Counters
) -> AsyncIterator[Listener]:
    """One meter's task while the block runs."""
    heard = Listener()
    parts = (clock, heard.samples.append, heard.results.append, counters)
    source = (
        TelegramTask(meter, *parts)
        if meter.link == "telegram"
        else MqttMetersTask([meter], BrokerConfig(meter.host, meter.port), *parts)
    )
    task = asyncio.create_task(source.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def mosquitto_in(folder: Path) -> Iterator[int]:
    """The port of a mosquitto that lives as long as the block; skips the test where there is none."""
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def listens(port: int) -> bool:
    """Whether somebody does there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
