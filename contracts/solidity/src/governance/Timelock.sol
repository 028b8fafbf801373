// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title Acts for the members, and only after everybody could see for a while what is going to happen.
/// @notice OpenZeppelin's TimelockController as it is, under a name of ours so that its artifact is among ours. It ends
/// as the admin of the roles; its own delay and roles then change by vote only.
contract Timelock is TimelockController {
    /// @notice `proposers` queue and cancel, `executors` execute once `minDelayS` is over; the zero address among them
    /// means anybody. `admin` hands out these roles until he renounces; zero for none but the timelock itself.
    constructor(uint256 minDelayS, address[] memory proposers, address[] memory executors, address admin)
        TimelockController(minDelayS, proposers, executors, admin)
    {}
}
