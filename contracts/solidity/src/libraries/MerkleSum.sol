// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A sparse Merkle-sum tree of fixed depth: every node carries a hash and three sums.
/// @notice
///     leaf    hash = keccak256(0x00, leaf bytes)                       sums follow from the leaf
///     parent  hash = keccak256(0x01, left hash and sums, right hash and sums)
///     root    commitment = keccak256(0x02, hash, sums)
///     empty   the zero hash with zero sums; the parent of two empty nodes is empty
/// A parent commits to the hash and the sums of both children, so a wrong sum anywhere is shown by one path.
/// Sums are uint128 and never wrap: where two children exceed it, computing the parent reverts, and the node that
/// the operator put there instead is refuted by `ClaimedSums`.
library MerkleSum {
    /// @notice Hash and the three sums of a subtree.
    struct Node {
        bytes32 hash;
        uint128 a;
        uint128 b;
        uint128 c;
    }

    /// @notice Depth of the trees whose leaf index is an account number.
    uint256 internal constant DEPTH = 20;

    /// @notice Depth of the tree of a header's auctions.
    uint256 internal constant AUCTIONS_DEPTH = 12;

    /// @notice The index is not in a tree of that depth: the same leaf must not be provable at two indices.
    error IndexOutsideTree(uint256 index, uint256 depth);

    /// @notice The sums on the way to the root exceed a uint128.
    error SumTooLarge();

    /// @notice The hash of a leaf with those canonical bytes.
    function leafHash(bytes memory leaf) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x00), leaf));
    }

    /// @notice The hash over two children, even where both are empty.
    function parentHash(Node memory left, Node memory right) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(bytes1(0x01), left.hash, left.a, left.b, left.c, right.hash, right.a, right.b, right.c)
        );
    }

    /// @notice What stands for a whole tree: hash and sums of its root.
    function commitment(Node memory root) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x02), root.hash, root.a, root.b, root.c));
    }

    /// @notice Whether `node` is a subtree without leaves.
    function isEmpty(Node memory node) internal pure returns (bool) {
        return node.hash == bytes32(0) && node.a == 0 && node.b == 0 && node.c == 0;
    }

    /// @notice The node above two children. Reverts where a sum exceeds uint128.
    function parent(Node memory left, Node memory right) internal pure returns (Node memory) {
        if (isEmpty(left) && isEmpty(right)) return left;
        return Node(parentHash(left, right), left.a + right.a, left.b + right.b, left.c + right.c);
    }

    /// @notice The root that `node` at `index` with these siblings, lowest first, leads to.
    /// @dev `index` counts nodes at the height of `node`, which is the tree's depth less the number of siblings.
    /// What `parent` gives at every height, and a test holds both together; here on the stack, because the decoding and
    /// allocation of forty nodes would be most of the gas of a challenge. Bits beyond a uint128 are cut off.
    function rootOf(uint256 index, Node memory node, Node[] calldata siblings)
        internal
        pure
        returns (Node memory root)
    {
        if (index >> siblings.length != 0) revert IndexOutsideTree(index, siblings.length);
        (bytes32 hash, uint256 a, uint256 b, uint256 c) = (node.hash, node.a, node.b, node.c);
        uint256 excess;
        assembly ("memory-safe") {
            let low := sub(shl(128, 1), 1)
            let at := mload(0x40) // 161 bytes of parent beyond the free memory, not kept
            mstore8(at, 0x01)
            let sibling := siblings.offset
            for { let height := 0 } lt(height, siblings.length) { height := add(height, 1) } {
                let sa := and(calldataload(add(sibling, 0x20)), low)
                let sb := and(calldataload(add(sibling, 0x40)), low)
                let sc := and(calldataload(add(sibling, 0x60)), low)
                let sh := calldataload(sibling)
                sibling := add(sibling, 0x80)
                if or(or(or(hash, sh), or(a, sa)), or(or(b, sb), or(c, sc))) {
                    let isRight := and(shr(height, index), 1)
                    let own := add(add(at, 1), mul(isRight, 80))
                    let other := sub(add(at, 81), mul(isRight, 80))
                    // A child is 80 bytes: hash, a, and b and c in one word over the lower half of a's.
                    mstore(own, hash)
                    mstore(add(own, 32), shl(128, a))
                    mstore(add(own, 48), or(shl(128, b), and(c, low)))
                    mstore(other, sh)
                    mstore(add(other, 32), shl(128, sa))
                    mstore(add(other, 48), or(shl(128, sb), sc))
                    hash := keccak256(at, 161)
                    a := add(a, sa)
                    b := add(b, sb)
                    c := add(c, sc)
                    excess := or(excess, shr(128, or(a, or(b, c))))
                }
            }
        }
        if (excess != 0) revert SumTooLarge();
        // Casting: no sum has a bit beyond a uint128.
        return Node(hash, uint128(a), uint128(b), uint128(c));
    }

    /// @notice Whether `node` stands at `index` in the tree of that commitment.
    function isIn(bytes32 root, uint256 index, Node memory node, Node[] calldata siblings)
        internal
        pure
        returns (bool)
    {
        return commitment(rootOf(index, node, siblings)) == root;
    }

    /// @notice Sum `c` of all leaves left of `index`: what stands before a slot in the order of rationing.
    function prefixSumC(uint256 index, Node[] calldata siblings) internal pure returns (uint256 sum) {
        for (uint256 height = 0; height < siblings.length; height++) {
            if ((index >> height) & 1 == 1) sum += siblings[height].c;
        }
    }
}
