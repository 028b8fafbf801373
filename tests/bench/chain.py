"""The chain's figures: gas of posting whatever the number of accounts, beside one order placed on chain."""

from __future__ import annotations

import time
from collections.abc import Iterator

from eth_account import Account

from simulators.evm_chain import CHAIN_ID, DEV_KEY, EvmChain
from tests.bench.figure import Figure, measured
from tests.contracts.local_chain import START_S, Chain, py_evm_chain
from tests.contracts.test_gas import post_gas

BUY = 0
PRICE = 200_000
TRADING_TERMS = (300, 60, 7 * 86_400)
"""Gate 5 minutes before delivery, a round a minute, escape after a week without a header."""
DEPLOYED_BYTES_LIMIT = 24_576
"""EIP-170."""


def figures() -> Iterator[Figure]:
    """Whole transactions on the embedded EVM, in steady state (not the first of a chain)."""
    chain = py_evm_chain()
    order = order_gas(chain)
    for accounts in (10, 10_000):
        gas = max(post_gas(chain, accounts)[1:])
        name = f"post a header over {accounts:,} accounts"
        yield measured(name, gas, "gas", at_most=75_000, reference=("one createOrder", order))
    yield measured("one transfer on the embedded EVM", transfer_s() * 1e3, "ms")
    size = len(chain.web3.eth.get_code(chain.settlement.address))
    yield measured("deployed size of Settlement", size, "bytes", at_most=DEPLOYED_BYTES_LIMIT)


def order_gas(chain: Chain) -> int:
    """Gas of one order placed on chain, the second of its trader."""
    with chain.undone():
        chain.open_accounts(1)
        trader = chain.web3.eth.accounts[1]
        trading = chain.deploy("EnergyTrading", chain.settlement.address, *TRADING_TERMS)
        expiry = chain.now_s() + 86_400
        receipts = [chain.send(trading, "createOrder", 1_000, PRICE, expiry, BUY, sender=trader) for _ in range(2)]
        return int(receipts[-1]["gasUsed"])


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
