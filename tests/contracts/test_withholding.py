"""What is demanded is answered or the header is void: honest operators answer everything, in time, for the fee."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from contracts import demands
from contracts.codes import AuctionRule
from contracts.demands import Question
from contracts.evidence import Lie
from contracts.interval import INTERVAL_S
from tests.contracts.chain_history import ChainHistory, history_on
from tests.contracts.history import History
from tests.contracts.local_chain import (
    ANSWER_WINDOW_S,
    BOND_NANO,
    DEMAND_TERMS,
    FEE_NANO,
    NANO,
    WINDOW_S,
    RefusedError,
    py_evm_chain,
)
from tests.contracts.questions import (
    Asked,
    auction_questions,
    cover_question,
    leaf_questions,
    ordered_question,
    round_question,
)
from tests.contracts.retelling import Scene, retold, with_meter

ACCOUNTS, HEADERS = 5, 7
AT = HEADERS - 1
GAS_LIMIT = 350_000
LAG = DEMAND_TERMS[2]


@pytest.fixture(scope="module")
def grown() -> ChainHistory:
    """A chain with a market under standing orders; its last header holds energy that counts as ordered."""
    found = history_on(py_evm_chain(AuctionRule.SPOT_AUCTION), 12, ACCOUNTS, AuctionRule.SPOT_AUCTION)
    for _ in range(HEADERS - 1):
        found.post_next()
    posting = found.grow()
    leaf = next(iter(posting.meters.values()))
    lying = with_meter(posting.record, replace(leaf, ordered_wh=-1_000))
    told = retold(Scene(found.history, AT), lying)
    found.history.postings[AT] = told
    found.post(told)
    return found


@pytest.fixture
def history(grown: ChainHistory) -> History:
    return grown.history


class Desk:
    """One who demands and one who answers, and what both have."""

    def __init__(self, grown: ChainHistory) -> None:
        self.chain = grown.chain
        self.court = grown.chain.courts["DataDemands"]
        self.demander, self.answerer, self.passer = grown.chain.web3.eth.accounts[7:10]

    def has(self, who: str) -> int:
        return int(self.chain.ask(self.chain.token, "balanceOf", who))

    def ask(self, asked: Asked) -> int:
        self.chain.tell(asked.demand.call, sender=self.demander)
        return int(self.chain.ask(self.court, "demandCount"))


@pytest.fixture
def desk(grown: ChainHistory) -> Iterator[Desk]:
    with grown.chain.undone():
        yield Desk(grown)


def cover(desk: Desk, history: History) -> Asked:
    """A question about cover that the deposit makes one."""
    asked, account, deposit_nano = cover_question(history, AT, LAG)
    desk.chain.send(desk.chain.settlement, "deposit", account, deposit_nano)
    return asked


def one_of(question: Question, desk: Desk, history: History) -> Asked:
    """A question of that kind about the last header, with as many wrong answers as any."""
    scene = Scene(history, AT)
    if question == Question.COVER:
        return cover(desk, history)
    if question == Question.ROUND:
        return round_question(scene)
    if question == Question.ORDERED:
        posting = history.postings[AT]
        return ordered_question(scene, posting, next(iter(posting.meters)))
    every = [*leaf_questions(history, AT), *auction_questions(history, AT)]
    return max((a for a in every if a.demand.question == question), key=lambda a: len(a.refused))


@pytest.mark.parametrize("question", Question)
def test_an_answer_in_time_earns_the_fee_and_ends_the_demand(desk: Desk, history: History, question: Question) -> None:
    asked = one_of(question, desk, history)
    had = desk.has(desk.demander), desk.has(desk.answerer)
    number = desk.ask(asked)
    assert desk.has(desk.demander) == had[0] - FEE_NANO
    for wrong, error in asked.refused:
        assert desk.chain.verdict(wrong(number)) == error
    desk.chain.travel(desk.chain.now_s() + ANSWER_WINDOW_S - 60)
    receipt = desk.chain.tell(asked.answer(number), sender=desk.answerer)
    assert receipt["gasUsed"] <= GAS_LIMIT
    assert desk.has(desk.answerer) == had[1] + FEE_NANO
    desk.chain.travel(desk.chain.now_s() + ANSWER_WINDOW_S)
    posted = asked.demand.posted
    assert desk.chain.verdict(demands.challenge_unanswered(number, posted)) == "UnknownDemand"
    assert desk.chain.verdict(asked.answer(number)) == "UnknownDemand"
    assert desk.chain.ask(desk.chain.settlement, "headerCount") == HEADERS


@pytest.mark.parametrize("question", Question)
def test_a_demand_that_nobody_answers_voids_the_header_for_the_demander(
    desk: Desk, history: History, question: Question
) -> None:
    asked = one_of(question, desk, history)
    had = desk.has(desk.demander), desk.has(desk.passer)
    number = desk.ask(asked)
    call = demands.challenge_unanswered(number, asked.demand.posted)
    assert desk.chain.verdict(call) == "StillAnswerable"
    desk.chain.travel(desk.chain.now_s() + ANSWER_WINDOW_S + 1)
    assert desk.chain.verdict(asked.answer(number)) == "TooLate"
    receipt = desk.chain.tell(call, sender=desk.passer)
    assert desk.chain.voided(receipt) == (Lie.WITHHELD, question + 1)
    assert receipt["gasUsed"] <= GAS_LIMIT
    assert desk.has(desk.demander) == had[0] + BOND_NANO // 2, "reward and fee are the demander's"
    assert desk.has(desk.passer) == had[1], "who brings the call earns nothing"
    assert desk.chain.ask(desk.chain.settlement, "headerCount") == AT
    assert desk.chain.ask(desk.chain.settlement, "halted")


def test_an_honest_operator_has_an_answer_to_every_question(desk: Desk, history: History) -> None:
    """A sample of all questions about two headers: each is asked, answered, and nothing remains of it."""
    rng = random.Random(3)
    every = [a for at in (AT - 2, AT) for a in (*leaf_questions(history, at), *auction_questions(history, at))]
    before = desk.has(desk.demander) + desk.has(desk.answerer)
    for asked in rng.sample(every, 40):
        number = desk.ask(asked)
        desk.chain.tell(asked.answer(number), sender=desk.answerer)
    assert desk.has(desk.demander) + desk.has(desk.answerer) == before
    assert desk.has(desk.court.address) == 0


def test_rounds_that_were_held_cannot_be_demanded(desk: Desk, history: History) -> None:
    posting, tried = history.postings[AT], 0
    for receipt in history.market.receipts:
        if receipt.product and receipt.clears_at_s // INTERVAL_S == posting.header.interval:
            place = posting.last_place(receipt.product)[0]
            bid = next(
                s.bid
                for r in posting.record.auctions[1:]
                for s in r.slots
                if (s.account, s.product) == (receipt.account, receipt.product) and r.auction.round == receipt.round
            )
            if bid.quantity_wh == 0 or bid.expiry_s < receipt.clears_at_s:
                continue
            signature = history.operator_signature(receipt)
            for first in (place - 1, place):
                pair = posting.auction(max(first, 0)), posting.auction(max(first, 0) + 1)
                asked = demands.ask_round(posting.posted, receipt, signature, bid, *pair)
                assert desk.chain.verdict(asked.call, sender=desk.demander) == "WrongNeighbours"
                tried += 1
    assert tried


def test_cover_that_is_plain_cannot_be_demanded(desk: Desk, history: History) -> None:
    """Deposits and the result of the header before cover the reserve, or the reserve did not grow."""
    posting, before = history.postings[AT], history.postings[AT - 1]
    for account in range(1, ACCOUNTS + 1):
        desk.chain.send(desk.chain.settlement, "deposit", account, 1_500 * NANO)
        leaves = before.balance(account), posting.balance(account)
        asked = demands.ask_cover(posting.posted, account, before.header, *leaves)
        assert desk.chain.verdict(asked.call, sender=desk.demander) == "NothingToAsk"


def test_a_demand_too_late_for_an_answer_and_a_challenge_is_refused(desk: Desk, history: History) -> None:
    asked = one_of(Question.METER, desk, history)
    posted_at_s = desk.chain.ask(desk.chain.settlement, "postedAt", AT)
    desk.chain.travel(posted_at_s + WINDOW_S - 2 * ANSWER_WINDOW_S - 30)
    assert desk.chain.verdict(asked.demand.call, sender=desk.demander) == "wins"
    desk.chain.travel(posted_at_s + WINDOW_S - 2 * ANSWER_WINDOW_S + 1)
    assert desk.chain.verdict(asked.demand.call, sender=desk.demander) == "TooLate"


def test_a_demand_about_a_header_that_is_void_is_refunded(desk: Desk, history: History) -> None:
    """Two demand the same; one header is void once, and both have their fee back."""
    asked = one_of(Question.BALANCE, desk, history)
    had = desk.has(desk.demander)
    numbers = [desk.ask(asked), desk.ask(asked)]
    assert desk.chain.verdict(demands.refund(numbers[1])) == "StillOpen"
    desk.chain.travel(desk.chain.now_s() + ANSWER_WINDOW_S + 1)
    desk.chain.tell(demands.challenge_unanswered(numbers[0], asked.demand.posted))
    late = demands.challenge_unanswered(numbers[1], asked.demand.posted)
    assert desk.chain.verdict(late) != "wins"
    desk.chain.tell(demands.refund(numbers[1]), sender=desk.passer)
    assert desk.has(desk.demander) == had + BOND_NANO // 2
    with pytest.raises(RefusedError, match="UnknownDemand"):
        desk.chain.tell(demands.refund(numbers[1]))


def test_an_address_that_demands_too_much_has_to_wait(desk: Desk, history: History) -> None:
    asked = one_of(Question.METER, desk, history)
    refused = 0
    for _ in range(110):
        if desk.chain.verdict(asked.demand.call, sender=desk.demander) != "wins":
            refused += 1
            break
        desk.ask(asked)
    assert refused
    desk.chain.travel(desk.chain.now_s() + 120)
    assert desk.chain.verdict(asked.demand.call, sender=desk.demander) == "wins"
