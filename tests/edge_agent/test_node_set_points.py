"""A metering node that steers: the operator's set-point ends at the C reference, and so does its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiomqtt
import pytest

from contracts.codes import SetPointKind, SetPointOutcome
from contracts.messages import SetPoint, SetPointReport
from contracts.topics import Leaf, topic
from edge_agent.config import AgentConfig, BrokerConfig, ConfigError, agent_config_from_toml
from edge_agent.config_update import NodeActuator
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.runtime import Running
from simulators.agent_toml import agent_toml
from tests.edge_agent.conftest import ADA, ADA_KEY, Operator, ada_config, eventually, start_broker, stop_broker
from tests.edge_agent.telegram_home import Runner
from tests.edge_agent.test_named_files import NODE
from tests.edge_agent.test_node_link import meter_of
from tests.firmware_bridge.reference_node import Line, build

FREE = "0 0"
"""What the reference node's device does when nobody commands it: `release`."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("node", tmp_path_factory.mktemp("node"))


@dataclass
class Stage:
    """A node on its line, Ada's agent, the operator, and a broker between them."""

    line: Line
    agent: Running
    operator: Operator
    port: int
    running: asyncio.Task[None]
    sequence: int = 0

    @property
    def holds(self) -> str:
        """Kind and value of the set-point in force at the node's device."""
        path = self.line.folder / "setpoint"
        return path.read_text(encoding="ascii").strip() if path.exists() else FREE

    @property
    def outcomes(self) -> list[str]:
        """What the home reported."""
        reports = self.operator.messages(SetPointReport)
        return [SetPointOutcome(report.outcome).name for report in reports if isinstance(report, SetPointReport)]

    async def command(self, power_w: int, valid_s: int, kind: SetPointKind = SetPointKind.ACTIVE_POWER) -> None:
        """One signed order."""
        self.sequence += 1
        now_s = int(time.time())
        order = SetPoint(ADA, 0, int(kind), 1, self.sequence, now_s, now_s + valid_s, power_w)
        async with aiomqtt.Client("127.0.0.1", self.port, protocol=aiomqtt.ProtocolVersion.V311) as client:
            await client.publish(topic("f1", "ada", Leaf.SETPOINT), self.operator.sign(order))

    async def reported(self, outcome: str, within_s: float = 10.0) -> None:
        """Waits until the home says so."""
        await eventually(lambda: outcome in self.outcomes, within_s)


@asynccontextmanager
async def staged(folder: Path, program: Path, interval_ms: int = 200) -> AsyncIterator[Stage]:
    line = Line(program, folder / "flash", interval_ms=interval_ms)
    broker, port = await start_broker()
    running: asyncio.Task[None] | None = None
    stop = asyncio.Event()
    try:
        line.start()
        plain = meter_of(folder, line)
        assert plain.node is not None
        meter = replace(plain, role="battery", node=replace(plain.node, actuator=NodeActuator(-4_000, 6_000)))
        config = ada_config(folder, (meter,), BrokerConfig("127.0.0.1", port))
        operator = Operator(config)
        serving = asyncio.create_task(operator.serve(port))
        agent = Running(config, SystemClock(trusted=True), ADA_KEY)
        running = asyncio.create_task(agent.run(stop))
        sources = agent._sources
        await eventually(lambda: agent.agent.metrics().get("link") and sources[0].node.hello is not None)  # type: ignore[union-attr]
        yield Stage(line, agent, operator, port, running)
        serving.cancel()
    finally:
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        line.close()
        await stop_broker(broker)


def test_a_set_point_ends_at_the_node_and_a_limit_too(run: Runner, program: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with staged(tmp_path, program) as stage:
            await stage.command(2_000, 60)
            await stage.reported("APPLIED")
            assert stage.holds == "1 2000"
            await stage.command(1_500, 60, SetPointKind.EXPORT_LIMIT)
            await eventually(lambda: stage.outcomes == ["APPLIED", "APPLIED"])
            assert stage.holds == "2 1500"

    run(story())


def test_what_is_out_of_range_never_reaches_the_node(run: Runner, program: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with staged(tmp_path, program) as stage:
            for power_w in (6_001, -4_001):
                await stage.command(power_w, 60)
            await eventually(lambda: stage.outcomes == ["OUT_OF_RANGE", "OUT_OF_RANGE"])
            assert stage.holds == FREE

    run(story())


@pytest.mark.slow
def test_a_set_point_ends_with_its_time_and_with_the_agent(run: Runner, program: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with staged(tmp_path, program) as stage:
            await stage.command(2_000, 4)
            await stage.reported("APPLIED")
            await stage.reported("FELL_BACK")
            await eventually(lambda: stage.holds == FREE, 1.0)
            await stage.command(-3_000, 5)
            await eventually(lambda: stage.holds == "1 -3000")
            stage.running.cancel()  # as dead as it can be within this process: nobody says anything to the node
            began_s = time.monotonic()
            await eventually(lambda: stage.holds == FREE)
            assert time.monotonic() - began_s < 6.5

    run(story())


@pytest.mark.slow
def test_a_node_that_speaks_seldom_is_greeted_first(run: Runner, program: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with staged(tmp_path, program, interval_ms=60_000) as stage:
            await asyncio.sleep(6.5)
            await stage.command(2_000, 60)
            await stage.reported("APPLIED")
            assert stage.holds == "1 2000"

    run(story())


def test_a_node_that_says_nothing_is_not_trusted(run: Runner, program: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with staged(tmp_path, program) as stage:
            stage.line.kill()
            await stage.command(2_000, 60)
            await stage.reported("READ_BACK_FAILED")

    run(story())


def config_with(folder: Path, actuator: str) -> AgentConfig:
    path = folder / "agent.toml"
    text = agent_toml("ada", [NODE], "a test")
    path.write_text(text.replace('key_file = "link.key"', f'key_file = "link.key"\nactuator = {actuator}'))
    return agent_config_from_toml(path)


def test_the_bounds_stand_in_the_configuration(tmp_path: Path) -> None:
    node = config_with(tmp_path, "{ minimum_w = -5000, maximum_w = 11000, ramp_w_per_s = 500 }").meters[0].node
    assert node is not None and node.actuator == NodeActuator(-5_000, 11_000, 500)


@pytest.mark.parametrize(
    ("actuator", "said"),
    [
        ("{ maximum_w = 5 }", "minimum_w is missing"),
        ("{ minimum_w = 0, maximum_w = 0 }", "leave nothing to steer"),
        ("{ minimum_w = 1, maximum_w = 2 }", "minimum_w is 1"),
        ("{ minimum_w = 0, maximum_w = 2, ramp = 1 }", "unknown key 'ramp'"),
        ("3", "must be a table"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(tmp_path: Path, actuator: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_with(tmp_path, actuator)
