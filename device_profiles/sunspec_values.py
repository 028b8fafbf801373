"""Every value of a whole SunSpec model as it stands in a device, curves and repeated groups too.

The agent needs a few points of a few models; an installer wants to see all of a device once: its nameplate, its grid
code, its volt-var curve. Flow: words of one model -> points in order -> groups, as often as the model's own counts
say, each with its inner groups. What a device does not implement is left out. A count that does not fit into the
model's length ends the reading: no device can make it long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from .register_type import SUNSPEC_ABSENT, TYPES, float_ratio, raw_from_words, signed_from_raw, text_from_words
from .sunspec_model import ModelGroup, ModelPoint, load_model

__all__ = ["model_values"]

_SCALE_MAX = 10


def model_values(number: int, words: Sequence[int]) -> list[tuple[str, str]]:
    """Name and value with unit of all a model says; `words` from its id on. KeyError where there is no table for it."""
    model = load_model(number)
    said = _Said(words)
    found = [(row.name, text) for row in model.points.values() if (text := said.text(row, 0, model.points)) is not None]
    end = 2 + model.length
    for group in model.groups:
        rows, end = said.group(group, end, "", model.points)
        found += rows
    return found


class _Said:
    """The words of one model, and what was counted in them."""

    def __init__(self, words: Sequence[int]) -> None:
        self._words = words

    def _raw(self, row: ModelPoint, start: int) -> int | None:
        words = self._words[start + row.at : start + row.at + row.words]
        if len(words) < row.words:
            return None
        raw = raw_from_words(words, "ABCD")
        return None if raw == SUNSPEC_ABSENT[row.type] else raw

    def text(self, row: ModelPoint, start: int, top: Mapping[str, ModelPoint]) -> str | None:
        """The value with its unit; None where the device has none. Scale factors stand in the model's own points."""
        if row.type == "sunssf":
            return None
        if row.type == "string":
            return text_from_words(self._words[start + row.at : start + row.at + row.words]) or None
        raw = self._raw(row, start)
        if raw is None:
            return None
        kind = TYPES[row.type]
        if kind.form == "float":
            ratio = float_ratio(raw, kind.words)
            if ratio is None:
                return None
            number = Decimal(ratio[0]) / Decimal(ratio[1])
            return _with_unit(f"{number:.6g}", row.unit)
        if row.type.startswith("bitfield"):
            return f"0x{raw:0{kind.bits // 4}X}"
        exponent = 0
        if row.sf in top:
            factor = self._raw(top[row.sf], 0)
            if factor is None or abs(signed_from_raw(factor, 16)) > _SCALE_MAX:
                return None
            exponent = signed_from_raw(factor, 16)
        value = signed_from_raw(raw, kind.bits) if kind.form == "signed" else raw
        return _with_unit(f"{Decimal(value).scaleb(exponent):f}", row.unit)

    def group(
        self, group: ModelGroup, start: int, before: str, top: Mapping[str, ModelPoint]
    ) -> tuple[list[tuple[str, str]], int]:
        """All turns of a group, and where they end."""
        found: list[tuple[str, str]] = []
        for turn in range(1, self._count(group, top) + 1):
            if start + group.size > len(self._words):
                break
            name = f"{before}{group.name}[{turn}]." if group.count else f"{before}{group.name}."
            for row in group.points.values():
                text = self.text(row, start, top)
                if text is not None:
                    found.append((name + row.name, text))
            start += group.size
            for inner in group.groups:
                rows, start = self.group(inner, start, name, top)
                found += rows
        return found, start

    def _count(self, group: ModelGroup, top: Mapping[str, ModelPoint]) -> int:
        if not group.count:
            return 1
        return self._raw(top[group.count], 0) or 0


def _with_unit(number: str, unit: str) -> str:
    return f"{number} {unit}".rstrip()
