"""``coordinator oracle``: report signs a quote, submit brings enough of them to the chain, show says what stands.

coordinator oracle report price 231000 --rpc URL --key reporter.key >> quotes.jsonl
coordinator oracle submit price quotes.jsonl --rpc URL --key anybody.key
coordinator oracle show --rpc URL
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.shell.chain_commands import DeploymentOption, RpcOption, chain_faults, deployment_path
from coordinator.shell.terminal import FAILED, WRONG_CONFIGURATION, fail, say

if TYPE_CHECKING:
    from coordinator.oracles.quorum import Gathered, OracleState
    from coordinator.oracles.quote import OracleName, SignedQuote
    from coordinator.shell.deployment import Deployment

QUOTES_LIMIT = 10_000
"""Lines read at once: a day of quotes of all reporters of one oracle, several times over."""

oracle_app = typer.Typer(no_args_is_help=True, help="Report to the oracles, gather reports, look at the answers.")

OracleArgument = Annotated[str, typer.Argument(help="price, weather or grid")]
KeyOption = Annotated[Path, typer.Option("--key", help="key file")]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


def _oracle(word: str) -> OracleName:
    from contracts.eip712 import LocalValueError
    from coordinator.oracles.quote import OracleName

    try:
        return OracleName.of(word)
    except LocalValueError as error:
        raise typer.BadParameter(str(error), param_hint="ORACLE") from error


def _deployment(rpc: list[str], named: Path | None) -> Deployment:
    from coordinator.shell.deployment import load_deployment

    return load_deployment(deployment_path(rpc, named))


@oracle_app.command()
def report(
    oracle: OracleArgument,
    value: Annotated[int, typer.Argument(help="price: micro-currency per kWh, weather: W, grid: mHz")],
    rpc: RpcOption,
    key: KeyOption,
    observed_at: Annotated[int | None, typer.Option(help="UTC seconds; now")] = None,
    deployment: DeploymentOption = None,
) -> None:
    """Sign a quote and print it as one line of JSON. Nothing is sent; the node only says which chain it is."""
    from contracts.eip712 import LocalValueError
    from contracts.signature import signer_of
    from coordinator.oracles.quote import Quote, sign_quote
    from coordinator.shell.operator_config import read_key
    from coordinator.shell.oracle_chain import oracle_domain

    name = _oracle(oracle)
    with chain_faults():
        domain = oracle_domain(_deployment(rpc, deployment), name)
        try:
            quote = Quote(value, int(time.time()) if observed_at is None else observed_at)
        except LocalValueError as error:
            fail(str(error), FAILED)
        print(json.dumps(sign_quote(name, quote, domain, signer_of(read_key(key))).line()))


@oracle_app.command()
def submit(
    oracle: OracleArgument,
    rpc: RpcOption,
    key: KeyOption,
    files: Annotated[list[Path] | None, typer.Argument(help="files of quotes, a line each; standard input")] = None,
    deployment: DeploymentOption = None,
) -> None:
    """Gather signed quotes, and answer the oracle's next round where there are enough of them."""
    name = _oracle(oracle)
    quotes = _read_quotes(files or [], name)
    with chain_faults():
        from coordinator.oracles.quorum import gather
        from coordinator.shell.evm_account import EvmAccount
        from coordinator.shell.operator_config import read_key
        from coordinator.shell.oracle_chain import oracle_domain, read_state

        account = EvmAccount(rpc, read_key(key))
        account.pool.reach()
        domain = oracle_domain(_deployment(rpc, deployment), name)
        state = read_state(account.node, domain.contract, name)
        newest = account.node.block()
        gathered = gather(state, quotes, domain, max(int(time.time()), 0 if newest is None else newest.time_s))
        for signed, reason in gathered.left_out:
            say(f"left out: {signed.quote.value} observed at {signed.quote.observed_at_s}: {reason.name.lower()}")
        _submit(account, state, gathered, name, domain.contract)


def _submit(account: Any, state: OracleState, gathered: Gathered, name: OracleName, at: bytes) -> None:
    from coordinator.shell.evm_account import RemoteRevertError
    from coordinator.shell.evm_contract import ContractInterface
    from coordinator.shell.oracle_chain import read_state, submission

    if len(gathered.quotes) < max(1, state.quorum):
        fail(f"{len(gathered.quotes)} quotes count, {state.quorum} are needed", FAILED)
    call = submission(name, gathered.quotes)
    interface = ContractInterface(call.contract)
    try:
        account.transact(at, interface.call(call.function, *call.arguments))
    except RemoteRevertError as error:
        fail(f"the oracle refuses: {interface.error(error.output)}", FAILED)
    answered = read_state(account.node, at, name)
    print(f"{name.name.lower()} round {answered.round}: {answered.answer} from {len(gathered.quotes)} quotes")


def _read_quotes(files: list[Path], name: OracleName) -> list[SignedQuote]:
    from contracts.eip712 import LocalValueError
    from coordinator.oracles.quote import read_line

    lines: list[tuple[str, bytes]] = []
    try:
        for file in files:
            with file.open("rb") as opened:
                lines += [(f"{file}:{number}", line) for number, line in enumerate(opened, 1)]
    except OSError as error:
        fail(str(error), WRONG_CONFIGURATION)
    if not files:
        lines = [(f"line {number}", line) for number, line in enumerate(sys.stdin.buffer, 1)]
    if len(lines) > QUOTES_LIMIT:
        fail(f"{len(lines)} lines are more than {QUOTES_LIMIT}", FAILED)
    quotes = []
    for place, line in lines:
        if not line.strip():
            continue
        try:
            signed = read_line(line)
        except LocalValueError as error:
            say(f"left out: {place}: {error}")
            continue
        if signed.oracle is name:
            quotes.append(signed)
    return quotes


@oracle_app.command()
def show(
    rpc: RpcOption,
    oracle: Annotated[str | None, typer.Argument(help="price, weather or grid; all of them")] = None,
    deployment: DeploymentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the oracles answered, how old that is, and what it bounds."""
    from coordinator.oracles.quorum import collar, is_stale
    from coordinator.oracles.quote import UNITS, OracleName
    from coordinator.shell.node_pool import NodePool
    from coordinator.shell.oracle_chain import oracle_domain, read_state

    names = list(OracleName) if oracle is None else [_oracle(oracle)]
    with chain_faults():
        found = _deployment(rpc, deployment)
        node = NodePool(rpc).reach()
        newest = node.block()
        now_s = 0 if newest is None else newest.time_s
        for name in names:
            state = read_state(node, oracle_domain(found, name).contract, name)
            low, high = collar(state, now_s)
            if as_json:
                print(json.dumps(_document(name, state, (low, high), is_stale(state, now_s))))
                continue
            said = f"{state.answer} {UNITS[name]}, {now_s - state.observed_at_s} s old" if state.round else "no answer"
            stale = ", stale" if state.round and is_stale(state, now_s) else ""
            print(f"{name.name.lower()}: {said}{stale}; collar {low} to {high}")
            print(f"  round {state.round}, {state.quorum} of {len(state.reporters)} reporters answer")


def _document(name: OracleName, state: OracleState, bounds: tuple[int, int], stale: bool) -> dict[str, Any]:
    return {
        "oracle": name.name.lower(),
        "round": state.round,
        "answer": state.answer if state.round else None,
        "observed_at_s": state.observed_at_s if state.round else None,
        "stale": stale,
        "collar": list(bounds),
        "reporters": ["0x" + reporter.hex() for reporter in state.reporters],
        "quorum": state.quorum,
        "wide_quorum": state.wide_quorum,
    }
