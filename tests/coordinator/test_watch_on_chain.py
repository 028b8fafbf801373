"""On a chain: the watcher voids lies and silence by itself; an honest coordinator answers whatever is asked."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.challenges import post
from contracts.codes import AuctionRule
from contracts.demands import Question, ask_cover, ask_leaf
from contracts.eip712 import keccak
from contracts.evidence import Call, PostedHeader
from contracts.header_rules import header_digest
from contracts.interval import INTERVAL_S
from contracts.posting import Posting
from contracts.signature import address_of
from coordinator.chain_events import CoverDemanded, DemandRaised, HeaderPosted
from coordinator.cli import app
from coordinator.effects import SubmitAnswer
from coordinator.shell.chain_client import ChainClient
from coordinator.shell.deployment import Deployment, StreetAccount, deploy, open_street
from coordinator.shell.deployment_profile import load_profile
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.public_records import PublicRecords
from coordinator.shell.records import publish_record
from coordinator.shell.watching import Watch, terms_of
from simulators.evm_chain import DEV_KEY, EvmChain
from simulators.live.json_rpc import JsonRpcServer
from tests.contracts.honest_market import Market
from tests.contracts.local_chain import private_key
from tests.coordinator.street import key_of
from tests.coordinator.test_watch import with_gift
from tests.coordinator.trading_day import SUNDAY_NOON_S, TradingDay, day_market

OPERATOR, STRANGER = keccak(b"operator of the watched"), keccak(b"a stranger who watches")
HOMES = 4
FIRST = SUNDAY_NOON_S // INTERVAL_S
NANO = 10**9


class Site:
    """A deployment on a chain whose clock stands still until it is moved."""

    def __init__(self, folder: Path, operator: bytes, keys: list[bytes]) -> None:
        self.folder, self.now = folder, [SUNDAY_NOON_S]
        self.server = JsonRpcServer(EvmChain(lambda: self.now[0]))
        self.server.start()
        url = self.server.url
        self.path = folder / "deployment.json"
        self.deployment: Deployment = deploy(url, DEV_KEY, address_of(operator), self.path, load_profile("test"))
        homes = [StreetAccount(address_of(key), address_of(key), 1_000_000 * NANO) for key in keys]
        open_street(url, DEV_KEY, self.deployment, homes)
        stranger = address_of(STRANGER)
        EvmAccount(url, DEV_KEY).transact(stranger, b"", 10**19)
        ChainClient(url, self.deployment, key=DEV_KEY, journal=folder / "mint").send(
            Call("EnergyToken", "mint", ("0x" + stranger.hex(), 10_000 * NANO))
        )
        self.operator = self.client(operator)

    def client(self, key: bytes) -> ChainClient:
        journal = self.folder / address_of(key).hex()
        return ChainClient(self.server.url, self.deployment, key=key, journal=journal)

    def post(self, posting: Posting, records: Path | None) -> None:
        self.now[0] = max(self.now[0], (posting.header.interval + 1) * INTERVAL_S)
        if records is not None:
            publish_record(records, posting.header.interval, posting.record.to_bytes())
        self.operator.send(post(posting.header))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, OPERATOR, [private_key(account) for account in range(1, HOMES + 1)])
    yield made
    made.server.stop()


def settle(watch: Watch) -> None:
    """Reads, acts, and waits until what was sent is final."""
    watch.read()
    for action in watch.actions():
        watch.act(action)
    while watch.step():
        pass


def test_a_watcher_voids_a_lie_and_then_silence_and_is_paid_for_both(site: Site, tmp_path: Path) -> None:
    records = tmp_path / "records"
    stranger = site.client(STRANGER)
    told: list[tuple[str, str]] = []
    watch = Watch(stranger, PublicRecords([str(records)]), lambda *words: told.append(words), (1,))
    watch.allow_fees()
    market = Market(random.Random(5), HOMES, FIRST, site.deployment.domain, terms_of(stranger))
    for _ in range(3):
        site.post(market.step(), records)
    settle(watch)
    assert told == [] and watch.watcher.judged == 3
    had = stranger.ask("EnergyToken", "balanceOf", "0x" + stranger.sender.hex())[0]
    honest = market.step()
    site.post(with_gift(honest), records)
    settle(watch)
    assert [word for word, _ in told] == ["filed", "final"]
    watch.read()
    assert stranger.ask("Settlement", "headerCount") == (3,) and stranger.ask("Settlement", "halted") == (True,)
    assert stranger.ask("EnergyToken", "balanceOf", "0x" + stranger.sender.hex())[0] == had + 500 * NANO


def test_silence_voids_a_header(site: Site, tmp_path: Path) -> None:
    records = tmp_path / "records"
    stranger = site.client(STRANGER)
    told: list[tuple[str, str]] = []
    watch = Watch(stranger, PublicRecords([str(records)]), lambda *words: told.append(words), (1,))
    watch.allow_fees()
    market = Market(random.Random(6), HOMES, FIRST, site.deployment.domain, terms_of(stranger))
    site.post(market.step(), records)
    site.post(market.step(), None)
    settle(watch)
    assert Counter(word for word, _ in told) == {"asked": 3, "final": 3}, told
    site.now[0] += stranger.ask("DataDemands", "answerWindowS")[0] + 60
    site.operator.send(Call("EnergyToken", "approve", ("0x" + bytes(19).hex() + "01", 1)))  # a block at that time
    settle(watch)
    assert stranger.ask("Settlement", "headerCount") == (1,)
    assert "void" not in [word for word, _ in told]
    watch.read()
    assert told[-1] == ("void", "header 1 and all after it are void")


def test_verify_says_whether_every_rule_holds(site: Site, tmp_path: Path) -> None:
    records = tmp_path / "records"
    market = Market(random.Random(7), HOMES, FIRST, site.deployment.domain, terms_of(site.operator))
    for _ in range(2):
        site.post(market.step(), records)
    command = ["verify", "--rpc", site.server.url, "--deployment", str(site.path), "--records", str(records)]
    fine = CliRunner().invoke(app, command)
    assert fine.exit_code == 0 and "fine: 2 of 2 headers judged: every rule holds" in fine.output
    assert CliRunner().invoke(app, [*command, "7"]).exit_code == 1
    site.post(with_gift(market.step()), records)
    wrong = CliRunner().invoke(app, command)
    assert wrong.exit_code == 1 and "wrong: header 2: balance 1: the result did not move" in wrong.output
    assert CliRunner().invoke(app, [*command, "1"]).exit_code == 0
    (records / f"{FIRST + 1}.json").unlink()
    withheld = CliRunner().invoke(app, [*command, "1"])
    assert withheld.exit_code == 1 and "its record is served by nobody" in withheld.output
    command[0] = "watch"
    only_told = CliRunner().invoke(app, [*command, "--once"])
    assert only_told.exit_code == 0 and "withheld: header 1" in only_told.output


class QuietDay(TradingDay):
    """A day on which nobody goes to the chain for an order."""

    def _force(self, account: int) -> None:
        self._bid(account)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_coordinator_answers_every_question_about_its_own_headers(seed: int, tmp_path: Path) -> None:
    from tests.coordinator.street import OPERATOR as STREET_OPERATOR

    homes = 3
    site = Site(tmp_path, STREET_OPERATOR, [key_of(account) for account in range(1, homes + 1)])
    try:
        domain = site.deployment.domain
        market = replace(day_market(AuctionRule.SPOT_SHARED), domain=domain)
        day = QuietDay(seed, market, homes)
        day.run(6)
        stranger = site.client(STRANGER)
        Watch(stranger, lambda _: None, lambda *_: None).allow_fees()
        answered: Counter[Question] = Counter()
        previous: Posting | None = None
        for index, (record, header) in enumerate(day.history):
            posting = Posting(header, index, record)
            site.post(posting, None)
            digest = header_digest(header, domain)
            day.street.core.on_chain_event(HeaderPosted(index, digest, site.now[0], 1), day.street.now_ms)
            answered.update(asked_and_answered(site, stranger, day, posting, previous))
            previous = posting
        assert set(answered) >= set(Question) - {Question.COVER, Question.ROUND, Question.ORDERED}
    finally:
        site.server.stop()


def asked_and_answered(
    site: Site, stranger: ChainClient, day: TradingDay, posting: Posting, previous: Posting | None
) -> Iterator[Question]:
    proof, places = posting.posted, range(len(posting.record.auctions))
    asked = [ask_leaf(proof, Question.AUCTION, place) for place in (0, len(places))]
    for account in (0, 1, 3):
        for question in (Question.METER, Question.BALANCE, Question.READING, Question.COMMITMENTS):
            asked.append(ask_leaf(proof, question, account))
        for place in places[:4]:
            asked.append(ask_leaf(proof, Question.SLOT, account, posting.auction(place)))
            asked.append(ask_leaf(proof, Question.SIGNATURE, account, posting.auction(place)))
    for place in places:
        if any(posting.record.auctions[place].auction.previous):
            asked.append(ask_leaf(proof, Question.PREVIOUS, 0, posting.auction(place)))
    for account in (1, 2, 3):
        before = None if previous is None else previous.balance(account)
        if before is not None and previous is not None:
            asked.append(ask_cover(proof, account, previous.header, before, posting.balance(account)))
    dice = random.Random(posting.index)
    dice.shuffle(asked)
    tried: Counter[Question] = Counter()
    for demand in asked:  # two of each kind: who asks more is told to wait
        tried[demand.question] += 1
        if tried[demand.question] > 2:
            continue
        refusal = stranger.would(demand.call)
        if refusal is not None:
            assert (demand.question, refusal) == (Question.COVER, "NothingToAsk")
            continue
        stranger.send(demand.call)
        number = stranger.ask("DataDemands", "demandCount")[0]
        assert answers(site, day, number, proof, demand.question, demand.auction_place, demand.subject)
        yield demand.question


def answers(
    site: Site, day: TradingDay, number: int, proof: PostedHeader, question: Question, place: int, subject: int
) -> bool:
    deadline_s = site.now[0] + 600
    event = DemandRaised(number, proof.index, int(question), place, subject, deadline_s)
    effects = day.street.core.on_chain_event(event, day.street.now_ms)
    if question == Question.COVER:
        row = day.street.core.answers.open()[-1]
        assert row.number == number
        told = CoverDemanded(number, 0, 0, bytes(32))
        effects = day.street.core.on_chain_event(told, day.street.now_ms)
    (answer,) = effects
    assert isinstance(answer, SubmitAnswer)
    site.operator.send(answer.call)
    return True
