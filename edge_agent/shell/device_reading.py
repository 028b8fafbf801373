"""Reads everything of one device once, for `edge-agent profile test`: its points, texts, set-points and models.

    bus -> SunSpec: walk, every model whole -> blocks of the read plan -> refused? each value by itself -> registers

A refusal of one register must not hide the others: a block the device refuses is read again piece by piece, and what
is refused then is told by its name. Silence ends the reading: a device that does not answer has no other registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from device_profiles.profile_parts import Profile, RegisterImage, Span
from device_profiles.read_plan import Link, Readable, plan
from device_profiles.sunspec import FoundModel, resolve, walk
from edge_agent.shell.bus import ModbusBus, RemoteBusError

MODEL_LIMIT = 2_000
"""Registers of a model that are read; the longest table there is has some hundreds, curves included."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Registers that are read together."""

    spans: tuple[Span, ...]


@dataclass(slots=True)
class Reading:
    """What a device said. ``refused`` are registers it did not want to show: function, address, count."""

    profile: Profile
    registers: RegisterImage = field(default_factory=RegisterImage)
    models: tuple[FoundModel, ...] = ()
    refused: list[Span] = field(default_factory=list)
    requests: int = 0


async def read_device(bus: ModbusBus, profile: Profile, unit: int, link: Link) -> Reading:
    """Everything the profile knows. Raises RemoteBusError, RemoteSunSpecError, LocalPlanError or ValueError."""
    reading = Reading(profile)
    if profile.sunspec is not None and not profile.resolved:
        reading.models = await _walk(bus, reading, unit, profile.sunspec.bases)
        reading.profile = profile = resolve(profile, reading.models)
        for model in reading.models:
            await _model(bus, reading, unit, model)
    # The probe by itself: some devices tell who they are only to who asks for nothing else.
    await _fetch(bus, reading, unit, link, [_Part(profile.probe_spans)])
    known: list[Readable] = [*profile.points, *profile.texts, *profile.writes]
    known = [part for part in known if not _read(reading, part)]
    await _fetch(bus, reading, unit, link, known)
    return reading


def _read(reading: Reading, part: Readable) -> bool:
    return all((f, a + i) in reading.registers for f, a, count in part.spans for i in range(count))


async def _walk(bus: ModbusBus, reading: Reading, unit: int, bases: Sequence[int]) -> tuple[FoundModel, ...]:
    steps = walk(bases)
    address, count = next(steps)
    while True:
        words = await _ask(bus, reading, unit, (3, address, count))
        try:
            address, count = steps.send(words)
        except StopIteration as end:
            found: tuple[FoundModel, ...] = end.value
            return found


async def _model(bus: ModbusBus, reading: Reading, unit: int, model: FoundModel) -> None:
    """A whole model, in blocks of what the profile allows."""
    first, end = model.address, model.address + 2 + min(model.length, MODEL_LIMIT)
    step = reading.profile.bus.max_registers
    for address in range(first, end, step):
        await _ask(bus, reading, unit, (3, address, min(step, end - address)))


async def _fetch(bus: ModbusBus, reading: Reading, unit: int, link: Link, parts: Sequence[Readable]) -> None:
    for request in plan(parts, reading.profile.bus, link).requests:
        span = (request.function, request.address, request.count)
        if await _ask(bus, reading, unit, span, told=False) is not None:
            continue
        pieces = {piece for part in parts for piece in part.spans if _inside(piece, span)}
        for piece in sorted(pieces):
            await _ask(bus, reading, unit, piece)


def _inside(piece: Span, span: Span) -> bool:
    return piece[0] == span[0] and span[1] <= piece[1] and piece[1] + piece[2] <= span[1] + span[2]


async def _ask(bus: ModbusBus, reading: Reading, unit: int, span: Span, told: bool = True) -> list[int] | None:
    """The words, None where the device refuses them."""
    reading.requests += 1
    try:
        words = await bus.read(unit, *span)
    except RemoteBusError as error:
        if error.silent:
            raise
        if told:
            reading.refused.append(span)
        return None
    reading.registers.put(span[0], span[1], words)
    return words
