"""The courts in Python: whether a challenge wins, judged from the call's arguments alone.

Written from the protocol and not from the contracts: evidence is read out of the ABI structs, followed to the posted
header, and judged by ``contracts``' rules. It tries hundreds of thousands of challenges where a chain tries hundreds,
and a chain must agree with it.

    Call → read structs → each leaf leads to its header → rule → (Lie, fault), or Refused
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

from contracts.audit_state import INCLUSION_DELAY_S, ForcedOrder
from contracts.codes import AuctionRule
from contracts.eip712 import Domain, Message, digest, layout
from contracts.evidence import Call, Lie, Struct
from contracts.header_rules import Terms, header_digest
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, Node, commitment, parent
from contracts.messages import Auction, Header
from contracts.signature import refusal_of

LAST_PLACE = (1 << AUCTIONS_DEPTH) - 1
SIBLING_BYTES = 80


class Refused(Exception):  # noqa: N818 - the word of the house
    """The challenge is not won; the message is the name of the contract's error."""


class NodeFault(IntEnum):
    """How a node refutes itself by its children."""

    EMPTY_WITH_SUMS = 1
    PARENT_AT_LEAF = 2
    EMPTY_WITH_HASH = 3
    WRONG_SUMS = 4


class LeafFault(IntEnum):
    """How a leaf refutes itself."""

    WRONG_HEIGHT = 1
    WRONG_LENGTH = 2
    WRONG_INDEX = 3
    WRONG_PRODUCT = 4
    WRONG_SUMS = 5


class TotalsFault(IntEnum):
    """How the root of a tree other than a slots tree refutes the header."""

    BALANCES_UNBALANCED = 1
    VOLUME_DIFFERS = 2


class SignatureFault(IntEnum):
    """How a slot's bid is not its account's."""

    UNSIGNED = 1
    NOT_BY_KEY = 2
    NOT_THE_FORCED_BID = 3


class CommitmentFault(IntEnum):
    """How a commitment contradicts what it follows from."""

    NOT_THE_SLOTS = 1
    NOT_CARRIED = 2


ONLY_FAULT = 1
"""Of lies that have one form: fork, missing closing round, contracted energy."""


@lru_cache(maxsize=400_000)
def read(message_type: type[Message], struct: Struct) -> Any:
    """The message of a struct, its meaning unchecked: a lie need not be legal."""
    message = object.__new__(message_type)
    for (name, _), value in zip(layout(message_type).columns, struct, strict=True):
        object.__setattr__(message, name, value)
    return message


@lru_cache(maxsize=400_000)
def rooted(index: int, node: Node, path: bytes, depth: int) -> tuple[bytes, int]:
    """The commitment that a packed path leads to, and the sum ``c`` left of the way."""
    if index >> depth:
        raise Refused("IndexOutsideTree")
    bitmap, at, prefix = int.from_bytes(path[:4], "big"), 4, 0
    if len(path) < 4 or bitmap >> depth or len(path) != 4 + SIBLING_BYTES * bitmap.bit_count():
        raise Refused("WrongPath")
    for height in range(depth):
        sibling = EMPTY
        if bitmap >> height & 1:
            sums = (int.from_bytes(path[at + 32 + 16 * i : at + 48 + 16 * i], "big") for i in range(3))
            sibling = Node(path[at : at + 32], *sums)
            at += SIBLING_BYTES
        if index >> height & 1:
            prefix += sibling.c
            node = parent(sibling, node)
        else:
            node = parent(node, sibling)
        if max(node.sums) >> 128:
            raise Refused("SumTooLarge")
    return commitment(node), prefix


@dataclass(frozen=True)
class Shown:
    """A leaf out of a struct: what stands there, None for an empty leaf, and its packed path."""

    leaf: Any
    path: bytes
    index: int = 0

    @classmethod
    def auction(cls, struct: Struct) -> Shown:
        present, auction, index, path = struct
        return cls(read(Auction, auction) if present else None, path, index)

    @classmethod
    def of(cls, message_type: type[Message], struct: Struct) -> Shown:
        present, leaf, path = struct
        return cls(read(message_type, leaf) if present else None, path)


@dataclass
class Court:
    """What the courts know of the chain: posted headers in order, keys, the operator, orders placed on chain."""

    domain: Domain
    terms: Terms
    keys: Mapping[int, bytes]
    operator: bytes
    forced: Mapping[tuple[int, int], ForcedOrder] = field(default_factory=dict)
    inclusion_delay_s: int = INCLUSION_DELAY_S
    headers: list[Header] = field(default_factory=list)
    final: int = 0

    def verdict(self, call: Call) -> tuple[Lie, int]:
        """The lie that the call proves. Raises Refused where it proves none."""
        rules = RULINGS[call.function]
        try:
            lie, fault = rules(self, *call.arguments)
        except OverflowError as error:  # a leaf whose sums are below zero has no node
            raise Refused("Panic") from error
        if fault == 0:
            raise Refused("NothingIsWrong")
        return lie, fault

    def outcome(self, call: Call) -> str:
        """``wins``, or the name of the error."""
        try:
            self.verdict(call)
        except Refused as refusal:
            return str(refusal)
        return "wins"

    def require_posted(self, proof: Struct) -> tuple[Header, int]:
        header, index = read(Header, proof[0]), proof[1]
        if index >= len(self.headers) or self.headers[index] != header:
            raise Refused("UnknownHeader")
        return header, index

    def require_open(self, proof: Struct) -> tuple[Header, int]:
        header, index = self.require_posted(proof)
        if index < self.final:
            raise Refused("AlreadyFinal")
        return header, index

    def require_previous(self, proof: Struct, previous: Struct) -> Header | None:
        """The header before; None for the first."""
        if proof[1] == 0:
            return None
        before: Header = read(Header, previous)
        if header_digest(before, self.domain) != read(Header, proof[0]).previous:
            raise Refused("NotInTree")
        return before

    def settled(self, header: Header) -> int:
        return header.interval - self.terms.grace

    def is_signed(self, account: int, message: Message, signature: bytes) -> bool:
        key = self.keys.get(account)
        return key is not None and refusal_of(digest(message, self.domain), signature, key) is None

    def by_operator(self, message: Message, signature: bytes) -> None:
        if refusal_of(digest(message, self.domain), signature, self.operator) is not None:
            raise Refused("WrongEvidence")

    def closed_at(self, account: int, version: int) -> int:
        order = self.forced.get((account, version))
        return order.closed_at_s if order else 0

    def is_withdrawn(self, account: int, version: int, at_s: int) -> bool:
        return 0 < self.closed_at(account, version) <= at_s


def numbered(fault: Any) -> int:
    """The contract's number of a Python fault: None first, then in the order of the enum."""
    return 0 if fault is None else 1 + list(type(fault)).index(fault)


def require_leaf(root: bytes, index: int, node: Node, path: bytes, depth: int = DEPTH) -> int:
    """Sum ``c`` left of a leaf that leads to ``root``. Raises Refused where it does not."""
    found, prefix = rooted(index, node, path, depth)
    if found != root:
        raise Refused("NotInTree")
    return prefix


def require_auction(header: Header, shown: Shown, present: bool = False) -> Auction | None:
    node = EMPTY if shown.leaf is None else auction_node_of(shown.leaf)
    require_leaf(header.auctions_root, shown.index, node, shown.path, AUCTIONS_DEPTH)
    if present and shown.leaf is None:
        raise Refused("NothingIsWrong")
    found: Auction | None = shown.leaf
    return found


@lru_cache(maxsize=10_000)
def auction_node_of(auction: Auction) -> Node:
    from contracts.header_rules import auction_node

    return auction_node(auction)


def require_slot(auction: Auction, account: int, shown: Shown) -> int:
    node = EMPTY if shown.leaf is None else slot_node_of(shown.leaf, auction)
    cleared = auction.price, auction.long_side, auction.cleared_at_s
    if shown.leaf is not None and shown.leaf.marginal_wh(*cleared) < 0:
        raise Refused("OpenQuantityNegative")
    return require_leaf(auction.slots_root, account, node, shown.path)


@lru_cache(maxsize=400_000)
def slot_node_of(slot: Slot, auction: Auction) -> Node:
    return slot.node(auction.price, auction.long_side, auction.cleared_at_s)


def require_meter(header: Header, account: int, shown: Shown) -> MeterLeaf | None:
    require_leaf(header.meters_root, account, shown.leaf.node() if shown.leaf else EMPTY, shown.path)
    found: MeterLeaf | None = shown.leaf
    return found


def require_balance(header: Header, account: int, shown: Shown) -> BalanceLeaf | None:
    require_leaf(header.balances_root, account, shown.leaf.node() if shown.leaf else EMPTY, shown.path)
    found: BalanceLeaf | None = shown.leaf
    return found


def closing(header: Header, product: int, last: Shown, after: Shown) -> bool:
    """Whether ``last`` is the last auction of ``product`` in the header; False where there is none."""
    require_auction(header, last)
    if last.index != LAST_PLACE:
        if after.index != last.index + 1:
            raise Refused("WrongNeighbours")
        require_auction(header, after)
        if after.leaf is not None and after.leaf.product <= product:
            raise Refused("WrongNeighbours")
    if last.index == 0:
        return False
    if last.leaf is None or last.leaf.product > product:
        raise Refused("WrongNeighbours")
    return bool(last.leaf.product == product)


def is_forward(auction: Auction) -> bool:
    return auction.rule == AuctionRule.FORWARD


Ruling = Callable[..., tuple[Lie, int]]
RULINGS: dict[str, Ruling] = {}


def ruling(name: str) -> Callable[[Ruling], Ruling]:
    """Registers the judgement of one challenge."""

    def register(judge: Ruling) -> Ruling:
        RULINGS[name] = judge
        return judge

    return register
