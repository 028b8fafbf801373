"""The core of the home: takes samples, messages, link, clock and time, and returns effects.

    sample   -> metering -> uplink -> Publish
    message  -> acknowledgement, receipt, request: uplink   set-point: control   proof: position
    deadline -> seal telemetry, bid, rewrite watchdogs, repeat what nobody acknowledged, keep house
    nobody commands -> breaker, droop, plan: local_control

Decides nothing itself: each rule stands in the file it delegates to. No clock, socket, thread or chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from contracts.codes import ClockStatus
from contracts.envelope import Envelope, open_envelope
from contracts.messages import Acknowledgement, Bid, ReadingRequest, Receipt, SetPoint, StandingOrder
from contracts.signature import Signer
from contracts.topics import DOWNWARD, PAYLOAD_LIMIT_BYTES, Leaf, parse_topic
from device_profiles.profile_parts import Profile
from edge_agent.announcement import Origin, birth, state
from edge_agent.config import AgentConfig
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.sequence import LeaseStore, Sequences
from edge_agent.delivery.uplink import Uplink
from edge_agent.effects import NOTHING, Alarm, Counters, Effect, Publish, Sample, WriteResult
from edge_agent.market.bidding import EVERY_MS, Bidding
from edge_agent.market.forecast import NetForecast
from edge_agent.market.proofs import Proofs
from edge_agent.readings.metering import Metering
from edge_agent.status import AgentStatus, Board
from edge_agent.steering.control import Control, Device, Outcome
from edge_agent.steering.flexibility import Flexibility
from edge_agent.steering.local_control import LocalControl
from edge_agent.steering.replay_floor import ReplayFloor

HOUSEKEEPING_MS = 60_000
"""Deletions, positions and retries of a full disk: at most a minute of them is lost with the process."""
HOUSEKEEPING_STRETCH = 5.0
"""An accelerated clock keeps house less often, at most this much: an answer takes its real time."""
BACKWARDS_MS = 5_000
"""A clock that goes back by more than this without saying so has stepped."""


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
        origin: Origin | None = None,
    ) -> None:
        self.config = config
        self.counters = counters
        self._outbox = outbox
        self._address, self._profiles, self._origin = address, profiles, origin or Origin()
        self._sequences = Sequences(leases or outbox, outbox, counters)
        home = config.home
        self._meters = {
            m.name: Metering(home.account, m, config.limits, self._sequences, counters) for m in config.meters
        }
        self._forecast = NetForecast(outbox.history())
        self._proofs = Proofs(config, counters)
        self._proofs.restore(outbox.recall("proofs"))
        self._flexibility = Flexibility(config, self._forecast, counters)
        self._flexibility.restore(outbox.recall("flexibility"))
        self._bidding = Bidding(config, self._flexibility, self._proofs, self._sequences.next_version)
        self._bidding.restore(outbox.recall("bidding"))
        known = {m.name: profiles[m.name] for m in config.meters if m.name in profiles}
        steered = [m for m in config.meters if m.name in known]
        self._floor = ReplayFloor(outbox, self._sequences)
        self._control = Control(config, steered, known, self._values, self._keep, counters, lambda: self._floor.floor_s)
        for number, device in self._control.devices.items():
            device.restore(outbox.recall(f"control/{number}"))
        self._local = LocalControl(
            config, self._control, self._flexibility, counters,
            lambda rows: outbox.remember("control/import", rows, durable=True),
        )  # fmt: skip
        self._local.limits.restore(outbox.recall("control/import"))
        self._board = Board(config)
        self._uplink = Uplink(config, outbox, sign, counters, self._sequences, self._forecast, address)
        self._house_every_ms = int(HOUSEKEEPING_MS * max(1.0, min(config.clock.speed, HOUSEKEEPING_STRETCH)))
        self._kept = {"proofs": json.dumps(self._proofs.state()), "bidding": json.dumps(self._bidding.state())}
        self._epoch: int | None = None
        self._status = ClockStatus.UNKNOWN
        self._was_synchronised = False
        self._link, self._may_bid = False, True
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
        if metering.epoch is None:
            self._begin_epoch()
        row = metering.observe(sample)
        self._board.note(sample, row)
        steered = self._governed(self._local.on_sample(sample.device, metering.latest, now_ms))
        if row is None:
            return steered
        if not self.clock_known:
            metering.hold(row)
            return steered + self._complaints()
        made = metering.record(row, self._status)
        if made:  # most samples only join the pending batch, and nobody need be woken for them
            self._uplink.store(made, now_ms)
        return steered + self._uplink.due(now_ms) + self._complaints()

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
            return self._said(self._local.on_set_point(message, by_operator, self.clock_known, now_ms))
        if not by_operator:
            self.counters.count("message_wrong_signer")
        elif where.leaf == Leaf.ACK and isinstance(message, Acknowledgement):
            self._uplink.on_acknowledgement(message, now_ms)
        elif where.leaf == Leaf.RECEIPT and isinstance(message, Receipt):
            self._uplink.on_receipt(message)
        elif where.leaf == Leaf.REQUEST and isinstance(message, ReadingRequest):
            self._uplink.on_request(message, now_ms, self.clock_known)
        else:
            self.counters.count("message_wrong_kind")
        return self._uplink.due(now_ms)

    def on_link(self, up: bool, now_ms: int) -> list[Effect]:
        """The broker came or went."""
        self._pass_time(now_ms)
        self._link = up
        self._uplink.on_link(up, now_ms)
        self._control.on_link(up)
        if not up:
            return []
        return [state(self.config, True, max(now_ms, 0) // 1000), self._birth(), *self._uplink.say([])]

    def on_clock(self, status: ClockStatus, now_ms: int, step_ms: int = 0) -> list[Effect]:
        """The clock says how far it can be trusted; ``step_ms`` is the jump it made with that."""
        self._status = status
        self._now_ms = now_ms
        if step_ms:
            self._board.clock_stepped(step_ms)
            self._restart_timers()
            self._control.on_clock_step(step_ms)
        first = status == ClockStatus.SYNCHRONISED and not self._was_synchronised
        self._was_synchronised |= first
        if self.clock_known:
            self._floor.on_clock(now_ms)
        self._begin_epoch()
        for metering in self._meters.values():
            if first:
                self._uplink.store(metering.release(step_ms), now_ms)
            elif step_ms:
                self._uplink.store(metering.clock_stepped(step_ms), now_ms)
        jumped_ms = 0 if first else step_ms
        return self._governed(self._local.on_clock(self.clock_known, jumped_ms, now_ms)) + self._uplink.due(now_ms)

    def on_written(self, result: WriteResult, now_ms: int) -> list[Effect]:
        """A device took a set-point, or did not."""
        self._pass_time(now_ms)
        return self._said(self._control.on_written(result, now_ms))

    def on_deadline(self, now_ms: int) -> list[Effect]:
        """Time has come for something; `next_deadline_ms` says when again."""
        self._pass_time(now_ms)
        effects = self._said(self._control.on_deadline(now_ms)) + self._governed(self._local.on_deadline(now_ms))
        if now_ms >= self._house_at_ms:  # before sealing: what was sealed a minute ago and not acknowledged is written
            self._house_at_ms = (now_ms // self._house_every_ms + 1) * self._house_every_ms
            self._keep_house(now_ms)
            effects += self._end_attestation()
        if now_ms >= self._seal_at_ms:
            batch_ms = self.config.telemetry.batch_s * 1000
            self._seal_at_ms = (now_ms // batch_ms + 1) * batch_ms
            self._sequences.lend([need for metering in self._meters.values() for need in metering.needs()])
            self._uplink.store([made for metering in self._meters.values() for made in metering.seal()], now_ms)
        if now_ms >= self._bid_at_ms:
            self._bid_at_ms = (now_ms // EVERY_MS + 1) * EVERY_MS
            self._bid(now_ms)
        return effects + self._uplink.due(now_ms) + self._complaints()

    def next_deadline_ms(self) -> int:
        """When `on_deadline` is due."""
        times = [self._seal_at_ms, self._bid_at_ms, self._house_at_ms]
        parts = (self._control, self._local, self._uplink)
        times += [at for at in (part.next_ms() for part in parts) if at is not None]
        return min(times)

    # What is known

    @property
    def clock_known(self) -> bool:
        """Whether times can be signed: the clock is synchronised, or was since start and has not jumped since."""
        return self._was_synchronised and self._status != ClockStatus.UNKNOWN

    def status(self, now_ms: int) -> AgentStatus:
        """What people are shown: link, clock, what waits, and the devices with their last values."""
        home, stat = self.config.home, self._outbox.stat()
        waiting = {name.removeprefix("pending_"): count for name, count in stat.items() if name.startswith("pending_")}
        modes = {number: device.mode.value for number, device in self._control.devices.items()}
        return AgentStatus(
            home.feeder, home.edge, home.account, now_ms, self._link, self._status, self.clock_known, self._epoch,
            waiting, self._board.devices(modes),
        )  # fmt: skip

    def metrics(self) -> dict[str, int]:
        """Counters and sizes, by name."""
        modes = {f"mode_{d.mode.value}": 1 for d in self._control.devices.values()}
        attested = int(self._origin.attestation_at(self._known_s) is not None)
        gauges = {"link": int(self._link), "clock_status": int(self._status), "epoch": self._epoch or 0}
        gauges["attested"] = attested
        return {**self.counters, **self._outbox.stat(), **gauges, **modes, **self._local.metrics()}

    def _said(self, outcome: Outcome) -> list[Effect]:
        """Effects, and the reports signed with them."""
        effects, reports = outcome
        return effects + self._uplink.say(reports)

    def _governed(self, outcome: Outcome) -> list[Effect]:
        """What the home did by itself; when its breaker has just opened, its bids are looked at without delay."""
        if self._may_bid and not self._local.may_bid:
            self._bid_at_ms = 0
        self._may_bid = self._local.may_bid
        return self._said(outcome)

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
        self._uplink.restart_timers()
        self._local.restart_timers()

    def _begin_epoch(self) -> None:
        """The epoch of this run; asked for again with every sample while no lease can be written."""
        if self._epoch is None:
            self._epoch = self._sequences.next_epoch()
        for metering in self._meters.values():
            if metering.epoch is None:
                metering.epoch = self._epoch

    # Who vouches for the key

    @property
    def _known_s(self) -> int | None:
        return self._now_ms // 1000 if self.clock_known else None

    def _birth(self) -> Publish:
        return birth(self.config, self._address, self._epoch or 0, self._profiles, self._origin, self._known_s)

    def _end_attestation(self) -> list[Effect]:
        """Tells once that the attestation's time is over, and is born anew without it."""
        if not self._origin.is_over(self._known_s):
            return []
        self._origin = Origin(self._origin.profile_hashes)
        self.counters.count("attestation_expired")
        text = "the attestation of the key has expired; edge-agent key attest makes a new one"
        return [Alarm("attestation", text), *([self._birth()] if self._link else [])]

    # Bids

    def _bid(self, now_ms: int) -> None:
        """Bids need a link and a clock that is known; an open breaker takes back what it may, once it has both."""
        now_s = now_ms // 1000
        self._bidding.unanswered(self._uplink.unanswered(), now_s)
        if not self._link or not self.clock_known:
            return
        may_bid = self._local.may_bid
        standing = self._bidding.standing_order(now_s) if may_bid else None
        orders: list[Bid | StandingOrder] = [
            *(self._bidding.bids(now_s) if may_bid else self._bidding.taken_back(now_s))
        ]
        if standing is not None:
            orders.append(standing)
        if orders:
            self._uplink.place(orders, now_ms)
            self._keep_if_changed("bidding", self._bidding.state)

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
        self._proofs.forget_before(now_s)
        self._keep_if_changed("proofs", self._proofs.state)
        self._keep_if_changed("bidding", self._bidding.state)
        if self._flexibility.planning:
            self._keep_if_changed("flexibility", self._flexibility.state)
        self._uplink.keep_house(now_s, self.clock_known)

    def _complaints(self) -> list[Effect]:
        """What store and leases complain about, each text once."""
        texts = [("lease", text) for text in self._sequences.faults]
        texts += [("store", text) for text in self._outbox.complaints]
        self._sequences.faults.clear()
        self._outbox.complaints.clear()
        return [Alarm(code, text) for code, text in texts]
