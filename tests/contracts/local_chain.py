"""A chain for tests with our contracts on it: py-evm inside the process, or anvil where it is installed."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_typing import ChecksumAddress
from eth_utils import to_checksum_address
from web3 import EthereumTesterProvider, HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import ContractCustomError, ContractPanicError, Web3RPCError

from contracts.artifacts import anvil, load
from contracts.eip712 import Domain, keccak
from contracts.evidence import Call, PostedHeader, finalise, post
from contracts.interval import INTERVAL_S
from contracts.messages import Header
from contracts.signature import Signer, address_of, signer_of

NANO = 10**9
BOND_NANO = 1_000 * NANO
WINDOW_S = 3_600
GRACE = 4
GAS = 4_000_000
START_S = 2_000_000_000 // INTERVAL_S * INTERVAL_S


def private_key(account: int) -> bytes:
    """The key of the home of ``account`` in every test."""
    return keccak(b"home" + account.to_bytes(4, "big"))


def home_signer(account: int) -> Signer:
    """Signs as the home of ``account``."""
    return signer_of(private_key(account))


class RefusedError(Exception):
    """The contract reverted with a custom error; the message is its name."""


@dataclass(frozen=True)
class Chain:
    """Contracts on a chain. The first unlocked address is governance, registrar and coordinator at once."""

    web3: Web3
    operator: ChecksumAddress
    token: Contract
    settlement: Contract

    @property
    def domain(self) -> Domain:
        return Domain(self.web3.eth.chain_id, bytes.fromhex(self.settlement.address[2:]))

    def send(self, contract: Contract, function: str, *arguments: Any, sender: str | None = None) -> Any:
        """Sends a transaction; returns its receipt. Raises RefusedError."""
        call = contract.functions[function](*arguments)
        with refusing(contract):
            call.call({"from": sender or self.operator, "gas": GAS})
        return self.receipt(call.transact({"from": sender or self.operator, "gas": GAS}))

    def receipt(self, transaction: Any) -> Any:
        found = self.web3.eth.wait_for_transaction_receipt(transaction)
        assert found["status"] == 1
        return found

    def tell(self, call: Call, sender: str | None = None) -> Any:
        """Sends a call of the settlement."""
        return self.send(self.settlement, call.function, *call.arguments, sender=sender)

    def ask(self, contract: Contract, function: str, *arguments: Any) -> Any:
        """The answer of a view."""
        with refusing(contract):
            return contract.functions[function](*arguments).call({"gas": 200_000_000})

    def verdict(self, call: Call) -> str:
        """What a call would do: ``wins``, or the name of the error. Changes nothing."""
        try:
            with refusing(self.settlement):
                self.settlement.functions[call.function](*call.arguments).call({"from": self.operator, "gas": GAS})
        except RefusedError as refusal:
            return str(refusal)
        return "wins"

    def deploy(self, name: str, *arguments: Any) -> Contract:
        return _deploy(self.web3, self.operator, name, *arguments)

    def now_s(self) -> int:
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def travel(self, to_s: int) -> None:
        """The next block is at ``to_s`` or later."""
        if to_s <= self.now_s():
            return
        if isinstance(self.web3.provider, EthereumTesterProvider):
            self.web3.provider.ethereum_tester.time_travel(to_s)
            self.web3.provider.ethereum_tester.mine_block()
        else:
            self.web3.provider.make_request("evm_setNextBlockTimestamp", [to_s])  # type: ignore[arg-type]
            self.web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]

    def post(self, header: Header) -> PostedHeader:
        """Posts a header as soon as its interval is over."""
        self.travel((header.interval + 1) * INTERVAL_S)
        index = self.ask(self.settlement, "headerCount")
        receipt = self.tell(post(header))
        return PostedHeader(header, index, int(self.web3.eth.get_block(receipt["blockNumber"])["timestamp"]))

    def finalise(self, posted: PostedHeader) -> Any:
        self.travel(posted.posted_at_s + WINDOW_S)
        return self.tell(finalise(posted))

    def open_accounts(self, count: int) -> list[ChecksumAddress]:
        """Opens accounts 1 … count for unlocked addresses, each with its home's key."""
        owners = self.web3.eth.accounts[1 : count + 1]
        for account, owner in enumerate(owners, start=1):
            self.send(self.settlement, "openAccount", owner, to_checksum_address(address_of(private_key(account))))
        return list(owners)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside has not happened afterwards."""
        if isinstance(self.web3.provider, EthereumTesterProvider):
            tester = self.web3.provider.ethereum_tester
            snapshot = tester.take_snapshot()
            try:
                yield
            finally:
                tester.revert_to_snapshot(snapshot)
            return
        mark = self.web3.provider.make_request("evm_snapshot", [])["result"]  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.web3.provider.make_request("evm_revert", [mark])  # type: ignore[arg-type]


@contextmanager
def refusing(contract: Contract) -> Iterator[None]:
    """Turns a revert into RefusedError with the error's name."""
    try:
        yield
    except TransactionFailed as error:  # py-evm shows the bytes of the revert as a Python literal
        shown = str(error).removeprefix("execution reverted: ")
        raise _refused(contract, ast.literal_eval(shown).hex() if shown.startswith("b") else shown) from error
    except ContractPanicError as error:
        raise RefusedError("Panic") from error
    except (ContractCustomError, Web3RPCError) as error:
        text = str(error.data) if isinstance(error, ContractCustomError) else json.dumps(error.rpc_response)
        raise _refused(contract, text) from error


def _refused(contract: Contract, shown: str) -> RefusedError:
    for entry in contract.abi:
        if entry["type"] == "error":
            inputs = ",".join(argument["type"] for argument in entry.get("inputs", []))
            if keccak(f"{entry['name']}({inputs})".encode())[:4].hex() in shown:
                return RefusedError(entry["name"])
    return RefusedError(f"unknown: {shown}")


def _deploy(web3: Web3, sender: ChecksumAddress, name: str, *arguments: Any) -> Contract:
    artifact = load(name)
    maker = web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    receipt = web3.eth.wait_for_transaction_receipt(
        maker.constructor(*arguments).transact({"from": sender, "gas": 8_000_000})
    )
    assert receipt["status"] == 1
    return web3.eth.contract(address=receipt["contractAddress"], abi=artifact.abi)


def settle_on(web3: Web3) -> Chain:
    """Deploys token and settlement, posts the bond, and lets everybody's allowance be unlimited."""
    operator = web3.eth.accounts[0]
    token = _deploy(web3, operator, "EnergyToken", operator)
    settlement = _deploy(
        web3, operator, "Settlement", token.address, operator, operator, operator, WINDOW_S, GRACE, BOND_NANO
    )
    chain = Chain(web3, operator, token, settlement)
    chain.send(token, "grantRole", token.functions.MINTER_ROLE().call(), operator)
    for owner in web3.eth.accounts:
        chain.send(token, "mint", owner, 10_000 * NANO)
        chain.send(token, "approve", settlement.address, 2**255, sender=owner)
    chain.send(settlement, "postBond", BOND_NANO)
    return chain


def py_evm_chain() -> Chain:
    """A fresh chain inside this process, its clock at ``START_S``."""
    tester = EthereumTester(PyEVMBackend())
    web3 = Web3(EthereumTesterProvider(tester))
    tester.time_travel(START_S)
    tester.mine_block()
    return settle_on(web3)


@contextmanager
def anvil_chain() -> Iterator[Chain]:
    """A fresh anvil on a free port, its clock at ``START_S``. Needs the npm packages."""
    binary = anvil()
    assert binary is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(binary), "--port", str(port), "--silent", "--timestamp", str(START_S), "--hardfork", "cancun"]
    )
    try:
        web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
        deadline = time.monotonic() + 20
        while not web3.is_connected():
            assert time.monotonic() < deadline, "anvil does not answer"
            time.sleep(0.05)
        yield settle_on(web3)
    finally:
        process.terminate()
        process.wait()
