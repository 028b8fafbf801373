"""The `[[write]]` tables of a profile: set-points with their bounds, order of steps and device watchdog."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

from .measurement import SETPOINTS
from .profile_parts import UNRESOLVED, Bus, Share, Shown, Step, Watchdog, WritePoint
from .register_type import TYPES, WORD_ORDERS
from .sunspec_model import SunSpecModel, load_model, model_ids, place_write, unit_scale
from .toml_table import Table

__all__ = ["read_writes"]

_LAST = 0xFFFF
_NUMBERS = tuple(name for name, kind in TYPES.items() if kind.words and name != "sunssf")
_STEPS = tuple(name for name in _NUMBERS if TYPES[name].form != "float")
# A device that keeps a set-point longer than a day without hearing from anybody has no watchdog.
_WATCHDOG_MAX_S = 86_400
# Seconds in one count of a watchdog's register: seconds or minutes are common, hours are no watchdog.
_WATCHDOG_STEP_S = 60


def read_writes(top: Table, bus: Bus, sunspec: bool, measured: set[str]) -> tuple[WritePoint, ...]:
    """All set-points of a profile; faults are noted in the table's list."""
    found: list[WritePoint] = []
    for row in top.tables("write"):
        write = _write(row, bus, sunspec, measured)
        row.done()
        if write is None:
            continue
        if write.name in {w.name for w in found}:
            row.refuse(f"{write.name} is given twice")
        found.append(write)
    return tuple(found)


def _write(row: Table, bus: Bus, sunspec: bool, measured: set[str]) -> WritePoint | None:
    name = row.text("name", tuple(SETPOINTS))
    known = SETPOINTS[name]
    minimum = row.integer("min", known.minimum, known.maximum)
    maximum = row.integer("max", known.minimum, known.maximum)
    if minimum > maximum:
        row.refuse("min is above max")
    sign = row.integer("sign", -1, 1, default=1)
    if sign == 0 or (sign < 0 and not known.signed):
        row.refuse("sign must be 1, or -1 for a set-point that has a sign")
    read_back = row.text("read_back", tuple(sorted(measured)) or ("?",)) if row.has("read_back") else None
    fallback = row.optional_integer("fallback", known.minimum, known.maximum)
    ramp = row.optional_integer("ramp_per_s", 1, known.maximum)
    storage = cast(Literal["volatile", "flash"], row.text("storage", ("volatile", "flash")))
    sunspec = sunspec and not row.has("address")
    model = _model(row, name) if sunspec else None
    if sunspec and model is None:
        return None
    kind = TYPES["int16" if sunspec else row.text("type", _NUMBERS)]
    write = WritePoint(
        name=name,
        function=3,
        address=UNRESOLVED if sunspec else row.integer("address", 0, _LAST + 1 - kind.words),
        type=kind.name,
        minimum=minimum,
        maximum=maximum,
        scale=(1, 1) if sunspec else row.fraction("scale"),
        sign=sign,
        word_order="ABCD" if sunspec else row.text("word_order", WORD_ORDERS, default=bus.word_order),
        scale_register=None if sunspec else row.optional_integer("scale_register", 0, _LAST),
        scale_exponent=0 if sunspec else row.integer("scale_exponent", -10, 10, default=0),
        ramp_per_s=ramp,
        storage=storage,
        before=_steps(row, "before", model),
        watchdog=_watchdog(row, model),
        enable=_steps(row, "enable", model),
        read_back=read_back,
        fallback=fallback,
        of=_share(row, name, model),
        shown=_shown(row, model),
        model=(model.id,) if model else (),
        model_point=row.text("point") if model else "",
    )
    write = replace(write, below_zero=_below_zero(row, write, model))
    if model is None or any(not _fits(row, model, point) for point in _named(write)):
        return None if model else write
    return place_write(write, model, UNRESOLVED)


def _share(row: Table, name: str, model: SunSpecModel | None) -> Share | None:
    if not row.has("of"):
        return None
    table = row.table("of")
    if not name.endswith("_w"):
        table.refuse(f"{name} is a share already")
    address, kind, point = _place(table, model)
    share = Share(address, kind, model_point=point)
    if model is None:
        share = replace(
            share,
            scale_register=table.optional_integer("scale_register", 0, _LAST),
            scale_exponent=table.integer("scale_exponent", -10, 10, default=0),
        )
    table.done()
    return share


def _shown(row: Table, model: SunSpecModel | None) -> Shown | None:
    if model is not None or not row.has("shown"):
        return None
    table = row.table("shown")
    kind = TYPES[table.text("type", _NUMBERS)]
    shown = Shown(table.integer("function", 3, 4, default=3), table.integer("address", 0, _LAST), kind.name)
    table.done()
    return shown


def _below_zero(row: Table, write: WritePoint, model: SunSpecModel | None) -> WritePoint | None:
    """Where negative values go, as positive ones; all it does not say is as above zero."""
    if not row.has("below_zero"):
        return None
    table = row.table("below_zero")
    if write.minimum >= 0:
        table.refuse("is for a set-point with a negative min")
    words = TYPES[write.type].words
    found = replace(
        write,
        sign=1 if table.integer("sign", -1, 1, default=-1) > 0 else -1,
        address=UNRESOLVED if model else table.integer("address", 0, _LAST + 1 - words),
        before=_steps(table, "before", model),
        enable=_steps(table, "enable", model),
        watchdog=None,
        model_point=table.text("point") if model else "",
    )
    table.done()
    return found


def _model(row: Table, name: str) -> SunSpecModel | None:
    number, point = row.integer("model", 1, _LAST - 1), row.text("point")
    if number not in model_ids():
        row.refuse(f"there is no table for model {number}")
        return None
    model = load_model(number)
    line = model.row(point)
    shared = row.has("of") and line is not None and line.unit.startswith("%")
    if line is not None and not shared and unit_scale(name, line.unit) is None:
        row.refuse(f"{point} of model {number} ({line.unit or 'no unit'}) cannot be {name}")
        return None
    return model


def _named(write: WritePoint) -> list[str]:
    names = [write.model_point, *(s.model_point for s in (*write.before, *write.enable))]
    if write.watchdog is not None and write.watchdog.address is not None:
        names.append(write.watchdog.model_point)
    if write.of is not None:
        names.append(write.of.model_point)
    return names + (_named(write.below_zero) if write.below_zero is not None else [])


def _fits(row: Table, model: SunSpecModel, point: str) -> bool:
    line = model.row(point)
    if line is not None and line.type != "string":
        return True
    row.refuse(f"model {model.id} has no number {point!r}")
    return False


def _place(row: Table, model: SunSpecModel | None) -> tuple[int, str, str]:
    """Address, type and model point of a step or watchdog."""
    if model is not None:
        point = row.text("point")
        line = model.row(point)
        return UNRESOLVED, line.type if line and line.type in _STEPS else "uint16", point
    kind = TYPES[row.text("type", _STEPS, default="uint16")]
    return row.integer("address", 0, _LAST + 1 - kind.words), kind.name, ""


def _steps(row: Table, key: str, model: SunSpecModel | None) -> tuple[Step, ...]:
    found = []
    for table in row.tables(key):
        address, kind, point = _place(table, model)
        bits = TYPES[kind].bits
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.startswith("int") else (0, (1 << bits) - 1)
        value = table.integer("value", low, high)
        found.append(Step(address, kind, value, table.optional_integer("release", low, high), point))
        table.done()
    return tuple(found)


def _watchdog(row: Table, model: SunSpecModel | None) -> Watchdog | None:
    if not row.has("watchdog"):
        return None
    table = row.table("watchdog")
    if not (table.has("address") or table.has("point")):
        seconds = table.integer("seconds", 1, _WATCHDOG_MAX_S)
        table.done()
        return Watchdog(None, "uint16", seconds)
    address, kind, point = _place(table, model)
    step_s = table.integer("step_s", 1, _WATCHDOG_STEP_S, default=1)
    seconds = table.integer("seconds", 1, min(_WATCHDOG_MAX_S, step_s * ((1 << TYPES[kind].bits) - 2)))
    least_s = table.integer("least_s", 1, seconds, default=1)
    table.done()
    return Watchdog(address, kind, seconds, step_s, least_s, point)
