"""One node of an EVM chain over JSON-RPC: what we ask of it, in our own types. Blocking; one thread at a time.

A node that does not answer, or answers nonsense, is ``RemoteChainError``; a contract that would revert is
``RemoteRevertError``; what a node says to a transaction it does not take is ``RemoteRefusalError`` with its kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NoReturn

import requests
from requests.exceptions import RequestException

from coordinator.shell.chain_port import RemoteChainError
from coordinator.transaction_table import Fee, Sighting

TIMEOUT_S = 10
"""A node that takes longer for one request counts as unreachable; the request is repeated."""
ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""No page of logs that we ask for is a tenth of it."""
HEADERS = {"Content-Type": "application/json"}
GAS_HEADROOM_PERCENT = 20
"""On top of the estimate: state may have moved between estimate and block."""

_ANSWERS = (
    ("already known", Sighting.TAKEN),
    ("already imported", Sighting.TAKEN),
    ("known transaction", Sighting.TAKEN),
    ("alreadyknown", Sighting.TAKEN),
    ("underpriced", Sighting.UNDERPRICED),
    ("fee too low", Sighting.UNDERPRICED),
    ("nonce too low", Sighting.NONCE_USED),
    ("nonce_too_low", Sighting.NONCE_USED),
    ("old nonce", Sighting.NONCE_USED),
    ("oldnonce", Sighting.NONCE_USED),
    ("nonce is too low", Sighting.NONCE_USED),
)
"""How nodes word their answers, in lower case: geth, Besu, Nethermind, Erigon, anvil. The first that fits counts."""


class RemoteRevertError(Exception):
    """The contract would revert. ``output`` carries its custom error."""

    def __init__(self, text: str, output: bytes) -> None:
        super().__init__(text)
        self.output = output


class RemoteRefusalError(RemoteChainError):
    """The node does not take a transaction; ``sighting`` is what that means for it."""

    def __init__(self, text: str, sighting: Sighting) -> None:
        super().__init__(text)
        self.sighting = sighting


@dataclass(frozen=True, slots=True)
class Block:
    """What we use of a block's header."""

    number: int
    hash: bytes
    time_s: int
    fee_wei: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction. ``contract`` is the address it deployed."""

    succeeded: bool
    block: int
    block_hash: bytes
    gas_used: int
    contract: bytes | None


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a contract, with its place in the chain."""

    address: bytes
    topics: list[bytes]
    content: bytes
    block: int
    index: int
    transaction_hash: bytes


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """A transaction as a node knows it; ``block`` None while it waits."""

    payload: bytes
    to: bytes | None
    block: int | None


def answer_of(text: str) -> Sighting:
    """What a node's refusal of a transaction means for it."""
    lowered = text.lower()
    return next((sighting for words, sighting in _ANSWERS if words in lowered), Sighting.NOT_TAKEN)


def hex_of(value: bytes) -> str:
    """As a node writes bytes."""
    return "0x" + value.hex()


def raw_of(value: Any) -> bytes:
    """The bytes that a node has written. Raises ValueError or TypeError for what is none."""
    return bytes.fromhex(value[2:])


class EvmNode:
    """One node behind one URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._numbers = count(1)

    # -- the wire ----------------------------------------------------------------------------------------------

    def ask(self, method: str, *params: Any) -> Any:
        """The result of one method. Raises RemoteChainError, RemoteRevertError."""
        question = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": list(params)}
        request = json.dumps(question).encode()
        try:
            with self._session.post(self.url, request, headers=HEADERS, timeout=TIMEOUT_S, stream=True) as response:
                body = response.raw.read(ANSWER_LIMIT_BYTES + 1, decode_content=True)
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise RemoteChainError(f"{self.url}: the answer to {method} is too large")
                if response.status_code != 200 and not body.startswith(b"{"):
                    raise RemoteChainError(f"{self.url}: {method} answers HTTP {response.status_code}")
                answer = json.loads(body)
        except (RequestException, OSError, ValueError) as error:
            raise RemoteChainError(f"{self.url}: {type(error).__name__}: {error}") from error
        except Exception as error:  # urllib3 raises kinds of its own while the body is read
            if isinstance(error, RemoteChainError):
                raise
            raise RemoteChainError(f"{self.url}: {type(error).__name__}: {error}") from error
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise RemoteChainError(f"{self.url}: {method} answers no JSON-RPC")
        if answer.get("error") is not None:
            self._refuse(method, answer["error"])
        return answer.get("result")

    def _refuse(self, method: str, error: Any) -> NoReturn:
        if not isinstance(error, dict):
            raise RemoteChainError(f"{self.url}: {method}: {error!r:.200}")
        text = f"{self.url}: {method}: {error.get('message')!s:.500}"
        if method == "eth_sendRawTransaction":
            raise RemoteRefusalError(text, answer_of(text))
        if error.get("code") == 3 or "revert" in str(error.get("message", "")):
            raise RemoteRevertError(str(error.get("message")), _output(error.get("data")))
        raise RemoteChainError(text)

    def _fields(self, method: str, *params: Any) -> dict[str, Any] | None:
        answer = self.ask(method, *params)
        if answer is not None and not isinstance(answer, dict):
            raise RemoteChainError(f"{self.url}: {method} answers no object")
        return answer

    def _number(self, method: str, *params: Any) -> int:
        return int(self._read(method, self.ask(method, *params), lambda text: int(text, 16)))

    def _read(self, method: str, answer: Any, read: Any) -> Any:
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RemoteChainError(f"{self.url}: {method} answers something else: {answer!r:.200}") from error

    # -- the chain ---------------------------------------------------------------------------------------------

    def chain_id(self) -> int:
        """The chain's id. Raises RemoteChainError, as all the others."""
        return self._number("eth_chainId")

    def block_number(self) -> int:
        """Number of the newest block."""
        return self._number("eth_blockNumber")

    def block(self, number: int | None = None) -> Block | None:
        """The block with that number, the newest for None; None where this node has no such block."""
        tag = "latest" if number is None else hex(number)
        answer = self._fields("eth_getBlockByNumber", tag, False)
        if answer is None:
            return None
        block: Block = self._read(
            "eth_getBlockByNumber",
            answer,
            lambda b: Block(
                int(b["number"], 16),
                raw_of(b["hash"]),
                int(b["timestamp"], 16),
                int(b.get("baseFeePerGas") or "0x0", 16),
            ),
        )
        return block

    def call(self, to: bytes, payload: bytes, sender: bytes = bytes(20)) -> bytes:
        """Output of a call. Raises RemoteRevertError."""
        message = {"from": hex_of(sender), "to": hex_of(to), "data": hex_of(payload)}
        return bytes(self._read("eth_call", self.ask("eth_call", message, "latest"), raw_of))

    def code(self, address: bytes) -> bytes:
        """The contract at ``address``; empty where there is none."""
        return bytes(self._read("eth_getCode", self.ask("eth_getCode", hex_of(address), "latest"), raw_of))

    def balance_wei(self, address: bytes) -> int:
        """Gas coins of an address."""
        return self._number("eth_getBalance", hex_of(address), "latest")

    def nonce(self, address: bytes, block: int | None = None) -> int:
        """Number of an address's transactions up to and with that block; the newest for None."""
        return self._number("eth_getTransactionCount", hex_of(address), "latest" if block is None else hex(block))

    def fee(self) -> Fee:
        """What the network asks now: twice the base fee plus the usual tip."""
        newest = self.block()
        if newest is None:
            raise RemoteChainError(f"{self.url} has no blocks")
        tip = self._number("eth_maxPriorityFeePerGas")
        return Fee(2 * newest.fee_wei + tip, tip)

    def estimate(self, sender: bytes, to: bytes | None, payload: bytes, value_wei: int = 0) -> int:
        """Gas to offer. Raises RemoteRevertError where the transaction would revert."""
        message = {"from": hex_of(sender), "data": hex_of(payload), "value": hex(value_wei)}
        if to is not None:
            message["to"] = hex_of(to)
        return self._number("eth_estimateGas", message) * (100 + GAS_HEADROOM_PERCENT) // 100

    def send_raw(self, raw: bytes) -> None:
        """Hands a signed transaction to the node. Raises RemoteRefusalError."""
        self.ask("eth_sendRawTransaction", hex_of(raw))

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """The receipt of a mined transaction; None while it is not in a block."""
        answer = self._fields("eth_getTransactionReceipt", hex_of(transaction_hash))
        if answer is None or answer.get("blockNumber") is None:
            return None
        receipt: Receipt = self._read(
            "eth_getTransactionReceipt",
            answer,
            lambda r: Receipt(
                int(r["status"], 16) == 1, int(r["blockNumber"], 16), raw_of(r["blockHash"]), int(r["gasUsed"], 16),
                raw_of(r["contractAddress"]) if r.get("contractAddress") else None,
            ),
        )  # fmt: skip
        return receipt

    def transaction(self, transaction_hash: bytes) -> SentTransaction | None:
        """A transaction that the node knows, mined or waiting."""
        answer = self._fields("eth_getTransactionByHash", hex_of(transaction_hash))
        if answer is None:
            return None
        sent: SentTransaction = self._read(
            "eth_getTransactionByHash",
            answer,
            lambda t: SentTransaction(
                raw_of(t["input"]), raw_of(t["to"]) if t.get("to") else None,
                int(t["blockNumber"], 16) if t.get("blockNumber") else None,
            ),
        )  # fmt: skip
        return sent

    def logs(
        self, addresses: Sequence[bytes], from_block: int, to_block: int, topics: Sequence[Sequence[bytes]] = ()
    ) -> list[Log]:
        """Events of contracts in a block range, both ends included, in the order of the chain."""
        wanted = {
            "address": [hex_of(address) for address in addresses],
            "fromBlock": hex(from_block),
            "toBlock": hex(to_block),
            "topics": [[hex_of(topic) for topic in place] or None for place in topics],
        }
        answer = self.ask("eth_getLogs", wanted)
        logs: list[Log] = self._read("eth_getLogs", answer, lambda entries: [_log(entry) for entry in entries])
        return sorted(logs, key=lambda log: (log.block, log.index))


def _log(entry: dict[str, Any]) -> Log:
    return Log(
        raw_of(entry["address"]), [raw_of(topic) for topic in entry["topics"]], raw_of(entry["data"]),
        int(entry["blockNumber"], 16), int(entry["logIndex"], 16), raw_of(entry["transactionHash"]),
    )  # fmt: skip


def _output(content: object) -> bytes:
    if isinstance(content, dict):
        content = content.get("data")
    if isinstance(content, str) and content.startswith("0x"):
        try:
            return bytes.fromhex(content[2:])
        except ValueError:
            return b""
    return b""
