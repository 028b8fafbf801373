"""The core of the home: takes samples, messages, link, clock and time, and returns effects.

    sample   -> metering -> sign -> outbox (committed) -> replay -> Publish
    message  -> acknowledgement: forget   receipt: bid is placed   set-point: control   proof: position
    deadline -> seal telemetry, bid, rewrite watchdogs, repeat what nobody acknowledged, keep house

Decides nothing itself: each rule stands in the file it delegates to. No clock, socket, thread or chance.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from contracts.eip712 import Message
from contracts.envelope import Envelope, open_envelope, seal
from contracts.messages import (
    Acknowledgement,
    Bid,
    ClockStatus,
    GapReason,
    GapRecord,
    Receipt,
    SetPoint,
    SetPointReport,
    StandingOrder,
    Stream,
)
from contracts.signature import Signer
from contracts.topics import DOWNWARD, PAYLOAD_LIMIT_BYTES, Leaf, parse_topic, topic
from device_profiles.profile_parts import Profile
from edge_agent.announcement import birth, state
from edge_agent.bidding import EVERY_MS, STANDING_PRODUCT, Bidding
from edge_agent.config import AgentConfig
from edge_agent.control import Control, Device
from edge_agent.effects import NOTHING, Alarm, Counters, Effect, Publish, Sample, WriteResult
from edge_agent.forecast import NetForecast
from edge_agent.frame import Frame, FrameKind
from edge_agent.metering import Metering, Produced, SealedBatch
from edge_agent.outbox import Outbox
from edge_agent.proofs import Proofs
from edge_agent.replay import Replay
from edge_agent.sequence import LeaseStore, Sequences

HOUSEKEEPING_MS = 60_000
"""Deletions, positions and retries of a full disk: at most a minute of them is lost with the process."""
HOUSEKEEPING_STRETCH = 5.0
"""An accelerated clock keeps house less often, at most this much: an answer takes its real time."""
REPORTS_LIMIT = 64
"""Reports that wait for the link: a set-point an hour over a weekend; older ones are of no use to anybody."""
BACKWARDS_MS = 5_000
"""A clock that goes back by more than this without saying so has stepped."""
STANDING_VALID_S = 1 << 40
"""A standing order waits for its receipt for ever."""


class Agent:
    """One home. ``leases`` is the lease file, ``profiles`` the device profiles by meter name."""

    def __init__(
        self,
        config: AgentConfig,
        outbox: Outbox,
        sign: Signer,
        counters: Counters,
        *,
        leases: LeaseStore | None = None,
        profiles: Mapping[str, Profile] = {},
        address: bytes = b"",
    ) -> None:
        self.config = config
        self.counters = counters
        self._outbox = outbox
        self._sign = sign
        self._address = address
        self._sequences = Sequences(leases or outbox, outbox, counters)
        home = config.home
        self._meters = {
            m.name: Metering(home.account, m, config.limits, self._sequences, counters) for m in config.meters
        }
        self._forecast = NetForecast(outbox.history())
        self._proofs = Proofs(config, counters)
        self._proofs.restore(outbox.recall("proofs"))
        self._bidding = Bidding(config, self._forecast, self._proofs, self._sequences.next_version)
        self._bidding.restore(outbox.recall("bidding"))
        known = {m.name: profiles[m.name] for m in config.meters if m.name in profiles}
        steered = [m for m in config.meters if m.name in known]
        self._control = Control(config, steered, known, self._values, self._keep, counters)
        for number, device in self._control.devices.items():
            device.restore(outbox.recall(f"control/{number}"))
        seed = f"{home.feeder}/{home.edge}/{home.account}".encode()
        self._replay = Replay(outbox, seed, counters, config.clock.speed)
        self._house_every_ms = int(HOUSEKEEPING_MS * max(1.0, min(config.clock.speed, HOUSEKEEPING_STRETCH)))
        self._reports: deque[SetPointReport] = deque(maxlen=REPORTS_LIMIT)
        self._kept = {"proofs": json.dumps(self._proofs.state()), "bidding": json.dumps(self._bidding.state())}
        self._epoch: int | None = None
        self._status = ClockStatus.UNKNOWN
        self._was_synchronised = False
        self._link = False
        self._now_ms = 0
        self._seal_at_ms = self._bid_at_ms = self._house_at_ms = 0

    # What happens

    def on_sample(self, sample: Sample, now_ms: int) -> list[Effect]:
        """A device was polled."""
        self._pass_time(now_ms)
        metering = self._meters.get(sample.device)
        if metering is None:
            self.counters.count("sample_of_unknown_device")
            return []
        if sample.fault is not None:
            self.counters.count("sample_fault")
        self._begin_epoch()
        row = metering.observe(sample)
        if row is None:
            return []
        if not self.clock_known:
            metering.hold(row)
            return self._complaints()
        self._store(metering.record(row, self._status), now_ms)
        return self._send(now_ms) + self._complaints()

    def on_message(self, topic_text: str, payload: bytes, now_ms: int) -> list[Effect]:
        """The broker brought something. Never raises, whatever the bytes."""
        self._pass_time(now_ms)
        home, where = self.config.home, parse_topic(topic_text)
        if where is None or where.leaf not in DOWNWARD or (where.feeder, where.edge) != (home.feeder, home.edge):
            self.counters.count("message_unknown_topic")
            return []
        if len(payload) > PAYLOAD_LIMIT_BYTES[where.leaf]:
            self.counters.count("message_oversized")
            return []
        if where.leaf == Leaf.PROOF:
            return self._proofs.on_pack(payload, now_ms // 1000)
        envelope = open_envelope(payload)
        if not isinstance(envelope, Envelope):
            self.counters.count(f"message_{envelope.name.lower()}")
            return []
        message = envelope.message
        by_operator = envelope.signature_refusal(self.config.chain.domain, self.config.chain.operator) is None
        if where.leaf == Leaf.SETPOINT and isinstance(message, SetPoint):
            effects, report = self._control.on_set_point(message, by_operator, self.clock_known, now_ms)
            return effects + self._say([] if report is None else [report])
        if not by_operator:
            self.counters.count("message_wrong_signer")
        elif where.leaf == Leaf.ACK and isinstance(message, Acknowledgement):
            self._on_acknowledgement(message, now_ms)
        elif where.leaf == Leaf.RECEIPT and isinstance(message, Receipt):
            self._on_receipt(message)
        else:
            self.counters.count("message_wrong_kind")
        return self._send(now_ms)

    def on_link(self, up: bool, now_ms: int) -> list[Effect]:
        """The broker came or went."""
        self._pass_time(now_ms)
        self._link = up
        self._replay.on_link(up, now_ms)
        self._control.on_link(up)
        if not up:
            return []
        at_s = max(now_ms, 0) // 1000
        about = [state(self.config, True, at_s), birth(self.config, self._address, self._epoch or 0)]
        return [*about, *self._say([])]

    def on_clock(self, status: ClockStatus, now_ms: int, step_ms: int = 0) -> list[Effect]:
        """The clock says how far it can be trusted; ``step_ms`` is the jump it made with that."""
        self._status = status
        self._now_ms = now_ms
        if step_ms:
            self._restart_timers()
            self._control.on_clock_step(step_ms)
        first = status == ClockStatus.SYNCHRONISED and not self._was_synchronised
        self._was_synchronised |= first
        self._begin_epoch()
        for metering in self._meters.values():
            if first:
                self._store(metering.release(step_ms), now_ms)
            elif step_ms:
                self._store(metering.clock_stepped(step_ms), now_ms)
        return self._send(now_ms)

    def on_written(self, result: WriteResult, now_ms: int) -> list[Effect]:
        """A device took a set-point, or did not."""
        self._pass_time(now_ms)
        effects, reports = self._control.on_written(result, now_ms)
        return effects + self._say(reports)

    def on_deadline(self, now_ms: int) -> list[Effect]:
        """Time has come for something; `next_deadline_ms` says when again."""
        self._pass_time(now_ms)
        effects, reports = self._control.on_deadline(now_ms)
        effects += self._say(reports)
        if now_ms >= self._house_at_ms:  # before sealing: what was sealed a minute ago and not acknowledged is written
            self._house_at_ms = (now_ms // self._house_every_ms + 1) * self._house_every_ms
            self._keep_house(now_ms)
        if now_ms >= self._seal_at_ms:
            batch_ms = self.config.telemetry.batch_s * 1000
            self._seal_at_ms = (now_ms // batch_ms + 1) * batch_ms
            self._store([made for metering in self._meters.values() for made in metering.seal()], now_ms)
        if now_ms >= self._bid_at_ms:
            self._bid_at_ms = (now_ms // EVERY_MS + 1) * EVERY_MS
            self._bid(now_ms)
        return effects + self._send(now_ms) + self._complaints()

    def next_deadline_ms(self) -> int:
        """When `on_deadline` is due."""
        times = [self._seal_at_ms, self._bid_at_ms, self._house_at_ms]
        times += [at for at in (self._control.next_ms(), self._replay.next_ms()) if at is not None]
        return min(times)

    # What is known

    @property
    def clock_known(self) -> bool:
        """Whether times can be signed: the clock is synchronised, or was since start and has not jumped since."""
        return self._was_synchronised and self._status != ClockStatus.UNKNOWN

    def metrics(self) -> dict[str, int]:
        """Counters and sizes, by name."""
        modes = {f"mode_{d.mode.value}": 1 for d in self._control.devices.values()}
        gauges = {"link": int(self._link), "clock_status": int(self._status), "epoch": self._epoch or 0}
        return {**self.counters, **self._outbox.stat(), **gauges, **modes}

    def _values(self, number: int) -> Mapping[str, int]:
        return next((m.latest for m in self._meters.values() if m.config.number == number), NOTHING)

    # Time

    def _pass_time(self, now_ms: int) -> None:
        if now_ms < self._now_ms - BACKWARDS_MS:
            self.counters.count("clock_went_back")
            self._restart_timers()
        self._now_ms = now_ms

    def _restart_timers(self) -> None:
        self._seal_at_ms = self._bid_at_ms = self._house_at_ms = 0
        self._replay.restart_timers()

    def _begin_epoch(self) -> None:
        """The epoch of this run; asked for again with every sample while no lease can be written."""
        if self._epoch is None:
            self._epoch = self._sequences.next_epoch()
        for metering in self._meters.values():
            if metering.epoch is None:
                metering.epoch = self._epoch

    # Up

    def _pack(self, message: Message, attachment: bytes = b"") -> bytes:
        return seal(message, self.config.chain.domain, self._sign, attachment).pack()

    def _store(self, made: Iterable[Produced], now_ms: int) -> None:
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

    def _bid(self, now_ms: int) -> None:
        """Bids need a link and a clock that is known; nobody can place them otherwise."""
        if not self._link or not self.clock_known:
            return
        now_s = now_ms // 1000
        standing = self._bidding.standing_order(now_s)
        orders: list[Bid | StandingOrder] = [*self._bidding.bids(now_s)]
        if standing is not None:
            orders.append(standing)
        frames = [self._bid_frame(order) for order in orders]
        if frames:
            self._outbox.put(frames, durable=True)
            self._keep_if_changed("bidding", self._bidding.state)
            self.counters.count("bids_signed", len(frames))
            self._replay.wake(now_ms)

    def _bid_frame(self, order: Bid | StandingOrder) -> Frame:
        product, expires_s = STANDING_PRODUCT, STANDING_VALID_S
        if isinstance(order, Bid):
            product, expires_s = order.product, order.expiry_s
        return Frame(FrameKind.BID, 0, 0, product, order.version, self._pack(order), expires_s)

    def _send(self, now_ms: int) -> list[Effect]:
        return [Publish(self._topic_of(frame), frame.payload) for frame in self._replay.due(now_ms)]

    def _topic_of(self, frame: Frame) -> str:
        home = self.config.home
        if frame.kind == FrameKind.BID:
            return topic(home.feeder, home.edge, Leaf.BID)
        settled = frame.kind in (FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP)
        return topic(home.feeder, home.edge, Leaf.SETTLEMENT if settled else Leaf.TELEMETRY, frame.meter)

    def _say(self, reports: list[SetPointReport]) -> list[Effect]:
        """Reports go once, as soon as there is a link."""
        self._reports.extend(reports)
        if not self._link:
            return []
        home = self.config.home
        where = topic(home.feeder, home.edge, Leaf.REPORT)
        said: list[Effect] = [Publish(where, self._pack(report)) for report in self._reports]
        self._reports.clear()
        return said

    # Down

    def _on_acknowledgement(self, ack: Acknowledgement, now_ms: int) -> None:
        if ack.account != self.config.home.account:
            self.counters.count("ack_other_account")
            return
        settled = ack.stream == Stream.SETTLEMENT
        kinds = (FrameKind.TELEMETRY, FrameKind.TELEMETRY_GAP)
        if settled:
            kinds = (FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP)
        gone = self._outbox.acknowledge(kinds, ack.meter, ack.epoch, ack.first_sequence, ack.last_sequence)
        self.counters.count("frames_acknowledged" if gone else "ack_of_nothing", max(len(gone), 1))
        self._replay.forget(gone)
        self._replay.wake(now_ms)

    def _on_receipt(self, receipt: Receipt) -> None:
        if receipt.account != self.config.home.account:
            self.counters.count("receipt_other_account")
            return
        found = [
            frame
            for frame in self._outbox.bid(receipt.product, receipt.version)
            if isinstance(opened := open_envelope(frame.payload), Envelope)
            and opened.message.struct_hash() == receipt.bid_hash
        ]
        self.counters.count("bids_receipted" if found else "receipt_of_nothing")
        self._outbox.remove(found)
        self._replay.forget(found)

    # House

    def _keep(self, device: Device) -> bool:
        return self._outbox.remember(f"control/{device.config.number}", device.state(), durable=True)

    def _keep_if_changed(self, name: str, state: Callable[[], object]) -> None:
        text = json.dumps(state())
        if self._kept.get(name) != text and self._outbox.remember(name, json.loads(text)):
            self._kept[name] = text

    def _keep_house(self, now_ms: int) -> None:
        now_s = now_ms // 1000
        self._begin_epoch()
        self._outbox.retry()
        self._proofs.forget_before(now_s)
        self._keep_if_changed("proofs", self._proofs.state)
        self._keep_if_changed("bidding", self._bidding.state)
        bids = self._outbox.pending(FrameKind.BID, 1_024, newest=False)
        expired = [frame for frame in bids if frame.expires_s <= now_s]
        self._outbox.remove(expired)
        self._replay.forget(expired)
        for frame in self._outbox.over_budget():
            self._replay.forget([frame])
            self._outbox.put([self._gap(frame, now_s)], durable=True)
            self.counters.count("frames_dropped")

    def _gap(self, frame: Frame, now_s: int) -> Frame:
        settled = frame.kind == FrameKind.SETTLEMENT
        stream = Stream.SETTLEMENT if settled else Stream.TELEMETRY
        record = GapRecord(
            self.config.home.account, frame.meter, int(stream), frame.epoch, frame.first, frame.last,
            int(GapReason.BUDGET), now_s,
        )  # fmt: skip
        kind = FrameKind.SETTLEMENT_GAP if settled else FrameKind.TELEMETRY_GAP
        return Frame(kind, frame.meter, frame.epoch, frame.first, frame.last, self._pack(record))

    def _complaints(self) -> list[Effect]:
        """What store and leases complain about, each text once."""
        texts = [("lease", text) for text in self._sequences.faults]
        texts += [("store", text) for text in self._outbox.complaints]
        self._sequences.faults.clear()
        self._outbox.complaints.clear()
        return [Alarm(code, text) for code, text in texts]
