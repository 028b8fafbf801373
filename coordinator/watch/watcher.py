"""The watcher: judges every posted header from the public record, and says what to file against it.

    chain (headers, accounts, orders, demands) ─┐
    public records, from whoever serves them  ──┴→  audit in the order of headers  →  File | Ask | Expire | Warn

It trusts nobody and asks the operator nothing but what anybody may demand. Pure: the shell brings what happened on the
chain and fetches records; what the watcher wants done comes back as actions. A header that cannot be judged, because
its record is nowhere to be had, stops the audit there until the record appears or the header is void; meanwhile what
it commits to is demanded on chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace

from contracts.audit import AuditRules, AuditState, Finding, ForcedOrder, audit_record
from contracts.batch import BatchRecord, RemoteRecordError
from contracts.demands import Demand, Question, ask_leaf
from contracts.eip712 import Domain, keccak
from contracts.evidence import Call, PostedHeader
from contracts.header_rules import Terms
from contracts.messages import Bid, Header

FINDINGS_FILED = 8
"""Challenges filed against one header: the first that wins voids it, the others are for the case that it is lost."""

DEMANDS_A_HEADER = 8
"""Questions asked about one header: each costs a fee, and one without an answer is enough."""

Shelf = Callable[[Header], bytes | None]
"""Where records come from: bytes that hash to the header's ``data_hash``, None while nobody serves them."""


@dataclass(frozen=True, slots=True)
class File:
    """A challenge to send."""

    call: Call
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A demand to raise."""

    demand: Demand
    text: str


@dataclass(frozen=True, slots=True)
class Expire:
    """A demand that nobody answered in time: the header behind it can be voided."""

    number: int
    posted: PostedHeader


@dataclass(frozen=True, slots=True)
class Warn:
    """Something a person should look at, for which there is no call."""

    text: str


Action = File | Ask | Expire | Warn


@dataclass(frozen=True, slots=True)
class OpenDemand:
    """A question on the chain that waits for its answer until ``deadline_s``."""

    number: int
    index: int
    deadline_s: int


@dataclass(slots=True)
class Posted:
    """A header on the chain, and what came of looking at it."""

    header: Header
    index: int
    final: bool = False
    judged: bool = False
    asked: set[tuple[Question, int, int]] = field(default_factory=set)


class Watcher:
    """Follows one settlement contract from its first header. ``accounts``: whose leaves to demand when withheld."""

    def __init__(self, domain: Domain, terms: Terms, shelf: Shelf, accounts: tuple[int, ...] = ()) -> None:
        self._rules = AuditRules(domain, terms, {}, {}, deposited_nano={})
        self._keys: dict[int, bytes] = {}
        self._orders: dict[tuple[int, int], ForcedOrder] = {}
        self._deposits: dict[int, int] = {}
        self._rules = replace(self._rules, keys=self._keys, forced=self._orders, deposited_nano=self._deposits)
        self._shelf = shelf
        self._accounts = accounts
        self._headers: list[Posted] = []
        self._states: dict[int, AuditState] = {0: AuditState()}
        self._demands: dict[int, OpenDemand] = {}
        self.judged = 0

    # -- what happened on the chain ----------------------------------------------------------------------------

    def on_account(self, account: int, key: bytes) -> None:
        """An account was opened for a home that signs with ``key``."""
        self._keys[account] = key

    def on_deposit(self, account: int, amount_nano: int) -> None:
        """Cash was paid in."""
        self._deposits[account] = self._deposits.get(account, 0) + amount_nano

    def on_order(self, bid: Bid) -> None:
        """An order was placed on chain."""
        self._orders[bid.account, bid.version] = ForcedOrder(bid)

    def on_order_closed(self, account: int, version: int, at_s: int) -> None:
        """An order was cancelled or matched on chain."""
        order = self._orders.get((account, version))
        if order is not None and order.closed_at_s == 0:
            self._orders[account, version] = ForcedOrder(order.bid, at_s)

    def on_header(self, header: Header, index: int) -> None:
        """A header was posted. Raises ValueError where headers were missed."""
        if index > len(self._headers):
            raise ValueError(f"header {index} follows header {len(self._headers) - 1}: some were missed")
        self.on_voided(index)
        self._headers.append(Posted(header, index))

    def on_voided(self, index: int) -> None:
        """The header at ``index`` and all later ones are void."""
        del self._headers[index:]
        for known in [i for i in self._states if i > index]:
            del self._states[known]
        for number in [n for n, d in self._demands.items() if d.index >= index]:
            del self._demands[number]

    def on_final(self, index: int) -> None:
        """The header at ``index`` and all before it are final: nothing can be filed against them any more."""
        for posted in self._headers[: index + 1]:
            posted.final = True
        for known in [i for i in self._states if i < index and i != max(self._states)]:
            del self._states[known]

    def on_demand(self, demand: OpenDemand) -> None:
        """Somebody raised a demand."""
        self._demands[demand.number] = demand

    def on_answered(self, number: int) -> None:
        """A demand was answered, or its fee taken back."""
        self._demands.pop(number, None)

    # -- what to do about it -----------------------------------------------------------------------------------

    @property
    def behind(self) -> int:
        """Headers that stand and are not judged yet."""
        return sum(not posted.judged for posted in self._headers)

    def look(self, now_s: int) -> Iterator[Action]:
        """Judges every header whose record can be had, in order; then what demands have come to."""
        for posted in self._headers:
            if posted.judged:
                continue
            record = self._shelf(posted.header)
            if record is None or keccak(record) != posted.header.data_hash:
                yield from self._unserved(posted)
                break
            yield from self._judge(posted, record)
        for demand in list(self._demands.values()):
            if now_s > demand.deadline_s and demand.index < len(self._headers):
                del self._demands[demand.number]
                header = self._headers[demand.index].header
                yield Expire(demand.number, PostedHeader(header, demand.index))

    def _judge(self, posted: Posted, packed: bytes) -> Iterator[Action]:
        state = self._state_before(posted.index)
        if state is None:
            yield Warn(f"header {posted.index} cannot be judged: what came before it was final and is forgotten")
            return
        posted.judged = True
        self.judged += 1
        try:
            record = BatchRecord.from_bytes(packed)
        except RemoteRecordError as error:
            yield Warn(f"header {posted.index}: {error}")
            yield from self._unserved(posted)
            return
        findings = audit_record(record, posted.header, state, self._rules, posted.index)
        self._states[posted.index + 1] = state
        if posted.final:
            yield from (Warn(f"header {posted.index} is final, yet: {finding}") for finding in findings)
            return
        yield from self._actions(posted, findings)

    def _state_before(self, index: int) -> AuditState | None:
        found = self._states.get(index)
        if found is None:
            return None
        fresh = copy(found)
        fresh.by_interval, fresh.rounds, fresh.named = dict(found.by_interval), dict(found.rounds), dict(found.named)
        return fresh

    def _actions(self, posted: Posted, findings: list[Finding]) -> Iterator[Action]:
        filed = 0
        for finding in findings:
            if finding.call is not None and filed < FINDINGS_FILED:
                filed += 1
                yield File(finding.call, posted.index, finding.text)
            elif finding.demand is not None:
                yield from self._ask(posted, finding.demand, finding.text)
            elif finding.call is None:
                yield Warn(f"header {posted.index}: {finding}")

    def _ask(self, posted: Posted, demand: Demand, text: str) -> Iterator[Action]:
        key = (demand.question, demand.auction_place, demand.subject)
        if posted.final or key in posted.asked or len(posted.asked) >= DEMANDS_A_HEADER:
            return
        posted.asked.add(key)
        yield Ask(demand, f"header {posted.index}: {text}")

    def _unserved(self, posted: Posted) -> Iterator[Action]:
        """Nobody serves the record: what it commits to is demanded, leaf by leaf, for those this watcher cares for."""
        proof = PostedHeader(posted.header, posted.index)
        wanted = [ask_leaf(proof, Question.AUCTION)]
        for account in self._accounts or (0,):
            wanted += [ask_leaf(proof, question, account) for question in (Question.BALANCE, Question.METER)]
        for demand in wanted:
            yield from self._ask(posted, demand, "its record is served by nobody")
