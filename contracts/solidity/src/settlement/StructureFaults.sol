// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IChallenges} from "../interfaces/IChallenges.sol";
import {ClearingRules} from "../libraries/ClearingRules.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";

/// @title What a node or a leaf that is known to be in a tree says against itself.
library StructureFaults {
    /// @notice What is wrong with a node whose hash is over `left` and `right`.
    /// @dev A node over other children says nothing here; the honest preimages of leaf and parent differ in their tag.
    function ofNode(
        IChallenges.NodeProof memory node,
        MerkleSum.Node memory left,
        MerkleSum.Node memory right,
        uint256 depth
    ) internal pure returns (IChallenges.NodeFault) {
        MerkleSum.Node memory claimed = node.node;
        if (claimed.hash == bytes32(0)) {
            return MerkleSum.isEmpty(claimed) ? IChallenges.NodeFault.None : IChallenges.NodeFault.EmptyWithSums;
        }
        if (claimed.hash != MerkleSum.parentHash(left, right)) return IChallenges.NodeFault.None;
        if (node.siblings.length == depth) return IChallenges.NodeFault.ParentAtLeaf;
        if (MerkleSum.isEmpty(left) && MerkleSum.isEmpty(right)) return IChallenges.NodeFault.EmptyWithHash;
        // In uint256, so that children beyond uint128 are a lie and not a revert.
        bool isSum = uint256(left.a) + right.a == claimed.a && uint256(left.b) + right.b == claimed.b
            && uint256(left.c) + right.c == claimed.c;
        return isSum ? IChallenges.NodeFault.None : IChallenges.NodeFault.WrongSums;
    }

    /// @notice What is wrong with the leaf whose bytes are `leaf`. An auction's content is judged elsewhere.
    function ofLeaf(
        IChallenges.Tree tree,
        Messages.Auction memory auction,
        IChallenges.NodeProof memory node,
        bytes calldata leaf,
        uint256 depth
    ) internal pure returns (IChallenges.LeafFault) {
        if (node.siblings.length != depth) return IChallenges.LeafFault.WrongHeight;
        if (leaf.length != _legalLength(tree)) return IChallenges.LeafFault.WrongLength;
        if (tree == IChallenges.Tree.Slots) return _ofSlot(Messages.unpackSlot(leaf), auction, node);
        if (tree == IChallenges.Tree.Meters) {
            Messages.MeterLeaf memory meter = Messages.unpackMeterLeaf(leaf);
            return _ofAccount(meter.account, Leaves.node(meter), node);
        }
        if (tree == IChallenges.Tree.Balances) {
            Messages.BalanceLeaf memory balance = Messages.unpackBalanceLeaf(leaf);
            return _ofAccount(balance.account, Leaves.node(balance), node);
        }
        return IChallenges.LeafFault.None;
    }

    /// @notice Whether two nodes claim the same sums.
    function sameSums(MerkleSum.Node memory one, MerkleSum.Node memory other) internal pure returns (bool) {
        return one.a == other.a && one.b == other.b && one.c == other.c;
    }

    function _legalLength(IChallenges.Tree tree) private pure returns (uint256) {
        if (tree == IChallenges.Tree.Slots) return Messages.SLOT_BYTES;
        if (tree == IChallenges.Tree.Meters) return Messages.METER_LEAF_BYTES;
        if (tree == IChallenges.Tree.Balances) return Messages.BALANCE_LEAF_BYTES;
        return 32;
    }

    function _ofSlot(Messages.Slot memory slot, Messages.Auction memory auction, IChallenges.NodeProof memory node)
        private
        pure
        returns (IChallenges.LeafFault)
    {
        if (slot.account == node.index && slot.product != auction.product) return IChallenges.LeafFault.WrongProduct;
        // Open quantity below zero at the margin is no sum, whatever the leaf claims.
        bool isOverfilled = slot.filledBeforeWh > slot.quantityWh && slot.limitPrice == auction.price
            && auction.longSide == (slot.side == ClearingRules.BUY ? ClearingRules.LONG_BUY : ClearingRules.LONG_SELL);
        if (isOverfilled) return IChallenges.LeafFault.WrongSums;
        return _ofAccount(slot.account, Leaves.node(slot, auction.price, auction.longSide), node);
    }

    function _ofAccount(uint32 account, MerkleSum.Node memory implied, IChallenges.NodeProof memory node)
        private
        pure
        returns (IChallenges.LeafFault)
    {
        if (account != node.index) return IChallenges.LeafFault.WrongIndex;
        return sameSums(node.node, implied) ? IChallenges.LeafFault.None : IChallenges.LeafFault.WrongSums;
    }
}
