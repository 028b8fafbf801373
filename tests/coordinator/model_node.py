"""A node as a model: blocks, a pool of waiting transactions, fees, reorgs, faults: all that a node may do to us."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from contracts.eip712 import keccak
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.evm_node import Block, Receipt, RemoteRefusalError, RemoteRevertError, SentTransaction
from coordinator.transaction_table import Attempt, Fee, Sighting

US = b"\x0a" * 20
REVERTS, REFUSED = b"reverts", b"refused"
"""Payloads that fail in their block, and that no estimate lets through."""


def sign(to: bytes | None, payload: bytes, nonce: int, gas: int, fee: Fee, value_wei: int) -> Attempt:
    """A signature of the model's own kind: the fields, readable."""
    raw = json.dumps([payload.hex(), nonce, fee.most_wei, fee.tip_wei, (to or b"").hex()]).encode()
    return Attempt(fee, raw, keccak(raw))


@dataclass(frozen=True)
class Held:
    """A transaction in the pool or in a block."""

    raw: bytes

    @property
    def hash(self) -> bytes:
        return keccak(self.raw)

    @property
    def payload(self) -> bytes:
        return bytes.fromhex(json.loads(self.raw)[0])

    @property
    def nonce(self) -> int:
        return int(json.loads(self.raw)[1])

    @property
    def fee(self) -> Fee:
        _, _, most, tip, _ = json.loads(self.raw)
        return Fee(int(most), int(tip))


@dataclass
class ModelNode:
    """One chain as its node sees it. ``blocks`` are tuples of transactions, the first one empty."""

    blocks: list[tuple[bytes, tuple[Held, ...]]] = field(default_factory=lambda: [(keccak(b"genesis"), ())])
    pool: dict[bytes, Held] = field(default_factory=dict)
    heard: dict[bytes, Held] = field(default_factory=dict)
    fee_wei: int = 1_000
    away: bool = False
    swallows: bool = False
    silent: bool = False
    forks: int = 0

    # -- what happens ------------------------------------------------------------------------------------------

    def mine(self, extra: tuple[Held, ...] = (), most: int = 10) -> None:
        """A block of what is due: by nonce without gaps, paying at least the fee; ``extra`` comes first."""
        taken = list(extra)
        nonce = self.mined() + len(taken)
        for _ in range(most):
            due = [held for held in self.pool.values() if held.nonce == nonce and held.fee.most_wei >= self.fee_wei]
            if not due:
                break
            taken.append(max(due, key=lambda held: held.fee.most_wei))
            nonce += 1
        self.forks += 1
        self.blocks.append((keccak(f"block {len(self.blocks)} {self.forks}".encode()), tuple(taken)))
        mined = self.mined()
        self.pool = {hash_: held for hash_, held in self.pool.items() if held.nonce >= mined}

    def reorganise(self, depth: int, forget: bool, extra: tuple[Held, ...] = ()) -> None:
        """The last blocks give way to as many others; what was in them waits again, or is forgotten."""
        depth = min(depth, len(self.blocks) - 1)
        gone = [held for _, block in self.blocks[len(self.blocks) - depth :] for held in block]
        del self.blocks[len(self.blocks) - depth :]
        if not forget:
            self.pool |= {held.hash: held for held in gone}
        for place in range(depth):
            self.mine(extra if place == 0 else (), most=0)

    def echo(self, transaction_hash: bytes) -> None:
        """Another node still had that transaction and passes it on, where its nonce is free again."""
        held = self.heard[transaction_hash]
        if held.nonce >= self.mined():
            self.pool[held.hash] = held

    def mined(self, block: int | None = None) -> int:
        """Our transactions up to and with a block."""
        last = len(self.blocks) - 1 if block is None else block
        return sum(len(held) for _, held in self.blocks[: last + 1])

    def executed(self, payload: bytes) -> int:
        """How often that was done on the chain as it is now."""
        return sum(held.payload == payload for _, block in self.blocks for held in block)

    # -- what it answers ---------------------------------------------------------------------------------------

    def _ask(self) -> None:
        if self.away:
            raise RemoteChainError("the node is away")

    def block(self, number: int | None = None) -> Block | None:
        self._ask()
        number = len(self.blocks) - 1 if number is None else number
        return Block(number, self.blocks[number][0], number * 12, 0) if number < len(self.blocks) else None

    def nonce(self, address: bytes, block: int | None = None) -> int:
        self._ask()
        assert address == US
        return self.mined(block)

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        self._ask()
        for number, (block_hash, block) in enumerate(self.blocks):
            for held in block:
                if held.hash == transaction_hash:
                    return Receipt(not held.payload.startswith(REVERTS), number, block_hash, 21_000, None)
        return None

    def transaction(self, transaction_hash: bytes) -> SentTransaction | None:
        self._ask()
        held = self.pool.get(transaction_hash)
        return None if held is None else SentTransaction(held.payload, US, None)

    def fee(self) -> Fee:
        self._ask()
        return Fee(self.fee_wei, 1)

    def balance_wei(self, address: bytes) -> int:
        self._ask()
        return 10**30

    def estimate(self, sender: bytes, to: bytes | None, payload: bytes, value_wei: int = 0) -> int:
        self._ask()
        if payload.startswith(REFUSED):
            raise RemoteRevertError("execution reverted", b"\x01\x02\x03\x04")
        return 21_000

    def send_raw(self, raw: bytes) -> None:
        self._ask()
        held = Held(raw)
        if held.hash in self.pool:
            raise RemoteRefusalError("already known", Sighting.TAKEN)
        if held.nonce < self.mined():
            raise RemoteRefusalError("nonce too low", Sighting.NONCE_USED)
        self.heard[held.hash] = held
        rivals = [other for other in self.pool.values() if other.nonce == held.nonce]
        if any(held.fee.most_wei * 10 < other.fee.most_wei * 11 for other in rivals):
            raise RemoteRefusalError("replacement transaction underpriced", Sighting.UNDERPRICED)
        if not self.swallows:
            for other in rivals:
                del self.pool[other.hash]
            self.pool[held.hash] = held
        if self.silent:
            raise RemoteChainError("the connection broke")
