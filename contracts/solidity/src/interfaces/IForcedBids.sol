// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What the courts ask about bids that were placed on chain.
interface IForcedBids {
    /// @notice EIP-712 struct hash of the bid that `account` placed on chain under `version`; zero where it did not.
    function forcedBidHash(uint32 account, uint32 version) external view returns (bytes32);
    /// @notice When that order was cancelled or matched on chain; zero while it stands.
    function closedAt(uint32 account, uint32 version) external view returns (uint64);
    /// @notice How long after its cancellation a round may still fill an order.
    function inclusionDelayS() external view returns (uint64);
}
