"""One simulated Modbus device behind a profile: its register map, what it answers, and what a write makes it do.

No sockets here; `modbus.py` puts it on the wire. Reading: the current values are encoded through the profile, laid
over what was written and, for SunSpec, over an otherwise empty model chain. Writing: registers are kept, and a
set-point takes effect once its enable registers say on. A device watchdog that nobody rewrites in time switches
the set-point off again and reports the fall-back, as the real device does when the agent dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from device_profiles.codec import encode, encode_number
from device_profiles.profile import Profile, RegisterImage, Step, WritePoint
from device_profiles.register_type import TYPES
from device_profiles.sunspec import chain_words, layout, resolve
from device_profiles.write_codec import decode_write, watchdog_seconds, write_active

__all__ = ["OnWrite", "ReadValues", "SimulatedDevice", "WriteRefusedError"]

ReadValues = Callable[[], dict[str, int]]
OnWrite = Callable[[str, int], None]
_GAP = 125
"""No request is longer, so no reader ever reads through a wider gap."""


class WriteRefusedError(Exception):
    """A write this device does not take; `illegal_value` tells a bad value from a bad address."""

    def __init__(self, why: str, *, illegal_value: bool) -> None:
        super().__init__(why)
        self.illegal_value = illegal_value


class SimulatedDevice:
    """Registers of one unit, driven by a profile and a source of current values."""

    def __init__(self, profile: Profile, read_values: ReadValues, on_write: OnWrite | None) -> None:
        self._empty = RegisterImage()
        if profile.sunspec is not None and not profile.resolved:
            found = layout(profile)
            profile = resolve(profile, found)
            self._empty = chain_words(found)
        self.profile = profile
        self._read_values = read_values
        self._on_write = on_write
        self._written = RegisterImage()
        self._shown = RegisterImage()
        # What it decodes is what was written, also where a client can only read that back from elsewhere.
        self._plain = replace(profile, writes=tuple(replace(write, shown=None) for write in profile.writes))
        self._delivered: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        for write in profile.writes:
            self._switch_off(write)
        self._writable = frozenset(address for _, address in self._written)
        self._map = {function: self._addresses(function) for function in (3, 4)}

    def addresses(self) -> list[int]:
        """Every address of the map, of both function codes, in order."""
        return sorted(self._map[3] | self._map[4])

    def has(self, function: int, address: int, count: int) -> bool:
        """Whether all these registers exist."""
        return all(address + offset in self._map[function] for offset in range(count))

    def read(self, function: int, address: int, count: int) -> list[int]:
        """The words now; a register between points that carries nothing reads 0."""
        live = encode(self.profile, self._read_values())
        found = []
        for place in range(address, address + count):
            key = (function, place)
            word = self._written.get(key) if function == 3 else None
            word = self._shown.get(key) if word is None else word
            word = live.get(key) if word is None else word
            found.append(self._empty.get(key, 0) if word is None else word)
        return found

    def write(self, address: int, words: Sequence[int]) -> None:
        """Take a write; WriteRefusedError for an address that is not writable or a set-point out of bounds."""
        touched = range(address, address + len(words))
        if not self._writable.issuperset(touched):
            raise WriteRefusedError(f"register {address} is not writable", illegal_value=False)
        before = RegisterImage(self._written)
        self._written.put(3, address, words)
        for write in self.profile.writes:
            if self._registers_of(write).isdisjoint(touched):
                continue
            try:
                self._take(write)
            except WriteRefusedError:
                self._written = before
                raise

    def close(self) -> None:
        """Stop all watchdogs."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _addresses(self, function: int) -> frozenset[int]:
        """Reading through a gap works as the planner takes it to, through a hole it does not."""
        spans = [span for point in self.profile.points for span in point.spans]
        spans += [span for text in self.profile.texts for span in text.spans]
        spans += [*self.profile.probe_spans, *((3, address, 1) for address in self._writable)]
        spans += [(code, address, 1) for code, address in self._shown]
        own = [(address, address + count) for code, address, count in spans if code == function]
        found: set[int] = set()
        reached = -_GAP
        for start, end in sorted(own):
            found.update(range(reached if start - reached < _GAP else start, end))
            reached = max(reached, end)
        for hole in self.profile.bus.holes:
            if hole.function == function:
                found.difference_update(range(hole.first, hole.last + 1))
        found.update(address for code, address in self._empty if code == function)
        return frozenset(found)

    @staticmethod
    def _registers_of(write: WritePoint) -> set[int]:
        found: set[int] = set()
        for way in _ways(write):
            steps = [(s.address, s.type) for s in (*way.before, *way.enable)]
            steps.append((way.address, way.type))
            if way.watchdog is not None and way.watchdog.address is not None:
                steps.append((way.watchdog.address, way.watchdog.type))
            found |= {address + i for address, kind in steps for i in range(TYPES[kind].words)}
        return found

    def _scales(self) -> RegisterImage:
        """Written words together with the scale factors the device shows at the moment."""
        return RegisterImage(encode(self.profile, self._read_values()) | self._written)

    def _take(self, write: WritePoint) -> None:
        name = write.name
        shown = self._scales()
        if not write_active(self._plain, name, shown):
            self._drop(write)
            return
        value = decode_write(self._plain, name, shown)
        if value is None or not write.minimum <= value <= write.maximum:
            raise WriteRefusedError(f"{name} of {value} is out of bounds", illegal_value=True)
        self._arm(write, watchdog_seconds(self._plain, name, shown) or 0)
        self._show(write, value)
        if self._delivered.get(name) != value:
            self._delivered[name] = value
            if self._on_write is not None:
                self._on_write(name, value)

    def _arm(self, write: WritePoint, seconds: int) -> None:
        old = self._timers.pop(write.name, None)
        if old is not None:
            old.cancel()
        if seconds:
            loop = asyncio.get_running_loop()
            self._timers[write.name] = loop.call_later(seconds, self._expire, write)

    def _expire(self, write: WritePoint) -> None:
        self._switch_off(write)
        self._drop(write)

    def _drop(self, write: WritePoint) -> None:
        """The set-point is no longer in force: report what the device does instead."""
        self._arm(write, 0)
        if self._delivered.pop(write.name, None) is None or write.fallback is None:
            return
        if self._on_write is not None:
            self._on_write(write.name, write.fallback)

    def _show(self, write: WritePoint, value: int) -> None:
        """Puts the set-point in force where the device shows it."""
        if write.shown is not None:
            words = encode_number(value, write.shown.type, write.scale, 0, write.sign, write.word_order)
            self._shown.put(write.shown.function, write.shown.address, words)

    def _switch_off(self, write: WritePoint) -> None:
        """Registers as after power-up: fall-back value, no timer, not enabled."""
        resting = write.fallback if write.fallback is not None else max(write.minimum, min(0, write.maximum))
        self._show(write, resting)
        for way in _ways(write):
            exponent = way.scale_exponent if way.scale_register is not None else 0
            # What a share refers to is not known at power-up; below zero there is a register of its own.
            value = 0 if way.of is not None or way is not write else resting
            words = encode_number(value, way.type, way.scale, exponent, way.sign, way.word_order)
            self._written.put(3, way.address, words)
            steps = [Step(s.address, s.type, s.release or 0) for s in (*way.before, *way.enable)]
            if way.watchdog is not None and way.watchdog.address is not None:
                steps.append(Step(way.watchdog.address, way.watchdog.type, 0))
            for step in steps:
                words = encode_number(step.value, step.type, (1, 1), 0, 1, way.word_order)
                self._written.put(3, step.address, words)


def _ways(write: WritePoint) -> list[WritePoint]:
    """The set-point, and where a negative one goes."""
    return [write] if write.below_zero is None else [write, write.below_zero]
