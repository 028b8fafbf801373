// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MerkleSum} from "./MerkleSum.sol";
import {Messages} from "./Messages.sol";

/// @title The nodes that leaves stand for: their sums follow from their content.
library Leaves {
    uint8 private constant BUY = 0;
    uint8 private constant LONG_BUY = 1;
    uint8 private constant LONG_SELL = 2;

    /// @notice A slot at the margin was filled before beyond its quantity: its open quantity is no sum at all, and
    /// whatever its leaf claims is refuted by `challengeLeaf`.
    error OpenQuantityNegative();

    /// @notice Node of a slot under an auction that cleared at `price`, at `clearedAtS`, with `longSide` rationed.
    function node(Messages.Slot memory slot, int64 price, uint8 longSide, uint64 clearedAtS)
        internal
        pure
        returns (MerkleSum.Node memory)
    {
        bool buying = slot.side == BUY;
        bool atMargin = isAtMargin(slot, price, longSide, clearedAtS);
        if (atMargin && slot.filledBeforeWh > slot.quantityWh) revert OpenQuantityNegative();
        return MerkleSum.Node({
            hash: MerkleSum.leafHash(Messages.pack(slot)),
            a: buying ? slot.fillWh : 0,
            b: buying ? 0 : slot.fillWh,
            c: atMargin ? slot.quantityWh - slot.filledBeforeWh : 0
        });
    }

    /// @notice Whether a slot's open quantity counts as marginal: exactly at the price, on the long side, not expired.
    function isAtMargin(Messages.Slot memory slot, int64 price, uint8 longSide, uint64 clearedAtS)
        internal
        pure
        returns (bool)
    {
        return slot.limitPrice == price && longSide == (slot.side == BUY ? LONG_BUY : LONG_SELL)
            && slot.expiryS >= clearedAtS;
    }

    /// @notice Node of a meter leaf: positive and negative deviation.
    function node(Messages.MeterLeaf memory leaf) internal pure returns (MerkleSum.Node memory) {
        return signedNode(Messages.pack(leaf), leaf.deviationWh);
    }

    /// @notice Node of a balance leaf: positive and negative result.
    function node(Messages.BalanceLeaf memory leaf) internal pure returns (MerkleSum.Node memory) {
        return signedNode(Messages.pack(leaf), leaf.cumulativeNano);
    }

    /// @notice Node of an auction in a header's tree: its struct hash, summing its volume.
    function node(Messages.Auction memory auction) internal pure returns (MerkleSum.Node memory) {
        bytes memory leaf = abi.encodePacked(Messages.hashStruct(auction));
        return MerkleSum.Node(MerkleSum.leafHash(leaf), auction.volumeWh, 0, 0);
    }

    function signedNode(bytes memory leaf, int128 value) private pure returns (MerkleSum.Node memory) {
        int256 wide = value;
        // Casting: the absolute value of an int128 fits an uint128.
        uint128 positive = wide > 0 ? uint128(uint256(wide)) : 0;
        uint128 negative = wide < 0 ? uint128(uint256(-wide)) : 0;
        return MerkleSum.Node(MerkleSum.leafHash(leaf), positive, negative, 0);
    }
}
