"""One sample out of several messages: the latest of each value, as long as it is young enough.

Some meters tell every value in a message of its own (Shelly gen 1), or power often and registers seldom (gen 2). A
sample is due when all registers known of the meter have come since the last one, so that it is one burst's values and
not half of two. Registers are settled with, so those of a sample are never further apart than ``together_s``, nor
older: an older one is absent. Three phases are summed where the meter tells no total. Pure: times are the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.measurement import MEASUREMENTS
from edge_agent.readings.metering import NO_EVIDENCE
from firmware_bridge.telegram import Telegram

_SUMMED = (("import", "wh"), ("export", "wh"), ("power", "w"))
_COUNTERS = frozenset(name for name, known in MEASUREMENTS.items() if known.counter)


@dataclass(frozen=True, slots=True)
class Merged:
    """Values, hash of the messages they came in, and the meter's serial number where one told it."""

    values: Mapping[str, int]
    evidence: bytes
    serial: str | None


@dataclass(frozen=True, slots=True)
class _Value:
    number: int
    taken_at_s: float
    evidence: bytes


class LatestValues:
    """The latest values of one meter. One counts as current for ``age_s``, a register for ``together_s``."""

    def __init__(self, age_s: float, together_s: float) -> None:
        self._age_s = age_s
        self._together_s = together_s
        self._values: dict[str, _Value] = {}
        self._new: set[str] = set()
        self._told: set[str] = set()
        self._serial: str | None = None

    def has_registers(self, now_s: float) -> bool:
        """Whether a register has come since the last sample that may still be in the next one."""
        return not self._new.isdisjoint(_COUNTERS & self._current(now_s).keys())

    def take(self, telegram: Telegram, now_s: float) -> None:
        """Adds what a message told."""
        for name, number in telegram.values.items():
            self._values[name] = _Value(number, now_s, telegram.evidence)
        self._new.update(telegram.values)
        self._told.update(telegram.values)
        self._serial = telegram.texts.get("serial", self._serial)

    def is_whole(self, now_s: float) -> bool:
        """Whether something new has come, and every register known of the meter is new and of this moment."""
        self._forget(now_s)
        known = _COUNTERS & self._values.keys()
        return bool(self._new) and known <= self._new and known <= self._current(now_s).keys()

    def merged(self, now_s: float) -> Merged | None:
        """Everything current, taken as said from now on; None where nothing is."""
        self._forget(now_s)
        self._new.clear()
        current = self._current(now_s)
        if not current:
            return None
        values = {name: value.number for name, value in current.items()}
        for stem, unit in _SUMMED:
            total, phases = f"{stem}_{unit}", [f"{stem}_l{n}_{unit}" for n in (1, 2, 3)]
            if total not in self._told and all(phase in values for phase in phases):
                values[total] = sum(values[phase] for phase in phases)
        return Merged(values, _together(current), self._serial)

    def _current(self, now_s: float) -> dict[str, _Value]:
        """What a sample of this moment would hold."""
        return {
            name: value
            for name, value in self._values.items()
            if now_s - value.taken_at_s <= (self._together_s if name in _COUNTERS else self._age_s)
        }

    def _forget(self, now_s: float) -> None:
        self._values = {name: v for name, v in self._values.items() if now_s - v.taken_at_s <= self._age_s}


def _together(current: Mapping[str, _Value]) -> bytes:
    """The one message's own hash, or the hash of all messages' hashes from the oldest to the newest."""
    hashes: dict[bytes, None] = {}
    for value in sorted(current.values(), key=lambda v: v.taken_at_s):
        hashes.setdefault(value.evidence)
    if len(hashes) == 1:
        return next(iter(hashes))
    return hashlib.sha256(b"".join(hashes)).digest() if hashes else NO_EVIDENCE
