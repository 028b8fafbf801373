// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Within what a header may be posted, by the oracles and the grid's limits.
interface IPostingBounds {
    /// @notice Lowest and highest spot price, the largest traded volume of a header, and whether posting is open.
    function postingBounds() external view returns (int64 priceFloor, int64 priceCap, uint64 volumeLimitWh, bool isOpen);
}
