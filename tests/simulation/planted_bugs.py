"""Bugs of ours, each a subclass in the place of a real core: the auditors must find every one of them."""

from __future__ import annotations

from typing import Any

from contracts.codes import ReadingFlag
from contracts.commitments import Commitment, listed
from contracts.messages import Bid, StandingOrder, TelemetryBatch
from contracts.proof_pack import FillPack
from coordinator.coordinator import Coordinator, Reception
from coordinator.effects import Publish as OperatorPublish
from coordinator.ingest import Admitted, Refusal
from coordinator.store.readings import Novelty
from edge_agent.agent import Agent
from edge_agent.delivery.frame import Frame
from edge_agent.delivery.sequence import Leases
from edge_agent.readings.quality import Baseline, CounterGuard
from simulators.world import Planted


class NeverResends(Agent):
    """Sends every frame once and trusts that it arrived."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        replay, once = self._uplink._replay, set[int]()
        honest = replay.due

        def due(now_ms: int) -> list[Frame]:
            fresh = [frame for frame in honest(now_ms) if frame.id not in once]
            once.update(frame.id for frame in fresh)
            return fresh

        replay.due = due  # type: ignore[method-assign]


class ForgetsTheSequence(Agent):
    """Begins to count anew whenever it starts: neither file nor database reminds it."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._sequences._leases = Leases({}, self._sequences.marks)
        self._sequences._next.clear()


class TakesThePubackForAReceipt(Agent):
    """Forgets a frame as soon as the broker has it."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        replay, outbox = self._uplink._replay, self._outbox
        honest = replay.due

        def due(now_ms: int) -> list[Frame]:
            sent = honest(now_ms)
            outbox.remove(sent)
            return sent

        replay.due = due  # type: ignore[method-assign]


class _TrustingGuard(CounterGuard):
    def judge(self, raw: int | None, taken_at_ms: int, rollover: int | None, exchanged: bool) -> ReadingFlag:
        if raw is None:
            return ReadingFlag.HELD
        self.baseline = Baseline(raw, 0, taken_at_ms)
        return ReadingFlag.NONE


class BelievesItsMeter(Agent):
    """Signs whatever the registers show."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        for metering in self._meters.values():
            for name in ("_import", "_export"):
                guard = getattr(metering, name)
                setattr(metering, name, _TrustingGuard(10_000, guard.baseline))


class AppliesADuplicateTwice(Coordinator):
    """Counts a telemetry batch into the roll-ups each time it comes."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        take = self.readings.take

        def twice(admitted: Admitted, *rest: Any) -> Any:
            taken, batch = take(admitted, *rest), admitted.envelope.message
            if isinstance(batch, TelemetryBatch) and getattr(taken, "novelty", None) is Novelty.DUPLICATE:
                self.store.run("UPDATE roll_ups SET readings = readings + 1 WHERE account = ?", batch.account)
            return taken

        self.readings.take = twice  # type: ignore[method-assign]


class PaysTwice(Coordinator):
    """Moves one account's balance a second time at some settlements, and the supplier's against it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        ledger, settle = self.settlement.ledger, self.settlement.ledger.settle

        def settle_twice(interval: int, metered: Any, spot: Any) -> None:
            settle(interval, metered, spot)
            row = self.store.row(
                "SELECT account, result_nano FROM statements WHERE interval = ? AND result_nano != 0", interval
            )
            if row is not None and interval % 3 == 0:
                ledger._move_balance(row[0], row[1])
                ledger._move_balance(0, -row[1])

        ledger.settle = settle_twice  # type: ignore[method-assign]


class BuildsOnAWrongHeader(Coordinator):
    """Lets one header in four follow its grandparent."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        headers, right = self.settlement.headers, self.settlement.headers.previous_digest

        def wrong() -> bytes:
            rows = self.store.rows("SELECT interval, digest FROM headers ORDER BY interval DESC LIMIT 2")
            return bytes(rows[1][1]) if len(rows) == 2 and rows[0][0] % 4 == 0 else right()

        headers.previous_digest = wrong  # type: ignore[method-assign]


class IgnoresItsReceipt(Coordinator):
    """Gives every home a receipt and leaves one home's bids out of the book."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        accept = self.orders.accept

        def sometimes(order: Bid | StandingOrder, signature: bytes, first_round: int, inbox_id: int) -> None:
            if not (isinstance(order, Bid) and order.account == 3):
                accept(order, signature, first_round, inbox_id)

        self.orders.accept = sometimes  # type: ignore[method-assign]


class SpeaksBeforeItCommits(Coordinator):
    """Only one commit in five reaches the disk, though every answer leaves."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        commit, asked = self.store.commit, [0]

        def seldom() -> None:
            asked[0] += 1
            if asked[0] % 5 == 0:
                commit()

        self.store.commit = seldom  # type: ignore[method-assign]


class FavoursOneHome(Coordinator):
    """Shows a home another fill than the one that was cleared."""

    def _pack(self, account: int, pack: FillPack) -> OperatorPublish:
        shown = FillPack(pack.auction, pack.slot, pack.siblings[::-1]) if account == 1 else pack
        return super()._pack(account, shown)


class LetsEveryBidIn(Coordinator):
    """Never asks for collateral."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.settlement.covers = lambda *_: True  # type: ignore[method-assign]


class ReservesOnlyPositions(Coordinator):
    """Publishes reserves without the bids that still rest."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        collateral, right = self.settlement.collateral, self.settlement.collateral.lists

        def short(*asked: Any) -> Any:
            lists = {a: tuple(Commitment(c.product, 0, c.interval_nano) for c in cs) for a, cs in right(*asked).items()}
            return {account: kept for account, cs in lists.items() if (kept := listed(cs))}

        collateral.lists = short  # type: ignore[method-assign]


class ShowsOnlyOpenBids(Coordinator):
    """Leaves those out of a round who have nothing open in it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        book, right = self.market.book, self.market.book.entries

        def narrow(product: int, round_number: int, cleared_at_s: int) -> Any:
            return [e for e in right(product, round_number, cleared_at_s) if e.offered_wh(cleared_at_s)]

        book.entries = narrow  # type: ignore[method-assign]


class ForgetsStandingOrders(Coordinator):
    """Trades one home's deviations at the tariffs whatever it signed."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        standing, right = self.market.standing, self.market.standing.valid_in
        standing.valid_in = lambda interval: {  # type: ignore[method-assign]
            account: signed for account, signed in right(interval).items() if account != 3
        }


class RefusesHonestReadings(Coordinator):
    """Turns every fifth reading of one home away for a reason that does not hold."""

    def _on_reading(self, admitted: Admitted, text: str, payload: bytes, now_ms: int) -> Reception:
        if admitted.participant.account == 2 and payload[-5] % 5 == 0:
            return Reception(Refusal.WRONG_SIGNATURE)
        return super()._on_reading(admitted, text, payload, now_ms)


AGENT_BUGS = (NeverResends, ForgetsTheSequence, TakesThePubackForAReceipt, BelievesItsMeter)
COORDINATOR_BUGS = (
    AppliesADuplicateTwice,
    PaysTwice,
    BuildsOnAWrongHeader,
    IgnoresItsReceipt,
    SpeaksBeforeItCommits,
    FavoursOneHome,
    LetsEveryBidIn,
    ReservesOnlyPositions,
    ShowsOnlyOpenBids,
    ForgetsStandingOrders,
    RefusesHonestReadings,
)
PLANTED = {bug.__name__: Planted(make_agent=bug) for bug in AGENT_BUGS} | {
    bug.__name__: Planted(make_coordinator=bug) for bug in COORDINATOR_BUGS
}
CAUGHT_BY = {
    "NeverResends": "liveness",
    "ForgetsTheSequence": "signatures",
    "TakesThePubackForAReceipt": "liveness",
    "BelievesItsMeter": "energy",
    "AppliesADuplicateTwice": "replay",
    "PaysTwice": "money",
    "BuildsOnAWrongHeader": "record",
    "IgnoresItsReceipt": "ledger",
    "SpeaksBeforeItCommits": "liveness",
    "FavoursOneHome": "signatures",
    "LetsEveryBidIn": "ledger",
    "ReservesOnlyPositions": "ledger",
    "ShowsOnlyOpenBids": "record",
    "ForgetsStandingOrders": "ledger",
    "RefusesHonestReadings": "limits",
}
"""Which auditor must be among those that complain."""
AUCTIONED = ("ForgetsStandingOrders",)
"""Bugs that only show where deviations are auctioned."""
