"""A sparse Merkle-sum tree of fixed depth: every node carries a hash and three sums, empty subtrees cost nothing.

    leaf    hash = keccak(0x00 ‖ leaf bytes)                       sums follow from the leaf
    parent  hash = keccak(0x01 ‖ left hash ‖ left sums ‖ right hash ‖ right sums)
    root    commitment = keccak(0x02 ‖ hash ‖ sums)
    empty   the zero hash with zero sums; the parent of two empty nodes is empty

A parent commits to the hash *and* the sums of both children, so a wrong sum anywhere is shown by one path.
Sums are uint128, 16 bytes each. The tags keep the three kinds of preimage apart, and so do their lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.eip712 import keccak

DEPTH = 20
AUCTIONS_DEPTH = 12
SUM_BYTES = 16
LEAF_TAG, PARENT_TAG, ROOT_TAG = b"\x00", b"\x01", b"\x02"


@dataclass(frozen=True, slots=True)
class Node:
    """Hash (32 bytes) and the three sums ``a, b, c`` of a subtree; each 0 … 2**128-1."""

    hash: bytes
    a: int
    b: int
    c: int

    @property
    def sums(self) -> tuple[int, int, int]:
        """The three sums."""
        return self.a, self.b, self.c

    def pack(self) -> bytes:
        """80 bytes: hash, then the sums."""
        return self.hash + b"".join(value.to_bytes(SUM_BYTES, "big") for value in self.sums)


EMPTY = Node(bytes(32), 0, 0, 0)


def leaf_node(leaf: bytes, a: int, b: int, c: int) -> Node:
    """Node of the leaf with those canonical bytes and sums."""
    return Node(keccak(LEAF_TAG + leaf), a, b, c)


def parent(left: Node, right: Node) -> Node:
    """Node above two children; empty above two empty ones."""
    if left == EMPTY and right == EMPTY:
        return EMPTY
    return Node(keccak(PARENT_TAG + left.pack() + right.pack()), left.a + right.a, left.b + right.b, left.c + right.c)


def commitment(root: Node) -> bytes:
    """32 bytes that stand for the whole tree: hash and sums of its root."""
    return keccak(ROOT_TAG + root.pack())


class MerkleSumTree:
    """The tree over ``{index: leaf node}``; indices below ``2**depth``. Raises IndexError for others."""

    def __init__(self, leaves: Mapping[int, Node], depth: int = DEPTH) -> None:
        for index in leaves:
            if not 0 <= index < 1 << depth:
                raise IndexError(f"leaf {index} is outside a tree of depth {depth}")
        self.depth = depth
        level = dict(leaves)
        self._levels = [level]
        for _ in range(depth):
            level = {
                i: parent(level.get(2 * i, EMPTY), level.get(2 * i + 1, EMPTY)) for i in {index >> 1 for index in level}
            }
            self._levels.append(level)

    @property
    def root(self) -> Node:
        """The node at the top; EMPTY for a tree without leaves."""
        return self._levels[-1].get(0, EMPTY)

    @property
    def commitment(self) -> bytes:
        """The 32 bytes that are posted."""
        return commitment(self.root)

    def node(self, height: int, index: int) -> Node:
        """The node at ``index`` of ``height``; leaves are at height 0."""
        return self._levels[height].get(index, EMPTY)

    def path(self, index: int, height: int = 0) -> tuple[Node, ...]:
        """Siblings from the node at ``index`` of ``height`` upwards: ``depth - height`` nodes."""
        if not 0 <= index < 1 << (self.depth - height):
            raise IndexError(f"no node {index} at height {height} of a tree of depth {self.depth}")
        steps = range(self.depth - height)
        return tuple(self._levels[height + step].get((index >> step) ^ 1, EMPTY) for step in steps)


def root_of_path(index: int, leaf: Node, siblings: Iterable[Node]) -> Node:
    """The root that ``leaf`` at ``index`` with these siblings leads to."""
    node = leaf
    for height, sibling in enumerate(siblings):
        node = parent(sibling, node) if index >> height & 1 else parent(node, sibling)
    return node


def path_bytes(siblings: Sequence[Node]) -> bytes:
    """A path as the contracts take it: 4 bytes that say which siblings are not empty, then those, 80 bytes each."""
    present = [(height, node) for height, node in enumerate(siblings) if node != EMPTY]
    bitmap = sum(1 << height for height, _ in present)
    return bitmap.to_bytes(4, "big") + b"".join(node.pack() for _, node in present)


def prefix_sum_c(index: int, siblings: Iterable[Node]) -> int:
    """Sum ``c`` of all leaves left of ``index``: what stands before a slot in the order of rationing."""
    return sum(sibling.c for height, sibling in enumerate(siblings) if index >> height & 1)
