"""Several nodes of one chain: the next takes over, nobody mixes their answers, and disagreement stops everything."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.eip712 import Domain, keccak
from coordinator.shell.chain import SettlementChain
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.evm_node import Block, EvmNode, RemoteRefusalError, RemoteRevertError, answer_of
from coordinator.shell.node_pool import LONGEST_REST_S, Health, NodePool, RemoteDisagreementError, turn_of
from coordinator.transaction_table import Sighting
from simulators.evm_chain import EvmChain
from simulators.live.json_rpc import JsonRpcServer

KEY = keccak(b"key of the node tests")


class Answering:
    """A server that answers every request with the same bytes and status."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        class Exchange(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Exchange)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def two() -> Iterator[tuple[EvmChain, JsonRpcServer, JsonRpcServer]]:
    chain = EvmChain(lambda: 1_900_000_000)
    servers = JsonRpcServer(chain), JsonRpcServer(chain)
    for server in servers:
        server.start()
    yield chain, *servers
    for server in servers:
        server.stop()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=40))
def test_a_node_rests_longer_with_every_failure_and_not_at_all_after_an_answer(did: list[tuple[bool, int]]) -> None:
    health, now_s, failures = Health(), 0.0, 0
    for failed, later_s in did:
        now_s += later_s
        if failed:
            health.failed(now_s)
            failures += 1
            assert health.rests_until_s - now_s == min(2 ** (failures - 1), LONGEST_REST_S)
        else:
            health.answered()
            failures = 0
            assert health.rests_until_s <= now_s


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 60))
def test_whose_turn_it_is_is_well_where_anybody_is(rests: list[int], last: int, now_s: int) -> None:
    health = [Health(1, until) for until in rests]
    last %= len(rests)
    place = turn_of(health, last, now_s)
    if any(until <= now_s for until in rests):
        assert rests[place] <= now_s and (rests[last] > now_s or place == last)
    else:
        assert rests[place] == min(rests)


def test_a_dead_node_costs_one_poll_and_the_next_takes_over(
    two: tuple[EvmChain, JsonRpcServer, JsonRpcServer], tmp_path: Path
) -> None:
    chain, first, second = two
    chain.mine()
    address = keccak(b"somewhere")[:20]
    settlement = SettlementChain(
        [first.url, second.url], KEY, Domain(chain.chain_id, address), tmp_path / "p", lambda *_: None
    )
    account = settlement._account
    account.pool.turn().chain_id()
    first.stop()
    with pytest.raises(RemoteChainError, match=first.url):
        asyncio.run(settlement.events())
    with pytest.raises(RemoteChainError, match=f"no contract.*{second.url}"):
        asyncio.run(settlement.events())


def test_nodes_of_two_chains_are_told_apart(two: tuple[EvmChain, JsonRpcServer, JsonRpcServer]) -> None:
    _, server, _ = two
    other = Answering(json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x5"}).encode())
    pool = NodePool([server.url, other.url])
    assert pool.chain_id == 31_337
    pool.failed()
    pool.turn()
    with pytest.raises(RemoteChainError, match="chain 5, not 31337"):
        assert pool.chain_id
    other.stop()


def test_nodes_that_differ_about_a_final_block_stop_everything(
    two: tuple[EvmChain, JsonRpcServer, JsonRpcServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, first, second = two
    chain.mine()
    clock = [0.0]
    pool = NodePool([first.url, second.url], clock=lambda: clock[0])
    hash_ = bytes(chain.header(1).hash)
    pool.compare(1, hash_)
    block = EvmNode.block

    def other(node: EvmNode, number: int | None = None) -> Block | None:
        found = block(node, number)
        return replace(found, hash=bytes(32)) if found is not None and node.url == second.url else found

    monkeypatch.setattr(EvmNode, "block", other)
    pool.compare(1, hash_)
    clock[0] += 100
    with pytest.raises(RemoteDisagreementError, match="block 1"):
        pool.compare(1, hash_)
    pool.compare(99, hash_)  # a node that has no such block yet has no opinion


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200), (b"nonsense", 200), (b"[]", 200), (b"{}", 200), (b'{"result": 5}', 200),
        (b'{"result": "0xzz"}', 200),
        (b"<html>", 502), (b'{"error": "x"}', 200), (b'{"error": {"code": -32005, "message": "limit exceeded"}}', 429),
        (b'{"result": [1]}', 200),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_the_nodes_failure(body: bytes, status: int) -> None:
    server = Answering(body, status)
    node = EvmNode(server.url)
    for ask in (node.chain_id, node.block, lambda: node.receipt(bytes(32)), lambda: node.logs([], 0, 1)):
        with pytest.raises(RemoteChainError):
            ask()
    server.stop()


def test_a_revert_carries_its_output_and_a_refused_transaction_its_kind() -> None:
    revert = Answering(b'{"error": {"code": 3, "message": "execution reverted", "data": "0x01020304"}}')
    with pytest.raises(RemoteRevertError) as refused:
        EvmNode(revert.url).call(bytes(20), b"")
    assert refused.value.output == b"\x01\x02\x03\x04"
    revert.stop()
    for words, sighting in (
        ("already known", Sighting.TAKEN),
        ("AlreadyKnown", Sighting.TAKEN),
        ("Known transaction", Sighting.TAKEN),
        ("replacement transaction underpriced", Sighting.UNDERPRICED),
        ("transaction underpriced: tip needed 2", Sighting.UNDERPRICED),
        ("nonce too low: next nonce 7, tx nonce 6", Sighting.NONCE_USED),
        ("OldNonce", Sighting.NONCE_USED),
        ("insufficient funds for gas * price + value", Sighting.NOT_TAKEN),
        ("exceeds block gas limit", Sighting.NOT_TAKEN),
    ):
        server = Answering(json.dumps({"error": {"code": -32000, "message": words}}).encode())
        with pytest.raises(RemoteRefusalError) as said:
            EvmNode(server.url).send_raw(b"\x02")
        assert said.value.sighting is sighting is answer_of(words)
        server.stop()
