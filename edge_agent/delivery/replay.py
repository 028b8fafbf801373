"""Which stored frame is sent when: newest settlement reading first, then oldest first, never faster than allowed.

A frame is sent, and sent again with exponential back-off until it is acknowledged. After a reconnect every home
waits its own part of SPREAD_MS, so that a feeder that comes back does not fall upon the broker at once. Jitter is a
hash of who and what, not chance: a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from edge_agent.delivery.frame import Frame, FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.effects import Counters

WINDOW = 32
"""Frames under way that were not repeated yet: what a coordinator's group commit acknowledges in one go."""
TRACKED_LIMIT = 2_048
"""Sent frames whose back-off is remembered; beyond it the oldest are simply sent again."""
BURST = 16
BURST_EVERY_MS = 250
"""At most 64 frames a second: a day offline at one batch a minute is back in half a minute."""
FIRST_REPEAT_MS = 5_000
REPEAT_LIMIT_MS = 900_000
"""A coordinator answers well within seconds; after an hour of silence a repeat a quarter of an hour is enough. Both
are time on the wire: an accelerated clock stretches them."""
PATIENT_AFTER = 3
"""A frame repeated this often no longer fills the window: one that is never answered must not block others."""
IGNORED_LIMIT = 6
"""A bid that the operator passed over this often while he answered others is refused: he says nothing to a refusal.
Six repeats of doubling pauses are some five minutes; a lost receipt is made good by the first of them."""
SPREAD_MS = 30_000
FIRST_SPREAD_MS = 2_000
"""Spread of the start after a reconnect, and after switching on, when nobody else does so at the same time."""
_OLDEST_FIRST = (FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP, FrameKind.TELEMETRY_GAP, FrameKind.TELEMETRY)


def part_of(seed: bytes, *what: int) -> float:
    """A number in [0, 1) that depends on ``seed`` and ``what`` alone."""
    text = seed + b"".join(value.to_bytes(16, "big", signed=True) for value in what)
    return int.from_bytes(sha256(text).digest()[:6], "big") / 2**48


@dataclass(slots=True)
class Sent:
    """A frame under way: sent ``attempts`` times, again at ``due_ms``.

    ``answers`` is how often the operator had answered anything by then; ``ignored`` how many of the sendings he passed
    over while he answered others.
    """

    kind: FrameKind
    attempts: int
    due_ms: int
    answers: int
    ignored: int


class Replay:
    """Decides over the frames of one outbox. ``seed`` tells this home from others."""

    def __init__(self, outbox: Outbox, seed: bytes, counters: Counters, speed: float = 1.0) -> None:
        self._outbox = outbox
        self._seed = seed
        self._counters = counters
        self._sent: dict[int, Sent] = {}
        self._answers = 0
        self._refused: list[Frame] = []
        self._speed = max(1.0, speed)
        self._links = 0
        self._newest_id = 0
        self._up = False
        self._earliest_ms = 0
        self._next_ms = 0

    def on_link(self, up: bool, now_ms: int) -> None:
        """The link came or went."""
        if up and not self._up:
            spread_ms = FIRST_SPREAD_MS if self._links == 0 else SPREAD_MS
            self._links += 1
            self._earliest_ms = self._next_ms = now_ms + int(spread_ms * part_of(self._seed, self._links))
            self._sent.clear()
            self._newest_id = 0
        self._up = up

    def restart_timers(self) -> None:
        """The clock jumped: times of before mean nothing."""
        self._earliest_ms = self._next_ms = 0
        for sent in self._sent.values():
            sent.due_ms = 0

    def wake(self, now_ms: int) -> None:
        """Something new is stored: look as soon as the rate allows."""
        self._next_ms = min(self._next_ms, max(now_ms, self._earliest_ms))

    def hasten(self, frames: Iterable[Frame], now_ms: int) -> None:
        """These are asked for: they go next, as fast as everything else; of many the first window only."""
        for frame in sorted(frames, key=lambda frame: (frame.kind, frame.id))[:WINDOW]:
            sent = self._sent.setdefault(frame.id, Sent(frame.kind, 0, now_ms, self._answers, 0))
            sent.due_ms = min(sent.due_ms, now_ms)
        self.wake(now_ms)

    def next_ms(self) -> int | None:
        """When `due` is worth asking; None without a link."""
        return self._next_ms if self._up else None

    def forget(self, frames: Iterable[Frame]) -> None:
        """These are gone from the outbox."""
        for frame in frames:
            self._sent.pop(frame.id, None)

    def answered(self, frames: Iterable[Frame]) -> None:
        """The operator has answered these, so he is there."""
        self._answers += 1
        self.forget(frames)

    def take_refused(self) -> list[Frame]:
        """Bids that the operator passed over too often since this was asked last; they are not sent any more."""
        refused, self._refused = self._refused, []
        return refused

    def due(self, now_ms: int) -> list[Frame]:
        """The frames to send now; asks for itself again at `next_ms`."""
        if not self._up or now_ms < self._next_ms:
            return []
        chosen = (self._fresh() + self._repeats(now_ms))[:BURST]
        chosen = [frame for frame in chosen if self._send(frame, now_ms)]
        while len(self._sent) > TRACKED_LIMIT:
            del self._sent[next(iter(self._sent))]
        self._earliest_ms = now_ms + BURST_EVERY_MS
        waits = [sent.due_ms for sent in self._sent.values()]
        self._next_ms = self._earliest_ms if chosen else max(min([*waits, now_ms + FIRST_REPEAT_MS]), self._earliest_ms)
        return chosen

    def _send(self, frame: Frame, now_ms: int) -> bool:
        """Notes that a frame is sent; False for a bid that was ignored once too often."""
        before = self._sent.pop(frame.id, None)
        attempts = ignored = 0
        if before is not None:
            attempts = before.attempts
            ignored = before.ignored + (self._answers > before.answers)
        due_ms = now_ms + self._pause_ms(frame.id, attempts)
        if frame.kind == FrameKind.BID and ignored >= IGNORED_LIMIT:
            self._refused.append(frame)
            self._sent[frame.id] = Sent(frame.kind, attempts, due_ms, self._answers, 0)  # until it is taken away
            return False
        self._sent[frame.id] = Sent(frame.kind, attempts + 1, due_ms, self._answers, ignored)
        if attempts:
            self._counters.count("frames_repeated")
        return True

    def _pause_ms(self, frame_id: int, attempts: int) -> int:
        pause_ms = min(FIRST_REPEAT_MS << min(attempts, 10), REPEAT_LIMIT_MS)
        return int(self._speed * pause_ms * (0.75 + part_of(self._seed, frame_id, attempts) / 2))

    def _fresh(self) -> list[Frame]:
        """Frames never sent since the link is up, in the order of their importance."""
        if not self._outbox.waiting(*FrameKind):
            return []
        under_way = sum(1 for sent in self._sent.values() if sent.attempts < PATIENT_AFTER)
        room = min(WINDOW - under_way, BURST)
        found = self._outbox.pending(FrameKind.BID, BURST, newest=False, without=self._sent)
        newest = self._outbox.pending(FrameKind.SETTLEMENT, 1, newest=True, without=self._sent)
        if newest and newest[0].id > self._newest_id:  # once: a reading just made does not wait for the backlog
            self._newest_id = newest[0].id
            found += newest
        for kind in _OLDEST_FIRST:
            if room > len(found):
                chosen = [*self._sent, *(frame.id for frame in found)]
                found += self._outbox.pending(kind, room - len(found), newest=False, without=chosen)
        return found

    def _repeats(self, now_ms: int) -> list[Frame]:
        due = sorted((sent.kind, i) for i, sent in self._sent.items() if sent.due_ms <= now_ms)[:BURST]
        if not due:
            return []
        found = self._outbox.by_id([i for _, i in due])
        for gone in {i for _, i in due} - {frame.id for frame in found}:
            del self._sent[gone]  # left by another way, such as a bid that was replaced
        return sorted(found, key=lambda frame: (frame.kind, frame.id))
