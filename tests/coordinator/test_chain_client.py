"""What a watcher sees of the chain is what happened, and what it sends is judged before and done once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.challenges import post
from contracts.eip712 import keccak
from contracts.evidence import Call, message_struct
from contracts.header_rules import FIRST_HEADER_PREVIOUS, header_digest
from contracts.interval import INTERVAL_S, interval_of
from contracts.messages import Header
from contracts.signature import address_of
from coordinator.shell.chain_client import ChainClient, SeenFinal, SeenHeader
from coordinator.shell.deployment import Deployment, StreetAccount, deploy, open_street
from coordinator.shell.deployment_profile import load_profile
from coordinator.shell.evm_account import EvmAccount, RemoteRevertError
from coordinator.shell.transaction_journal import LocalWishError
from coordinator.transaction_table import TransactionState
from simulators.evm_chain import DEV_KEY, EvmChain
from simulators.live.json_rpc import JsonRpcServer
from tests.coordinator.order_escrow import fund_orders

OPERATOR, HOME = keccak(b"operator of the clients"), keccak(b"a home of the clients")
START_S = 1_900_000_000 // INTERVAL_S * INTERVAL_S
TREE = keccak(b"tree")
HEADER = Header(
    interval_of(START_S), FIRST_HEADER_PREVIOUS, TREE, TREE, TREE, TREE, 320_000, 80_000, 200_000, 0
)  # fmt: skip


class Site:
    """A deployment, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, [START_S]
        self.server = JsonRpcServer(EvmChain(lambda: self.now[0]))
        self.server.start()
        self.deployment: Deployment = deploy(
            self.server.url, DEV_KEY, address_of(OPERATOR), folder / "d.json", load_profile("test")
        )

    def client(self, key: bytes | None = None) -> ChainClient:
        journal = None if key is None else self.folder / address_of(key).hex()
        return ChainClient(self.server.url, self.deployment, key=key, journal=journal)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("client"))
    yield made
    made.server.stop()


def test_a_call_is_judged_before_it_is_sent_and_done_once(site: Site) -> None:
    operator, anybody = site.client(OPERATOR), site.client()
    assert operator.would(post(HEADER)) == "IntervalNotOver" and anybody.would(post(HEADER)) == "NotAuthorised"
    with pytest.raises(RemoteRevertError, match="IntervalNotOver"):
        operator.send(post(HEADER))
    with pytest.raises(LocalWishError):
        anybody.want(post(HEADER))
    site.now[0] += 2 * INTERVAL_S
    assert operator.would(post(HEADER)) is None
    assert operator.send(post(HEADER)).state is TransactionState.FINAL
    with pytest.raises(RemoteRevertError, match="NotAfterTip"):
        operator.send(post(HEADER))
    seen, following = anybody.headers()
    (posted,) = seen
    assert isinstance(posted, SeenHeader)
    assert (posted.index, posted.header, posted.digest) == (0, HEADER, header_digest(HEADER, site.deployment.domain))
    assert anybody.ask("Settlement", "headerCount") == (1,)
    site.now[0] += 10 * INTERVAL_S
    finalise = Call("Settlement", "finalise", ((message_struct(HEADER), 0),))
    operator.send(finalise)
    (final,) = anybody.headers(following)[0]
    assert isinstance(final, SeenFinal) and final.index == 0
    assert anybody.headers(anybody.headers()[1])[0] == []


def test_orders_are_read_with_when_they_were_closed(site: Site) -> None:
    owner = address_of(HOME)
    open_street(site.server.url, DEV_KEY, site.deployment, [StreetAccount(owner, owner, 10**9)])
    EvmAccount(site.server.url, DEV_KEY).transact(owner, b"", 10**18)
    fund_orders(site.server.url, site.deployment, 1)
    home = site.client(HOME)
    expiry = site.now[0] + 7_200
    for price in (200_000, 210_000):
        home.send(Call("EnergyTrading", "createOrder", (500, price, expiry, 0)))
    home.send(Call("EnergyTrading", "cancelOrder", (1 << 32 | 2,)))
    first, second = site.client().orders()
    assert (first.order_id, second.order_id) == (1 << 32 | 1, 1 << 32 | 2)
    assert first.closed_at_s == 0 and second.closed_at_s >= site.now[0]
    assert (second.bid.account, second.bid.version, second.bid.limit_price) == (1, 1 << 31 | 2, 210_000)


def test_whoever_sends_keeps_a_journal(site: Site) -> None:
    with pytest.raises(LocalWishError, match="journal"):
        ChainClient(site.server.url, site.deployment, key=OPERATOR)
