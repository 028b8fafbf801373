"""The agents of a street: the real agent under a configuration file, as a task of this process or as its own."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from contracts.codes import AuctionRule
from contracts.interval import DAY_S, INTERVAL_S, interval_of
from contracts.units import PRICE_TICK_MICRO_PER_KWH
from coordinator.config import MarketConfig
from coordinator.shell.clock import ScaledClock
from edge_agent.config import AgentConfig, agent_config_from_toml
from edge_agent.delivery.outbox import Outbox
from edge_agent.effects import Counters
from edge_agent.shell.clock import clock_of
from edge_agent.shell.key_store import read_key, write_key
from edge_agent.shell.runtime import run_agent
from simulators.home import Home, HomePlan
from simulators.live.home_meters import Endpoint
from simulators.weather import DayInput

POLL_S = 60
"""Virtual seconds between two polls of a device: at 720 times, twelve a second."""
TELEMETRY_S = INTERVAL_S // 2
STOP_LIMIT_S = 10.0

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@dataclass(frozen=True, slots=True)
class AgentSite:
    """Everything one home's agent is installed with."""

    plan: HomePlan
    account: int
    endpoints: list[Endpoint]
    key: bytes
    market: MarketConfig
    folder: Path
    broker_url: str
    clock: ScaledClock
    day: DayInput
    seed: int


def write_site(site: AgentSite) -> Path:
    """Installs the agent: key, configuration and the home's own past; the configuration's path."""
    site.folder.mkdir(parents=True, exist_ok=True)
    write_key(site.folder / "home.key", site.key)
    path = site.folder / "agent.toml"
    path.write_text(_toml(site), encoding="utf-8")
    outbox = Outbox(site.folder / "agent.db", Counters())
    outbox.learn(own_past(site.plan, site.day))
    outbox.close()
    return path


def own_past(plan: HomePlan, day: DayInput) -> dict[int, int]:
    """``{interval: net Wh}`` of the day before, metered with the same physics: what an owner's portal would export."""
    home = Home(plan, day)
    past: dict[int, int] = {}
    for start_s in range(day.start_s, day.start_s + DAY_S, INTERVAL_S):
        before = home.meter_values()
        home.advance(start_s + INTERVAL_S)
        after = home.meter_values()
        imported, exported = (after[name] - before[name] for name in ("import_wh", "export_wh"))
        past[interval_of(start_s)] = imported - exported
    return past


def _toml(site: AgentSite) -> str:
    random = Random(f"taste/{site.seed}/{site.plan.name}")
    broker = urlsplit(site.broker_url)
    tariff_import, tariff_export = site.market.tariff_import, site.market.tariff_export
    room = (tariff_import - tariff_export) // PRICE_TICK_MICRO_PER_KWH
    max_buy = tariff_import - random.randint(0, room // 4) * PRICE_TICK_MICRO_PER_KWH
    min_sell = tariff_export + random.randint(0, room // 4) * PRICE_TICK_MICRO_PER_KWH
    meters = "".join(
        f"""
[[meter]]
number = {e.number}
name = "{e.name}"
profile = "{e.profile}"
host = "127.0.0.1"
port = {e.port}
unit = {e.unit}
poll_s = {POLL_S}
role = "{e.role}"
"""
        for e in site.endpoints
    )
    return f"""# Written by the street simulator: home {site.plan.name}.
[home]
account = {site.account}
feeder = "{site.market.feeder}"
edge = "{site.plan.name}"

[chain]
chain_id = {site.market.domain.chain_id}
settlement = "0x{site.market.domain.contract.hex()}"
operator = "0x{site.market.operator.hex()}"
grace = {site.market.grace}
spot_rule = "{"auction" if site.market.spot_rule == AuctionRule.SPOT_AUCTION else "shared"}"

[key]
file = "home.key"

[store]
path = "agent.db"

[broker]
host = "{broker.hostname}"
port = {broker.port}

[clock]
speed = {site.clock.speed}
epoch_wall_s = {site.clock.epoch_wall_s!r}
epoch_virtual_s = {float(site.clock.epoch_virtual_s)!r}
trusted = true

[bidding]
max_buy_price = {max_buy}
min_sell_price = {min_sell}
tariff_import = {tariff_import}
tariff_export = {tariff_export}
calendar = "street"

[telemetry]
batch_s = {TELEMETRY_S}
{meters}"""


class HomeAgents:
    """All agents of a street, in one of two ways of running them."""

    def __init__(self, configurations: list[Path], processes: bool) -> None:
        self._paths = configurations
        self._as_processes = processes
        self._stop = asyncio.Event()
        self._tallies: list[Counters] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._counters: dict[str, int] = {}

    async def start(self) -> None:
        """Starts every agent."""
        if self._as_processes:
            for path in self._paths:
                with (path.parent / "agent.log").open("wb") as log:
                    command = (sys.executable, "-m", "edge_agent.cli", "run", "--config", str(path))
                    self._processes.append(await asyncio.create_subprocess_exec(*command, stderr=log, stdout=log))
            return
        self._log_to(self._paths[0].parent.parent / "agents.log")
        for path in self._paths:
            config: AgentConfig = agent_config_from_toml(path)
            counters, key = Counters(), read_key(path.parent / "home.key")
            self._tallies.append(counters)
            running = run_agent(config, clock=clock_of(config.clock), key=key, stop=self._stop, counters=counters)
            self._tasks.append(asyncio.create_task(running, name=f"agent {config.home.edge}"))

    @staticmethod
    def _log_to(path: Path) -> None:
        log = logging.getLogger("edge_agent")
        handler = logging.FileHandler(path, mode="w", encoding="utf-8")
        handler.setFormatter(logging.Formatter(_LOG_FORMAT))
        log.handlers = [handler]
        log.propagate = False

    def raise_if_dead(self) -> None:
        """An agent that ended before its time ends the day. Raises RuntimeError."""
        for task in self._tasks:
            if task.done():
                raise RuntimeError(f"{task.get_name()} ended") from task.exception()
        for path, process in zip(self._paths, self._processes, strict=False):
            if process.returncode is not None:
                raise RuntimeError(f"the agent of {path.parent.name} ended with {process.returncode}")

    async def stop(self) -> dict[str, int]:
        """Stops every agent; the sum of their counters (tasks only). A second call does nothing more."""
        if self._stop.is_set():
            return self._counters
        self._stop.set()
        total: Counter[str] = Counter()
        for counters in self._tallies:
            total.update(counters)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._counters = dict(total)
        return self._counters
