"""What the calls of every interval cost, as whole transactions."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from contracts.evidence import message_struct, node_structs
from contracts.interval import INTERVAL_S
from contracts.leaves import BalanceLeaf
from contracts.merkle import MerkleSumTree, leaf_node
from tests.contracts.honest_batch import honest_batch
from tests.contracts.local_chain import (
    NANO,
    START_S,
    Chain,
    py_evm_chain,
)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return py_evm_chain()


def post_gas(chain: Chain, accounts: int) -> list[int]:
    """Gas of whole posting transactions over batches of so many accounts."""
    rng = random.Random(17)
    interval, gas = START_S // INTERVAL_S + 1, []
    with chain.undone():
        batch = None
        for step in range(3):
            leaves = {a: leaf_node(rng.randbytes(8), 1, 1, 1) for a in range(accounts)}
            honest = honest_batch(rng, 3, interval + step, batch, chain.domain)
            header = replace(honest.header, balances_root=MerkleSumTree(leaves).commitment)
            batch = replace(honest, header=header)
            before = chain.ask(chain.settlement, "headerCount")
            posted = chain.post(header)
            assert posted.index == before
            gas.append(chain.web3.eth.get_block("latest")["gasUsed"])
    return gas


def test_posting_costs_the_same_for_ten_and_for_ten_thousand_accounts(chain: Chain) -> None:
    few, many = post_gas(chain, 10), post_gas(chain, 10_000)
    # The only difference are the zero bytes that happen to be in a hash: 12 gas each.
    assert all(abs(a - b) < 200 for a, b in zip(few, many, strict=True))
    # The first header of a chain fills storage that all later ones only change.
    assert max(few[1:] + many[1:]) <= 75_000
    assert few[0] <= 90_000


def test_a_withdrawal_is_affordable_in_a_full_tree(chain: Chain) -> None:
    """Twenty siblings, none empty. The first pays 17,000 more because the owner has never held the token."""
    with chain.undone():
        chain.open_accounts(3)
        owner = chain.web3.eth.accounts[1]
        chain.send(chain.settlement, "deposit", 1, 1_000 * NANO)
        chain.send(chain.token, "transfer", chain.operator, chain.ask(chain.token, "balanceOf", owner), sender=owner)
        leaf = BalanceLeaf(1, 5 * NANO, NANO)
        leaves = {a: BalanceLeaf(a, -a, 0).node() for a in range(1_000) if a != 1}
        others = {1 << height: leaf_node(b"%d" % height, 10**9, 10**9, 0) for height in range(10, 20)}
        tree = MerkleSumTree({**leaves, **others, 1: leaf.node()})
        header = honest_batch(random.Random(1), 3, START_S // INTERVAL_S + 1, None, chain.domain).header
        posted = chain.post(replace(header, balances_root=tree.commitment))
        chain.finalise(posted)
        siblings = node_structs(tree.path(1))
        gas = [
            chain.send(chain.settlement, "withdraw", 1, NANO, message_struct(leaf), siblings, sender=owner)["gasUsed"]
            for _ in range(2)
        ]
        assert gas[0] <= 110_000
        assert gas[1] <= 95_000
