// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IPostingBounds} from "../src/interfaces/IPostingBounds.sol";

/// @dev Bounds that say what a test wants.
contract Collar is IPostingBounds {
    int64 public floor = -1_000_000;
    int64 public cap = 1_000_000;
    uint64 public limitWh = 5_000_000;
    bool public isOpen = true;

    function set(int64 newFloor, int64 newCap, uint64 newLimitWh, bool newOpen) external {
        (floor, cap, limitWh, isOpen) = (newFloor, newCap, newLimitWh, newOpen);
    }

    function postingBounds() external view returns (int64, int64, uint64, bool) {
        return (floor, cap, limitWh, isOpen);
    }
}
