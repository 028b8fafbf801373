// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {ISettlement} from "./ISettlement.sol";

/// @title How a lie in a header is proven. By anyone, while the header is not final, never stopped.
/// @notice A won challenge voids the header and all later ones, halts posting, and pays half of the bond to the
/// challenger. A challenge that shows no lie reverts. Where a path leads through a node whose sums are themselves a
/// lie, the path cannot be computed: then the topmost such node is what `challengeNodeSum` refutes.
interface IChallenges {
    /// @notice The four trees under a header.
    enum Tree {
        Auctions,
        Slots,
        Meters,
        Balances
    }

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

    /// @notice An auction and its place in the header's auctions tree. Ignored where it is not asked for.
    /// @dev With `present` false it says that leaf `index` is empty.
    struct AuctionProof {
        bool present;
        Messages.Auction auction;
        uint256 index;
        MerkleSum.Node[] siblings;
    }

    /// @notice A slot and its path in its auction's slots tree; with `present` false, an empty leaf.
    struct SlotProof {
        bool present;
        Messages.Slot slot;
        MerkleSum.Node[] siblings;
    }

    /// @notice A meter leaf and its path; with `present` false, an empty leaf.
    struct MeterProof {
        bool present;
        Messages.MeterLeaf leaf;
        MerkleSum.Node[] siblings;
    }

    /// @notice A balance leaf and its path; with `present` false, an empty leaf.
    struct BalanceProof {
        bool present;
        Messages.BalanceLeaf leaf;
        MerkleSum.Node[] siblings;
    }

    /// @notice A node with the sums it claims, at `index` of its height: the tree's depth less the siblings.
    struct NodeProof {
        MerkleSum.Node node;
        uint256 index;
        MerkleSum.Node[] siblings;
    }

    /// @notice Everything that decides how one account's balance moves.
    /// @dev `previous` is the header before; ignored, with `before` absent, where there is none.
    struct BalanceEvidence {
        uint32 account;
        Messages.Header previous;
        BalanceProof before;
        BalanceProof afterwards;
        MeterProof meter;
        AuctionProof spot;
        SlotProof slot;
    }

    /// @notice A node's sums are not its children's, an empty hash carries sums, a hash stands over nothing, or a parent
    /// stands where a leaf belongs. `left` and `right` are ignored for an empty hash.
    function challengeNodeSum(
        ISettlement.HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        NodeProof calldata node,
        MerkleSum.Node calldata left,
        MerkleSum.Node calldata right
    ) external;

    /// @notice A leaf's content implies other sums, another account or another product than its place does, or has no
    /// legal length, or stands at an inner node's height. `leaf` are its bytes as they were hashed, without the tag.
    function challengeLeaf(
        ISettlement.HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        NodeProof calldata node,
        bytes calldata leaf
    ) external;

    /// @notice An auction stands at the wrong leaf, has another price than the header's spot, did not clear in the
    /// header's interval, or its leaf sums something else than its volume.
    function challengeAuction(
        ISettlement.HeaderProof calldata proof,
        Messages.Auction calldata auction,
        NodeProof calldata node
    ) external;

    /// @notice A root's sums contradict the auction, the header, or each other. `root` is the opened commitment.
    function challengeTotals(
        ISettlement.HeaderProof calldata proof,
        Tree tree,
        AuctionProof calldata auction,
        MerkleSum.Node calldata root
    ) external;

    /// @notice A slot was filled otherwise than the rule says, or refutes the auction's bounds; or the slot named for a
    /// bound does not exist.
    function challengeFill(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        uint32 account,
        SlotProof calldata slot
    ) external;

    /// @notice The bid in a slot of a forward auction was never signed by its account, or is not the forced one.
    /// `signature` is ignored where the slot commits to none or the bid was placed on chain.
    function challengeSignature(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot,
        bytes calldata signature
    ) external;

    /// @notice An account's balance did not move by its contracts, its spot trade and the supplier's settlement. Not for
    /// the supplier.
    function challengeBalance(ISettlement.HeaderProof calldata proof, BalanceEvidence calldata evidence) external;
}
