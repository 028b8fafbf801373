"""The contracts and Python are one: same digests as every wallet, same bytes, same nodes, same signatures."""

from __future__ import annotations

import random
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import to_checksum_address
from web3.contract import Contract

from contracts.codes import LongSide
from contracts.eip712 import Domain, Message, digest, layout, typed_data
from contracts.evidence import message_struct, node_struct
from contracts.header_rules import auction_node
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.merkle import DEPTH, EMPTY, MerkleSumTree, Node, commitment, leaf_node, parent, path_bytes, prefix_sum_c
from contracts.messages import MESSAGES, Auction
from contracts.signature import address_of, refusal_of
from contracts.solidity_source import LEAVES
from tests.contracts.local_chain import (
    Chain,
    RefusedError,
    home_signer,
    private_key,
    py_evm_chain,
)
from tests.contracts.random_cases import random_message, random_slot


@pytest.fixture(scope="module")
def chain() -> Chain:
    return py_evm_chain()


@pytest.fixture(scope="module")
def lens(chain: Chain) -> Contract:
    return chain.deploy("MessageDigests")


def shape(message_type: type[Message]) -> str:
    """A message as it stands in the signature of a function."""
    return f"({','.join(kind.name for _, kind in layout(message_type).columns)})"


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda m: m.__name__)
def test_python_wallets_and_solidity_have_one_digest(chain: Chain, lens: Contract, message_type: type[Message]) -> None:
    rng = random.Random(message_type.__name__)
    ask = lens.get_function_by_signature(f"digest(bytes32,{shape(message_type)})")
    for _ in range(6):
        domain = Domain(rng.randrange(2**63), rng.randbytes(20))
        message = random_message(message_type, rng)
        expected = digest(message, domain)
        signable = encode_typed_data(full_message=typed_data(message, domain))
        assert Account.sign_message(signable, private_key(1))["message_hash"] == expected
        separator = chain.ask(lens, "domainSeparator", domain.chain_id, to_checksum_address(domain.contract))
        assert separator == domain.separator
        assert ask(separator, message_struct(message)).call() == expected


def test_messages_with_the_same_field_types_are_told_apart() -> None:
    """The lens overloads ``digest`` by field types; each message must have its own."""
    shapes = [tuple(kind.name for _, kind in layout(m).columns) for m in MESSAGES]
    assert len(set(shapes)) == len(shapes)


@pytest.mark.parametrize("leaf_type", LEAVES, ids=lambda m: m.__name__)
def test_leaves_have_the_same_bytes_and_come_back_from_them(lens: Contract, leaf_type: type[Message]) -> None:
    rng = random.Random(7)
    pack = lens.get_function_by_signature(f"pack({shape(leaf_type)})")
    unpack = lens.functions[f"unpack{leaf_type.__name__}"]
    for _ in range(6):
        leaf = random_message(leaf_type, rng)
        packed = pack(message_struct(leaf)).call()
        assert packed == leaf.pack()
        assert tuple(unpack(packed).call()) == message_struct(leaf)


def as_node(answer: Any) -> Node:
    return Node(*answer)


def test_nodes_of_leaves_are_the_same(lens: Contract) -> None:
    rng = random.Random(8)
    slot_node = lens.get_function_by_signature(f"node({shape(Slot)},int64,uint8,uint64)")
    for _ in range(12):
        slot = random_slot(rng, rng.randrange(1, 9), 100, LongSide(rng.randrange(3)))
        for long_side in LongSide:
            asked = slot_node(message_struct(slot), 100, long_side, 1_000).call()
            assert as_node(asked) == slot.node(100, long_side, 1_000)
    for leaf_type in (MeterLeaf, BalanceLeaf):
        ask = lens.get_function_by_signature(f"node({shape(leaf_type)})")
        for _ in range(6):
            leaf = random_message(leaf_type, rng)
            assert as_node(ask(message_struct(leaf)).call()) == leaf.node()
    auction = random_message(Auction, rng)
    ask = lens.get_function_by_signature(f"node({shape(Auction)})")
    assert as_node(ask(message_struct(auction)).call()) == auction_node(auction)


def test_trees_have_the_same_parents_roots_and_prefixes(chain: Chain, lens: Contract) -> None:
    rng = random.Random(9)
    for size in (0, 1, 2, 30):
        indices = rng.sample(range(1 << 20), size)
        leaves = {i: leaf_node(rng.randbytes(9), rng.randrange(2**64), 3, rng.randrange(2**99)) for i in indices}
        tree = MerkleSumTree(leaves)
        for index in (*indices[:3], 0, (1 << 20) - 1):
            path = path_bytes(tree.path(index))
            leaf = node_struct(leaves.get(index, EMPTY))
            root, committed = chain.ask(lens, "rootOf", index, leaf, path, DEPTH)
            assert (as_node(root), committed) == (tree.root, commitment(tree.root))
            assert chain.ask(lens, "prefixSumC", index, path, DEPTH) == prefix_sum_c(index, tree.path(index))
    one, other = leaf_node(b"1", 2**128 - 5, 1, 2), leaf_node(b"2", 4, 2, 3)
    for left, right in ((one, other), (other, one), (EMPTY, one), (one, EMPTY), (EMPTY, EMPTY)):
        assert as_node(chain.ask(lens, "parent", node_struct(left), node_struct(right))) == parent(left, right)


def test_sums_of_nodes_never_wrap(chain: Chain, lens: Contract) -> None:
    full, one = leaf_node(b"1", 2**128 - 1, 0, 0), leaf_node(b"2", 1, 0, 0)
    with pytest.raises(RefusedError):
        chain.ask(lens, "parent", node_struct(full), node_struct(one))
    with pytest.raises(RefusedError, match="SumTooLarge"):
        chain.ask(lens, "rootOf", 0, node_struct(full), path_bytes((one,)), 1)


def test_a_path_has_exactly_the_siblings_that_it_marks(chain: Chain, lens: Contract) -> None:
    node = node_struct(leaf_node(b"1", 1, 1, 1))
    good = path_bytes((leaf_node(b"2", 1, 1, 1), EMPTY))
    assert chain.ask(lens, "rootOf", 0, node, good, 2)
    for wrong in (b"", good[:3], good[:-1], good + b"\0", good + good[4:], b"\0\0\0\2" + good[4:-80], good[:4]):
        with pytest.raises(RefusedError, match="WrongPath"):
            chain.ask(lens, "rootOf", 0, node, wrong, 2)
    with pytest.raises(RefusedError, match="WrongPath"):
        chain.ask(lens, "rootOf", 0, node, b"\0\0\0\4" + good[4:], 2)
    with pytest.raises(RefusedError, match="IndexOutsideTree"):
        chain.ask(lens, "rootOf", 4, node, good, 2)


def test_signatures_count_alike_in_both_languages(chain: Chain, lens: Contract) -> None:
    rng = random.Random(16)
    for _ in range(8):
        message = rng.randbytes(32)
        good = home_signer(3)(message)
        twin = good[:64] + bytes([good[64] ^ 7])
        for signature in (good, twin, good[:-1], good + b"\0", good[:32] + b"\xff" * 32 + good[64:], rng.randbytes(65)):
            address = address_of(private_key(3))
            counts = chain.ask(lens, "isSignedBy", to_checksum_address(address), message, signature)
            assert counts == (refusal_of(message, signature, address) is None)
