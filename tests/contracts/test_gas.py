"""What the calls of every interval, and every challenge at its dearest, cost as whole transactions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from contracts.challenges import challenge_totals, withdraw
from contracts.codes import AuctionRule
from contracts.commitments import NO_COMMITMENTS
from contracts.evidence import Call, PlacedBalance, Tree
from contracts.header_rules import header_digest
from contracts.interval import INTERVAL_S
from contracts.leaves import BalanceLeaf
from contracts.merkle import MerkleSumTree, leaf_node
from tests.contracts.chain_history import history_on
from tests.contracts.court import RULINGS
from tests.contracts.crowded import crowded
from tests.contracts.every_challenge import every_challenge
from tests.contracts.history import begun
from tests.contracts.local_chain import GAS, INCLUSION_DELAY_S, NANO, Chain, py_evm_chain

POST_LIMIT, FIRST_POST_LIMIT = 75_000, 95_000
WITHDRAW_LIMIT = 100_000
ORDER_LIMIT = 60_000
CHALLENGE_LIMIT = 350_000
MANY, HEADERS, EACH = 31, 6, 6


@pytest.fixture(scope="module")
def chain() -> Chain:
    return py_evm_chain()


def post_gas(chain: Chain, accounts: int) -> list[int]:
    """Gas of whole posting transactions over balances of so many accounts."""
    gas = []
    with chain.undone():
        market = begun(17, 3, AuctionRule.SPOT_SHARED, chain.domain).market
        leaves = {a: leaf_node(a.to_bytes(8, "big"), 1, 1, 1) for a in range(accounts)}
        for step in range(4):
            tree = MerkleSumTree(leaves | {accounts: leaf_node(bytes([step]), 1, 1, 1)})
            header = replace(market.step().header, balances_root=tree.commitment)
            market.tip = header_digest(header, chain.domain)
            assert chain.post(header).index == step
            gas.append(int(chain.web3.eth.get_block("latest")["gasUsed"]))
    return gas


def test_posting_costs_the_same_for_ten_and_for_ten_thousand_accounts(chain: Chain) -> None:
    few, many = post_gas(chain, 10), post_gas(chain, 10_000)
    # The only difference are the zero bytes that happen to be in a hash: 12 gas each.
    assert all(abs(a - b) < 200 for a, b in zip(few, many, strict=True))
    # The first header of a chain fills storage that all later ones only change.
    assert max(few[1:] + many[1:]) <= POST_LIMIT
    assert few[0] <= FIRST_POST_LIMIT


def withdraw_gas(chain: Chain) -> list[int]:
    """Gas of two withdrawals by an owner who has never held the token, against a full path."""
    with chain.undone():
        chain.open_accounts(3)
        owner = chain.web3.eth.accounts[1]
        chain.send(chain.settlement, "deposit", 1, 1_000 * NANO)
        chain.send(chain.token, "transfer", chain.operator, chain.ask(chain.token, "balanceOf", owner), sender=owner)
        leaf = BalanceLeaf(1, 5 * NANO, NANO, NO_COMMITMENTS)
        leaves = {a: BalanceLeaf(a, -a, 0, NO_COMMITMENTS).node() for a in range(1_000) if a != 1}
        others = {1 << height: leaf_node(b"%d" % height, 10**9, 10**9, 0) for height in range(10, 20)}
        tree = MerkleSumTree({**leaves, **others, 1: leaf.node()})
        market = begun(1, 3, AuctionRule.SPOT_SHARED, chain.domain).market
        posted = chain.post(replace(market.step().header, balances_root=tree.commitment))
        chain.finalise(posted)
        placed = PlacedBalance(leaf, tree.path(1))
        return [int(chain.tell(withdraw(1, NANO, placed), sender=owner)["gasUsed"]) for _ in range(2)]


def test_a_withdrawal_is_affordable_in_a_full_tree(chain: Chain) -> None:
    """The first pays more, because the owner has never held the token and the day's outflow is new."""
    assert max(withdraw_gas(chain)) <= WITHDRAW_LIMIT


def order_gas(chain: Chain) -> list[int]:
    """Gas of a home's first three orders on chain."""
    with chain.undone():
        chain.open_accounts(1)
        trader, gas = chain.web3.eth.accounts[1], []
        for _ in range(3):
            terms = 1_000, 200_000, chain.now_s() + 2 * INCLUSION_DELAY_S + INTERVAL_S, 0
            receipt = chain.send(chain.trading, "createOrder", *terms, sender=trader)
            gas.append(int(receipt["gasUsed"]))
    return gas


def test_an_order_on_chain_takes_one_slot(chain: Chain) -> None:
    assert max(order_gas(chain)[1:]) <= ORDER_LIMIT


def spent(chain: Chain, call: Call) -> int:
    """Gas of the transaction, also where it reverts."""
    asked = chain.called(call).functions[call.function](*call.arguments)
    sent = asked.transact({"from": chain.operator, "gas": GAS})
    return int(chain.web3.eth.wait_for_transaction_receipt(sent)["gasUsed"])


def void_gas(chain: Chain) -> int:
    """What voiding a header costs besides finding the lie: one challenge that wins, less the same where none is."""
    with chain.undone():
        grown = history_on(chain, 3, 3, AuctionRule(chain.ask(chain.settlement, "spotRule")))
        grown.post_next()
        posting = grown.grow()
        told = replace(posting.header, volume_wh=posting.header.volume_wh + 1)
        costs = []
        for header in (posting.header, told):
            with chain.undone():
                posted = chain.post(header)
                shown = posting.tree(Tree.AUCTIONS).root
                call = challenge_totals(posted, Tree.AUCTIONS, posting.auction(0), shown)
                costs.append(spent(chain, call))
        assert chain.ask(chain.settlement, "headerCount") == 1
        return costs[1] - costs[0]


def challenge_gas(rule: AuctionRule) -> dict[str, int]:
    """The dearest of some transactions of each challenge against full trees and full lists, voiding included."""
    chain = py_evm_chain(rule)
    extra = void_gas(chain)
    grown = history_on(chain, 21, MANY, rule)
    for _ in range(HEADERS):
        grown.grow()
    full = crowded(grown.history)
    for posting in full.postings:
        chain.post(posting.header)
    chosen: dict[str, list[Call]] = {}
    for at in (HEADERS - 3, HEADERS - 1):
        for call in every_challenge(full, at):
            chosen.setdefault(call.function, []).append(call)
    return {name: extra + max(spent(chain, call) for call in longest(calls)) for name, calls in sorted(chosen.items())}


def longest(calls: list[Call]) -> Iterator[Call]:
    """Those with the most evidence."""
    yield from sorted(calls, key=lambda call: -weight(call.arguments))[:EACH]


def weight(argument: object) -> int:
    if isinstance(argument, bytes):
        return len(argument)
    return sum(weight(part) for part in argument) if isinstance(argument, tuple | list) else 32


@pytest.mark.slow
def test_every_challenge_is_affordable_in_full_trees() -> None:
    gas = challenge_gas(AuctionRule.SPOT_AUCTION)
    print("\n" + "\n".join(f"{name:32} {value:>9,}" for name, value in gas.items()))
    assert set(gas) == set(RULINGS)
    assert {name: value for name, value in gas.items() if value > CHALLENGE_LIMIT} == {}
