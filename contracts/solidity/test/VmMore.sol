// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @dev What some tests need of the runner besides `Vm`. The optimiser takes the time for constant within a call: what
/// is to be known or remembered beyond a `warp` is asked for here.
interface VmMore {
    function getBlockTimestamp() external view returns (uint256);
    function load(address target, bytes32 slot) external view returns (bytes32);
    function store(address target, bytes32 slot, bytes32 value) external;
}
