// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingRules} from "../libraries/ClearingRules.sol";
import {Domain} from "../libraries/Domain.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {Signatures} from "../libraries/Signatures.sol";

/// @title The rules of the contracts as pure views, so that other implementations can be compared with them.
/// @notice Holds nothing and is trusted by nothing. `digest` answers for every message with `separator` as its domain.
contract MessageDigests {
    /// @notice EIP-712 digest of a SettlementReading.
    function digest(bytes32 separator, Messages.SettlementReading calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a TelemetryBatch.
    function digest(bytes32 separator, Messages.TelemetryBatch calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a Bid.
    function digest(bytes32 separator, Messages.Bid calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a StandingOrder.
    function digest(bytes32 separator, Messages.StandingOrder calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a Receipt.
    function digest(bytes32 separator, Messages.Receipt calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a Acknowledgement.
    function digest(bytes32 separator, Messages.Acknowledgement calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a SetPoint.
    function digest(bytes32 separator, Messages.SetPoint calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a SetPointReport.
    function digest(bytes32 separator, Messages.SetPointReport calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a GapRecord.
    function digest(bytes32 separator, Messages.GapRecord calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a Auction.
    function digest(bytes32 separator, Messages.Auction calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a Header.
    function digest(bytes32 separator, Messages.Header calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 digest of a ReadingRequest.
    function digest(bytes32 separator, Messages.ReadingRequest calldata message) external pure returns (bytes32) {
        return Domain.digest(separator, Messages.hashStruct(message));
    }

    /// @notice EIP-712 domain separator of a settlement contract on a chain.
    function domainSeparator(uint256 chainId, address settlement) external pure returns (bytes32) {
        return Domain.separator(chainId, settlement);
    }

    /// @notice Canonical bytes of a slot.
    function pack(Messages.Slot calldata leaf) external pure returns (bytes memory) {
        return Messages.pack(leaf);
    }

    /// @notice Canonical bytes of a meter leaf.
    function pack(Messages.MeterLeaf calldata leaf) external pure returns (bytes memory) {
        return Messages.pack(leaf);
    }

    /// @notice Canonical bytes of a balance leaf.
    function pack(Messages.BalanceLeaf calldata leaf) external pure returns (bytes memory) {
        return Messages.pack(leaf);
    }

    /// @notice The slot of those canonical bytes.
    function unpackSlot(bytes calldata packed) external pure returns (Messages.Slot memory) {
        return Messages.unpackSlot(packed);
    }

    /// @notice The meter leaf of those canonical bytes.
    function unpackMeterLeaf(bytes calldata packed) external pure returns (Messages.MeterLeaf memory) {
        return Messages.unpackMeterLeaf(packed);
    }

    /// @notice The balance leaf of those canonical bytes.
    function unpackBalanceLeaf(bytes calldata packed) external pure returns (Messages.BalanceLeaf memory) {
        return Messages.unpackBalanceLeaf(packed);
    }

    /// @notice Node of a slot under an auction that cleared at `price`, at `clearedAtS`, with `longSide` rationed.
    function node(Messages.Slot calldata slot, int64 price, uint8 longSide, uint64 clearedAtS)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return Leaves.node(slot, price, longSide, clearedAtS);
    }

    /// @notice Node of a meter leaf.
    function node(Messages.MeterLeaf calldata leaf) external pure returns (MerkleSum.Node memory) {
        return Leaves.node(leaf);
    }

    /// @notice Node of a balance leaf.
    function node(Messages.BalanceLeaf calldata leaf) external pure returns (MerkleSum.Node memory) {
        return Leaves.node(leaf);
    }

    /// @notice Node of an auction.
    function node(Messages.Auction calldata auction) external pure returns (MerkleSum.Node memory) {
        return Leaves.node(auction);
    }

    /// @notice The node above two children.
    function parent(MerkleSum.Node calldata left, MerkleSum.Node calldata right)
        external
        pure
        returns (MerkleSum.Node memory)
    {
        return MerkleSum.parent(left, right);
    }

    /// @notice The root that a node and a packed path of `depth` levels lead to, and the commitment of that root.
    function rootOf(uint256 index, MerkleSum.Node calldata leaf, bytes calldata path, uint256 depth)
        external
        pure
        returns (MerkleSum.Node memory root, bytes32 commitment)
    {
        root = MerkleSum.rootOf(index, leaf, path, depth);
        commitment = MerkleSum.commitment(root);
    }

    /// @notice Sum `c` of all leaves left of `index`.
    function prefixSumC(uint256 index, bytes calldata path, uint256 depth) external pure returns (uint256) {
        return MerkleSum.prefixSumC(index, path, depth);
    }

    /// @notice What is wrong with each slot under its auction behind its prefix.
    function slotFaults(
        Messages.Slot[] calldata slots,
        Messages.Auction[] calldata auctions,
        uint256[] calldata prefixesWh
    ) external pure returns (ClearingRules.SlotFault[] memory faults) {
        faults = new ClearingRules.SlotFault[](slots.length);
        for (uint256 i = 0; i < slots.length; i++) {
            faults[i] = ClearingRules.slotFault(slots[i], auctions[i], prefixesWh[i]);
        }
    }

    /// @notice The fill the rule gives each slot under its auction behind its prefix.
    function ruleFills(
        Messages.Slot[] calldata slots,
        Messages.Auction[] calldata auctions,
        uint256[] calldata prefixesWh
    ) external pure returns (uint256[] memory fillsWh) {
        fillsWh = new uint256[](slots.length);
        for (uint256 i = 0; i < slots.length; i++) {
            uint256 offeredWh = ClearingRules.offeredWh(slots[i], auctions[i].clearedAtS);
            fillsWh[i] =
                ClearingRules.ruleFill(slots[i].side, slots[i].limitPrice, offeredWh, auctions[i], prefixesWh[i]);
        }
    }

    /// @notice What is wrong with each auction given the root sums of its slots tree.
    function auctionFaults(Messages.Auction[] calldata auctions, MerkleSum.Node[] calldata roots)
        external
        pure
        returns (ClearingRules.AuctionFault[] memory faults)
    {
        faults = new ClearingRules.AuctionFault[](auctions.length);
        for (uint256 i = 0; i < auctions.length; i++) {
            faults[i] = ClearingRules.auctionFault(auctions[i], roots[i].a, roots[i].b, roots[i].c);
        }
    }

    /// @notice What is wrong with each auction standing at its index of its header.
    function placementFaults(
        uint256[] calldata indices,
        Messages.Auction[] calldata auctions,
        Messages.Header[] calldata headers,
        uint256 graceIntervals,
        uint8 spotRule
    ) external pure returns (HeaderRules.PlacementFault[] memory faults) {
        faults = new HeaderRules.PlacementFault[](indices.length);
        for (uint256 i = 0; i < indices.length; i++) {
            faults[i] = HeaderRules.placementFault(indices[i], auctions[i], headers[i], graceIntervals, spotRule);
        }
    }

    /// @notice What is wrong with each account's move of balance.
    function balanceFaults(HeaderRules.Settled[] calldata accounts, Messages.Header[] calldata headers)
        external
        pure
        returns (HeaderRules.BalanceFault[] memory faults)
    {
        faults = new HeaderRules.BalanceFault[](accounts.length);
        for (uint256 i = 0; i < accounts.length; i++) {
            faults[i] = HeaderRules.balanceFault(accounts[i], headers[i]);
        }
    }

    /// @notice Whether `key` signed `digest_`.
    function isSignedBy(address key, bytes32 digest_, bytes calldata signature) external pure returns (bool) {
        return Signatures.isBy(key, digest_, signature);
    }
}
