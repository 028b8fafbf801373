"""Any meter whose values come as JSON on MQTT: ESPHome, Zigbee2MQTT, a script of one's own.

    import_wh = "energy.total * 1000"          a key of a key, from kWh to Wh
    power_l1_w = "phases[0].power * -1"        the first of an array, export-positive turned round
    voltage_l1_mv = '["grid voltage"] * 1000'  a key with other characters
    power_w = "grid_power/state: $"            only of topics that end so; the whole message is the number

A path that leads nowhere in a message is passed over: a message may carry some of the values. Arithmetic is exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from device_profiles.measurement import MEASUREMENTS
from firmware_bridge.json_number import exact, parse
from firmware_bridge.telegram import Refusal, Telegram, evidence_of, plausible

__all__ = ["JsonPath", "JsonPathDecoder", "LocalPathError", "parse_path"]

PATH_LIMIT = 256
STEPS_LIMIT = 16
"""Nobody nests meter values deeper; it bounds the work of a message."""
PATHS_LIMIT = 64
_FACTOR_LIMIT = 12
"""Factors between 10^-12 and 10^12: from nano to tera."""
_STEP = re.compile(r"""\.?(?:(?P<key>[^.\[\]"*:\s]+)|\["(?P<quoted>[^"]+)"\]|\[(?P<place>\d{1,3})\])""")


class LocalPathError(ValueError):
    """A path that says nothing, with the reason."""


@dataclass(frozen=True, slots=True)
class JsonPath:
    """Keys and places to follow from the root, what the number is multiplied by, and how the topic must end."""

    steps: tuple[str | int, ...]
    factor: Fraction
    topic_end: str = ""

    def find(self, document: Any) -> Any:
        """What stands there; None where the path leads nowhere."""
        for step in self.steps:
            if isinstance(step, str) and isinstance(document, dict):
                document = document.get(step)
            elif isinstance(step, int) and isinstance(document, list) and step < len(document):
                document = document[step]
            else:
                return None
        return document


def parse_path(text: str) -> JsonPath:
    """``[topic end:] path [* factor]``. Raises LocalPathError."""
    if len(text) > PATH_LIMIT:
        raise LocalPathError(f"longer than {PATH_LIMIT} characters")
    body, star, last = text.rpartition("*")
    path, factor = (body, last) if star and '"' not in last else (text, "1")
    topic_end, colon, rest = path.partition(":")
    if not colon or '"' in topic_end:
        topic_end, rest = "", path
    return JsonPath(_steps(rest.strip()), _factor(factor.strip()), topic_end.strip())


def _factor(text: str) -> Fraction:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise LocalPathError(f"{text!r} is no number to multiply by") from error
    found = None if not number or abs(number.adjusted()) > _FACTOR_LIMIT else exact(number)
    if found is None:
        raise LocalPathError(f"{text!r} is no factor between 10^-{_FACTOR_LIMIT} and 10^{_FACTOR_LIMIT}")
    return found


def _steps(text: str) -> tuple[str | int, ...]:
    if text == "$":
        return ()
    place, steps = 0, list[str | int]()
    text = text.removeprefix("$.").removeprefix("$")
    while place < len(text):
        found = _STEP.match(text, place)
        has_dot, is_key = text[place] == ".", found is not None and found["key"] is not None
        if found is None or (has_dot and (place == 0 or not is_key)) or (is_key and place > 0 and not has_dot):
            raise LocalPathError(f"{text!r} is no path: see the character at {place + 1}")
        steps.append(int(found["place"]) if found["place"] is not None else found["key"] or found["quoted"])
        place = found.end()
    if not 1 <= len(steps) <= STEPS_LIMIT:
        raise LocalPathError(f"a path has 1 to {STEPS_LIMIT} steps")
    return tuple(steps)


class JsonPathDecoder:
    """Reads the measurements of ``paths``: measurement name to path text. Raises LocalPathError for a bad one."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        if not 1 <= len(paths) <= PATHS_LIMIT:
            raise LocalPathError(f"1 to {PATHS_LIMIT} paths, not {len(paths)}")
        for name in paths:
            if name not in MEASUREMENTS:
                raise LocalPathError(f"{name!r} is no measurement")
        self._paths = {name: parse_path(text) for name, text in paths.items()}
        self.refused: Counter[Refusal] = Counter()

    def decode(self, topic: str, payload: bytes) -> list[Telegram]:
        """One telegram with what the message carries, or none; never raises."""
        wanted = {name: path for name, path in self._paths.items() if topic.endswith(path.topic_end)}
        if not wanted:
            self.refused[Refusal.UNSUPPORTED] += 1
            return []
        document = parse(payload)
        if isinstance(document, Refusal):
            self.refused[document] += 1
            return []
        told = {name: exact(path.find(document)) for name, path in wanted.items()}
        found = {name: round(value * wanted[name].factor) for name, value in told.items() if value is not None}
        values = plausible(found, self.refused)
        if not values:
            self.refused[Refusal.EMPTY] += 1
            return []
        return [Telegram(values, {}, None, evidence_of(payload))]
