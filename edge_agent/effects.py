"""All that enters and leaves the agent's core, on one page.

In: samples, write results and the state of the clock. Out: effects, carried out by `shell/runtime.py` in order.
Everything durable has been committed before an effect is returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from contracts.codes import ClockStatus

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sample:
    """What one poll of a device gave. ``values`` None and a ``fault`` when nothing came.

    ``rollovers`` names the value at which a counter starts again at 0, where the device says it; ``serial`` is the
    device's own serial number, where it tells one; ``evidence`` the hash of the raw telegram it came in, 32 bytes.
    """

    device: str
    taken_at_ms: int
    values: Mapping[str, int] | None
    fault: str | None = None
    rollovers: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    serial: str | None = None
    evidence: bytes | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a WriteDevice: ``read_back`` is the set-point the device holds now, None where unknown."""

    token: int
    device: str
    read_back: int | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand ``payload`` to the broker."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class WriteDevice:
    """Write ``value`` to set-point ``write`` of a device and read it back; ``value`` None releases the set-point.

    ``watchdog_s`` is the device's own timer, None where it has none. ``token`` comes back in the WriteResult.
    """

    device: str
    write: str
    value: int | None
    watchdog_s: int | None
    token: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an installer should look at; ``code`` is stable, ``text`` for people."""

    code: str
    text: str


Effect: TypeAlias = Publish | WriteDevice | Alarm


class Counters(dict[str, int]):
    """How often each named thing happened; every refusal has a name here."""

    def count(self, name: str, times: int = 1) -> None:
        """One more of ``name``."""
        self[name] = self.get(name, 0) + times


__all__ = ["Alarm", "ClockStatus", "Counters", "Effect", "NOTHING", "Publish", "Sample", "WriteDevice", "WriteResult"]
