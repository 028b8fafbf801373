// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {NodeProof, Tree} from "./Proofs.sol";

/// @title What a node or a leaf that is known to be in a tree says against itself.
library StructureFaults {
    /// @notice How the children of a node refute it.
    enum NodeFault {
        None,
        EmptyWithSums,
        ParentAtLeaf,
        EmptyWithHash,
        WrongSums
    }

    /// @notice How a leaf refutes itself.
    enum LeafFault {
        None,
        WrongHeight,
        WrongLength,
        WrongIndex,
        WrongProduct,
        WrongSums
    }

    /// @notice What is wrong with a node whose hash is over `left` and `right`.
    /// @dev A node over other children says nothing here; the honest preimages of leaf and parent differ in their tag.
    function ofNode(NodeProof memory node, MerkleSum.Node memory left, MerkleSum.Node memory right)
        internal
        pure
        returns (NodeFault)
    {
        MerkleSum.Node memory claimed = node.node;
        if (claimed.hash == bytes32(0)) {
            return MerkleSum.isEmpty(claimed) ? NodeFault.None : NodeFault.EmptyWithSums;
        }
        if (claimed.hash != MerkleSum.parentHash(left, right)) return NodeFault.None;
        if (node.height == 0) return NodeFault.ParentAtLeaf;
        if (MerkleSum.isEmpty(left) && MerkleSum.isEmpty(right)) return NodeFault.EmptyWithHash;
        // In uint256, so that children beyond uint128 are a lie and not a revert.
        bool isSum = uint256(left.a) + right.a == claimed.a && uint256(left.b) + right.b == claimed.b
            && uint256(left.c) + right.c == claimed.c;
        return isSum ? NodeFault.None : NodeFault.WrongSums;
    }

    /// @notice What is wrong with the leaf whose bytes are `leaf`. An auction's content is judged elsewhere.
    function ofLeaf(Tree tree, Messages.Auction memory auction, NodeProof memory node, bytes calldata leaf)
        internal
        pure
        returns (LeafFault)
    {
        if (node.height != 0) return LeafFault.WrongHeight;
        if (leaf.length != _legalLength(tree)) return LeafFault.WrongLength;
        if (tree == Tree.Slots) return _ofSlot(Messages.unpackSlot(leaf), auction, node);
        if (tree == Tree.Meters) {
            Messages.MeterLeaf memory meter = Messages.unpackMeterLeaf(leaf);
            return _ofAccount(meter.account, Leaves.node(meter), node);
        }
        if (tree == Tree.Balances) {
            Messages.BalanceLeaf memory balance = Messages.unpackBalanceLeaf(leaf);
            return _ofAccount(balance.account, Leaves.node(balance), node);
        }
        return LeafFault.None;
    }

    /// @notice Whether two nodes claim the same sums.
    function sameSums(MerkleSum.Node memory one, MerkleSum.Node memory other) internal pure returns (bool) {
        return one.a == other.a && one.b == other.b && one.c == other.c;
    }

    function _legalLength(Tree tree) private pure returns (uint256) {
        if (tree == Tree.Slots) return Messages.SLOT_BYTES;
        if (tree == Tree.Meters) return Messages.METER_LEAF_BYTES;
        if (tree == Tree.Balances) return Messages.BALANCE_LEAF_BYTES;
        return 32;
    }

    function _ofSlot(Messages.Slot memory slot, Messages.Auction memory auction, NodeProof memory node)
        private
        pure
        returns (LeafFault)
    {
        if (slot.account == node.index && slot.product != auction.product) return LeafFault.WrongProduct;
        // Open quantity below zero at the margin is no sum, whatever the leaf claims.
        bool isAtMargin = Leaves.isAtMargin(slot, auction.price, auction.longSide, auction.clearedAtS);
        if (isAtMargin && slot.filledBeforeWh > slot.quantityWh) return LeafFault.WrongSums;
        MerkleSum.Node memory implied = Leaves.node(slot, auction.price, auction.longSide, auction.clearedAtS);
        return _ofAccount(slot.account, implied, node);
    }

    function _ofAccount(uint32 account, MerkleSum.Node memory implied, NodeProof memory node)
        private
        pure
        returns (LeafFault)
    {
        if (account != node.index) return LeafFault.WrongIndex;
        return sameSums(node.node, implied) ? LeafFault.None : LeafFault.WrongSums;
    }
}
