"""An account on an EVM chain: one key that signs transactions here, over one or several nodes.

Amounts of gas coins in wei. Blocking; the asynchronous side calls it in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from eth_account import Account

from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.evm_node import EvmNode, Receipt, RemoteRevertError
from coordinator.shell.node_pool import NodePool
from coordinator.transaction_table import Attempt, Fee

__all__ = ["EvmAccount", "RemoteRevertError"]

RECEIPT_LIMIT_S = 180
"""Whoever waits for a block waits this long: twelve slots of the slowest chain in view, with room."""


class EvmAccount:
    """One key, and the nodes through which it acts."""

    def __init__(self, rpc: str | Sequence[str] | NodePool, private_key: bytes) -> None:
        if isinstance(rpc, str):
            rpc = [rpc]
        self.pool = rpc if isinstance(rpc, NodePool) else NodePool(rpc)
        self._account = Account.from_key(private_key)
        self.address = bytes.fromhex(self._account.address[2:])

    @property
    def node(self) -> EvmNode:
        """The node whose turn it is."""
        return self.pool.node

    @property
    def chain_id(self) -> int:
        """The chain's id. Raises RemoteChainError."""
        return self.pool.chain_id

    def call(self, to: bytes, payload: bytes) -> bytes:
        """Output of a call by this account. Raises RemoteRevertError, RemoteChainError."""
        return self.node.call(to, payload, self.address)

    def estimate(self, to: bytes | None, payload: bytes, value_wei: int = 0) -> int:
        """Gas to offer. Raises RemoteRevertError, RemoteChainError."""
        return self.node.estimate(self.address, to, payload, value_wei)

    def balance_wei(self) -> int:
        """Gas coins of this account."""
        return self.node.balance_wei(self.address)

    def sign(self, to: bytes | None, payload: bytes, nonce: int, gas: int, fee: Fee, value_wei: int = 0) -> Attempt:
        """One signed form of a transaction."""
        message: dict[str, Any] = {
            "chainId": self.chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": fee.most_wei,
            "maxPriorityFeePerGas": fee.tip_wei,
            "value": value_wei,
            "data": payload,
        }
        if to is not None:
            message["to"] = to
        signed = self._account.sign_transaction(message)
        return Attempt(fee, bytes(signed.raw_transaction), bytes(signed.hash))

    def transact(self, to: bytes | None, payload: bytes, value_wei: int = 0) -> Receipt:
        """Sends one transaction and waits for its block. Raises RemoteRevertError, RemoteChainError.

        For a person who waits in front of it. What must survive a crash goes through ``Transactor``.
        """
        gas = self.estimate(to, payload, value_wei)
        attempt = self.sign(to, payload, self.node.nonce(self.address), gas, self.node.fee(), value_wei)
        self.node.send_raw(attempt.raw)
        return self.await_receipt(attempt.hash)

    def await_receipt(self, transaction_hash: bytes) -> Receipt:
        """The receipt, as soon as there is one. Raises RemoteRevertError where it failed, RemoteChainError."""
        deadline = time.monotonic() + RECEIPT_LIMIT_S
        pause_s = 0.01
        while (receipt := self.node.receipt(transaction_hash)) is None:
            if time.monotonic() > deadline:
                raise RemoteChainError(f"transaction {transaction_hash.hex()} is in no block after {RECEIPT_LIMIT_S} s")
            time.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)
        if not receipt.succeeded:
            raise RemoteRevertError(f"transaction {transaction_hash.hex()} reverted", b"")
        return receipt
