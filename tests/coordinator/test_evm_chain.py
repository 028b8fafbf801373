"""The embedded chain behaves like a node: one script through web3's own provider gives the same on it and on anvil."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from contracts.artifacts import anvil
from coordinator.shell.evm_contract import ContractInterface
from simulators.evm_chain import CHAIN_ID, DEV_ADDRESS, DEV_KEY, EvmChain, RemoteTransactionError
from simulators.evm_rpc import BATCH_LIMIT, ChainMethods, answer
from simulators.live.json_rpc import BODY_LIMIT_BYTES, JsonRpcServer

START_S = 1_900_000_000
TOKEN = ContractInterface("EnergyToken")


@dataclass
class Node:
    """A chain reached over HTTP."""

    url: str

    @property
    def web3(self) -> Web3:
        return Web3(Web3.HTTPProvider(self.url))

    def raw(self, body: Any) -> Any:
        return requests.post(self.url, json=body, timeout=10).json()


@pytest.fixture(scope="module", params=["py-evm", pytest.param("anvil", marks=pytest.mark.real("anvil"))])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    if request.param == "py-evm":
        server = JsonRpcServer(EvmChain(lambda: START_S))
        server.start()
        yield Node(server.url)
        server.stop()
        return
    binary = anvil()
    if binary is None:
        pytest.skip("anvil is not installed in contracts/solidity/node_modules")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([str(binary), "--port", str(port), "--timestamp", str(START_S), "--silent"])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not Node(f"http://127.0.0.1:{port}").web3.is_connected():
            time.sleep(0.05)
        yield Node(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def send(web3: Web3, nonce: int, payload: bytes, to: str | None = None, gas: int = 3_000_000) -> Any:
    transaction = {
        "chainId": CHAIN_ID, "nonce": nonce, "gas": gas, "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9,
        "value": 0, "data": payload,
    } | ({"to": to} if to else {})  # fmt: skip
    raw = Account.from_key(DEV_KEY).sign_transaction(transaction).raw_transaction
    return web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(raw), poll_latency=0.01)


def test_the_same_script_gives_the_same_results_on_every_chain(node: Node) -> None:
    web3, me = node.web3, Web3.to_checksum_address(DEV_ADDRESS)
    assert web3.eth.chain_id == CHAIN_ID
    assert web3.eth.get_transaction_count(me) == 0
    assert web3.eth.get_balance(me) > 10**20
    deployed = send(web3, 0, TOKEN.creation(DEV_ADDRESS))
    token = deployed["contractAddress"]
    assert token == "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    assert deployed["status"] == 1
    assert len(web3.eth.get_code(token)) > 1_000
    role = send(web3, 1, TOKEN.call("grantRole", Web3.keccak(text="MINTER_ROLE"), DEV_ADDRESS), token)
    assert [bytes(log["topics"][0]) for log in role["logs"]] == [TOKEN.topic("RoleGranted")]
    minted = send(web3, 2, TOKEN.call("mint", DEV_ADDRESS, 7), token)
    logs = web3.eth.get_logs({"address": token, "fromBlock": 0, "topics": [Web3.to_hex(TOKEN.topic("Transfer"))]})
    assert [log["transactionHash"] for log in logs] == [minted["transactionHash"]]
    assert TOKEN.event([bytes(t) for t in logs[0]["topics"]], bytes(logs[0]["data"])) == (
        "Transfer", {"from": "0x" + "0" * 40, "to": me.lower(), "value": 7},
    )  # fmt: skip
    assert web3.eth.get_logs({"address": token, "fromBlock": 0, "toBlock": deployed["blockNumber"] - 1}) == []
    held = web3.eth.call({"to": token, "data": TOKEN.call("balanceOf", DEV_ADDRESS)})
    assert TOKEN.output("balanceOf", bytes(held)) == (7,)
    transaction = web3.eth.get_transaction(minted["transactionHash"])
    assert (transaction["from"], transaction["to"], transaction["nonce"]) == (me, token, 2)
    block = web3.eth.get_block(minted["blockNumber"])
    assert block["transactions"] == [minted["transactionHash"]]
    assert web3.eth.get_block(block["hash"])["number"] == minted["blockNumber"]
    assert web3.eth.fee_history(2, "latest")["oldestBlock"] == minted["blockNumber"] - 1
    estimate = web3.eth.estimate_gas({"from": me, "to": token, "data": TOKEN.call("mint", DEV_ADDRESS, 1)})
    assert 25_000 < estimate < 60_000
    reverted = send(web3, 3, TOKEN.call("transfer", DEV_ADDRESS, 1_000), token)
    assert (reverted["status"], reverted["logs"]) == (0, [])


def test_refusals_reach_the_caller_as_errors_with_the_contracts_output(node: Node) -> None:
    web3, stranger = node.web3, Account.from_key(b"\x07" * 32).address
    count = web3.eth.get_transaction_count(Web3.to_checksum_address(DEV_ADDRESS))
    token = send(web3, count, TOKEN.creation(DEV_ADDRESS))["contractAddress"]
    for ask in (web3.eth.call, web3.eth.estimate_gas):
        payload = TOKEN.call("mint", b"\x05" * 20, 1)
        with pytest.raises(ContractLogicError) as refused:
            ask({"from": stranger, "to": token, "data": payload})
        assert TOKEN.error(bytes.fromhex(str(refused.value.data)[2:])) == "AccessControlUnauthorizedAccount"
    with pytest.raises(TransactionNotFound):
        web3.eth.get_transaction_receipt(b"\x01" * 32)  # type: ignore[arg-type]
    with pytest.raises(Web3RPCError):
        web3.eth.send_raw_transaction(b"\x02\x00")
    other = Account.from_key(DEV_KEY).sign_transaction(
        {
            "chainId": 5,
            "nonce": count + 1,
            "gas": 21_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "to": stranger,
            "value": 0,
        }
    )
    with pytest.raises(Web3RPCError):
        web3.eth.send_raw_transaction(other.raw_transaction)
    assert node.raw({"jsonrpc": "2.0", "id": 4, "method": "eth_nonsense", "params": []})["error"]["code"] == -32601
    assert (
        node.raw({"jsonrpc": "2.0", "id": 4, "method": "eth_getBalance", "params": ["0x12"]})["error"]["code"] == -32602
    )
    batch = node.raw([{"jsonrpc": "2.0", "id": i, "method": "eth_chainId", "params": []} for i in range(3)])
    assert [(entry["id"], entry["result"]) for entry in batch] == [(i, hex(CHAIN_ID)) for i in range(3)]


def test_a_blocks_time_can_be_set_and_never_runs_back(node: Node) -> None:
    at_s = node.web3.eth.get_block("latest")["timestamp"] + 5_000
    node.raw({"jsonrpc": "2.0", "id": 1, "method": "evm_setNextBlockTimestamp", "params": [at_s]})
    node.raw({"jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": []})
    assert node.web3.eth.get_block("latest")["timestamp"] == at_s
    back = {"jsonrpc": "2.0", "id": 1, "method": "evm_setNextBlockTimestamp", "params": [at_s - 1]}
    assert "error" in node.raw(back)


def test_the_chain_follows_its_clock() -> None:
    now = [START_S]
    chain = EvmChain(lambda: now[0])
    now[0] += 900
    chain.mine()
    assert chain.header(chain.block_number).timestamp == START_S + 900
    chain.mine()
    assert chain.header(chain.block_number).timestamp == START_S + 901
    now[0] = START_S
    chain.mine()
    assert chain.header(chain.block_number).timestamp == START_S + 902


def test_a_transaction_that_is_refused_leaves_the_chain_as_it_was() -> None:
    chain = EvmChain(lambda: START_S)
    poor = Account.from_key(b"\x09" * 32)
    costs = {"chainId": CHAIN_ID, "nonce": 0, "gas": 21_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1}
    signed = poor.sign_transaction(costs | {"to": poor.address, "value": 1})
    with pytest.raises(RemoteTransactionError):
        chain.send_raw(bytes(signed.raw_transaction))
    assert chain.block_number == 0
    rich = Account.from_key(DEV_KEY).sign_transaction(costs | {"to": poor.address, "value": 1})
    chain.send_raw(bytes(rich.raw_transaction))
    with pytest.raises(RemoteTransactionError, match="already known"):
        chain.send_raw(bytes(rich.raw_transaction))
    assert (chain.block_number, chain.balance_wei(bytes.fromhex(poor.address[2:]))) == (1, 1)


METHODS = ChainMethods(EvmChain(lambda: START_S))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=10)
    | st.sampled_from(["0x", "0x00", "latest", "0xzz"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["to", "data", "topics", "x"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(METHODS.table)), JSON)
def test_no_parameters_whatever_bring_the_server_down(method: str, params: Any) -> None:
    response = json.loads(answer(METHODS, json.dumps({"id": 1, "method": method, "params": params}).encode()))
    assert ("result" in response) != ("error" in response)
    if "error" in response:
        assert response["error"]["code"] in (-32602, -32603, -32000, 3)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_request_get_an_error(body: bytes) -> None:
    assert b"error" in answer(METHODS, body)


def test_bodies_and_batches_are_bounded() -> None:
    assert b"nested deeper" in answer(METHODS, b"[" * 500_000)
    many = [{"id": i, "method": "eth_chainId"} for i in range(BATCH_LIMIT + 1)]
    assert json.loads(answer(METHODS, json.dumps(many).encode()))["error"]["code"] == -32600
    server = JsonRpcServer(METHODS.chain)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as raw:
            raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT_BYTES + 1))
            assert b" 413 " in raw.recv(100)
        assert requests.post(server.url, data=b"{", timeout=5).json()["error"]["code"] == -32700
    finally:
        server.stop()
