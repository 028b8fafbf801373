"""Headers reach the contract once each, and its events reach the core once each, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from contracts.eip712 import keccak
from contracts.header_rules import FIRST_HEADER_PREVIOUS, header_digest
from contracts.interval import INTERVAL_S, interval_of
from contracts.messages import Bid, Header
from contracts.signature import address_of, signer_of
from coordinator.chain_events import (
    AccountOpened,
    ChainEvent,
    Deposited,
    HeaderFinalised,
    HeaderPosted,
    OrderCancelled,
    OrderForced,
)
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.replay import first_difference, replay
from coordinator.shell import poster as poster_module
from coordinator.shell.chain import SettlementChain
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.deployment import (
    Deployment,
    DeploymentTerms,
    LocalDeploymentError,
    StreetAccount,
    deploy,
    load_deployment,
    open_street,
)
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.posting import NEXT_STATE, PostingState, Sighting
from coordinator.store.store import Store
from simulators.evm_chain import DEV_KEY, EvmChain
from simulators.live.json_rpc import JsonRpcServer

OPERATOR = keccak(b"operator of the chain tests")
HOMES = [keccak(b"home" + bytes([n])) for n in range(3)]
DEPOSIT_NANO = 50 * 10**9
START_S = 1_900_000_000 // INTERVAL_S * INTERVAL_S
WINDOW_S = 3_600


@dataclass
class Setting:
    """Contracts on an embedded chain behind HTTP, with a clock that tests move."""

    folder: Path
    now: list[int]
    evm: EvmChain
    server: JsonRpcServer
    deployment: Deployment
    alarms: list[tuple[str, str]] = field(default_factory=list)

    def chain(self, **how: Any) -> SettlementChain:
        return SettlementChain(
            self.server.url, OPERATOR, self.deployment.domain, self.folder / "progress.json",
            lambda code, text: self.alarms.append((code, text)), trading=self.deployment.trading,
            first_block=self.deployment.first_block, **how,
        )  # fmt: skip

    def headers(self, count: int) -> list[Header]:
        found, previous = [], FIRST_HEADER_PREVIOUS
        for place in range(count):
            tree = bytes([place + 1]) * 32
            header = Header(interval_of(START_S) + place, previous, tree, tree, tree, tree, 320_000, 80_000, 1, 0)
            found.append(header)
            previous = header_digest(header, self.deployment.domain)
        return found

    def pass_intervals(self, count: int) -> None:
        self.now[0] += count * INTERVAL_S
        self.evm.mine()

    def posts(self) -> int:
        """Headers that stand on the chain, counted by their events."""
        topic = ContractInterface("Settlement").topic("HeaderPosted")
        return len(self.evm.logs(0, self.evm.block_number, topics=(frozenset({topic}),)))


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    now = [START_S]
    evm = EvmChain(lambda: now[0])
    server = JsonRpcServer(evm)
    server.start()
    terms = DeploymentTerms(finality_window_s=WINDOW_S)
    deployment = deploy(server.url, DEV_KEY, address_of(OPERATOR), tmp_path / "deployment.json", terms)
    yield Setting(tmp_path, now, evm, server, deployment)
    server.stop()


async def drain(chain: SettlementChain, polls: int = 4) -> list[ChainEvent]:
    events: list[ChainEvent] = []
    for _ in range(polls):
        events += await chain.events()
    return events


def test_deploying_twice_changes_nothing_and_a_street_is_opened_once(setting: Setting) -> None:
    path = setting.folder / "deployment.json"
    blocks = setting.evm.block_number
    terms = DeploymentTerms(finality_window_s=WINDOW_S)
    assert deploy(setting.server.url, DEV_KEY, address_of(OPERATOR), path, terms) == setting.deployment
    assert load_deployment(path) == setting.deployment
    assert setting.evm.block_number == blocks
    street = [StreetAccount(address_of(key), address_of(key), DEPOSIT_NANO) for key in HOMES]
    assert open_street(setting.server.url, DEV_KEY, setting.deployment, street) == [1, 2, 3]
    blocks = setting.evm.block_number
    assert open_street(setting.server.url, DEV_KEY, setting.deployment, street) == [1, 2, 3]
    assert setting.evm.block_number == blocks
    with pytest.raises(LocalDeploymentError, match="operator"):
        deploy(setting.server.url, DEV_KEY, bytes(19) + b"\x01", path)
    path.write_text(path.read_text().replace(setting.deployment.settlement, "0x" + "11" * 20))
    with pytest.raises(LocalDeploymentError, match="nothing there"):
        deploy(setting.server.url, DEV_KEY, address_of(OPERATOR), path)
    path.write_text("{")
    with pytest.raises(LocalDeploymentError):
        load_deployment(path)


def test_headers_are_posted_in_order_once_each_however_often_they_are_submitted(setting: Setting) -> None:
    async def scenario() -> list[ChainEvent]:
        chain = setting.chain()
        await chain.resume_after(0)
        headers = setting.headers(5)
        for header in [*headers[::-1], *headers]:
            await chain.submit(header)
        early = await drain(chain)
        assert [e for e in early if isinstance(e, HeaderPosted)] == []
        setting.pass_intervals(3)
        await drain(chain)
        assert setting.posts() == 3
        for header in headers:
            await chain.submit(header)
        setting.pass_intervals(10)
        events = await drain(chain)
        assert chain.waiting == 0
        return events

    asyncio.run(scenario())
    assert setting.posts() == 5
    assert setting.alarms == []


def test_events_come_once_each_in_order_also_over_restarts(setting: Setting) -> None:
    street = [StreetAccount(address_of(key), address_of(key), DEPOSIT_NANO) for key in HOMES]
    open_street(setting.server.url, DEV_KEY, setting.deployment, street)

    async def scenario() -> list[ChainEvent]:
        told: list[ChainEvent] = []
        headers = setting.headers(6)
        for place in range(0, 6, 2):
            chain = setting.chain()
            await chain.resume_after(len(told))
            for header in headers[place : place + 2]:
                await chain.submit(header)
            setting.pass_intervals(2)
            told += await drain(chain)
            if place == 2:
                await chain.stop()
        chain = setting.chain()
        await chain.resume_after(len(told))
        assert await drain(chain) == []
        again = setting.chain()
        (setting.folder / "progress.json").unlink()
        await again.resume_after(0)
        assert await drain(again) == told
        return told

    told = asyncio.run(scenario())
    opened = [event.account for event in told if isinstance(event, AccountOpened)]
    assert opened == [0, 1, 2, 3]
    assert sum(event.amount_nano for event in told if isinstance(event, Deposited)) == 3 * DEPOSIT_NANO
    posted = [event for event in told if isinstance(event, HeaderPosted)]
    assert [event.index for event in posted] == list(range(6))
    assert all(50_000 < event.gas < 90_000 for event in posted)


def test_old_headers_are_made_final_also_after_a_restart(setting: Setting) -> None:
    async def scenario() -> list[ChainEvent]:
        told: list[ChainEvent] = []
        headers = setting.headers(10)
        for group in (headers[:4], headers[4:]):
            chain = setting.chain()
            await chain.resume_after(len(told))
            for header in group:
                await chain.submit(header)
            setting.pass_intervals(8)
            told += await drain(chain, 6)
            await chain.stop()
        return told

    told = asyncio.run(scenario())
    assert [event.index for event in told if isinstance(event, HeaderFinalised)] == [3]


def test_finality_depth_holds_events_back_until_blocks_follow(setting: Setting) -> None:
    async def scenario() -> tuple[int, int]:
        chain = setting.chain(finality_depth=3)
        await chain.resume_after(0)
        (header,) = setting.headers(1)
        await chain.submit(header)
        setting.pass_intervals(2)
        before = [e for e in await drain(chain) if isinstance(e, HeaderPosted)]
        for _ in range(3):
            setting.evm.mine()
        after = [e for e in await drain(chain) if isinstance(e, HeaderPosted)]
        return len(before), len(after)

    assert asyncio.run(scenario()) == (0, 1)
    assert setting.posts() == 1


def test_a_forced_order_and_its_cancellation_reach_the_core(setting: Setting) -> None:
    owner = HOMES[0]
    home = StreetAccount(address_of(owner), address_of(owner), DEPOSIT_NANO)
    open_street(setting.server.url, DEV_KEY, setting.deployment, [home])
    EvmAccount(setting.server.url, DEV_KEY).transact(home.owner, b"", 10**18)
    trader = EvmAccount(setting.server.url, owner)
    payload = ContractInterface("EnergyTrading").call("createOrder", 500, 200_000, START_S + 7_200, 0)
    trader.transact(setting.deployment.trading, payload)
    trader.transact(setting.deployment.trading, ContractInterface("EnergyTrading").call("cancelOrder", 1))

    async def scenario() -> list[ChainEvent]:
        chain = setting.chain()
        await chain.resume_after(0)
        return await drain(chain)

    *_, forced, cancelled = asyncio.run(scenario())
    assert isinstance(forced, OrderForced) and cancelled == OrderCancelled(forced.order_id)
    assert isinstance(forced.bid, Bid)
    assert (forced.bid.account, forced.bid.quantity_wh, forced.bid.limit_price) == (1, 500, 200_000)


def test_a_replayed_core_that_saw_the_chain_equals_the_first(setting: Setting) -> None:
    street = [StreetAccount(address_of(key), address_of(key), DEPOSIT_NANO) for key in HOMES]
    open_street(setting.server.url, DEV_KEY, setting.deployment, street)
    market = MarketConfig("street", setting.deployment.domain, address_of(OPERATOR))

    async def scenario() -> Coordinator:
        core = Coordinator(market, Store(), signer_of(OPERATOR))
        chain = setting.chain()
        await chain.resume_after(0)
        for event in await drain(chain):
            core.on_chain_event(event, START_S * 1000)
        return core

    core = asyncio.run(scenario())
    assert len(core.registry.participants()) == 4
    assert first_difference(core.store, replay(core.store, market, signer_of(OPERATOR)).store) is None


def test_what_the_contract_refuses_is_an_alarm_with_the_errors_name_and_is_tried_again_later(setting: Setting) -> None:
    admin = EvmAccount(setting.server.url, DEV_KEY)
    settlement = ContractInterface("Settlement")

    async def scenario() -> None:
        chain = setting.chain()
        await chain.resume_after(0)
        (header,) = setting.headers(1)
        await chain.submit(header)
        admin.transact(setting.deployment.domain.contract, settlement.call("halt"))
        setting.pass_intervals(2)
        await drain(chain)
        assert setting.posts() == 0
        restart = settlement.call("restart", 0, address_of(OPERATOR))
        admin.transact(setting.deployment.domain.contract, restart)
        chain._poster._paused_until_s = 0
        await drain(chain)

    asyncio.run(scenario())
    assert (
        "post_refused",
        f"the contract refuses the header of interval {interval_of(START_S)}: IsHalted",
    ) in setting.alarms
    assert setting.posts() == 1


def test_a_header_that_does_not_continue_the_chain_is_never_sent(setting: Setting) -> None:
    async def scenario() -> None:
        chain = setting.chain()
        await chain.resume_after(0)
        first, second = setting.headers(2)
        await chain.submit(second)
        setting.pass_intervals(3)
        await drain(chain)
        assert setting.posts() == 0
        await chain.submit(first)
        await drain(chain)

    asyncio.run(scenario())
    assert setting.posts() == 2
    assert {code for code, _ in setting.alarms} == {"foreign_tip"}


def test_gas_dearer_than_the_limit_waits_and_says_so(setting: Setting) -> None:
    async def scenario() -> None:
        chain = setting.chain(fee_limit_wei=1)
        await chain.resume_after(0)
        await chain.submit(setting.headers(1)[0])
        setting.pass_intervals(2)
        await drain(chain)

    asyncio.run(scenario())
    assert setting.posts() == 0
    assert {code for code, _ in setting.alarms} == {"gas_price"}


def test_a_transaction_that_nobody_mined_is_replaced_under_its_own_nonce(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poster_module, "STUCK_AFTER_S", 0)
    swallowed: list[bytes] = []
    send_raw = EvmAccount.send_raw

    def swallow(account: EvmAccount, raw: bytes) -> None:
        if len(swallowed) < 2:
            swallowed.append(raw)
        else:
            send_raw(account, raw)

    monkeypatch.setattr(EvmAccount, "send_raw", swallow)

    async def scenario() -> SettlementChain:
        chain = setting.chain()
        await chain.resume_after(0)
        await chain.submit(setting.headers(1)[0])
        setting.pass_intervals(2)
        await drain(chain, 6)
        return chain

    chain = asyncio.run(scenario())
    fees = [_fee_of(raw) for raw in swallowed]
    nonces = {_nonce_of(raw) for raw in swallowed}
    assert setting.posts() == 1 and len(nonces) == 1
    assert all(dearer * 100 >= fee * 110 for fee, dearer in pairwise(fees))
    assert chain.counters["transactions_lost"] == 2


def _decoded(raw: bytes) -> dict[str, Any]:
    from eth_account.typed_transactions import TypedTransaction
    from hexbytes import HexBytes

    assert Account.recover_transaction(raw)
    return dict(TypedTransaction.from_bytes(HexBytes(raw)).as_dict())


def _fee_of(raw: bytes) -> int:
    return int(_decoded(raw)["maxFeePerGas"])


def _nonce_of(raw: bytes) -> int:
    return int(_decoded(raw)["nonce"])


def test_an_unreachable_or_wrong_chain_is_said_and_costs_nothing(setting: Setting, tmp_path: Path) -> None:
    async def scenario() -> None:
        away = SettlementChain("http://127.0.0.1:9", OPERATOR, setting.deployment.domain, tmp_path / "p", print)
        await away.resume_after(0)
        await away.submit(setting.headers(1)[0])
        with pytest.raises(RemoteChainError):
            await away.events()
        assert away.waiting == 1
        domain = type(setting.deployment.domain)(5, setting.deployment.domain.contract)
        other = SettlementChain(setting.server.url, OPERATOR, domain, tmp_path / "p", print)
        await other.resume_after(0)
        with pytest.raises(RemoteChainError, match="chain 31337, not 5"):
            await other.events()
        nowhere = type(setting.deployment.domain)(31_337, bytes(19) + b"\x01")
        empty = SettlementChain(setting.server.url, OPERATOR, nowhere, tmp_path / "p", print)
        await empty.resume_after(0)
        with pytest.raises(RemoteChainError, match="no contract"):
            await empty.events()

    asyncio.run(scenario())


def test_every_sighting_of_a_live_transaction_has_a_next_state() -> None:
    live = (PostingState.SENT, PostingState.MINED)
    assert set(NEXT_STATE) == {(state, sighting) for state in live for sighting in Sighting}
    assert NEXT_STATE[PostingState.MINED, Sighting.NOT_IN_A_BLOCK] is PostingState.LOST
