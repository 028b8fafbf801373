"""SunSpec information models as tables, and how a point of a profile takes its place in one.

One TOML file per model under `sunspec_models/`; offsets count from the register that holds the model's id.
`at` and `words` are registers, `sf` names the scale-factor point of the same model, `usual` is the exponent a
simulated device starts from. Layouts: SunSpec Alliance information models (Apache-2.0), model repository 2026-04.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .measurement import measurement
from .profile_parts import UNRESOLVED, Point, Share, Step, TextPoint, WritePoint
from .register_type import SUNSPEC_ABSENT, TYPES

__all__ = [
    "ModelGroup",
    "ModelPoint",
    "SunSpecModel",
    "load_model",
    "model_ids",
    "modulus_of",
    "place_point",
    "place_text",
    "place_write",
    "unit_scale",
]

_IN_GROUP = re.compile(r"([A-Za-z]\w*)\[([0-9]{1,2})\]\.(\w+)")
# As many of one group as a profile may name: strings of an inverter, ports of a battery, curves of a control.
_REPEATS_MAX = 16
_FOLDER = Path(__file__).parent / "sunspec_models"

# What one unit of a model is in one of ours: (unit of ours, unit of the model) -> numerator.
_UNITS: Mapping[tuple[str, str], int] = {
    ("w", "W"): 1,
    ("var", "var"): 1,
    ("var", "Var"): 1,
    ("va", "VA"): 1,
    ("mv", "V"): 1000,
    ("ma", "A"): 1000,
    ("mhz", "Hz"): 1000,
    ("wh", "Wh"): 1,
    ("wh", "WH"): 1,
    ("permille", "Pct"): 10,
    ("permille", "% WMax"): 10,
    ("permille", ""): 1000,
    ("mc", "C"): 1000,
    ("count", ""): 1,
}


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """One line of a model's table."""

    name: str
    at: int
    type: str
    words: int
    sf: str
    unit: str
    usual: int


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """Points that stand behind the model's own, `count` times: as a point of the model says, or once for none.

    `size` is its registers without its inner groups. `at` of its points counts from its own first register.
    """

    name: str
    count: str
    size: int
    points: Mapping[str, ModelPoint]
    groups: tuple[ModelGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class SunSpecModel:
    """`length` is L on the wire, registers after the two of id and length, without groups that repeat."""

    id: int
    title: str
    length: int
    points: Mapping[str, ModelPoint]
    groups: tuple[ModelGroup, ...] = ()

    def row(self, name: str) -> ModelPoint | None:
        """The line of a point, or of one in a repeating group: `module[3].DCW`; None where there is none."""
        if name in self.points:
            return self.points[name]
        found = _IN_GROUP.fullmatch(name)
        if found is None or not 1 <= int(found[2]) <= _REPEATS_MAX:
            return None
        group = self.repeating
        if group is None or group.name != found[1] or found[3] not in group.points:
            return None
        line = group.points[found[3]]
        return replace(line, name=name, at=2 + self.length + (int(found[2]) - 1) * group.size + line.at)

    def rows_of(self, *names: str) -> list[ModelPoint]:
        """The lines of points that are known to be there; KeyError for another."""
        found = [self.row(name) for name in names]
        if None in found:
            raise KeyError(f"model {self.id} has not all of {', '.join(names)}")
        return [line for line in found if line is not None]

    @property
    def repeating(self) -> ModelGroup | None:
        """The group that stands at the end as often as the device says; None where there is none of one size."""
        groups = self.groups
        return groups[0] if len(groups) == 1 and groups[0].count and not groups[0].groups else None


def _read(path: Path) -> dict[str, Any]:
    # Imported on first use: importing this room stays cheap for those who only decode.
    import tomllib

    return tomllib.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _files() -> dict[int, tuple[Path, int]]:
    found: dict[int, tuple[Path, int]] = {}
    for path in sorted(_FOLDER.glob("model_*.toml")):
        table = _read(path)
        for number in (table["id"], *table.get("same_layout", ())):
            found[number] = (path, number)
    return found


def model_ids() -> list[int]:
    """Every model there is a table for, those that share a layout included."""
    return sorted(_files())


@lru_cache(maxsize=64)
def load_model(number: int) -> SunSpecModel:
    """The table of model `number`; KeyError where there is none."""
    path, _ = _files()[number]
    table = _read(path)
    groups = tuple(_group(row) for row in table.get("group", ()))
    return SunSpecModel(number, table["title"], table["length"], _points(table), groups)


def _points(table: Mapping[str, Any]) -> dict[str, ModelPoint]:
    points = {}
    for name, row in table["points"].items():
        words = row.get("words", TYPES[row["type"]].words)
        points[name] = ModelPoint(
            name, row["at"], row["type"], words, row.get("sf", ""), row.get("unit", ""), row.get("usual", 0)
        )
    return points


def _group(table: Mapping[str, Any]) -> ModelGroup:
    inner = tuple(_group(row) for row in table.get("group", ()))
    return ModelGroup(table["name"], table.get("count", ""), table["size"], _points(table), inner)


def unit_scale(name: str, unit: str) -> tuple[int, int] | None:
    """Factor from a model's unit to the measurement's, None where the two do not fit."""
    factor = _UNITS.get((measurement(name).unit, unit))
    return None if factor is None else (factor, 1)


def modulus_of(type_name: str, counter: bool) -> int | None:
    """Raw count at which a counter of this type starts again at 0."""
    kind = TYPES[type_name]
    return 1 << kind.bits if counter and kind.form == "unsigned" else None


def _at(base: int, offset: int) -> int:
    return UNRESOLVED if base == UNRESOLVED else base + offset


def _scale_place(model: SunSpecModel, row: ModelPoint, base: int) -> tuple[int | None, int]:
    if not row.sf:
        return None, 0
    factor = model.points[row.sf]
    return _at(base, factor.at), factor.usual


def place_point(point: Point, model: SunSpecModel, base: int) -> Point:
    """The point as this model lays it out, `base` being the address of the model's id.

    Its first "no value" pattern is the type's own; those the profile adds come behind it.
    """
    row, *minus = model.rows_of(point.model_point, *point.model_minus)
    register, exponent = _scale_place(model, row, base)
    return replace(
        point,
        address=_at(base, row.at),
        type=row.type,
        scale=unit_scale(point.measurement, row.unit) or (1, 1),
        absent=(SUNSPEC_ABSENT[row.type], *point.absent[1:]),
        scale_register=register,
        scale_exponent=exponent,
        minus=tuple(_at(base, line.at) for line in minus),
        modulus=None if minus or point.magnitude else modulus_of(row.type, point.counter),
    )


def place_text(text: TextPoint, model: SunSpecModel, base: int) -> TextPoint:
    """The text as this model lays it out."""
    row = model.rows_of(text.model_point)[0]
    return replace(text, address=_at(base, row.at), count=row.words)


def place_write(write: WritePoint, model: SunSpecModel, base: int) -> WritePoint:
    """The set-point with all its steps as this model lays them out."""
    row = model.rows_of(write.model_point)[0]
    register, exponent = _scale_place(model, row, base)

    def step(found: Step) -> Step:
        line = model.rows_of(found.model_point)[0]
        return replace(found, address=_at(base, line.at), type=line.type)

    watchdog, share = write.watchdog, write.of
    if watchdog is not None and watchdog.address is not None:
        line = model.rows_of(watchdog.model_point)[0]
        watchdog = replace(watchdog, address=_at(base, line.at), type=line.type)
    if share is not None:
        line = model.rows_of(share.model_point)[0]
        place, usual = _scale_place(model, line, base)
        share = Share(_at(base, line.at), line.type, place, usual, share.model_point)
    return replace(
        write,
        address=_at(base, row.at),
        type=row.type,
        scale=unit_scale(write.name, row.unit) or (1, 1),
        scale_register=register,
        scale_exponent=exponent,
        before=tuple(step(s) for s in write.before),
        watchdog=watchdog,
        enable=tuple(step(s) for s in write.enable),
        of=share,
        below_zero=None if write.below_zero is None else place_write(write.below_zero, model, base),
    )
