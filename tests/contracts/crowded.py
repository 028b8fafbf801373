"""The same history as if a million homes took part: every path is full, every list as long as it may be.

Beside the true leaves stand subtrees that nobody opens; all hashes above them are right. Totals are then those of a
larger market, which is no matter where gas is measured.
"""

from __future__ import annotations

from dataclasses import replace

from contracts.batch import AuctionRecord, BatchRecord
from contracts.commitments import COMMITMENTS_LIMIT, Commitment, commitments_hash, reserved_nano
from contracts.eip712 import keccak
from contracts.evidence import Tree
from contracts.header_rules import FIRST_HEADER_PREVIOUS, header_digest
from contracts.interval import Product
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, MerkleSumTree, Node
from contracts.posting import Posting
from tests.contracts.history import History
from tests.contracts.honest_market import header_over
from tests.contracts.retelling import LyingTree, nodes_of

OWN_HEIGHT, AUCTIONS_OWN_HEIGHT = 5, 3
"""Below that height the leaves are the history's own: 32 accounts, 8 auctions."""


def crowded(history: History) -> History:
    """The history with full trees and lists of 64 commitments."""
    renamed: dict[bytes, bytes] = {}
    postings: list[Posting] = []
    tip = FIRST_HEADER_PREVIOUS
    for posting in history.postings:
        record = with_long_lists(posting, posting.header.interval - history.rules.terms.grace)
        record, trees = with_full_slots(record, renamed)
        bare = Posting(posting.header, posting.index, record, trees)
        for tree in (Tree.AUCTIONS, Tree.METERS, Tree.BALANCES):
            depth, own = (AUCTIONS_DEPTH, AUCTIONS_OWN_HEIGHT) if tree == Tree.AUCTIONS else (DEPTH, OWN_HEIGHT)
            trees[tree, 0] = full_tree(nodes_of(bare, tree), depth, own)
        header = replace(
            header_over(record, tip),
            auctions_root=trees[Tree.AUCTIONS, 0].commitment,
            meters_root=trees[Tree.METERS, 0].commitment,
            balances_root=trees[Tree.BALANCES, 0].commitment,
        )
        postings.append(Posting(header, posting.index, record, trees))
        tip = header_digest(header, history.market.domain)
    court = replace(history.court, headers=[p.header for p in postings])
    return replace(history, postings=postings, court=court, places={}, located=0)


def full_tree(nodes: dict[int, Node], depth: int, own_height: int) -> MerkleSumTree:
    """The leaves, and a closed subtree at every turn of their common way to the root."""

    def beside(height: int, index: int, node: Node) -> Node:
        if own_height <= height < depth and index == 1:
            return Node(keccak(bytes([height, depth])), 10**12, 10**12, 10**9)
        return node

    strangers = {1 << height: Node(bytes(32), 1, 1, 1) for height in range(own_height, depth)}
    return LyingTree(nodes | strangers, depth, beside)


def with_full_slots(
    record: BatchRecord, renamed: dict[bytes, bytes]
) -> tuple[BatchRecord, dict[tuple[Tree, int], MerkleSumTree]]:
    trees: dict[tuple[Tree, int], MerkleSumTree] = {}
    auctions: list[AuctionRecord] = []
    for place, told in enumerate(record.auctions):
        leaves = {s.account: told.tree().node(0, s.account) for s in told.slots}
        trees[Tree.SLOTS, place] = full_tree(leaves, DEPTH, OWN_HEIGHT)
        previous = renamed.get(told.auction.previous, told.auction.previous)
        auction = replace(told.auction, slots_root=trees[Tree.SLOTS, place].commitment, previous=previous)
        renamed[told.auction.struct_hash()] = auction.struct_hash()
        auctions.append(replace(told, auction=auction))
    return replace(record, auctions=tuple(auctions)), trees


def with_long_lists(posting: Posting, settled: int) -> BatchRecord:
    """Every home commits itself to 64 products."""
    worth = 123_456_789_012
    far = [Commitment(Product(settled + 5_000 + n, 1).number, worth, worth + n) for n in range(COMMITMENTS_LIMIT)]
    balances, lists = [], []
    for leaf, entries in zip(posting.record.balances, posting.record.commitments, strict=True):
        told = (*entries, *far)[:COMMITMENTS_LIMIT] if leaf.account else entries
        balances.append(
            replace(leaf, reserved_nano=reserved_nano(told, settled), commitments_hash=commitments_hash(told))
        )
        lists.append(tuple(told))
    return replace(posting.record, balances=tuple(balances), commitments=tuple(lists))
