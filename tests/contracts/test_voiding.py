"""What a won challenge does to the chain of headers and to money, and evidence that leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from contracts import challenges
from contracts.challenges import withdraw
from contracts.evidence import Call, Tree, message_struct
from contracts.header_rules import header_digest
from tests.contracts.chain_history import ChainHistory, history_on
from tests.contracts.history import begun
from tests.contracts.lies import RULES
from tests.contracts.lies_of_meters import generous
from tests.contracts.local_chain import BOND_NANO, NANO, Chain, RefusedError, py_evm_chain
from tests.contracts.retelling import Scene, Told
from tests.contracts.test_challenges import winning

ACCOUNTS = 4


@pytest.fixture(scope="module")
def base() -> ChainHistory:
    """A chain with four homes and no header; whoever grows it undoes that."""
    return history_on(py_evm_chain(), 30, ACCOUNTS, RULES[0])


@pytest.fixture
def grown(base: ChainHistory) -> Iterator[ChainHistory]:
    with base.chain.undone():
        yield history_again(base)


def history_again(base: ChainHistory) -> ChainHistory:
    return replace(base, history=begun(30, ACCOUNTS, RULES[0], base.chain.domain), orders=[])


def gift(grown: ChainHistory) -> tuple[Told, Call]:
    """The next header with a gift in it, and what refutes it; not posted."""
    grown.grow()
    scene = Scene(grown.history, len(grown.history.postings) - 1)
    told = next(generous(scene))
    return told, winning(scene, told)


def test_a_lie_in_the_first_header_leaves_an_empty_chain_that_starts_again(grown: ChainHistory) -> None:
    chain = grown.chain
    told, call = gift(grown)
    grown.post(told.posting)
    chain.tell(call)
    assert chain.ask(chain.settlement, "headerCount") == 0
    assert chain.ask(chain.settlement, "tipDigest") == bytes(32)
    with pytest.raises(RefusedError, match="IsHalted"):
        chain.post(grown.history.postings[0].header)
    chain.send(chain.settlement, "restart", BOND_NANO, chain.operator)
    assert chain.post(grown.history.postings[0].header).index == 0


def test_voiding_takes_all_later_headers_along(grown: ChainHistory) -> None:
    chain = grown.chain
    grown.post_next()
    told, call = gift(grown)
    grown.post(told.posting)
    later = grown.history.market.step()
    header = replace(later.header, previous=header_digest(told.posting.header, chain.domain))
    posted = chain.post(header)
    assert chain.ask(chain.settlement, "headerCount") == 3
    chain.tell(call)
    assert chain.ask(chain.settlement, "headerCount") == 1
    totals = challenges.challenge_totals(posted, Tree.BALANCES, later.auction(0), later.tree(Tree.BALANCES).root)
    assert chain.verdict(totals) == "UnknownHeader"
    assert chain.verdict(call) == "UnknownHeader"


def test_after_a_restart_the_honest_header_takes_the_lie_s_place(grown: ChainHistory) -> None:
    chain = grown.chain
    grown.post_next()
    told, call = gift(grown)
    grown.post(told.posting)
    chain.tell(call)
    chain.send(chain.settlement, "restart", BOND_NANO, chain.operator)
    honest = grown.history.postings[1]
    assert chain.post(honest.header) == honest.posted
    assert chain.verdict(call) == "UnknownHeader"


def test_a_final_header_can_no_longer_be_challenged(grown: ChainHistory) -> None:
    chain = grown.chain
    told, call = gift(grown)
    posted = grown.post(told.posting)
    assert chain.verdict(call) == "wins"
    chain.finalise(posted)
    assert chain.verdict(call) == "AlreadyFinal"


def test_only_the_four_challenges_may_void(grown: ChainHistory) -> None:
    chain = grown.chain
    posted = grown.post_next().posted
    with pytest.raises(RefusedError, match="NotAuthorised"):
        chain.send(chain.settlement, "voidHeader", posted.struct(), chain.operator, 0, 1)


def test_cash_leaves_by_final_balances_also_while_halted(grown: ChainHistory) -> None:
    chain = grown.chain
    for account in range(ACCOUNTS + 1):
        chain.send(chain.settlement, "deposit", account, 1_000 * NANO)
    honest = grown.post_next()
    told, call = gift(grown)
    grown.post(told.posting)
    chain.tell(call)
    assert chain.ask(chain.settlement, "halted")
    chain.finalise(honest.posted)
    account = next(number for number in range(1, ACCOUNTS + 1) if honest.balance(number).leaf is not None)
    owner, balance = chain.web3.eth.accounts[account], honest.balance(account)
    assert balance.leaf is not None
    cash = 1_000 * NANO + balance.leaf.cumulative_nano - balance.leaf.reserved_nano
    with pytest.raises(RefusedError, match="ExceedsCash"):
        chain.tell(withdraw(account, cash + 1, balance), sender=owner)
    with pytest.raises(RefusedError, match="NotAuthorised"):
        chain.tell(withdraw(account, 1, balance))
    had = chain.ask(chain.token, "balanceOf", owner)
    chain.tell(withdraw(account, cash, balance), sender=owner)
    assert chain.ask(chain.token, "balanceOf", owner) - had == cash
    with pytest.raises(RefusedError, match="ExceedsCash"):
        chain.tell(withdraw(account, 1, balance), sender=owner)


def refusals(chain: Chain, told: list[tuple[Call, str]]) -> None:
    for call, error in told:
        assert chain.verdict(call) == error


def test_evidence_about_something_else_is_refused(grown: ChainHistory) -> None:
    chain = grown.chain
    first, second = grown.post_next(), grown.post_next()
    here, leaf = first.posted, first.record.balances[1]
    slot = next(s for s in first.record.auctions[1].slots if not s.is_forced)
    shown, spot = (first.auction(1), first.slot(1, slot.account)), first.auction(0)
    node = first.node(Tree.BALANCES, 0, leaf.account)
    shifted = replace(node, index=node.index + (1 << 20))
    unknown = replace(here, index=7), replace(here, header=second.header)
    refusals(
        chain,
        [
            (challenges.challenge_fill(here, second.auction(1), 1, second.slot(1, 1)), "NotInTree"),
            (challenges.challenge_totals(here, Tree.METERS, first.auction(0), node.node), "NotInTree"),
            (challenges.challenge_leaf(here, Tree.BALANCES, first.auction(0), node, b"another leaf"), "NotInTree"),
            (challenges.challenge_leaf(here, Tree.BALANCES, spot, shifted, leaf.pack()), "IndexOutsideTree"),
            (challenges.challenge_signature(here, *shown, b"another signature"), "WrongEvidence"),
            (challenges.challenge_order(here, first.auction(1), first.auction(3)), "WrongNeighbours"),
            *((challenges.challenge_signature(there, *shown, b""), "UnknownHeader") for there in unknown),
        ],
    )


def test_an_honest_balance_cannot_be_made_to_look_wrong(grown: ChainHistory) -> None:
    """Cy denies leaves that are there, brings another auction as the spot round, or another header as the previous."""
    chain = grown.chain
    first = grown.post_next()
    second = grown.post_next()
    account = next(s.account for s in second.record.auctions[0].slots)
    other = next(p for p in range(1, len(second.record.auctions)) if account in second.slots(p))
    leaves = first.balance(account), second.balance(account), second.meter(account)
    spot = second.auction(0), second.slot(0, account)
    call = challenges.challenge_balance(second.posted, account, first.header, *leaves, *spot)
    assert chain.verdict(call) == "NothingIsWrong"
    proof, honest = call.arguments
    part = dict(zip(("account", "previous", "before", "after", "meter", "spot", "slot"), honest, strict=True))
    denied = {name: (False, *part[name][1:]) for name in ("before", "after", "meter", "spot", "slot")}
    forward = {"spot": second.auction(other).struct(), "slot": second.slot(other, account).struct()}
    forged = [{name: value} for name, value in denied.items()]
    forged += [{"spot": denied["spot"], "slot": denied["slot"]}, {"previous": message_struct(second.header)}]
    forged += [forward, {"spot": forward["spot"], "slot": denied["slot"]}]
    for change in forged:
        told = replace(call, arguments=(proof, tuple({**part, **change}.values())))
        assert chain.verdict(told) == "NotInTree"
