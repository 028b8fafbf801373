"""Our own metering nodes, seen from the gateway: checks what they sign, answers with what to send back.

    bytes -> frames (COBS, CRC-32C) -> signature of the registered key -> sequence never used before -> Telegram
    outgoing: ACK of what was taken · TIME once a minute and after a HELLO · CMD until reported · UPDATE

A reading is known by (boot epoch, sequence). The node repeats the oldest one until it is acknowledged, so a lost
frame or a lost ACK loses nothing, and a repeated one is acknowledged again but given only once. Pure: no clock, no
port. The caller takes the telegrams of `feed`, keeps them, and then writes `outgoing(now)`; also without input at
least once a second. Bytes and rules: NODE.md.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.cobs import FrameReader, wrap_frame
from firmware_bridge.node_messages import (
    VALID_LIMIT_MS,
    Down,
    Hello,
    LogLine,
    Reading,
    Report,
    SetPoint,
    Up,
    UpdateReply,
    UpFrame,
    ack_body,
    command_body,
    read_up,
    seal_down,
    time_body,
)
from firmware_bridge.node_signature import is_signed, public_key_of
from firmware_bridge.node_update import NodeUpdate
from firmware_bridge.telegram import Refusal, Telegram, evidence_of, plausible

TIME_EVERY_MS = 60_000
"""A crystal of 50 ppm drifts 3 ms in a minute."""
REPEAT_COMMAND_MS = 1_000
GREET_EVERY_MS = 1_000
"""A node answers no faster."""
LOG_LINES = 100
"""Lines kept for a person to look at."""
ACKS_LIMIT = 16
"""A node waits for each ACK; more at once are an old stream read in one go."""
_OURS = frozenset(Up)


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """What must outlive a restart of the gateway, so that no old reading counts again: the last identity taken."""

    epoch: int = 0
    sequence: int = 0


@dataclass(slots=True)
class _Order:
    """The set-point under way: made once, repeated until reported or over."""

    number: int
    body: bytes
    until_ms: int
    sent_at_ms: int | None = None


class NodeDecoder:
    """One node on one stream; implements StreamDecoder. ``public_key`` in any form, ``link_key`` of 32 bytes."""

    def __init__(self, public_key: bytes, link_key: bytes, memory: NodeMemory | None = None) -> None:
        self.refused: Counter[Refusal] = Counter()
        self.memory = memory or NodeMemory()
        self.hello: Hello | None = None
        self.report: Report | None = None
        self.answer: Report | None = None
        """What the node said of the last `order`; None until it does."""
        self.in_force = 0
        """Number of the set-point the node says is in force; 0 for none."""
        self.dropped = 0
        """Readings the node had to give up in this boot because its buffer was full."""
        self.gaps = 0
        """Sequences that were skipped within a boot."""
        self.logs: deque[LogLine] = deque(maxlen=LOG_LINES)
        self.update: NodeUpdate | None = None
        self._public_key = public_key_of(public_key)
        self._link_key = link_key
        self._reader = FrameReader(self.refused)
        self._epoch = self.memory.epoch
        self._is_heard = False
        self._uptime_ms = 0
        self._heard_uptime_ms = 0
        self._counter: int | None = None
        self._acks: deque[int] = deque(maxlen=ACKS_LIMIT)
        self._time_sent_ms: int | None = None
        self._status_sent = ""
        self._wanted: tuple[SetPoint, int, int] | None = None
        self._order: _Order | None = None
        self._evidence = b""
        self._takers: dict[type, Callable[[UpFrame], list[Telegram]]] = {
            Hello: self._take_hello,
            Reading: self._take_reading,
            Report: self._take_report,
            UpdateReply: self._take_reply,
            LogLine: self._take_log,
        }

    # --- up ---------------------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> list[Telegram]:
        """The readings that became whole with ``chunk``; never raises."""
        telegrams: list[Telegram] = []
        for raw in self._reader.feed(chunk):
            frame = read_up(raw)
            if frame is None:
                self.refused[Refusal.UNSUPPORTED if raw[0] not in _OURS else Refusal.MALFORMED] += 1
            elif not is_signed(frame.digest, frame.signature, self._public_key):
                self.refused[Refusal.SIGNATURE] += 1
            elif frame.epoch < self._epoch or self._is_older(frame):
                self.refused[Refusal.REPLAYED] += 1
            else:
                self._enter(frame)
                self._evidence = evidence_of(raw)
                telegrams += self._takers[type(frame.body)](frame)
        return telegrams

    def _is_older(self, frame: UpFrame) -> bool:
        """Readings are numbered and may be repeated; everything else must not go back in the node's own time."""
        return frame.epoch == self._epoch and not isinstance(frame.body, Reading) and frame.uptime_ms < self._uptime_ms

    def _enter(self, frame: UpFrame) -> None:
        if frame.epoch > self._epoch:
            self._epoch = frame.epoch
            self._uptime_ms = self._heard_uptime_ms = 0
            self._counter = self._time_sent_ms = self._order = None
            self._acks.clear()
            self.hello, self.in_force, self.dropped = None, 0, 0
            if self.update is not None:
                self.update.restarted()
        self._is_heard = True
        self._heard_uptime_ms = max(self._heard_uptime_ms, frame.uptime_ms)
        if not isinstance(frame.body, Reading):
            self._uptime_ms = frame.uptime_ms

    def _take_hello(self, frame: UpFrame) -> list[Telegram]:
        assert isinstance(frame.body, Hello)
        self.hello = frame.body
        self._counter = max(self._counter or 0, frame.body.heard)
        self._time_sent_ms = None
        return []

    def _take_reading(self, frame: UpFrame) -> list[Telegram]:
        reading = frame.body
        assert isinstance(reading, Reading)
        if len(self._acks) < ACKS_LIMIT and reading.sequence not in self._acks:
            self._acks.append(reading.sequence)
        if reading.sequence <= self.memory.sequence:
            self.refused[Refusal.REPLAYED] += 1
            return []
        if frame.epoch == self.memory.epoch:
            self.gaps += reading.sequence - self.memory.sequence - 1
        self.memory = NodeMemory(frame.epoch, reading.sequence)
        self.in_force, self.dropped = reading.command, reading.dropped
        if self.update is not None:
            self.update.healthy()
        values = plausible(reading.values, self.refused)
        if not values:
            self.refused[Refusal.EMPTY] += 1
            return []
        texts = {"clock_status": reading.status}
        if self.hello is not None:
            texts |= {"serial": self.hello.serial, "version": self.hello.version}
        taken_at_s = None if reading.status == "U" else reading.taken_at_s
        return [Telegram(values, texts, taken_at_s, self._evidence)]

    def _take_report(self, frame: UpFrame) -> list[Telegram]:
        assert isinstance(frame.body, Report)
        self.report = frame.body
        if self._order is not None and self._order.number == frame.body.number:
            self._order, self.answer = None, frame.body
        return []

    def _take_reply(self, frame: UpFrame) -> list[Telegram]:
        assert isinstance(frame.body, UpdateReply)
        if self.update is not None:
            self.update.answer(frame.body)
        return []

    def _take_log(self, frame: UpFrame) -> list[Telegram]:
        assert isinstance(frame.body, LogLine)
        self.logs.append(frame.body)
        return []

    @property
    def heard_uptime_ms(self) -> int:
        """The node's own time in the newest frame heard."""
        return self._heard_uptime_ms

    # --- down -------------------------------------------------------------------------------------------------

    def order(self, kind: SetPoint, value: int, valid_ms: int, now_ms: int) -> None:
        """Asks for a set-point from the next `outgoing` on; a newer one takes its place. Raises ValueError.

        It ends ``valid_ms`` after ``now_ms``, whenever it is sent, and on the node by the node's own clock, even if
        nobody speaks again: there it counts from the newest frame that was heard (`heard_uptime_ms`).
        """
        if not 0 < valid_ms <= VALID_LIMIT_MS or not -(2**31) <= value < 2**31:
            raise ValueError(f"a set-point of {value} for {valid_ms} ms is out of bounds")
        self._wanted = (kind, value, now_ms + valid_ms)
        self._order = self.answer = None

    def greet(self) -> None:
        """Has the node say HELLO before anything else goes down: an order lives from when the node was last heard."""
        self._counter = self._time_sent_ms = None

    def offer(self, envelope: bytes, image: bytes) -> NodeUpdate:
        """Begins to carry an update to the node; its progress is in the returned object. Raises ValueError."""
        self.update = NodeUpdate(envelope, image)
        return self.update

    def outgoing(self, now_ms: int, status: str) -> bytes:
        """What to write now: acknowledges every telegram `feed` has given, so keep those first.

        ``now_ms`` is UTC, ``status`` the letter of our own clock (U, I, S, R). Nothing before the node's first
        HELLO, because that says which counter it accepts, but one frame a second of counter 0, which makes it say it.
        """
        if self._counter is None:
            return self._greeting(now_ms, status)
        written = b""
        clock_is_due = self._time_sent_ms is None or not 0 <= now_ms - self._time_sent_ms < TIME_EVERY_MS
        if clock_is_due or status != self._status_sent:
            self._time_sent_ms, self._status_sent = now_ms, status
            written += self._sealed(Down.TIME, time_body(now_ms, status))
        while self._acks:
            written += self._sealed(Down.ACK, ack_body(self._acks.popleft()))
        written += self._order_due(now_ms)
        question = None if self.update is None else self.update.due(now_ms)
        if question is not None:
            written += self._sealed(Down.UPDATE, question)
        return written

    def _greeting(self, now_ms: int, status: str) -> bytes:
        if not self._is_heard or (self._time_sent_ms is not None and 0 <= now_ms - self._time_sent_ms < GREET_EVERY_MS):
            return b""
        self._time_sent_ms = now_ms
        return wrap_frame(seal_down(Down.TIME, self._epoch, 0, time_body(now_ms, status), self._link_key))

    def _order_due(self, now_ms: int) -> bytes:
        assert self._counter is not None
        if self._wanted is not None:
            kind, value, until_ms = self._wanted
            number, left_ms = self._counter + 1, until_ms - now_ms
            if 0 < left_ms <= VALID_LIMIT_MS:
                body = command_body(number, kind, value, self._heard_uptime_ms, left_ms)
                self._order = _Order(number, body, until_ms)
            self._wanted = None
        order = self._order
        if order is not None and now_ms >= order.until_ms:
            self._order = order = None
        if order is None or (order.sent_at_ms is not None and now_ms - order.sent_at_ms < REPEAT_COMMAND_MS):
            return b""
        order.sent_at_ms = now_ms
        return self._sealed(Down.CMD, order.body)

    def _sealed(self, kind: Down, body: bytes) -> bytes:
        assert self._counter is not None
        self._counter += 1
        return wrap_frame(seal_down(kind, self._epoch, self._counter, body, self._link_key))
