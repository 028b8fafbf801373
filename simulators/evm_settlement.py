"""The compiled settlement contract on the embedded EVM, behind the same port as the model.

One key is deployer, governance, registrar, coordinator and, because nothing is challenged here, all four challenge
contracts at once. Calls are tried before they are sent, so that a
refusal is the name of the contract's own error and leaves no block.
"""

from __future__ import annotations

from typing import Any, cast

from eth_account import Account

from contracts.codes import AuctionRule
from contracts.eip712 import Domain
from contracts.evidence import PostedHeader, message_struct
from contracts.header_rules import header_digest
from contracts.interval import STREET_CALENDAR
from contracts.messages import Header
from contracts.signature import address_of
from coordinator.chain_events import AccountOpened, ChainEvent, Deposited, HeaderFinalised, HeaderPosted
from coordinator.shell.evm_contract import ContractInterface
from simulators.evm_chain import EvmChain, MinedLog, RemoteCallError
from simulators.model_chain import FINALITY_WINDOW_S, MINIMUM_BOND_NANO, MODEL_GAS, MODEL_TARIFFS, Logged, Time

GRACE_INTERVALS = 4
RELEASE_AFTER_S = 7 * 86_400
GAS = 8_000_000
MINTED_NANO = 10**24


class EvmSettlement:
    """Token and settlement contract, deployed and bonded."""

    def __init__(
        self,
        time: Time,
        key: bytes,
        window_s: int = FINALITY_WINDOW_S,
        spot_rule: AuctionRule = AuctionRule.SPOT_SHARED,
    ) -> None:
        self._key = key
        self._address = address_of(key)
        self._chain = EvmChain(lambda: time.now_s, (self._address,))
        self._settlement = ContractInterface("Settlement")
        self._token = ContractInterface("EnergyToken")
        me = self._address
        token_at = self._deploy(self._token.creation(me))
        leads = sum(lead << 16 * place for place, lead in enumerate(STREET_CALENDAR.gate_leads))
        terms = (window_s, GRACE_INTERVALS, leads, int(spot_rule), RELEASE_AFTER_S, MINIMUM_BOND_NANO)
        self._at = self._deploy(self._settlement.creation(token_at, me, me, me, terms, *MODEL_TARIFFS))
        self._send(self._at, self._settlement.call("setChallenges", (me, me, me, me)))
        (role,) = self._token.output("MINTER_ROLE", self._chain.call(me, token_at, self._token.call("MINTER_ROLE")))
        self._send(token_at, self._token.call("grantRole", role, me))
        self._send(token_at, self._token.call("mint", me, MINTED_NANO))
        self._send(token_at, self._token.call("approve", self._at, 2**255))
        self._send(self._at, self._settlement.call("postBond", MINIMUM_BOND_NANO))
        self.domain = Domain(self._chain.chain_id, self._at)

    # -- transactions ------------------------------------------------------------------------------------------

    def _raw(self, to: bytes, payload: bytes) -> bytes:
        transaction: dict[str, Any] = {
            "nonce": self._chain.nonce(self._address),
            "gas": GAS,
            "maxFeePerGas": 2 * self._chain.base_fee_wei() + 10**9,
            "maxPriorityFeePerGas": 0,
            "chainId": self._chain.chain_id,
            "value": 0,
            "data": payload,
        }
        if to:
            transaction["to"] = to
        signed = Account.from_key(self._key).sign_transaction(transaction)
        return bytes(cast(Any, signed).raw_transaction)

    def _send(self, to: bytes, payload: bytes) -> bytes:
        mined = self._chain.transaction(self._chain.send_raw(self._raw(to, payload)))
        assert mined is not None and mined.succeeded
        return mined.created or b""

    def _deploy(self, creation: bytes) -> bytes:
        return self._send(b"", creation)

    def _act(self, function: str, *arguments: object) -> str | None:
        payload = self._settlement.call(function, *arguments)
        try:
            self._chain.call(self._address, self._at, payload)
        except RemoteCallError as error:
            return self._settlement.error(error.output)
        self._send(self._at, payload)
        return None

    def _ask(self, function: str, *arguments: object) -> Any:
        returned = self._chain.call(self._address, self._at, self._settlement.call(function, *arguments))
        (value,) = self._settlement.output(function, returned)
        return value

    # -- the port ----------------------------------------------------------------------------------------------

    @property
    def tip_digest(self) -> bytes:
        """Digest of the newest header; zero before the first."""
        return bytes(self._ask("tipDigest"))

    @property
    def header_count(self) -> int:
        """Headers that stand."""
        return int(self._ask("headerCount"))

    @property
    def finalised_count(self) -> int:
        """Headers that are final."""
        return int(self._ask("finalisedCount"))

    def open_account(self, owner: bytes, key: bytes) -> str | None:
        """The registrar opens the next account."""
        return self._act("openAccount", owner, key)

    def deposit(self, account: int, amount_nano: int) -> str | None:
        """Money comes in for an account."""
        return self._act("deposit", account, amount_nano)

    def post(self, header: Header) -> str | None:
        """The coordinator posts the next header."""
        return self._act("post", message_struct(header))

    def finalise(self, header: Header, index: int) -> str | None:
        """Anybody makes a header, and all before it, final."""
        return self._act("finalise", PostedHeader(header, index).struct())

    def halt(self) -> str | None:
        """Governance stops posting."""
        return self._act("halt")

    def logs(self) -> list[Logged]:
        """All events of the contract in order, as far as a world knows them."""
        found = []
        for log in self._chain.logs(0, self._chain.block_number, frozenset((self._at,))):
            event = self._event(log)
            if event is not None:
                found.append(Logged(event, int(self._chain.header(log.block_number).timestamp)))
        return found

    def reorganise(self) -> bool:
        """The embedded chain never does."""
        return False

    def _event(self, log: MinedLog) -> ChainEvent | None:
        decoded = self._settlement.event(list(log.topics), log.content)
        if decoded is None:
            return None
        name, values = decoded
        if name == "AccountOpened":
            return AccountOpened(values["account"], _raw_address(values["owner"]), _raw_address(values["key"]))
        if name == "Deposited":
            return Deposited(values["account"], values["amountNano"])
        if name == "HeaderPosted":
            digest = header_digest(Header(*values["header"]), self.domain)
            return HeaderPosted(values["index"], digest, values["postedAt"], MODEL_GAS)
        if name == "Finalised":
            return HeaderFinalised(values["index"])
        return None


def _raw_address(text: str) -> bytes:
    return bytes.fromhex(text[2:])
