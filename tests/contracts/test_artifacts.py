"""The committed artifact, the generated source, and the numbers that stand for names in both languages."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from contracts import artifacts
from contracts.clearing_rules import (
    AuctionFault,
    SlotFault,
)
from contracts.codes import AuctionRule, LongSide, Side
from contracts.commitments import ReserveFault
from contracts.demands import Question
from contracts.eip712 import camel_case, layout
from contracts.evidence import Lie, Tree
from contracts.header_rules import BalanceFault, PlacementFault
from contracts.messages import MESSAGES
from contracts.meter_rules import ReadingFault, RegisterFault
from contracts.round_rules import CarryFault, ForcedFault, OrderFault, ReceiptFault, RoundFault, StandingFault
from contracts.solidity_source import LEAVES, messages_library
from tests.contracts.court import CommitmentFault, LeafFault, NodeFault, SignatureFault, TotalsFault


def test_enums_have_the_same_members_in_the_same_order() -> None:
    """Faults and lies travel as numbers."""

    def members(path: str, name: str) -> list[str]:
        found = re.search(rf"enum {name} \{{([^}}]*)\}}", (artifacts.SOLIDITY / "src" / path).read_text())
        assert found is not None
        return [member.strip() for member in found[1].split(",")]

    def python(kinds: Any) -> list[str]:
        return ["".join(part.capitalize() for part in kind.name.split("_")) for kind in kinds]

    faults: dict[str, tuple[Any, ...]] = {
        "libraries/ClearingRules.sol": (SlotFault, AuctionFault),
        "libraries/HeaderRules.sol": (PlacementFault, BalanceFault),
        "libraries/RoundRules.sol": (OrderFault, RoundFault, CarryFault, ReceiptFault, ForcedFault, StandingFault),
        "libraries/MeterRules.sol": (ReadingFault, RegisterFault),
        "libraries/Commitments.sol": (ReserveFault, CommitmentFault),
        "challenges/StructureFaults.sol": (NodeFault, LeafFault),
        "challenges/ClearingChallenges.sol": (TotalsFault, SignatureFault),
    }
    for path, kinds in faults.items():
        for kind in kinds:
            assert members(path, kind.__name__) == ["None", *python(kind)]
    assert members("challenges/Proofs.sol", "Tree") == python(Tree)
    assert members("challenges/demands/DemandBook.sol", "Question") == python(Question)
    assert members("interfaces/ISettlement.sol", "Lie") == python(Lie)


def test_the_generated_source_is_what_the_message_classes_give() -> None:
    assert artifacts.MESSAGES_SOURCE.read_text() == messages_library()


def test_the_artifact_loads_and_every_contract_fits_on_a_chain() -> None:
    document = json.loads(artifacts.ARTIFACT.read_text())
    assert set(document["contracts"]) == set(artifacts.DEPLOYABLE)
    for name in artifacts.DEPLOYABLE:
        artifact = artifacts.load(name)
        assert artifact.abi
        assert len(artifact.bytecode) > document["contracts"][name]["deployedBytes"] - 1
        assert document["contracts"][name]["deployedBytes"] <= artifacts.CODE_LIMIT_BYTES
    with pytest.raises(KeyError):
        artifacts.load("Nothing")


def test_the_test_runner_compiles_as_the_artifact_does() -> None:
    profile = tomllib.loads((artifacts.SOLIDITY / "foundry.toml").read_text())["profile"]["default"]
    assert profile["evm_version"] == artifacts.SETTINGS["evmVersion"]
    assert profile["optimizer_runs"] == artifacts.SETTINGS["optimizer"]["runs"]
    assert profile["via_ir"] == artifacts.SETTINGS["viaIR"]
    assert (profile["bytecode_hash"], profile["cbor_metadata"]) == ("none", False)


def test_every_public_item_of_the_interfaces_is_described() -> None:
    item = re.compile(r"    (error|event|enum) |    function \w+\(")
    for path in sorted((artifacts.SOLIDITY / "src").rglob("*.sol")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            declared = " ".join(lines[number : number + 12]).split("{")[0].split(";")[0]
            if item.match(line) and not re.search(r"\b(private|internal)\b", declared):
                assert lines[number - 1].strip().startswith("///"), f"{path.name}:{number + 1} {line}"


def test_field_names_are_camel_case_in_solidity() -> None:
    source = messages_library()
    for message_type in (*MESSAGES, *LEAVES):
        for name, kind in layout(message_type).columns:
            assert f"        {kind.name} {camel_case(name)};\n" in source


def test_sides_and_rules_are_the_numbers_the_contract_knows() -> None:
    source = (artifacts.SOLIDITY / "src/libraries/ClearingRules.sol").read_text()
    for constant, value in (
        ("BUY", Side.BUY),
        ("FORWARD", AuctionRule.FORWARD),
        ("SPOT_SHARED", AuctionRule.SPOT_SHARED),
        ("LONG_NONE", LongSide.NONE),
        ("LONG_BUY", LongSide.BUY),
        ("LONG_SELL", LongSide.SELL),
    ):
        assert f"uint8 internal constant {constant} = {int(value)};" in source


def test_without_node_the_build_says_so_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert artifacts.main(["--check"]) == artifacts.NO_NODE
    assert "node and npm are needed" in capsys.readouterr().err
    assert artifacts.main(["--what"]) == artifacts.WRONG_USE


def test_the_lock_names_no_host_and_pins_every_package() -> None:
    packages = json.loads((artifacts.SOLIDITY / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all("integrity" in package for name, package in packages.items() if name)


def test_every_field_of_every_message_and_leaf_is_in_the_readme() -> None:
    readme = (artifacts.ROOM / "README.md").read_text()
    for message_type in (*MESSAGES, *LEAVES):
        fields = ", ".join(f"`{name}` {kind.name}" for name, kind in layout(message_type).columns)
        row = next(line for line in readme.splitlines() if f"| `{message_type.__name__}` |" in line)
        assert row.endswith(f"| {fields} |")


def test_every_challenge_is_in_the_readme() -> None:
    readme = (artifacts.SOLIDITY / "README.md").read_text()
    challenges = [
        entry["name"]
        for name in ("ClearingChallenges", "RoundChallenges", "MeterChallenges", "DataDemands")
        for entry in artifacts.load(name).abi
        if entry["type"] == "function" and entry["name"].startswith("challenge")
    ]
    assert len(challenges) == 26
    assert all(f"`{name}`" in readme for name in challenges)
