"""The compiled contracts: reading them, and ``python -m contracts.artifacts`` which makes and checks them.

    messages.py, leaves.py → solidity/src/libraries/Messages.sol → solc → contracts.json → load("Settlement")

Users never compile: ``contracts.json`` is committed with ABI, bytecode, storage layout and compiler settings, byte
for byte what the sources give on every machine. ``--check`` proves that, and runs the Solidity tests, the gas
snapshot and the formatter. The compiler is run on exactly the sources of ``src``, because with the intermediate
representation the presence of test files would change the bytes.

Exit codes: 0 fine, 1 something differs or fails, 64 wrong arguments, 69 node is missing.
"""

from __future__ import annotations

import json
import os
import platform
import posixpath
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from contracts.eip712 import keccak
from contracts.solidity_source import messages_library

ROOM = Path(__file__).parent
SOLIDITY = ROOM / "solidity"
ARTIFACT = ROOM / "contracts.json"
MESSAGES_SOURCE = SOLIDITY / "src" / "libraries" / "Messages.sol"
GAS_SNAPSHOT = SOLIDITY / ".gas-snapshot"

DEPLOYABLE = {
    "AssetShares": "src/asset/AssetShares.sol",
    "ClearingChallenges": "src/challenges/ClearingChallenges.sol",
    "DataDemands": "src/challenges/DataDemands.sol",
    "EnergyAssetNFT": "src/EnergyAssetNFT.sol",
    "EnergyGovernor": "src/governance/EnergyGovernor.sol",
    "EnergyToken": "src/EnergyToken.sol",
    "EnergyTrading": "src/EnergyTrading.sol",
    "GovernanceToken": "src/GovernanceToken.sol",
    "GridManagement": "src/GridManagement.sol",
    "GridOracle": "src/GridOracle.sol",
    "Guardian": "src/governance/Guardian.sol",
    "MessageDigests": "src/lens/MessageDigests.sol",
    "MeterChallenges": "src/challenges/MeterChallenges.sol",
    "PriceOracle": "src/PriceOracle.sol",
    "Roles": "src/governance/Roles.sol",
    "RoundChallenges": "src/challenges/RoundChallenges.sol",
    "RuleLens": "src/lens/RuleLens.sol",
    "Settlement": "src/Settlement.sol",
    "SmartMeter": "src/SmartMeter.sol",
    "Timelock": "src/governance/Timelock.sol",
    "WeatherOracle": "src/WeatherOracle.sol",
}
"""Our contracts that somebody deploys, and where their sources are."""

SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,
}
"""The same as in ``foundry.toml``; a test holds them together."""

CODE_LIMIT_BYTES = 24_576
"""EIP-170: no chain takes a larger contract."""

CORE = ("Settlement", "ClearingChallenges", "RoundChallenges", "MeterChallenges", "DataDemands", "EnergyTrading")
OLDEST_CHAIN = "london"
"""Energy Web Chain is at London. The core keeps to its opcodes; the token library does not."""

GAS_TOLERANCE_PERCENT = 1
"""Room for what a compiler-neutral edit of a test moves; a real regression is larger."""

OK, DIFFERS, WRONG_USE, NO_NODE = 0, 1, 64, 69

_IMPORT = re.compile(r'^import\s+(?:\{[^}]*\}\s+from\s+)?"([^"]+)";', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ContractArtifact:
    """One compiled contract: its ABI as JSON, the bytecode that deploys it, keccak of what then stands on chain.

    ``deployed_hash`` is of the code before immutables are filled in.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed_hash: bytes


class LocalToolError(Exception):
    """A tool of the Solidity toolchain is missing or has failed; the message says which and how."""


class LocalNodeMissingError(LocalToolError):
    """Node or npm is not installed."""


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ARTIFACT.read_text())
    return document


def load(name: str) -> ContractArtifact:
    """The committed artifact of a contract. Raises KeyError for a name that is not in ``DEPLOYABLE``."""
    entry = _document()["contracts"][name]
    return ContractArtifact(
        name, entry["abi"], bytes.fromhex(entry["bytecode"][2:]), bytes.fromhex(entry["deployedBytecodeHash"][2:])
    )


def sources(*roots: str) -> dict[str, str]:
    """The sources below ``roots`` (by default all of ``src``) by the name the compiler knows them under."""
    found: dict[str, str] = {}
    waiting = list(roots) or [path.relative_to(SOLIDITY).as_posix() for path in (SOLIDITY / "src").rglob("*.sol")]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = SOLIDITY / ("node_modules" if name.startswith("@") else "") / name
        found[name] = path.read_text()
        for target in _IMPORT.findall(found[name]):
            relative = target.startswith(".")
            waiting.append(posixpath.normpath(f"{posixpath.dirname(name)}/{target}") if relative else target)
    return dict(sorted(found.items()))


def compiled() -> bytes:
    """What ``contracts.json`` must be, from the sources. Raises LocalToolError with the compiler's errors."""
    outputs = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"]
    answer = _compile(sources(), SETTINGS, outputs)
    version = _run(["node", "solc", "--version"]).rsplit("Version: ", 1)[1].split(".Emscripten")[0].strip()
    contracts = {name: _entry(answer["contracts"][source][name]) for name, source in DEPLOYABLE.items()}
    for name, entry in contracts.items():
        if entry["deployedBytes"] > CODE_LIMIT_BYTES:
            raise LocalToolError(f"{name} has {entry['deployedBytes']} bytes; EIP-170 allows {CODE_LIMIT_BYTES}")
    document = {"compiler": {"name": "solc", "version": version, "settings": SETTINGS}, "contracts": contracts}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _compile(texts: dict[str, str], settings: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    task = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in texts.items()},
        "settings": settings | {"outputSelection": {"*": {"*": outputs}}},
    }
    answer: dict[str, Any] = json.loads(_run(["node", "solc", "--standard-json"], stdin=json.dumps(task)))
    errors = [e["formattedMessage"] for e in answer.get("errors", []) if e["severity"] == "error"]
    if errors:
        raise LocalToolError("the sources do not compile:\n" + "\n".join(errors))
    return answer


def check_oldest_chain() -> None:
    """The core must compile for a chain at London, and fit on it. Raises LocalToolError."""
    core = [DEPLOYABLE[name] for name in CORE]
    answer = _compile(sources(*core), SETTINGS | {"evmVersion": OLDEST_CHAIN}, ["evm.deployedBytecode.object"])
    for name in CORE:
        code = answer["contracts"][DEPLOYABLE[name]][name]["evm"]["deployedBytecode"]["object"]
        if len(code) // 2 > CODE_LIMIT_BYTES:
            raise LocalToolError(f"{name} is too large for a chain at {OLDEST_CHAIN}")


def _entry(output: dict[str, Any]) -> dict[str, Any]:
    deployed = bytes.fromhex(output["evm"]["deployedBytecode"]["object"])
    layout = output["storageLayout"]
    types = layout["types"] or {}
    return {
        "abi": output["abi"],
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "deployedBytecodeHash": "0x" + keccak(deployed).hex(),
        "deployedBytes": len(deployed),
        # Without the compiler's node numbers, which change with every edit of an unrelated line.
        "storageLayout": [
            {"label": s["label"], "offset": s["offset"], "slot": s["slot"], "type": types[s["type"]]["label"]}
            for s in layout["storage"]
        ],
    }


def forge() -> Path:
    """The test runner of this machine. Raises LocalToolError where npm has none for it."""
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    binary = _binary("forge", f"{platform.system().lower()}-{machine}")
    if binary is None:
        raise LocalToolError(f"there is no forge for {platform.system()} on {platform.machine()}")
    return binary


def anvil() -> Path | None:
    """The fast local chain, None where it is not installed."""
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    return _binary("anvil", f"{platform.system().lower()}-{machine}")


def _binary(tool: str, target: str) -> Path | None:
    path = SOLIDITY / "node_modules" / "@foundry-rs" / f"{tool}-{target}" / "bin" / tool
    return path if path.exists() else None


def _run(command: list[str], stdin: str | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=SOLIDITY,
        input=stdin,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalToolError(f"`{' '.join(command)}` failed:\n{(done.stdout + done.stderr)[-8_000:]}")
    return done.stdout


def require_packages() -> None:
    """Installs the npm packages where they are missing. Raises LocalToolError; LocalNodeMissingError without node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise LocalNodeMissingError("node and npm are needed to compile the contracts; running them needs neither")
    if not (SOLIDITY / "node_modules" / "solc" / "package.json").exists():
        print("installing the npm packages of contracts/solidity")
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"])


def write() -> int:
    """Regenerates the generated source, the artifact and the gas snapshot."""
    MESSAGES_SOURCE.write_text(messages_library())
    ARTIFACT.write_bytes(compiled())
    _run([str(forge()), "snapshot", "--no-match-test", FUZZED])
    print(f"wrote {MESSAGES_SOURCE.name}, {ARTIFACT.name} and {GAS_SNAPSHOT.name}")
    return OK


FUZZED = "Fuzz|invariant"
"""Tests whose gas depends on random input; they are no part of the snapshot."""


def check() -> int:
    """Compares everything committed with what the sources give, and runs the Solidity tests. Returns the exit code."""
    faults = []
    if MESSAGES_SOURCE.read_text() != messages_library():
        faults.append("Messages.sol is not what the message classes give; run `python -m contracts.artifacts`")
    if ARTIFACT.read_bytes() != compiled():
        faults.append("contracts.json is not what the sources give; run `python -m contracts.artifacts`")
    try:
        check_oldest_chain()
        print(f"ok: the core compiles for {OLDEST_CHAIN}")
    except LocalToolError as error:
        faults.append(f"not so: the core compiles for {OLDEST_CHAIN}\n{error}")
    tolerance = str(GAS_TOLERANCE_PERCENT)
    for claim, arguments in (
        ("the sources are formatted", ["fmt", "--check"]),
        ("the Solidity tests pass", ["test"]),
        ("gas is as in the snapshot", ["snapshot", "--check", "--tolerance", tolerance, "--no-match-test", FUZZED]),
    ):
        try:
            _run([str(forge()), *arguments])
            print(f"ok: {claim}")
        except LocalToolError as error:
            faults.append(f"not so: {claim}\n{error}")
    for fault in faults:
        print(fault, file=sys.stderr)
    return DIFFERS if faults else OK


def main(arguments: list[str]) -> int:
    """Writes, or with ``--check`` checks, the artifact; ``--analyse`` analyses it. Returns the exit code."""
    if arguments[:1] == ["--analyse"]:
        from contracts import analysis

        return analysis.main(arguments[1:])
    if arguments not in ([], ["--check"]):
        print("usage: python -m contracts.artifacts [--check | --analyse [CHECK …]]", file=sys.stderr)
        return WRONG_USE
    try:
        require_packages()
        return check() if arguments else write()
    except LocalNodeMissingError as error:
        print(error, file=sys.stderr)
        return NO_NODE
    except LocalToolError as error:
        print(error, file=sys.stderr)
        return DIFFERS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
