"""``coordinator deploy``: the contracts onto a chain, or what stands there held against what should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.shell.terminal import FAILED, UNAVAILABLE, WRONG_CONFIGURATION, fail, say

if TYPE_CHECKING:
    from coordinator.shell.deployment import Deployment

DEV_DEPLOYER_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""First key of the publicly known development mnemonic: development chains fund it. Worthless anywhere else."""

RpcOption = Annotated[list[str], typer.Option("--rpc", help="URL of an EVM node; several in the order of preference")]
DeploymentOption = Annotated[
    Path | None, typer.Option("--deployment", help="file that `deploy` wrote; deployments/<chain id>.json")
]


@contextmanager
def chain_faults() -> Iterator[None]:
    """Turns what the chain's parts raise into a sentence and its exit code."""
    from coordinator.shell.chain_port import RemoteChainError
    from coordinator.shell.deployment import LocalDeploymentError
    from coordinator.shell.deployment_profile import LocalProfileError
    from coordinator.shell.evm_account import RemoteRevertError
    from coordinator.shell.operator_config import LocalConfigError
    from coordinator.shell.transaction_journal import LocalWishError

    try:
        yield
    except (LocalProfileError, LocalConfigError) as error:
        for fault in error.faults:
            say(f"coordinator: {fault}")
        raise typer.Exit(WRONG_CONFIGURATION) from error
    except (LocalDeploymentError, LocalWishError) as error:
        fail(str(error), WRONG_CONFIGURATION)
    except RemoteChainError as error:
        fail(str(error), UNAVAILABLE)
    except RemoteRevertError as error:
        fail(f"the chain refuses: {error} {error_name(error.output)}".rstrip(), FAILED)


def error_name(output: bytes) -> str:
    """The contracts' own name of a refusal, where one of ours said it."""
    from coordinator.shell.deployment_plan import CONTRACTS
    from coordinator.shell.evm_contract import ContractInterface

    names = (ContractInterface(name).error(output) for name in CONTRACTS)
    return next((name for name in names if name != "unknown"), "")


def deployment_path(rpc: list[str], named: Path | None) -> Path:
    """The deployments file of a chain, where none is named. Raises RemoteChainError."""
    from coordinator.shell.node_pool import NodePool

    return named if named is not None else Path("deployments") / f"{NodePool(rpc).reach().chain_id()}.json"


def deploy(
    rpc: RpcOption,
    profile: Annotated[str, typer.Option(help="test, street, community, or a TOML file like theirs")] = "test",
    key: Annotated[Path | None, typer.Option(help="key file of the deployer; `test` has the public one")] = None,
    operator: Annotated[str, typer.Option(help="the operator's key file, or address; `test` makes one")] = "",
    party: Annotated[list[str] | None, typer.Option(help="OFFICE=ADDRESS,… instead of the profile's")] = None,
    out: Annotated[Path | None, typer.Option(help="deployments file; what it names is not deployed again")] = None,
    check: Annotated[Path | None, typer.Option(help="deploy nothing: hold this file against the chain")] = None,
    homes: Annotated[int, typer.Option(min=0, max=200, help="accounts of a street to open and fund")] = 0,
    keys: Annotated[Path, typer.Option(help="where the street's key files are")] = Path("keys"),
    deposit: Annotated[int, typer.Option(min=0, max=1_000_000, help="whole units of currency a home")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Deploy the contracts as a profile says and hand all power over; with --check look whether that is so."""
    with chain_faults():
        if check is not None:
            _check(rpc, check, as_json)
            return
        path = deployment_path(rpc, out)
        deployment, street = _deploy(rpc, profile, key, operator, party or [], path, (homes, keys, deposit))
    if as_json:
        print(json.dumps({"deployment": deployment.to_json(), "street": street}))
        return
    print(f"deployment {path}")
    for home in street:
        print(f"account {home['account']} {home['key_file']} {home['address']}")


def _deploy(
    rpc: list[str],
    profile_name: str,
    key: Path | None,
    operator: str,
    party: list[str],
    path: Path,
    street: tuple[int, Path, int],
) -> tuple[Deployment, list[dict[str, Any]]]:
    from coordinator.shell.deployment import deploy as bring_up
    from coordinator.shell.deployment_profile import load_profile
    from coordinator.shell.operator_config import LocalConfigError, read_key

    profile = load_profile(profile_name, party)
    is_test = profile_name == "test"
    if key is None and not is_test:
        raise LocalConfigError([f"--key: the profile {profile_name} needs a deployer's key file"])
    deployer_key = DEV_DEPLOYER_KEY if key is None else read_key(key)
    operator_address = _operator_address(operator or "operator.key", make=is_test)
    deployment = bring_up(rpc, deployer_key, operator_address, path, profile, say)
    homes, keys, deposit = street
    return deployment, _open_street(rpc, deployer_key, deployment, homes, keys, deposit) if homes else []


def _operator_address(text: str, make: bool) -> bytes:
    from contracts.signature import address_of
    from coordinator.shell.operator_config import LocalConfigError, read_key

    if text.startswith("0x"):
        try:
            raw = bytes.fromhex(text[2:])
        except ValueError:
            raw = b""
        if len(raw) != 20:
            raise LocalConfigError([f"--operator: {text} is no address"])
        return raw
    if make:
        _ensure_key(Path(text))
    return address_of(read_key(Path(text)))


def _check(rpc: list[str], path: Path, as_json: bool) -> None:
    from coordinator.shell.deployment import noted_profile
    from coordinator.shell.deployment_check import Judgement
    from coordinator.shell.deployment_check import check as hold
    from coordinator.shell.node_pool import NodePool

    failed, profile = 0, noted_profile(path)
    for finding in hold(NodePool(rpc).reach(), path, profile):
        failed += finding.judgement is Judgement.FAILS
        if as_json:
            print(json.dumps({"judgement": finding.judgement.name.lower(), "fact": finding.text}))
        else:
            print(f"{finding.judgement.value}: {finding.text}")
    if failed:
        fail(f"{failed} facts do not hold", FAILED)


def _ensure_key(path: Path) -> None:
    import secrets

    from coordinator.shell.operator_config import write_key

    if not path.exists():
        write_key(path, secrets.token_bytes(32))
        say(f"new key {path}")


def _open_street(
    rpc: list[str], registrar_key: bytes, deployment: Deployment, homes: int, keys: Path, deposit: int
) -> list[dict[str, Any]]:
    from contracts.signature import address_of
    from contracts.units import NANO_PER_UNIT
    from coordinator.shell.deployment import StreetAccount, open_street
    from coordinator.shell.operator_config import read_key

    files = [keys / f"home-{number}.key" for number in range(1, homes + 1)]
    for file in files:
        _ensure_key(file)
    addresses = [address_of(read_key(file)) for file in files]
    street = [StreetAccount(address, address, deposit * NANO_PER_UNIT) for address in addresses]
    accounts = open_street(rpc, registrar_key, deployment, street, say)
    return [
        {"account": account, "key_file": str(file), "address": "0x" + address.hex()}
        for account, file, address in zip(accounts, files, addresses, strict=True)
    ]
