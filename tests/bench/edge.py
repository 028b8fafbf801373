"""The edge agent from outside: what it takes to import and to run, and how fast a command reaches a register.

One agent process with five simulated meters at 1 Hz and a batch a minute, a broker and an operator beside it. Size,
processor time and bytes written are read from the operating system, not from the agent. Then twenty agents with fifty
meters each in one process (`crowd.py`), against a process that plays the meters: how late polls begin.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from statistics import quantiles

import aiomqtt
import psutil

from contracts.codes import SetPointKind
from contracts.envelope import seal
from contracts.interval import interval_start_s
from contracts.messages import SetPoint
from contracts.signature import address_of, signer_of
from contracts.telemetry import TelemetryReading, batch_of, pack_columns
from contracts.topics import Leaf, topic
from edge_agent.config import AgentConfig, MeterConfig, agent_config_from_toml
from edge_agent.effects import Publish
from simulators.live.modbus import MeterServer
from tests.bench.figure import Figure, measured
from tests.edge_agent.conftest import ADA, ADA_KEY, OPERATOR_KEY, Home, Operator, ada_config, start_broker, stop_broker

ROOT = Path(__file__).resolve().parents[2]
METERS = 5
WARM_S = 10
WINDOW_S = 60
COMMANDS = 20
CARD_WARM_S = 120
CARD_S = 3_600
DAY_S = 86_400
CROWD = 1_000
CROWD_S = 20
_BARE = "import resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
_IMPORT = "import edge_agent.shell.foreground; " + _BARE


def figures() -> Iterator[Figure]:
    """Import, wire, card, running, command and crowd figures; some two minutes."""
    bare = min(_cpu_s(_BARE) for _ in range(3))
    yield measured(
        "import of the run path, processor time", min(_cpu_s(_IMPORT) for _ in range(3)) - bare, "s", at_most=0.3
    )
    yield measured("telemetry of one meter at 1 Hz on the wire", _wire_bytes_a_day() / 1e6, "MB/day", at_most=4)
    yield measured("written to the card, five meters, a batch a minute", _card_mb_a_day(), "MB/day", at_most=25)
    yield from asyncio.run(_running())
    yield from _crowd()


def _crowd() -> list[Figure]:
    """A thousand meters a second; samples per second beside it, so that nobody is punctual by leaving polls out."""
    play = [sys.executable, "-m", "tests.bench.crowd"]
    with subprocess.Popen([*play, "serve", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        try:
            port = (serving.stdout.readline() if serving.stdout else "").strip()
            asked = [*play, "poll", port, str(CROWD), str(CROWD_S)]
            done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
        finally:
            serving.terminate()
    found = json.loads(done.stdout)
    what = f"{CROWD:,} meters at 1 Hz in one process"
    return [
        measured(f"{what}: start of a poll late by, 99 of 100", found["p99_ms"], "ms", at_most=20),
        measured(f"{what}: samples", found["samples"] / CROWD_S, "1/s", at_least=0.99 * CROWD),
        measured(f"{what}: processor", 100 * found["cpu_s"] / CROWD_S, "%", at_most=100),
    ]


def _card_mb_a_day() -> float:
    """What the kernel says this process wrote over a virtual hour of five meters at 1 Hz, acknowledged at once."""
    start_ms = interval_start_s(2_000_000) * 1000
    with tempfile.TemporaryDirectory() as place:
        meters = tuple(MeterConfig(n, f"m{n}", "eastron_sdm630", "127.0.0.1", 500 + n) for n in range(METERS))
        home = Home(Path(place), ada_config(Path(place), meters), synchronised_ms=start_ms)
        home.agent.on_link(True, start_ms)
        written = 0
        for second in range(CARD_WARM_S + CARD_S):
            if second == CARD_WARM_S:
                written = psutil.Process().io_counters().write_bytes
            _second_of(home, start_ms, second)
        return (psutil.Process().io_counters().write_bytes - written) * DAY_S / CARD_S / 1e6


def _second_of(home: Home, start_ms: int, second: int) -> None:
    now_ms = start_ms + second * 1000
    effects = [
        effect
        for n in range(METERS)
        for effect in home.sample(
            now_ms, f"m{n}", import_wh=10**6 + second // 2, export_wh=7, power_w=1_800 + second % 90
        )
    ]
    if home.agent.next_deadline_ms() <= now_ms:
        effects += home.agent.on_deadline(now_ms)
    for effect in effects:
        answer = home.operator.answer(effect.topic, effect.payload) if isinstance(effect, Publish) else None
        if answer is not None:
            home.agent.on_message(*answer, now_ms)


def _cpu_s(script: str) -> float:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _noise(row: int, column: int, size: int) -> int:
    """Repeatable digits that do not compress."""
    return int.from_bytes(sha256(bytes((row, column))).digest()[:4], "big") % size


def _wire_bytes_a_day() -> float:
    """A batch of sixty plausible readings, every minute of a day."""
    rows = [
        TelemetryReading(
            n, 1_750_000_000 + n, 0, 10**6 + n // 2, 500, 1_800 + _noise(n, 0, 90), _noise(n, 1, 50),
            230_000 + _noise(n, 2, 900), 50_000 + _noise(n, 3, 40),
        )
        for n in range(60)
    ]  # fmt: skip
    batch = batch_of(ADA, 0, 1, bytes(32), rows)
    domain = ada_config(Path("/nowhere")).chain.domain
    return len(seal(batch, domain, signer_of(ADA_KEY), pack_columns(rows)).pack()) * DAY_S / 60


def _device(number: int, name: str, profile: str, port: int) -> str:
    text = f'[[meter]]\nnumber = {number}\nname = "{name}"\nprofile = "{profile}"'
    return text + f'\nhost = "127.0.0.1"\nport = {port}'


def _write_config(folder: Path, ports: list[int], battery: int, broker: int) -> AgentConfig:
    (folder / "key").write_text(ADA_KEY.hex())
    (folder / "key").chmod(0o600)
    lines = [
        f'[home]\naccount = {ADA}\nfeeder = "f1"\nedge = "ada"',
        f'[chain]\nchain_id = 31337\nsettlement = "0x{"00" * 19}09"\noperator = "0x{address_of(OPERATOR_KEY).hex()}"',
        f'[key]\nfile = "key"\n[store]\npath = "outbox.db"\n[broker]\nport = {broker}\n[clock]\ntrusted = true',
    ]
    for number, port in enumerate(ports):
        lines.append(_device(number, f"m{number}", "eastron_sdm630", port))
    lines.append(_device(90, "store", "sunspec_battery", battery) + '\npoll_s = 60\nrole = "battery"')
    (folder / "agent.toml").write_text("\n".join(lines))
    return agent_config_from_toml(folder / "agent.toml")


async def _running() -> list[Figure]:
    taken: list[float] = []
    began_s = time.time()

    def values() -> dict[str, int]:
        elapsed_s = int(time.time() - began_s)
        counted = {"import_wh": 10**6 + elapsed_s // 2, "export_wh": 7}
        return counted | {"power_w": 1_800 + elapsed_s % 90, "frequency_mhz": 50_000}

    meters = [MeterServer("eastron_sdm630", values) for _ in range(METERS)]
    battery = MeterServer("sunspec_battery", lambda: {"power_w": 0}, lambda *_: taken.append(time.perf_counter()))
    for device in (*meters, battery):
        await device.start()
    broker, port = await start_broker()
    with tempfile.TemporaryDirectory() as place:
        config = _write_config(Path(place), [meter.port for meter in meters], battery.port, port)
        serving = asyncio.create_task(Operator(config).serve(port))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent.cli", "run", "-c", str(Path(place) / "agent.toml"), cwd=ROOT
        )
        found = await _observe(psutil.Process(process.pid), config, port, taken)
        process.terminate()
        await process.wait()
        serving.cancel()
    for device in (*meters, battery):
        await device.stop()
    await stop_broker(broker)
    return found


async def _observe(process: psutil.Process, config: AgentConfig, port: int, taken: list[float]) -> list[Figure]:
    await asyncio.sleep(WARM_S)
    before = process.cpu_times()
    await asyncio.sleep(WINDOW_S)
    after = process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    delays_ms = await _commands(config, port, taken)
    return [
        measured("resident memory, five meters at 1 Hz", process.memory_info().rss / 2**20, "MiB", at_most=40),
        measured("processor, five meters at 1 Hz", 100 * cpu_s / WINDOW_S, "%", at_most=0.5),
        measured("MQTT command to register, 95 of 100", quantiles(delays_ms, n=20)[-1], "ms", at_most=250),
    ]


async def _commands(config: AgentConfig, port: int, taken: list[float]) -> list[float]:
    """Milliseconds from publishing a set-point to the device taking it."""
    delays: list[float] = []
    operator = Operator(config)
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
        for number in range(1, COMMANDS + 1):
            now_s = int(time.time())
            order = SetPoint(ADA, 90, int(SetPointKind.ACTIVE_POWER), 1, number, now_s, now_s + 300, 100 * number)
            frame, known = operator.sign(order), len(taken)
            sent = time.perf_counter()
            await client.publish(topic("f1", "ada", Leaf.SETPOINT), frame)
            while len(taken) == known and time.perf_counter() - sent < 5:
                await asyncio.sleep(0.001)
            delays.append(1000 * (taken[-1] - sent) if len(taken) > known else 5_000.0)
            await asyncio.sleep(0.2)
    return delays
