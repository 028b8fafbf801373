"""What one home receives to check its own part of the market, without trust and without anybody else's numbers.

A *fill pack* comes right after an auction cleared: the auction, the home's slot and its path. An *interval pack*
comes with each header: the signed header, the home's slot in every auction of it, its meter leaf and its balance
leaf, each with its path. ``fill_pack_faults`` and ``interval_pack_faults`` name everything that is wrong; an empty
list means that the home's part is proven to obey the rules.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from contracts.batch import AuctionRecord, BatchRecord
from contracts.bounded_json import load_json
from contracts.clearing_rules import slot_fault
from contracts.eip712 import Domain, LocalValueError, Message
from contracts.header_rules import Terms, auction_node, balance_fault, header_digest, placement_fault
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, slot_node
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, SUM_BYTES, Node, commitment, prefix_sum_c, root_of_path
from contracts.messages import SUPPLIER, Auction, Header
from contracts.signature import refusal_of

PACK_LIMIT_BYTES = 512 * 1024
"""Unpacked size: a header of 200 auctions has some 1 kB of path for each; beyond this it is not a pack."""


class RemotePackError(Exception):
    """A proof pack cannot be read: the sender's fault."""


@dataclass(frozen=True, slots=True)
class FillPack:
    """One account's part of one auction."""

    auction: Auction
    slot: Slot
    siblings: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class PlacedFill:
    """A fill together with the auction's place in the header."""

    fill: FillPack
    index: int
    siblings: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class IntervalPack:
    """One account's part of one header. Meter and balance are None where the account has no leaf."""

    header: Header
    signature: bytes
    fills: tuple[PlacedFill, ...]
    meter: MeterLeaf | None
    meter_siblings: tuple[Node, ...]
    balance: BalanceLeaf | None
    balance_siblings: tuple[Node, ...]


def fill_packs(record: AuctionRecord) -> dict[int, FillPack]:
    """The fill pack of every account with a slot in an auction; the tree is built once."""
    tree = record.tree()
    return {s.account: FillPack(record.auction, s, tree.path(s.account)) for s in record.slots}


def interval_packs(record: BatchRecord, header: Header, signature: bytes) -> dict[int, IntervalPack]:
    """The interval pack of every account that appears in ``record``; each tree is built once."""
    auctions, meters, balances = record.auctions_tree(), record.meters_tree(), record.balances_tree()
    fills: dict[int, list[PlacedFill]] = {}
    for place, auction in enumerate(record.auctions):
        path = auctions.path(place)
        for account, pack in fill_packs(auction).items():
            fills.setdefault(account, []).append(PlacedFill(pack, place, path))
    meter_of = {leaf.account: leaf for leaf in record.meters}
    balance_of = {leaf.account: leaf for leaf in record.balances}
    return {
        account: IntervalPack(
            header,
            signature,
            tuple(fills.get(account, ())),
            meter_of.get(account),
            meters.path(account),
            balance_of.get(account),
            balances.path(account),
        )
        for account in {*fills, *meter_of, *balance_of}
    }


def fill_pack_faults(pack: FillPack, account: int) -> list[str]:
    """What is wrong with a fill pack that claims to be ``account``'s."""
    faults = []
    if pack.slot.account != account:
        faults.append("the slot is another account's")
    leaf = slot_node(pack.slot, pack.auction)
    root = root_of_path(pack.slot.account, leaf, pack.siblings)
    if len(pack.siblings) != DEPTH or commitment(root) != pack.auction.slots_root:
        faults.append("the slot is not in the auction's tree")
    if pack.slot.product != pack.auction.product:
        faults.append("the slot is of another product")
    fault = slot_fault(pack.slot, pack.auction, prefix_sum_c(pack.slot.account, pack.siblings))
    if fault is not None:
        faults.append(fault.value)
    return faults


def interval_pack_faults(
    pack: IntervalPack, account: int, domain: Domain, operator: bytes, terms: Terms, before_nano: int | None
) -> list[str]:
    """What is wrong with an interval pack.

    ``before_nano`` is the account's result after the header before this one; None where it is not known, and then
    the move of the balance is not judged.
    """
    header = pack.header
    faults = []
    if refusal_of(header_digest(header, domain), pack.signature, operator) is not None:
        faults.append("the header is not signed by the operator")
    for placed in pack.fills:
        faults += fill_pack_faults(placed.fill, account)
        root = root_of_path(placed.index, auction_node(placed.fill.auction), placed.siblings)
        if len(placed.siblings) != AUCTIONS_DEPTH or commitment(root) != header.auctions_root:
            faults.append("an auction is not in the header's tree")
        fault = placement_fault(placed.index, placed.fill.auction, header, terms)
        if fault is not None:
            faults.append(fault.value)
    faults += _leaf_faults("meter", pack.meter, pack.meter_siblings, account, header.meters_root)
    faults += _leaf_faults("balance", pack.balance, pack.balance_siblings, account, header.balances_root)
    if before_nano is not None and account != SUPPLIER:
        spot = next((p.fill.slot for p in pack.fills if p.index == 0), None)
        after_nano = pack.balance.cumulative_nano if pack.balance else 0
        moved = balance_fault(before_nano, after_nano, pack.meter, spot, header)
        if moved is not None:
            faults.append(moved.value)
    return faults


def _leaf_faults(
    name: str, leaf: MeterLeaf | BalanceLeaf | None, siblings: tuple[Node, ...], account: int, root: bytes
) -> list[str]:
    faults = []
    if leaf is not None and leaf.account != account:
        faults.append(f"the {name} leaf is another account's")
    claimed = root_of_path(account, leaf.node() if leaf else EMPTY, siblings)
    if len(siblings) != DEPTH or commitment(claimed) != root:
        faults.append(f"the {name} leaf is not in the header's tree")
    return faults


def pack_bytes(pack: FillPack | IntervalPack) -> bytes:
    """Compressed JSON; empty siblings, most of a sparse tree's, cost a few bits."""
    return zlib.compress(json.dumps(_fill_document(pack) if isinstance(pack, FillPack) else _document(pack)).encode())


def open_pack(packed: bytes) -> FillPack | IntervalPack:
    """The pack of those bytes. Raises RemotePackError on anything else; never inflates without bound."""
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(packed, PACK_LIMIT_BYTES)
        if not inflater.eof:
            raise RemotePackError("the pack is truncated or too large")
        document = load_json(text)
        return _open_fill(document) if document["kind"] == "fill" else _open_interval(document)
    except (ValueError, KeyError, TypeError, LocalValueError, zlib.error) as error:
        raise RemotePackError(f"not a proof pack: {error}") from error


def _nodes(siblings: tuple[Node, ...]) -> list[list[Any]]:
    return [["0x" + n.hash.hex(), str(n.a), str(n.b), str(n.c)] if n != EMPTY else [] for n in siblings]


def _open_nodes(rows: list[list[Any]]) -> tuple[Node, ...]:
    return tuple(_open_node(row) if row else EMPTY for row in rows)


def _open_node(row: list[Any]) -> Node:
    text, *sums = row
    node = Node(bytes.fromhex(text[2:]), *(int(value) for value in sums))
    if len(node.hash) != 32 or not all(0 <= value < 1 << 8 * SUM_BYTES for value in node.sums):
        raise ValueError("a node is a hash of 32 bytes and three sums of 128 bits")
    return node


def _optional(leaf: Message | None) -> dict[str, int | str] | None:
    return None if leaf is None else leaf.to_json()


def _fill_document(pack: FillPack) -> dict[str, Any]:
    return {
        "kind": "fill",
        "auction": pack.auction.to_json(),
        "slot": pack.slot.to_json(),
        "siblings": _nodes(pack.siblings),
    }


def _document(pack: IntervalPack) -> dict[str, Any]:
    return {
        "kind": "interval",
        "header": pack.header.to_json(),
        "signature": "0x" + pack.signature.hex(),
        "fills": [_fill_document(p.fill) | {"index": p.index, "path": _nodes(p.siblings)} for p in pack.fills],
        "meter": _optional(pack.meter),
        "meter_siblings": _nodes(pack.meter_siblings),
        "balance": _optional(pack.balance),
        "balance_siblings": _nodes(pack.balance_siblings),
    }


def _open_fill(document: dict[str, Any]) -> FillPack:
    return FillPack(
        Auction.from_json(document["auction"]), Slot.from_json(document["slot"]), _open_nodes(document["siblings"])
    )


def _open_interval(document: dict[str, Any]) -> IntervalPack:
    return IntervalPack(
        Header.from_json(document["header"]),
        bytes.fromhex(document["signature"][2:]),
        tuple(PlacedFill(_open_fill(p), int(p["index"]), _open_nodes(p["path"])) for p in document["fills"]),
        MeterLeaf.from_json(document["meter"]) if document["meter"] else None,
        _open_nodes(document["meter_siblings"]),
        BalanceLeaf.from_json(document["balance"]) if document["balance"] else None,
        _open_nodes(document["balance_siblings"]),
    )
