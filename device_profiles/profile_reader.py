"""From a parsed TOML table to a `Profile`, or to the full list of what is wrong with it.

Order: identity and bus first, since points take their defaults from the bus; then points, texts, set-points,
probe and example; last the rules that need several parts at once (overlaps, holes, names that must exist).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import cast

from .measurement import MEASUREMENTS
from .profile_parts import (
    UNRESOLVED,
    Bus,
    Example,
    Hole,
    Kind,
    Point,
    Probe,
    Profile,
    ProfileError,
    Speed,
    SunSpecLayout,
    TextPoint,
)
from .register_type import SUNSPEC_ABSENT, TYPES, WORD_ORDERS
from .sunspec_model import load_model, model_ids, modulus_of, place_point, place_text, unit_scale
from .toml_table import Table
from .write_reader import read_writes

__all__ = ["read_profile"]

_LAST = 0xFFFF
_TEXTS = ("manufacturer", "model", "version", "serial")
_NUMBERS = tuple(name for name, kind in TYPES.items() if kind.words and name != "sunssf")
# Strings of an inverter, ports of a battery, curves of a control: real devices stay far below it.
_REPEATS_MAX = 16
_BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


def read_profile(values: Mapping[str, object]) -> Profile:
    """The profile a TOML table describes; ProfileError with every fault found."""
    errors: list[str] = []
    top = Table(values, "", errors)
    top.where = "profile"
    name = top.text("name")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) and name != "?":
        top.refuse("name must be lower-case letters, digits and underscores")
    vendor, model = top.text("vendor"), top.text("model")
    kind = cast(Kind, top.text("kind", ("meter", "inverter", "battery", "charger")))
    phases = top.integer("phases", 1, 3)
    top.where = ""
    layout = _sunspec(top)
    bus = _bus(top)
    points = _points(top, bus, layout is not None)
    texts = _texts(top, bus, layout is not None)
    writes = read_writes(top, bus, layout is not None, {p.measurement for p in points})
    probe = _probe(top, points, layout)
    example = _example(top, points, texts)
    top.where = "profile"
    top.done()
    errors += _clashes(points, bus)
    if errors:
        raise ProfileError(tuple(errors))
    return Profile(name, vendor, model, kind, phases, bus, probe, points, texts, writes, example, layout)


def _sunspec(top: Table) -> SunSpecLayout | None:
    if not top.has("sunspec"):
        return None
    table = top.table("sunspec")
    chain = table.integers("chain", 1, _LAST - 1)
    rows = table.table("repeats")
    numbers = [name for name in rows.names() if name.isdecimal() and len(name) <= 5]
    repeats = {int(name): rows.integer(name, 0, _REPEATS_MAX) for name in numbers}
    rows.done()
    layout = SunSpecLayout(chain, table.integers("bases", 0, _LAST, default=(40000, 50000, 0)), repeats)
    for number in repeats:
        if number not in chain or (number in model_ids() and not load_model(number).repeating):
            table.refuse(f"repeats names model {number}, which is not in the chain or repeats nothing")
    for number in layout.chain:
        if number not in model_ids():
            table.refuse(f"chain holds model {number}, for which there is no table")
    table.done()
    return layout


def _bus(top: Table) -> Bus:
    table = top.table("bus")
    holes = []
    for row in top.tables("hole"):
        hole = Hole(row.integer("function", 3, 4), row.integer("first", 0, _LAST), row.integer("last", 0, _LAST))
        if hole.last < hole.first:
            row.refuse("last is before first")
        row.done()
        holes.append(hole)
    baud = table.integer("baud", _BAUDS[0], _BAUDS[-1], default=9600)
    if baud not in _BAUDS:
        table.refuse(f"baud is {baud}, allowed are {', '.join(map(str, _BAUDS))}")
    bus = Bus(
        function=table.integer("function", 3, 4),
        word_order=table.text("word_order", WORD_ORDERS),
        max_registers=table.integer("max_registers", 1, 125, default=125),
        turnaround_ms=table.integer("turnaround_ms", 0, 10_000, default=20),
        pause_ms=table.integer("pause_ms", 0, 10_000, default=0),
        baud=baud,
        parity=table.text("parity", ("N", "E", "O"), default="N"),
        stop_bits=table.integer("stop_bits", 1, 2, default=1),
        unit=table.integer("unit", 0, 255, default=1),
        port=table.integer("port", 1, 65535, default=502),
        holes=tuple(holes),
    )
    table.done()
    return bus


def _points(top: Table, bus: Bus, sunspec: bool) -> tuple[Point, ...]:
    table = top.table("points")
    if not table.names():
        table.refuse("there must be at least one point")
    found = []
    for name in table.names():
        row = table.table(name)
        if name not in MEASUREMENTS:
            row.refuse("is not a measurement; see device_profiles/README.md")
            continue
        known = MEASUREMENTS[name]
        speed = cast(
            Speed,
            row.text("speed", ("fast", "slow", "settlement"), default="settlement" if known.counter else "slow"),
        )
        sign = row.integer("sign", -1, 1, default=1)
        if sign == 0 or (sign < 0 and not known.signed):
            row.refuse("sign must be 1, or -1 for a measurement that has a sign")
        modelled = sunspec and not row.has("address")
        point = _sunspec_point(row, name, sign, speed) if modelled else _point(row, name, sign, speed, bus)
        row.done()
        if point is not None:
            found.append(point)
    return tuple(found)


def _point(row: Table, name: str, sign: int, speed: Speed, bus: Bus) -> Point:
    kind = TYPES[row.text("type", _NUMBERS)]
    counter = MEASUREMENTS[name].counter
    last, pattern = _LAST + 1 - kind.words, (1 << kind.bits) - 1
    plus, minus = row.integers("plus", 0, last, default=()), row.integers("minus", 0, last, default=())
    magnitude = _magnitude(row, name)
    if (plus or minus) and kind.form == "float":
        row.refuse("plus and minus are for whole numbers")
    if minus and not MEASUREMENTS[name].signed:
        row.refuse(f"minus makes no {name}: it has no sign")
    return Point(
        measurement=name,
        function=row.integer("function", 3, 4, default=bus.function),
        address=row.integer("address", 0, last),
        type=kind.name,
        scale=row.fraction("scale"),
        sign=sign,
        speed=speed,
        counter=counter,
        word_order=row.text("word_order", WORD_ORDERS, default=bus.word_order),
        absent=row.integers("absent", 0, pattern, default=()),
        zero=row.integers("zero", 0, pattern, default=()),
        plus=plus,
        minus=minus,
        magnitude=magnitude,
        scale_register=row.optional_integer("scale_register", 0, _LAST),
        scale_exponent=row.integer("scale_exponent", -10, 10, default=0),
        modulus=None if plus or minus or magnitude else modulus_of(kind.name, counter),
    )


def _magnitude(row: Table, name: str) -> bool:
    found = row.flag("magnitude")
    if found and MEASUREMENTS[name].signed:
        row.refuse(f"magnitude takes the sign off {name}, which has one")
    return found


def _models(row: Table) -> tuple[tuple[int, ...], str]:
    models, name = row.integers("model", 1, _LAST - 1), row.text("point")
    for number in models:
        if number not in model_ids():
            row.refuse(f"there is no table for model {number}")
            return (), name
        if load_model(number).row(name) is None:
            row.refuse(f"model {number} has no point {name!r}")
            return (), name
    return models, name


def _sunspec_point(row: Table, measured: str, sign: int, speed: Speed) -> Point | None:
    models, name = _models(row)
    if not models:
        return None
    minus = (row.text("minus"),) if row.has("minus") else ()
    if minus and not MEASUREMENTS[measured].signed:
        row.refuse(f"minus makes no {measured}: it has no sign")
    for number in models:
        for part in (name, *minus):
            line = load_model(number).row(part)
            if line is None:
                row.refuse(f"model {number} has no point {part!r}")
                return None
            if line.type not in _NUMBERS or unit_scale(measured, line.unit) is None:
                row.refuse(f"{part} of model {number} ({line.type}, {line.unit or 'no unit'}) cannot be {measured}")
                return None
            if minus and (line.type != load_model(number).rows_of(name)[0].type or TYPES[line.type].form == "float"):
                row.refuse("minus is for whole numbers of one type")
                return None
    bare = Point(
        measurement=measured,
        function=3,
        address=UNRESOLVED,
        type="int16",
        sign=sign,
        speed=speed,
        counter=MEASUREMENTS[measured].counter,
        absent=(SUNSPEC_ABSENT["int16"], *row.integers("absent", 0, _LAST, default=())),
        magnitude=_magnitude(row, measured),
        model=models,
        model_point=name,
        model_minus=minus,
    )
    return place_point(bare, load_model(models[0]), UNRESOLVED)


def _texts(top: Table, bus: Bus, sunspec: bool) -> tuple[TextPoint, ...]:
    table = top.table("texts")
    found = []
    for name in table.names():
        row = table.table(name)
        if name not in _TEXTS:
            row.refuse(f"is not a text; allowed are {', '.join(_TEXTS)}")
            continue
        if sunspec:
            models, point = _models(row)
            if models and load_model(models[0]).rows_of(point)[0].type != "string":
                row.refuse(f"{point} is not a text")
            elif models:
                bare = TextPoint(name, 3, UNRESOLVED, 1, model=models, model_point=point)
                found.append(place_text(bare, load_model(models[0]), UNRESOLVED))
        else:
            count = row.integer("count", 1, bus.max_registers)
            function = row.integer("function", 3, 4, default=bus.function)
            characters = row.integer("characters", 1, 2, default=2)
            found.append(TextPoint(name, function, row.integer("address", 0, _LAST + 1 - count), count, characters))
        row.done()
    return tuple(found)


def _probe(top: Table, points: tuple[Point, ...], layout: SunSpecLayout | None) -> Probe:
    if layout is not None and not top.has("probe"):
        # Walking the model chain is the probe of a SunSpec device.
        return Probe(3, layout.bases[0] if layout.bases else 0, (0x5375, 0x6E53))
    table = top.table("probe")
    if table.has("any_of"):
        probe = Probe(
            table.integer("function", 3, 4),
            table.integer("address", 0, _LAST),
            any_of=table.integers("any_of", 0, _LAST),
        )
    elif table.has("words"):
        probe = Probe(
            table.integer("function", 3, 4), table.integer("address", 0, _LAST), table.integers("words", 0, _LAST)
        )
    else:
        name = table.text("measurement", [p.measurement for p in points])
        limit = 10**15
        probe = Probe(
            measurement=name,
            minimum=table.integer("min", -limit, limit),
            maximum=table.integer("max", -limit, limit),
        )
        if probe.minimum > probe.maximum:
            table.refuse("min is above max")
    table.done()
    return probe


def _example(top: Table, points: tuple[Point, ...], texts: tuple[TextPoint, ...]) -> Example:
    table = top.table("example")
    registers: dict[tuple[int, int], int] = {}
    for block in table.tables("block"):
        function, first = block.integer("function", 3, 4), block.integer("address", 0, _LAST)
        for offset, word in enumerate(block.integers("words", 0, _LAST)):
            if (function, first + offset) in registers:
                block.refuse(f"register {first + offset} is given twice")
            registers[function, first + offset] = word
        block.done()
    rows, lines = table.table("values"), table.table("texts")
    known, named = {p.measurement for p in points}, {t.name for t in texts}
    values = {name: rows.integer(name, -(2**63), 2**63) for name in rows.names()}
    words = {name: lines.text(name) for name in lines.names()}
    for name in [n for n in values if n not in known] + [n for n in words if n not in named]:
        table.refuse(f"{name} is not a point of this profile")
    if not registers or not values:
        table.refuse("captured words (block) and the integers they mean (values) are required")
    table.done()
    return Example(registers, values, words)


def _clashes(points: tuple[Point, ...], bus: Bus) -> list[str]:
    """Values that share registers, reach into a hole, or are longer than a request may be."""
    errors = []
    terms = [(p.function, a, p.count, p.measurement) for p in points for a in p.terms if p.address != UNRESOLVED]
    for function, address, count, name in sorted(terms):
        last = address + count - 1
        if count > bus.max_registers:
            errors.append(f"points.{name}: spans more than max_registers")
        if any(h.function == function and h.first <= last and address <= h.last for h in bus.holes):
            errors.append(f"points.{name}: lies in a hole")
    for one, other in pairwise(sorted(terms)):
        if one[0] == other[0] and other[1] < one[1] + one[2]:
            errors.append(f"points.{other[3]}: shares registers with {one[3]}")
    return errors
