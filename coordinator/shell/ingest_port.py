"""What the runtime asks of a broker, whichever it is: hand messages up, take messages down.

A message is *acknowledged* to the broker only after the store's commit. Homes do not rely on that (they wait for
the operator's signed acknowledgement); it spares an external broker's queue from losing what a crash undid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


def _nothing() -> None:
    """An embedded broker has nothing to acknowledge."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message from a home, and how to tell the broker that it is kept."""

    topic: str
    payload: bytes
    acknowledge: Callable[[], None] = _nothing


OnMessage = Callable[[Incoming], None]
"""Called in the event loop; returns at once."""


class IngestBroker(Protocol):
    """A broker as the coordinator uses it."""

    @property
    def url(self) -> str:
        """Where homes connect."""

    @property
    def counters(self) -> dict[str, int]:
        """What happened since the start, by word."""

    async def start(self, on_message: OnMessage) -> None:
        """Begins to hand up messages."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Sends down at most once; returns before it has arrived."""

    async def stop(self) -> None:
        """Closes all connections."""
