"""How Cy, the dishonest operator, posts something else than what happened: a changed record under a header of its own.

A ``Scene`` is an honest header in its history. ``retold`` seals a changed record so that every hash and every sum above
the change is right again: what is left is exactly one lie, which some rule must see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from contracts.audit import AuditState, Finding, audit_record
from contracts.batch import AuctionRecord, BatchRecord
from contracts.commitments import Commitment, commitments_hash, reserved_nano
from contracts.eip712 import digest
from contracts.evidence import Call, Lie, Tree
from contracts.header_rules import auction_node
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import EMPTY, MerkleSumTree, Node, parent
from contracts.posting import Posting
from tests.contracts.court import Court
from tests.contracts.history import History, copied
from tests.contracts.local_chain import home_signer


@dataclass(frozen=True)
class Scene:
    """The header at ``at`` of an honest history, in place of which a lie is posted."""

    history: History
    at: int

    @property
    def posting(self) -> Posting:
        return self.history.postings[self.at]

    @property
    def record(self) -> BatchRecord:
        return self.posting.record

    @property
    def interval(self) -> int:
        return self.posting.header.interval

    @property
    def settled(self) -> int:
        return self.interval - self.history.rules.terms.grace

    @property
    def before(self) -> Posting | None:
        """The header before."""
        return self.history.postings[self.at - 1] if self.at else None

    def state(self) -> AuditState:
        """The auditor's state before this header."""
        return copied(self.history.states[self.at])

    def audited(self, posting: Posting) -> list[Finding]:
        """What an auditor finds in what was posted here."""
        return audit_record(posting.record, posting.header, self.state(), self.history.rules)

    def court(self, posting: Posting) -> Court:
        """The courts while ``posting`` stands here."""
        headers = [p.header for p in self.history.postings[: self.at]]
        return replace(self.history.court, headers=[*headers, posting.header])

    def sign(self, account: int, message: Any) -> bytes:
        """A home's signature."""
        return home_signer(account)(digest(message, self.history.market.domain))


@dataclass(frozen=True)
class Told:
    """One lie: what is posted, what it is, and who can refute it how.

    Without ``refutation`` the auditor must offer it. ``silent``: the auditor cannot see it, only its home (a receipt),
    or only after a demand (a tree whose content was not published).
    """

    posting: Posting
    reason: Lie
    fault: int
    refutation: Call | None = None
    silent: bool = False


def retold(
    scene: Scene,
    record: BatchRecord,
    trees: Mapping[tuple[Tree, int], MerkleSumTree] | None = None,
    **changes: Any,
) -> Posting:
    """``record`` under a header that commits to it; ``trees`` stand in place of those that follow from it."""
    told = dict(trees or {})
    record = relinked(scene, record)
    for (tree, place), lying in told.items():
        if tree == Tree.SLOTS:
            auction = replace(record.auctions[place].auction, slots_root=lying.commitment)
            record = with_auction(record, place, replace(record.auctions[place], auction=auction))
    posting = Posting(scene.posting.header, scene.at, record, told)
    header = replace(
        scene.posting.header,
        interval=record.interval,
        auctions_root=posting.tree(Tree.AUCTIONS).commitment,
        meters_root=posting.tree(Tree.METERS).commitment,
        balances_root=posting.tree(Tree.BALANCES).commitment,
        data_hash=record.data_hash,
        spot_price=record.auctions[0].auction.price if record.auctions else scene.posting.header.spot_price,
        volume_wh=sum(r.auction.volume_wh for r in record.auctions),
    )
    return Posting(replace(header, **changes), scene.at, record, told)


def relinked(scene: Scene, record: BatchRecord) -> BatchRecord:
    """Later rounds of this header name a changed round by its new hash."""
    honest = {(r.auction.product, r.auction.round): r.auction.struct_hash() for r in scene.record.auctions}
    renamed: dict[bytes, bytes] = {}
    auctions = []
    for told in record.auctions:
        if told.auction.previous in renamed:
            told = replace(told, auction=replace(told.auction, previous=renamed[told.auction.previous]))
        auctions.append(told)
        was = honest.get((told.auction.product, told.auction.round))
        if was is not None and was != told.auction.struct_hash():
            renamed[was] = told.auction.struct_hash()
    return replace(record, auctions=tuple(auctions))


def with_auction(record: BatchRecord, place: int, auction: AuctionRecord) -> BatchRecord:
    """With another auction at ``place``."""
    return replace(record, auctions=(*record.auctions[:place], auction, *record.auctions[place + 1 :]))


def resealed(auction: AuctionRecord) -> AuctionRecord:
    """With the root of its own slots, so that only the rule is broken and not the tree."""
    return replace(auction, auction=replace(auction.auction, slots_root=auction.tree().commitment))


def with_slots(auction: AuctionRecord, slots: Mapping[int, Slot], signatures: Mapping[int, bytes]) -> AuctionRecord:
    """With exactly these slots."""
    accounts = sorted(slots)
    told = tuple(slots[a] for a in accounts), tuple(signatures.get(a, b"") for a in accounts)
    return resealed(AuctionRecord(auction.auction, *told))


def with_slot(record: BatchRecord, place: int, slot: Slot, signature: bytes | None = None) -> BatchRecord:
    """With one slot changed or added, and perhaps its signature."""
    auction = record.auctions[place]
    slots = {s.account: s for s in auction.slots} | {slot.account: slot}
    signatures = {s.account: g for s, g in zip(auction.slots, auction.signatures, strict=True)}
    if signature is not None:
        signatures[slot.account] = signature
    return with_auction(record, place, with_slots(auction, slots, signatures))


def without_slot(record: BatchRecord, place: int, account: int) -> BatchRecord:
    """With one slot left out."""
    auction = record.auctions[place]
    slots = {s.account: s for s in auction.slots if s.account != account}
    signatures = {s.account: g for s, g in zip(auction.slots, auction.signatures, strict=True)}
    return with_auction(record, place, with_slots(auction, slots, signatures))


def with_meter(record: BatchRecord, leaf: MeterLeaf, reading: bytes | None = None) -> BatchRecord:
    """With one meter leaf changed, and perhaps the reading behind it."""
    readings = tuple(
        reading if m.account == leaf.account and reading is not None else r
        for m, r in zip(record.meters, record.readings, strict=True)
    )
    meters = tuple(leaf if m.account == leaf.account else m for m in record.meters)
    return replace(record, meters=meters, readings=readings)


def without_meter(record: BatchRecord, account: int) -> BatchRecord:
    """With one meter leaf left out."""
    kept = [(m, r) for m, r in zip(record.meters, record.readings, strict=True) if m.account != account]
    return replace(record, meters=tuple(m for m, _ in kept), readings=tuple(r for _, r in kept))


def with_balance(record: BatchRecord, leaf: BalanceLeaf, entries: tuple[Commitment, ...] | None = None) -> BatchRecord:
    """With one balance leaf changed or added, and perhaps the list behind its reserve."""
    leaves = {b.account: b for b in record.balances} | {leaf.account: leaf}
    lists = dict(zip((b.account for b in record.balances), record.commitments, strict=True))
    if entries is not None:
        lists[leaf.account] = entries
    accounts = sorted(leaves)
    told = tuple(lists.get(a, ()) for a in accounts)
    return replace(record, balances=tuple(leaves[a] for a in accounts), commitments=told)


def with_list(scene: Scene, account: int, entries: tuple[Commitment, ...]) -> BatchRecord:
    """With another list behind an account's reserve, hash and sum made right."""
    leaf = scene.posting.balances.get(account) or BalanceLeaf(account, 0, 0, bytes(32))
    sum_nano = reserved_nano(entries, scene.settled)
    told = replace(leaf, reserved_nano=sum_nano, commitments_hash=commitments_hash(entries))
    return with_balance(scene.record, told, entries)


class LyingTree(MerkleSumTree):
    """A tree in which ``lie(height, index, node)`` may replace any node after it was computed from its children."""

    def __init__(self, leaves: Mapping[int, Node], depth: int, lie: Callable[[int, int, Node], Node]) -> None:
        super().__init__({}, depth)
        level = {i: lie(0, i, node) for i, node in leaves.items()}
        self._levels = [level]
        for height in range(1, depth + 1):
            level = {
                i: lie(height, i, parent(level.get(2 * i, EMPTY), level.get(2 * i + 1, EMPTY)))
                for i in {index >> 1 for index in level}
            }
            self._levels.append(level)


def nodes_of(posting: Posting, tree: Tree, place: int = 0) -> dict[int, Node]:
    """The leaf nodes of a tree."""
    if tree == Tree.AUCTIONS:
        return {p: auction_node(r.auction) for p, r in enumerate(posting.record.auctions)}
    of = posting.tree(tree, place)
    accounts = posting.slots(place) if tree == Tree.SLOTS else posting.meters
    return {a: of.node(0, a) for a in (posting.balances if tree == Tree.BALANCES else accounts)}
