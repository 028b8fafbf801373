"""What goes wrong in one world, drawn from its seed before it begins, as frozen data.

``draw_faults`` turns bounds (``FaultBounds``, from a scenario or the default) and a seed into a ``FaultPlan``. After
``heal_at_ms`` nothing goes wrong any more, so a world can be asked whether it finds back. ``SeededFates`` is the
network under a plan: what happens to the n-th packet of a client is a hash of seed, client and n.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from random import Random

from simulators.virtual_broker import Fate

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ONE_MILLION = 1_000_000


class Glitch(StrEnum):
    """What a meter may show instead of the truth."""

    ZERO = "zero"
    ROLL_BACK = "roll_back"
    ABSENT = "absent"
    SENTINEL = "sentinel"
    STUCK = "stuck"
    SPIKE = "spike"
    EXCEPTION = "exception"


class ChainFault(StrEnum):
    """What a chain may do for a while."""

    DOWN = "down"
    REVERTING = "reverting"
    DELAYED = "delayed"
    REPEATING = "repeating"
    REORGANISED = "reorganised"


class CrashPoint(StrEnum):
    """Where the coordinator dies: what it did is lost, or what it wanted to say."""

    BEFORE_COMMIT = "before_commit"
    BEFORE_EFFECTS = "before_effects"


@dataclass(frozen=True, slots=True)
class Window:
    """``home`` -1 means everybody. Half-open, milliseconds of the true clock."""

    home: int
    from_ms: int
    until_ms: int

    def covers(self, home: int, at_ms: int) -> bool:
        """Whether it holds for that home at that instant."""
        return self.home in (-1, home) and self.from_ms <= at_ms < self.until_ms


@dataclass(frozen=True, slots=True)
class AgentCrash:
    """An agent dies without a word and is away for ``down_ms``. ``restored`` brings an older copy of its database.

    ``clock_error_ms`` is how wrong its clock is after the start, for ``sync_after_ms``; it knows that it does not know.
    """

    home: int
    at_ms: int
    down_ms: int
    restored: bool
    clock_error_ms: int
    sync_after_ms: int


@dataclass(frozen=True, slots=True)
class CoordinatorCrash:
    """The coordinator dies at its next work after ``at_ms`` and is away for ``down_ms``."""

    at_ms: int
    down_ms: int
    point: CrashPoint


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A synchronised clock jumps by ``step_ms`` (its shell notices), and back after ``lasts_ms``."""

    home: int
    at_ms: int
    step_ms: int
    lasts_ms: int


@dataclass(frozen=True, slots=True)
class MeterGlitch:
    """The meter of a home shows something else for a while."""

    window: Window
    kind: Glitch


@dataclass(frozen=True, slots=True)
class ChainTrouble:
    """The chain misbehaves for a while."""

    from_ms: int
    until_ms: int
    kind: ChainFault


@dataclass(frozen=True, slots=True)
class FaultBounds:
    """How bad it may get: rates in parts per million, counts and the longest durations. All 0: a calm world."""

    loss_ppm: int = 150_000
    duplicate_ppm: int = 100_000
    damage_ppm: int = 20_000
    delay_ms: int = 4_000
    partitions: int = 3
    partition_ms: int = HOUR_MS
    agent_crashes: int = 3
    restores_ppm: int = 350_000
    unsynced_ppm: int = 500_000
    coordinator_crashes: int = 3
    coordinator_down_ms: int = 20 * 60_000
    broker_restarts: int = 2
    clock_steps: int = 1
    glitches: int = 4
    glitch_ms: int = 30 * 60_000
    chain_troubles: int = 3
    chain_trouble_ms: int = HOUR_MS


CALM = FaultBounds(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Everything that will go wrong. Built by ``draw_faults`` or by a scenario's own windows."""

    heal_at_ms: int
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    damage_ppm: int = 0
    delay_ms: int = 0
    partitions: tuple[Window, ...] = ()
    agent_crashes: tuple[AgentCrash, ...] = ()
    coordinator_crashes: tuple[CoordinatorCrash, ...] = ()
    broker_restarts: tuple[int, ...] = ()
    clock_steps: tuple[ClockStep, ...] = ()
    glitches: tuple[MeterGlitch, ...] = ()
    chain_troubles: tuple[ChainTrouble, ...] = ()
    liars: tuple[int, ...] = field(default=())

    def is_partitioned(self, home: int, at_ms: int) -> bool:
        """Whether the home's packets vanish."""
        return at_ms < self.heal_at_ms and any(w.covers(home, at_ms) for w in self.partitions)

    def glitch_of(self, home: int, at_ms: int) -> Glitch | None:
        """What the home's meter shows instead of the truth, if anything."""
        if at_ms >= self.heal_at_ms:
            return None
        return next((g.kind for g in self.glitches if g.window.covers(home, at_ms)), None)

    def chain_does(self, kind: ChainFault, at_ms: int) -> bool:
        """Whether the chain misbehaves in that way now."""
        return at_ms < self.heal_at_ms and any(
            t.kind is kind and t.from_ms <= at_ms < t.until_ms for t in self.chain_troubles
        )


def draw_faults(seed: int, homes: int, start_ms: int, heal_at_ms: int, bounds: FaultBounds) -> FaultPlan:
    """The plan of that seed within ``bounds``; every fault begins and ends between start and heal."""
    random = Random(f"faults/{seed}")

    def instant(latest_part: int = 100) -> int:
        return start_ms + (heal_at_ms - start_ms) * random.randint(5, latest_part) // 100

    def window(longest_ms: int) -> Window:
        from_ms = instant(90)
        until_ms = min(heal_at_ms, from_ms + random.randint(longest_ms // 20, longest_ms))
        return Window(random.choice([-1, *range(homes)]), from_ms, until_ms)

    def crash() -> AgentCrash:
        error_ms = 0
        if random.randrange(ONE_MILLION) < bounds.unsynced_ppm:
            error_ms = random.choice((-HOUR_MS, 14 * DAY_MS, -start_ms))
        at_ms = instant(90)
        down_ms = random.randint(1_000, 25 * 60_000)
        return AgentCrash(
            random.randrange(homes), at_ms, min(down_ms, max(1_000, heal_at_ms - at_ms)),
            random.randrange(ONE_MILLION) < bounds.restores_ppm, error_ms, random.randint(5_000, 20 * 60_000),
        )  # fmt: skip

    def coordinator_crash() -> CoordinatorCrash:
        down_ms = random.randint(1_000, max(1_000, bounds.coordinator_down_ms))
        return CoordinatorCrash(instant(90), down_ms, random.choice(tuple(CrashPoint)))

    def step() -> ClockStep:
        return ClockStep(
            random.randrange(homes), instant(80), random.choice((-HOUR_MS, HOUR_MS, -7_000, 61_000)),
            random.randint(60_000, 30 * 60_000),
        )  # fmt: skip

    def trouble() -> ChainTrouble:
        shape = window(bounds.chain_trouble_ms)
        return ChainTrouble(shape.from_ms, shape.until_ms, random.choice(tuple(ChainFault)))

    def up_to(limit: int) -> range:
        return range(random.randint(0, limit))

    return FaultPlan(
        heal_at_ms,
        random.randint(0, bounds.loss_ppm),
        random.randint(0, bounds.duplicate_ppm),
        random.randint(0, bounds.damage_ppm),
        random.randint(0, bounds.delay_ms),
        tuple(window(bounds.partition_ms) for _ in up_to(bounds.partitions)),
        tuple(crash() for _ in up_to(bounds.agent_crashes)),
        tuple(coordinator_crash() for _ in up_to(bounds.coordinator_crashes)),
        tuple(instant() for _ in up_to(bounds.broker_restarts)),
        tuple(step() for _ in up_to(bounds.clock_steps)),
        tuple(MeterGlitch(window(bounds.glitch_ms), random.choice(tuple(Glitch))) for _ in up_to(bounds.glitches)),
        tuple(trouble() for _ in up_to(bounds.chain_troubles)),
    )


class SeededFates:
    """The network under a plan. ``homes`` names the client of each home; other clients are spared partitions."""

    def __init__(self, seed: int, plan: FaultPlan, homes: dict[str, int]) -> None:
        self._seed = seed.to_bytes(8, "big", signed=True)
        self._plan = plan
        self._homes = homes
        self._packets: dict[tuple[str, bool], int] = {}

    def of(self, client: str, upward: bool, payload: bytes, now_ms: int) -> Fate:
        """The fate of one packet; without faults, and towards the coordinator, it arrives after some milliseconds."""
        number = self._packets.get((client, upward), 0)
        self._packets[client, upward] = number + 1
        plan, home = self._plan, self._homes.get(client)
        dice = sha256(self._seed + f"{client}/{upward}/{number}".encode()).digest()
        lost, doubled, damaged, delay, again, place = (int.from_bytes(dice[i : i + 4], "big") for i in range(0, 24, 4))
        quick_ms = 2 + delay % 20
        if home is None or now_ms >= plan.heal_at_ms:
            return Fate(((quick_ms, payload),))
        if plan.is_partitioned(home, now_ms) or lost % ONE_MILLION < plan.loss_ppm:
            return Fate(())
        if damaged % ONE_MILLION < plan.damage_ppm and payload:
            payload = _damage(payload, place)
        first = (quick_ms + delay % (plan.delay_ms + 1), payload)
        if doubled % ONE_MILLION < plan.duplicate_ppm:
            return Fate((first, (quick_ms + again % (plan.delay_ms * 3 + 50), payload)))
        return Fate((first,))


def _damage(payload: bytes, dice: int) -> bytes:
    """Cut off, or one bit turned."""
    place = dice // 2 % len(payload)
    if dice % 2:
        return payload[:place]
    return payload[:place] + bytes((payload[place] ^ 1 << dice % 8,)) + payload[place + 1 :]
