"""Ada's home with real parts for the campaigns of faults: a meter on a socket, mosquitto, and the agent as a process.

The operator commits every message to a file with fsync before he acknowledges it, as a coordinator does, and `judge`
holds everything he ever got against the truth of the meter.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.codes import Stream
from contracts.interval import interval_start_s
from contracts.messages import GapRecord, SettlementReading, TelemetryBatch
from edge_agent.config import AgentConfig, agent_config_from_toml
from edge_agent.delivery.frame import FrameKind
from edge_agent.delivery.outbox import read_queue
from edge_agent.delivery.store_file import RemoteStoreError
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import ADA, ADA_KEY, Operator, ada_config

ROOT = Path(__file__).resolve().parents[2]
VIRTUAL_S = interval_start_s(2_000_000)
SPEED = 600
LATENCY_S = 90
"""Virtual seconds between the meter's answer and the sample's instant: 150 ms of a busy machine."""
NIGHTLY = os.environ.get("NIGHTLY") == "1"


class Mosquitto:
    """A broker of its own on one port, which can die and come back with or without what it had kept."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if binary is None:
            pytest.skip("mosquitto is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._binary = binary
        self._kept = folder / "broker"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\nautosave_interval 1\n"
            f"persistence_location {self._kept}/\nuser root\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)  # a test that fails leaves no broker behind

    async def start(self) -> None:
        """Listens when this returns."""
        self._kept.mkdir(exist_ok=True)
        self._process = subprocess.Popen([self._binary, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.05)

    def kill(self, wipe: bool = False) -> None:
        """Dies at once; ``wipe`` takes along whatever it had acknowledged."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        if wipe:
            shutil.rmtree(self._kept, ignore_errors=True)


@dataclass
class Ledger(Operator):
    """An operator who commits before he answers. ``hears`` says whether a message reaches him at all."""

    journal: Path = Path(os.devnull)
    hears: Callable[[], bool] = field(default=lambda: True)

    def answer(self, where: str, payload: bytes) -> tuple[str, bytes] | None:
        """The acknowledgement, signed only once the message is on disk."""
        if not self.hears():
            return None
        with self.journal.open("ab") as file:
            file.write(len(payload).to_bytes(4, "big") + payload)
            file.flush()
            os.fsync(file.fileno())
        return super().answer(where, payload)

    @property
    def readings(self) -> list[SettlementReading]:
        """Settlement readings in the order in which they came, repeats too."""
        return [envelope.message for envelope in self.seen if isinstance(envelope.message, SettlementReading)]

    @property
    def gaps(self) -> list[GapRecord]:
        """Gap records in the order in which they came."""
        return [envelope.message for envelope in self.seen if isinstance(envelope.message, GapRecord)]


class RealHome:
    """Meter, broker, operator, and the files of one agent in ``folder``. ``store`` is where database and key lie."""

    def __init__(self, folder: Path, store: Path | None = None, speed: int = SPEED) -> None:
        self.folder, self.store = folder, store or folder
        self.broker = Mosquitto(folder)
        self.meter = MeterServer("eastron_sdm630", self._values)
        self.speed = speed
        self.began_s = time.time()
        self.config: AgentConfig
        self.ledger: Ledger
        self._serving: asyncio.Task[None] | None = None

    def truth_wh(self, at_s: float) -> int:
        """The meter's import register at a virtual second."""
        return 10**6 + int(at_s - VIRTUAL_S) // 2

    def now_s(self) -> float:
        """The virtual time."""
        return VIRTUAL_S + (time.time() - self.began_s) * self.speed

    def _values(self) -> dict[str, int]:
        counted = {"import_wh": self.truth_wh(self.now_s()), "export_wh": 7}
        return counted | {"power_w": 1_800, "frequency_mhz": 50_000}

    async def start(self, clock: str | None = None) -> None:
        """Meter and broker are there, and the agent's file."""
        await self.meter.start()
        await self.broker.start()
        self.began_s = time.time()
        clock = clock or f"speed = {self.speed}\nepoch_wall_s = {self.began_s}\nepoch_virtual_s = {VIRTUAL_S}"
        self.config = write_config(self.folder, self.store, self.meter.port, self.broker.port, clock)
        self.ledger = Ledger(self.config, journal=self.folder / "journal")

    def serve(self) -> None:
        """The operator listens from now on."""
        self._serving = asyncio.create_task(self.ledger.serve(self.broker.port))

    def leave(self) -> None:
        """The operator is gone."""
        if self._serving is not None:
            self._serving.cancel()
            self._serving = None

    async def stop(self) -> None:
        """All is over."""
        self.leave()
        await self.meter.stop()
        self.broker.kill()

    @asynccontextmanager
    async def alive(
        self, environment: Mapping[str, str] | None = None, quick_clock: bool = False
    ) -> AsyncIterator[int]:
        """The agent's process while the block runs, killed at its end; its process id."""
        start = "from edge_agent.shell import foreground, runtime; import sys; "
        start += "runtime.CLOCK_EVERY_S = 0.5; " if quick_clock else ""
        start += "foreground.main(sys.argv[1:])"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", start, str(self.folder / "agent.toml"), str(self.folder / "metrics"), "",
            cwd=ROOT, stderr=(self.folder / "stderr").open("ab"), env={**os.environ, **(environment or {})},
        )  # fmt: skip
        try:
            yield process.pid
            assert process.returncode is None, (self.folder / "stderr").read_text()[-2_000:]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()

    async def live(self, life_s: float) -> None:
        """One life of the agent, ended by SIGKILL."""
        async with self.alive():
            await asyncio.sleep(life_s)

    def left_behind(self) -> set[tuple[int, int]]:
        """Epoch and sequence of the settlement readings that wait on disk."""
        with contextlib.suppress(RemoteStoreError):
            return {(f.epoch, f.first) for f in read_queue(self.config.store) if f.kind == FrameKind.SETTLEMENT}
        return set()


@asynccontextmanager
async def served_home(folder: Path, store: Path | None = None) -> AsyncIterator[RealHome]:
    """A home whose operator listens, while the block runs; no agent lives in it yet."""
    home = RealHome(folder, store)
    await home.start()
    home.serve()
    try:
        yield home
    finally:
        await home.stop()


def write_config(folder: Path, store: Path, meter_port: int, broker_port: int, clock: str) -> AgentConfig:
    """Ada's file; ``clock`` is the content of its table."""
    chain = ada_config(folder).chain
    (store / "key").write_text(ADA_KEY.hex())
    (store / "key").chmod(0o600)
    (folder / "agent.toml").write_text(f"""
[home]
account = {ADA}
feeder = "f1"
edge = "ada"
[chain]
chain_id = {chain.chain_id}
settlement = "0x{chain.settlement.hex()}"
operator = "0x{chain.operator.hex()}"
[key]
file = "{store / "key"}"
[broker]
port = {broker_port}
[store]
path = "{store / "outbox.db"}"
[clock]
{clock}
[bidding]
calendar = "street"
[[meter]]
number = 0
name = "main"
profile = "eastron_sdm630"
host = "127.0.0.1"
port = {meter_port}
poll_s = {20 if "speed" in clock else 1}
""")
    return agent_config_from_toml(folder / "agent.toml")


def judge(home: RealHome, complete: bool = True, once: bool = True) -> None:
    """Nothing signed twice differently, no register that steps back or is not the meter's, no number unexplained.

    ``complete``: the database was never damaged or exchanged, so a number that is said never to come never came, and
    all others did. ``once``: the clock never went back, so every interval has one reading.
    """
    contents: dict[tuple[object, ...], set[bytes]] = defaultdict(set)
    for envelope in home.ledger.seen:
        message = envelope.message
        if isinstance(message, SettlementReading):
            contents["settlement", message.meter, message.epoch, message.sequence].add(envelope.pack())
            if once:
                contents["interval", message.meter, message.interval].add(envelope.pack())
        elif isinstance(message, TelemetryBatch):
            for place in range(message.count):
                contents["telemetry", message.meter, message.epoch, message.first_sequence + place].add(envelope.pack())
    doubled = [identity for identity, found in contents.items() if len(found) > 1]
    assert not doubled, f"signed twice differently: {doubled[:5]}"
    readings = sorted({(r.epoch, r.sequence): r for r in home.ledger.readings}.items())
    assert readings, "no settlement reading came at all"
    for (_, before), (_, after) in pairwise(readings):
        assert after.import_wh >= before.import_wh and after.export_wh >= before.export_wh
        assert not once or after.interval > before.interval, "an interval of before comes after a later one"
    for _, reading in readings:
        assert reading.taken_at_s >= interval_start_s(reading.interval + 1), "a negative interval"
    numbers_are_explained(home.ledger, Stream.SETTLEMENT, exactly=complete)
    numbers_are_explained(home.ledger, Stream.TELEMETRY, exactly=False)


def registers_are_true(home: RealHome) -> None:
    """Every reading carries what the meter showed at its instant: no energy is lost between two readings."""
    for reading in home.ledger.readings:
        lowest = home.truth_wh(reading.taken_at_s - LATENCY_S) - 1
        assert lowest <= reading.import_wh <= home.truth_wh(reading.taken_at_s + LATENCY_S) + 1


def numbers_are_explained(ledger: Ledger, stream: Stream, exactly: bool) -> None:
    """Every number of a stream up to the last that came is a reading or in a gap record; ``exactly``: never both."""
    came: set[int] = set()
    for envelope in ledger.seen:
        message = envelope.message
        if stream == Stream.SETTLEMENT and isinstance(message, SettlementReading):
            came.add(message.sequence)
        elif stream == Stream.TELEMETRY and isinstance(message, TelemetryBatch):
            came.update(range(message.first_sequence, message.first_sequence + message.count))
    said: set[int] = set()
    for gap in ledger.gaps:
        if gap.stream == stream:
            said.update(range(gap.first_sequence, gap.last_sequence + 1))
    unexplained = set(range(max(came, default=0))) - came - said
    assert not unexplained, f"{stream.name.lower()}: nobody knows of {sorted(unexplained)[:8]}"
    assert not exactly or not came & said, (
        f"{stream.name.lower()}: said to be lost, but came: {sorted(came & said)[:8]}"
    )
