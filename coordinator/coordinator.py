"""The switchboard: every input of the coordinator comes in here, goes to its room, and leaves as effects.

    message   → ingest → readings or book             → acknowledgement or receipt, request for what is missing
    deadline  → rounds in time order → fill packs     → at the end of an interval: settlement → header, record, packs
    chain     → registry, deposits, header states, forced orders

It has no rule of its own. Every accepted input is appended to the inbox before it acts, so that a replay of the
inbox rebuilds all tables. The shell commits the store before it lets the effects out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from contracts.eip712 import Message
from contracts.envelope import seal
from contracts.interval import INTERVAL_S, interval_of
from contracts.messages import Bid, SetPointReport, StandingOrder
from contracts.proof_pack import FillPack, fill_packs, interval_packs, pack_bytes
from contracts.signature import Signer
from contracts.topics import Leaf, parse_topic, topic
from coordinator.chain_desk import ChainDesk
from coordinator.chain_events import ChainEvent, event_bytes
from coordinator.config import MarketConfig
from coordinator.effects import Effect, Publish, PublishRecord, SubmitHeader
from coordinator.grid.dispatch import Dispatch, DispatchedStep
from coordinator.grid.power_balance import interval_balance, power_balance
from coordinator.hearsay import Hearsay
from coordinator.ingest import Admitted, Refusal, admit
from coordinator.market.rounds import DueRound, Market
from coordinator.orders import OrderDesk, spot_clears_at_s
from coordinator.pricing.price_history import PriceHistory
from coordinator.reading_desk import ReadingDesk
from coordinator.registry import Registry
from coordinator.settlement.answers import AnswerDesk
from coordinator.settlement.ledger import refused_registers
from coordinator.settlement.settlement import Settlement
from coordinator.store.store import Store

CLOSE_DELAY_S = 5
"""A header closes this long after its interval, so that the last round's work never collides with it."""


@dataclass(frozen=True, slots=True)
class Reception:
    """What became of a message: refused with a reason, or accepted; and what follows."""

    refusal: Refusal | None
    effects: list[Effect] = field(default_factory=list)


class Coordinator:
    """One feeder's coordinator over one store. ``sign`` signs as the operator."""

    def __init__(self, market: MarketConfig, store: Store, sign: Signer) -> None:
        self.config = market
        self.store = store
        self.registry = Registry(store)
        self.readings = ReadingDesk(store)
        self.market = Market(store, market)
        self.settlement = Settlement(store, market, sign)
        self.orders = OrderDesk(store, market, self.market, self.settlement)
        self.answers = AnswerDesk(store)
        self.chain_desk = ChainDesk(self.registry, self.settlement.headers, self.orders, self.answers)
        self.prices = PriceHistory(store, market)
        self.dispatch = Dispatch(store)
        self.counters: Counter[str] = Counter()
        self.hearsay = Hearsay()
        self._sign = sign

    # -- messages ----------------------------------------------------------------------------------------------

    def on_message(self, text: str, payload: bytes, now_ms: int) -> list[Effect]:
        """A message from the broker."""
        parsed = parse_topic(text)
        if parsed is not None and parsed.leaf in (Leaf.STATE, Leaf.BIRTH):
            unheard = self.hearsay.take(parsed, payload, self.registry, self.config.feeder, now_ms // 1000)
            self.counters[f"hearsay_{unheard.name.lower()}" if unheard else f"{parsed.leaf.value}s_heard"] += 1
            return []
        return self.receive(text, payload, now_ms).effects

    def receive(self, text: str, payload: bytes, now_ms: int) -> Reception:
        """A signed message, from the broker or from the REST interface."""
        admitted = admit(text, payload, self.registry, self.config, now_ms)
        if isinstance(admitted, Admitted):
            message = admitted.envelope.message
            if isinstance(message, Bid | StandingOrder):
                outcome = self._on_order(admitted, message, text, payload, now_ms)
            elif isinstance(message, SetPointReport):
                outcome = self._on_report(message, text, payload, now_ms)
            else:
                outcome = self._on_reading(admitted, text, payload, now_ms)
        else:
            outcome = Reception(admitted)
        name = f"refused_{outcome.refusal.name.lower()}" if outcome.refusal else "accepted"
        self.counters[name] += 1
        return outcome

    def _on_reading(self, admitted: Admitted, text: str, payload: bytes, now_ms: int) -> Reception:
        taken = self.readings.take(admitted, text, payload, now_ms)
        if isinstance(taken, Refusal):
            return Reception(taken)
        self.counters[taken.novelty.value] += 1
        effects: list[Effect] = list(taken.alarms)
        effects.append(self._to_home(taken.acknowledgement.account, Leaf.ACK, taken.acknowledgement))
        effects += [self._to_home(request.account, Leaf.REQUEST, request) for request in taken.requests]
        self.counters["requests"] += len(taken.requests)
        return Reception(None, effects)

    def _on_order(
        self, admitted: Admitted, order: Bid | StandingOrder, text: str, payload: bytes, now_ms: int
    ) -> Reception:
        due = self.on_deadline(now_ms)  # nothing is promised before everything that was due has happened
        verdict = self.orders.judge(order, now_ms // 1000)
        if isinstance(verdict, Refusal):
            return Reception(verdict, due)
        if verdict.is_new:
            inbox_id = self.store.append_input(now_ms, "message", text, payload)
            self.orders.accept(order, admitted.envelope.signature, verdict.first, inbox_id)
        return Reception(None, [self._to_home(order.account, Leaf.RECEIPT, verdict.receipt), *due])

    def _on_report(self, report: SetPointReport, text: str, payload: bytes, now_ms: int) -> Reception:
        seen = self.dispatch.outcomes_seen(report)
        if seen is None:
            return Reception(Refusal.BEYOND_LIMIT)
        if seen >> report.outcome & 1:  # a repeat: the inbox takes each outcome of a set-point once
            return Reception(None)
        self.store.append_input(now_ms, "message", text, payload)
        self.dispatch.reported(report)
        return Reception(None)

    def _to_home(self, account: int, leaf: Leaf, message: Message) -> Publish:
        return Publish(self._topic(account, leaf) or "", seal(message, self.config.domain, self._sign).pack())

    def _topic(self, account: int, leaf: Leaf) -> str | None:
        participant = self.registry.participant(account)
        if participant is None or participant.edge is None:
            return None
        return topic(self.config.feeder, participant.edge, leaf)

    # -- time --------------------------------------------------------------------------------------------------

    def next_deadline_ms(self) -> int:
        """When ``on_deadline`` has work: the next round or the close of the next header."""
        cleared_until_s = self.store.mark("cleared_until_s", -1)
        if cleared_until_s < 0:
            return 0
        closes_at_s = self._closes_at_s(self.store.mark("next_header"))
        return 1000 * min(self.market.next_round_at_s(cleared_until_s), closes_at_s)

    @staticmethod
    def _closes_at_s(interval: int) -> int:
        return (interval + 1) * INTERVAL_S + CLOSE_DELAY_S

    def on_deadline(self, now_ms: int) -> list[Effect]:
        """Runs every round and closes every header that is due, in time order."""
        if now_ms < self.next_deadline_ms():
            return []
        now_s = now_ms // 1000
        self.store.append_input(now_ms, "deadline", "", b"")
        if self.store.mark("cleared_until_s", -1) < 0:
            self.store.set_mark("cleared_until_s", now_s)
            self.store.set_mark("next_header", interval_of(now_s))
        effects: list[Effect] = []
        due = self.market.due_rounds(self.store.mark("cleared_until_s"), now_s)
        while self._closes_at_s(self.store.mark("next_header")) <= now_s:
            interval = self.store.mark("next_header")
            ends_s = (interval + 1) * INTERVAL_S
            effects += self._run_rounds([d for d in due if d.cleared_at_s < ends_s])
            due = [d for d in due if d.cleared_at_s >= ends_s]
            effects += self._close_header(interval)
            self.store.set_mark("next_header", interval + 1)
        effects += self._run_rounds(due)
        self.store.set_mark("cleared_until_s", now_s)
        return effects

    def _run_rounds(self, due: list[DueRound]) -> list[Effect]:
        effects: list[Effect] = []
        for one in due:
            record = self.market.run(one)
            if record is not None:
                self.counters["auctions"] += 1
                effects += [self._pack(account, pack) for account, pack in fill_packs(record).items()]
        return [effect for effect in effects if not isinstance(effect, Publish) or effect.topic]

    def _pack(self, account: int, pack: FillPack) -> Publish:
        return Publish(self._topic(account, Leaf.PROOF) or "", pack_bytes(pack))

    def _close_header(self, interval: int) -> list[Effect]:
        settled = interval - self.config.grace
        metered = self.settlement.ledger.metered_accounts(settled)
        balance = interval_balance(self.store, settled)
        inputs = self.prices.inputs(
            settled, balance.demand_w, balance.supply_w, balance.frequency_mhz, balance.lowest_voltage_mv
        )
        price = self.prices.keep(inputs)
        deviations = {m.leaf.account: m.leaf.deviation_wh for m in metered}
        spot = self.market.run_spot(settled, deviations, price, spot_clears_at_s(interval))
        forward = self.market.book.records_of_header(interval)
        closed = self.settlement.close(interval, metered, spot, forward, inputs.to_record())
        self.counters["headers"] += 1
        effects: list[Effect] = list(refused_registers(metered))
        effects += [PublishRecord(interval, closed.record_bytes), SubmitHeader(closed.header)]
        for account, pack in interval_packs(closed.record, closed.header, closed.signature).items():
            address = self._topic(account, Leaf.PROOF)
            if address is not None:
                effects.append(Publish(address, pack_bytes(pack)))
        return effects

    def resume(self) -> list[Effect]:
        """After a restart: headers that are not seen on the chain, and answers to open demands, are submitted again."""
        return [*(SubmitHeader(header) for header in self.settlement.headers.unposted()), *self.answers.again()]

    # -- chain, feeds, operator --------------------------------------------------------------------------------

    def on_chain_event(self, event: ChainEvent, now_ms: int) -> list[Effect]:
        """Something final enough happened on the chain."""
        self.store.append_input(now_ms, "chain", "", event_bytes(event))
        return list(self.chain_desk.take(event, now_ms // 1000))

    def on_quote(self, name: str, value: int, now_ms: int) -> list[Effect]:
        """A feed says ``name`` is now ``value``."""
        self.store.append_input(now_ms, "quote", name, str(value).encode())
        self.store.run(
            "INSERT INTO quotes VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value,"
            " at_s = excluded.at_s",
            name, value, now_ms // 1000,
        )  # fmt: skip
        return []

    def enrol(self, account: int, edge: str, now_ms: int) -> bool:
        """Links a home's topic name to its account; False when that cannot be."""
        self.store.append_input(now_ms, "enrol", edge, str(account).encode())
        return self.registry.enrol(account, edge)

    def enrol_element(self, account: int, element: bytes, now_ms: int) -> None:
        """Notes the secure element of a home: its public key, 64 bytes ``x ‖ y``; a later one takes its place."""
        self.store.append_input(now_ms, "element", str(account), element)
        self.registry.enrol_element(account, element)

    def enrol_device(self, account: int, device: int, lowest_w: int, highest_w: int, now_ms: int) -> None:
        """Notes a device that obeys set-points within a range of power (load convention)."""
        self.store.append_input(now_ms, "device", f"{account}/{device}", f"{lowest_w}/{highest_w}".encode())
        self.dispatch.enrol(account, device, lowest_w, highest_w)

    def balance_grid(self, now_ms: int) -> DispatchedStep:
        """One balancing step now; its set-points leave as effects."""
        self.store.append_input(now_ms, "balance", "", b"")
        now_s = now_ms // 1000
        step = self.dispatch.step(power_balance(self.store, now_s), now_s)
        effects: list[Effect] = [self._to_home(p.account, Leaf.SETPOINT, p) for p in step.set_points]
        return DispatchedStep(step.step, step.set_points, [e for e in effects if isinstance(e, Publish) and e.topic])
