"""The request desk: asks homes for the sequences that nobody has said anything about.

    what a home says ──▶ has it holes? ──▶ missing for 20 minutes ──▶ ReadingRequest ──▶ … answered: the hole is gone
                                                 ▲── unanswered: after 20, 40, 80 … minutes again, eight times ──┘

A home is asked when it has just said something, because only then it surely is there: nothing is queued for it. All
that is remembered is plain memory: a restart asks from the beginning, and a replay need not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts.messages import ReadingRequest
from coordinator.effects import Alarm
from coordinator.store.coverage import Coverage, Span, StreamOf

MISSING_S = 1_200
"""A home repeats what waits within 19 minutes at most, so what is missing longer than this nobody will repeat."""
ATTEMPTS_LIMIT = 8
"""Three days and a half of a home that is there and does not answer: a person should look."""
REQUESTS_A_MINUTE = 4
"""To one home. It takes twice as many, because a network may bring two minutes of them at once."""
LOOK_EVERY_MS = 60_000
"""A home that brings a backlog says something 64 times a second; its holes are looked for once a minute."""
HOLES_A_STREAM = 256
"""Remembered of a stream; what lies above them is asked for when they are gone."""
STREAMS_A_HOME = 64
"""With holes at a time: thirty meters. A home that invents meters costs no more memory than that."""
JOINED_WITHIN = 600
"""Two holes no further apart than the longest batch are asked for at once, over what is held between them."""


@dataclass(slots=True)
class _Hole:
    missing: Span
    due_ms: int
    attempts: int = 0

    @property
    def is_given_up(self) -> bool:
        return self.attempts > ATTEMPTS_LIMIT


@dataclass(slots=True)
class _Home:
    look_at_ms: int = 0
    doubtful: set[StreamOf] = field(default_factory=set)
    holes: dict[StreamOf, list[_Hole]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a home is asked for now, and what it has not answered for too long."""

    requests: tuple[ReadingRequest, ...] = ()
    alarms: tuple[Alarm, ...] = ()


NOTHING = Asked()


class RequestDesk:
    """Knows, of homes with holes, which were asked for how often."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._homes: dict[int, _Home] = {}
        for of in coverage.suspects():
            self._doubt(of)

    @property
    def open_holes(self) -> int:
        """How many holes were found when each home was last looked at."""
        return sum(len(holes) for home in list(self._homes.values()) for holes in list(home.holes.values()))

    @property
    def given_up(self) -> int:
        """How many of them are not asked for any more."""
        streams = [holes for home in list(self._homes.values()) for holes in list(home.holes.values())]
        return sum(hole.is_given_up for holes in streams for hole in holes)

    def heard(self, of: StreamOf, is_plain: bool, now_ms: int) -> Asked:
        """A home has said something of a stream; ``is_plain`` where that only went on from its newest number."""
        home = self._homes.get(of.account)
        if home is None and is_plain:
            return NOTHING
        if home is None or not is_plain or of in home.holes:
            home = self._doubt(of)
        if now_ms < home.look_at_ms:
            return NOTHING
        home.look_at_ms = now_ms + LOOK_EVERY_MS
        self._look(home, now_ms)
        if not home.holes:
            del self._homes[of.account]
        return _asked(home, now_ms)

    def _doubt(self, of: StreamOf) -> _Home:
        home = self._homes.setdefault(of.account, _Home())
        if of in home.holes or len(home.doubtful | home.holes.keys()) < STREAMS_A_HOME:
            home.doubtful.add(of)
        return home

    def _look(self, home: _Home, now_ms: int) -> None:
        """Finds the holes anew: one that shrank is being filled and waits anew, one that is as it was goes on."""
        for of in home.doubtful:
            before = {hole.missing: hole for hole in home.holes.pop(of, [])}
            found = self._coverage.holes(of, HOLES_A_STREAM)
            if found:
                home.holes[of] = [before.get(span) or _Hole(span, now_ms + MISSING_S * 1000) for span in found]
        home.doubtful.clear()


def _asked(home: _Home, now_ms: int) -> Asked:
    """Asks for what is due, joined, and at most so much; gives up what was asked for too often."""
    due = [hole for holes in home.holes.values() for hole in holes if not hole.is_given_up and hole.due_ms <= now_ms]
    requests: list[ReadingRequest] = []
    alarms: list[Alarm] = []
    for group in _joined(due)[:REQUESTS_A_MINUTE]:
        of, first, last = group[0].missing.of, group[0].missing, group[-1].missing
        if group[0].attempts < ATTEMPTS_LIMIT:
            requests.append(
                ReadingRequest(of.account, of.meter, of.stream, first.epoch, first.first, last.last, now_ms // 1000)
            )
        else:
            words = f"meter {of.meter}, stream {of.stream}, epoch {first.epoch}, sequences {first.first} to {last.last}"
            text = f"account {of.account} does not answer for {words}, asked for {ATTEMPTS_LIMIT} times"
            alarms.append(Alarm("readings_missing", text))
        for hole in group:
            hole.due_ms = now_ms + (MISSING_S * 1000 << hole.attempts)
            hole.attempts += 1
    return Asked(tuple(requests), tuple(alarms))


def _joined(due: Iterable[_Hole]) -> list[list[_Hole]]:
    """Neighbours of one epoch that were asked for as often, as one."""
    groups: list[list[_Hole]] = []
    for hole in due:
        before = groups[-1][-1] if groups else None
        if (
            before is not None
            and (before.missing.of, before.missing.epoch, before.attempts)
            == (hole.missing.of, hole.missing.epoch, hole.attempts)
            and hole.missing.first - before.missing.last <= JOINED_WITHIN
        ):
            groups[-1].append(hole)
        else:
            groups.append([hole])
    return groups
