"""Everything that goes up: signed, stored, sent until the operator himself has acknowledged it.

    produced -> sign -> outbox (committed) -> replay -> Publish ... acknowledgement | receipt -> forgotten

A settlement reading and a bid are durable before they are sent; a telemetry batch is written only where its answer
does not come within a minute. What no longer fits the budget goes with a signed gap record in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from contracts.eip712 import Message
from contracts.envelope import Envelope, open_envelope, seal
from contracts.messages import (
    Acknowledgement,
    Bid,
    GapReason,
    GapRecord,
    Receipt,
    SetPointReport,
    StandingOrder,
    Stream,
)
from contracts.signature import Signer
from contracts.topics import Leaf, topic
from edge_agent.bidding import STANDING_PRODUCT
from edge_agent.config import AgentConfig
from edge_agent.effects import Counters, Effect, Publish
from edge_agent.forecast import NetForecast
from edge_agent.frame import Frame, FrameKind
from edge_agent.metering import Produced, SealedBatch
from edge_agent.outbox import Outbox
from edge_agent.replay import Replay
from edge_agent.sequence import Sequences

REPORTS_LIMIT = 64
"""Reports that wait for the link: a set-point an hour over a weekend; older ones are of no use to anybody."""
STANDING_VALID_S = 1 << 40
"""A standing order waits for its receipt for ever."""
_SETTLEMENT = (FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP)
_TELEMETRY = (FrameKind.TELEMETRY, FrameKind.TELEMETRY_GAP)


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
                batch, first = item.message, item.message.first_sequence
                payload = self._pack(batch, item.attachment)
                last = first + batch.count - 1
                batches.append(Frame(FrameKind.TELEMETRY, batch.meter, batch.epoch, first, last, payload))
                continue
            reading, own = item.message, item.message.sequence
            frame = Frame(FrameKind.SETTLEMENT, reading.meter, reading.epoch, own, own, self._pack(reading))
            self._outbox.put([frame], durable=True, mark=(reading.meter, item.mark, item.net_wh))
            self._sequences.set_mark(reading.meter, item.mark)
            if item.net_wh is not None:
                self._forecast.add(reading.interval, item.net_wh)
        self._outbox.stage(batches)
        self._replay.wake(now_ms)

    def place(self, orders: list[Bid | StandingOrder], now_ms: int) -> None:
        """Signs and stores bids."""
        self._outbox.put([self._bid_frame(order) for order in orders], durable=True)
        self._counters.count("bids_signed", len(orders))
        self._replay.wake(now_ms)

    def due(self, now_ms: int) -> list[Effect]:
        """What is to be sent now."""
        return [Publish(self._topic_of(frame), frame.payload) for frame in self._replay.due(now_ms)]

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

    def _bid_frame(self, order: Bid | StandingOrder) -> Frame:
        product, expires_s = STANDING_PRODUCT, STANDING_VALID_S
        if isinstance(order, Bid):
            product, expires_s = order.product, order.expiry_s
        return Frame(FrameKind.BID, 0, 0, product, order.version, self._pack(order), expires_s)

    def _topic_of(self, frame: Frame) -> str:
        home = self._config.home
        if frame.kind == FrameKind.BID:
            return topic(home.feeder, home.edge, Leaf.BID)
        return topic(
            home.feeder, home.edge, Leaf.SETTLEMENT if frame.kind in _SETTLEMENT else Leaf.TELEMETRY, frame.meter
        )

    # Answers

    def on_acknowledgement(self, ack: Acknowledgement, now_ms: int) -> None:
        """The operator has it: it may be forgotten."""
        if ack.account != self._config.home.account:
            self._counters.count("ack_other_account")
            return
        kinds = _SETTLEMENT if ack.stream == Stream.SETTLEMENT else _TELEMETRY
        gone = self._outbox.acknowledge(kinds, ack.meter, ack.epoch, ack.first_sequence, ack.last_sequence)
        self._counters.count("frames_acknowledged" if gone else "ack_of_nothing", max(len(gone), 1))
        self._replay.forget(gone)
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
        self._replay.forget(found)

    # House

    def keep_house(self, now_s: int) -> None:
        """Tries a full disk again, drops bids that nobody can place any more and what is over the budget."""
        self._outbox.retry()
        bids = self._outbox.pending(FrameKind.BID, 1_024, newest=False)
        expired = [frame for frame in bids if frame.expires_s <= now_s]
        self._outbox.remove(expired)
        self._replay.forget(expired)
        for frame in self._outbox.over_budget():
            self._replay.forget([frame])
            self._outbox.put([self._gap(frame, now_s)], durable=True)
            self._counters.count("frames_dropped")

    def _gap(self, frame: Frame, now_s: int) -> Frame:
        settled = frame.kind == FrameKind.SETTLEMENT
        stream = Stream.SETTLEMENT if settled else Stream.TELEMETRY
        record = GapRecord(
            self._config.home.account, frame.meter, int(stream), frame.epoch, frame.first, frame.last,
            int(GapReason.BUDGET), now_s,
        )  # fmt: skip
        kind = FrameKind.SETTLEMENT_GAP if settled else FrameKind.TELEMETRY_GAP
        return Frame(kind, frame.meter, frame.epoch, frame.first, frame.last, self._pack(record))
