"""From what the parties hold to what the chain is told: the arguments of every call that carries evidence.

The one place that knows the shapes of ``IChallenges`` and ``ISettlement``: structs become tuples in the order of
their fields, absent leaves become all-zero ones with ``present`` false. Each function names its call and its
arguments; whoever has a connection sends them.

    lie found → Call("challengeFill", arguments) → settlement.functions[call.function](*call.arguments)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from contracts.eip712 import Message, layout
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, Node
from contracts.messages import Auction, Header

Struct = tuple[Any, ...]
"""A Solidity struct as the ABI encoder takes it."""

Siblings = tuple[Node, ...]

NO_SIBLINGS_20: Siblings = (EMPTY,) * DEPTH
NO_SIBLINGS_12: Siblings = (EMPTY,) * AUCTIONS_DEPTH


class Tree(IntEnum):
    """The four trees under a header, numbered as in ``IChallenges.Tree``."""

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


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the settlement contract: the function's name and its arguments."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PostedHeader:
    """A header as the chain knows it: what was posted, its index and the time the contract gave it."""

    header: Header
    index: int
    posted_at_s: int

    def struct(self) -> Struct:
        """``ISettlement.HeaderProof``."""
        return message_struct(self.header), self.index, self.posted_at_s


@dataclass(frozen=True, slots=True)
class PlacedAuction:
    """An auction at its leaf of the header's auctions tree; ``auction`` None for an empty leaf."""

    auction: Auction | None
    index: int
    siblings: Siblings

    def struct(self) -> Struct:
        """``IChallenges.AuctionProof``."""
        return *_optional(Auction, self.auction), self.index, node_structs(self.siblings)


NO_AUCTION = PlacedAuction(None, 0, ())
"""Stands where a challenge does not ask for an auction."""


@dataclass(frozen=True, slots=True)
class PlacedSlot:
    """A slot and its path in its auction's tree; None for an empty leaf."""

    slot: Slot | None
    siblings: Siblings

    def struct(self) -> Struct:
        """``IChallenges.SlotProof``."""
        return *_optional(Slot, self.slot), node_structs(self.siblings)


NO_SLOT = PlacedSlot(None, ())
"""Stands where there is no spot round at all."""


@dataclass(frozen=True, slots=True)
class PlacedMeter:
    """A meter leaf and its path; None for an empty leaf."""

    leaf: MeterLeaf | None
    siblings: Siblings

    def struct(self) -> Struct:
        """``IChallenges.MeterProof``."""
        return *_optional(MeterLeaf, self.leaf), node_structs(self.siblings)


@dataclass(frozen=True, slots=True)
class PlacedBalance:
    """A balance leaf and its path; None for an empty leaf."""

    leaf: BalanceLeaf | None
    siblings: Siblings

    def struct(self) -> Struct:
        """``IChallenges.BalanceProof``."""
        return *_optional(BalanceLeaf, self.leaf), node_structs(self.siblings)


NO_BALANCE = PlacedBalance(None, ())
"""The balance before the first header."""


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node with the sums it claims, at ``index`` of its height; the siblings lead from there to the root."""

    node: Node
    index: int
    siblings: Siblings

    def struct(self) -> Struct:
        """``IChallenges.NodeProof``."""
        return node_struct(self.node), self.index, node_structs(self.siblings)


def message_struct(message: Message) -> Struct:
    """Any message or leaf, its fields in order."""
    return tuple(getattr(message, name) for name, _ in layout(type(message)).columns)


def node_struct(node: Node) -> Struct:
    """``MerkleSum.Node``."""
    return node.hash, node.a, node.b, node.c


def node_structs(nodes: Siblings) -> list[Struct]:
    """``MerkleSum.Node[]``."""
    return [node_struct(node) for node in nodes]


def blank_struct(message_type: type[Message]) -> Struct:
    """All fields zero: what stands for an absent leaf."""
    return tuple(bytes(kind.width) if kind.is_bytes else 0 for _, kind in layout(message_type).columns)


def _optional(message_type: type[Message], message: Message | None) -> tuple[bool, Struct]:
    return (False, blank_struct(message_type)) if message is None else (True, message_struct(message))


def post(header: Header) -> Call:
    """Posts the next header."""
    return Call("post", (message_struct(header),))


def finalise(posted: PostedHeader) -> Call:
    """Makes a header and all before it final."""
    return Call("finalise", (posted.struct(),))


def withdraw(account: int, amount_nano: int, balance: PlacedBalance) -> Call:
    """Takes cash out against the final balances; an absent leaf is an account that never traded."""
    leaf = balance.leaf or BalanceLeaf(account, 0, 0)
    return Call("withdraw", (account, amount_nano, message_struct(leaf), node_structs(balance.siblings)))


def challenge_node_sum(
    posted: PostedHeader, tree: Tree, auction: PlacedAuction, node: PlacedNode, left: Node, right: Node
) -> Call:
    """A node contradicts its children. Of several lies on one path, the topmost is the one that can be shown."""
    arguments = posted.struct(), int(tree), auction.struct(), node.struct(), node_struct(left), node_struct(right)
    return Call("challengeNodeSum", arguments)


def challenge_leaf(posted: PostedHeader, tree: Tree, auction: PlacedAuction, node: PlacedNode, leaf: bytes) -> Call:
    """A leaf, given as the bytes that were hashed, contradicts its place or its claimed sums."""
    return Call("challengeLeaf", (posted.struct(), int(tree), auction.struct(), node.struct(), leaf))


def challenge_auction(posted: PostedHeader, auction: Auction, node: PlacedNode) -> Call:
    """An auction stands where it may not, or its leaf sums something else than its volume."""
    return Call("challengeAuction", (posted.struct(), message_struct(auction), node.struct()))


def challenge_totals(posted: PostedHeader, tree: Tree, auction: PlacedAuction, root: Node) -> Call:
    """The sums of a root contradict the auction, the header or each other."""
    return Call("challengeTotals", (posted.struct(), int(tree), auction.struct(), node_struct(root)))


def challenge_fill(posted: PostedHeader, auction: PlacedAuction, account: int, slot: PlacedSlot) -> Call:
    """A slot was not filled by the rule, or contradicts the auction's bounds, or is named for one and absent."""
    return Call("challengeFill", (posted.struct(), auction.struct(), account, slot.struct()))


def challenge_signature(posted: PostedHeader, auction: PlacedAuction, slot: PlacedSlot, signature: bytes) -> Call:
    """The bid in a slot is not its account's."""
    return Call("challengeSignature", (posted.struct(), auction.struct(), slot.struct(), signature))


def challenge_balance(
    posted: PostedHeader,
    account: int,
    previous: Header | None,
    before: PlacedBalance,
    afterwards: PlacedBalance,
    meter: PlacedMeter,
    spot: PlacedAuction,
    slot: PlacedSlot,
) -> Call:
    """An account's balance did not move as its leaves say. ``previous`` is None for the first header."""
    evidence = (
        account,
        blank_struct(Header) if previous is None else message_struct(previous),
        before.struct(),
        afterwards.struct(),
        meter.struct(),
        spot.struct(),
        slot.struct(),
    )
    return Call("challengeBalance", (posted.struct(), evidence))
