"""Plays a day of a street on real parts, faster than life.

    physics of twelve homes → Modbus TCP servers → edge agents → MQTT broker → coordinator → EVM chain
                                                        ↑ one scaled clock drives them all

Meters are real servers on loopback, agents the real agent (tasks of this process, or one process a home), the
broker is the embedded one or any other, the chain an EVM behind JSON-RPC. What comes out is a ``StreetRun``: where
the store, the public record and the chain are, for whoever judges it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from contracts.eip712 import keccak
from contracts.header_rules import DEFAULT_GRACE_INTERVALS
from contracts.interval import DAY_S, INTERVAL_S, STREET_CALENDAR, interval_of
from contracts.signature import address_of
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.effects import Effect
from coordinator.shell.alarms import AlarmLog
from coordinator.shell.broker import EmbeddedBroker
from coordinator.shell.chain import SettlementChain
from coordinator.shell.clock import ScaledClock
from coordinator.shell.deployment import Deployment, StreetAccount, deploy, open_street
from coordinator.shell.deployment_profile import DeploymentProfile, load_profile
from coordinator.shell.external_broker import ExternalBroker
from coordinator.shell.ingest_port import IngestBroker
from coordinator.shell.runtime import CoordinatorRuntime
from simulators.evm_chain import DEV_KEY, EvmChain
from simulators.home import Home, HomePlan, street
from simulators.live.home_agent import AgentSite, HomeAgents, write_site
from simulators.live.home_meters import HomeMeters
from simulators.live.json_rpc import JsonRpcServer
from simulators.live.web_server import serving
from simulators.weather import DayInput

FEEDER = "street"
DEPOSIT_NANO = 200 * 10**9
"""200 units of currency a home: many times the worst day of its bids and positions."""
LEAD_S = 2 * 3_600
"""The street wakes up two hours before midnight: baseline registers, first bids."""
TAIL_S = (DEFAULT_GRACE_INTERVALS + 1) * INTERVAL_S + 600
"""After midnight the last intervals wait out their grace, are settled and posted."""
FINALITY_WINDOW_S = INTERVAL_S
"""One interval: long enough to challenge in a test, short enough to see finality within the day."""
SETTLE_LIMIT_WALL_S = 60.0
"""How long, in real time, the chain may take for the last headers before the run is called unfinished."""

Progress = Callable[[float, str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreetSettings:
    """What the user chose. ``speed`` is virtual seconds a second."""

    out: Path
    day: DayInput
    homes: int = 12
    seed: int = 1
    speed: float = 720.0
    processes: bool = False
    broker_url: str | None = None
    http: tuple[str, int] | None = None
    intervals: int = DAY_S // INTERVAL_S


@dataclass(slots=True)
class StreetRun:
    """A day that was played: everything an auditor needs, and the homes' true state for comparison."""

    settings: StreetSettings
    plans: list[HomePlan]
    accounts: list[int]
    homes: list[Home]
    first_interval: int
    market: MarketConfig
    deployment: Deployment
    rpc_url: str
    store_path: Path
    record_dir: Path
    wall_s: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)
    agent_counters: dict[str, int] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def last_interval(self) -> int:
        """The last interval of the day."""
        return self.first_interval + self.settings.intervals - 1

    async def close(self) -> None:
        """Ends the chain's server, which stays up so that the run can be judged."""
        await self.stack.aclose()


def secret(seed: int, name: str) -> bytes:
    """A key that belongs to this seed and name only; play money, never a real street's."""
    return keccak(f"energy-grid street {seed} {name}".encode())


async def play(settings: StreetSettings, progress: Progress = lambda _, __: None) -> StreetRun:
    """Plays the day. The caller judges the run and then closes it. Raises what any part could not recover from."""
    settings.out.mkdir(parents=True, exist_ok=True)
    progress(0.0, "building the chain and the contracts")
    plans = street(settings.homes, settings.seed)
    start_s = settings.day.start_s + DAY_S - LEAD_S
    clock_before = ScaledClock(time.time(), start_s - 900, 1.0)
    stack = AsyncExitStack()
    try:
        now: list[ScaledClock] = [clock_before]
        chain = EvmChain(now_s=lambda: now[0].now_ms() // 1000)
        server = JsonRpcServer(chain)
        server.start()
        stack.callback(server.stop)
        operator_key = secret(settings.seed, "operator")
        deployment, accounts = await asyncio.to_thread(_deploy, settings, server.url, operator_key, plans)
        market = MarketConfig(FEEDER, deployment.domain, address_of(operator_key), calendar=STREET_CALENDAR)
        homes = [Home(plan, settings.day) for plan in plans]
        for home in homes:
            home.advance(start_s)
        clock = now[0] = ScaledClock(time.time(), start_s, settings.speed)
        run = StreetRun(
            settings, plans, accounts, homes, interval_of(settings.day.start_s + DAY_S), market, deployment,
            server.url, settings.out / "coordinator.db", settings.out / "records", stack=stack,
        )  # fmt: skip
        await _run_day(run, clock, operator_key, progress)
    except BaseException:
        await stack.aclose()
        raise
    return run


def street_profile() -> DeploymentProfile:
    """All contracts, with the street's calendar and a window that ends within the day."""
    return load_profile("test").with_terms(
        settlement={
            "finality_window_s": FINALITY_WINDOW_S,
            "grace_intervals": DEFAULT_GRACE_INTERVALS,
            "calendar": "street",
        },
        trading={"inclusion_delay_s": STREET_CALENDAR.schedule(1).every_s},
        demands={"answer_window_s": FINALITY_WINDOW_S // 3},
    )


def _deploy(
    settings: StreetSettings, rpc_url: str, operator_key: bytes, plans: list[HomePlan]
) -> tuple[Deployment, list[int]]:
    note = settings.out / "deployment.json"
    deployment = deploy(rpc_url, DEV_KEY, address_of(operator_key), note, street_profile())
    street_accounts = [
        StreetAccount(
            address_of(secret(settings.seed, f"owner {plan.name}")),
            address_of(secret(settings.seed, f"home {plan.name}")),
            DEPOSIT_NANO,
        )
        for plan in plans
    ]
    return deployment, open_street(rpc_url, DEV_KEY, deployment, street_accounts)


async def _run_day(run: StreetRun, clock: ScaledClock, operator_key: bytes, progress: Progress) -> None:
    settings, began = run.settings, time.monotonic()
    async with AsyncExitStack() as parts:
        meters = HomeMeters(run.plans, run.homes, clock)
        await meters.start()
        parts.push_async_callback(meters.stop)
        broker = _broker(settings)
        alarms = AlarmLog(out=(settings.out / "alarms.log").open("w", encoding="utf-8"))
        chain = SettlementChain(
            run.rpc_url, operator_key, run.deployment.domain, settings.out / "chain-progress.json", alarms.report,
            trading=run.deployment.trading, demands=run.deployment.address("DataDemands"),
            first_block=run.deployment.first_block, terms=run.market.terms,
        )  # fmt: skip
        runtime = CoordinatorRuntime(
            run.market, run.store_path, operator_key, broker, chain, clock, run.record_dir, alarms
        )
        await runtime.start()
        parts.push_async_callback(runtime.stop)
        await _enrol(run, runtime)
        if settings.http is not None:
            await parts.enter_async_context(serving(runtime, settings.http))
        sites = [
            AgentSite(
                plan, account, meters.endpoints(place), secret(settings.seed, f"home {plan.name}"), run.market,
                settings.out / "homes" / plan.name, broker.url, clock, settings.day, settings.seed,
            )
            for place, (plan, account) in enumerate(zip(run.plans, run.accounts, strict=True))
        ]  # fmt: skip
        agents = HomeAgents([write_site(site) for site in sites], processes=settings.processes)
        await agents.start()
        parts.push_async_callback(agents.stop)
        await _watch_the_day(run, clock, runtime, agents, progress)
        run.agent_counters = await agents.stop()
        run.counters = await _ask(runtime, lambda core: dict(core.counters))
        run.counters |= {f"broker_{name}": count for name, count in broker.counters.items()}
        run.alarms = dict(alarms.counters)
    run.wall_s = time.monotonic() - began


def _broker(settings: StreetSettings) -> IngestBroker:
    return EmbeddedBroker() if settings.broker_url is None else ExternalBroker(settings.broker_url, FEEDER)


async def _enrol(run: StreetRun, runtime: CoordinatorRuntime) -> None:
    """Waits until the accounts' events have come from the chain, then gives every home its name."""
    wanted = set(run.accounts)
    while not wanted <= await _ask(runtime, lambda core: {p.account for p in core.registry.participants()}):
        await asyncio.sleep(0.05)
    for plan, account in zip(run.plans, run.accounts, strict=True):
        if not await runtime.request(partial(_enrol_one, account, plan.name)):
            raise RuntimeError(f"home {plan.name} cannot be enrolled under account {account}")


def _enrol_one(account: int, name: str, core: Coordinator, now_ms: int) -> tuple[bool, list[Effect]]:
    return core.enrol(account, name, now_ms), []


async def _ask(runtime: CoordinatorRuntime, read: Callable[[Coordinator], T]) -> T:
    """What ``read`` sees in the core, between two of its inputs."""
    return await runtime.request(lambda core, _: (read(core), []))


async def _watch_the_day(
    run: StreetRun, clock: ScaledClock, runtime: CoordinatorRuntime, agents: HomeAgents, progress: Progress
) -> None:
    ends_ms = ((run.last_interval + 1) * INTERVAL_S + TAIL_S) * 1000
    starts_ms = clock.now_ms()
    while (now_ms := clock.now_ms()) < ends_ms:
        agents.raise_if_dead()
        counters = await _ask(runtime, lambda core: dict(core.counters))
        at = time.strftime("%H:%M", time.gmtime(now_ms // 1000))
        text = f"{at}  {counters.get('headers', 0)} headers, {counters.get('auctions', 0)} auctions"
        progress((now_ms - starts_ms) / (ends_ms - starts_ms), text)
        await asyncio.sleep(0.5)
    progress(1.0, "waiting for the last headers to become final")
    await _await_finality(run, runtime)


async def _await_finality(run: StreetRun, runtime: CoordinatorRuntime) -> None:
    last_header = run.last_interval + run.market.grace
    give_up = time.monotonic() + SETTLE_LIMIT_WALL_S
    while time.monotonic() < give_up:
        state = await _ask(
            runtime, lambda core: core.store.row("SELECT state FROM headers WHERE interval = ?", last_header)
        )
        if state is not None and state[0] == "final":
            return
        await asyncio.sleep(0.2)
    sys.stderr.write(f"the header of interval {last_header} is not final after {SETTLE_LIMIT_WALL_S:.0f} s\n")
