"""What happens in a world, as the auditors and the log see it: one frozen dataclass a kind of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contracts.messages import Header
from coordinator.chain_events import ChainEvent
from coordinator.ingest import Refusal
from edge_agent.effects import WriteDevice


@dataclass(frozen=True, slots=True)
class HomeSaid:
    """A home published; nothing has happened to it on the way yet."""

    home: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class HomeHeard:
    """A packet reached a running agent, damaged or not."""

    home: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class MeterShown:
    """A meter was read: what is true, and what it showed (None: it did not answer)."""

    home: int
    true_import_wh: int
    true_export_wh: int
    shown: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class DeviceWritten:
    """An agent commanded a device."""

    home: int
    write: WriteDevice


@dataclass(frozen=True, slots=True)
class AgentAlarmed:
    """An agent complained."""

    home: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentStarted:
    """An agent begins to run, for the first time or again."""

    home: int


@dataclass(frozen=True, slots=True)
class OperatorSaid:
    """The coordinator published after its commit."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class OperatorHeard:
    """The coordinator judged a message; the verdict stands only once it is committed."""

    topic: str
    payload: bytes
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class RecordPublished:
    """The public record of a header is available."""

    interval: int
    record: bytes


@dataclass(frozen=True, slots=True)
class HeaderSubmitted:
    """The coordinator wants a header on the chain."""

    header: Header


@dataclass(frozen=True, slots=True)
class OperatorAlarmed:
    """The coordinator complained."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class ChainSaid:
    """An event of the chain is beyond its finality depth and reaches the coordinator."""

    event: ChainEvent


@dataclass(frozen=True, slots=True)
class PostRefused:
    """The settlement contract would not take a header."""

    interval: int
    reason: str


@dataclass(frozen=True, slots=True)
class Happened:
    """Anything else worth a line in the log: a crash, a healed link, a clock that steps."""

    what: str


WorldEvent = (
    HomeSaid
    | HomeHeard
    | MeterShown
    | DeviceWritten
    | AgentAlarmed
    | AgentStarted
    | OperatorSaid
    | OperatorHeard
    | RecordPublished
    | HeaderSubmitted
    | OperatorAlarmed
    | ChainSaid
    | PostRefused
    | Happened
)

Tell = Callable[[WorldEvent], None]
"""Where a part of the world says what happened."""


@dataclass(slots=True)
class Tally:
    """Counts events by name, for the result of a run."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, times: int = 1) -> None:
        """So many more of ``name``."""
        self.counts[name] = self.counts.get(name, 0) + times
