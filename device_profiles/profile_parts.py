"""The frozen parts a device profile is made of; `profile.py` reads them, everything else uses them.

An unresolved SunSpec point has address `UNRESOLVED`; `sunspec.resolve` fills in where the model really sits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .register_type import TYPES

__all__ = [
    "UNRESOLVED",
    "Bus",
    "Example",
    "Hole",
    "Kind",
    "Point",
    "Probe",
    "Profile",
    "ProfileError",
    "RegisterImage",
    "Span",
    "Speed",
    "Step",
    "SunSpecLayout",
    "TextPoint",
    "Watchdog",
    "WritePoint",
]

Kind: TypeAlias = Literal["meter", "inverter", "battery"]
Speed: TypeAlias = Literal["fast", "slow", "settlement"]
# Function code, first address, number of registers that must be read together.
Span: TypeAlias = tuple[int, int, int]

UNRESOLVED = -1


class ProfileError(Exception):
    """A profile that is refused, with everything that is wrong with it."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class RegisterImage(dict[tuple[int, int], int]):
    """Words by (function code, 0-based address): what was read, or what a simulated device shows."""

    def put(self, function: int, address: int, words: Iterable[int]) -> None:
        """Lay consecutive words down from `address` on."""
        for offset, word in enumerate(words):
            self[function, address + offset] = word

    def words_of(self, function: int) -> dict[int, int]:
        """Address to word for one function code."""
        return {address: word for (code, address), word in self.items() if code == function}


@dataclass(frozen=True, slots=True)
class Hole:
    """Registers from `first` to `last` (inclusive) that the device refuses to have inside a block read."""

    function: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Bus:
    """How the device likes to be talked to. `pause_ms` is silence it needs between frames beyond the standard."""

    function: int = 3
    word_order: str = "ABCD"
    max_registers: int = 125
    turnaround_ms: int = 20
    pause_ms: int = 0
    baud: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    unit: int = 1
    port: int = 502
    holes: tuple[Hole, ...] = ()

    @property
    def bits_per_character(self) -> int:
        """Start, eight bits, parity if any, stop: 10 or 11 (8N2 and 8E1), 12 for 8E2."""
        return 9 + (self.parity != "N") + self.stop_bits


@dataclass(frozen=True, slots=True)
class Point:
    """One measured value. `raw * scale[0] / scale[1] * 10**scale_factor * sign` is the integer in our unit.

    `absent` are raw patterns that mean "no value". `scale_exponent` is the exponent a simulated device starts
    from where `scale_register` is set. `modulus` is the raw count at which a counter rolls over to 0, or None
    for floats. `model`/`model_point` are set for SunSpec points: models that will do, best first.
    """

    measurement: str
    function: int
    address: int
    type: str
    scale: tuple[int, int] = (1, 1)
    sign: int = 1
    speed: Speed = "slow"
    counter: bool = False
    word_order: str = "ABCD"
    absent: tuple[int, ...] = ()
    scale_register: int | None = None
    scale_exponent: int = 0
    modulus: int | None = None
    model: tuple[int, ...] = ()
    model_point: str = ""

    @property
    def count(self) -> int:
        """Registers the value spans."""
        return TYPES[self.type].words

    @property
    def spans(self) -> tuple[Span, ...]:
        """What must be read to decode it."""
        own = (self.function, self.address, self.count)
        return (own,) if self.scale_register is None else (own, (self.function, self.scale_register, 1))


@dataclass(frozen=True, slots=True)
class TextPoint:
    """Identity the device tells about itself (`manufacturer`, `model`, `version`, `serial`)."""

    name: str
    function: int
    address: int
    count: int
    model: tuple[int, ...] = ()
    model_point: str = ""

    @property
    def spans(self) -> tuple[Span, ...]:
        """What must be read to decode it."""
        return ((self.function, self.address, self.count),)


@dataclass(frozen=True, slots=True)
class Step:
    """A fixed write around a set-point; `release` is what takes it back, None where nothing does."""

    address: int
    type: str
    value: int
    release: int | None = None
    model_point: str = ""


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The register with the seconds after which the device itself drops the set-point; `seconds` is the most."""

    address: int
    type: str
    seconds: int
    model_point: str = ""


@dataclass(frozen=True, slots=True)
class WritePoint:
    """A set-point. Order on the wire: `before`, the value, the watchdog's seconds, then `enable`.

    `minimum`, `maximum`, `ramp_per_s` and `fallback` are in the set-point's unit. `ramp_per_s` None: no ramp
    needed. `storage` "flash" wears out and needs a write budget. `read_back` names the measurement that shows
    the effect, `fallback` what the device does when its watchdog fires (None: the maker does not say).
    """

    name: str
    function: int
    address: int
    type: str
    minimum: int
    maximum: int
    scale: tuple[int, int] = (1, 1)
    sign: int = 1
    word_order: str = "ABCD"
    scale_register: int | None = None
    scale_exponent: int = 0
    ramp_per_s: int | None = None
    storage: Literal["volatile", "flash"] = "volatile"
    before: tuple[Step, ...] = ()
    watchdog: Watchdog | None = None
    enable: tuple[Step, ...] = ()
    read_back: str | None = None
    fallback: int | None = None
    model: tuple[int, ...] = ()
    model_point: str = ""

    @property
    def count(self) -> int:
        """Registers the value spans."""
        return TYPES[self.type].words

    @property
    def spans(self) -> tuple[Span, ...]:
        """What must be read before writing (scale factor) and to see that it was taken (value, enable)."""
        found: list[Span] = [(self.function, self.address, self.count)]
        if self.scale_register is not None:
            found.append((self.function, self.scale_register, 1))
        found += [(self.function, s.address, TYPES[s.type].words) for s in self.enable]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Probe:
    """Is it this device? Either fixed `words`, or a measurement that must lie within [minimum, maximum]."""

    function: int = 0
    address: int = 0
    words: tuple[int, ...] = ()
    measurement: str = ""
    minimum: int = 0
    maximum: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """Captured words and the integers and texts they mean."""

    registers: Mapping[tuple[int, int], int]
    values: Mapping[str, int]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SunSpecLayout:
    """`chain` is what a simulated device offers, in order; `bases` where to look for a real one."""

    chain: tuple[int, ...]
    bases: tuple[int, ...] = (40000, 50000, 0)


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device, as its file says."""

    name: str
    vendor: str
    model: str
    kind: Kind
    phases: int
    bus: Bus
    probe: Probe
    points: tuple[Point, ...]
    texts: tuple[TextPoint, ...]
    writes: tuple[WritePoint, ...]
    example: Example
    sunspec: SunSpecLayout | None = None

    @property
    def resolved(self) -> bool:
        """False for a SunSpec profile whose models have not been found yet."""
        placed = [p.address for p in self.points] + [t.address for t in self.texts] + [w.address for w in self.writes]
        return UNRESOLVED not in placed

    @property
    def measurements(self) -> frozenset[str]:
        """Names of everything it can measure."""
        return frozenset(p.measurement for p in self.points)

    def points_of(self, *speeds: Speed) -> tuple[Point, ...]:
        """The points polled at one of these speeds."""
        return tuple(p for p in self.points if p.speed in speeds)

    def point(self, measurement: str) -> Point:
        """The point of a measurement; KeyError where the device has none."""
        for found in self.points:
            if found.measurement == measurement:
                return found
        raise KeyError(measurement)

    def write(self, name: str) -> WritePoint:
        """The set-point called `name`; KeyError where the device has none."""
        for found in self.writes:
            if found.name == name:
                return found
        raise KeyError(name)
