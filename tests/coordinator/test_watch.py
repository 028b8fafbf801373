"""The watcher: silent about an honest operator, and never short of a call against a dishonest one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from contracts.audit import Question
from contracts.batch import BatchRecord
from contracts.codes import AuctionRule
from contracts.eip712 import Domain, keccak
from contracts.header_rules import Terms, header_digest
from contracts.interval import FIRST_MONDAY
from contracts.messages import Header
from contracts.posting import Posting
from contracts.signature import address_of
from coordinator.watch.watcher import DEMANDS_A_HEADER, Ask, Expire, File, OpenDemand, Warn, Watcher
from tests.contracts.honest_market import Market, header_over
from tests.contracts.local_chain import private_key

DOMAIN = Domain(1, b"\x05" * 20)
ACCOUNTS = 5
START = FIRST_MONDAY + 672 * 3_000 - 6


class Shelf:
    """The public records: by the hash that the header commits to."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def put(self, record: BatchRecord) -> None:
        packed = record.to_bytes()
        self.records[keccak(packed)] = packed

    def __call__(self, header: Header) -> bytes | None:
        return self.records.get(header.data_hash)


def market(seed: int, rule: AuctionRule = AuctionRule.SPOT_SHARED) -> Market:
    return Market(random.Random(seed), ACCOUNTS, START, DOMAIN, Terms(2, (1, 1, 2, 3), rule))


def watcher_of(market: Market, shelf: Shelf) -> Watcher:
    watcher = Watcher(DOMAIN, market.terms, shelf, (1, 2))
    for account in range(1, ACCOUNTS + 1):
        watcher.on_account(account, address_of(private_key(account)))
        watcher.on_deposit(account, 10**15)
    return watcher


def posted(market: Market, shelf: Shelf, watcher: Watcher) -> Posting:
    posting = market.step()
    shelf.put(posting.record)
    watcher.on_header(posting.header, posting.index)
    return posting


def with_gift(posting: Posting, nano: int = 10**9) -> Posting:
    """Cy moves money from the supplier to account 1, sums in order."""
    moved = {0: -nano, 1: nano}
    balances = tuple(
        replace(b, cumulative_nano=b.cumulative_nano + moved.get(b.account, 0)) for b in posting.record.balances
    )
    record = replace(posting.record, balances=balances)
    return Posting(header_over(record, posting.header.previous), posting.index, record)


@pytest.mark.parametrize("rule", [AuctionRule.SPOT_SHARED, AuctionRule.SPOT_AUCTION])
def test_an_honest_operator_is_left_alone(rule: AuctionRule) -> None:
    shelf = Shelf()
    honest = market(1, rule)
    watcher = watcher_of(honest, shelf)
    for _ in range(12):
        posted(honest, shelf, watcher)
        assert list(watcher.look(0)) == []
    assert watcher.judged == 12
    assert watcher.behind == 0


def test_a_gift_is_challenged_with_the_two_balances() -> None:
    shelf = Shelf()
    honest = market(2)
    watcher = watcher_of(honest, shelf)
    for _ in range(4):
        posted(honest, shelf, watcher)
    lie = with_gift(honest.step())
    shelf.put(lie.record)
    watcher.on_header(lie.header, lie.index)
    actions = list(watcher.look(0))
    assert [type(a) for a in actions] == [File]
    assert isinstance(actions[0], File)
    assert (actions[0].call.contract, actions[0].call.function) == ("MeterChallenges", "challengeBalance")
    assert actions[0].index == lie.index
    assert list(watcher.look(0)) == [], "a header is judged once"


def test_after_a_void_the_header_that_takes_the_place_is_judged_from_the_state_before() -> None:
    shelf = Shelf()
    honest = market(3)
    watcher = watcher_of(honest, shelf)
    for _ in range(3):
        posted(honest, shelf, watcher)
    good = honest.step()
    lie = with_gift(good)
    shelf.put(lie.record)
    watcher.on_header(lie.header, lie.index)
    assert any(isinstance(a, File) for a in watcher.look(0))
    watcher.on_voided(lie.index)
    shelf.put(good.record)
    watcher.on_header(good.header, good.index)
    assert list(watcher.look(0)) == []
    assert honest.tip == header_digest(good.header, DOMAIN)


def test_what_nobody_serves_is_demanded_and_judged_once_it_appears() -> None:
    shelf = Shelf()
    honest = market(4)
    watcher = watcher_of(honest, shelf)
    posting = honest.step()
    watcher.on_header(posting.header, posting.index)
    asked = [a for a in watcher.look(0) if isinstance(a, Ask)]
    assert [a.demand.question for a in asked] == [
        Question.AUCTION, Question.BALANCE, Question.METER, Question.BALANCE, Question.METER,
    ]  # fmt: skip
    assert {a.demand.subject for a in asked[1:]} == {1, 2}
    assert len(asked) <= DEMANDS_A_HEADER
    assert list(watcher.look(0)) == [], "each question is asked once"
    assert watcher.behind == 1
    shelf.put(posting.record)
    assert list(watcher.look(0)) == []
    assert watcher.behind == 0


def test_an_unanswered_demand_becomes_a_void_and_an_answered_one_does_not() -> None:
    shelf = Shelf()
    honest = market(5)
    watcher = watcher_of(honest, shelf)
    posting = posted(honest, shelf, watcher)
    for number in (1, 2):
        watcher.on_demand(OpenDemand(number, posting.index, 1_000))
    watcher.on_answered(2)
    assert list(watcher.look(1_000)) == []
    assert list(watcher.look(1_001)) == [Expire(1, posting.posted)]
    assert list(watcher.look(1_002)) == []


def test_bytes_that_are_no_record_are_treated_as_withheld() -> None:
    shelf = Shelf()
    honest = market(6)
    watcher = watcher_of(honest, shelf)
    posting = honest.step()
    junk = b'{"version": 2}'
    header = replace(posting.header, data_hash=keccak(junk))
    shelf.records[keccak(junk)] = junk
    watcher.on_header(header, 0)
    actions = list(watcher.look(0))
    assert isinstance(actions[0], Warn)
    assert all(isinstance(a, Ask) for a in actions[1:])
    assert len(actions) > 1


def test_a_watcher_that_missed_headers_says_so() -> None:
    shelf = Shelf()
    honest = market(7)
    watcher = watcher_of(honest, shelf)
    posting = honest.step()
    with pytest.raises(ValueError, match="missed"):
        watcher.on_header(posting.header, 3)
