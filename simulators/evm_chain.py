"""A whole EVM chain inside one Python process: what the contracts run on when no node is at hand.

Built on py-evm's chain with eth-tester's genesis. Every transaction is one block, mined at once; the block's
timestamp is the clock's time (never before its parent's), so that contract time follows a virtual clock.
About 17 ms a transaction. Not persistent: a restart is a new chain. ``live.json_rpc`` puts it on HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from contracts.eip712 import keccak

CHAIN_ID = 31_337
"""The id that local development chains use; wallets and anvil agree on it."""
GAS_LIMIT = 60_000_000
"""Room for the largest deployment several times over; equal for blocks, calls and estimates."""
CALL_STIPEND = 2_300
"""What a call with value leaves to its receiver: must be there at the end of the tightest execution."""
FUNDS_WEI = 10**24
"""A million units of the chain's own coin: more than any test can burn."""
DEV_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""The first key of the publicly known development mnemonic; anvil funds the same one. Never for real money."""
DEV_ADDRESS = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")


class RemoteTransactionError(Exception):
    """A transaction that no block can hold: bad encoding, wrong nonce or chain, no funds."""


class RemoteCallError(Exception):
    """A call or an estimate failed. ``output`` is what the contract returned with its revert."""

    def __init__(self, text: str, output: bytes = b"") -> None:
        super().__init__(text)
        self.output = output


@dataclass(frozen=True, slots=True)
class MinedLog:
    """One event of a contract, with its place in the chain."""

    address: bytes
    topics: tuple[bytes, ...]
    content: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    index: int


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """A transaction with its receipt. ``created`` is the new contract's address where it made one."""

    transaction: Any
    raw: bytes
    hash: bytes
    sender: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    price_wei: int
    created: bytes | None
    logs: tuple[MinedLog, ...]


class EvmChain:
    """One chain. It knows no threads: who shares it between some gives each call a turn (``JsonRpcServer`` does)."""

    def __init__(
        self,
        now_s: Callable[[], int],
        funded: Iterable[bytes] = (DEV_ADDRESS,),
        chain_id: int = CHAIN_ID,
    ) -> None:
        """``now_s`` gives the time of new blocks; ``funded`` addresses get coins."""
        from eth.vm.forks.cancun import CancunVM
        from eth_tester.backends.pyevm.main import get_default_genesis_params, setup_tester_chain

        self._now_s = now_s
        self._next_timestamp_s: int | None = None
        account = {"balance": FUNDS_WEI, "nonce": 0, "code": b"", "storage": {}}
        genesis = get_default_genesis_params({"gas_limit": GAS_LIMIT, "timestamp": self._now_s()})
        state = {address: dict(account) for address in funded}
        _, self._chain = setup_tester_chain(genesis, state, len(state), ((0, CancunVM),))
        type(self._chain).chain_id = chain_id
        self._mined: dict[bytes, MinedTransaction] = {}
        self._logs: list[MinedLog] = []
        self._by_block: dict[int, list[bytes]] = {}

    @property
    def chain_id(self) -> int:
        """The id that transactions must be signed for."""
        return int(self._chain.chain_id)

    @property
    def block_number(self) -> int:
        """Number of the newest block."""
        return int(self._chain.header.block_number) - 1

    def header(self, number: int) -> Any:
        """The header of a mined block. Raises KeyError where there is none."""
        if not 0 <= number <= self.block_number:
            raise KeyError(number)
        return self._chain.get_canonical_block_header_by_number(number)

    def _following(self, number: int) -> Any:
        """A header under which the state after block ``number`` is read."""
        parent = self.header(number)
        return self._chain.header.copy(parent_hash=parent.hash, block_number=number + 1, state_root=parent.state_root)

    def header_number(self, block_hash: bytes) -> int:
        """Number of the block with that hash. Raises KeyError where there is none."""
        from eth.exceptions import HeaderNotFound

        try:
            return int(self._chain.get_block_header_by_hash(block_hash).block_number)
        except (HeaderNotFound, KeyError) as error:
            raise KeyError(block_hash) from error

    def block_transactions(self, number: int) -> list[MinedTransaction]:
        """The transactions of a block, in order."""
        return [self._mined[hash_] for hash_ in self._by_block.get(number, [])]

    def set_next_timestamp(self, at_s: int) -> None:
        """Fixes the timestamp of the next block. Raises ValueError unless it is after the newest block's."""
        if at_s <= self.header(self.block_number).timestamp:
            raise ValueError("a block's timestamp is later than its parent's")
        self._next_timestamp_s = at_s

    def pending_timestamp_s(self) -> int:
        """The timestamp that a block mined now would carry."""
        parent_s = int(self.header(self.block_number).timestamp)
        wanted_s = self._next_timestamp_s if self._next_timestamp_s is not None else self._now_s()
        return max(parent_s + 1, wanted_s)

    def mine(self) -> int:
        """Mines an empty block; its number."""
        self._open_block()
        return int(self._close_block().number)

    def send_raw(self, raw: bytes) -> bytes:
        """Mines a signed transaction into a block of its own; its hash. Raises RemoteTransactionError."""
        transaction = self._decode(raw)
        self._check(transaction)
        self._open_block()
        before = self._chain.header
        try:
            _, receipt, computation = self._chain.apply_transaction(transaction)
        except Exception as error:  # py-evm raises many kinds for what a node calls an invalid transaction
            self._chain.header = before
            raise RemoteTransactionError(str(error)) from error
        self._next_timestamp_s = None
        block = self._close_block()
        return self._record(transaction, raw, receipt, computation, block)

    def call(self, sender: bytes, to: bytes, payload: bytes, value: int = 0, at_block: int | None = None) -> bytes:
        """Runs a call without a block; its output. Raises RemoteCallError where it reverts."""
        spoof = self._spoof(sender, to, payload, value)
        header = self._chain.header.copy(timestamp=self.pending_timestamp_s())
        if at_block is not None and at_block != self.block_number:
            header = self.header(at_block)
        with self._trial(header) as state:
            computation = state.costless_execute_transaction(spoof)
        if computation.is_error:
            raise RemoteCallError("execution reverted", bytes(computation.output))
        return bytes(computation.output)

    @contextmanager
    def _trial(self, header: Any) -> Iterator[Any]:
        """State as in a block with that header, forgotten afterwards.

        The machine's own ``in_costless_state`` gives the trial the time of the computer's clock, not the header's.
        """
        machine = self._chain.get_vm(header)
        free = header.copy(base_fee_per_gas=0)
        before = chain((header.parent_hash,), machine.previous_hashes)
        state = machine.build_state(machine.chaindb.db, free, machine.chain_context, before)
        snapshot = state.snapshot()
        yield state
        state.revert(snapshot)

    def estimate_gas(self, sender: bytes, to: bytes, payload: bytes, value: int = 0) -> int:
        """Gas with which the transaction succeeds. Raises RemoteCallError where none is enough.

        What it takes, and a little more for the 64th that every inner call must leave; searched for where that is not
        enough, because a search runs the transaction twenty times.
        """
        header = self._chain.header.copy(timestamp=self.pending_timestamp_s())
        gas = GAS_LIMIT
        for _ in range(2):
            with self._trial(header) as state:
                computation = state.costless_execute_transaction(self._spoof(sender, to, payload, value, gas))
            if computation.is_error and gas == GAS_LIMIT:
                raise RemoteCallError("execution reverted", bytes(computation.output))
            if not computation.is_error and gas != GAS_LIMIT:
                return gas
            used = gas - int(computation.get_gas_remaining())
            gas = used + used // 32 + CALL_STIPEND
        return int(self._chain.estimate_gas(self._spoof(sender, to, payload, value), header))

    def transaction(self, transaction_hash: bytes) -> MinedTransaction | None:
        """The mined transaction with that hash."""
        return self._mined.get(transaction_hash)

    def logs(
        self,
        from_block: int,
        to_block: int,
        addresses: frozenset[bytes] = frozenset(),
        topics: tuple[frozenset[bytes], ...] = (),
    ) -> list[MinedLog]:
        """Events of the block range, both ends included; an empty set matches all."""
        return [
            log
            for log in self._logs
            if from_block <= log.block_number <= to_block
            and (not addresses or log.address in addresses)
            and len(log.topics) >= len(topics)
            and all(not wanted or log.topics[place] in wanted for place, wanted in enumerate(topics))
        ]

    def nonce(self, address: bytes, at_block: int | None = None) -> int:
        """Number of transactions sent by ``address``, up to and with a block; KeyError where there is none."""
        if at_block is None or at_block == self.block_number:
            return int(self._chain.get_vm().state.get_nonce(address))
        return int(self._chain.get_vm(self._following(at_block)).state.get_nonce(address))

    def balance_wei(self, address: bytes) -> int:
        """Coins of ``address``."""
        return int(self._chain.get_vm().state.get_balance(address))

    def set_balance(self, address: bytes, amount_wei: int) -> None:
        """Gives ``address`` coins out of nothing, in the next block."""
        vm = self._chain.get_vm()
        vm.state.set_balance(address, amount_wei)
        vm.state.persist()
        self._chain.header = self._chain.header.copy(state_root=vm.state.state_root)
        self.mine()

    def code(self, address: bytes) -> bytes:
        """The contract at ``address``; empty where there is none."""
        return bytes(self._chain.get_vm().state.get_code(address))

    def storage(self, address: bytes, slot: int) -> bytes:
        """One word of a contract's storage."""
        return int(self._chain.get_vm().state.get_storage(address, slot)).to_bytes(32, "big")

    def base_fee_wei(self) -> int:
        """Base fee of the next block."""
        return int(self._chain.header.base_fee_per_gas)

    def _decode(self, raw: bytes) -> Any:
        try:
            return self._chain.get_vm().get_transaction_builder().decode(raw)
        except Exception as error:  # rlp and py-evm raise many kinds for bytes that are no transaction
            raise RemoteTransactionError("not a transaction") from error

    def _check(self, transaction: Any) -> None:
        chain_id = getattr(transaction, "chain_id", None)
        if chain_id is not None and chain_id != self.chain_id:
            raise RemoteTransactionError(f"signed for chain {chain_id}, this is {self.chain_id}")
        try:
            sender = transaction.sender
        except Exception as error:  # a signature that recovers nothing
            raise RemoteTransactionError("the signature recovers no sender") from error
        if bytes(keccak(transaction.encode())) in self._mined:
            raise RemoteTransactionError("already known")
        expected = self.nonce(sender)
        if transaction.nonce != expected:
            word = "low" if transaction.nonce < expected else "high"
            raise RemoteTransactionError(f"nonce too {word}: next is {expected}, got {transaction.nonce}")

    def _spoof(self, sender: bytes, to: bytes, payload: bytes, value: int, gas: int = GAS_LIMIT) -> Any:
        from eth.vm.spoof import SpoofTransaction

        unsigned = self._chain.get_vm().create_unsigned_transaction(
            nonce=self.nonce(sender), gas_price=0, gas=gas, to=to, value=value, data=payload
        )
        return SpoofTransaction(unsigned, from_=sender)

    def _open_block(self) -> None:
        self._chain.set_header_timestamp(self.pending_timestamp_s())

    def _close_block(self) -> Any:
        self._next_timestamp_s = None
        return self._chain.mine_block(mix_hash=keccak(int(self._chain.header.block_number).to_bytes(8, "big")))

    def _record(self, transaction: Any, raw: bytes, receipt: Any, computation: Any, block: Any) -> bytes:
        hash_, block_hash, number = bytes(transaction.hash), bytes(block.hash), int(block.number)
        logs = tuple(
            MinedLog(
                bytes(log.address),
                tuple(int(topic).to_bytes(32, "big") for topic in log.topics),
                bytes(log.data),
                number,
                block_hash,
                hash_,
                index,
            )
            for index, log in enumerate(receipt.logs)
        )
        base_fee = int(block.header.base_fee_per_gas)
        tip = getattr(transaction, "max_priority_fee_per_gas", None)
        price = transaction.gas_price if tip is None else min(transaction.max_fee_per_gas, base_fee + tip)
        made = bytes(computation.msg.storage_address) if transaction.to == b"" else None
        self._mined[hash_] = MinedTransaction(
            transaction, raw, hash_, bytes(transaction.sender), number, block_hash,
            not computation.is_error, int(receipt.gas_used), int(price), made, logs,
        )  # fmt: skip
        self._logs += logs
        self._by_block.setdefault(number, []).append(hash_)
        return hash_
