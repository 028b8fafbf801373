"""Tasmota: `tele/<device>/SENSOR`, the answer to `Status 8` and the SML script's own sections.

    {"Time": …, "ENERGY": {"Total": 514.153, "Power": [52, 5, 0], "Voltage": 234, …}}      kWh, W, V, A, Hz
    {"Time": …, "MT175": {"Total_in": 1234.5678, "Total_out": 0.3, "Power_curr": 256, …}}   a script's meter

A value is one number, or an array with one per phase; of three phases the sum is the total. An array of two is a
device with two separate channels (Tasmota cannot tell phases from channels): then the first one counts. `Time` is
local time of an unknown zone, so `taken_at_s` is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from firmware_bridge.json_number import parse, whole
from firmware_bridge.telegram import Refusal, Telegram, evidence_of, plausible

__all__ = ["TasmotaDecoder"]

# Key of the ENERGY section in small letters -> stem of our measurement, our unit, and what one of theirs is in it.
_ENERGY: Mapping[str, tuple[str, str, int]] = {
    "total": ("import", "wh", 1000),
    "totalimport": ("import", "wh", 1000),
    "exportactive": ("export", "wh", 1000),
    "importactive": ("import", "wh", 1000),
    "power": ("power", "w", 1),
    "apparentpower": ("apparent", "va", 1),
    "reactivepower": ("reactive", "var", 1),
    "voltage": ("voltage", "mv", 1000),
    "current": ("current", "ma", 1000),
    "frequency": ("frequency", "mhz", 1000),
    "factor": ("power_factor", "permille", 1000),
}
# Keys that most scripts use for SML meters. A script may call a value anything: other spellings are for `json` paths,
# because a guess at a register that counts for money would be worse than none.
_SCRIPT: Mapping[str, tuple[str, str, int]] = {
    **dict.fromkeys(("total_in", "e_in", "total_in_kwh"), ("import", "wh", 1000)),
    **dict.fromkeys(("total_out", "e_out", "total_out_kwh"), ("export", "wh", 1000)),
    **dict.fromkeys(("power", "power_curr", "power_cur", "power_total"), ("power", "w", 1)),
    **{f"power_{spelling}": (f"power_l{n}", "w", 1) for n in (1, 2, 3) for spelling in (f"p{n}", f"l{n}")},
    **{f"volt_{spelling}": (f"voltage_l{n}", "mv", 1000) for n in (1, 2, 3) for spelling in (f"p{n}", f"l{n}")},
    **{f"amperage_{spelling}": (f"current_l{n}", "ma", 1000) for n in (1, 2, 3) for spelling in (f"p{n}", f"l{n}")},
    **{f"curr_{spelling}": (f"current_l{n}", "ma", 1000) for n in (1, 2, 3) for spelling in (f"p{n}", f"l{n}")},
    "freq": ("frequency", "mhz", 1000),
    "hz": ("frequency", "mhz", 1000),
}
_SERIAL_KEYS = ("meter_number", "meter_id", "server_id", "meter_nr")
_OF_ONE_PHASE = ("voltage", "current")
"""They have no total: a single number is L1's."""
_SUMMED = ("power", "import", "export", "reactive")
_SECTIONS_LIMIT = 16
_TEXT_LIMIT = 64


class TasmotaDecoder:
    """One message at a time, without memory."""

    def __init__(self) -> None:
        self.refused: Counter[Refusal] = Counter()

    def decode(self, topic: str, payload: bytes) -> list[Telegram]:
        """One telegram with what the message measures, or none; never raises."""
        document = parse(payload)
        if isinstance(document, Refusal):
            return self._refuse(document)
        if isinstance(document, dict) and isinstance(document.get("StatusSNS"), dict):
            document = document["StatusSNS"]
        if not isinstance(document, dict):
            return self._refuse(Refusal.MALFORMED)
        if topic.endswith(("/STATE", "/LWT")):
            return self._refuse(Refusal.UNSUPPORTED)
        texts: dict[str, str] = {}
        found = _section(document.get("ENERGY"), _ENERGY)
        if not found:
            for section in _sections(document):
                found = _section(section, _SCRIPT)
                if found:
                    texts = _texts(section)
                    break
        values = plausible(found, self.refused)
        if not values:
            return self._refuse(Refusal.EMPTY)
        return [Telegram(values, texts, None, evidence_of(payload))]

    def _refuse(self, refusal: Refusal) -> list[Telegram]:
        self.refused[refusal] += 1
        return []


def _sections(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The meters of a script, in the order they stand."""
    sections = [value for value in document.values() if isinstance(value, dict)]
    yield from sections[:_SECTIONS_LIMIT]


def _section(section: Any, keys: Mapping[str, tuple[str, str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    if not isinstance(section, dict):
        return found
    for key, value in section.items():
        known = keys.get(key.lower())
        if known is None:
            continue
        stem, unit, factor = known
        for name, number in _numbers(stem, unit, value, factor).items():
            found.setdefault(name, number)
    return found


def _numbers(stem: str, unit: str, value: Any, factor: int) -> dict[str, int]:
    """A number, or one per phase, by measurement name."""
    if isinstance(value, list):
        phases = [whole(item, factor) for item in value[:3]]
        if len(phases) == 3 and stem not in ("frequency", "power_factor"):
            told = {f"{stem}_l{n}_{unit}": number for n, number in enumerate(phases, 1) if number is not None}
            if stem in _SUMMED and len(told) == 3:
                told[f"{stem}_{unit}"] = sum(told.values())
            return told
        value = value[0] if value else None
    number = whole(value, factor)
    if number is None:
        return {}
    return {f"{stem}_l1_{unit}" if stem in _OF_ONE_PHASE else f"{stem}_{unit}": number}


def _texts(section: Mapping[str, Any]) -> dict[str, str]:
    for key, value in section.items():
        if key.lower() in _SERIAL_KEYS and isinstance(value, str) and 0 < len(value) <= _TEXT_LIMIT:
            return {"serial": value} if value.isprintable() else {}
    return {}
