"""Silence ends in the inverter's own fall-back, within the stated bound: agent killed, link lost, order over.

A real agent process, a real broker, and an inverter on a real socket that honours its RvrtTms.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import pytest

from contracts.codes import SetPointKind, SetPointOutcome
from contracts.messages import SetPoint, SetPointReport
from contracts.topics import Leaf, topic
from device_profiles.profile import load_profile
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import ADA, Operator, ada_config, eventually, start_broker, stop_broker

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "device_profiles" / "inverters" / "sunspec_103.toml"
FREE = 1_000
"""The inverter's fall-back: no limit, in permille."""
MARGIN_S = 1.5
"""Whole seconds of the watchdog's register, and this machine's mood."""


@dataclass
class Inverter:
    """What the inverter was made to hold, and when."""

    taken: list[tuple[float, int]] = field(default_factory=list)

    def values(self) -> dict[str, int]:
        """A roof at noon."""
        return {"power_w": -6_000, "max_power_w": 10_000, "rated_power_w": 10_000, "frequency_mhz": 50_000}

    def on_write(self, _: str, value: int) -> None:
        """A limit begins, or ends with the fall-back."""
        self.taken.append((time.time(), value))

    @property
    def holds(self) -> int:
        """The limit now."""
        return self.taken[-1][1] if self.taken else FREE


def profile_with_watchdog(folder: Path, seconds: int) -> str:
    """The shipped profile of an inverter whose own timer is at most so long."""
    text = PROFILE.read_text(encoding="utf-8")
    assert "seconds = 60" in text
    (folder / "sunspec_103.toml").write_text(text.replace("seconds = 60", f"seconds = {seconds}"), encoding="utf-8")
    return str(folder / "sunspec_103.toml")


def write_config(folder: Path, profile: str, inverter_port: int, broker_port: int) -> None:
    """Ada's file: an inverter, and a clock that is right."""
    operator = "0x" + ada_config(folder).chain.operator.hex()
    (folder / "key").write_text("00" * 31 + "01")
    (folder / "key").chmod(0o600)
    (folder / "agent.toml").write_text(f"""
[home]
account = {ADA}
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
trusted = true
[[meter]]
number = 4
name = "roof"
role = "inverter"
profile = "{profile}"
host = "127.0.0.1"
port = {inverter_port}
""")


@contextlib.asynccontextmanager
async def some_broker(kind: str, folder: Path) -> AsyncIterator[int]:
    """A broker of that kind; the port it listens on."""
    if kind == "embedded":
        broker, port = await start_broker()
        try:
            yield port
        finally:
            await stop_broker(broker)
        return
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = await asyncio.create_subprocess_exec(
        binary, "-c", str(folder / "mosquitto.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    for _ in range(100):
        with contextlib.suppress(OSError):
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            break
        await asyncio.sleep(0.05)
    try:
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def command(operator: Operator, port: int, inverter: Inverter, valid_s: int) -> SetPoint:
    """A quarter of the inverter's power, said again with a new sequence until it is held; the order that was."""
    where, orders = topic("f1", "ada", Leaf.SETPOINT), list[SetPoint]()
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
        for sequence in range(1, 60):
            now_s = int(time.time())
            kind = int(SetPointKind.EXPORT_LIMIT)
            orders.append(SetPoint(ADA, 4, kind, 1, sequence, now_s, now_s + valid_s, 2_500))
            await client.publish(where, operator.sign(orders[-1]), qos=0)
            with contextlib.suppress(AssertionError):
                await eventually(lambda: inverter.holds == 250, 0.5)
                break
    assert inverter.holds == 250, "the agent never obeyed"
    return orders[-1]


async def fallen_back(inverter: Inverter, within_s: float) -> float:
    """When the inverter was its own again."""
    await eventually(lambda: inverter.holds == FREE, within_s)
    return inverter.taken[-1][0]


@pytest.fixture
def stage(tmp_path: Path) -> Callable[[str, int], contextlib.AbstractAsyncContextManager[Stage]]:
    """Inverter, broker, operator and the agent's process."""

    @contextlib.asynccontextmanager
    async def raised(kind: str, watchdog_s: int) -> AsyncIterator[Stage]:
        inverter = Inverter()
        profile = profile_with_watchdog(tmp_path, watchdog_s)
        server = MeterServer(load_profile(profile), inverter.values, inverter.on_write)
        await server.start()
        async with contextlib.AsyncExitStack() as brokers:
            port = await brokers.enter_async_context(some_broker(kind, tmp_path))
            write_config(tmp_path, profile, server.port, port)
            operator = Operator(ada_config(tmp_path))
            serving = asyncio.create_task(operator.serve(port))
            agent = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edge_agent.cli", "run", "-c", str(tmp_path / "agent.toml"),
                cwd=ROOT, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                yield Stage(inverter, operator, port, agent, serving, brokers)
            finally:
                serving.cancel()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(agent.pid, signal.SIGKILL)
                await agent.wait()
        await server.stop()

    return raised


@dataclass
class Stage:
    """One home and its operator."""

    inverter: Inverter
    operator: Operator
    port: int
    agent: asyncio.subprocess.Process
    serving: asyncio.Task[None]
    brokers: contextlib.AsyncExitStack

    def outcomes(self) -> list[SetPointOutcome]:
        """What the home has said of its orders."""
        reports = self.operator.messages(SetPointReport)
        return [SetPointOutcome(report.outcome) for report in reports if isinstance(report, SetPointReport)]


Raised = Callable[[str, int], contextlib.AbstractAsyncContextManager[Stage]]
Run = Callable[[Awaitable[None]], None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "watchdog_s", "valid_s"),
    [("embedded", 60, 6), ("embedded", 4, 600), pytest.param("mosquitto", 4, 600, marks=pytest.mark.real("mosquitto"))],
)
def test_a_killed_agent_leaves_the_inverter_to_itself_within_watchdog_or_remaining_time(
    run: Run, stage: Raised, kind: str, watchdog_s: int, valid_s: int
) -> None:
    async def story() -> None:
        async with stage(kind, watchdog_s) as home:
            order = await command(home.operator, home.port, home.inverter, valid_s)
            await asyncio.sleep(min(watchdog_s, valid_s) * 0.8)  # so that the watchdog was rewritten at half time
            assert home.inverter.holds == 250
            os.kill(home.agent.pid, signal.SIGKILL)
            killed_s = time.time()
            bound_s = min(60, watchdog_s, order.valid_until_s - killed_s) + MARGIN_S
            fell_s = await fallen_back(home.inverter, bound_s + 1)
            assert fell_s - killed_s <= bound_s
            assert SetPointOutcome.APPLIED in home.outcomes()

    run(story())


@pytest.mark.slow
def test_a_lost_link_holds_the_order_until_it_expires_and_then_falls_back(run: Run, stage: Raised) -> None:
    async def story() -> None:
        async with stage("embedded", 60) as home:
            order = await command(home.operator, home.port, home.inverter, 7)
            home.serving.cancel()
            await home.brokers.aclose()
            assert time.time() < order.valid_until_s - 1 and home.inverter.holds == 250
            fell_s = await fallen_back(home.inverter, 10)
            # A watchdog of whole seconds may be up to one early; never late.
            assert -1.1 <= fell_s - order.valid_until_s <= MARGIN_S

    run(story())


@pytest.mark.slow
def test_an_order_that_is_not_renewed_ends_with_its_time_and_is_reported(run: Run, stage: Raised) -> None:
    async def story() -> None:
        async with stage("embedded", 60) as home:
            order = await command(home.operator, home.port, home.inverter, 4)
            fell_s = await fallen_back(home.inverter, 8)
            assert -1.1 <= fell_s - order.valid_until_s <= MARGIN_S
            await eventually(lambda: SetPointOutcome.FELL_BACK in home.outcomes())

    run(story())
