// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What the settlement asks about bids that were placed on chain.
interface IForcedBids {
    /// @notice EIP-712 struct hash of the bid that `orderId` forces; zero where there is no such order.
    function forcedBidHash(uint256 orderId) external view returns (bytes32);
}
