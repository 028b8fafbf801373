"""Holds the coordinator's books against the reference ledger's: round by round, interval by interval, to the last nano.

From a published record it takes only what depends on arrival: which signed version was shown in a round, and which
signed reading stood behind an account. Receipts and acknowledgements bound both: what was promised must be there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from contracts.codes import AuctionRule, Stream
from contracts.interval import INTERVAL_S, Product
from contracts.messages import Acknowledgement, Bid, GapRecord, Receipt, SettlementReading, StandingOrder
from contracts.topics import Leaf, parse_topic
from simulators.auditors.auditor import Findings, Opened, account_named
from simulators.faults import CrashPoint
from simulators.reference_ledger import SUPPLIER, Owed, ReferenceLedger, SignedBid, SignedLimits
from simulators.world_events import (
    Happened,
    HomeSaid,
    OperatorAlarmed,
    OperatorHeard,
    OperatorSaid,
    RecordPublished,
    WorldEvent,
)

if TYPE_CHECKING:
    from simulators.world import World

CLOSE_DELAY_S = 5
LENGTH_NAMES = ("quarter", "hour", "day", "week")
COMMITMENT_BYTES = 40
"""A published commitment: 8 bytes of product, 16 of open bid, 16 of position for each interval."""


def _closes_at_s(interval: int) -> int:
    return (interval + 1) * INTERVAL_S + CLOSE_DELAY_S


class LedgerAuditor:
    """Feeds the reference ledger and compares."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("ledger")
        self._open = Opened()
        self._refused: set[int] = set()
        market = world.market
        self._reference = ReferenceLedger(
            market.tariff_import, market.tariff_export,
            {length: schedule.closes_before_s for length, schedule in market.calendar.schedules},
            market.spot_rule == AuctionRule.SPOT_AUCTION,
        )  # fmt: skip
        self._limits: dict[tuple[int, int], SignedLimits] = {}
        self._promised_limits: dict[tuple[int, int], int] = {}
        self._readings: dict[bytes, SettlementReading] = {}
        self._named: dict[tuple[int, int, int], SettlementReading] = {}
        self._gaps: set[tuple[int, int, int]] = set()
        self._acknowledged: dict[int, dict[int, int]] = {}
        self._used: dict[int, int] = {}
        self._accepted: list[tuple[int, Bid]] = []
        self._newest: dict[tuple[int, int], int] = {}
        self._records: set[int] = set()

    # -- what is said ------------------------------------------------------------------------------------------

    def observe(self, event: WorldEvent) -> None:
        """Signed bids and readings, promises, records."""
        match event:
            case HomeSaid(_, topic, payload):
                where = parse_topic(topic)
                if where is not None and where.leaf in (Leaf.BID, Leaf.SETTLEMENT):
                    self._home_said(payload)
            case OperatorSaid(topic, payload) if topic.endswith(("/receipt", "/ack")):
                self._promised(payload)
            case OperatorHeard(topic, payload, None) if topic.endswith("/bid"):
                envelope = self._open(payload)
                if envelope is not None and isinstance(envelope.message, Bid):
                    self._accepted.append((self._world.clock.now_ms, envelope.message))
            case Happened(what) if what.endswith(CrashPoint.BEFORE_COMMIT.value):
                now_ms = self._world.clock.now_ms
                self._accepted = [entry for entry in self._accepted if entry[0] != now_ms]
            case OperatorAlarmed("implausible_registers", text):
                self._refused.add(account_named(text))
            case RecordPublished(interval, record) if interval not in self._records:
                self._records.add(interval)
                self._record(json.loads(record))

    def _home_said(self, payload: bytes) -> None:
        envelope = self._open(payload)
        message = envelope.message if envelope is not None else None
        if isinstance(message, Bid):
            key = (message.account, message.product, message.version)
            self._reference.bids.setdefault(
                key, SignedBid(*key, message.side, message.quantity_wh, message.limit_price, message.expiry_s)
            )
        elif isinstance(message, StandingOrder):
            limits = (message.max_buy_price, message.min_sell_price, message.valid_from_s, message.valid_until_s)
            self._limits[message.account, message.version] = SignedLimits(message.account, message.version, *limits)
        elif isinstance(message, SettlementReading):
            self._readings[payload] = message
            self._named[message.account, message.epoch, message.sequence] = message
        elif isinstance(message, GapRecord) and message.stream == Stream.SETTLEMENT:
            self._gaps.add((message.account, message.epoch, message.first_sequence))

    def _promised(self, payload: bytes) -> None:
        envelope = self._open(payload)
        message = envelope.message if envelope is not None else None
        if isinstance(message, Receipt) and message.product:
            bid = self._reference.bids.get((message.account, message.product, message.version))
            if bid is None:
                self._findings.add(f"a receipt for version {message.version} that account {message.account} never bid")
            else:
                bid.promised_round = message.round
        elif isinstance(message, Receipt):
            self._promised_limits[message.account, message.version] = message.clears_at_s
        elif isinstance(message, Acknowledgement) and (message.stream, message.meter) == (Stream.SETTLEMENT, 0):
            name = (message.account, message.epoch, message.first_sequence)
            if name in self._gaps:  # it may well mean the gap record that stands for a reading which never came
                return
            reading = self._named.get(name)
            if reading is None:
                self._findings.add(f"an acknowledgement of what account {message.account} never said")
            else:
                held = self._acknowledged.setdefault(message.account, {})
                held.setdefault(reading.interval, self._world.clock.now_s)

    # -- a record ----------------------------------------------------------------------------------------------

    def _record(self, document: dict[str, Any]) -> None:
        interval = int(document["interval"])
        forward = document["auctions"][1:]
        for auction in sorted(forward, key=lambda a: (int(a["auction"]["cleared_at_s"]), int(a["auction"]["product"]))):
            self._judge_bids(int(auction["auction"]["cleared_at_s"]))
            self._forward(auction)
        self._judge_bids(_closes_at_s(interval))
        self._settlement(interval, document)

    def _forward(self, record: dict[str, Any]) -> None:
        auction = {name: int(record["auction"][name]) for name in ("product", "round", "cleared_at_s", "price")}
        name = f"round {auction['round']} of product {auction['product']}"
        slots = [{n: int(v) for n, v in s.items() if n != "signature_hash"} for s in record["slots"]]
        versions = {s["account"]: s["version"] for s in slots}
        reference = self._reference
        filled = {
            (b.account, b.version): b.filled_wh for b in reference.bids.values() if b.product == auction["product"]
        }
        outcome, faults = reference.run_round(auction["product"], auction["round"], auction["cleared_at_s"], versions)
        for fault in faults:
            self._findings.add(fault)
        if (auction["price"], int(record["auction"]["volume_wh"])) != (outcome.price, outcome.volume_wh):
            self._findings.add(f"{name} cleared at {auction['price']}, the reference at {outcome.price}")
        for slot in slots:
            if slot["fill_wh"] != outcome.fills.get(slot["account"], 0):
                self._findings.add(f"{name}: account {slot['account']} got {slot['fill_wh']} Wh, not {outcome.fills}")
            if slot["filled_before_wh"] != filled.get((slot["account"], slot["version"]), 0):
                self._findings.add(f"{name}: account {slot['account']} was not filled {slot['filled_before_wh']} Wh")
            held = reference.positions.get((slot["account"], slot["product"]), (0, 0))
            if (slot["position_wh"], slot["position_cost_nano"]) != held:
                self._findings.add(f"{name}: account {slot['account']} does not hold {held}")

    def _settlement(self, interval: int, document: dict[str, Any]) -> None:
        settled = interval - self._world.market.grace
        readings: dict[int, tuple[int, int]] = {}
        for leaf, packed in zip(document["meters"], document["readings"], strict=True):
            if packed == "0x":
                continue
            reading = self._readings.get(bytes.fromhex(packed[2:]))
            if reading is None or reading.interval > settled:
                self._findings.add(f"account {leaf['account']}: a reading nobody signed stands behind {settled}")
                continue
            readings[reading.account] = (reading.import_wh, reading.export_wh)
            self._used[reading.account] = reading.interval
        for account, held in self._acknowledged.items():
            due = [i for i, at_s in held.items() if i <= settled and at_s < _closes_at_s(i + self._world.market.grace)]
            excused = account in self._refused or account - 1 in self._world.plan.liars
            if due and max(due) > self._used.get(account, -1) and not excused:
                self._findings.add(f"interval {settled}: an acknowledged reading of account {account} is left out")
        before = {a: self._reference.contracted(a, settled) for a in self._world.deposits}
        spot = document["auctions"][0]
        price = int(spot["auction"]["price"])
        judged = self._reference.settle(settled, readings, price, self._limits_shown(settled, spot))
        if self._reference.spot_price != price:
            self._findings.add(f"interval {settled}: spot at {price}, the reference at {self._reference.spot_price}")
        leaves = {int(leaf["account"]): leaf for leaf in document["meters"]}
        if set(leaves) != set(judged):
            self._findings.add(f"interval {settled}: meters of {sorted(leaves)}, not of {sorted(judged)}")
        for account, leaf in leaves.items():
            if int(leaf["deviation_wh"]) != judged.get(account, (0, 0))[1]:
                self._findings.add(f"interval {settled}: account {account} deviates by {judged.get(account)}")
            told = tuple((int(leaf[f"{name}_wh"]), int(leaf[f"{name}_cost_nano"])) for name in LENGTH_NAMES)
            if told != before.get(account):
                self._findings.add(f"interval {settled}: account {account} has contracted {before.get(account)}")
        self._balances(interval, document)

    def _limits_shown(self, settled: int, spot: dict[str, Any]) -> dict[int, SignedLimits]:
        """The standing orders that a spot round says it used; named where another one was promised or in force."""
        if not self._reference.auctioned:
            return {}
        starts_at_s, cleared_at_s = settled * INTERVAL_S, int(spot["auction"]["cleared_at_s"])
        shown: dict[int, SignedLimits] = {}
        for slot in spot["slots"]:
            account, version = int(slot["account"]), int(slot["version"])
            if version:
                limits = self._limits.get((account, version))
                if limits is None or not limits.holds_at(starts_at_s):
                    self._findings.add(f"interval {settled}: standing order {version} of {account} is not in force")
                else:
                    shown[account] = limits
            for (holder, promised), from_s in self._promised_limits.items():
                due = holder == account and promised > version and from_s <= cleared_at_s
                if due and self._limits[holder, promised].holds_at(starts_at_s):
                    self._findings.add(f"interval {settled}: {account} has a receipt for {promised}, not {version}")
        return shown

    def _balances(self, interval: int, document: dict[str, Any]) -> None:
        published = {int(b["account"]): int(b["cumulative_nano"]) for b in document["balances"]}
        ours = self._reference.balances
        for account in {*published, *ours}:
            if published.get(account, 0) != ours.get(account, 0):
                self._findings.add(f"header {interval}: balance of {account} is {published.get(account)}, not {ours}")
        lists = self._reference.reserves(interval)
        for account in set(lists) - set(published):
            self._findings.add(f"header {interval}: account {account} owes and has no balance")
        for leaf, packed in zip(document["balances"], document["commitments"], strict=True):
            account, mine = int(leaf["account"]), lists.get(int(leaf["account"]), [])
            if _opened(bytes.fromhex(packed[2:])) != mine:
                self._findings.add(f"header {interval}: account {account} owes {mine}")
            if int(leaf["reserved_nano"]) != self._reference.reserve_nano(mine):
                self._findings.add(f"header {interval}: the reserve of account {account} is not the sum of its list")

    def _judge_bids(self, before_s: int) -> None:
        """No bid that was accepted before that second was beyond the collateral of its moment."""
        due = [entry for entry in self._accepted if entry[0] < before_s * 1000]
        self._accepted = [entry for entry in self._accepted if entry[0] >= before_s * 1000]
        for at_ms, bid in due:
            known = self._newest.get((bid.account, bid.product), 0)
            if bid.version <= known:
                continue
            self._newest[bid.account, bid.product] = bid.version
            live = [
                self._reference.bids[account, product, version]
                for (account, product), version in self._newest.items()
                if account == bid.account and (product == bid.product or self._is_open(product, at_ms // 1000))
            ]
            own = self._reference.bids[bid.account, bid.product, bid.version]
            cash = self._world.deposits[bid.account] + self._reference.balances.get(bid.account, 0)
            owed = self._reference.worst_cost_nano(bid.account, live)
            between = at_ms // 1000 % INTERVAL_S < CLOSE_DELAY_S  # after this boundary's rounds, before its settlement
            if own.worst_nano(self._world.market.tariff_import) and owed > cash and not between:
                self._findings.add(
                    f"version {bid.version} of account {bid.account} was accepted: it may owe {owed} and has {cash}"
                )

    def _is_open(self, number: int, at_s: int) -> bool:
        product = Product.from_number(number)
        return self._world.market.calendar.schedule(product.length).gate_closure_s(product) > at_s

    # -- the end -----------------------------------------------------------------------------------------------

    def verdict(self) -> list[str]:
        """The tables at the end."""
        core = self._world.operator.core
        if core is None:
            return self._findings.texts()
        balances = dict(core.store.rows("SELECT account, cumulative_nano FROM balances"))
        for account in sorted({*balances, *self._reference.balances}):
            if balances.get(account, 0) != self._reference.balances.get(account, 0):
                who = "the supplier" if account == SUPPLIER else f"account {account}"
                self._findings.add(f"{who} has {balances.get(account)}, not {self._reference.balances.get(account)}")
        rows = core.store.rows("SELECT account, interval, result_nano FROM statements")
        if {(a, i): r for a, i, r in rows} != self._reference.results:
            self._findings.add("the statements are not the reference's")
        return self._findings.texts()


def _opened(packed: bytes) -> list[tuple[int, Owed]]:
    """A published list of commitments."""
    found = []
    for at in range(0, len(packed), COMMITMENT_BYTES):
        product = int.from_bytes(packed[at : at + 8], "big")
        bid = int.from_bytes(packed[at + 8 : at + 24], "big")
        found.append((product, (bid, int.from_bytes(packed[at + 24 : at + COMMITMENT_BYTES], "big"))))
    return found
