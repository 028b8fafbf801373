"""The frozen parts a device profile is made of; `profile.py` reads them, everything else uses them.

An unresolved SunSpec point has address `UNRESOLVED`; `sunspec.resolve` fills in where the model really sits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    "Share",
    "Shown",
    "Span",
    "Speed",
    "Step",
    "SunSpecLayout",
    "TextPoint",
    "Watchdog",
    "WritePoint",
]

Kind: TypeAlias = Literal["meter", "inverter", "battery", "charger"]
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

    `absent` are raw patterns that mean "no value", `zero` those that mean 0. `plus` and `minus` are the addresses of
    further registers of the same type to be added and taken away before scaling; one of `plus` that says "no value"
    counts nothing, as a phase that is not there. `magnitude` drops the device's sign. `scale_exponent` is the
    exponent a simulated device starts from where `scale_register` is set. `modulus` is the raw count at which a
    counter rolls over to 0, or None where that is not known. `model`/`model_point`/`model_minus` are set for SunSpec
    points: models that will do, best first.
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
    zero: tuple[int, ...] = ()
    plus: tuple[int, ...] = ()
    minus: tuple[int, ...] = ()
    magnitude: bool = False
    scale_register: int | None = None
    scale_exponent: int = 0
    modulus: int | None = None
    model: tuple[int, ...] = ()
    model_point: str = ""
    model_minus: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Registers one term of the value spans."""
        return TYPES[self.type].words

    @property
    def terms(self) -> tuple[int, ...]:
        """Addresses of all its terms: its own, those of `plus`, those of `minus`."""
        return (self.address, *self.plus, *self.minus)

    @property
    def spans(self) -> tuple[Span, ...]:
        """What must be read to decode it."""
        own = tuple((self.function, address, self.count) for address in self.terms)
        return own if self.scale_register is None else (*own, (self.function, self.scale_register, 1))


@dataclass(frozen=True, slots=True)
class TextPoint:
    """Identity the device tells about itself (`manufacturer`, `model`, `version`, `serial`), so many characters a word.

    A single one stands in the word's low byte.
    """

    name: str
    function: int
    address: int
    count: int
    characters: int = 2
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
    """After so many `seconds` at most the device itself drops the set-point.

    `address` is the register that takes the time, in counts of `step_s` seconds and not less than `least_s`. None:
    the device has no such register, it drops every set-point that is not written again within `seconds`.
    """

    address: int | None
    type: str
    seconds: int
    step_s: int = 1
    least_s: int = 1
    model_point: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """The register a set-point in percent refers to, in the set-point's unit: `raw * 10**scale_factor`."""

    address: int
    type: str
    scale_register: int | None = None
    scale_exponent: int = 0
    model_point: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """The register that shows the set-point in force, in the set-point's own scale."""

    function: int
    address: int
    type: str


@dataclass(frozen=True, slots=True)
class WritePoint:
    """A set-point. Order on the wire: `before`, the value, the watchdog's seconds, then `enable`.

    `minimum`, `maximum`, `ramp_per_s` and `fallback` are in the set-point's unit. `ramp_per_s` None: no ramp
    needed. `storage` "flash" wears out and needs a write budget. `read_back` names the measurement that shows
    the effect, `fallback` what the device does when its watchdog fires (None: the maker does not say). `of`: the
    register holds percent of that one. `below_zero` is where the magnitude of a negative value goes instead, for
    devices with one register for each direction. `shown` is where a set-point that cannot be read is read back;
    nothing else of such a set-point is read.
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
    of: Share | None = None
    below_zero: WritePoint | None = None
    shown: Shown | None = None
    model: tuple[int, ...] = ()
    model_point: str = ""

    @property
    def count(self) -> int:
        """Registers the value spans."""
        return TYPES[self.type].words

    @property
    def spans(self) -> tuple[Span, ...]:
        """What must be read before writing (scale factors, share) and to see that it was taken (value, enable)."""
        if self.shown is not None:
            return ((self.shown.function, self.shown.address, TYPES[self.shown.type].words),)
        found: list[Span] = [(self.function, self.address, self.count)]
        if self.scale_register is not None:
            found.append((self.function, self.scale_register, 1))
        if self.of is not None:
            found.append((self.function, self.of.address, TYPES[self.of.type].words))
            if self.of.scale_register is not None:
                found.append((self.function, self.of.scale_register, 1))
        found += [(self.function, s.address, TYPES[s.type].words) for s in self.enable]
        if self.below_zero is not None:
            found += self.below_zero.spans
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Probe:
    """Is it this device? Fixed `words`, one register that is `any_of`, or a measurement within [minimum, maximum]."""

    function: int = 0
    address: int = 0
    words: tuple[int, ...] = ()
    any_of: tuple[int, ...] = ()
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
    """`chain` is what a simulated device offers, in order; `bases` where to look for a real one.

    `repeats` says how often the repeating group of a model stands in the simulated device.
    """

    chain: tuple[int, ...]
    bases: tuple[int, ...] = (40000, 50000, 0)
    repeats: Mapping[int, int] = field(default_factory=dict)


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
    def probe_spans(self) -> tuple[Span, ...]:
        """What must be read to tell whether it is this device."""
        if self.probe.measurement:
            return self.point(self.probe.measurement).spans
        return ((self.probe.function, self.probe.address, len(self.probe.words) or 1),)

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
