"""The operator asks for readings he misses: what still waits is sent again, and of the rest he is told why it is gone.

    request -> refused by name | frames that wait: sooner (replay.py) + holes between them: gap records (gaps.py)

A gap record made here covers only numbers that are already lent and that no frame here carries: never one that still
waits, never one that may yet be used. A sound store forgets only what was acknowledged, so where nothing better is
known the reason is ACKNOWLEDGED: the operator had it, and has gone back to an older store of his own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from contracts.codes import GapReason, Stream
from contracts.messages import ReadingRequest
from contracts.telemetry import BATCH_READINGS_LIMIT
from edge_agent.delivery.frame import Frame
from edge_agent.delivery.gaps import KINDS, Gaps, Hole, holes_between, last_used
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.sequence import BOOT, Sequences, stream_name

REQUESTS_A_MINUTE = 8
"""An operator asks a home at most four times a minute, and a network may bring two minutes of that at once."""
GAPS_AN_ANSWER = 16
"""Gap records one request may cause, the lowest first: he asks again for the rest."""
GAPS_WAITING_LIMIT = 256
"""Gap records of a stream that may wait when one more is made: who acknowledges none gets no more of them."""
WAITING_LIMIT = 1_024
"""Frames of a stream that are looked through at a request. Where more wait, only as many numbers are answered for."""
_ENDLESS = 1 << 64


class RequestRefusal(Enum):
    """Why a request is not answered, in the order in which it is looked for."""

    OTHER_ACCOUNT = "it asks another home"
    UNKNOWN_METER = "no meter here has this number"
    NOT_LENT = "no reading has this epoch or these sequences yet"
    TOO_MANY = "there were enough requests within this minute"
    STORE_FAILS = "what waits cannot be read now"
    UNACKNOWLEDGED = "more gap records wait than the operator acknowledges"


@dataclass(frozen=True, slots=True)
class Answer:
    """What follows from a request: frames to send again, and sequences that will never come."""

    waiting: list[Frame]
    gone: list[Hole]


class Requests:
    """Answers for the streams of one agent."""

    def __init__(self, account: int, meters: Iterable[int], sequences: Sequences, outbox: Outbox, gaps: Gaps) -> None:
        self._account = account
        self._meters = frozenset(meters)
        self._sequences = sequences
        self._outbox = outbox
        self._gaps = gaps
        self._minute = 0
        self._in_minute = 0

    def answer(self, request: ReadingRequest, now_ms: int) -> Answer | RequestRefusal:
        """What is to be said to a request that the operator has signed; changes nothing but the count of the minute."""
        refusal = self._refusal(request, now_ms)
        if refusal is not None:
            return refusal
        stream = Stream(request.stream)
        reading, gap = KINDS[stream]
        first, last = request.first_sequence, request.last_sequence
        if self._outbox.waiting(reading) > WAITING_LIMIT:
            last = min(last, first + WAITING_LIMIT - 1)
        wide = BATCH_READINGS_LIMIT - 1  # a batch may begin before the range and end behind it
        found = self._outbox.held((reading,), request.meter, request.epoch, max(0, first - wide), last + wide)
        found += self._outbox.held((gap,), request.meter, request.epoch)
        if self._store_fails:  # it was found broken by this
            return RequestRefusal.STORE_FAILS
        waiting = [frame for frame in found if frame.first <= last and frame.last >= first]
        spoken_for = [(frame.first, frame.last) for frame in waiting] + self._told_soon(request, stream)
        free = holes_between(first, last + 1, sorted(spoken_for))
        return Answer(waiting, self._with_reasons(request, stream, free)[:GAPS_AN_ANSWER])

    def _refusal(self, request: ReadingRequest, now_ms: int) -> RequestRefusal | None:
        if request.account != self._account:
            return RequestRefusal.OTHER_ACCOUNT
        if request.meter not in self._meters:
            return RequestRefusal.UNKNOWN_METER
        name = stream_name(request.meter, Stream(request.stream))
        is_lent = request.last_sequence < self._sequences.unused(name)
        if not is_lent or not 0 < request.epoch <= self._sequences.unused(BOOT):
            return RequestRefusal.NOT_LENT
        if now_ms // 60_000 != self._minute:
            self._minute, self._in_minute = now_ms // 60_000, 0
        self._in_minute += 1
        if self._in_minute > REQUESTS_A_MINUTE:
            return RequestRefusal.TOO_MANY
        if self._store_fails:
            return RequestRefusal.STORE_FAILS
        if self._outbox.waiting(KINDS[Stream(request.stream)][1]) >= GAPS_WAITING_LIMIT:
            return RequestRefusal.UNACKNOWLEDGED
        return None

    @property
    def _store_fails(self) -> bool:
        return not self._outbox.is_open or self._outbox.is_damaged or self._outbox.fault is not None

    def _told_soon(self, request: ReadingRequest, stream: Stream) -> list[tuple[int, int]]:
        """Sequences of which the next housekeeping tells with a reason of its own."""
        place = (request.meter, stream, request.epoch)
        lost = [(f.first, f.last) for f in self._outbox.unsaved() if (f.meter, f.kind.stream, f.epoch) == place]
        holes = [(h.first, h.last) for h in self._gaps.untold if (h.meter, h.stream, h.epoch) == place]
        return lost + holes

    def _with_reasons(self, request: ReadingRequest, stream: Stream, free: Iterable[tuple[int, int]]) -> list[Hole]:
        """Cuts ranges where the reason changes: before and behind what an epoch used, and where a database was lost."""
        name, epoch = stream_name(request.meter, stream), request.epoch
        ended = next((run for run in self._sequences.ended.get(name, []) if run.epoch == epoch), None)
        run = ended or next((run for run in self._sequences.all_runs(name) if run.epoch == epoch), None)
        begin, end = (run.first, run.end) if run is not None else (0, _ENDLESS)
        mark = self._sequences.ended_marks.get(request.meter)
        if ended is not None and mark is not None and mark.epoch == epoch:
            end = last_used(stream, ended, mark) + 1
        lost = min(max(begin, self._gaps.lost_below.get((request.meter, stream), 0)), end)
        pieces = (
            (0, begin, GapReason.LEASE_SKIPPED),
            (begin, lost, GapReason.CORRUPT_STORE),
            (lost, end, GapReason.ACKNOWLEDGED),
            (end, _ENDLESS, GapReason.LEASE_SKIPPED),
        )
        return [
            Hole(request.meter, stream, epoch, max(first, start), min(last, stop - 1), reason)
            for first, last in free
            for start, stop, reason in pieces
            if max(first, start) <= min(last, stop - 1)
        ]
