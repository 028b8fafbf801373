"""Which sequences of this home will never come: what a crash skipped, what a damaged database lost, what was dropped.

    runs (sequence.py) - what waits (outbox.py) = holes -> gap records -> the operator need not ask for them

A hole promises that *from now on* nothing in it is sent. Where the home cannot know any more what was acknowledged,
a hole may therefore hold numbers that the operator has already: the reading counts. A hole never holds a number that
still waits here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.codes import GapReason, Stream
from edge_agent.delivery.frame import Frame, FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.sequence import Mark, Run, Sequences, stream_name

KINDS = {
    Stream.SETTLEMENT: (FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP),
    Stream.TELEMETRY: (FrameKind.TELEMETRY, FrameKind.TELEMETRY_GAP),
}
"""The kinds of frames that carry sequences of a stream."""
HOLES_LIMIT = 256
"""Gap records a run may cause: beyond it the small holes between single acknowledgements are left unsaid."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequences ``first … last`` of one stream of one meter that will never come."""

    meter: int
    stream: Stream
    epoch: int
    first: int
    last: int
    reason: GapReason


def holes_between(first: int, end: int, held: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of ``first … end - 1`` is in none of the ranges ``held`` (first, last), which rise and may overlap."""
    found: list[tuple[int, int]] = []
    for begins, ends in held:
        if first < min(begins, end):
            found.append((first, min(begins, end) - 1))
        first = max(first, ends + 1)
    return [*found, (first, end - 1)] if first < end else found


def last_used(stream: Stream, run: Run, mark: Mark | None) -> int:
    """The number of an ended run up to which all were used and stored; ``run.first - 1`` where nobody knows.

    Of telemetry the mark names the first number that was in memory alone, be it behind such as was stored.
    """
    known = None
    if mark is not None and mark.epoch == run.epoch:
        if stream == Stream.SETTLEMENT:
            known = mark.sequence
        elif mark.telemetry is not None:
            known = mark.telemetry - 1
    return run.first - 1 if known is None else min(max(known, run.first - 1), run.end - 1)


def holes_of_run(meter: int, stream: Stream, run: Run, used: int, held: Sequence[Frame], damaged: bool) -> list[Hole]:
    """What will never come of one run, of which numbers up to ``used`` were stored and the frames ``held`` wait.

    Of a sound database it is what lies beyond; of a damaged one also everything before that waits no more.
    """
    spans = [(frame.first, frame.last) for frame in held]
    pieces = [(used + 1, run.end, GapReason.LEASE_SKIPPED)]
    if damaged:
        pieces.insert(0, (run.first, used + 1, GapReason.CORRUPT_STORE))
    holes = [
        Hole(meter, stream, run.epoch, first, last, reason)
        for begin, end, reason in pieces
        for first, last in holes_between(begin, end, spans)
    ]
    widest = sorted(holes, key=lambda hole: hole.first - hole.last)[:HOLES_LIMIT]
    return sorted(widest, key=lambda hole: hole.first)


class Gaps:
    """Finds the holes of an agent's streams and remembers, until they are signed, those nobody was told of."""

    def __init__(self, meters: Iterable[int], sequences: Sequences, outbox: Outbox) -> None:
        self._streams = [(meter, stream) for meter in meters for stream in Stream]
        self._sequences = sequences
        self._outbox = outbox
        self.untold: list[Hole] = []
        self.lost_below: dict[tuple[int, Stream], int] = {}
        """Of streams whose database was found damaged or old in this run: numbers below may be gone by that."""
        self._are_ended_told = False
        self._has_looked = False
        self.look()

    def look(self) -> None:
        """At the start, as soon as the database can be asked, and whenever it turned out to be damaged since."""
        if not self._outbox.is_open:
            return
        if not self._has_looked:
            self._has_looked = True
            self._look(self._sequences.is_database_behind or self._outbox.is_damaged, at_start=True)
        elif self._outbox.is_damaged:
            self._look(True, at_start=False)

    def _look(self, damaged: bool, at_start: bool) -> None:
        self._outbox.is_damaged = False
        for meter, stream in self._streams:
            name = stream_name(meter, stream)
            if damaged:
                self.lost_below[meter, stream] = self._sequences.unused(name)
            runs = self._sequences.ended.get(name, []) if at_start else self._sequences.all_runs(name)
            for run in runs:
                held = self._outbox.held(KINDS[stream], meter, run.epoch)
                if damaged or not run.is_told:
                    mark = self._sequences.ended_marks.get(meter)
                    used = last_used(stream, run, mark) if at_start else run.end - 1
                    self.untold += holes_of_run(meter, stream, run, used, held, damaged)

    def damaged(self, frame: Frame) -> None:
        """A stored reading, batch or gap record is not what was signed any more."""
        if 0 <= frame.first <= frame.last:
            place = (frame.meter, frame.kind.stream, frame.epoch, frame.first, frame.last)
            self.untold.append(Hole(*place, GapReason.CORRUPT_STORE))

    def told(self) -> None:
        """All holes are in signed records that are stored; those wait as well, so that a lost one is told again."""
        self.untold.clear()
        if self._are_ended_told or not self._has_looked:
            return
        self._are_ended_told = True
        for meter, stream in self._streams:
            name = stream_name(meter, stream)
            epochs = [run.epoch for run in self._sequences.ended.get(name, [])]
            waiting = [epoch for epoch in epochs if self._outbox.held(KINDS[stream], meter, epoch)]
            self._sequences.told(name, epochs, waiting)


def ranges_of(frames: Iterable[Frame]) -> list[Hole]:
    """Dropped frames as holes, with neighbours joined."""
    found: list[Hole] = []
    for frame in sorted(frames, key=lambda f: (f.kind.gap, f.meter, f.epoch, f.first)):
        stream = frame.kind.stream
        hole = Hole(frame.meter, stream, frame.epoch, frame.first, frame.last, GapReason.BUDGET)
        before = found[-1] if found else None
        if before is not None and before.last + 1 == hole.first and _same_stream(before, hole):
            found[-1] = Hole(hole.meter, stream, hole.epoch, before.first, hole.last, GapReason.BUDGET)
        else:
            found.append(hole)
    return found


def _same_stream(one: Hole, other: Hole) -> bool:
    return (one.meter, one.stream, one.epoch) == (other.meter, other.stream, other.epoch)
