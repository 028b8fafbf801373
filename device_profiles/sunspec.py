"""Finding a SunSpec device's models and giving a profile's points their addresses.

`walk` is a generator that does no reading itself: it yields (address, count) of holding registers (function 3),
the caller sends back the words, or None where the device refused or was silent, and gets the models as the
generator's return value. Steps: a base that holds "SunS"; then id and length of each model, next model two plus
length further; id 0xFFFF ends the chain. Models nobody has a table for are listed like the others.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from .profile_parts import Point, Profile, RegisterImage, TextPoint, WritePoint
from .register_type import SUNSPEC_ABSENT, words_from_raw
from .sunspec_model import ModelPoint, load_model, model_ids, place_point, place_text, place_write

__all__ = [
    "BASES",
    "FoundModel",
    "RemoteSunSpecError",
    "WalkFault",
    "chain_words",
    "layout",
    "resolve",
    "walk",
    "walk_image",
]

BASES = (40000, 50000, 0)
_MARK = (0x5375, 0x6E53)
_END = 0xFFFF
# Real devices have up to some twenty models; a chain beyond this is not one, and would hold the bus for minutes.
_MAX_MODELS = 64


class WalkFault(StrEnum):
    """Why a chain was refused, gravest first."""

    NO_MAP = "no base holds SunS"
    UNREADABLE = "the chain breaks off: a model header could not be read"
    WRONG_LENGTH = "an answer did not have the length asked for"
    NOT_A_MODEL = "a model header with id 0"
    OUT_OF_SPACE = "a model reaches beyond register 65535"
    TOO_LONG = f"more than {_MAX_MODELS} models"


class RemoteSunSpecError(Exception):
    """The device's model chain is broken; `found` holds the models before the fault."""

    def __init__(self, fault: WalkFault, address: int, found: tuple[FoundModel, ...] = ()) -> None:
        super().__init__(f"{fault} (register {address})")
        self.fault = fault
        self.address = address
        self.found = found


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model in a device: `address` is the register of its id, `length` its registers after id and length."""

    id: int
    address: int
    length: int


def walk(
    bases: Sequence[int] = BASES,
) -> Generator[tuple[int, int], Sequence[int] | None, tuple[FoundModel, ...]]:
    """Ask for reads until the chain's end; RemoteSunSpecError names what is wrong with a broken chain."""
    for base in bases:
        words = yield (base, 2)
        if words is not None and tuple(words) == _MARK:
            return (yield from _walk_chain(base + 2))
    raise RemoteSunSpecError(WalkFault.NO_MAP, bases[0] if bases else 0)


def _walk_chain(address: int) -> Generator[tuple[int, int], Sequence[int] | None, tuple[FoundModel, ...]]:
    found: list[FoundModel] = []
    while True:
        if address + 1 > 0xFFFF:
            raise RemoteSunSpecError(WalkFault.OUT_OF_SPACE, address, tuple(found))
        words = yield (address, 2)
        if words is None:
            raise RemoteSunSpecError(WalkFault.UNREADABLE, address, tuple(found))
        if len(words) != 2:
            raise RemoteSunSpecError(WalkFault.WRONG_LENGTH, address, tuple(found))
        number, length = words
        if number == _END:
            return tuple(found)
        if number == 0:
            raise RemoteSunSpecError(WalkFault.NOT_A_MODEL, address, tuple(found))
        if len(found) == _MAX_MODELS:
            raise RemoteSunSpecError(WalkFault.TOO_LONG, address, tuple(found))
        found.append(FoundModel(number, address, length))
        address += 2 + length


def walk_image(registers: RegisterImage, bases: Sequence[int] = BASES) -> tuple[FoundModel, ...]:
    """`walk` over words already at hand, such as a profile's example."""
    steps = walk(bases)
    address, count = next(steps)
    while True:
        words = [registers.get((3, address + i)) for i in range(count)]
        answer = [w for w in words if w is not None]
        try:
            address, count = steps.send(answer if len(answer) == count else None)
        except StopIteration as stop:
            found: tuple[FoundModel, ...] = stop.value
            return found


def _place(models: Sequence[int], found: Sequence[FoundModel], instance: int) -> FoundModel | None:
    for number in models:
        same = [m for m in found if m.id == number]
        if len(same) > instance:
            return same[instance]
    return None


def resolve(profile: Profile, found: Sequence[FoundModel], instance: int = 0) -> Profile:
    """The profile with absolute addresses, ready for codec, planner and writes.

    Points whose model the device does not have, or has in a shorter form, are dropped: missing is absent.
    `instance` picks among several models of one kind, such as the second meter. ValueError when nothing of the
    profile is left, or when it is no SunSpec profile.
    """
    if profile.sunspec is None:
        raise ValueError(f"{profile.name} is not a SunSpec profile")
    points = [p for p in (_resolve_point(p, found, instance) for p in profile.points) if p is not None]
    writes = [w for w in (_resolve_write(w, found, instance) for w in profile.writes) if w is not None]
    if not any(p.model for p in points):
        raise ValueError(f"the device has none of the models {profile.name} reads")
    first = min((p.address for p in points if p.model), default=0)
    texts = [t for t in (_resolve_text(t, found, first) for t in profile.texts) if t is not None]
    probe = replace(profile.probe, address=min(m.address for m in found) - 2) if profile.probe.words else profile.probe
    return replace(profile, points=tuple(points), texts=tuple(texts), writes=tuple(writes), probe=probe)


def _inside(model: FoundModel, spans: Sequence[tuple[int, int, int]]) -> bool:
    end = model.address + 2 + model.length
    return all(model.address <= address and address + count <= end for _, address, count in spans)


def _resolve_point(point: Point, found: Sequence[FoundModel], instance: int) -> Point | None:
    if not point.model:
        return point  # one of the maker's own registers, beside the chain
    model = _place(point.model, found, instance)
    if model is None:
        return None
    placed = place_point(point, load_model(model.id), model.address)
    return placed if _inside(model, placed.spans) else None


def _resolve_text(text: TextPoint, found: Sequence[FoundModel], before: int) -> TextPoint | None:
    """A meter behind an inverter has a common block of its own: the last one before its points is the right one."""
    same = [m for m in found if m.id in text.model and m.address < before]
    if not same:
        return None
    model = same[-1]
    placed = place_text(text, load_model(model.id), model.address)
    return placed if _inside(model, placed.spans) else None


def _resolve_write(write: WritePoint, found: Sequence[FoundModel], instance: int) -> WritePoint | None:
    if not write.model:
        return write
    model = _place(write.model, found, instance)
    if model is None:
        return None
    placed = place_write(write, load_model(model.id), model.address)
    steps = [(3, s.address, 1) for s in placed.before]
    if placed.watchdog is not None and placed.watchdog.address is not None:
        steps.append((3, placed.watchdog.address, 1))
    return placed if _inside(model, [*placed.spans, *steps]) else None


def layout(profile: Profile) -> tuple[FoundModel, ...]:
    """Where a simulated device of this profile keeps its models: the profile's chain from its first base on."""
    if profile.sunspec is None:
        raise ValueError(f"{profile.name} is not a SunSpec profile")
    found, address = [], profile.sunspec.bases[0] + 2
    for number in profile.sunspec.chain:
        model = load_model(number)
        length = model.length
        if model.repeating is not None:
            length += model.repeating.size * profile.sunspec.repeats.get(number, 0)
        found.append(FoundModel(number, address, length))
        address += 2 + length
    return tuple(found)


def chain_words(found: Sequence[FoundModel]) -> RegisterImage:
    """The words of an empty device with these models: mark, headers, "not implemented" everywhere, end."""
    image = RegisterImage()
    address = found[0].address if found else BASES[0] + 2
    image.put(3, address - 2, _MARK)
    for model in found:
        image.put(3, model.address, [model.id, model.length] + [0] * model.length)
        address = model.address + 2 + model.length
        if model.id not in model_ids():
            continue
        for row in _rows(model):
            if row.at >= 2 and row.at + row.words <= 2 + model.length:
                words = words_from_raw(SUNSPEC_ABSENT[row.type], row.words, "ABCD")
                image.put(3, model.address + row.at, words)
        _put_count(image, model)
    image.put(3, address, (_END, 0))
    return image


def _repeats(model: FoundModel) -> int:
    table = load_model(model.id)
    group = table.repeating
    return 0 if group is None else max(0, model.length - table.length) // group.size


def _rows(model: FoundModel) -> list[ModelPoint]:
    """All lines of a model, those of its group as often as the model is long."""
    table = load_model(model.id)
    found = list(table.points.values())
    start = 2 + table.length
    for turn in range(_repeats(model)):
        assert table.repeating is not None
        found += [
            replace(row, at=start + turn * table.repeating.size + row.at) for row in table.repeating.points.values()
        ]
    return found


def _put_count(image: RegisterImage, model: FoundModel) -> None:
    group = load_model(model.id).repeating
    if group is not None:
        image[3, model.address + load_model(model.id).points[group.count].at] = _repeats(model)
