"""A posted header together with its public record: the one place from which evidence about it is taken.

Posting(header, index, record)  →  trees (built once)  →  auction(place), slot(place, account), meter(account) …
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property

from contracts.batch import BatchRecord
from contracts.commitments import Commitment
from contracts.evidence import PlacedAuction, PlacedBalance, PlacedMeter, PlacedNode, PlacedSlot, PostedHeader, Tree
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import AUCTIONS_DEPTH, MerkleSumTree
from contracts.messages import Header

LAST_PLACE = (1 << AUCTIONS_DEPTH) - 1


class Posting:
    """A header at ``index`` of the chain, and what it commits to.

    ``trees`` replaces the tree that follows from the record, under (tree, place of the auction for slots or 0): for
    whoever knows a tree that its operator built otherwise.
    """

    def __init__(
        self,
        header: Header,
        index: int,
        record: BatchRecord,
        trees: Mapping[tuple[Tree, int], MerkleSumTree] | None = None,
    ) -> None:
        self.header = header
        self.index = index
        self.record = record
        self._trees: dict[tuple[Tree, int], MerkleSumTree] = dict(trees or {})

    @property
    def posted(self) -> PostedHeader:
        """The header as the chain knows it."""
        return PostedHeader(self.header, self.index)

    @cached_property
    def meters(self) -> dict[int, MeterLeaf]:
        """Meter leaves by account."""
        return {leaf.account: leaf for leaf in self.record.meters}

    @cached_property
    def readings(self) -> dict[int, bytes]:
        """Packed readings by account, empty where the registers were carried over."""
        return {m.account: packed for m, packed in zip(self.record.meters, self.record.readings, strict=False)}

    @cached_property
    def balances(self) -> dict[int, BalanceLeaf]:
        """Balance leaves by account."""
        return {leaf.account: leaf for leaf in self.record.balances}

    @cached_property
    def commitments(self) -> dict[int, tuple[Commitment, ...]]:
        """Lists behind the reserves, by account."""
        return {b.account: c for b, c in zip(self.record.balances, self.record.commitments, strict=False)}

    @cached_property
    def _slots(self) -> dict[int, dict[int, Slot]]:
        return {}

    def slots(self, place: int) -> dict[int, Slot]:
        """Slots of the auction at ``place``, by account."""
        if place not in self._slots:
            self._slots[place] = {s.account: s for s in self.record.auctions[place].slots}
        return self._slots[place]

    def signatures(self, place: int) -> dict[int, bytes]:
        """What stands behind the signature hashes of the auction at ``place``, by account."""
        record = self.record.auctions[place]
        return {s.account: signature for s, signature in zip(record.slots, record.signatures, strict=False)}

    def tree(self, tree: Tree, place: int = 0) -> MerkleSumTree:
        """The slots tree of the auction at ``place``, or one of the three under the header."""
        if (tree, place) not in self._trees:
            self._trees[tree, place] = self._built(tree, place)
        return self._trees[tree, place]

    def _built(self, tree: Tree, place: int) -> MerkleSumTree:
        if tree == Tree.SLOTS:
            return self.record.auctions[place].tree()
        if tree == Tree.AUCTIONS:
            return self.record.auctions_tree()
        return self.record.meters_tree() if tree == Tree.METERS else self.record.balances_tree()

    def auction(self, place: int) -> PlacedAuction:
        """The auction at a leaf of the auctions tree, present or not."""
        auctions = self.record.auctions
        if place > LAST_PLACE:  # beyond the last leaf there is nothing to show
            return PlacedAuction(None, place, ())
        found = auctions[place].auction if place < len(auctions) else None
        return PlacedAuction(found, place, self.tree(Tree.AUCTIONS).path(place))

    def last_place(self, product: int) -> tuple[int, bool]:
        """Place of the last forward auction not beyond ``product``, and whether it is one of ``product``."""
        place = max(bisect_right(self._products, product) - 1, 0)
        return place, place > 0 and self._products[place] == product

    @cached_property
    def _products(self) -> list[int]:
        return [-1, *(record.auction.product for record in self.record.auctions[1:])]

    def neighbours(self, product: int) -> tuple[PlacedAuction, PlacedAuction]:
        """The last auction not beyond ``product`` and the one after it: what shows its last round, or that none is."""
        place, _ = self.last_place(product)
        return self.auction(place), self.auction(place + 1)

    def slot(self, place: int, account: int) -> PlacedSlot:
        """An account's slot in the auction at ``place``, present or not."""
        return PlacedSlot(self.slots(place).get(account), self.tree(Tree.SLOTS, place).path(account))

    def meter(self, account: int) -> PlacedMeter:
        """An account's meter leaf, present or not."""
        return PlacedMeter(self.meters.get(account), self.tree(Tree.METERS).path(account))

    def balance(self, account: int) -> PlacedBalance:
        """An account's balance leaf, present or not."""
        return PlacedBalance(self.balances.get(account), self.tree(Tree.BALANCES).path(account))

    def listed(self, account: int) -> tuple[PlacedBalance, tuple[Commitment, ...]]:
        """An account's balance leaf with the list behind its reserve."""
        return self.balance(account), self.commitments.get(account, ())

    def node(self, tree: Tree, height: int, index: int, place: int = 0) -> PlacedNode:
        """A node of a tree, with the way to its root."""
        of = self.tree(tree, place)
        return PlacedNode(of.node(height, index), height, index, of.path(index, height))
