"""The slots tree of an auction as array code: leaves packed in one buffer, levels as columns.

Same tree, to the byte, as ``contracts.merkle.MerkleSumTree`` over ``Slot.node``; a test holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sha3 import keccak_256

from contracts.codes import LongSide, Side
from contracts.merkle import DEPTH, EMPTY, LEAF_TAG, PARENT_TAG, Node, commitment

Integers = NDArray[np.int64]

_SLOT = np.dtype(
    [
        ("tag", "S1"),
        ("account", ">u4"),
        ("product", ">u8"),
        ("version", ">u4"),
        ("side", "u1"),
        ("quantity_wh", ">u8"),
        ("limit_price", ">i8"),
        ("expiry_s", ">u8"),
        ("filled_before_wh", ">u8"),
        ("fill_wh", ">u8"),
        ("position_wh", ">i8"),
        ("position_cost_high", ">i8"),
        ("position_cost_low", ">i8"),
        ("signature_hash", "V32"),
    ]
)
_NODE = np.dtype([("hash", "V32"), ("a_high", ">u8"), ("a", ">i8"), ("b_high", ">u8"), ("b", ">i8"),
                  ("c_high", ">u8"), ("c", ">i8")])  # fmt: skip
_PAIR = np.dtype([("tag", "V1"), ("left", _NODE), ("right", _NODE)])


@dataclass(frozen=True, slots=True)
class SlotColumns:
    """The slots of one auction as columns of shape (n,), accounts strictly increasing; see ``contracts.leaves.Slot``.

    ``signature_hash`` has shape (n, 32) and dtype uint8. Costs fit int64 within the bounds of ``contracts.units``.
    """

    product: int
    account: Integers
    version: Integers
    side: Integers
    quantity_wh: Integers
    limit_price: Integers
    expiry_s: Integers
    filled_before_wh: Integers
    fill_wh: Integers
    position_wh: Integers
    position_cost_nano: Integers
    signature_hash: NDArray[np.uint8]


class SlotsTree:
    """All levels of the tree, for its root and its paths, under an auction with that price, side and instant."""

    def __init__(self, slots: SlotColumns, price: int, long_side: int, cleared_at_s: int) -> None:
        leaves = _leaves(slots, price, long_side, cleared_at_s)
        self._levels: list[tuple[Integers, NDArray[np.void]]] = [(slots.account, leaves)]
        for _ in range(DEPTH):
            self._levels.append(_level_above(*self._levels[-1]))

    @property
    def root(self) -> Node:
        """The node at the top; EMPTY without slots."""
        return self._node(DEPTH, 0)

    @property
    def commitment(self) -> bytes:
        """What the auction carries as ``slots_root``."""
        return commitment(self.root)

    def path(self, index: int) -> tuple[Node, ...]:
        """Siblings of account ``index`` from the leaf upwards."""
        return tuple(self._node(height, (index >> height) ^ 1) for height in range(DEPTH))

    def _node(self, height: int, index: int) -> Node:
        indices, nodes = self._levels[height]
        place = int(np.searchsorted(indices, index))
        if place == indices.size or indices[place] != index:
            return EMPTY
        row = nodes[place]
        return Node(row["hash"].tobytes(), int(row["a"]), int(row["b"]), int(row["c"]))


def _leaves(slots: SlotColumns, price: int, long_side: int, cleared_at_s: int) -> NDArray[np.void]:
    rows = np.zeros(slots.account.size, _SLOT)
    rows["tag"] = LEAF_TAG
    rows["product"] = slots.product
    for name in ("account", "version", "side", "quantity_wh", "limit_price", "expiry_s", "filled_before_wh", "fill_wh",
                 "position_wh"):  # fmt: skip
        rows[name] = getattr(slots, name)
    rows["position_cost_high"] = slots.position_cost_nano >> 63
    rows["position_cost_low"] = slots.position_cost_nano
    rows["signature_hash"] = np.ascontiguousarray(slots.signature_hash).view("V32").reshape(-1)
    nodes = np.zeros(rows.size, _NODE)
    nodes["hash"] = _hashes(rows)
    buying = slots.side == Side.BUY
    nodes["a"] = np.where(buying, slots.fill_wh, 0)
    nodes["b"] = np.where(buying, 0, slots.fill_wh)
    if long_side != LongSide.NONE:
        at_margin = (slots.limit_price == price) & (buying == (long_side == LongSide.BUY))
        at_margin &= slots.expiry_s >= cleared_at_s
        nodes["c"] = np.where(at_margin, slots.quantity_wh - slots.filled_before_wh, 0)
    return nodes


def _level_above(indices: Integers, nodes: NDArray[np.void]) -> tuple[Integers, NDArray[np.void]]:
    above, first = np.unique(indices >> 1, return_index=True)
    pairs = np.zeros(above.size, _PAIR)
    pairs["tag"] = np.void(PARENT_TAG)
    place = np.repeat(np.arange(above.size), np.diff(np.append(first, indices.size)))
    odd = (indices & 1).astype(bool)
    pairs["left"][place[~odd]] = nodes[~odd]
    pairs["right"][place[odd]] = nodes[odd]
    parents = np.zeros(above.size, _NODE)
    parents["hash"] = _hashes(pairs)
    for name in ("a", "b", "c"):
        parents[name] = pairs["left"][name].astype(np.int64) + pairs["right"][name].astype(np.int64)
    return above, parents


def _hashes(rows: NDArray[np.void]) -> NDArray[np.void]:
    width = rows.dtype.itemsize
    buffer = memoryview(rows.tobytes())
    hashed = b"".join([keccak_256(buffer[i : i + width]).digest() for i in range(0, len(buffer), width)])
    return np.frombuffer(hashed, "V32")
