// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";

/// @notice The four trees under a header.
enum Tree {
    Auctions,
    Slots,
    Meters,
    Balances
}

/// @notice An auction and its place in its header's tree; with `present` false, the empty leaf `index`. Ignored where
/// it is not asked for. Paths are packed as `MerkleSum.rootOf` says.
struct AuctionProof {
    bool present;
    Messages.Auction auction;
    uint256 index;
    bytes path;
}

/// @notice A slot and its path in its auction's tree; with `present` false, an empty leaf.
struct SlotProof {
    bool present;
    Messages.Slot slot;
    bytes path;
}

/// @notice A meter leaf and its path; with `present` false, an empty leaf.
struct MeterProof {
    bool present;
    Messages.MeterLeaf leaf;
    bytes path;
}

/// @notice A balance leaf and its path; with `present` false, an empty leaf.
struct BalanceProof {
    bool present;
    Messages.BalanceLeaf leaf;
    bytes path;
}

/// @notice A node with the sums it claims: the one of number `index` among those `height` levels above the leaves.
struct NodeProof {
    MerkleSum.Node node;
    uint256 height;
    uint256 index;
    bytes path;
}
