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
/// the operator put there instead is refuted by `challengeNodeSum`.
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

    /// @notice Bytes of one sum, and of a sibling in a path.
    uint256 private constant SUM_BYTES = 16;
    uint256 private constant SIBLING_BYTES = 80;

    /// @notice The index is not in a tree of that depth: the same leaf must not be provable at two indices.
    error IndexOutsideTree(uint256 index, uint256 depth);

    /// @notice The sums on the way to the root exceed a uint128.
    error SumTooLarge();

    /// @notice The path marks a sibling above the root, or is not as long as its marks say.
    error WrongPath();

    /// @notice The hash of a leaf with those canonical bytes.
    /// @dev The tag stands for a moment where the length ends, so that nothing is copied.
    function leafHash(bytes memory leaf) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let length := mload(leaf)
            mstore8(add(leaf, 31), 0x00)
            hash := keccak256(add(leaf, 31), add(length, 1))
            mstore(leaf, length)
        }
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

    /// @notice The root that `node` at `index` with the siblings of `path` leads to.
    /// @dev A path is packed: 4 bytes of which bit `h` says whether the sibling at height `h` has leaves, then hash and
    /// sums (32 + 16 + 16 + 16 bytes) of each that has, lowest first. `depth` is the number of levels above `node`, and
    /// `index` counts nodes at its height. What `parent` gives at every height, and a test holds both together; here
    /// on the stack, because decoding and allocating forty nodes would be most of the gas of a challenge.
    function rootOf(uint256 index, Node memory node, bytes calldata path, uint256 depth)
        internal
        pure
        returns (Node memory root)
    {
        if (index >> depth != 0) revert IndexOutsideTree(index, depth);
        (bytes32 hash, uint256 a, uint256 c) = (node.hash, node.a, node.c);
        uint256 ab = (a << 128) | node.b;
        uint256 isWrong;
        assembly ("memory-safe") {
            let at := mload(0x40) // 161 bytes of parent beyond the free memory, not kept
            mstore8(at, 0x01)
            let marks := shr(224, calldataload(path.offset))
            let next := add(path.offset, 4)
            for { let places := or(shl(depth, 1), index) } xor(places, 1) { places := shr(1, places) } {
                let sibling := next
                next := add(next, 80)
                if iszero(and(marks, 1)) {
                    next := sibling
                    sibling := calldatasize() // beyond the calldata all is zero, as in an empty sibling
                }
                marks := shr(1, marks)
                let sab := calldataload(add(sibling, 32))
                let sc := shr(128, calldataload(add(sibling, 64)))
                if iszero(or(hash, calldataload(sibling))) {
                    if iszero(or(or(ab, sab), or(c, sc))) { continue }
                }
                let right := mul(80, and(places, 1))
                calldatacopy(sub(add(at, 81), right), sibling, 80)
                let own := add(at, right)
                // From the back, so that each word covers the idle upper half of the one behind it.
                mstore(add(own, 49), c)
                mstore(add(own, 33), ab)
                mstore(add(own, 1), hash)
                hash := keccak256(at, 161)
                ab := add(ab, sab)
                a := add(a, shr(128, sab))
                c := add(c, sc)
            }
            // Siblings that nothing marks, or marks without a sibling, leave the end somewhere else.
            isWrong := or(marks, xor(next, add(path.offset, path.length)))
        }
        if (isWrong != 0) revert WrongPath();
        // Sums only grow on the way up: one beyond a uint128 anywhere is one at the root, or b has run over into a.
        if (ab >> 128 != a || c >> 128 != 0) revert SumTooLarge();
        // Casting: no sum has a bit beyond a uint128.
        return Node(hash, uint128(a), uint128(ab), uint128(c));
    }

    /// @notice Whether `node` stands at `index`, `depth` levels below the root, in the tree of that commitment.
    function isIn(bytes32 root, uint256 index, Node memory node, bytes calldata path, uint256 depth)
        internal
        pure
        returns (bool)
    {
        return commitment(rootOf(index, node, path, depth)) == root;
    }

    /// @notice Sum `c` of all leaves left of `index`: what stands before a slot in the order of rationing.
    /// @dev For a path that was found to lead somewhere; of any other the sum means nothing.
    function prefixSumC(uint256 index, bytes calldata path, uint256 depth) internal pure returns (uint256 sum) {
        uint256 bitmap = uint32(bytes4(path));
        uint256 end = 4;
        for (uint256 height = 0; height < depth; height++) {
            if ((bitmap >> height) & 1 == 0) continue;
            end += SIBLING_BYTES;
            if ((index >> height) & 1 == 1) sum += uint128(bytes16(path[end - SUM_BYTES:end]));
        }
    }
}
