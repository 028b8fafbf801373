"""Several nodes of one chain: which one is asked now, who rests after a failure, and whether they agree.

    poll ──▶ turn() ──▶ one node for the whole poll ──fails──▶ failed(): rests 1, 2, 4 … 60 s ──▶ next poll, next node

One poll never mixes the answers of two nodes: a receipt of one and a block number of another say nothing together.
A node that is behind what was already seen gives up its turn. Two nodes that differ about a block deeper than the
finality depth cannot both be right, and nobody here can tell who is: nothing is done until they agree again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.evm_node import EvmNode

FIRST_REST_S = 1
LONGEST_REST_S = 60
"""A node's short fault costs a second; one that is away for good is asked once a minute."""
COMPARE_EVERY_S = 30
"""Nodes are held against each other twice a minute: a fork of a quarter of an hour of blocks is seen at once."""


class RemoteDisagreementError(RemoteChainError):
    """Two nodes differ about a block that is final."""


@dataclass(slots=True)
class Health:
    """How a node did lately."""

    failures: int = 0
    rests_until_s: float = 0.0

    def failed(self, now_s: float) -> None:
        """One more failure in a row: it rests twice as long as after the one before."""
        self.rests_until_s = now_s + min(FIRST_REST_S << min(self.failures, 16), LONGEST_REST_S)
        self.failures += 1

    def answered(self) -> None:
        """It answers: its failures are forgotten."""
        self.failures, self.rests_until_s = 0, 0.0


def turn_of(health: Sequence[Health], last: int, now_s: float) -> int:
    """Whose turn it is: the last one while it is well, else the next that is; the earliest to be back if none is."""
    order = [(last + step) % len(health) for step in range(len(health))]
    well = next((place for place in order if health[place].rests_until_s <= now_s), None)
    return min(order, key=lambda place: health[place].rests_until_s) if well is None else well


class NodePool:
    """The nodes of one chain, in the order of preference."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError without any URL."""
        if not urls:
            raise ValueError("a chain needs at least one node's URL")
        self.nodes = [EvmNode(url) for url in urls]
        self._health = [Health() for _ in self.nodes]
        self._clock = clock
        self._place = 0
        self._chain_id: int | None = None
        self._checked: set[int] = set()
        self._compared_at_s = -float(COMPARE_EVERY_S)

    @property
    def node(self) -> EvmNode:
        """The node whose turn it is."""
        return self.nodes[self._place]

    @property
    def chain_id(self) -> int:
        """The chain's id, asked once of each node. Raises RemoteChainError, also where nodes are of two chains."""
        if self._place not in self._checked:
            found = self.node.chain_id()
            if self._chain_id not in (None, found):
                raise RemoteChainError(f"{self.node.url} is chain {found}, not {self._chain_id}")
            self._chain_id = found
            self._checked.add(self._place)
        assert self._chain_id is not None
        return self._chain_id

    def turn(self) -> EvmNode:
        """Begins a poll: the node to ask until it fails."""
        self._place = turn_of(self._health, self._place, self._clock())
        return self.node

    def reach(self) -> EvmNode:
        """The first node that answers, for a command that then stays with it. Raises what the last one said."""
        for _ in self.nodes[1:]:
            node = self.turn()
            try:
                assert self.chain_id >= 0
                return node
            except RemoteChainError:
                self.failed()
        node = self.turn()
        assert self.chain_id >= 0
        return node

    def failed(self) -> None:
        """The node whose turn it was did not answer, or is behind."""
        self._health[self._place].failed(self._clock())

    def answered(self) -> None:
        """The node whose turn it was did what was asked."""
        self._health[self._place].answered()

    def compare(self, number: int, expected: bytes) -> None:
        """Asks the other nodes that are well for the hash of a final block, every now and then.

        Raises RemoteDisagreementError. A node that does not answer or does not have the block yet has no opinion.
        """
        now_s = self._clock()
        if len(self.nodes) == 1 or now_s - self._compared_at_s < COMPARE_EVERY_S:
            return
        for place, node in enumerate(self.nodes):
            if place == self._place or self._health[place].rests_until_s > now_s:
                continue
            try:
                block = node.block(number)
            except RemoteChainError:
                self._health[place].failed(now_s)
                continue
            if block is not None and block.hash != expected:
                raise RemoteDisagreementError(
                    f"{self.node.url} says that block {number} is 0x{expected.hex()}, "
                    f"{node.url} says 0x{block.hash.hex()}"
                )
        self._compared_at_s = now_s
