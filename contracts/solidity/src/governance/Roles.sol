// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @title Who may do what: one table for every contract that asks.
/// @notice OpenZeppelin's AccessManager with the numbers of our roles. A function that no role was given to belongs to
/// the admin, number 0, which in the end is the timelock alone: what nobody thought of needs a vote.
contract Roles is AccessManager {
    /// @notice Who runs the market and the grid day by day.
    uint64 public constant COORDINATOR = 1;

    /// @notice Who keeps the lists of oracles' signers.
    uint64 public constant ORACLE = 2;

    /// @notice Who registers meters and the assets behind them.
    uint64 public constant METER_REGISTRAR = 3;

    /// @notice Who may stop something at once, and never start it again.
    uint64 public constant GUARDIAN = 4;

    /// @notice `admin` gives functions to roles and roles to members, until it hands that to the timelock.
    constructor(address admin) AccessManager(admin) {
        emit RoleLabel(COORDINATOR, "COORDINATOR");
        emit RoleLabel(ORACLE, "ORACLE");
        emit RoleLabel(METER_REGISTRAR, "METER_REGISTRAR");
        emit RoleLabel(GUARDIAN, "GUARDIAN");
    }
}
