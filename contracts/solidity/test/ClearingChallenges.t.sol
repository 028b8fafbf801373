// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingChallenges} from "../src/challenges/ClearingChallenges.sol";
import {AuctionProof, NodeProof, Tree} from "../src/challenges/Proofs.sol";
import {StructureFaults} from "../src/challenges/StructureFaults.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {ClearingRules} from "../src/libraries/ClearingRules.sol";
import {HeaderRules} from "../src/libraries/HeaderRules.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {ClearingCast} from "./ClearingCast.sol";

/// @dev Lies in how trees are built, in which auction stands where, and in totals.
contract ClearingChallengesTest is ClearingCast {
    // Lies in how trees are built.

    /// @dev Root and path of a node that stands leftmost, so many levels below the root.
    function under(MerkleSum.Node memory node, uint256 levels) private pure returns (bytes32 root, bytes memory path) {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](levels);
        for (uint256 height = 0; height < levels; height++) {
            uint256 seed = uint256(keccak256(abi.encode("filler", height)));
            siblings[height] = MerkleSum.Node(bytes32(seed), uint48(seed), uint48(seed >> 64), uint40(seed >> 128));
            node = MerkleSum.parent(node, siblings[height]);
        }
        return (MerkleSum.commitment(node), pathOf(siblings));
    }

    function leafNode(uint256 seed) private pure returns (MerkleSum.Node memory) {
        return MerkleSum.Node(keccak256(abi.encode(seed)), uint64(seed), uint64(seed + 1), uint64(seed + 2));
    }

    function judgeNode(
        MerkleSum.Node memory node,
        uint256 height,
        MerkleSum.Node memory left,
        MerkleSum.Node memory right,
        StructureFaults.NodeFault fault
    ) private {
        (bytes32 root, bytes memory path) = under(node, MerkleSum.DEPTH - height);
        ISettlement.HeaderProof memory proof = grown(emptyRoot(), emptyRoot(), root);
        bytes memory input = abi.encodeCall(
            clearing.challengeNodeSum, (proof, Tree.Balances, none, NodeProof(node, height, 0, path), left, right)
        );
        if (fault == StructureFaults.NodeFault.None) assertRefused(address(clearing), input, FINE);
        else assertVoid(address(clearing), input, proof.index, ISettlement.Lie.NodeSum, uint8(fault));
    }

    function test_a_node_sums_its_children() public {
        (MerkleSum.Node memory left, MerkleSum.Node memory right) = (leafNode(5), leafNode(9));
        MerkleSum.Node memory honest = MerkleSum.parent(left, right);
        judgeNode(honest, 1, left, right, StructureFaults.NodeFault.None);
        judgeNode(honest, 19, left, right, StructureFaults.NodeFault.None);
        judgeNode(honest, 1, right, left, StructureFaults.NodeFault.None);
        for (uint256 part = 0; part < 3; part++) {
            MerkleSum.Node memory lie = MerkleSum.parent(left, right);
            if (part == 0) lie.a += 1;
            if (part == 1) lie.b += 1;
            if (part == 2) lie.c -= 1;
            judgeNode(lie, 1 + part * 9, left, right, StructureFaults.NodeFault.WrongSums);
        }
    }

    function test_children_beyond_128_bits_are_a_lie_and_no_revert() public {
        MerkleSum.Node memory left = MerkleSum.Node(keccak256("left"), type(uint128).max, 0, 0);
        MerkleSum.Node memory right = MerkleSum.Node(keccak256("right"), 1, 0, 0);
        MerkleSum.Node memory wrapped = MerkleSum.Node(MerkleSum.parentHash(left, right), 0, 0, 0);
        judgeNode(wrapped, 3, left, right, StructureFaults.NodeFault.WrongSums);
    }

    function test_a_parent_is_no_leaf_and_nothing_is_empty_that_has_a_hash_or_a_sum() public {
        MerkleSum.Node memory empty;
        (MerkleSum.Node memory left, MerkleSum.Node memory right) = (leafNode(5), leafNode(9));
        judgeNode(MerkleSum.parent(left, right), 0, left, right, StructureFaults.NodeFault.ParentAtLeaf);
        MerkleSum.Node memory hollow = MerkleSum.Node(MerkleSum.parentHash(empty, empty), 0, 0, 0);
        judgeNode(hollow, 1, empty, empty, StructureFaults.NodeFault.EmptyWithHash);
        judgeNode(empty, 1, empty, empty, StructureFaults.NodeFault.None);
        judgeNode(MerkleSum.Node(0, 1, 0, 0), 1, left, left, StructureFaults.NodeFault.EmptyWithSums);
        judgeNode(MerkleSum.Node(0, 0, 1, 0), 0, left, left, StructureFaults.NodeFault.EmptyWithSums);
        judgeNode(MerkleSum.Node(0, 0, 0, 1), 19, left, left, StructureFaults.NodeFault.EmptyWithSums);
    }

    function test_a_node_is_looked_for_in_the_tree_that_is_named() public {
        (MerkleSum.Node memory left, MerkleSum.Node memory right) = (leafNode(5), leafNode(9));
        MerkleSum.Node memory lie = MerkleSum.parent(left, right);
        lie.a += 1;
        (bytes32 low, bytes memory lowPath) = under(lie, MerkleSum.AUCTIONS_DEPTH - 1);
        (bytes32 high, bytes memory highPath) = under(lie, MerkleSum.DEPTH - 1);
        ISettlement.HeaderProof memory proof = grown(low, high, emptyRoot());
        address court = address(clearing);
        NodeProof memory node = NodeProof(lie, 1, 0, lowPath);
        bytes memory input = abi.encodeCall(clearing.challengeNodeSum, (proof, Tree.Auctions, none, node, left, right));
        assertVoid(court, input, 0, ISettlement.Lie.NodeSum, uint8(StructureFaults.NodeFault.WrongSums));
        node.path = highPath;
        input = abi.encodeCall(clearing.challengeNodeSum, (proof, Tree.Meters, none, node, left, right));
        assertVoid(court, input, 0, ISettlement.Lie.NodeSum, uint8(StructureFaults.NodeFault.WrongSums));
        input = abi.encodeCall(clearing.challengeNodeSum, (proof, Tree.Balances, none, node, left, right));
        assertRefused(court, input, ELSEWHERE);
        input = abi.encodeCall(clearing.challengeNodeSum, (proof, Tree.Slots, none, node, left, right));
        assertRefused(court, input, ELSEWHERE);
        node.height = 21;
        input = abi.encodeCall(clearing.challengeNodeSum, (proof, Tree.Meters, none, node, left, right));
        assertRefused(court, input, ELSEWHERE);
        node.height = 2;
        input = abi.encodeCall(clearing.challengeNodeSum, (proof, Tree.Meters, none, node, left, right));
        assertRefused(court, input, MerkleSum.WrongPath.selector);
    }

    function judgeLeaf(
        Tree tree,
        AuctionProof memory auction,
        bytes32 auctionsRoot,
        NodeProof memory node,
        bytes memory leaf,
        uint8 fault
    ) private {
        uint256 depth = tree == Tree.Auctions ? MerkleSum.AUCTIONS_DEPTH : MerkleSum.DEPTH;
        bytes32 root;
        (root, node.path) = under(node.node, depth - node.height);
        ISettlement.HeaderProof memory proof = grown(
            tree == Tree.Auctions ? root : auctionsRoot,
            tree == Tree.Meters ? root : emptyRoot(),
            tree == Tree.Balances ? root : emptyRoot()
        );
        bytes memory input = abi.encodeCall(clearing.challengeLeaf, (proof, tree, auction, node, leaf));
        if (fault == 0) assertRefused(address(clearing), input, FINE);
        else assertVoid(address(clearing), input, proof.index, ISettlement.Lie.Leaf, fault);
    }

    function judgePlainLeaf(Tree tree, MerkleSum.Node memory node, uint256 height, bytes memory leaf, uint8 fault)
        private
    {
        judgeLeaf(tree, none, emptyRoot(), NodeProof(node, height, 0, ""), leaf, fault);
    }

    function test_a_leaf_has_a_height_a_length_an_index_and_the_sums_of_its_content() public {
        Messages.BalanceLeaf memory leaf = leafOf(0, 7, 0);
        MerkleSum.Node memory node = Leaves.node(leaf);
        bytes memory packed = Messages.pack(leaf);
        judgePlainLeaf(Tree.Balances, node, 0, packed, 0);
        judgePlainLeaf(Tree.Balances, node, 1, packed, uint8(StructureFaults.LeafFault.WrongHeight));
        node.a += 1;
        judgePlainLeaf(Tree.Balances, node, 0, packed, uint8(StructureFaults.LeafFault.WrongSums));
        leaf.account = 3;
        packed = Messages.pack(leaf);
        judgePlainLeaf(Tree.Balances, Leaves.node(leaf), 0, packed, uint8(StructureFaults.LeafFault.WrongIndex));
        packed = hex"0123456789";
        node = MerkleSum.Node(MerkleSum.leafHash(packed), 0, 0, 0);
        for (uint256 tree = 0; tree < 4; tree++) {
            if (tree == uint256(Tree.Slots)) continue;
            judgePlainLeaf(Tree(tree), node, 0, packed, uint8(StructureFaults.LeafFault.WrongLength));
        }
    }

    function test_meter_leaves_and_auctions_are_leaves_as_well() public {
        Messages.MeterLeaf memory leaf;
        leaf.deviationWh = -7;
        MerkleSum.Node memory node = Leaves.node(leaf);
        judgePlainLeaf(Tree.Meters, node, 0, Messages.pack(leaf), 0);
        node.b -= 1;
        judgePlainLeaf(Tree.Meters, node, 0, Messages.pack(leaf), uint8(StructureFaults.LeafFault.WrongSums));
        bytes memory hash = abi.encodePacked(keccak256("an auction"));
        judgePlainLeaf(Tree.Auctions, MerkleSum.Node(MerkleSum.leafHash(hash), 9, 9, 9), 0, hash, 0);
    }

    /// @dev A slot that stands at account 0 under an auction that is leaf 0.
    function judgeSlotLeaf(Messages.Slot memory slot, MerkleSum.Node memory node, uint8 fault) private {
        Messages.Auction memory auction;
        (auction.product, auction.price, auction.longSide, auction.clearedAtS) = (HOUR, PRICE, 1, 1_000);
        bytes memory packed = Messages.pack(slot);
        node.hash = MerkleSum.leafHash(packed);
        (auction.slotsRoot,) = under(node, MerkleSum.DEPTH);
        (bytes32 root, bytes memory path) = under(Leaves.node(auction), MerkleSum.AUCTIONS_DEPTH);
        judgeLeaf(Tree.Slots, AuctionProof(true, auction, 0, path), root, NodeProof(node, 0, 0, ""), packed, fault);
    }

    function test_a_slot_is_of_its_auctions_product_and_sums_what_it_was_filled_and_may_be() public {
        Messages.Slot memory slot;
        (slot.product, slot.quantityWh, slot.fillWh, slot.limitPrice) = (HOUR, 50, 20, PRICE);
        slot.expiryS = 1_000;
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 50), 0);
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 0), uint8(StructureFaults.LeafFault.WrongSums));
        slot.expiryS = 999;
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 0), 0);
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 50), uint8(StructureFaults.LeafFault.WrongSums));
        // More filled before than the bid: no sum is right, unless it has expired.
        slot.filledBeforeWh = 51;
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 0), 0);
        slot.expiryS = 1_000;
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 0), uint8(StructureFaults.LeafFault.WrongSums));
        slot.product = HOUR + 1;
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 0), uint8(StructureFaults.LeafFault.WrongProduct));
        (slot.account, slot.filledBeforeWh) = (1, 0);
        judgeSlotLeaf(slot, MerkleSum.Node(0, 20, 0, 50), uint8(StructureFaults.LeafFault.WrongIndex));
    }

    function test_other_bytes_are_not_the_leaf() public {
        Messages.BalanceLeaf memory leaf = leafOf(0, 7, 0);
        (bytes32 root, bytes memory path) = under(Leaves.node(leaf), MerkleSum.DEPTH);
        ISettlement.HeaderProof memory proof = grown(emptyRoot(), emptyRoot(), root);
        NodeProof memory node = NodeProof(Leaves.node(leaf), 0, 0, path);
        bytes memory packed = Messages.pack(leafOf(0, 8, 0));
        bytes memory input = abi.encodeCall(clearing.challengeLeaf, (proof, Tree.Balances, none, node, packed));
        assertRefused(address(clearing), input, ELSEWHERE);
    }

    // Lies in which auction stands where, and in totals.

    function judgeAuction(Messages.Auction memory auction, MerkleSum.Node memory node, ISettlement.Lie lie, uint8 fault)
        private
    {
        (bytes32 root, bytes memory path) = under(node, MerkleSum.AUCTIONS_DEPTH);
        ISettlement.HeaderProof memory proof = grown(root, emptyRoot(), emptyRoot());
        bytes memory input = abi.encodeCall(clearing.challengeAuction, (proof, auction, NodeProof(node, 0, 0, path)));
        if (fault == 0) assertRefused(address(clearing), input, FINE);
        else assertVoid(address(clearing), input, proof.index, lie, fault);
    }

    function test_the_spot_round_stands_first_by_the_agreed_rule_at_the_headers_price() public {
        ISettlement.Lie lie = ISettlement.Lie.Auction;
        Messages.Auction memory spot = spotRound();
        judgeAuction(spot, Leaves.node(spot), lie, 0);
        spot = spotRound();
        spot.rule = 3 - SPOT_RULE;
        judgeAuction(spot, Leaves.node(spot), lie, uint8(HeaderRules.PlacementFault.SpotMisplaced));
        spot = spotRound();
        spot.price += 1;
        judgeAuction(spot, Leaves.node(spot), lie, uint8(HeaderRules.PlacementFault.SpotPriceDiffers));
        spot = spotRound();
        spot.clearedAtS += 900;
        judgeAuction(spot, Leaves.node(spot), lie, uint8(HeaderRules.PlacementFault.ClearedOutsideInterval));
        spot = spotRound();
        MerkleSum.Node memory node = Leaves.node(spot);
        node.a += 1;
        judgeAuction(spot, node, ISettlement.Lie.Leaf, uint8(StructureFaults.LeafFault.WrongSums));
    }

    function test_another_auction_or_another_height_is_not_the_leaf() public {
        Messages.Auction memory spot = spotRound();
        (bytes32 root, bytes memory path) = under(Leaves.node(spot), MerkleSum.AUCTIONS_DEPTH - 1);
        ISettlement.HeaderProof memory proof = grown(root, emptyRoot(), emptyRoot());
        NodeProof memory node = NodeProof(Leaves.node(spot), 1, 0, path);
        bytes memory input = abi.encodeCall(clearing.challengeAuction, (proof, spot, node));
        assertRefused(address(clearing), input, ELSEWHERE);
        (root, path) = under(Leaves.node(spot), MerkleSum.AUCTIONS_DEPTH);
        proof = grown(root, emptyRoot(), emptyRoot());
        node = NodeProof(Leaves.node(spot), 0, 0, path);
        spot.lo -= 1;
        input = abi.encodeCall(clearing.challengeAuction, (proof, spot, node));
        assertRefused(address(clearing), input, ELSEWHERE);
    }

    function test_totals_agree_with_the_header_and_with_each_other() public {
        MerkleSum.Node memory root = MerkleSum.Node(keccak256("root"), 5, 4, 0);
        bytes32 commitment = MerkleSum.commitment(root);
        ISettlement.HeaderProof memory proof = grown(commitment, commitment, commitment);
        address court = address(clearing);
        bytes memory input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Balances, none, root));
        assertVoid(court, input, 0, ISettlement.Lie.Totals, uint8(ClearingChallenges.TotalsFault.BalancesUnbalanced));
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Auctions, none, root));
        assertVoid(court, input, 0, ISettlement.Lie.Totals, uint8(ClearingChallenges.TotalsFault.VolumeDiffers));
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Meters, none, root));
        assertRefused(court, input, FINE);
        root.a = 4;
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Balances, none, root));
        assertRefused(court, input, ELSEWHERE);
        root.b = 4;
        commitment = MerkleSum.commitment(root);
        proof = grown(emptyRoot(), commitment, commitment);
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Balances, none, root));
        assertRefused(court, input, FINE);
        MerkleSum.Node memory empty;
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Auctions, none, empty));
        assertRefused(court, input, FINE);
    }

    function test_an_auctions_totals_are_its_slots() public {
        Messages.Auction memory auction;
        (auction.product, auction.price, auction.lo, auction.hi) = (HOUR, 9, 9, 9);
        auction.volumeWh = 5;
        MerkleSum.Node memory root = MerkleSum.Node(keccak256("slots"), 5, 4, 0);
        auction.slotsRoot = MerkleSum.commitment(root);
        (bytes32 top, bytes memory path) = under(Leaves.node(auction), MerkleSum.AUCTIONS_DEPTH);
        ISettlement.HeaderProof memory proof = grown(top, emptyRoot(), emptyRoot());
        AuctionProof memory place = AuctionProof(true, auction, 0, path);
        bytes memory input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Slots, place, root));
        uint8 fault = uint8(ClearingRules.AuctionFault.SumsUnbalanced);
        assertVoid(address(clearing), input, 0, ISettlement.Lie.Totals, fault);
        place.present = false;
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Slots, place, root));
        assertRefused(address(clearing), input, ELSEWHERE);
        place.present = true;
        place.auction.volumeWh = 4;
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Slots, place, root));
        assertRefused(address(clearing), input, ELSEWHERE);
    }

    // What every challenge shares.

    function test_a_final_or_unknown_header_is_not_judged() public {
        MerkleSum.Node memory root = MerkleSum.Node(keccak256("root"), 5, 4, 0);
        ISettlement.HeaderProof memory proof = grown(emptyRoot(), emptyRoot(), MerkleSum.commitment(root));
        bytes memory input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Balances, none, root));
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        assertRefused(address(clearing), input, ISettlement.AlreadyFinal.selector);
        proof.index = 1;
        input = abi.encodeCall(clearing.challengeTotals, (proof, Tree.Balances, none, root));
        assertRefused(address(clearing), input, ISettlement.UnknownHeader.selector);
    }
}
