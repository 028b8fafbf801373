"""Everything the coordinator may do to the world, on one page. The core returns these; the shell carries them out
after the store's commit."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.evidence import Call
from contracts.messages import Header


@dataclass(frozen=True, slots=True)
class Publish:
    """Send ``payload`` to the broker under ``topic``. Losing it is harmless: homes repeat what they miss."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class SubmitHeader:
    """Post ``header`` to the settlement contract; the chain's event tells when it is there."""

    header: Header


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    """Answer demand ``number`` on chain by ``call``, before ``deadline_s``."""

    number: int
    call: Call
    deadline_s: int


@dataclass(frozen=True, slots=True)
class PublishRecord:
    """Make the public record of an interval available under its hash."""

    interval: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person should see: ``code`` is a fixed word, ``text`` a sentence with the evidence."""

    code: str
    text: str


Effect = Publish | SubmitHeader | SubmitAnswer | PublishRecord | Alarm
