"""The text of DSMR and IEC 62056-21 telegrams: lines of `address(value*unit)`, and what they say.

Numbers are read digit by digit into integers; nothing here is ever a float. A line may hold several registers
(IEC), a register several groups in brackets, and groups may go on in the next line (gas meters of DSMR 2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from .obis import Entry, micro_of, obis_from_text, register_of

__all__ = ["Line", "Shape", "entry_of", "lines_of", "serial_of", "shape_of", "texts_of_identification"]

Shape: TypeAlias = tuple[tuple[str, int, int, str], ...]
"""Address, digits before the point (counters only), digits after it, and unit of every measured register."""

# The standard forbids the slash in values; EMH has it in units.
_SET = re.compile(r"([^()/!]*)\(([^()!]*)\)")
# At most 12 digits before and 7 after the point: EasyMeter's 00052185.7825309 kWh is the longest known.
_NUMBER = re.compile(r" *([+-]?)([0-9]{1,12})(?:\.([0-9]{0,7}))? *(?:\* *)?([A-Za-z]{0,5}) *")
_UNITS = {"wh": "Wh", "w": "W", "var": "var", "va": "VA", "v": "V", "a": "A", "hz": "Hz", "": ""}
_PREFIXES = {"k": 3, "K": 3, "M": 6, "m": -3}
_IDENTIFICATION = re.compile(r"/([A-Za-z]{3})(?:[0-9A-I](?:\\[0-9A-Z])?)?[\\ ]*(.*)", re.DOTALL)
# Where the standards put the meter's own number, the likeliest first.
_SERIALS = (
    *("0-0:96.1.1", "0-0:42.0.0", "0-0:96.1.0", "1-0:96.1.0", "0-0:96.1.255", "1-0:0.0.0", "0-0:0.0.0"),
    *("C.1.0", "C.1", "0.0.0"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One register: its address as written and the contents of its brackets."""

    address: str
    groups: tuple[str, ...]


def lines_of(text: str) -> tuple[list[Line], bool]:
    """The registers in the lines of `text`, and whether every line is of the form the standards give.

    A line that is not stands there as a register with its address and without a readable value.
    """
    found: list[Line] = []
    clean = True
    for row in filter(None, text.replace("\r", "\n").split("\n")):
        parts = _parts(row)
        if not parts or not (found or parts[0].group(1).strip()):
            clean = False
            found.append(Line(row.partition("(")[0].strip(), ("",)))
            continue
        for part in parts:
            address, value = part.group(1).strip(), part.group(2)
            if address:
                found.append(Line(address, (value,)))
            else:
                found[-1] = Line(found[-1].address, (*found[-1].groups, value))
    return found, clean


def _parts(row: str) -> list[re.Match[str]]:
    """The `address(value)` a line is made of; none if it has anything else in it."""
    parts: list[re.Match[str]] = []
    place = 0
    while place < len(row):
        part = _SET.match(row, place)
        if part is None:
            return []
        parts.append(part)
        place = part.end()
    return parts


def _unit(written: str) -> tuple[str, int] | None:
    """The unit without its prefix, and the prefix as a power of ten; None for one we do not know."""
    if written.lower() in _UNITS:
        return _UNITS[written.lower()], 0
    prefix, rest = _PREFIXES.get(written[0]), _UNITS.get(written[1:].lower())
    return (rest, prefix) if rest and prefix is not None else None


def entry_of(line: Line, unitless_energy: bool = False) -> Entry | None:
    """What a line says in terms of OBIS; None for anything but a register we measure.

    With `unitless_energy` a counter that has decimals and no unit is one in kWh: IEC 62056-21 lets a meter leave the
    unit out, and none counts fractions of a Wh on its display.
    """
    code = obis_from_text(line.address)
    if code is None or register_of(code) is None or len(line.groups) != 1:
        return None
    found = _NUMBER.fullmatch(line.groups[0])
    unit = _unit(found.group(4)) if found else None
    if found is None or unit is None:
        return Entry(code, None, "")
    minus, whole, decimals = found.group(1) == "-", found.group(2), found.group(3) or ""
    if unit == ("", 0) and unitless_energy and decimals and code.d == 8:
        unit = ("Wh", 3)
    mantissa = int(whole + decimals)
    return Entry(code, micro_of(-mantissa if minus else mantissa, unit[1] - len(decimals)), unit[0])


def shape_of(lines: Iterable[Line]) -> Shape:
    """Which measured registers there are, with the number of their digits before and after the point and their unit.

    Meters write with leading zeros, so this stays the same from one telegram to the next; only for powers, which a few
    write without, the digits before the point do not count. A lost line or a lost digit changes it.
    """
    shape = []
    for line in lines:
        entry = entry_of(line)
        if entry is not None:
            found = _NUMBER.fullmatch(line.groups[0])
            _, whole, decimals, unit = found.groups(default="") if found else ("", "", "", "")
            shape.append((line.address, len(whole) if entry.code.d == 8 else 0, len(decimals), unit))
    return tuple(shape)


def texts_of_identification(identification: str) -> dict[str, str]:
    """Manufacturer and model from the first line of a telegram (`/XXXZ...`)."""
    found = _IDENTIFICATION.match(identification)
    if found is None:
        return {}
    model = "".join(character for character in found.group(2) if character.isprintable())
    texts = {"manufacturer": found.group(1), "model": model.strip()}
    return {name: text for name, text in texts.items() if text}


def serial_of(lines: Iterable[Line]) -> str | None:
    """The meter's own number; where it is written in hexadecimal ASCII, as it reads."""
    told = {line.address.removesuffix("*255"): line.groups[0].strip() for line in lines if line.groups[0].strip()}
    for address in _SERIALS:
        if address in told:
            return _readable(told[address])
    return None


def _readable(text: str) -> str:
    if len(text) % 2 or not re.fullmatch(r"[0-9A-Fa-f]+", text):
        return text
    plain = bytes.fromhex(text)
    return plain.decode("ascii").strip() or text if all(0x20 <= octet < 0x7F for octet in plain) else text
