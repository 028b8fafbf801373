"""Everything that goes up: signed, stored, sent until the operator himself has acknowledged it.

    produced -> sign -> outbox (committed) -> replay -> Publish ... acknowledgement | receipt -> forgotten

A settlement reading and a bid are durable before they are sent; a telemetry batch is written only where its answer
does not come within a minute. What no longer fits the budget, what a crash skipped, what a damaged database lost and
what the operator misses although it is gone (`requests.py`) goes with a signed gap record in its place. What an
earlier run has stored is looked at before it is sent: bytes that a disk has changed would be refused for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from contracts.codes import Stream
from contracts.eip712 import Message
from contracts.envelope import Envelope, open_envelope, seal
from contracts.messages import Acknowledgement, Bid, GapRecord, ReadingRequest, Receipt, SetPointReport, StandingOrder
from contracts.signature import Signer
from contracts.topics import Leaf, topic
from edge_agent.config import AgentConfig
from edge_agent.delivery.frame import Frame, FrameKind, frame_for
from edge_agent.delivery.gaps import KINDS, Gaps, Hole, ranges_of
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.replay import Replay
from edge_agent.delivery.requests import RequestRefusal, Requests
from edge_agent.delivery.sequence import Mark, Sequences
from edge_agent.effects import Counters, Effect, Publish
from edge_agent.market.forecast import NetForecast
from edge_agent.readings.metering import Produced, SealedBatch

REPORTS_LIMIT = 64
"""Reports that wait for the link: a set-point an hour over a weekend; older ones are of no use to anybody."""

KEYS_LIMIT = 4
"""Keys whose frames may wait: the outbox holds 90 days, and nobody changes a key more often than that."""


class Uplink:
    """The way up of one home."""

    def __init__(
        self,
        config: AgentConfig,
        outbox: Outbox,
        sign: Signer,
        counters: Counters,
        sequences: Sequences,
        forecast: NetForecast,
        address: bytes,
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._sign = sign
        self._counters = counters
        self._sequences = sequences
        self._forecast = forecast
        home = config.home
        self._replay = Replay(
            outbox, f"{home.feeder}/{home.edge}/{home.account}".encode(), counters, config.clock.speed
        )
        self._reports: deque[SetPointReport] = deque(maxlen=REPORTS_LIMIT)
        self._link = False
        meters = [meter.number for meter in config.meters]
        self._gaps = Gaps(meters, sequences, outbox)
        self._requests = Requests(home.account, meters, sequences, outbox, self._gaps)
        self._addresses = self._signed_by(address)
        self._looked_at: set[int] = set()
        self._damaged_bids: list[Frame] = []

    # Time and link

    def on_link(self, up: bool, now_ms: int) -> None:
        """The broker came or went."""
        self._link = up
        self._replay.on_link(up, now_ms)

    def next_ms(self) -> int | None:
        """When something may be sent again."""
        return self._replay.next_ms()

    def restart_timers(self) -> None:
        """The clock jumped."""
        self._replay.restart_timers()

    # Up

    def store(self, made: Iterable[Produced], now_ms: int) -> None:
        """Signs and stores: each settlement reading durably, telemetry where it waits a minute for its answer."""
        batches: list[Frame] = []
        for item in made:
            if isinstance(item, SealedBatch):
                batches.append(self._frame(item.message, item.attachment))
                continue
            reading = item.message
            mark = replace(item.mark, telemetry=self._first_unsaved(item.mark, reading.meter, batches))
            self._outbox.put([self._frame(reading)], durable=True, mark=(reading.meter, mark, item.net_wh))
            self._sequences.set_mark(reading.meter, mark)
            if item.net_wh is not None:
                self._forecast.add(reading.interval, item.net_wh)
        self._outbox.stage(batches)
        self._replay.wake(now_ms)

    def _first_unsaved(self, mark: Mark, meter: int, batches: list[Frame]) -> int | None:
        """The lowest number of telemetry that a crash would take along; every lower one is stored or acknowledged."""
        unsaved = [*self._outbox.unsaved(), *batches]
        own = [f.first for f in unsaved if (f.kind, f.meter, f.epoch) == (FrameKind.TELEMETRY, meter, mark.epoch)]
        return mark.telemetry if mark.telemetry is None else min([mark.telemetry, *own])

    def place(self, orders: list[Bid | StandingOrder], now_ms: int) -> None:
        """Signs and stores bids."""
        self._outbox.put([self._frame(order) for order in orders], durable=True)
        self._counters.count("bids_signed", len(orders))
        self._replay.wake(now_ms)

    def due(self, now_ms: int) -> list[Effect]:
        """What is to be sent now."""
        chosen = [frame for frame in self._replay.due(now_ms) if self._is_sound(frame)]
        return [Publish(self._topic_of(frame), frame.payload) for frame in chosen]

    def unanswered(self) -> list[int]:
        """Products of bids that the operator passed over, or the disk has damaged; they are forgotten by this."""
        refused, damaged = self._replay.take_refused(), self._damaged_bids
        self._outbox.remove(refused)
        self._replay.forget(refused)
        if refused:
            self._counters.count("bids_unanswered", len(refused))
        self._damaged_bids = []
        return [frame.first for frame in (*refused, *damaged)]

    def _signed_by(self, address: bytes) -> list[bytes]:
        """The addresses whose frames may lie in the outbox: ours, and those we had before a change of key."""
        known = [str(text) for text in self._outbox.recall("signed_by") or []]
        if address.hex() not in known:
            known = [*known, address.hex()][-KEYS_LIMIT:]
            self._outbox.remember("signed_by", known)
        return [bytes.fromhex(text) for text in known]

    def _is_sound(self, frame: Frame) -> bool:
        """Whether a frame that an earlier run stored is still what was signed; else it goes, and a gap is told."""
        if not 0 < frame.id <= self._outbox.inherited_id or frame.id in self._looked_at:
            return True
        self._looked_at.add(frame.id)
        opened, domain = open_envelope(frame.payload), self._config.chain.domain
        if isinstance(opened, Envelope) and any(not opened.signature_refusal(domain, a) for a in self._addresses):
            same = frame_for(opened.message, frame.payload)
            if same is not None and same.row == frame.row:
                return True
        self._counters.count("frames_damaged")
        self._outbox.remove([frame])
        self._replay.forget([frame])
        if frame.kind == FrameKind.BID:
            self._damaged_bids.append(frame)
        else:
            self._gaps.damaged(frame)
        return False

    def say(self, reports: list[SetPointReport]) -> list[Effect]:
        """Reports go once, as soon as there is a link."""
        self._reports.extend(reports)
        if not self._link:
            return []
        home = self._config.home
        where = topic(home.feeder, home.edge, Leaf.REPORT)
        said: list[Effect] = [Publish(where, self._pack(report)) for report in self._reports]
        self._reports.clear()
        return said

    def _pack(self, message: Message, attachment: bytes = b"") -> bytes:
        return seal(message, self._config.chain.domain, self._sign, attachment).pack()

    def _frame(self, message: Message, attachment: bytes = b"") -> Frame:
        frame = frame_for(message, self._pack(message, attachment))
        assert frame is not None, "only what is kept is made into a frame"
        return frame

    def _topic_of(self, frame: Frame) -> str:
        home = self._config.home
        if frame.kind == FrameKind.BID:
            return topic(home.feeder, home.edge, Leaf.BID)
        return topic(
            home.feeder, home.edge, Leaf.SETTLEMENT if frame.kind.stream == Stream.SETTLEMENT else Leaf.TELEMETRY,
            frame.meter,
        )  # fmt: skip

    # Answers

    def on_acknowledgement(self, ack: Acknowledgement, now_ms: int) -> None:
        """The operator has it: it may be forgotten."""
        if ack.account != self._config.home.account:
            self._counters.count("ack_other_account")
            return
        kinds = KINDS[Stream(ack.stream)]
        gone = self._outbox.acknowledge(kinds, ack.meter, ack.epoch, ack.first_sequence, ack.last_sequence)
        self._counters.count("frames_acknowledged" if gone else "ack_of_nothing", max(len(gone), 1))
        if gone:
            self._replay.answered(gone)
        self._replay.wake(now_ms)

    def on_receipt(self, receipt: Receipt) -> None:
        """A bid is placed: it may be forgotten."""
        if receipt.account != self._config.home.account:
            self._counters.count("receipt_other_account")
            return
        found = [
            frame
            for frame in self._outbox.bid(receipt.product, receipt.version)
            if isinstance(opened := open_envelope(frame.payload), Envelope)
            and opened.message.struct_hash() == receipt.bid_hash
        ]
        self._counters.count("bids_receipted" if found else "receipt_of_nothing")
        self._outbox.remove(found)
        if found:
            self._replay.answered(found)

    def on_request(self, request: ReadingRequest, now_ms: int, clock_known: bool) -> None:
        """The operator misses readings. Gap records are dated, so he asks again where the clock is not known.

        They are kept in memory for a minute, like telemetry: one that a crash takes along he asks for again.
        """
        answer = self._requests.answer(request, now_ms)
        if isinstance(answer, RequestRefusal):
            self._counters.count(f"request_{answer.name.lower()}")
            return
        self._counters.count("request_answered")
        if clock_known:
            self._outbox.stage(self._gap_frames(answer.gone, now_ms // 1000))
        elif answer.gone:
            self._counters.count("request_clock_unknown")
        self._replay.hasten(answer.waiting, now_ms)

    # House

    def keep_house(self, now_s: int, clock_known: bool) -> None:
        """Tries a full disk again, drops bids that nobody can place any more and what is over the budget.

        Gap records are dated, so they wait for a clock.
        """
        self._outbox.retry()
        bids = self._outbox.pending(FrameKind.BID, 1_024, newest=False)
        expired = [frame for frame in bids if frame.expires_s <= now_s]
        self._outbox.remove(expired)
        self._replay.forget(expired)
        self._gaps.look()
        if clock_known:
            dropped = self._outbox.over_budget()
            self._replay.forget(dropped)
            if dropped:
                self._counters.count("frames_dropped", len(dropped))
            self._tell([*ranges_of(dropped), *self._gaps.untold], now_s)
            self._gaps.told()

    def _tell(self, holes: list[Hole], now_s: int) -> None:
        """Signs and stores a gap record for each hole."""
        if holes:
            self._outbox.put(self._gap_frames(holes, now_s), durable=True)

    def _gap_frames(self, holes: Iterable[Hole], now_s: int) -> list[Frame]:
        """A signed gap record for each hole."""
        account, frames = self._config.home.account, list[Frame]()
        for hole in holes:
            place = (account, hole.meter, int(hole.stream), hole.epoch, hole.first, hole.last)
            frames.append(self._frame(GapRecord(*place, int(hole.reason), now_s)))
            self._counters.count(f"gap_{hole.reason.name.lower()}")
        return frames
