"""Shelly meters on MQTT, both families. Energy is Wh in all that is read here.

    gen 1      shellies/<id>/emeter/<channel>/power|total|total_returned|voltage|current     a number
               shellies/<id>/relay/<channel>/power (its `energy` is watt-minutes since boot: not read)
    gen 2, 3   <id>/events/rpc          {"method": "NotifyStatus", "params": {"ts": …, "em:0": {…}, "emdata:0": {…}}}
               <id>/status/em:0         one component by itself;  <id>/rpc answers {"result": {…}}

Three-phase components (`em:`, `emdata:`) tell their own totals. Gen 1 does not: without a `channel` its channels 0 to 2
are phases, to be summed by who keeps the latest of each; with one, that channel is the whole meter. The same holds for
`em1:`, `em1data:`, `switch:` and `pm1:` of gen 2, where no channel means the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from firmware_bridge.json_number import parse, whole
from firmware_bridge.telegram import Refusal, Telegram, evidence_of, plausible

__all__ = ["ShellyDecoder", "channel_of"]

_GEN1 = re.compile(r"(?:^|/)(?:emeter|relay)/(?P<channel>\d)/(?P<what>[a-z_]+)$")
_CHANNEL = re.compile(r"(?:/(?:emeter|relay)/|/status/(?:em1|em1data|switch|pm1):)(\d)(?:/|$)")
_COMPONENT = re.compile(r"^(em|emdata|em1|em1data|switch|pm1):(\d)$")

# What a message tells -> stem of our measurement, our unit, what one of theirs is in it.
_CHANNEL_VALUES: Mapping[str, tuple[str, str, int]] = {
    "power": ("power", "w", 1),
    "reactive_power": ("reactive", "var", 1),
    "total": ("import", "wh", 1),
    "total_returned": ("export", "wh", 1),
    "voltage": ("voltage", "mv", 1000),
    "current": ("current", "ma", 1000),
    "act_power": ("power", "w", 1),
    "apower": ("power", "w", 1),
    "aprt_power": ("apparent", "va", 1),
    "freq": ("frequency", "mhz", 1000),
    "total_act_energy": ("import", "wh", 1),
    "total_act_ret_energy": ("export", "wh", 1),
}
_TOTALS: Mapping[str, tuple[str, int]] = {
    "total_act_power": ("power_w", 1),
    "total_aprt_power": ("apparent_va", 1),
    "total_act": ("import_wh", 1),
    "total_act_ret": ("export_wh", 1),
    "a_freq": ("frequency_mhz", 1000),
}
_OF_ONE_PHASE = ("voltage", "current")
_GEN1_BODY_LIMIT = 32
_EARLIEST_S, _LATEST_S = 1_700_000_000, 2**32
"""A device that was never told the time says a small number."""


def channel_of(topic_filter: str) -> int | None:
    """The channel a filter pins, as in `shellies/x/emeter/0/+`; None where it takes all."""
    found = _CHANNEL.search(topic_filter)
    return None if found is None else int(found[1])


class ShellyDecoder:
    """One message at a time, without memory. ``channel`` None: all three channels are phases of one meter."""

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self.refused: Counter[Refusal] = Counter()

    def decode(self, topic: str, payload: bytes) -> list[Telegram]:
        """One telegram with what the message carries, often a single value, or none; never raises."""
        gen1 = _GEN1.search(topic)
        if gen1 is not None and len(payload) > _GEN1_BODY_LIMIT:
            return self._refuse(Refusal.OVERLONG)
        document = parse(payload)
        if isinstance(document, Refusal):
            return self._refuse(document)
        taken_at_s: int | None = None
        if gen1 is not None:
            found = self._channel_value(int(gen1["channel"]), gen1["what"], document)
        elif not isinstance(document, dict):
            return self._refuse(Refusal.MALFORMED if topic.endswith("/rpc") else Refusal.UNSUPPORTED)
        else:
            told = _components(topic, document)
            taken_at_s = _told_time(told.get("ts"))
            found = self._status(told)
        values = plausible(found, self.refused)
        if not values:
            return self._refuse(Refusal.EMPTY)
        return [Telegram(values, {}, taken_at_s, evidence_of(payload))]

    def _refuse(self, refusal: Refusal) -> list[Telegram]:
        self.refused[refusal] += 1
        return []

    def _channel_value(self, channel: int, what: str, value: Any) -> dict[str, int]:
        known = _CHANNEL_VALUES.get(what)
        if known is None or (channel > 2 if self._channel is None else channel != self._channel):
            return {}
        phase = channel + 1 if self._channel is None else None
        return _named(known, value, phase)

    def _status(self, told: Mapping[str, Any]) -> dict[str, int]:
        found: dict[str, int] = {}
        for key, body in told.items():
            component = _COMPONENT.match(key)
            if component is None or not isinstance(body, dict):
                continue
            kind, channel = component[1], int(component[2])
            if kind in ("em", "emdata"):
                if channel == 0:
                    found.update(_three_phases(body))
            elif channel == (self._channel or 0):
                found.update(_single(body))
        return found


def _components(topic: str, document: dict[str, Any]) -> Mapping[str, Any]:
    """Components by name, out of a notification, an answer, or one component's own topic."""
    for key in ("params", "result"):
        if isinstance(document.get(key), dict):
            inner: dict[str, Any] = document[key]
            return inner
    last = topic.rsplit("/", 1)[-1]
    return {last: document} if _COMPONENT.match(last) else document


def _told_time(value: Any) -> int | None:
    seconds = whole(value)
    return seconds if seconds is not None and _EARLIEST_S <= seconds < _LATEST_S else None


def _three_phases(body: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, (name, factor) in _TOTALS.items():
        number = whole(body.get(key), factor)
        if number is not None:
            found[name] = number
    for phase, letter in enumerate("abc", 1):
        for key in ("act_power", "aprt_power", "voltage", "current"):
            found.update(_named(_CHANNEL_VALUES[key], body.get(f"{letter}_{key}"), phase))
        for key in ("total_act_energy", "total_act_ret_energy"):
            found.update(_named(_CHANNEL_VALUES[key], body.get(f"{letter}_{key}"), phase))
    return found


def _single(body: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in body.items():
        if key in _CHANNEL_VALUES:
            found.update(_named(_CHANNEL_VALUES[key], value, None))
    for key, name in (("aenergy", "import_wh"), ("ret_aenergy", "export_wh")):
        energy = body.get(key)
        number = whole(energy.get("total")) if isinstance(energy, dict) else None
        if number is not None:
            found[name] = number
    return found


def _named(known: tuple[str, str, int], value: Any, phase: int | None) -> dict[str, int]:
    """The value under its name: of one phase, or of the whole meter where ``phase`` is None."""
    stem, unit, factor = known
    number = whole(value, factor)
    if number is None:
        return {}
    if stem in _OF_ONE_PHASE:
        number = abs(number) if stem == "current" else number
        return {f"{stem}_l{phase or 1}_{unit}": number}
    if phase is None or stem == "frequency":
        return {f"{stem}_{unit}": number}
    return {f"{stem}_l{phase}_{unit}": number}
