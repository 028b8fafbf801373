"""From what the parties hold to what the chain is told: the shapes of evidence in the contracts' calls.

Structs become tuples in the order of their fields, absent leaves become all-zero ones with ``present`` false, paths
are packed. ``challenges`` builds the calls out of these; whoever has a connection sends them.

    leaf + path → PlacedSlot … → struct() → argument of Call("ClearingChallenges", "challengeFill", …)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from contracts.eip712 import Message, layout
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, Node, path_bytes
from contracts.messages import Auction, Header

Struct = tuple[Any, ...]
"""A Solidity struct as the ABI encoder takes it."""

Siblings = tuple[Node, ...]

NO_SIBLINGS_20: Siblings = (EMPTY,) * DEPTH
NO_SIBLINGS_12: Siblings = (EMPTY,) * AUCTIONS_DEPTH


class Tree(IntEnum):
    """The four trees under a header, numbered as in ``Proofs.sol``."""

    AUCTIONS = 0
    SLOTS = 1
    METERS = 2
    BALANCES = 3


class Lie(IntEnum):
    """What a won challenge refuted, numbered as in ``ISettlement.Lie``."""

    NODE_SUM = 0
    LEAF = 1
    AUCTION = 2
    TOTALS = 3
    FILL = 4
    SIGNATURE = 5
    BALANCE = 6
    STANDING = 7
    ORDER = 8
    ROUND = 9
    FORK = 10
    CARRY = 11
    RECEIPT = 12
    FORCED = 13
    CLOSING = 14
    READING = 15
    REGISTER = 16
    CONTRACTED = 17
    RESERVE = 18
    COMMITMENT = 19
    WITHHELD = 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the contract's name, the function's name and its arguments."""

    contract: str
    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PostedHeader:
    """A header as the chain knows it: what was posted, and its index."""

    header: Header
    index: int

    def struct(self) -> Struct:
        """``ISettlement.HeaderProof``."""
        return message_struct(self.header), self.index


@dataclass(frozen=True, slots=True)
class PlacedAuction:
    """An auction at its leaf of the header's auctions tree; ``auction`` None for an empty leaf."""

    auction: Auction | None
    index: int
    siblings: Siblings

    def struct(self) -> Struct:
        """``AuctionProof``."""
        return *_optional(Auction, self.auction), self.index, path_bytes(self.siblings)


NO_AUCTION = PlacedAuction(None, 0, ())
"""Stands where a challenge does not ask for an auction."""


@dataclass(frozen=True, slots=True)
class PlacedSlot:
    """A slot and its path in its auction's tree; None for an empty leaf."""

    slot: Slot | None
    siblings: Siblings

    def struct(self) -> Struct:
        """``SlotProof``."""
        return *_optional(Slot, self.slot), path_bytes(self.siblings)


NO_SLOT = PlacedSlot(None, ())
"""Stands where there is no spot round at all."""


@dataclass(frozen=True, slots=True)
class PlacedMeter:
    """A meter leaf and its path; None for an empty leaf."""

    leaf: MeterLeaf | None
    siblings: Siblings

    def struct(self) -> Struct:
        """``MeterProof``."""
        return *_optional(MeterLeaf, self.leaf), path_bytes(self.siblings)


@dataclass(frozen=True, slots=True)
class PlacedBalance:
    """A balance leaf and its path; None for an empty leaf."""

    leaf: BalanceLeaf | None
    siblings: Siblings

    def struct(self) -> Struct:
        """``BalanceProof``."""
        return *_optional(BalanceLeaf, self.leaf), path_bytes(self.siblings)


NO_BALANCE = PlacedBalance(None, ())
"""The balance before the first header."""


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node with the sums it claims, at ``index`` of ``height``; the siblings lead from there to the root."""

    node: Node
    height: int
    index: int
    siblings: Siblings

    def struct(self) -> Struct:
        """``NodeProof``: its path is packed as if the siblings were the lowest."""
        return node_struct(self.node), self.height, self.index, path_bytes(self.siblings)


def message_struct(message: Message) -> Struct:
    """Any message or leaf, its fields in order."""
    return tuple(getattr(message, name) for name, _ in layout(type(message)).columns)


def node_struct(node: Node) -> Struct:
    """``MerkleSum.Node``."""
    return node.hash, node.a, node.b, node.c


def blank_struct(message_type: type[Message]) -> Struct:
    """All fields zero: what stands for an absent leaf."""
    return tuple(bytes(kind.width) if kind.is_bytes else 0 for _, kind in layout(message_type).columns)


def _optional(message_type: type[Message], message: Message | None) -> tuple[bool, Struct]:
    return (False, blank_struct(message_type)) if message is None else (True, message_struct(message))
