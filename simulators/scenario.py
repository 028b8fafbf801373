"""A scenario is data: how large a world is, how long it runs, and what goes wrong in it.

``simulators/scenarios/<name>.toml`` is read into a frozen ``Scenario``; an unknown key is refused with all others that
are wrong. Minutes count from the world's start. What a scenario does not name is drawn from the seed within its
``[faults]``; without that table nothing is drawn.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from simulators.faults import (
    CALM,
    AgentCrash,
    ChainFault,
    ChainTrouble,
    CoordinatorCrash,
    CrashPoint,
    FaultBounds,
    FaultPlan,
    Glitch,
    MeterGlitch,
    Window,
    draw_faults,
)

FOLDER = Path(__file__).with_name("scenarios")
MINUTE_MS = 60_000
T = TypeVar("T")
HOURS_LIMIT = 48
HOMES_LIMIT = 24
"""A world is for finding faults, not for load: beyond this use the live simulators."""


class LocalScenarioError(ValueError):
    """A scenario that cannot be read, with everything that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large and how long. ``homes`` 0: four to six, by the seed.

    ``chain`` is "model" or "evm"; ``spot``, how deviations are traded, is "shared" or "auction".

    ``wake_s`` is how coarse an agent's shell is about deadlines: a busy machine, and fewer steps of the world.
    """

    homes: int = 0
    hours: int = 2
    start_hour: int = 9
    sample_s: int = 300
    batch_s: int = 900
    wake_s: int = 30
    chain: str = "model"
    spot: str = "shared"

    def __post_init__(self) -> None:
        wrong = []
        if not 0 <= self.homes <= HOMES_LIMIT:
            wrong.append(f"homes is 0 to {HOMES_LIMIT}")
        if not 1 <= self.hours <= HOURS_LIMIT or not 0 <= self.start_hour < 24:
            wrong.append(f"hours is 1 to {HOURS_LIMIT}, start_hour 0 to 23")
        if not 10 <= self.sample_s <= 300 or not 60 <= self.batch_s <= 900 or not 1 <= self.wake_s <= 60:
            wrong.append("sample_s is 10 to 300, batch_s 60 to 900, wake_s 1 to 60")
        if self.chain not in ("model", "evm"):
            wrong.append("chain is model or evm")
        if self.spot not in ("shared", "auction"):
            wrong.append("spot is shared or auction")
        if wrong:
            raise LocalScenarioError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Period:
    """A window of a scenario. ``home`` -1: everybody."""

    from_minute: int
    until_minute: int
    home: int = -1
    kind: str = ""

    def window(self, start_ms: int) -> Window:
        """In milliseconds of the true clock."""
        return Window(self.home, start_ms + self.from_minute * MINUTE_MS, start_ms + self.until_minute * MINUTE_MS)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything a world needs besides its seed."""

    name: str = "default"
    about: str = ""
    shape: Shape = field(default_factory=Shape)
    faults: FaultBounds = field(default_factory=FaultBounds)
    partitions: tuple[Period, ...] = ()
    power_cuts: tuple[Period, ...] = ()
    coordinator_down: tuple[Period, ...] = ()
    glitches: tuple[Period, ...] = ()
    chain: tuple[Period, ...] = ()
    liars: tuple[int, ...] = ()

    def plan(self, seed: int, homes: int, start_ms: int, heal_at_ms: int) -> FaultPlan:
        """What goes wrong: drawn within the bounds, and what the scenario names."""
        drawn = draw_faults(seed, homes, start_ms, heal_at_ms, self.faults)
        crashes, stops = list(drawn.agent_crashes), list(drawn.coordinator_crashes)
        for cut in (p.window(start_ms) for p in self.power_cuts):
            down_ms = cut.until_ms - cut.from_ms
            crashes += [AgentCrash(home, cut.from_ms, down_ms, False, 0, 0) for home in range(homes)]
            stops.append(CoordinatorCrash(cut.from_ms, down_ms, CrashPoint.BEFORE_COMMIT))
        for away in (p.window(start_ms) for p in self.coordinator_down):
            stops.append(CoordinatorCrash(away.from_ms, away.until_ms - away.from_ms, CrashPoint.BEFORE_EFFECTS))
        glitches = [MeterGlitch(p.window(start_ms), Glitch(p.kind)) for p in self.glitches]
        troubles = [
            ChainTrouble(w.from_ms, w.until_ms, ChainFault(p.kind)) for p in self.chain for w in [p.window(start_ms)]
        ]
        return replace(
            drawn,
            partitions=(*drawn.partitions, *(p.window(start_ms) for p in self.partitions)),
            agent_crashes=tuple(crashes),
            coordinator_crashes=tuple(stops),
            broker_restarts=(*drawn.broker_restarts, *(p.window(start_ms).from_ms for p in self.power_cuts)),
            glitches=(*drawn.glitches, *glitches),
            chain_troubles=(*drawn.chain_troubles, *troubles),
            liars=tuple(home for home in self.liars if home < homes),
        )


def _read(kind: type[T], table: Mapping[str, Any], where: str, wrong: list[str]) -> T | None:
    known = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    for name, value in table.items():
        if name not in known:
            wrong.append(f"{where}: unknown key {name!r}")
        elif type(value).__name__ != known[name]:
            wrong.append(f"{where}: {name} is a {known[name]}")
    if wrong:
        return None
    try:
        return kind(**table)
    except (TypeError, ValueError) as error:
        wrong.append(f"{where}: {error}")
        return None


_PERIODS = ("partitions", "power_cuts", "coordinator_down", "glitches", "chain")
_KINDS: Mapping[str, frozenset[str]] = {"glitches": frozenset(Glitch), "chain": frozenset(ChainFault)}


def scenario_of(name: str, text: str) -> Scenario:
    """The scenario in TOML ``text``. Raises LocalScenarioError with every fault found."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalScenarioError(f"{name}: {error}") from error
    wrong: list[str] = []
    about, liars = document.pop("about", ""), document.pop("liars", [])
    shape = _read(Shape, document.pop("shape", {}), "shape", wrong)
    bounds = CALM
    if "faults" in document:
        table = document.pop("faults")
        calm = {f.name: getattr(CALM, f.name) for f in fields(FaultBounds)}
        bounds = _read(FaultBounds, calm | table, "faults", wrong) or CALM
    periods: dict[str, tuple[Period, ...]] = {}
    for key in _PERIODS:
        found = [_read(Period, row, key, wrong) for row in document.pop(key, [])]
        periods[key] = tuple(p for p in found if p is not None)
        wrong += [f"{key}: no such kind {p.kind!r}" for p in periods[key] if p.kind not in _KINDS.get(key, {""})]
        wrong += [f"{key}: ends before it begins" for p in periods[key] if p.until_minute <= p.from_minute]
    wrong += [f"unknown key {key!r}" for key in document]
    if not isinstance(about, str) or not about:
        wrong.append("about says in a sentence what the scenario is")
    if not isinstance(liars, list) or not all(type(home) is int and home >= 0 for home in liars):
        wrong.append("liars is a list of homes")
    if wrong or shape is None:
        raise LocalScenarioError(f"{name}: " + "; ".join(wrong))
    return Scenario(name, about, shape, bounds, **periods, liars=tuple(liars))


def scenario_names() -> list[str]:
    """All scenarios that come with the simulators."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises LocalScenarioError where there is none or it is wrong."""
    if name not in scenario_names():
        raise LocalScenarioError(f"no scenario {name!r}; there are {', '.join(scenario_names())}")
    return scenario_of(name, (FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
