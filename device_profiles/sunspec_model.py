"""SunSpec information models as tables, and how a point of a profile takes its place in one.

One TOML file per model under `sunspec_models/`; offsets count from the register that holds the model's id.
`at` and `words` are registers, `sf` names the scale-factor point of the same model, `usual` is the exponent a
simulated device starts from. Layouts: SunSpec Alliance information models (Apache-2.0), model repository 2026-04.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .measurement import measurement
from .profile_parts import UNRESOLVED, Point, Step, TextPoint, Watchdog, WritePoint
from .register_type import SUNSPEC_ABSENT, TYPES

__all__ = [
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
class SunSpecModel:
    """`length` is L on the wire: registers after the two of id and length."""

    id: int
    title: str
    length: int
    points: Mapping[str, ModelPoint]


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
    points = {}
    for name, row in table["points"].items():
        words = row.get("words", TYPES[row["type"]].words)
        points[name] = ModelPoint(
            name, row["at"], row["type"], words, row.get("sf", ""), row.get("unit", ""), row.get("usual", 0)
        )
    return SunSpecModel(number, table["title"], table["length"], points)


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
    """The point as this model lays it out, `base` being the address of the model's id."""
    row = model.points[point.model_point]
    register, exponent = _scale_place(model, row, base)
    return replace(
        point,
        address=_at(base, row.at),
        type=row.type,
        scale=unit_scale(point.measurement, row.unit) or (1, 1),
        absent=(SUNSPEC_ABSENT[row.type],),
        scale_register=register,
        scale_exponent=exponent,
        modulus=modulus_of(row.type, point.counter),
    )


def place_text(text: TextPoint, model: SunSpecModel, base: int) -> TextPoint:
    """The text as this model lays it out."""
    row = model.points[text.model_point]
    return replace(text, address=_at(base, row.at), count=row.words)


def place_write(write: WritePoint, model: SunSpecModel, base: int) -> WritePoint:
    """The set-point with all its steps as this model lays them out."""
    row = model.points[write.model_point]
    register, exponent = _scale_place(model, row, base)

    def step(found: Step) -> Step:
        line = model.points[found.model_point]
        return replace(found, address=_at(base, line.at), type=line.type)

    watchdog: Watchdog | None = write.watchdog
    if watchdog is not None:
        line = model.points[watchdog.model_point]
        watchdog = replace(watchdog, address=_at(base, line.at), type=line.type)
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
    )
