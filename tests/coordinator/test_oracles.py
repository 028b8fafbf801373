"""The oracle's rule in Python is the contract's: the same answers, the same refusals by name, the same collar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from contracts.eip712 import Domain, LocalValueError, digest, keccak
from contracts.signature import address_of, signer_of
from coordinator.cli import app
from coordinator.oracles.quorum import (
    Admitted,
    OracleState,
    OracleTerms,
    QuoteRefusal,
    collar,
    gather,
    is_stale,
    median,
    refusal,
)
from coordinator.oracles.quote import OracleName, Quote, SignedQuote, read_line, sign_quote
from coordinator.shell.chain_commands import DEV_DEPLOYER_KEY
from coordinator.shell.deployment import Deployment, deploy
from coordinator.shell.deployment_profile import DeploymentProfile, load_profile
from coordinator.shell.evm_account import EvmAccount, RemoteRevertError
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode
from coordinator.shell.oracle_chain import oracle_domain, read_state, submission
from simulators.evm_chain import EvmChain
from simulators.live.json_rpc import JsonRpcServer

RUN = CliRunner()
START_S = 2_000_000_000
REPORTERS = [keccak(b"reporter" + bytes([n])) for n in range(5)]
STRANGER = keccak(b"no reporter")
DOMAIN = Domain(31_337, b"\x01" * 20)
TERMS = OracleTerms(600, 900, 100, 5_000, 20_000)
STATE = OracleState(
    -1_000_000, 1_000_000, TERMS, tuple(address_of(key) for key in REPORTERS), 3, 5, 4, 200_000, START_S - 60
)


def signed(value: int, key: bytes, at_s: int = START_S, domain: Domain = DOMAIN) -> SignedQuote:
    return sign_quote(OracleName.PRICE, Quote(value, at_s), domain, signer_of(key))


# -- the rule --------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=32))
def test_the_median_is_a_value_that_was_said_with_no_more_than_half_on_each_side(values: list[int]) -> None:
    middle = median(sorted(values))
    assert middle in values
    assert sum(v < middle for v in values) * 2 < len(values)
    assert sum(v > middle for v in values) * 2 <= len(values)


def test_nothing_has_no_median() -> None:
    with pytest.raises(IndexError):
        median([])


VALUES = st.integers(-(10**6), 10**6)


@given(st.lists(VALUES, min_size=3, max_size=3), st.lists(VALUES, max_size=2))
def test_while_fewer_than_half_of_the_quorum_lie_the_median_lies_between_honest_values(
    honest: list[int], lies: list[int]
) -> None:
    assert min(honest) <= median(sorted(honest + lies)) <= max(honest)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_collar_only_opens_with_time_and_always_holds_the_answer(earlier_s: int, more_s: int) -> None:
    at_s = STATE.observed_at_s + earlier_s
    low, high = collar(STATE, at_s)
    wider_low, wider_high = collar(STATE, at_s + more_s)
    assert wider_low <= low <= STATE.answer <= high <= wider_high
    assert STATE.minimum <= wider_low and wider_high <= STATE.maximum
    assert is_stale(STATE, at_s) == (high - low > 2 * TERMS.width)


@given(
    st.lists(
        st.tuples(
            st.integers(-1_100_000, 1_100_000),
            st.sampled_from([*REPORTERS, STRANGER]),
            st.integers(START_S - 700, START_S + 5),
        ),
        max_size=8,
    )
)
def test_what_is_gathered_is_never_refused_for_one_quotes_sake(said: list[tuple[int, bytes, int]]) -> None:
    quotes = [signed(*entry) for entry in said]
    gathered = gather(STATE, quotes, DOMAIN, START_S)
    assert len(gathered.quotes) + len(gathered.left_out) == len(quotes)
    admitted = [Admitted(one.quote, one.reporter(DOMAIN)) for one in gathered.quotes]
    assert refusal(STATE, admitted, START_S) in (None, QuoteRefusal.QUORUM_MISSED, QuoteRefusal.DEVIATES_TOO_FAR)


@given(st.builds(Quote, st.integers(-(2**127), 2**127 - 1), st.integers(0, 2**63 - 1)), st.sampled_from(OracleName))
def test_a_line_reads_back_to_the_signed_quote(quote: Quote, oracle: OracleName) -> None:
    one = sign_quote(oracle, quote, DOMAIN, signer_of(REPORTERS[0]))
    again = read_line(json.dumps(one.line()).encode())
    assert again == one and again.reporter(DOMAIN) == address_of(REPORTERS[0])
    assert again.reporter(Domain(1, b"\x01" * 20)) != address_of(REPORTERS[0])


LINE = signed(5, REPORTERS[0]).line()
WRONG_LINES = [
    b"", b"[]", b"{}", b"{" * 5_000,
    json.dumps(LINE | {"more": 1}).encode(), json.dumps(LINE | {"oracle": "moon"}).encode(),
    json.dumps(LINE | {"value": 1.5}).encode(), json.dumps(LINE | {"value": None}).encode(),
    json.dumps(LINE | {"value": 2**127}).encode(), json.dumps(LINE | {"signature": "0x12"}).encode(),
    json.dumps(LINE | {"signature": "0x" + "zz" * 65}).encode(), json.dumps(LINE | {"observed_at_s": -1}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_line_of_anything_else_is_a_named_fault(line: bytes) -> None:
    with pytest.raises(LocalValueError):
        read_line(line)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_quote_never_do_more_than_that(line: bytes) -> None:
    with pytest.raises(LocalValueError):
        read_line(line)


# -- the contract ----------------------------------------------------------------------------------------------


@dataclass
class Oracle:
    """A price oracle with five reporters on the embedded chain."""

    now: list[int]
    server: JsonRpcServer
    deployment: Deployment
    account: EvmAccount
    path: Path

    @property
    def domain(self) -> Domain:
        return oracle_domain(self.deployment, OracleName.PRICE)

    def state(self) -> OracleState:
        return read_state(EvmNode(self.server.url), self.domain.contract, OracleName.PRICE)

    def submit(self, quotes: list[SignedQuote]) -> str | None:
        call, interface = submission(OracleName.PRICE, quotes), ContractInterface("PriceOracle")
        try:
            self.account.transact(self.domain.contract, interface.call(call.function, *call.arguments))
        except RemoteRevertError as error:
            return interface.error(error.output)
        return None


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    now = [START_S]
    server = JsonRpcServer(EvmChain(lambda: now[0]))
    server.start()
    addresses = ",".join("0x" + address_of(key).hex() for key in REPORTERS)
    profile = load_profile_of_five(addresses)
    path = tmp_path_factory.mktemp("oracle") / "deployment.json"
    deployment = deploy(server.url, DEV_DEPLOYER_KEY, b"\x09" * 20, path, profile)
    yield Oracle(now, server, deployment, EvmAccount(server.url, DEV_DEPLOYER_KEY), path)
    server.stop()


def load_profile_of_five(addresses: str) -> DeploymentProfile:
    quorums = {"quorum": 3, "wide_quorum": 5}
    profile = load_profile("test")
    parties = replace(profile.parties, reporters=tuple(addresses.split(",")))
    return replace(profile, parties=parties).with_terms(
        price=quorums | {"max_age_s": 600, "stale_after_s": 900, "max_deviation_permille": 100,
                         "deviation_slack": 5_000, "width": 20_000},
        weather=quorums, grid_frequency=quorums,
    )  # fmt: skip


def random_quotes(random: Random, oracle: Oracle, state: OracleState) -> list[SignedQuote]:
    """Mostly good quotes, sometimes with one thing wrong."""
    now_s = oracle.now[0]
    centre = state.answer if state.round else 200_000
    keys = random.sample(REPORTERS, random.choice((3, 3, 4, 5)))
    spread = random.choice((1_000, 1_000, 60_000))
    shift = random.choice((0, 0, 40_000))
    quotes = [(centre + shift + random.randrange(-spread, spread), key, now_s - random.randrange(5)) for key in keys]
    place = random.randrange(len(quotes))
    value, key, at_s = quotes[place]
    wrong = random.randrange(12)
    quotes[place] = {
        0: (value, STRANGER, at_s), 1: (10**7 + 1, key, at_s), 2: (value, key, now_s + 50),
        3: (value, key, now_s - 700), 4: (value, quotes[place - 1][1], at_s), 5: (value, key, 1),
        6: (value, key, state.last_observed_at_s.get(address_of(key), 0)),
    }.get(wrong, quotes[place])  # fmt: skip
    if wrong == 7:
        quotes = quotes[:2]
    ordered = sorted(quotes) if wrong != 8 else sorted(quotes, reverse=True)
    domain = oracle.domain if wrong != 9 else DOMAIN
    return [signed(value, key, at_s, domain) for value, key, at_s in ordered]


@pytest.mark.slow
def test_rule_and_contract_give_the_same_answer_refusal_and_collar(oracle: Oracle) -> None:
    random, met = Random("oracle twins"), set()
    for _ in range(120):
        oracle.now[0] += random.choice((6, 30, 400, 2_000))
        state = oracle.state()
        quotes = random_quotes(random, oracle, state)
        block_s = max(oracle.now[0], 0)
        admitted = [Admitted(one.quote, one.reporter(oracle.domain)) for one in quotes]
        expected = refusal(state, admitted, block_s)
        met.add(expected)
        assert oracle.submit(quotes) == (None if expected is None else expected.error)
        after = oracle.state()
        if expected is None:
            assert after.answer == median([one.quote.value for one in quotes]) and after.round == state.round + 1
            assert after.observed_at_s == min(one.quote.observed_at_s for one in quotes)
        else:
            assert after == state
        call = ContractInterface("PriceOracle").call("collar")
        oracle.now[0] += random.choice((0, 0, 0, 0, 1_000, 10**5))
        low, high, _ = ContractInterface("PriceOracle").output(
            "collar", oracle.account.call(oracle.domain.contract, call)
        )
        assert (low, high) == collar(after, oracle.now[0])
    met |= repeated_rounds(oracle)
    assert met >= {None, *QuoteRefusal}


def repeated_rounds(oracle: Oracle) -> set[QuoteRefusal | None]:
    """The two refusals that need a round shortly before, each in rule and contract."""
    oracle.now[0] += 10**5
    centre, at_s = oracle.state().answer, oracle.now[0]
    one, two, three, four, five = REPORTERS
    met = set()
    for said in (
        [(one, 0), (two, 0), (three, 0)],
        [(one, 0), (two, 0), (three, 0)],
        [(one, 3), (four, 0), (five, 3)],
    ):
        quotes = [signed(centre, key, at_s + later_s, oracle.domain) for key, later_s in said]
        oracle.now[0] += 6
        admitted = [Admitted(quote.quote, quote.reporter(oracle.domain)) for quote in quotes]
        expected = refusal(oracle.state(), admitted, oracle.now[0])
        assert oracle.submit(quotes) == (None if expected is None else expected.error)
        met.add(expected)
    return met


def test_a_digest_is_the_contracts(oracle: Oracle) -> None:
    quote = Quote(-(2**100), START_S)
    interface = ContractInterface("PriceOracle")
    payload = interface.call("digestOf", (quote.value, quote.observed_at_s))
    (found,) = interface.output("digestOf", oracle.account.call(oracle.domain.contract, payload))
    assert found == digest(quote, oracle.domain)


def test_reporters_quotes_become_an_answer_by_three_commands(oracle: Oracle, tmp_path: Path) -> None:
    oracle.now[0] += 10_000
    oracle.account.node.ask("evm_mine")
    common = ["--rpc", oracle.server.url, "--deployment", str(oracle.path)]
    lines = []
    for number, key in enumerate([*REPORTERS[:3], STRANGER]):
        file = tmp_path / f"{number}.key"
        file.write_text(key.hex())
        file.chmod(0o600)
        value, at = str(oracle.state().answer + number), str(oracle.now[0])
        made = RUN.invoke(app, ["oracle", "report", "price", value, *common, "--key", str(file), "--observed-at", at])
        assert made.exit_code == 0, made.output
        lines.append(made.stdout)
    dev = tmp_path / "dev.key"
    dev.write_text(DEV_DEPLOYER_KEY.hex())
    dev.chmod(0o600)
    (tmp_path / "few").write_text("".join(lines[:2]))
    (tmp_path / "all").write_text("nonsense\n" + "".join(lines) + lines[0])
    submit = ["oracle", "submit", "price", *common, "--key", str(dev)]
    assert RUN.invoke(app, [*submit, str(tmp_path / "few")]).exit_code == 1
    answered = RUN.invoke(app, [*submit, str(tmp_path / "all")])
    assert answered.exit_code == 0 and "from 3 quotes" in answered.stdout, answered.output
    shown = RUN.invoke(app, ["oracle", "show", "--json", *common])
    documents = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [document["oracle"] for document in documents] == ["price", "weather", "grid"]
    assert documents[0]["answer"] == oracle.state().answer and not documents[0]["stale"]
    assert documents[1]["answer"] is None and documents[1]["stale"]
    assert RUN.invoke(app, ["oracle", "show", "moon", *common]).exit_code == 2
