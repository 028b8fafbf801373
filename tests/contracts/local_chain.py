"""A chain for tests with our contracts on it: py-evm inside the process, or anvil where it is installed."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_account import Account
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_typing import ChecksumAddress
from eth_utils import to_checksum_address
from web3 import EthereumTesterProvider, HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import ContractCustomError, ContractLogicError, ContractPanicError, Web3RPCError
from web3.logs import DISCARD

from contracts.artifacts import anvil, load
from contracts.challenges import finalise, post
from contracts.codes import AuctionRule
from contracts.eip712 import Domain, keccak
from contracts.evidence import Call, PostedHeader
from contracts.header_rules import Terms
from contracts.interval import FIRST_MONDAY, INTERVAL_S
from contracts.messages import Header
from contracts.signature import Signer, address_of, signer_of

NANO = 10**9
BOND_NANO = 1_000 * NANO
WINDOW_S = 6 * 3_600
ANSWER_WINDOW_S = 3_600
FEE_NANO = NANO
RELEASE_AFTER_S = 86_400
TARIFF_IMPORT, TARIFF_EXPORT = 320_000, 80_000
SHORTFALL_PRICE = 400_000
ESCROW_NANO = 50 * NANO
"""Enough for all orders that an account places in a history: each costs less than 1 NANO, and nothing is returned."""
GRACE = 2
GATE_LEADS = (1, 1, 2, 3)
"""So short that every product length closes and delivers in two dozen headers."""
CLOSES_BEFORE_S, INCLUSION_DELAY_S = 300, 1_200
"""The last round of an interval is 300 s before its end; an order placed in one interval closes in the next."""
ESCAPE_AFTER_S = 7_200
GAS = 4_000_000
FIRST = FIRST_MONDAY + 672 * 3_000 - 8
"""Interval of the first header: two hours before a Monday, with which a day and a week begin."""
START_S = (FIRST - 1) * INTERVAL_S
MNEMONIC = "test test test test test test test test test test test junk"
KEY_PATH = "m/44'/60'/0'/0"
OWNERS = 80
CHALLENGES = ("ClearingChallenges", "RoundChallenges", "MeterChallenges", "DataDemands")


def terms_of(rule: AuctionRule) -> Terms:
    """The terms of every history."""
    return Terms(GRACE, GATE_LEADS, rule)


def private_key(account: int) -> bytes:
    """The key of the home of ``account`` in every test."""
    return keccak(b"home" + account.to_bytes(4, "big"))


def home_signer(account: int) -> Signer:
    """Signs as the home of ``account``."""
    return signer_of(private_key(account))


@cache
def operator_key() -> bytes:
    """The key of the first unlocked address: the coordinator's."""
    Account.enable_unaudited_hdwallet_features()
    return bytes(Account.from_mnemonic(MNEMONIC, account_path=f"{KEY_PATH}/0").key)


class RefusedError(Exception):
    """The contract reverted with a custom error; the message is its name."""


@dataclass(frozen=True)
class Chain:
    """Contracts on a chain. The first unlocked address is governance, registrar and coordinator at once."""

    web3: Web3
    operator: ChecksumAddress
    token: Contract
    settlement: Contract
    trading: Contract
    courts: dict[str, Contract]

    @property
    def domain(self) -> Domain:
        return Domain(self.web3.eth.chain_id, bytes.fromhex(self.settlement.address[2:]))

    def send(self, contract: Contract, function: str, *arguments: Any, sender: str | None = None) -> Any:
        """Sends a transaction; returns its receipt. Raises RefusedError."""
        call = contract.functions[function](*arguments)
        with self.refusing():
            call.call({"from": sender or self.operator, "gas": GAS})
        return self.receipt(call.transact({"from": sender or self.operator, "gas": GAS}))

    def receipt(self, transaction: Any) -> Any:
        found = self.web3.eth.wait_for_transaction_receipt(transaction)
        assert found["status"] == 1
        return found

    def called(self, call: Call) -> Contract:
        """The contract that a call is for."""
        others = {"Settlement": self.settlement, "EnergyTrading": self.trading}
        return self.courts.get(call.contract) or others[call.contract]

    def tell(self, call: Call, sender: str | None = None) -> Any:
        """Sends a call."""
        return self.send(self.called(call), call.function, *call.arguments, sender=sender)

    def ask(self, contract: Contract, function: str, *arguments: Any) -> Any:
        """The answer of a view."""
        with self.refusing():
            return contract.functions[function](*arguments).call({"gas": 200_000_000})

    def verdict(self, call: Call, sender: str | None = None) -> str:
        """What a call would do: ``wins``, or the name of the error. Changes nothing."""
        try:
            with self.refusing():
                asked = self.called(call).functions[call.function](*call.arguments)
                asked.call({"from": sender or self.operator, "gas": GAS})
        except RefusedError as refusal:
            return str(refusal)
        return "wins"

    def encoded(self, call: Call) -> bytes:
        """The call as it is sent: selector and arguments."""
        return bytes.fromhex(self.called(call).encode_abi(call.function, call.arguments)[2:])

    def verdict_of_bytes(self, call: Call, packed: bytes) -> str:
        """What the contract of ``call`` says to any bytes."""
        try:
            with self.refusing():
                to = self.called(call).address
                self.web3.eth.call({"from": self.operator, "to": to, "gas": GAS, "data": packed})  # type: ignore[typeddict-item]
        except RefusedError as refusal:
            return str(refusal)
        return "wins"

    def voided(self, receipt: Any) -> tuple[int, int]:
        """Reason and fault of the one header voided by a transaction."""
        (event,) = self.settlement.events.Voided().process_receipt(receipt, errors=DISCARD)
        return event["args"]["reason"], event["args"]["fault"]

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Turns a revert into RefusedError with the error's name, whichever contract it is of."""
        with refusing([self.settlement, self.trading, self.token, *self.courts.values()]):
            yield

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
        self.tell(post(header))
        return PostedHeader(header, index)

    def finalise(self, posted: PostedHeader) -> Any:
        self.travel(self.ask(self.settlement, "postedAt", posted.index) + WINDOW_S)
        return self.tell(finalise(posted))

    def open_accounts(self, count: int) -> list[ChecksumAddress]:
        """Opens accounts 1 … count for unlocked addresses, each with its home's key and escrow for its orders."""
        owners = self.web3.eth.accounts[1 : count + 1]
        for account, owner in enumerate(owners, start=1):
            key = to_checksum_address(address_of(private_key(account)))
            transaction = self.settlement.functions.openAccount(owner, key)
            self.receipt(transaction.transact({"from": self.operator, "gas": GAS}))
            self.send(self.trading, "fund", account, ESCROW_NANO)
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
def refusing(contracts: Sequence[Contract]) -> Iterator[None]:
    """Turns a revert into RefusedError with the error's name."""
    try:
        yield
    except TransactionFailed as error:  # py-evm shows the bytes of the revert as a Python literal
        shown = str(error).removeprefix("execution reverted: ")
        raise _refused(contracts, ast.literal_eval(shown).hex() if shown.startswith("b") else shown) from error
    except ContractPanicError as error:
        raise RefusedError("Panic") from error
    except (ContractCustomError, Web3RPCError) as error:
        text = str(error.data) if isinstance(error, ContractCustomError) else json.dumps(error.rpc_response)
        raise _refused(contracts, text) from error
    except ContractLogicError as error:  # arguments that no decoder takes revert without a word
        raise RefusedError("Malformed") from error


def _refused(contracts: Sequence[Contract], shown: str) -> RefusedError:
    found = [name for contract in contracts for selector, name in _errors(contract).items() if selector in shown]
    return RefusedError(found[0] if found else f"unknown: {shown}")


def _errors(contract: Contract) -> dict[str, str]:
    """Names of a contract's custom errors by the hex of their selectors."""
    found = {}
    for entry in contract.abi:
        if entry["type"] == "error":
            inputs = ",".join(argument["type"] for argument in entry.get("inputs", []))
            found[keccak(f"{entry['name']}({inputs})".encode())[:4].hex()] = str(entry["name"])
    return found


def _deploy(web3: Web3, sender: ChecksumAddress, name: str, *arguments: Any) -> Contract:
    artifact = load(name)
    maker = web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    receipt = web3.eth.wait_for_transaction_receipt(
        maker.constructor(*arguments).transact({"from": sender, "gas": 8_000_000})
    )
    assert receipt["status"] == 1
    return web3.eth.contract(address=receipt["contractAddress"], abi=artifact.abi)


def settle_on(web3: Web3, terms: Terms) -> Chain:
    """Deploys everything, posts the bond, and lets everybody's allowance be unlimited."""
    operator = web3.eth.accounts[0]
    token = _deploy(web3, operator, "EnergyToken", operator)
    fixed = (WINDOW_S, terms.grace, terms.packed_gate_leads, terms.spot_rule, RELEASE_AFTER_S, BOND_NANO)
    roles = (operator, operator, operator)
    settlement = _deploy(web3, operator, "Settlement", token.address, *roles, fixed, TARIFF_IMPORT, TARIFF_EXPORT)
    courts = {name: _deploy(web3, operator, name, settlement.address) for name in CHALLENGES[:3]}
    courts["DataDemands"] = _deploy(web3, operator, "DataDemands", settlement.address, *DEMAND_TERMS)
    timing = (CLOSES_BEFORE_S, INCLUSION_DELAY_S, ESCAPE_AFTER_S)
    trading = _deploy(web3, operator, "EnergyTrading", settlement.address, *timing, 0, 0, SHORTFALL_PRICE)
    chain = Chain(web3, operator, token, settlement, trading, courts)
    chain.send(settlement, "setTrading", trading.address)
    chain.send(settlement, "setChallenges", [courts[name].address for name in CHALLENGES])
    chain.send(token, "grantRole", token.functions.MINTER_ROLE().call(), operator)
    for owner in web3.eth.accounts[:12]:
        chain.send(token, "mint", owner, 10_000 * NANO)
        chain.send(token, "approve", settlement.address, 2**255, sender=owner)
        chain.send(token, "approve", courts["DataDemands"].address, 2**255, sender=owner)
    chain.send(settlement, "postBond", BOND_NANO)
    chain.send(token, "mint", operator, OWNERS * ESCROW_NANO)
    chain.send(token, "approve", trading.address, 2**255)
    return chain


DEMAND_TERMS = (ANSWER_WINDOW_S, FEE_NANO, 4, 0, 0)
"""Answer window, fee, how many headers back cover may lie, and the default rates of asking."""


def py_evm_chain(rule: AuctionRule = AuctionRule.SPOT_SHARED) -> Chain:
    """A fresh chain inside this process, its clock at ``START_S``."""
    tester = EthereumTester(PyEVMBackend.from_mnemonic(MNEMONIC, num_accounts=OWNERS, hd_path=KEY_PATH))
    web3 = Web3(EthereumTesterProvider(tester))
    tester.time_travel(START_S)
    tester.mine_block()
    return settle_on(web3, terms_of(rule))


@contextmanager
def anvil_chain(rule: AuctionRule = AuctionRule.SPOT_SHARED) -> Iterator[Chain]:
    """A fresh anvil on a free port, its clock at ``START_S``. Needs the npm packages."""
    binary = anvil()
    assert binary is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = ["--port", str(port), "--silent", "--timestamp", str(START_S), "--hardfork", "cancun"]
    process = subprocess.Popen([str(binary), *asked, "--accounts", str(OWNERS)])
    try:
        web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
        deadline = time.monotonic() + 20
        while not web3.is_connected():
            assert time.monotonic() < deadline, "anvil does not answer"
            time.sleep(0.05)
        yield settle_on(web3, terms_of(rule))
    finally:
        process.terminate()
        process.wait()
