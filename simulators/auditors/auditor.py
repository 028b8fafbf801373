"""What every auditor is: it sees each event of a world, and says at the end what broke its rule."""

from __future__ import annotations

from typing import Protocol

from contracts.envelope import Envelope, EnvelopeRefusal, open_envelope
from simulators.world_events import WorldEvent

FINDINGS_LIMIT = 12
"""The first dozen tell what is wrong; the rest usually follows from it."""


class Auditor(Protocol):
    """Watches one rule."""

    def observe(self, event: WorldEvent) -> None:
        """Something happened."""

    def verdict(self) -> list[str]:
        """What broke the rule, in sentences; asked once, at the end."""


class Findings:
    """Collects sentences under one auditor's name, the first of each, and not too many."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """One more finding."""
        line = f"{self._name}: {text}"
        if line not in self._texts and len(self._texts) < FINDINGS_LIMIT:
            self._texts.append(line)

    def texts(self) -> list[str]:
        """All of them."""
        return self._texts


class Opened:
    """Opens envelopes once per run; a repeat of the same bytes costs a look-up."""

    def __init__(self) -> None:
        self._known: dict[bytes, Envelope | EnvelopeRefusal] = {}

    def __call__(self, payload: bytes) -> Envelope | None:
        """The envelope, or None where the bytes are none."""
        found = self._known.get(payload)
        if found is None:
            found = self._known[payload] = open_envelope(payload)
        return found if isinstance(found, Envelope) else None


def account_named(text: str) -> int:
    """The account in an alarm that begins with ``account N``."""
    return int(text.split()[1])
