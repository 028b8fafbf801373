"""The Merkle-sum tree: paths prove leaves, sums and prefixes; nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.merkle import DEPTH, EMPTY, MerkleSumTree, Node, commitment, leaf_node, prefix_sum_c, root_of_path

leaf_maps = st.dictionaries(
    st.integers(0, 2**DEPTH - 1),
    st.tuples(st.binary(max_size=40), *[st.integers(0, 2**64)] * 3).map(lambda v: leaf_node(*v)),
    max_size=12,
)


@given(leaf_maps, st.integers(0, 2**DEPTH - 1))
def test_a_path_leads_every_leaf_and_every_absence_to_the_root(leaves: dict[int, Node], other: int) -> None:
    tree = MerkleSumTree(leaves)
    for index in {*leaves, other}:
        path = tree.path(index)
        assert len(path) == DEPTH
        assert root_of_path(index, leaves.get(index, EMPTY), path) == tree.root


@given(leaf_maps)
def test_root_sums_are_the_sums_of_the_leaves(leaves: dict[int, Node]) -> None:
    columns = zip(*(node.sums for node in leaves.values()), strict=True) if leaves else [(0,), (0,), (0,)]
    assert MerkleSumTree(leaves).root.sums == tuple(sum(column) for column in columns)


@given(leaf_maps)
def test_the_prefix_of_a_path_is_what_stands_left_of_the_leaf(leaves: dict[int, Node]) -> None:
    tree = MerkleSumTree(leaves)
    for index in leaves:
        assert prefix_sum_c(index, tree.path(index)) == sum(node.c for i, node in leaves.items() if i < index)


@given(leaf_maps.filter(bool), st.data())
def test_no_other_leaf_or_place_or_sum_leads_to_the_root(leaves: dict[int, Node], data: st.DataObject) -> None:
    tree = MerkleSumTree(leaves)
    index = data.draw(st.sampled_from(sorted(leaves)))
    node, path = leaves[index], tree.path(index)
    assert root_of_path(index ^ 1, node, path) != tree.root or tree.path(index ^ 1)[0] == node
    assert commitment(root_of_path(index, Node(node.hash, node.a + 1, node.b, node.c), path)) != tree.commitment
    assert commitment(root_of_path(index, leaf_node(b"other", *node.sums), path)) != tree.commitment


def test_an_empty_tree_is_the_zero_node_at_every_height() -> None:
    tree = MerkleSumTree({})
    assert tree.root == EMPTY
    assert set(tree.path(5)) == {EMPTY}


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    tree = MerkleSumTree({0: leaf_node(b"a", 1, 0, 0), 1: leaf_node(b"b", 2, 0, 0)})
    children = leaf_node(b"a", 1, 0, 0).pack() + leaf_node(b"b", 2, 0, 0).pack()
    assert root_of_path(0, leaf_node(children, 3, 0, 0), tree.path(0)[1:]) != tree.root


@pytest.mark.parametrize("index", [-1, 2**DEPTH])
def test_an_index_outside_the_tree_is_refused(index: int) -> None:
    with pytest.raises(IndexError):
        MerkleSumTree({index: EMPTY})
    with pytest.raises(IndexError):
        MerkleSumTree({}).path(index)
