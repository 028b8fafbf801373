"""Lies in how trees are built: leaves and nodes that contradict their place, their sums or their children."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from contracts import challenges
from contracts.eip712 import keccak
from contracts.evidence import Lie, Tree
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, MerkleSumTree, Node, leaf_node, parent
from tests.contracts.lies_of_clearing import Maker, slot_lie
from tests.contracts.retelling import LyingTree, Scene, Told, nodes_of, retold


def leaf_lie(tree: Tree, fault: int, content: Callable[[bytes, Node], tuple[int | None, bytes, Node]]) -> Maker:
    """Each leaf of a tree in turn replaced by (index or None to stay, bytes, node) that contradict each other."""

    def tell(scene: Scene) -> Iterator[Told]:
        places = range(1, len(scene.record.auctions)) if tree == Tree.SLOTS else range(1)
        for place in places:
            honest = nodes_of(scene.posting, tree, place)
            for account in honest:
                index, packed, node = content(packed_leaf(scene, tree, place, account), honest[account])
                index = account if index is None else index
                kept = {a: n for a, n in honest.items() if a != account}
                lying = MerkleSumTree({**kept, index: node}, DEPTH)
                posting = retold(scene, scene.record, {(tree, place): lying})
                shown = posting.auction(place), posting.node(tree, 0, index, place), packed
                refutation = challenges.challenge_leaf(posting.posted, tree, *shown)
                yield Told(posting, Lie.LEAF, fault, refutation, silent=True)

    return tell


def packed_leaf(scene: Scene, tree: Tree, place: int, account: int) -> bytes:
    if tree == Tree.SLOTS:
        return scene.posting.slots(place)[account].pack()
    return scene.posting.meters[account].pack() if tree == Tree.METERS else scene.posting.balances[account].pack()


def node_lie(tree: Tree, fault: int, lie: Callable[[Node], Node], empty_at: int = 0) -> Maker:
    """An inner node replaced: one at every height above the first leaf, or the one above an empty leaf."""

    def tell(scene: Scene) -> Iterator[Told]:
        place = 1 if tree == Tree.SLOTS else 0
        depth = AUCTIONS_DEPTH if tree == Tree.AUCTIONS else DEPTH
        if place >= len(scene.record.auctions) or not nodes_of(scene.posting, tree, place):
            return
        nodes = nodes_of(scene.posting, tree, place)
        for height in (1, 3) if empty_at else range(1, depth + 1):
            target = (empty_at or min(nodes)) >> height

            def told(h: int, i: int, node: Node, at: tuple[int, int] = (height, target)) -> Node:
                return lie(node) if (h, i) == at else node

            lying = LyingTree({**nodes, target << height: nodes.get(target << height, EMPTY)}, depth, told)
            posting = retold(scene, scene.record, {(tree, place): lying})
            children = [lying.node(height - 1, 2 * target + side) for side in (0, 1)]
            shown = posting.auction(place), posting.node(tree, height, target, place)
            refutation = challenges.challenge_node_sum(posting.posted, tree, *shown, *children)
            yield Told(posting, Lie.NODE_SUM, fault, refutation, silent=True)

    return tell


def leaf_at_inner_height(scene: Scene) -> Iterator[Told]:
    content, target = scene.record.balances[-1].pack(), (1 << DEPTH - 3) - 1

    def lie(height: int, index: int, node: Node) -> Node:
        return leaf_node(content, 0, 0, 0) if (height, index) == (3, target) else node

    lying = LyingTree({**nodes_of(scene.posting, Tree.BALANCES), target << 3: EMPTY}, DEPTH, lie)
    posting = retold(scene, scene.record, {(Tree.BALANCES, 0): lying})
    shown = posting.auction(0), posting.node(Tree.BALANCES, 3, target), content
    call = challenges.challenge_leaf(posting.posted, Tree.BALANCES, *shown)
    yield Told(posting, Lie.LEAF, 1, call, silent=True)


def parent_at_leaf(scene: Scene) -> Iterator[Told]:
    left, right = (leaf_node(bytes([n]), n, n, 0) for n in (1, 2))
    lying = MerkleSumTree({**nodes_of(scene.posting, Tree.BALANCES), 999_999: parent(left, right)})
    posting = retold(scene, scene.record, {(Tree.BALANCES, 0): lying})
    shown = posting.auction(0), posting.node(Tree.BALANCES, 0, 999_999), left, right
    call = challenges.challenge_node_sum(posting.posted, Tree.BALANCES, *shown)
    yield Told(posting, Lie.NODE_SUM, 2, call, silent=True)


def auction_leaf_sums(scene: Scene) -> Iterator[Told]:
    for place, record in enumerate(scene.record.auctions):
        nodes = nodes_of(scene.posting, Tree.AUCTIONS)
        nodes[place] = replace(nodes[place], a=nodes[place].a + 1)
        posting = retold(scene, scene.record, {(Tree.AUCTIONS, 0): MerkleSumTree(nodes, AUCTIONS_DEPTH)})
        call = challenges.challenge_auction(posting.posted, record.auction, posting.node(Tree.AUCTIONS, 0, place))
        yield Told(posting, Lie.LEAF, 5, call, silent=True)


def spot_price_of_another(scene: Scene) -> Iterator[Told]:
    posting = retold(scene, scene.record, spot_price=scene.posting.header.spot_price + 1)
    yield Told(posting, Lie.AUCTION, 2)


TREE_LIES: dict[str, Maker] = {
    "a spot price that is not the header's": spot_price_of_another,
    "the auction's leaf sums another volume": auction_leaf_sums,
    "a slot of another product": slot_lie(lambda _, s: True, lambda _, s: {"product": s.product + 1024}, Lie.LEAF, 4),
    "less than nothing is open at the margin": slot_lie(
        lambda a, s: s.marginal_wh(a.auction.price, a.auction.long_side, a.auction.cleared_at_s) > 0,
        lambda _, s: {"filled_before_wh": s.quantity_wh + 1},
        Lie.LEAF,
        5,
    ),
    "a slot claims other sums": leaf_lie(Tree.SLOTS, 5, lambda c, n: (None, c, replace(n, c=n.c + 1))),
    "a meter leaf claims other sums": leaf_lie(Tree.METERS, 5, lambda c, n: (None, c, replace(n, a=n.a + 1))),
    "a balance leaf claims other sums": leaf_lie(Tree.BALANCES, 5, lambda c, n: (None, c, replace(n, b=n.b + 1))),
    "a balance leaf stands at another account": leaf_lie(Tree.BALANCES, 3, lambda c, n: (500_000, c, n)),
    "a slot stands at another account": leaf_lie(Tree.SLOTS, 3, lambda c, n: (2**20 - 1, c, n)),
    "a leaf of no legal length": leaf_lie(
        Tree.METERS, 2, lambda c, n: (None, c + b"!", leaf_node(c + b"!", n.a, n.b, n.c))
    ),
    "a leaf at an inner height": leaf_at_inner_height,
    "a parent where a leaf belongs": parent_at_leaf,
    "a node of the balances sums wrongly": node_lie(Tree.BALANCES, 4, lambda n: replace(n, a=n.a + 10**9)),
    "a node of the meters sums wrongly": node_lie(Tree.METERS, 4, lambda n: replace(n, b=n.b + 1)),
    "a node of the slots sums wrongly": node_lie(Tree.SLOTS, 4, lambda n: replace(n, c=n.c + 1)),
    "a node of the auctions sums wrongly": node_lie(Tree.AUCTIONS, 4, lambda n: replace(n, a=n.a + 1)),
    "nothing carries sums": node_lie(Tree.BALANCES, 1, lambda _: Node(bytes(32), 10**9, 10**9, 0), 4_321),
    "a hash stands over nothing": node_lie(
        Tree.METERS, 3, lambda _: Node(keccak(b"\x01" + EMPTY.pack() * 2), 0, 0, 0), 4_321
    ),
}
