"""What a node answers: the JSON-RPC methods over ``EvmChain``, from request bytes to response bytes.

Speaks the ``eth_`` methods that reading and sending need, batches, and the two ``evm_`` methods of development
nodes. Errors are JSON-RPC errors with the codes nodes use; a revert carries the contract's output in ``data``.
``live/json_rpc.py`` puts it on HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from contracts.bounded_json import load_json
from simulators.evm_chain import EvmChain, MinedLog, MinedTransaction, RemoteCallError, RemoteTransactionError

BATCH_LIMIT = 100
"""Calls in one batch: a page of logs and receipts, not a denial of service."""
TIP_WEI = 10**9
CLIENT = "energy-grid/py-evm"

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, SERVER_ERROR, REVERTED = -32603, -32000, 3


class RemoteRequestError(Exception):
    """A request that gets a JSON-RPC error: ``code``, the text and, after a revert, its output."""

    def __init__(self, code: int, text: str, output: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.output = output


def _quantity(value: int) -> str:
    return hex(value)


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _bytes(value: object, length: int | None = None) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise RemoteRequestError(INVALID_PARAMS, f"expected 0x-hex, got {value!r:.80}")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError as error:
        raise RemoteRequestError(INVALID_PARAMS, f"not hexadecimal: {value!r:.80}") from error
    if length is not None and len(raw) != length:
        raise RemoteRequestError(INVALID_PARAMS, f"expected {length} bytes, got {len(raw)}")
    return raw


def _integer(value: object) -> int:
    try:
        if isinstance(value, str):
            return int(value, 16) if value.startswith("0x") else int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    except ValueError:
        pass
    raise RemoteRequestError(INVALID_PARAMS, f"expected a quantity, got {value!r:.80}")


class ChainMethods:
    """The methods by name; each takes the list of parameters and returns what JSON holds."""

    def __init__(self, chain: EvmChain) -> None:
        self.chain = chain
        self.table: dict[str, Callable[[list[Any]], Any]] = {
            "web3_clientVersion": lambda _: CLIENT,
            "net_version": lambda _: str(chain.chain_id),
            "net_listening": lambda _: True,
            "eth_chainId": lambda _: _quantity(chain.chain_id),
            "eth_syncing": lambda _: False,
            "eth_accounts": lambda _: [],
            "eth_blockNumber": lambda _: _quantity(chain.block_number),
            "eth_gasPrice": lambda _: _quantity(chain.base_fee_wei() + TIP_WEI),
            "eth_maxPriorityFeePerGas": lambda _: _quantity(TIP_WEI),
            "eth_feeHistory": self._fee_history,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getBalance": lambda p: _quantity(chain.balance_wei(_bytes(p[0], 20))),
            "eth_getCode": lambda p: _hex(chain.code(_bytes(p[0], 20))),
            "eth_getStorageAt": lambda p: _hex(chain.storage(_bytes(p[0], 20), _integer(p[1]))),
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": lambda p: _hex(chain.send_raw(_bytes(p[0]))),
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getLogs": self._logs,
            "evm_mine": lambda _: _quantity(chain.mine()),
            "evm_setNextBlockTimestamp": self._set_next_timestamp,
            "anvil_setBalance": self._set_balance,
        }

    def _number(self, tag: object) -> int:
        if tag in (None, "latest", "pending", "safe", "finalized"):
            return self.chain.block_number
        return 0 if tag == "earliest" else _integer(tag)

    def _transaction_count(self, params: list[Any]) -> str:
        at_block = self._number(params[1]) if len(params) > 1 else None
        try:
            return _quantity(self.chain.nonce(_bytes(params[0], 20), at_block))
        except KeyError as error:
            raise RemoteRequestError(SERVER_ERROR, "no such block") from error

    def _set_next_timestamp(self, params: list[Any]) -> None:
        try:
            self.chain.set_next_timestamp(_integer(params[0]))
        except ValueError as error:
            raise RemoteRequestError(INVALID_PARAMS, str(error)) from error

    def _set_balance(self, params: list[Any]) -> None:
        self.chain.set_balance(_bytes(params[0], 20), _integer(params[1]))

    def _fee_history(self, params: list[Any]) -> dict[str, Any]:
        newest = min(self._number(params[1]), self.chain.block_number)
        oldest = max(0, newest - min(_integer(params[0]), 1024) + 1)
        headers = [self.chain.header(number) for number in range(oldest, newest + 1)]
        fees = [_quantity(int(header.base_fee_per_gas)) for header in headers]
        history: dict[str, Any] = {
            "oldestBlock": _quantity(oldest),
            "baseFeePerGas": [*fees, _quantity(self.chain.base_fee_wei())],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if len(params) > 2 and params[2]:
            history["reward"] = [[_quantity(TIP_WEI)] * len(params[2]) for _ in headers]
        return history

    def _block_by_number(self, params: list[Any]) -> dict[str, Any] | None:
        return self._block(self._number(params[0]), bool(params[1]) if len(params) > 1 else False)

    def _block_by_hash(self, params: list[Any]) -> dict[str, Any] | None:
        try:
            number = self.chain.header_number(_bytes(params[0], 32))
        except KeyError:
            return None
        return self._block(number, bool(params[1]) if len(params) > 1 else False)

    def _block(self, number: int, full: bool) -> dict[str, Any] | None:
        try:
            header = self.chain.header(number)
        except KeyError:
            return None
        mined = self.chain.block_transactions(number)
        return {
            "number": _quantity(number),
            "hash": _hex(header.hash),
            "parentHash": _hex(header.parent_hash),
            "nonce": _hex(bytes(header.nonce)),
            "sha3Uncles": _hex(header.uncles_hash),
            "logsBloom": _hex(int(header.bloom).to_bytes(256, "big")),
            "transactionsRoot": _hex(header.transaction_root),
            "stateRoot": _hex(header.state_root),
            "receiptsRoot": _hex(header.receipt_root),
            "miner": _hex(header.coinbase),
            "difficulty": _quantity(header.difficulty),
            "extraData": _hex(header.extra_data),
            "size": _quantity(sum(len(m.raw) for m in mined) + 600),
            "gasLimit": _quantity(header.gas_limit),
            "gasUsed": _quantity(header.gas_used),
            "timestamp": _quantity(header.timestamp),
            "baseFeePerGas": _quantity(int(header.base_fee_per_gas)),
            "mixHash": _hex(header.mix_hash),
            "uncles": [],
            "transactions": [_transaction_document(m) if full else _hex(m.hash) for m in mined],
        }

    def _message(self, params: list[Any]) -> tuple[bytes, bytes, bytes, int]:
        if not params or not isinstance(params[0], dict):
            raise RemoteRequestError(INVALID_PARAMS, "a call is an object with from, to and data")
        call = params[0]
        sender = _bytes(call["from"], 20) if call.get("from") else bytes(20)
        to = _bytes(call["to"], 20) if call.get("to") else b""
        payload = call.get("input") or call.get("data") or "0x"
        return sender, to, _bytes(payload), _integer(call.get("value") or 0)

    def _call(self, params: list[Any]) -> str:
        at_block = self._number(params[1]) if len(params) > 1 else None
        try:
            return _hex(self.chain.call(*self._message(params), at_block=at_block))
        except KeyError as error:
            raise RemoteRequestError(SERVER_ERROR, "no such block") from error

    def _estimate(self, params: list[Any]) -> str:
        return _quantity(self.chain.estimate_gas(*self._message(params)))

    def _transaction(self, params: list[Any]) -> dict[str, Any] | None:
        mined = self.chain.transaction(_bytes(params[0], 32))
        return None if mined is None else _transaction_document(mined)

    def _receipt(self, params: list[Any]) -> dict[str, Any] | None:
        mined = self.chain.transaction(_bytes(params[0], 32))
        if mined is None:
            return None
        bloom = int(self.chain.header(mined.block_number).bloom)
        return {
            "transactionHash": _hex(mined.hash),
            "transactionIndex": "0x0",
            "blockHash": _hex(mined.block_hash),
            "blockNumber": _quantity(mined.block_number),
            "from": _hex(mined.sender),
            "to": _hex(mined.transaction.to) if mined.transaction.to else None,
            "cumulativeGasUsed": _quantity(mined.gas_used),
            "gasUsed": _quantity(mined.gas_used),
            "effectiveGasPrice": _quantity(mined.price_wei),
            "contractAddress": _hex(mined.created) if mined.created and mined.succeeded else None,
            "logs": [_log_document(log) for log in mined.logs],
            "logsBloom": _hex(bloom.to_bytes(256, "big")),
            "status": "0x1" if mined.succeeded else "0x0",
            "type": _quantity(mined.raw[0] if mined.raw[0] < 0x7F else 0),
        }

    def _logs(self, params: list[Any]) -> list[dict[str, Any]]:
        if not params or not isinstance(params[0], dict):
            raise RemoteRequestError(INVALID_PARAMS, "a filter is an object")
        wanted = params[0]
        address = wanted.get("address") or []
        addresses = frozenset(_bytes(a, 20) for a in ([address] if isinstance(address, str) else address))
        topics = tuple(
            frozenset(_bytes(t, 32) for t in ([entry] if isinstance(entry, str) else entry or []))
            for entry in wanted.get("topics") or []
        )
        if wanted.get("blockHash"):
            try:
                first = last = self.chain.header_number(_bytes(wanted["blockHash"], 32))
            except KeyError as error:
                raise RemoteRequestError(SERVER_ERROR, "unknown block") from error
        else:
            first, last = self._number(wanted.get("fromBlock")), self._number(wanted.get("toBlock"))
        return [_log_document(log) for log in self.chain.logs(first, last, addresses, topics)]


def _transaction_document(mined: MinedTransaction) -> dict[str, Any]:
    transaction = mined.transaction
    typed = mined.raw[0] < 0x7F
    document = {
        "hash": _hex(mined.hash),
        "nonce": _quantity(transaction.nonce),
        "blockHash": _hex(mined.block_hash),
        "blockNumber": _quantity(mined.block_number),
        "transactionIndex": "0x0",
        "from": _hex(mined.sender),
        "to": _hex(transaction.to) if transaction.to else None,
        "value": _quantity(transaction.value),
        "gas": _quantity(transaction.gas),
        "gasPrice": _quantity(mined.price_wei),
        "input": _hex(transaction.data),
        "type": _quantity(mined.raw[0] if typed else 0),
        "r": _quantity(transaction.r),
        "s": _quantity(transaction.s),
        "v": _quantity(transaction.y_parity if typed else transaction.v),
    }
    if typed:
        document["chainId"] = _quantity(transaction.chain_id)
    if mined.raw[0] == 2:
        document["maxFeePerGas"] = _quantity(transaction.max_fee_per_gas)
        document["maxPriorityFeePerGas"] = _quantity(transaction.max_priority_fee_per_gas)
    return document


def _log_document(log: MinedLog) -> dict[str, Any]:
    return {
        "address": _hex(log.address),
        "topics": [_hex(topic) for topic in log.topics],
        "data": _hex(log.content),
        "blockNumber": _quantity(log.block_number),
        "blockHash": _hex(log.block_hash),
        "transactionHash": _hex(log.transaction_hash),
        "transactionIndex": "0x0",
        "logIndex": _quantity(log.index),
        "removed": False,
    }


def answer(methods: ChainMethods, body: bytes) -> bytes:
    """The response to one HTTP body: a single call or a batch. Never raises."""
    try:
        request = load_json(body)
    except ValueError as error:
        return json.dumps(error_document(None, PARSE_ERROR, f"not JSON: {error}")).encode()
    if not isinstance(request, list):
        return json.dumps(_answer_one(methods, request)).encode()
    if not request or len(request) > BATCH_LIMIT:
        return json.dumps(error_document(None, INVALID_REQUEST, f"a batch has 1 to {BATCH_LIMIT} calls")).encode()
    return json.dumps([_answer_one(methods, one) for one in request]).encode()


def _answer_one(methods: ChainMethods, request: Any) -> dict[str, Any]:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return error_document(None, INVALID_REQUEST, "a request has a method")
    identity, params = request.get("id"), request.get("params") or []
    method = methods.table.get(request["method"])
    if method is None:
        return error_document(identity, UNKNOWN_METHOD, f"the method {request['method']:.60} does not exist")
    if not isinstance(params, list):
        return error_document(identity, INVALID_PARAMS, "parameters are a list")
    try:
        return {"jsonrpc": "2.0", "id": identity, "result": method(params)}
    except RemoteRequestError as error:
        return error_document(identity, error.code, str(error), error.output)
    except RemoteCallError as error:
        return error_document(identity, REVERTED, str(error), _hex(error.output))
    except RemoteTransactionError as error:
        return error_document(identity, SERVER_ERROR, str(error))
    except IndexError:
        return error_document(identity, INVALID_PARAMS, "too few parameters")
    except Exception as error:  # the server outlives whatever one request breaks
        return error_document(identity, INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def error_document(identity: Any, code: int, text: str, output: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": text}
    if output is not None:
        error["data"] = output
    return {"jsonrpc": "2.0", "id": identity, "error": error}
