// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../interfaces/ISettlement.sol";
import {Domain} from "../libraries/Domain.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "./Proofs.sol";

/// @title What all challenges share: the header is open, the evidence leads to it, a rule is broken, void.
/// @notice Anybody may challenge, while the header is not final; nothing ever stops it. A challenge that shows no lie
/// reverts. Where a path leads through a node whose sums are themselves a lie, the path cannot be computed: then the
/// topmost such node is what `challengeNodeSum` refutes.
/// @dev Every evidence is judged only after it was found to lead to its header. Nothing is stored here.
abstract contract Challenge {
    /// @notice The evidence does not lead to the header.
    error NotInTree();
    /// @notice The evidence leads to the header and shows no lie.
    error NothingIsWrong();
    /// @notice The signature, or whatever else was hashed, is not the one that the leaf commits to.
    error WrongEvidence();
    /// @notice The two leaves are no neighbours, or what is asked about lies elsewhere.
    error WrongNeighbours();

    /// @dev The last leaf of an auctions tree has no neighbour.
    uint256 private constant LAST_AUCTION = (1 << MerkleSum.AUCTIONS_DEPTH) - 1;

    /// @notice Whose headers are judged.
    ISettlement public immutable settlement;

    constructor(ISettlement settlement_) {
        settlement = settlement_;
    }

    /// @dev Posted, not void, not final.
    function _requireOpen(ISettlement.HeaderProof calldata proof) internal view {
        settlement.requireOpen(proof);
    }

    /// @dev Voids the header for the caller's reward. Fault 0 is no fault in every enum.
    function _conclude(ISettlement.HeaderProof calldata proof, ISettlement.Lie reason, uint8 fault) internal {
        if (fault == 0) revert NothingIsWrong();
        settlement.voidHeader(proof, msg.sender, reason, fault);
    }

    /// @dev The auction stands at its index of the header, or nothing does.
    function _requireAuction(Messages.Header calldata header, AuctionProof calldata auction) internal pure {
        MerkleSum.Node memory node = auction.present ? Leaves.node(auction.auction) : _empty();
        if (!MerkleSum.isIn(header.auctionsRoot, auction.index, node, auction.path, MerkleSum.AUCTIONS_DEPTH)) {
            revert NotInTree();
        }
    }

    /// @dev The slot of `account` under an auction, whose slots tree is `slotsRoot`, or that it has none.
    function _requireSlot(bytes32 slotsRoot, Messages.Auction calldata auction, uint32 account, SlotProof calldata slot)
        internal
        pure
    {
        MerkleSum.Node memory node =
            slot.present ? Leaves.node(slot.slot, auction.price, auction.longSide, auction.clearedAtS) : _empty();
        _requireLeaf(slotsRoot, account, node, slot.path);
    }

    /// @dev The meter leaf of `account` under the header, or that it has none.
    function _requireMeter(Messages.Header calldata header, uint32 account, MeterProof calldata meter) internal pure {
        MerkleSum.Node memory node = meter.present ? Leaves.node(meter.leaf) : _empty();
        _requireLeaf(header.metersRoot, account, node, meter.path);
    }

    /// @dev The balance leaf of `account` under the header, or that it has none.
    function _requireBalance(Messages.Header calldata header, uint32 account, BalanceProof calldata balance)
        internal
        pure
    {
        MerkleSum.Node memory node = balance.present ? Leaves.node(balance.leaf) : _empty();
        _requireLeaf(header.balancesRoot, account, node, balance.path);
    }

    /// @dev `previous` is the header before; false where there is none, and `previous` says nothing then.
    function _requirePrevious(ISettlement.HeaderProof calldata proof, Messages.Header calldata previous)
        internal
        view
        returns (bool)
    {
        if (proof.index == 0) return false;
        if (_digest(Messages.hashStruct(previous)) != proof.header.previous) revert NotInTree();
        return true;
    }

    /// @dev Whether `last` is the last auction of `product` in the header; false where there is none of it. The leaves
    /// are sorted by product and round, so `last` and the leaf after it settle the question; leaf 0 is the spot round,
    /// outside the order. What stands after leaf 4095 is not asked.
    function _closing(
        Messages.Header calldata header,
        uint64 product,
        AuctionProof calldata last,
        AuctionProof calldata next
    ) internal pure returns (bool found) {
        _requireAuction(header, last);
        if (last.index != LAST_AUCTION) {
            if (next.index != last.index + 1) revert WrongNeighbours();
            _requireAuction(header, next);
            if (next.present && next.auction.product <= product) revert WrongNeighbours();
        }
        if (last.index == 0) return false;
        // An empty leaf says nothing about what stands before it.
        if (!last.present || last.auction.product > product) revert WrongNeighbours();
        return last.auction.product == product;
    }

    /// @dev What is signed for a struct hash under the settlement's domain.
    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return Domain.digest(settlement.domainSeparator(), structHash);
    }

    function _requireLeaf(bytes32 root, uint256 account, MerkleSum.Node memory node, bytes calldata path)
        internal
        pure
    {
        if (!MerkleSum.isIn(root, account, node, path, MerkleSum.DEPTH)) revert NotInTree();
    }

    function _empty() internal pure returns (MerkleSum.Node memory node) {}
}
