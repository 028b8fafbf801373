// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IForcedBids} from "../interfaces/IForcedBids.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {ClearingRules} from "../libraries/ClearingRules.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {RoundRules} from "../libraries/RoundRules.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Challenge} from "./Challenge.sol";
import {AuctionProof, NodeProof, SlotProof, Tree} from "./Proofs.sol";
import {StructureFaults} from "./StructureFaults.sol";

/// @title Lies in how trees are built, how auctions clear, and whose bids take part.
/// @notice One liar may lie at many nodes of a path. Then the topmost lying node is what can be shown: above it every
/// sum is honest, so the path computes; below it nothing needs to be computed. So a path never carries claimed sums of
/// its own but for the node it starts from.
///
/// What an honest operator is safe from, in every function:
/// - a node over other children, or a leaf of other bytes, has another hash: nothing is judged but what was hashed;
/// - another account's slot does not fit: the leaf index is the account, and so is the place in the ration;
/// - another signature or standing order does not fit: the slot commits to it.
contract ClearingChallenges is Challenge {
    /// @notice Faults of the two roots whose sums must agree with something outside their tree.
    enum TotalsFault {
        None,
        BalancesUnbalanced,
        VolumeDiffers
    }

    /// @notice Why a bid in a slot does not bind its account.
    enum SignatureFault {
        None,
        Unsigned,
        NotByKey,
        NotTheForcedBid
    }

    /// @param settlement_ whose headers are judged
    constructor(ISettlement settlement_) Challenge(settlement_) {}

    /// @notice A node's sums are not its children's, an empty hash carries sums, a hash stands over nothing, or a parent
    /// stands where a leaf belongs. `left` and `right` are ignored for an empty hash. Faults:
    /// `StructureFaults.NodeFault`.
    function challengeNodeSum(
        ISettlement.HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        NodeProof calldata node,
        MerkleSum.Node calldata left,
        MerkleSum.Node calldata right
    ) external {
        _requireOpen(proof);
        _requireNode(_root(proof.header, tree, auction), tree, node);
        _conclude(proof, ISettlement.Lie.NodeSum, uint8(StructureFaults.ofNode(node, left, right)));
    }

    /// @notice A leaf claims other sums than its content implies, stands at another account or product, has no legal
    /// length, or stands at an inner height. `leaf` is the bytes as they were hashed, without the tag. Faults:
    /// `StructureFaults.LeafFault`.
    function challengeLeaf(
        ISettlement.HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        NodeProof calldata node,
        bytes calldata leaf
    ) external {
        _requireOpen(proof);
        _requireNode(_root(proof.header, tree, auction), tree, node);
        if (node.node.hash != MerkleSum.leafHash(leaf)) revert NotInTree();
        _conclude(proof, ISettlement.Lie.Leaf, uint8(StructureFaults.ofLeaf(tree, auction.auction, node, leaf)));
    }

    /// @notice An auction stands at the wrong leaf, has another price than the header's spot, did not clear in the
    /// header's interval, or its leaf sums something else than its volume. Faults: `HeaderRules.PlacementFault`; for
    /// the sums, `Lie.Leaf` and `StructureFaults.LeafFault`.
    function challengeAuction(
        ISettlement.HeaderProof calldata proof,
        Messages.Auction calldata auction,
        NodeProof calldata node
    ) external {
        _requireOpen(proof);
        _requireNode(proof.header.auctionsRoot, Tree.Auctions, node);
        MerkleSum.Node memory implied = Leaves.node(auction);
        if (node.height != 0 || node.node.hash != implied.hash) revert NotInTree();
        if (!StructureFaults.sameSums(node.node, implied)) {
            _conclude(proof, ISettlement.Lie.Leaf, uint8(StructureFaults.LeafFault.WrongSums));
            return;
        }
        HeaderRules.PlacementFault fault = HeaderRules.placementFault(
            node.index, auction, proof.header, settlement.graceIntervals(), settlement.spotRule()
        );
        _conclude(proof, ISettlement.Lie.Auction, uint8(fault));
    }

    /// @notice A root's sums contradict the auction, the header, or each other. `root` is the opened commitment. Faults:
    /// `ClearingRules.AuctionFault` for slots, `TotalsFault` for balances and auctions.
    function challengeTotals(
        ISettlement.HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        MerkleSum.Node calldata root
    ) external {
        _requireOpen(proof);
        if (MerkleSum.commitment(root) != _root(proof.header, tree, auction)) revert NotInTree();
        uint8 fault;
        if (tree == Tree.Slots) {
            fault = uint8(ClearingRules.auctionFault(auction.auction, root.a, root.b, root.c));
        } else if (tree == Tree.Balances && root.a != root.b) {
            fault = uint8(TotalsFault.BalancesUnbalanced);
        } else if (tree == Tree.Auctions && root.a != proof.header.volumeWh) {
            fault = uint8(TotalsFault.VolumeDiffers);
        }
        _conclude(proof, ISettlement.Lie.Totals, fault);
    }

    /// @notice A slot was filled otherwise than the rule says, or refutes the auction's bounds; or the slot named for a
    /// bound does not exist. Faults: `ClearingRules.SlotFault`.
    /// @dev An account beyond the tree has no slot, and no path is asked for.
    function challengeFill(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        uint32 account,
        SlotProof calldata slot
    ) external {
        _requireOpen(proof);
        bytes32 slotsRoot = _root(proof.header, Tree.Slots, auction);
        if (slot.present || account >> MerkleSum.DEPTH == 0) {
            _requireSlot(slotsRoot, auction.auction, account, slot);
        }
        _conclude(proof, ISettlement.Lie.Fill, uint8(_fillFault(auction.auction, account, slot)));
    }

    /// @notice The bid in a slot of a forward auction, also one that cancels, was never signed by its account, or is
    /// not the one placed on chain. `signature` is ignored where the slot commits to none or the bid was placed on
    /// chain. Faults: `SignatureFault`.
    /// @dev A retired slot holds no bid any more: `challengeCarry` says whether it may.
    function challengeSignature(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot,
        bytes calldata signature
    ) external {
        _requireOpen(proof);
        _requireSlotOf(proof.header, auction, slot);
        bool isJudged = auction.auction.rule == ClearingRules.FORWARD && !RoundRules.isRetired(slot.slot);
        if (!isJudged) revert NothingIsWrong();
        _conclude(proof, ISettlement.Lie.Signature, uint8(_signatureFault(slot.slot, signature)));
    }

    /// @notice A slot of a spot round of standing orders stands at another limit than its home's, which was not valid
    /// or not signed; or, without one, at another than the tariff. `order` and `signature` are what the slot commits
    /// to, and ignored where it commits to none. Faults: `RoundRules.StandingFault`.
    function challengeStanding(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata spot,
        SlotProof calldata slot,
        Messages.StandingOrder calldata order,
        bytes calldata signature
    ) external {
        _requireOpen(proof);
        _requireSlotOf(proof.header, spot, slot);
        if (spot.auction.rule != ClearingRules.SPOT_AUCTION) revert NothingIsWrong();
        bool hasOrder = slot.slot.signatureHash != bytes32(0);
        bool isSigned = false;
        if (hasOrder) {
            bytes32 orderHash = Messages.hashStruct(order);
            bytes32 committed = keccak256(abi.encodePacked(orderHash, keccak256(signature)));
            if (committed != slot.slot.signatureHash) revert WrongEvidence();
            isSigned = Signatures.isBy(settlement.keyOf(slot.slot.account), _digest(orderHash), signature);
        }
        int256 settled = int256(uint256(proof.header.interval)) - int256(uint256(settlement.graceIntervals()));
        RoundRules.StandingFault fault =
            RoundRules.standingFault(slot.slot, hasOrder, order, isSigned, proof.header, settled);
        _conclude(proof, ISettlement.Lie.Standing, uint8(fault));
    }

    /// @dev Commitment of a tree under `header`; for slots, the auction must stand in the header.
    function _root(Messages.Header calldata header, Tree tree, AuctionProof calldata auction)
        private
        pure
        returns (bytes32)
    {
        if (tree == Tree.Auctions) return header.auctionsRoot;
        if (tree == Tree.Meters) return header.metersRoot;
        if (tree == Tree.Balances) return header.balancesRoot;
        if (!auction.present) revert NotInTree();
        _requireAuction(header, auction);
        return auction.auction.slotsRoot;
    }

    /// @dev Any node at any height, with the sums it claims.
    function _requireNode(bytes32 root, Tree tree, NodeProof calldata node) private pure {
        uint256 depth = tree == Tree.Auctions ? MerkleSum.AUCTIONS_DEPTH : MerkleSum.DEPTH;
        if (node.height > depth || !MerkleSum.isIn(root, node.index, node.node, node.path, depth - node.height)) {
            revert NotInTree();
        }
    }

    /// @dev A slot that exists, at the account that it names.
    function _requireSlotOf(Messages.Header calldata header, AuctionProof calldata auction, SlotProof calldata slot)
        private
        pure
    {
        bytes32 slotsRoot = _root(header, Tree.Slots, auction);
        if (!slot.present) revert NothingIsWrong();
        _requireSlot(slotsRoot, auction.auction, slot.slot.account, slot);
    }

    function _fillFault(Messages.Auction calldata auction, uint32 account, SlotProof calldata slot)
        private
        pure
        returns (ClearingRules.SlotFault)
    {
        if (slot.present) {
            uint256 prefixWh = MerkleSum.prefixSumC(account, slot.path, MerkleSum.DEPTH);
            return ClearingRules.slotFault(slot.slot, auction, prefixWh);
        }
        if (auction.rule == ClearingRules.SPOT_SHARED || account == ClearingRules.NO_ACCOUNT) {
            return ClearingRules.SlotFault.None;
        }
        if (account == auction.loAccount) return ClearingRules.SlotFault.NotAtLo;
        if (account == auction.hiAccount) return ClearingRules.SlotFault.NotAtHi;
        return ClearingRules.SlotFault.None;
    }

    function _signatureFault(Messages.Slot calldata slot, bytes calldata signature)
        private
        view
        returns (SignatureFault)
    {
        bytes32 bidHash = RoundRules.bidHash(slot);
        if (slot.version >= RoundRules.FORCED_VERSION) {
            address trading = settlement.trading();
            bool isForced =
                trading != address(0) && IForcedBids(trading).forcedBidHash(slot.account, slot.version) == bidHash;
            return isForced ? SignatureFault.None : SignatureFault.NotTheForcedBid;
        }
        if (slot.signatureHash == bytes32(0)) return SignatureFault.Unsigned;
        if (keccak256(signature) != slot.signatureHash) revert WrongEvidence();
        bool isSigned = Signatures.isBy(settlement.keyOf(slot.account), _digest(bidHash), signature);
        return isSigned ? SignatureFault.None : SignatureFault.NotByKey;
    }
}
