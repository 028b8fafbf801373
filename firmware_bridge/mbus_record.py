"""The records of an M-Bus telegram: DIF and DIFEs, VIF and VIFEs, value; and which of them are our measurements.

    bytes -> Record (storage, tariff, sub-unit, quantity, value) -> measurements

Counted is what the meter says of now: storage number 0, function "instantaneous". Energy of tariff 0 is the total;
where there is none, all tariffs together are. Direction is told by the standard's VIFEs 3B (forward) and 3C
(backward), and by sub-unit 1 on meters of ABB. Other sub-units are reactive energy on some meters and outputs on
others, so nothing is taken from them. A phase is told by the VIFE after FC (EN 13757-3) or FF (Saia, Finder, EMU, ABB).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["LocalRecordError", "Record", "measurements", "more_follow", "records"]

_EXTENDED = 0x80
_FUNCTION_MASK, _INSTANTANEOUS = 0x30, 0x00
_STORAGE_BIT = 0x40
_FILLER, _MAKERS_OWN, _MORE_FOLLOW = 0x2F, 0x0F, 0x1F
_EXTENSIONS_LIMIT = 10
"""DIFEs or VIFEs of one record, by the standard."""
_PLAIN_TEXT, _FIRST_TABLE, _SECOND_TABLE = 0x7C, 0x7B, 0x7D
_FORWARD, _BACKWARD = 0x3B, 0x3C
_PHASES_FOLLOW = (0x7C, 0x7F)
_RECORD_ERRORS = range(0x01, 0x20)
"""VIFEs that say that the value is not to be had, or is not what it seems."""
_INTEGER_BYTES: Mapping[int, int] = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}
_DIGIT_BYTES: Mapping[int, int] = {9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
_PHASE_POWERS = ["power_l1_w", "power_l2_w", "power_l3_w"]
"""A meter that tells only these, or only the first, has told its whole power."""
_NOTHING, _FLOAT, _SELECTION, _VARIABLE = 0, 5, 8, 13


class LocalRecordError(Exception):
    """The bytes end inside a record, or are none."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record that speaks of now: ``quantity`` is energy_wh, power_w, voltage_mv, current_ma or frequency_mhz.

    ``phase`` is 1 to 3, 0 where none is told. ``backward``: flowing out, by the standard's own sign.
    """

    quantity: str
    value: Fraction
    tariff: int
    subunit: int
    phase: int
    backward: bool


def records(body: bytes) -> list[Record]:
    """What the meter measures now; everything else is passed over. LocalRecordError where the bytes are no records."""
    return _walk(body)[0]


def more_follow(body: bytes) -> bool:
    """Whether the telegram ends with the word that another one continues it. LocalRecordError as `records`."""
    return _walk(body)[1]


def _walk(body: bytes) -> tuple[list[Record], bool]:
    found: list[Record] = []
    reader = _Reader(body)
    while reader.left:
        dif = reader.byte()
        if dif == _FILLER:
            continue
        if dif in (_MAKERS_OWN, _MORE_FOLLOW):
            return found, dif == _MORE_FOLLOW  # to the end of the telegram it is the maker's own
        if dif & 0x0F == 0x0F:
            raise LocalRecordError("a reserved data field")
        record = _record(dif, reader)
        if record is not None:
            found.append(record)
    return found, False


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._place

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise LocalRecordError("it ends inside a record")
        self._place += count
        return self._body[self._place - count : self._place]

    def extensions(self, first: int) -> list[int]:
        """The bytes after ``first`` as long as each says that another follows."""
        found: list[int] = []
        last = first
        while last & _EXTENDED:
            if len(found) == _EXTENSIONS_LIMIT:
                raise LocalRecordError("more extensions than the standard allows")
            last = self.byte()
            found.append(last)
        return found


def _record(dif: int, reader: _Reader) -> Record | None:
    storage, tariff, subunit = (dif & _STORAGE_BIT) >> 6, 0, 0
    for place, dife in enumerate(reader.extensions(dif)):
        storage |= (dife & 0x0F) << (1 + 4 * place)
        tariff |= (dife >> 4 & 0x03) << (2 * place)
        subunit |= (dife >> 6 & 0x01) << place
    vif = reader.byte()
    if vif & ~_EXTENDED == _PLAIN_TEXT:
        reader.take(reader.byte())
    vifes = [vife & ~_EXTENDED for vife in reader.extensions(vif)]
    value = _value(dif & 0x0F, reader)
    if value is None or storage or dif & _FUNCTION_MASK != _INSTANTANEOUS:
        return None
    told = _quantity(vif & ~_EXTENDED, vifes)
    if told is None:
        return None
    quantity, factor, rest = told
    phase, backward = 0, False
    for place, vife in enumerate(rest):
        if vife in _PHASES_FOLLOW:
            phase = rest[place + 1] if place + 1 < len(rest) else 0
            if phase not in (1, 2, 3):
                return None  # between two phases, of one quadrant, or the maker's own meaning
            break
        if vife == _BACKWARD:
            backward = True
        elif vife in _RECORD_ERRORS or vife not in (0, _FORWARD):
            return None  # an error, or a correction we do not know
    return Record(quantity, value * factor, tariff, subunit, phase, backward)


def _quantity(vif: int, vifes: list[int]) -> tuple[str, Fraction, list[int]] | None:
    """Name, factor to our unit and the remaining VIFEs; None for what we do not measure."""
    table: list[tuple[int, int, str, int]] = _FIRST
    if vif in (_FIRST_TABLE, _SECOND_TABLE):
        if not vifes:
            return None
        table = _EXTENSION_FB if vif == _FIRST_TABLE else _EXTENSION_FD
        vif, vifes = vifes[0], vifes[1:]
    for low, count, quantity, exponent in table:
        if low <= vif < low + count:
            return quantity, Fraction(10) ** (exponent + vif - low), vifes
    return None


# First code, number of codes, quantity, and the power of ten that the first code means in our unit.
_FIRST = [(0x00, 8, "energy_wh", -3), (0x28, 8, "power_w", -3)]
_EXTENSION_FB = [(0x00, 2, "energy_wh", 5), (0x28, 2, "power_w", 5), (0x2C, 4, "frequency_mhz", 0)]
_EXTENSION_FD = [(0x40, 16, "voltage_mv", -6), (0x50, 16, "current_ma", -9)]


def _value(kind: int, reader: _Reader) -> Fraction | None:
    """The number of that data field, read to its end; None where it is a text or says that there is none."""
    if kind in (_NOTHING, _SELECTION):
        return None
    if kind in _INTEGER_BYTES:
        return _integer(reader.take(_INTEGER_BYTES[kind]))
    if kind in _DIGIT_BYTES:
        return _digits(reader.take(_DIGIT_BYTES[kind]))
    if kind == _FLOAT:
        (real,) = struct.unpack("<f", reader.take(4))
        return Fraction(real) if math.isfinite(real) else None
    length = reader.byte()  # variable length
    if length < 0xC0:
        reader.take(length)
        return None
    if length < 0xE0 and length & 0x0F < 10:
        amount = _digits(reader.take(length & 0x0F))
        return amount if amount is None or length < 0xD0 else -amount
    if 0xE0 <= length < 0xF0:
        return _integer(reader.take(length - 0xE0)) if length > 0xE0 else None
    raise LocalRecordError("a reserved variable length")


def _integer(raw: bytes) -> Fraction | None:
    """Two's complement, lowest byte first; the most negative number means that there is no value."""
    value = int.from_bytes(raw, "little", signed=True)
    return None if value == -(1 << (8 * len(raw) - 1)) else Fraction(value)


def _digits(raw: bytes) -> Fraction | None:
    """Two decimal digits a byte, lowest byte first; F as the highest digit is a minus, other letters are no value."""
    text = raw[::-1].hex()
    negative = text.startswith("f")
    text = text[1:] if negative else text
    if not text.isdecimal():
        return None
    return Fraction(-int(text) if negative else int(text))


def measurements(told: Iterable[Record], maker: str) -> dict[str, int]:
    """Our measurements in these records. Where a quantity is told twice, the first stands."""
    energies: dict[str, dict[int, Fraction]] = {}
    values: dict[str, Fraction] = {}
    unmarked: dict[str, list[Fraction]] = {}
    for record in told:
        backward = record.backward
        if record.subunit == 1 and maker == "ABB" and record.quantity == "energy_wh":
            backward = True
        elif record.subunit:
            continue
        if record.quantity == "energy_wh":
            stem = "export" if backward else "import"
            name = f"{stem}_l{record.phase}_wh" if record.phase else f"{stem}_wh"
            energies.setdefault(name, {}).setdefault(record.tariff, record.value)
        elif record.quantity == "power_w":
            name = f"power_l{record.phase}_w" if record.phase else "power_w"
            if not backward:
                values.setdefault(name, record.value)
            elif record.value:
                values[name] = -record.value  # the two directions are told apart: one of them is 0
        elif record.quantity == "frequency_mhz":
            values.setdefault("frequency_mhz", record.value)
        else:
            stem, unit = record.quantity.split("_")
            if record.phase:
                values.setdefault(f"{stem}_l{record.phase}_{unit}", abs(record.value))
            else:
                unmarked.setdefault(f"{stem}_l1_{unit}", []).append(abs(record.value))
    for name, by_tariff in energies.items():
        values[name] = by_tariff[0] if 0 in by_tariff else sum(by_tariff.values(), Fraction())
    for name, several in unmarked.items():
        if len(several) == 1:  # of several nobody knows whose they are
            values.setdefault(name, several[0])
    phases = [name for name in _PHASE_POWERS if name in values]
    if "power_w" not in values and phases in (_PHASE_POWERS[:1], _PHASE_POWERS):
        values["power_w"] = sum((values[name] for name in phases), Fraction())
    return {name: round(value) for name, value in values.items()}
