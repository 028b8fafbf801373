"""Contracts come onto a chain once, wherever a run breaks off, and afterwards every fact about them can be checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.eip712 import keccak
from contracts.signature import address_of
from coordinator.shell.deployment import (
    Deployment,
    LocalDeploymentError,
    StreetAccount,
    deploy,
    load_deployment,
    noted_profile,
    open_street,
)
from coordinator.shell.deployment_check import Finding, Judgement, check
from coordinator.shell.deployment_plan import CONTRACTS, plan
from coordinator.shell.deployment_profile import (
    OFFICES,
    DeploymentProfile,
    LocalProfileError,
    load_profile,
    packaged_names,
)
from coordinator.shell.evm_account import EvmAccount, RemoteRevertError
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode
from simulators.evm_chain import DEV_ADDRESS, DEV_KEY, EvmChain
from simulators.live.json_rpc import JsonRpcServer

OPERATOR = address_of(keccak(b"operator of the deployment tests"))
PEOPLE = ["0x" + bytes([n + 1]).hex() * 20 for n in range(5)]
START_S = 1_900_000_000


@dataclass
class Site:
    """A chain to deploy on."""

    chain: EvmChain
    url: str
    path: Path

    def deploy(self, profile: DeploymentProfile | None = None, operator: bytes = OPERATOR) -> Deployment:
        return deploy(self.url, DEV_KEY, operator, self.path, profile or load_profile("test"))

    def check(self) -> list[Finding]:
        return list(check(EvmNode(self.url), self.path, noted_profile(self.path)))

    def failed(self) -> list[str]:
        return [finding.text for finding in self.check() if finding.judgement is Judgement.FAILS]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    chain = EvmChain(lambda: START_S)
    server = JsonRpcServer(chain)
    server.start()
    yield Site(chain, server.url, tmp_path / "31337.json")
    server.stop()


def test_a_second_run_changes_nothing_and_every_fact_holds(site: Site) -> None:
    deployment = site.deploy()
    blocks = site.chain.block_number
    assert site.deploy() == deployment == load_deployment(site.path)
    assert site.chain.block_number == blocks
    findings = site.check()
    assert site.failed() == []
    assert len(findings) > 80 and sum(f.judgement is Judgement.HOLDS for f in findings) == len(findings) - 1
    assert set(deployment.addresses) == set(CONTRACTS)
    street = [StreetAccount(bytes([n]) * 20, bytes([n]) * 20, 50 * 10**9) for n in (1, 2, 3)]
    assert open_street(site.url, DEV_KEY, deployment, street) == [1, 2, 3]
    blocks = site.chain.block_number
    assert open_street(site.url, DEV_KEY, deployment, street) == [1, 2, 3]
    assert site.chain.block_number == blocks
    with pytest.raises(LocalDeploymentError, match="operator"):
        site.deploy(operator=bytes(19) + b"\x01")
    with pytest.raises(LocalDeploymentError, match="other terms"):
        site.deploy(load_profile("test").with_terms(grid={"volume_limit_wh": 7}))


def test_after_the_hand_over_the_deployer_can_do_nothing(site: Site) -> None:
    deployment = site.deploy()
    deployer = EvmAccount(site.url, DEV_KEY)
    timelock, at = ContractInterface("Timelock"), deployment.address("Timelock")
    settlement = ContractInterface("Settlement").call("setBounds", bytes(20))
    batch = ([deployment.domain.contract], [0], [settlement], bytes(32), bytes(32))
    for contract, payload in (
        ("Timelock", timelock.call("scheduleBatch", *batch, 0)),
        ("Timelock", timelock.call("grantRole", bytes(32), deployer.address)),
        ("Timelock", timelock.call("updateDelay", 0)),
        ("Settlement", settlement),
        ("Settlement", ContractInterface("Settlement").call("setTariffs", 1, 0)),
        ("Roles", ContractInterface("Roles").call("grantRole", 0, deployer.address, 0)),
        ("EnergyToken", ContractInterface("EnergyToken").call("grantRole", bytes(32), deployer.address)),
        ("GridManagement", ContractInterface("GridManagement").call("openPosting")),
    ):
        with pytest.raises(RemoteRevertError):
            deployer.call(deployment.address(contract), payload)
    assert at == deployment.addresses["Timelock"]


class CrashError(Exception):
    """The program ends here."""


@pytest.mark.parametrize("arrives", [True, False])
def test_a_run_that_breaks_off_at_every_transaction_deploys_everything_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    send_raw = EvmNode.send_raw
    sent = 0

    def crash(node: EvmNode, raw: bytes) -> None:
        nonlocal sent
        sent += 1
        if arrives or sent % 2 == 0:
            send_raw(node, raw)
        if arrives or sent % 2:
            raise CrashError

    monkeypatch.setattr(EvmNode, "send_raw", crash)
    for _ in range(100):
        try:
            site.deploy()
            break
        except CrashError:
            continue
    made = [m for n in range(site.chain.block_number + 1) for m in site.chain.block_transactions(n) if m.created]
    assert len(made) == len(CONTRACTS)
    assert site.failed() == []


def test_what_a_deployer_proposes_for_later_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    send_raw = EvmNode.send_raw

    def crash(node: EvmNode, raw: bytes) -> None:
        send_raw(node, raw)
        raise CrashError

    monkeypatch.setattr(EvmNode, "send_raw", crash)
    for _ in range(2):
        with pytest.raises(CrashError):
            site.deploy()
    monkeypatch.setattr(EvmNode, "send_raw", send_raw)
    note = json.loads(site.path.read_text())
    timelock = ContractInterface("Timelock")
    at = bytes.fromhex(note["contracts"]["Timelock"]["address"][2:])
    grant = timelock.call("grantRole", bytes(32), DEV_ADDRESS)
    EvmAccount(site.url, DEV_KEY).transact(
        at, timelock.call("scheduleBatch", [at], [0], [grant], bytes(32), b"\x07" * 32, 0)
    )
    site.deploy()
    assert [text for text in site.failed() if "before the hand-over" in text]


def test_a_file_that_says_something_else_than_the_chain_is_found_out(site: Site) -> None:
    site.deploy()
    honest = site.path.read_text()
    note = json.loads(honest)
    entries = note["contracts"]
    entries["WeatherOracle"]["address"], entries["GridOracle"]["address"] = (
        entries["GridOracle"]["address"], entries["WeatherOracle"]["address"],
    )  # fmt: skip
    site.path.write_text(json.dumps(note))
    assert len(site.failed()) >= 4
    note = json.loads(honest)
    note["contracts"]["Settlement"]["address"] = "0x" + "11" * 20
    site.path.write_text(json.dumps(note))
    with pytest.raises(LocalDeploymentError, match="nothing there"):
        site.deploy()
    note = json.loads(honest)
    note["profile"]["settlement"]["finality_window_s"] = 7_200
    site.path.write_text(json.dumps(note))
    assert any("finalityWindowS" in text for text in site.failed())
    note = json.loads(honest)
    note["contracts"]["EnergyToken"]["creation_hash"] = "0x" + "00" * 32
    site.path.write_text(json.dumps(note))
    with pytest.raises(LocalDeploymentError, match="other code"):
        site.deploy()
    for broken in ("{", "[]", '{"finished": true}', '{"finished": false}'):
        site.path.write_text(broken)
        with pytest.raises(LocalDeploymentError):
            load_deployment(site.path)


def test_a_street_of_neighbours_leaves_the_deployer_without_any_office(site: Site) -> None:
    profile = load_profile(
        "street",
        [f"members={','.join(PEOPLE)}", f"guardians={','.join(PEOPLE[:3])}", f"reporters={','.join(PEOPLE[2:])}"],
    )
    deployment = site.deploy(profile)
    assert site.failed() == []
    findings = {finding.text for finding in site.check() if finding.judgement is Judgement.HOLDS}
    assert "the deployer holds no office" in findings
    votes = ContractInterface("GovernanceToken")
    node, at = EvmNode(site.url), deployment.address("GovernanceToken")
    shares = [
        votes.output("balanceOf", node.call(at, votes.call("balanceOf", bytes.fromhex(one[2:]))))[0] for one in PEOPLE
    ]
    assert sum(shares) == profile.governance.votes * 10**18 and max(shares) - min(shares) < len(PEOPLE)
    with pytest.raises(RemoteRevertError):
        open_street(site.url, DEV_KEY, deployment, [StreetAccount(b"\x01" * 20, b"\x01" * 20, 1)])


# -- profiles --------------------------------------------------------------------------------------------------


def everybody_named() -> list[str]:
    return [f"{office}={PEOPLE[0] if office == 'registrar' else ','.join(PEOPLE)}" for office in OFFICES]


@pytest.mark.parametrize("name", ["test", "street", "community"])
def test_every_profile_has_a_plan_and_reads_back_from_its_note(name: str) -> None:
    parties = [f"{o}={','.join(PEOPLE[:3])}" for o in ("members", "guardians", "reporters")]
    profile = load_profile(name, {"test": [], "street": parties, "community": everybody_named()}[name])
    made = plan(profile, DEV_ADDRESS, OPERATOR)
    assert tuple(creation.contract for creation in made.creations) == CONTRACTS
    assert DeploymentProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    assert name in packaged_names()


def test_every_fault_of_a_profile_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(LocalProfileError) as nobody:
        load_profile("community")
    unnamed = {f"parties.{office}" for office in OFFICES if office != "oracle_keeper"}
    assert {fault.split(":")[0] for fault in nobody.value.faults} >= unnamed
    text = (Path(load_profile.__code__.co_filename).parent.parent / "deployments" / "test.toml").read_text()
    for wrong, word in (
        (text.replace("[grid]", "[gird]"), "[gird]"),
        (text.replace("bond = 1_000", 'bond = "many"'), "settlement.bond"),
        (text.replace("bond = 1_000", "bond = 1_000\nmore = 1"), "settlement.more"),
        (text.replace('calendar = "default"', 'calendar = "lunar"'), "settlement.calendar"),
        (text.replace("answer_window_s = 600", "answer_window_s = 1_800"), "demands.answer_window_s"),
        (text.replace("inclusion_delay_s = 60", "inclusion_delay_s = 59"), "trading.inclusion_delay_s"),
        (text.replace("shortfall_price = 640_000", "shortfall_price = 319_999"), "trading.shortfall_price"),
        (text.replace("shortfall_price = 640_000", "shortfall_price = 10_000_001"), "trading.shortfall_price"),
        (text.replace('minter = ["deployer"]', 'minter = ["me"]'), "parties.minter"),
        (text.replace('reporters = ["deployer"]', 'reporters = ["deployer", "operator"]'), "price"),
        (text.replace("guardian_quorum = 1", "guardian_quorum = 2"), "governance.guardian_quorum"),
        (text.replace("maximum = 10_000_000", "maximum = 10_000_001"), "price"),
        (text.replace("minimum = -10_000_000", "minimum = -10_000_001"), "price"),
        (text.replace("minimum = -10_000_000", "minimum = 10_000_001"), "price"),
        (text.replace("volume_limit_wh = 1_000_000_000_000", "volume_limit_wh = 1_099_511_627_776"), "grid.volume"),
        ("", "[parties]"),
        ("{", "TOML"),
    ):
        path = tmp_path / "mine.toml"
        path.write_text(wrong)
        with pytest.raises(LocalProfileError) as error:
            load_profile(str(path))
        assert any(word in fault for fault in error.value.faults), (word, error.value.faults)
    with pytest.raises(LocalProfileError, match="OFFICE=ADDRESS"):
        load_profile("test", ["king=0x00"])
    with pytest.raises(LocalProfileError, match="test"):
        load_profile("nowhere")


@given(st.text(max_size=60))
def test_a_party_of_anything_is_taken_or_named_as_a_fault(text: str) -> None:
    try:
        load_profile("test", [text])
    except LocalProfileError as error:
        assert error.faults
