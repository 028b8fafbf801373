"""What the runtime asks of a chain, whichever it is: take headers, tell events, each exactly once and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from contracts.evidence import Call
from contracts.messages import Header
from coordinator.chain_events import ChainEvent

ReportAlarm = Callable[[str, str], None]
"""Takes a fixed word and a sentence."""


class Chain(Protocol):
    """A settlement chain as the coordinator uses it."""

    @property
    def counters(self) -> dict[str, int]:
        """What happened since the start, by word."""

    async def resume_after(self, events_seen: int) -> None:
        """Said once before anything else: the store holds the first ``events_seen`` events already."""

    async def submit(self, header: Header) -> None:
        """Takes a header to be posted; returns before it is. Taking the same header again changes nothing."""

    async def answer(self, number: int, call: Call, deadline_s: int) -> None:
        """Takes the answer to a demand, to be given before ``deadline_s``. The same again changes nothing."""

    async def events(self) -> list[ChainEvent]:
        """The next final events; calling again says that the ones before are stored. Also drives the posting.

        Raises RemoteChainError while the chain cannot be reached.
        """

    async def collar(self) -> tuple[int, int] | None:
        """Lowest and highest price with which a header may be posted now; None where the chain sets no bounds.

        Raises RemoteChainError.
        """

    async def stop(self) -> None:
        """Ends; what is not posted is submitted again after the next start."""


class RemoteChainError(Exception):
    """The chain's node does not answer or answers nonsense; the call may be repeated."""


class NoChain:
    """Stands in where no chain is configured: headers stay built, accounts never open. For trying the ingest alone."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}

    async def resume_after(self, events_seen: int) -> None:
        """Nothing to go back to."""

    async def submit(self, header: Header) -> None:
        """The header stays built in the store."""

    async def answer(self, number: int, call: Call, deadline_s: int) -> None:
        """Nobody asks."""

    async def events(self) -> list[ChainEvent]:
        """Never any."""
        return []

    async def collar(self) -> tuple[int, int] | None:
        """No bounds."""
        return None

    async def stop(self) -> None:
        """Nothing to end."""
