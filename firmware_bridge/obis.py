"""OBIS codes: which register of a telegram is which measurement, in which unit and with which sign. One table.

A code is A-B:C.D.E*F (IEC 62056-61): medium, channel, quantity, kind of value, tariff, billing period. A telegram's
registers go in as `Entry`s with exact values, `measurements` gives integers of `device_profiles.measurement`:

    entries -> electricity, current (not a past billing period), known (C, D), its unit as expected
            -> by measurement and rank; the best rank present wins, within it values are added with their sign
            -> rounded once, half to even, at the very end -> plausible range

So a power is the signed register if there is one, else import minus export; a counter is the total register if there
is one, else the sum of its tariffs. What contradicts itself (a register told twice, differently) is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from device_profiles.codec import round_half_even

from .telegram import Refusal, plausible

__all__ = ["MICRO_EXPONENT", "Entry", "Obis", "Register", "measurements", "micro_of", "obis_from_text", "register_of"]

CURRENT = 255
"""Group F of a register that is not of a past billing period."""
TOTAL = 0
"""Group E of a register over all tariffs."""
MICRO_EXPONENT = -6
"""Values are whole millionths of their unit: finer than any meter counts, and sums of them are exact."""
_EXPONENT_MAX = 9
_MAX_TARIFF = 63
# Swiss meters write 1-1, EasyMeter Q3C 1-1 and 1-2; anything above is a channel of another meter.
_MAX_CHANNEL = 2
# Short codes of IEC 62056-21 leave A-B and E out; `255` in E is how some meters write the total.
_TEXT = re.compile(r"(?:([0-9]{1,3})-([0-9]{1,3}):)?([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?(?:[*&]([0-9]{1,3}))?")
_FORMER = 0


class Obis(NamedTuple):
    """One code; groups that a text left out have their usual values (1-0, E 0, F 255)."""

    a: int
    b: int
    c: int
    d: int
    e: int
    f: int


class Register(NamedTuple):
    """What a (C, D) pair means: `sign` is its part in the sum, 0 where the status word tells the direction."""

    measurement: str
    unit: str
    sign: int
    rank: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One register as a telegram told it: `micro` millionths of `unit` (Wh, W, var, VA, V, A, Hz or none).

    `micro` is None where the register stands there without a value we can read. `backward` is the status word's
    "energy flows out", None where there is no such word.
    """

    code: Obis
    micro: int | None
    unit: str
    backward: bool | None = None


def _phases() -> dict[tuple[int, int], Register]:
    """Phase registers stand 20, 40 and 60 above the total's."""
    found: dict[tuple[int, int], Register] = {}
    for offset, phase in ((20, "l1"), (40, "l2"), (60, "l3")):
        found |= {
            (1 + offset, 8): Register(f"import_{phase}_wh", "Wh", 1, 0),
            (2 + offset, 8): Register(f"export_{phase}_wh", "Wh", 1, 0),
            (16 + offset, 7): Register(f"power_{phase}_w", "W", 1, 0),
            (1 + offset, 7): Register(f"power_{phase}_w", "W", 1, 1),
            (2 + offset, 7): Register(f"power_{phase}_w", "W", -1, 1),
            (3 + offset, 7): Register(f"reactive_{phase}_var", "var", 1, 1),
            (4 + offset, 7): Register(f"reactive_{phase}_var", "var", -1, 1),
            (9 + offset, 7): Register(f"apparent_{phase}_va", "VA", 1, 1),
            (10 + offset, 7): Register(f"apparent_{phase}_va", "VA", 1, 1),
            (11 + offset, 7): Register(f"current_{phase}_ma", "A", 1, 0),
            (12 + offset, 7): Register(f"voltage_{phase}_mv", "V", 1, 0),
        }
    return found


REGISTERS: dict[tuple[int, int], Register] = {
    (1, 8): Register("import_wh", "Wh", 1, 0),
    (2, 8): Register("export_wh", "Wh", 1, 0),
    (16, 7): Register("power_w", "W", 1, 0),
    (1, 7): Register("power_w", "W", 1, 1),
    (2, 7): Register("power_w", "W", -1, 1),
    # The sum of magnitudes: only the status word knows which way it flows.
    (15, 7): Register("power_w", "W", 0, 2),
    (3, 7): Register("reactive_var", "var", 1, 1),
    (4, 7): Register("reactive_var", "var", -1, 1),
    (9, 7): Register("apparent_va", "VA", 1, 1),
    (10, 7): Register("apparent_va", "VA", 1, 1),
    (13, 7): Register("power_factor_permille", "", 1, 0),
    (14, 7): Register("frequency_mhz", "Hz", 1, 0),
    **_phases(),
}
"""By (C, D); energy counters (D 8) also have tariffs in E, which rank behind the total."""

# Millionths of our unit in one millionth of the telegram's: milli for what is finer than it, one for the others.
_PER_UNIT = {"wh": 1, "w": 1, "var": 1, "va": 1, "mv": 1000, "ma": 1000, "mhz": 1000, "permille": 1000}
_MAGNITUDES = {f"current_{phase}_ma" for phase in ("l1", "l2", "l3")}


def obis_from_text(text: str) -> Obis | None:
    """The code in `text`, None for maker's own (`F.F`, `C.1.0`) and anything else that is no code."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    groups = [None if group is None else int(group) for group in found.groups()]
    if any(group is not None and group > 255 for group in groups):
        return None
    usual = (1, 0, 0, 0, TOTAL, CURRENT)
    return Obis(*(default if group is None else group for group, default in zip(groups, usual, strict=True)))


def register_of(code: Obis) -> Register | None:
    """What the register means, with tariffs ranked behind the total; None for what we do not measure."""
    register = REGISTERS.get((code.c, code.d))
    if register is None or code.a != 1 or code.b > _MAX_CHANNEL:
        return None
    if code.e in (TOTAL, 255):
        return register
    if code.d == 8 and 1 <= code.e <= _MAX_TARIFF:
        return register._replace(rank=register.rank + 1)
    return None


def micro_of(mantissa: int, exponent: int) -> int | None:
    """`mantissa` times ten to `exponent` in millionths; None where that is not exact or beyond any meter."""
    shift = exponent - MICRO_EXPONENT
    if exponent > _EXPONENT_MAX:
        return None
    if shift >= 0:
        return int(mantissa * 10**shift)
    step = 10**-shift if shift > -20 else 0
    return mantissa // step if step and mantissa % step == 0 else None


def measurements(entries: Iterable[Entry], refused: Counter[Refusal]) -> dict[str, int]:
    """The measurements in a telegram's registers; what is implausible or contradictory is counted and left out."""
    ranked: dict[str, dict[int, int | None]] = {}
    for entry in _current(entries, refused):
        register = register_of(entry.code)
        if register is None:
            continue
        sums = ranked.setdefault(register.measurement, {})
        before, now = sums.get(register.rank, 0), _signed(entry, register)
        # A sum that lacks one of its registers is no sum.
        sums[register.rank] = None if before is None or now is None else before + now
    found = {}
    for name, sums in ranked.items():
        micro = next((sums[rank] for rank in sorted(sums) if sums[rank] is not None), None)
        if micro is not None:
            value = round_half_even(micro * _PER_UNIT[name.rsplit("_", 1)[1]], 10**-MICRO_EXPONENT)
            found[name] = abs(value) if name in _MAGNITUDES else value
    return plausible(found, refused)


def _signed(entry: Entry, register: Register) -> int | None:
    if entry.micro is None or register.unit != entry.unit:
        return None
    if register.sign == 0:
        return None if entry.backward is None else -entry.micro if entry.backward else entry.micro
    return register.sign * entry.micro


def _current(entries: Iterable[Entry], refused: Counter[Refusal]) -> Iterable[Entry]:
    """One entry for each register of now; `*00` is taken where a meter writes its present value so and no other."""
    present: dict[Obis, Entry] = {}
    former: dict[Obis, Entry] = {}
    for entry in entries:
        if register_of(entry.code) is None or entry.code.f not in (CURRENT, _FORMER):
            continue
        place = former if entry.code.f == _FORMER else present
        # Channel and the two spellings of the total make no difference between registers of one meter.
        key = entry.code._replace(b=0, e=TOTAL if entry.code.e == 255 else entry.code.e, f=CURRENT)
        told = place.setdefault(key, entry)
        if (told.micro, told.unit) != (entry.micro, entry.unit):
            refused[Refusal.IMPLAUSIBLE] += 1
            place[key] = replace(told, micro=None)
    return (former | present).values()
