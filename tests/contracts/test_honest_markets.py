"""No honest operator ever loses: no challenge wins against an honest header, whatever is brought against it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from contracts.audit import audit_record
from contracts.batch import BatchRecord
from contracts.codes import AuctionRule
from tests.contracts.court import RULINGS, Refused
from tests.contracts.every_challenge import every_challenge
from tests.contracts.forged_evidence import Forger
from tests.contracts.history import HEADERS, History, copied, history_of
from tests.contracts.lies import NIGHTLY, RULES

FEW, MANY = 6, 64
ROUNDS_WANTED = 200
FORGED = 20_000

BOUND_TO_A_RULE = {
    AuctionRule.SPOT_SHARED: {"challengeStanding", "challengeStandingReceipt"},
    AuctionRule.SPOT_AUCTION: set[str](),
}
"""Challenges that nobody could bring under that spot rule."""


def wins(history: History) -> list[str]:
    """Every challenge that wins against any header of the history; all others say that nothing is wrong."""
    verdicts: Counter[tuple[str, str]] = Counter()
    for at in range(len(history.postings)):
        for call in every_challenge(history, at):
            verdicts[call.function, history.court.outcome(call)] += 1
    tried = {function for function, _ in verdicts}
    assert tried == set(RULINGS) - BOUND_TO_A_RULE[history.rules.terms.spot_rule]
    return [f"{function}: {outcome}" for function, outcome in verdicts if outcome != "NothingIsWrong"]


@pytest.mark.parametrize("rule", RULES)
def test_no_challenge_wins_against_a_small_honest_market(rule: AuctionRule) -> None:
    history = history_of(2, FEW, rule)
    assert history.findings == []
    assert wins(history) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_no_challenge_wins_against_an_honest_market_of_64_homes(rule: AuctionRule) -> None:
    """Every challenge about every slot, every leaf and every pair of neighbours of more than a hundred auctions."""
    history = history_of(3, MANY, rule)
    assert history.findings == []
    assert wins(history) == []
    auctions = [record for posting in history.postings for record in posting.record.auctions]
    assert len(auctions) * len(RULES) >= ROUNDS_WANTED
    assert {r.auction.product % 1024 for r in auctions} == {1, 4, 96, 672}
    slots = [slot for record in auctions for slot in record.slots]
    assert any(s.is_retired for s in slots) and any(s.is_forced and s.fill_wh for s in slots)
    assert any(s.quantity_wh == 0 and not s.is_forced for s in slots), "somebody cancelled"
    forward = [(s, r.auction) for r in auctions if r.auction.rule == AuctionRule.FORWARD for s in r.slots]
    assert any(s.expiry_s < a.cleared_at_s and s.quantity_wh for s, a in forward), "some bid expired"
    assert any(not packed for p in history.postings for packed in p.record.readings), "some meter was silent"
    assert any(0 < s.fill_wh < s.open_wh for s in slots), "somebody was rationed"


@pytest.mark.parametrize("rule", RULES)
def test_forged_evidence_never_wins_against_an_honest_market(rule: AuctionRule) -> None:
    """Denied leaves, other accounts', other headers', other neighbours, other signatures: thousands of each."""
    history = history_of(4, FEW, rule)
    forger = Forger(random.Random(5))
    for at in range(HEADERS):
        forger.learn(every_challenge(history, at), 0.2)
    outcomes = Counter(history.court.outcome(call) for call in forger.forged(FORGED * (50 if NIGHTLY else 1)))
    assert outcomes["wins"] == 0
    assert outcomes["NotInTree"] > FORGED // 10, "most forgeries lead nowhere"
    assert {"NothingIsWrong", "WrongEvidence", "WrongNeighbours", "UnknownHeader"} <= set(outcomes)


def test_headers_of_another_chain_are_nothing_to_this_one() -> None:
    here, there = (history_of(seed, FEW, RULES[0], headers=4) for seed in (2, 6))
    for at in range(4):
        for call in every_challenge(there, at):
            with pytest.raises(Refused, match="UnknownHeader"):
                here.court.verdict(call)


@pytest.mark.parametrize("rule", RULES)
def test_a_record_is_audited_alike_from_its_bytes(rule: AuctionRule) -> None:
    history = history_of(2, FEW, rule, headers=10)
    for at, posting in enumerate(history.postings):
        read = BatchRecord.from_bytes(posting.record.to_bytes())
        assert read == posting.record
        assert audit_record(read, posting.header, copied(history.states[at]), history.rules) == []
