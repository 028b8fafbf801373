"""An account on an EVM chain that sends transactions: signed here, sent raw, over any node's RPC URL.

Amounts of gas coins in wei. Blocking; the asynchronous side calls it in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from eth_account import Account
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import FilterParams, LogReceipt, TxParams, TxReceipt, Wei

from coordinator.shell.chain_port import RemoteChainError

TIMEOUT_S = 10
"""A node that takes longer for one request counts as unreachable; the request is repeated."""
RECEIPT_LIMIT_S = 180
"""Deployments wait this long for a block: twelve slots of the slowest chain in view, with room."""
GAS_HEADROOM_PERCENT = 20
"""On top of the estimate: state may have moved between estimate and block."""
BUMP_PERCENT = 25
"""A replacement must pay at least 10 % more on every node; a quarter ends a fee race in a few steps."""


class RemoteRevertError(Exception):
    """The contract would revert. ``output`` carries its custom error."""

    def __init__(self, text: str, output: bytes) -> None:
        super().__init__(text)
        self.output = output


@dataclass(frozen=True, slots=True)
class Fee:
    """What a transaction offers for gas."""

    most_wei: int
    tip_wei: int

    def bumped(self) -> Fee:
        """Enough more to replace the same nonce."""
        return Fee(*(value * (100 + BUMP_PERCENT) // 100 + 1 for value in (self.most_wei, self.tip_wei)))


def to_address(raw: bytes) -> Any:
    """The checksummed form that web3 wants."""
    return Web3.to_checksum_address("0x" + raw.hex())


class EvmAccount:
    """One key at one node."""

    def __init__(self, rpc_url: str, private_key: bytes) -> None:
        self.url = rpc_url
        self._account = Account.from_key(private_key)
        self._w3 = Web3(
            Web3.HTTPProvider(rpc_url, request_kwargs={"timeout": TIMEOUT_S}, exception_retry_configuration=None)
        )
        self._w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self.address = bytes.fromhex(self._account.address[2:])
        self._chain_id: int | None = None

    @property
    def chain_id(self) -> int:
        """The chain's id, asked once."""
        if self._chain_id is None:
            self._chain_id = int(self._ask(lambda: self._w3.eth.chain_id))
        return self._chain_id

    def _ask(self, request: Any) -> Any:
        try:
            return request()
        except ContractLogicError as error:
            raise RemoteRevertError(str(error.message or error), _revert_output(error.data)) from error
        except Web3RPCError as error:
            output = _rpc_revert(error)
            if output is not None:
                raise RemoteRevertError(str(error), output) from error
            raise RemoteChainError(f"{self.url}: {error}") from error
        except (RequestException, Web3Exception, OSError, ValueError) as error:
            raise RemoteChainError(f"{self.url}: {type(error).__name__}: {error}") from error

    def block_number(self) -> int:
        """Number of the newest block. Raises RemoteChainError, as all the others."""
        return int(self._ask(lambda: self._w3.eth.block_number))

    def block_time_s(self) -> int:
        """Timestamp of the newest block."""
        return int(self._ask(lambda: self._w3.eth.get_block("latest")["timestamp"]))

    def call(self, to: bytes, payload: bytes) -> bytes:
        """Output of a call. Raises RemoteRevertError."""
        message = cast(TxParams, {"from": to_address(self.address), "to": to_address(to), "data": payload})
        return bytes(self._ask(lambda: self._w3.eth.call(message)))

    def code(self, address: bytes) -> bytes:
        """The contract at ``address``."""
        return bytes(self._ask(lambda: self._w3.eth.get_code(to_address(address))))

    def balance_wei(self) -> int:
        """Gas coins of this account."""
        return self.balance_of_wei(self.address)

    def balance_of_wei(self, address: bytes) -> int:
        """Gas coins of any address."""
        return int(self._ask(lambda: self._w3.eth.get_balance(to_address(address))))

    def next_nonce(self) -> int:
        """Number of this account's mined transactions: the nonce that continues them."""
        return int(self._ask(lambda: self._w3.eth.get_transaction_count(to_address(self.address), "latest")))

    def fee(self) -> Fee:
        """What the network asks now: twice the base fee plus the usual tip."""
        base = int(self._ask(lambda: self._w3.eth.get_block("latest").get("baseFeePerGas", 0)))
        tip = int(self._ask(lambda: self._w3.eth.max_priority_fee))
        return Fee(2 * base + tip, tip)

    def estimate(self, to: bytes | None, payload: bytes, value_wei: int = 0) -> int:
        """Gas to offer. Raises RemoteRevertError where the transaction would revert."""
        message: dict[str, Any] = {"from": to_address(self.address), "data": payload, "value": value_wei}
        if to is not None:
            message["to"] = to_address(to)
        gas = int(self._ask(lambda: self._w3.eth.estimate_gas(cast(TxParams, message))))
        return gas * (100 + GAS_HEADROOM_PERCENT) // 100

    def sign(
        self, to: bytes | None, payload: bytes, nonce: int, gas: int, fee: Fee, value_wei: int = 0
    ) -> tuple[bytes, bytes]:
        """Raw transaction and its hash."""
        message: dict[str, Any] = {
            "chainId": self.chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": Wei(fee.most_wei),
            "maxPriorityFeePerGas": Wei(fee.tip_wei),
            "value": Wei(value_wei),
            "data": payload,
        }
        if to is not None:
            message["to"] = to_address(to)
        signed = self._account.sign_transaction(message)
        return bytes(signed.raw_transaction), bytes(signed.hash)

    def send_raw(self, raw: bytes) -> None:
        """Hands a signed transaction to the node."""
        self._ask(lambda: self._w3.eth.send_raw_transaction(raw))

    def receipt(self, transaction_hash: bytes) -> TxReceipt | None:
        """The receipt of a mined transaction; None while it is not in a block."""
        try:
            receipt: TxReceipt = self._ask(lambda: self._w3.eth.get_transaction_receipt(cast(Any, transaction_hash)))
        except RemoteChainError as error:
            if isinstance(error.__cause__, TransactionNotFound):
                return None
            raise
        return receipt

    def logs(
        self, addresses: Sequence[bytes], from_block: int, to_block: int, topics: list[Any] | None = None
    ) -> list[LogReceipt]:
        """Events of contracts in a block range, both ends included."""
        wanted = cast(
            FilterParams,
            {
                "address": [to_address(a) for a in addresses],
                "fromBlock": from_block,
                "toBlock": to_block,
                "topics": topics or [],
            },
        )
        return list(self._ask(lambda: self._w3.eth.get_logs(wanted)))

    def transact(self, to: bytes | None, payload: bytes, value_wei: int = 0) -> TxReceipt:
        """Sends one transaction and waits for its block. Raises RemoteRevertError, RemoteChainError."""
        gas = self.estimate(to, payload, value_wei)
        raw, transaction_hash = self.sign(to, payload, self.next_nonce(), gas, self.fee(), value_wei)
        self.send_raw(raw)
        deadline = time.monotonic() + RECEIPT_LIMIT_S
        pause_s = 0.01
        while (receipt := self.receipt(transaction_hash)) is None:
            if time.monotonic() > deadline:
                raise RemoteChainError(f"transaction {transaction_hash.hex()} is in no block after {RECEIPT_LIMIT_S} s")
            time.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)
        if receipt["status"] != 1:
            raise RemoteRevertError(f"transaction {transaction_hash.hex()} reverted", b"")
        return receipt


def _revert_output(content: object) -> bytes:
    if isinstance(content, str) and content.startswith("0x"):
        return bytes.fromhex(content[2:])
    return b""


def _rpc_revert(error: Web3RPCError) -> bytes | None:
    details: Any = (error.rpc_response or {}).get("error") or {}
    if isinstance(details, dict) and (details.get("code") == 3 or "revert" in str(details.get("message", ""))):
        return _revert_output(details.get("data"))
    return None
