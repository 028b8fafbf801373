"""The reading desk: where a signed reading, batch or gap is found new, known or contradicted, and acknowledged.

What a home says is also the moment to ask it for what is missing: it is there now (`request_desk.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.messages import Acknowledgement, ReadingRequest, SettlementReading
from coordinator.effects import Alarm
from coordinator.ingest import Admitted, Refusal
from coordinator.request_desk import RequestDesk
from coordinator.store.coverage import span_of
from coordinator.store.readings import Novelty, Readings
from coordinator.store.store import Store

EQUIVOCATIONS_KEPT = 16
"""Per account: enough to prove a liar, too few to fill the disk with."""
READINGS_AN_INTERVAL = 16
"""Settlement readings of one meter for one interval: a clock that stepped makes two or three."""


@dataclass(frozen=True, slots=True)
class TakenReading:
    """What the store knew of it, what the home is told and asked, and what a person should see."""

    novelty: Novelty
    acknowledgement: Acknowledgement
    requests: tuple[ReadingRequest, ...] = ()
    alarms: tuple[Alarm, ...] = ()


class ReadingDesk:
    """Takes readings into the store. All that is durable is acknowledged, a contradiction too: it is evidence."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readings = Readings(store)
        self.requests = RequestDesk(self._readings.coverage)

    def equivocations(self, account: int) -> int:
        """How many contradictions of an account are kept."""
        return self._readings.equivocations(account)

    def take(self, admitted: Admitted, text: str, payload: bytes, now_ms: int) -> TakenReading | Refusal:
        """Stores what is new and keeps what contradicts; BEYOND_LIMIT beyond what one may have."""
        message, account = admitted.envelope.message, admitted.participant.account
        known = self._readings.known(message)
        alarms: tuple[Alarm, ...] = ()
        is_plain = True
        if known.novelty is Novelty.NEW:
            if isinstance(message, SettlementReading) and self._readings.of_interval(message) >= READINGS_AN_INTERVAL:
                return Refusal.BEYOND_LIMIT
            inbox_id = self._store.append_input(now_ms, "message", text, payload)
            is_plain = self._readings.keep(message, admitted.readings, inbox_id)
        elif known.novelty is Novelty.EQUIVOCATION:
            if self.equivocations(account) >= EQUIVOCATIONS_KEPT:
                return Refusal.BEYOND_LIMIT
            inbox_id = self._store.append_input(now_ms, "message", text, payload)
            self._readings.keep_equivocation(message, inbox_id, known.inbox_id)
            alarms = (Alarm("equivocation", f"two bodies for one identity: {message}"),)
        span = span_of(message)
        asked = self.requests.heard(span.of, is_plain, now_ms)
        answer = Acknowledgement(account, span.of.meter, span.of.stream, span.epoch, span.first, span.last)
        return TakenReading(known.novelty, answer, asked.requests, (*alarms, *asked.alarms))
