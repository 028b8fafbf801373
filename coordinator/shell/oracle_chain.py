"""An oracle contract as it stands on the chain, and the call that answers its next round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.eip712 import Domain
from contracts.evidence import Call
from coordinator.oracles.quorum import OracleState, OracleTerms
from coordinator.oracles.quote import OracleName, SignedQuote
from coordinator.shell.deployment import Deployment
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode, RemoteRevertError


def oracle_domain(deployment: Deployment, oracle: OracleName) -> Domain:
    """Where quotes for that oracle count."""
    return Domain(deployment.chain_id, deployment.address(oracle.value))


def read_state(node: EvmNode, at: bytes, oracle: OracleName) -> OracleState:
    """The oracle at ``at``. Raises RemoteChainError, RemoteRevertError."""
    interface = ContractInterface(oracle.value)

    def ask(function: str, *arguments: object) -> tuple[Any, ...]:
        return interface.output(function, node.call(at, interface.call(function, *arguments)))

    (minimum,), (maximum,), (terms,) = ask("minimum"), ask("maximum"), ask("termsInForce")
    named, quorum, wide_quorum = ask("reporters")
    reporters = tuple(bytes.fromhex(address[2:]) for address in named)
    observed = {reporter: int(ask("lastObservedAtS", reporter)[0]) for reporter in reporters}
    round_, answer, observed_at_s = _last_round(interface, node, at)
    return OracleState(
        minimum, maximum, OracleTerms(*terms), reporters, quorum, wide_quorum, round_, answer, observed_at_s, observed
    )


def _last_round(interface: ContractInterface, node: EvmNode, at: bytes) -> tuple[int, int, int]:
    try:
        returned = node.call(at, interface.call("latestRoundData"))
    except RemoteRevertError as error:
        if interface.error(error.output) == "NoAnswer":
            return 0, 0, 0
        raise
    round_, answer, observed_at_s, _, _ = interface.output("latestRoundData", returned)
    return int(round_), int(answer), int(observed_at_s)


def submission(oracle: OracleName, quotes: Sequence[SignedQuote]) -> Call:
    """The call that brings ascending quotes to their oracle."""
    values = tuple((signed.quote.value, signed.quote.observed_at_s) for signed in quotes)
    return Call(oracle.value, "submit", (values, tuple(signed.signature for signed in quotes)))
