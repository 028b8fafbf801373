// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IChallenges} from "../interfaces/IChallenges.sol";
import {IForcedBids} from "../interfaces/IForcedBids.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {ClearingRules} from "../libraries/ClearingRules.sol";
import {Domain} from "../libraries/Domain.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Headers} from "./Headers.sol";
import {StructureFaults} from "./StructureFaults.sol";

/// @title Every challenge reads the same: the header is open, the evidence is in it, the rule is broken, void.
abstract contract Challenges is IChallenges, Headers {
    /// @dev Bids with this bit in their version were placed on chain; the other bits are the order's number.
    uint32 private constant FORCED_VERSION = 1 << 31;

    /// @inheritdoc ISettlement
    address public trading;

    /// @inheritdoc ISettlement
    function setTrading(address newTrading) external onlyGovernance {
        if (trading != address(0)) revert TradingAlreadySet();
        if (newTrading == address(0)) revert ZeroAddress();
        trading = newTrading;
        emit TradingSet(newTrading);
    }

    /// @inheritdoc IChallenges
    function challengeNodeSum(
        HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        NodeProof calldata node,
        MerkleSum.Node calldata left,
        MerkleSum.Node calldata right
    ) external {
        _unfinal(proof);
        uint256 depth = _requireNode(_root(proof.header, tree, auction), tree, node);
        _conclude(proof, Lie.NodeSum, uint8(StructureFaults.ofNode(node, left, right, depth)));
    }

    /// @inheritdoc IChallenges
    function challengeLeaf(
        HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        NodeProof calldata node,
        bytes calldata leaf
    ) external {
        _unfinal(proof);
        uint256 depth = _requireNode(_root(proof.header, tree, auction), tree, node);
        if (node.node.hash != MerkleSum.leafHash(leaf)) revert NotInTree();
        _conclude(proof, Lie.Leaf, uint8(StructureFaults.ofLeaf(tree, auction.auction, node, leaf, depth)));
    }

    /// @inheritdoc IChallenges
    function challengeAuction(HeaderProof calldata proof, Messages.Auction calldata auction, NodeProof calldata node)
        external
    {
        _unfinal(proof);
        _requireNode(proof.header.auctionsRoot, Tree.Auctions, node);
        MerkleSum.Node memory implied = Leaves.node(auction);
        if (node.siblings.length != MerkleSum.AUCTIONS_DEPTH || node.node.hash != implied.hash) revert NotInTree();
        if (!StructureFaults.sameSums(node.node, implied)) {
            _conclude(proof, Lie.Leaf, uint8(LeafFault.WrongSums));
        } else {
            uint8 fault = uint8(HeaderRules.placementFault(node.index, auction, proof.header, graceIntervals));
            _conclude(proof, Lie.Auction, fault);
        }
    }

    /// @inheritdoc IChallenges
    function challengeTotals(
        HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        MerkleSum.Node calldata root
    ) external {
        _unfinal(proof);
        if (MerkleSum.commitment(root) != _root(proof.header, tree, auction)) revert NotInTree();
        uint8 fault;
        if (tree == Tree.Slots) {
            fault = uint8(ClearingRules.auctionFault(auction.auction, root.a, root.b, root.c));
        } else if (tree == Tree.Balances && root.a != root.b) {
            fault = uint8(TotalsFault.BalancesUnbalanced);
        } else if (tree == Tree.Auctions && root.a != proof.header.volumeWh) {
            fault = uint8(TotalsFault.VolumeDiffers);
        }
        _conclude(proof, Lie.Totals, fault);
    }

    /// @inheritdoc IChallenges
    function challengeFill(
        HeaderProof calldata proof,
        AuctionProof calldata auction,
        uint32 account,
        SlotProof calldata slot
    ) external {
        _unfinal(proof);
        bytes32 slotsRoot = _root(proof.header, Tree.Slots, auction);
        if (!slot.present && account >> MerkleSum.DEPTH == 0) {
            _requireLeaf(slotsRoot, account, _empty(), slot.siblings);
        }
        if (slot.present) _requireLeaf(slotsRoot, account, _slotNode(slot, auction), slot.siblings);
        _conclude(proof, Lie.Fill, uint8(_fillFault(auction.auction, account, slot)));
    }

    /// @inheritdoc IChallenges
    function challengeSignature(
        HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot,
        bytes calldata signature
    ) external {
        _unfinal(proof);
        bytes32 slotsRoot = _root(proof.header, Tree.Slots, auction);
        if (!slot.present) revert NothingIsWrong();
        _requireLeaf(slotsRoot, slot.slot.account, _slotNode(slot, auction), slot.siblings);
        if (auction.auction.rule != ClearingRules.FORWARD || slot.slot.quantityWh == 0) revert NothingIsWrong();
        _conclude(proof, Lie.Signature, uint8(_signatureFault(slot.slot, signature)));
    }

    /// @inheritdoc IChallenges
    function challengeBalance(HeaderProof calldata proof, BalanceEvidence calldata evidence) external {
        _unfinal(proof);
        if (evidence.account == 0) revert NothingIsWrong();
        _requirePrevious(proof.header, evidence);
        _requireSettled(proof.header, evidence);
        HeaderRules.Settled memory settled = HeaderRules.Settled({
            beforeNano: evidence.before.present ? int256(evidence.before.leaf.cumulativeNano) : int256(0),
            afterNano: evidence.afterwards.present ? int256(evidence.afterwards.leaf.cumulativeNano) : int256(0),
            hasMeter: evidence.meter.present,
            meter: evidence.meter.leaf,
            hasSlot: evidence.slot.present,
            slot: evidence.slot.slot
        });
        _conclude(proof, Lie.Balance, uint8(HeaderRules.balanceFault(settled, proof.header)));
    }

    /// @dev Fault 0 is no fault in every enum.
    function _conclude(HeaderProof calldata proof, Lie reason, uint8 fault) private {
        if (fault == 0) revert NothingIsWrong();
        _void(proof, reason, fault);
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

    function _requireAuction(Messages.Header calldata header, AuctionProof calldata auction) private pure {
        MerkleSum.Node memory node = auction.present ? Leaves.node(auction.auction) : _empty();
        if (
            auction.siblings.length != MerkleSum.AUCTIONS_DEPTH
                || !MerkleSum.isIn(header.auctionsRoot, auction.index, node, auction.siblings)
        ) revert NotInTree();
    }

    function _requireLeaf(bytes32 root, uint256 account, MerkleSum.Node memory node, MerkleSum.Node[] calldata siblings)
        private
        pure
    {
        if (siblings.length != MerkleSum.DEPTH || !MerkleSum.isIn(root, account, node, siblings)) revert NotInTree();
    }

    /// @dev Any node at any height, with the sums it claims.
    function _requireNode(bytes32 root, Tree tree, NodeProof calldata node) private pure returns (uint256 depth) {
        depth = tree == Tree.Auctions ? MerkleSum.AUCTIONS_DEPTH : MerkleSum.DEPTH;
        if (node.siblings.length > depth || !MerkleSum.isIn(root, node.index, node.node, node.siblings)) {
            revert NotInTree();
        }
    }

    function _requirePrevious(Messages.Header calldata header, BalanceEvidence calldata evidence) private view {
        if (header.previous == bytes32(0)) {
            if (evidence.before.present) revert NotInTree();
            return;
        }
        if (_digest(evidence.previous) != header.previous) revert NotInTree();
        MerkleSum.Node memory before = evidence.before.present ? Leaves.node(evidence.before.leaf) : _empty();
        _requireLeaf(evidence.previous.balancesRoot, evidence.account, before, evidence.before.siblings);
    }

    function _requireSettled(Messages.Header calldata header, BalanceEvidence calldata evidence) private pure {
        uint256 account = evidence.account;
        MerkleSum.Node memory balance = evidence.afterwards.present ? Leaves.node(evidence.afterwards.leaf) : _empty();
        _requireLeaf(header.balancesRoot, account, balance, evidence.afterwards.siblings);
        MerkleSum.Node memory meter = evidence.meter.present ? Leaves.node(evidence.meter.leaf) : _empty();
        _requireLeaf(header.metersRoot, account, meter, evidence.meter.siblings);
        if (evidence.spot.index != 0) revert NotInTree();
        _requireAuction(header, evidence.spot);
        if (!evidence.spot.present) {
            if (evidence.slot.present) revert NotInTree();
            return;
        }
        MerkleSum.Node memory slot = evidence.slot.present ? _slotNode(evidence.slot, evidence.spot) : _empty();
        _requireLeaf(evidence.spot.auction.slotsRoot, account, slot, evidence.slot.siblings);
    }

    function _fillFault(Messages.Auction calldata auction, uint32 account, SlotProof calldata slot)
        private
        pure
        returns (ClearingRules.SlotFault)
    {
        if (slot.present) {
            return ClearingRules.slotFault(slot.slot, auction, MerkleSum.prefixSumC(account, slot.siblings));
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
        bytes32 bidHash = Messages.hashStruct(
            Messages.Bid(
                slot.account, slot.product, slot.version, slot.side, slot.quantityWh, slot.limitPrice, slot.expiryS
            )
        );
        if (slot.version & FORCED_VERSION != 0) {
            bool isForced =
                trading != address(0) && IForcedBids(trading).forcedBidHash(slot.version ^ FORCED_VERSION) == bidHash;
            return isForced ? SignatureFault.None : SignatureFault.NotTheForcedBid;
        }
        if (slot.signatureHash == bytes32(0)) return SignatureFault.Unsigned;
        if (keccak256(signature) != slot.signatureHash) revert WrongEvidence();
        bool isSigned = Signatures.isBy(keyOf(slot.account), Domain.digest(domainSeparator(), bidHash), signature);
        return isSigned ? SignatureFault.None : SignatureFault.NotByKey;
    }

    function _slotNode(SlotProof calldata slot, AuctionProof calldata auction)
        private
        pure
        returns (MerkleSum.Node memory)
    {
        return Leaves.node(slot.slot, auction.auction.price, auction.auction.longSide);
    }

    function _empty() private pure returns (MerkleSum.Node memory node) {}
}
