"""The chain's figures: gas of posting whatever the number of accounts, beside one order placed on chain."""

from __future__ import annotations

import time
from collections.abc import Iterator

from eth_account import Account

from contracts.codes import AuctionRule
from simulators.evm_chain import CHAIN_ID, DEV_KEY, EvmChain
from tests.bench.figure import Figure, measured
from tests.contracts.local_chain import START_S, py_evm_chain
from tests.contracts.test_gas import CHALLENGE_LIMIT, ORDER_LIMIT, challenge_gas, order_gas, post_gas, withdraw_gas

DEPLOYED_BYTES_LIMIT = 24_576
"""EIP-170."""
NAIVE_TRADE = ("naive create, match and settle, a trade", 503_963)
COW_ORDER = ("CoW Protocol's settlement, an order", 58_000)
"""Measured once with the naive contract and with CoW's mainnet bytecode; they do not change."""


def figures() -> Iterator[Figure]:
    """Whole transactions on the embedded EVM, in steady state (not the first of a chain)."""
    chain = py_evm_chain()
    order = order_gas(chain)[-1]
    for accounts in (10, 10_000):
        gas = max(post_gas(chain, accounts)[1:])
        name = f"post a header over {accounts:,} accounts"
        yield measured(name, gas, "gas", at_most=75_000, reference=NAIVE_TRADE)
    yield measured("one order placed on chain", order, "gas", at_most=ORDER_LIMIT, reference=COW_ORDER)
    first, later = withdraw_gas(chain)
    yield measured("a first withdrawal in a full tree", first, "gas", at_most=100_000)
    yield measured("a later withdrawal in a full tree", later, "gas", at_most=100_000)
    for challenge, gas in challenge_gas(AuctionRule.SPOT_AUCTION).items():
        yield measured(f"{challenge} in full trees", gas, "gas", at_most=CHALLENGE_LIMIT)
    yield measured("one transfer on the embedded EVM", transfer_s() * 1e3, "ms")
    size = len(chain.web3.eth.get_code(chain.settlement.address))
    yield measured("deployed size of Settlement", size, "bytes", at_most=DEPLOYED_BYTES_LIMIT)


def transfer_s() -> float:
    """Mean seconds of a plain transfer, each in a block of its own."""
    chain = EvmChain(lambda: START_S)
    sender = Account.from_key(DEV_KEY)
    fees = {"chainId": CHAIN_ID, "gas": 21_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1, "value": 0}
    signed = [sender.sign_transaction(fees | {"nonce": n, "to": sender.address}).raw_transaction for n in range(20)]
    began = time.perf_counter()
    for raw in signed:
        chain.send_raw(bytes(raw))
    return (time.perf_counter() - began) / len(signed)
