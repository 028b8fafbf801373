"""The whole system in one thread under one seed: homes, agents, broker, coordinator and chain, and what goes wrong.

    seed ──▶ shape and FaultPlan ──▶ parts on one virtual clock ──▶ events ──▶ log digest · auditors ──▶ verdicts

Agents and coordinator are the real cores over real SQLite files; broker, clock, network and disk are virtual. After
``heal_at_ms`` nothing goes wrong any more, and the world runs on for ``QUIET_INTERVALS``: by then everything that was
ever signed must have arrived, every header must stand on the chain, and every auditor must have nothing to say. The
same seed gives the same log to the byte.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from random import Random

from contracts.eip712 import keccak
from contracts.interval import INTERVAL_S, STREET_CALENDAR
from contracts.signature import Signer, address_of, signer_of
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.effects import Effect
from edge_agent.agent import Agent
from edge_agent.config import (
    SPOT_RULES,
    AgentConfig,
    BiddingConfig,
    ChainConfig,
    HomeConfig,
    LimitsConfig,
    TelemetryConfig,
)
from simulators.auditors import AUDITORS
from simulators.auditors.auditor import Auditor
from simulators.evm_settlement import EvmSettlement
from simulators.faults import FaultPlan, SeededFates
from simulators.home import Home, HomePlan, street
from simulators.live.scratch import scratch_folder
from simulators.model_chain import ModelChain, SettlementPort
from simulators.scenario import Scenario
from simulators.signature_cache import remembered_signatures, remembering
from simulators.virtual_broker import VirtualBroker
from simulators.virtual_clock import VirtualClock
from simulators.weather import synthetic_day
from simulators.world_events import (
    AgentAlarmed,
    Happened,
    OperatorAlarmed,
    OperatorHeard,
    PostRefused,
    Tally,
    WorldEvent,
)
from simulators.world_home import HomeShell, MakeAgent, Parts, agent_meters
from simulators.world_operator import MakeCoordinator, OperatorShell

FEEDER = "street"
QUIET_INTERVALS = 5
"""After healing: an agent repeats at least every 19 minutes, and a header settles four intervals late."""
OPERATOR_KEY = keccak(b"operator of the simulated world")
DEPOSIT_NANO = 20 * 10**9
SMALL_DEPOSIT_NANO = 150_000_000
"""Half a kilowatt-hour at the retail price: this home runs into its collateral."""
ENROL_AFTER_MS = 90_000
BALANCE_EVERY_MS = 1_200_000
DEVICE_RANGE_W = 3_000


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug of ours, to see whether an auditor finds it: other classes in the place of the real ones."""

    make_agent: MakeAgent = Agent
    make_coordinator: MakeCoordinator = Coordinator


@dataclass(frozen=True, slots=True)
class WorldResult:
    """What came out. ``verdicts`` is empty exactly when ``ok``; ``digest`` is the hash of the event log."""

    ok: bool
    verdicts: tuple[str, ...]
    digest: str
    counters: dict[str, int]
    seconds_virtual: int


@dataclass(slots=True)
class World:
    """All parts of one run; auditors look at it when they are asked for their verdict."""

    seed: int
    scenario: Scenario
    plan: FaultPlan
    clock: VirtualClock
    market: MarketConfig
    sign: Signer
    keys: dict[int, bytes]
    start_ms: int
    end_ms: int
    chain: SettlementPort
    broker: VirtualBroker
    operator: OperatorShell
    homes: list[HomeShell] = field(default_factory=list)
    deposits: dict[int, int] = field(default_factory=dict)


class EventLog:
    """Hashes every event, counts it, and shows it to the auditors."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._hash = sha256()
        self.auditors: Sequence[Auditor] = ()
        self.tally = Tally()
        self.lines: list[str] | None = None

    def tell(self, event: WorldEvent) -> None:
        """Something happened now."""
        kind = type(event).__name__
        self._hash.update(f"{self._clock.now_ms}|{kind}".encode())
        for entry in fields(event):
            value = getattr(event, entry.name)
            self._hash.update(b"|" + (value if isinstance(value, bytes) else str(value).encode()))
        self.tally.add(kind)
        if self.lines is not None and isinstance(event, AgentAlarmed | OperatorAlarmed | Happened | PostRefused):
            self.lines.append(f"{self._clock.now_ms} {event}")
        if isinstance(event, OperatorHeard) and event.refusal is not None:
            self.tally.add(f"refused_{event.refusal.name.lower()}")
        for auditor in self.auditors:
            auditor.observe(event)

    @property
    def digest(self) -> str:
        """The hash of everything so far."""
        return self._hash.hexdigest()


def run_world(
    seed: int,
    scenario: Scenario | None = None,
    planted: Planted | None = None,
    *,
    journal: Callable[[str], None] | None = None,
) -> WorldResult:
    """Runs one seed to its end. ``journal`` takes a line for every alarm, crash and refused post."""
    with scratch_folder() as folder, remembered_signatures(), _without_collector():
        return _Run(seed, scenario or Scenario(), planted or Planted(), folder).result(journal)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A run makes much and leaves little in cycles; searching for them would cost a quarter of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Run:
    """Builds the world of a seed and runs it."""

    def __init__(self, seed: int, scenario: Scenario, planted: Planted, folder: Path) -> None:
        self._planted = planted
        self._folder = folder
        random = Random(f"world/{seed}")
        shape = scenario.shape
        homes = shape.homes or random.randint(4, 6)
        day = synthetic_day(seed, 1 + (shape.start_hour + shape.hours + 2) // 24)
        start_s = day.start_s + shape.start_hour * 3_600 + random.randrange(INTERVAL_S)
        heal_at_s = start_s + shape.hours * 3_600
        end_s = (heal_at_s // INTERVAL_S + 1 + QUIET_INTERVALS) * INTERVAL_S + 120
        clock = VirtualClock(start_s * 1000)
        log = self.log = EventLog(clock)
        plan = scenario.plan(seed, homes, start_s * 1000, heal_at_s * 1000)
        plans = street(homes, seed)
        clients = {f"{FEEDER}-{home.name}": number for number, home in enumerate(plans)}
        broker = VirtualBroker(clock, SeededFates(seed, plan, clients))
        sign = remembering(signer_of(OPERATOR_KEY))
        operator = address_of(OPERATOR_KEY)
        evm = shape.chain == "evm"
        rule = SPOT_RULES[shape.spot]
        chain: SettlementPort = (
            EvmSettlement(clock, OPERATOR_KEY, spot_rule=rule)
            if evm
            else ModelChain(clock, governance=operator, spot_rule=rule)
        )
        market = MarketConfig(FEEDER, chain.domain, operator, calendar=STREET_CALENDAR, spot_rule=rule)
        shell = OperatorShell(
            market, sign, folder / "coordinator.db", clock, broker, chain, plan, log.tell, planted.make_coordinator
        )
        keys = {number + 1: keccak(f"home {number}".encode()) for number in range(homes)}
        self.world = World(
            seed, scenario, plan, clock, market, sign, {a: address_of(k) for a, k in keys.items()},
            start_s * 1000, end_s * 1000, chain, broker, shell,
        )  # fmt: skip
        for number, home_plan in enumerate(plans):
            self._add_home(number, home_plan, Home(home_plan, day), keys[number + 1])
        log.auditors = [make(self.world) for make in AUDITORS]

    def _add_home(self, number: int, plan: HomePlan, home: Home, key: bytes) -> None:
        world, shape = self.world, self.world.scenario.shape
        market, clock = world.market, world.clock
        home.advance(clock.now_s)
        config = AgentConfig(
            HomeConfig(number + 1, FEEDER, plan.name),
            ChainConfig(market.domain.chain_id, market.domain.contract, market.operator, market.grace, shape.spot),
            agent_meters(home),
            self._folder / plan.name,
            bidding=BiddingConfig(
                max_buy_price=300_000 - 7_000 * number, min_sell_price=90_000 + 5_000 * number,
                tariff_import=market.tariff_import, tariff_export=market.tariff_export, calendar="street",
            ),
            limits=LimitsConfig(20_000, 20_000),
            telemetry=TelemetryConfig(shape.batch_s),
        )  # fmt: skip
        parts = Parts(clock, world.broker, world.plan, self.log.tell, self._planted.make_agent)
        world.homes.append(
            HomeShell(
                number, home, config, signer_of(key), address_of(key), self._folder / plan.name, parts,
                shape.sample_s, shape.wake_s,
            )
        )  # fmt: skip

    # -- a run -------------------------------------------------------------------------------------------------

    def result(self, journal: Callable[[str], None] | None) -> WorldResult:
        """Runs to the end, then asks every auditor."""
        world, clock = self.world, self.world.clock
        self.log.lines = None if journal is None else []
        self._open_accounts()
        world.operator.begin()
        clock.after(ENROL_AFTER_MS, self._enrol)
        clock.every(clock.now_ms + BALANCE_EVERY_MS, BALANCE_EVERY_MS, self._balance)
        for at_ms in world.plan.broker_restarts:
            clock.at(at_ms, self._restart_broker)
        for home in world.homes:
            home.begin()
        clock.run_until(world.end_ms)
        digest = self.log.digest
        verdicts = tuple(text for auditor in self.log.auditors for text in auditor.verdict())
        for line in self.log.lines or ():
            assert journal is not None
            journal(line)
        if world.operator.core is not None:
            for name, count in world.operator.core.counters.items():
                self.log.tally.add(f"coordinator_{name}", count)
            world.operator.core.store.close()
        for name, count in world.broker.counters.items():
            self.log.tally.add(f"broker_{name}", count)
        seconds = (world.end_ms - world.start_ms) // 1000
        return WorldResult(not verdicts, verdicts, digest, dict(sorted(self.log.tally.counts.items())), seconds)

    def _open_accounts(self) -> None:
        world = self.world
        for home in world.homes:
            world.chain.open_account(home.address, home.address)
        for home in world.homes:
            amount = SMALL_DEPOSIT_NANO if home.number == 1 else DEPOSIT_NANO
            world.deposits[home.account] = amount
            world.chain.deposit(home.account, amount)

    def _enrol(self) -> None:
        def work(core: Coordinator) -> list[Effect]:
            now_ms = self.world.clock.now_ms
            for home in self.world.homes:
                core.enrol(home.account, home.config.home.edge, now_ms)
                if home.home.cells is not None:
                    core.enrol_device(home.account, 1, -DEVICE_RANGE_W, DEVICE_RANGE_W, now_ms)
            return []

        self.world.operator.ask(work)

    def _balance(self) -> None:
        self.world.operator.ask(lambda core: core.balance_grid(self.world.clock.now_ms).effects)

    def _restart_broker(self) -> None:
        world = self.world
        world.broker.restart()
        world.operator.lose_link()
        for home in world.homes:
            home.lose_link()
