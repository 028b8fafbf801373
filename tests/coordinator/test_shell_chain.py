"""Headers reach the contract once each, and its events reach the core once each, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from contracts.demands import Question, answer_meter, ask_leaf
from contracts.evidence import NO_SIBLINGS_20, PlacedMeter, PostedHeader
from contracts.header_rules import Terms
from contracts.interval import interval_of
from contracts.messages import Bid
from contracts.signature import address_of, signer_of
from coordinator import transaction_table
from coordinator.chain_events import (
    AccountOpened,
    ChainEvent,
    DemandRaised,
    Deposited,
    HeaderFinalised,
    HeaderPosted,
    OrderCancelled,
    OrderForced,
)
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator
from coordinator.replay import first_difference, replay
from coordinator.shell.chain import SettlementChain
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.deployment import StreetAccount, open_street
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode
from coordinator.store.store import Store
from simulators.evm_chain import DEV_KEY
from tests.coordinator.chain_setting import (
    DEPOSIT_NANO,
    HOMES,
    OPERATOR,
    START_S,
    Setting,
    deployed,
    drain,
)
from tests.coordinator.order_escrow import fund_orders


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with deployed(tmp_path) as made:
        yield made


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
    assert all(50_000 < event.gas < 110_000 for event in posted)


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
    fund_orders(setting.server.url, setting.deployment, 1)
    trader = EvmAccount(setting.server.url, owner)
    payload = ContractInterface("EnergyTrading").call("createOrder", 500, 200_000, START_S + 7_200, 0)
    trader.transact(setting.deployment.trading, payload)
    trader.transact(setting.deployment.trading, ContractInterface("EnergyTrading").call("cancelOrder", 1 << 32 | 1))

    async def scenario() -> list[ChainEvent]:
        chain = setting.chain()
        await chain.resume_after(0)
        return await drain(chain)

    *_, forced, cancelled = asyncio.run(scenario())
    closed_at_s = int(setting.evm.header(setting.evm.block_number).timestamp)
    assert isinstance(forced, OrderForced) and cancelled == OrderCancelled(forced.order_id, closed_at_s)
    assert isinstance(forced.bid, Bid)
    assert (forced.bid.account, forced.bid.quantity_wh, forced.bid.limit_price) == (1, 500, 200_000)
    assert (forced.order_id, forced.bid.version) == (1 << 32 | 1, 1 << 31 | 1)


def test_a_demand_reaches_the_core_and_an_answer_that_proves_nothing_is_an_alarm(setting: Setting) -> None:
    settlement_at, token_at = setting.deployment.domain.contract, setting.deployment.address("EnergyToken")
    token, book = ContractInterface("EnergyToken"), ContractInterface("DataDemands")
    at, asker = setting.deployment.address("DataDemands"), EvmAccount(setting.server.url, DEV_KEY)

    async def scenario() -> list[ChainEvent]:
        chain = setting.chain()
        await chain.resume_after(0)
        (header,) = setting.headers(1)
        await chain.submit(header)
        setting.pass_intervals(2)
        await drain(chain)
        posted = PostedHeader(header, 0)
        asker.transact(token_at, token.call("mint", asker.address, 10**9))
        asker.transact(token_at, token.call("approve", at, 10**9))
        call = ask_leaf(posted, Question.METER, 5).call
        asker.transact(at, book.call(call.function, *call.arguments))
        events = await drain(chain)
        (raised,) = [event for event in events if isinstance(event, DemandRaised)]
        nothing = answer_meter(raised.number, posted, 5, PlacedMeter(None, NO_SIBLINGS_20))
        for _ in range(2):
            await chain.answer(raised.number, nothing, raised.deadline_s)
        await drain(chain)
        return events

    events = asyncio.run(scenario())
    (raised,) = [event for event in events if isinstance(event, DemandRaised)]
    assert (raised.index, raised.question, raised.subject) == (0, Question.METER, 5)
    assert raised.deadline_s > setting.now[0] and settlement_at == setting.deployment.address("Settlement")
    assert [code for code, _ in setting.alarms] == ["answer_refused"]
    assert setting.alarms[0][1].endswith("NotInTree")


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


def test_the_guardian_stops_posting_and_the_members_vote_to_go_on(setting: Setting) -> None:
    settlement = ContractInterface("Settlement")

    async def scenario() -> None:
        chain = setting.chain()
        await chain.resume_after(0)
        (header,) = setting.headers(1)
        await chain.submit(header)
        setting.guardian(settlement.call("halt"))
        setting.pass_intervals(2)
        await drain(chain)
        assert setting.posts() == 0
        setting.vote(settlement.call("restart", 0, address_of(OPERATOR)))
        chain._poster._paused_until_s = 0
        await drain(chain)

    asyncio.run(scenario())
    ((code, text),) = setting.alarms
    assert code == "post_refused" and text.endswith(": IsHalted") and str(interval_of(START_S)) in text
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
    monkeypatch.setattr(transaction_table, "STUCK_AFTER_S", 0)
    swallowed: list[bytes] = []
    send_raw = EvmNode.send_raw

    def swallow(node: EvmNode, raw: bytes) -> None:
        if len(swallowed) < 2:
            swallowed.append(raw)
        else:
            send_raw(node, raw)

    monkeypatch.setattr(EvmNode, "send_raw", swallow)

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
    assert all(dearer * 100 >= fee * 112.5 for fee, dearer in pairwise(fees))
    assert chain.counters["transactions_stuck"] == 2


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
        strange = setting.chain(terms=Terms(grace=5))
        await strange.resume_after(0)
        with pytest.raises(RemoteChainError, match="graceIntervals 4, the configuration says 5"):
            await strange.events()
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
