"""The same on anvil: deployment with all its facts, reorgs within and beyond the depth, and a node that is killed."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contracts.artifacts import anvil
from contracts.eip712 import keccak
from contracts.header_rules import FIRST_HEADER_PREVIOUS
from contracts.interval import INTERVAL_S, interval_of
from contracts.messages import Header
from contracts.signature import address_of
from coordinator.chain_events import ChainEvent, HeaderPosted
from coordinator.shell.chain import SettlementChain
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.deployment import Deployment, deploy, noted_profile
from coordinator.shell.deployment_check import Judgement, check
from coordinator.shell.deployment_profile import load_profile
from coordinator.shell.evm_node import EvmNode
from coordinator.shell.transactor import RemoteReorgError
from simulators.evm_chain import DEV_KEY

pytestmark = [pytest.mark.real("anvil"), pytest.mark.slow]
OPERATOR = keccak(b"operator of the real chain")
START_S = 2_000_000_000 // INTERVAL_S * INTERVAL_S
DEPTH = 3


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Real:
    """An anvil, and the contracts on it."""

    folder: Path
    process: subprocess.Popen[bytes]
    url: str
    deployment: Deployment
    alarms: list[str] = field(default_factory=list)

    def ask(self, method: str, *params: Any) -> Any:
        return EvmNode(self.url).ask(method, *params)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.ask("evm_mine")

    def chain(self, *urls: str) -> SettlementChain:
        return SettlementChain(
            list(urls) or [self.url], OPERATOR, self.deployment.domain, self.folder / "progress.json",
            lambda code, _: self.alarms.append(code), trading=self.deployment.trading,
            first_block=self.deployment.first_block, finality_depth=DEPTH,
        )  # fmt: skip


def start_anvil(port: int, *more: str) -> subprocess.Popen[bytes]:
    binary = anvil()
    if binary is None:
        pytest.skip("anvil is not installed in contracts/solidity/node_modules")
    process = subprocess.Popen(
        [str(binary), "--port", str(port), "--silent", "--timestamp", str(START_S), "--hardfork", "cancun", *more]
    )
    node, deadline = EvmNode(f"http://127.0.0.1:{port}"), time.monotonic() + 30
    while True:
        try:
            node.chain_id()
            return process
        except RemoteChainError:
            assert time.monotonic() < deadline, "anvil does not answer"
            time.sleep(0.05)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    port = free_port()
    process = start_anvil(port)
    url = f"http://127.0.0.1:{port}"
    try:
        deployment = deploy(url, DEV_KEY, address_of(OPERATOR), tmp_path / "deployment.json", load_profile("test"))
        yield Real(tmp_path, process, url, deployment)
    finally:
        process.kill()
        process.wait()


def header_of() -> Header:
    tree = keccak(b"tree")
    return Header(interval_of(START_S) - 1, FIRST_HEADER_PREVIOUS, tree, tree, tree, tree, 320_000, 80_000, 200_000, 0)


async def polls(chain: SettlementChain, count: int = 2) -> list[ChainEvent]:
    found: list[ChainEvent] = []
    for _ in range(count):
        found += await chain.events()
    return found


def test_anvil_takes_the_whole_deployment_and_every_fact_holds(real: Real) -> None:
    path = real.folder / "deployment.json"
    findings = list(check(EvmNode(real.url), path, noted_profile(path)))
    assert [finding.text for finding in findings if finding.judgement is Judgement.FAILS] == []


def test_a_header_that_a_reorg_takes_away_is_posted_again_once(real: Real) -> None:
    async def scenario() -> list[ChainEvent]:
        chain = real.chain()
        await chain.resume_after(0)
        await chain.submit(header_of())
        await polls(chain)
        for _ in range(2):
            mark = real.ask("eth_blockNumber")
            real.ask("anvil_reorg", 1, [])
            real.ask("anvil_dropAllTransactions")
            assert real.ask("eth_blockNumber") == mark
            await polls(chain)
            real.mine()
            await polls(chain, 1)
        real.mine(DEPTH + 1)
        return await polls(chain, 3)

    events = asyncio.run(scenario())
    assert [event.index for event in events if isinstance(event, HeaderPosted)] == [0]
    assert "deep_reorg" not in real.alarms


def test_a_deeper_reorg_ends_it_also_after_a_restart(real: Real) -> None:
    async def scenario() -> None:
        real.mine(2 * DEPTH)
        chain = real.chain()
        await chain.resume_after(0)
        await polls(chain)
        real.mine(DEPTH)
        await polls(chain)
        await chain.stop()
        real.ask("anvil_reorg", 2 * DEPTH, [])
        for again in (chain, real.chain()):
            with pytest.raises(RemoteReorgError):
                await polls(again)

    asyncio.run(scenario())
    assert set(real.alarms) == {"deep_reorg"}


def test_when_one_of_two_nodes_is_killed_the_other_goes_on(real: Real) -> None:
    """The second anvil forks the first: the same chain up to here, behind another process."""
    real.mine(DEPTH)
    port = free_port()
    second = start_anvil(port, "--fork-url", real.url, "--no-storage-caching")
    url = f"http://127.0.0.1:{port}"

    async def scenario() -> list[ChainEvent]:
        chain = real.chain(url, real.url)
        await chain.resume_after(0)
        await polls(chain)
        second.kill()
        second.wait()
        await chain.submit(header_of())
        with pytest.raises(RemoteChainError):
            await polls(chain, 1)
        await polls(chain)
        real.mine(DEPTH)
        return await polls(chain)

    try:
        events = asyncio.run(scenario())
    finally:
        second.kill()
    assert [event.index for event in events if isinstance(event, HeaderPosted)] == [0]
