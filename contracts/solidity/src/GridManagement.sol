// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ICollar} from "./interfaces/ICollar.sol";
import {IFinalHeaders} from "./interfaces/IFinalHeaders.sol";
import {DemandResponse} from "./grid/DemandResponse.sol";
import {GridStates} from "./grid/GridStates.sol";
import {PostingBounds} from "./grid/PostingBounds.sol";

/// @title The grid on chain: its map and states, bounds on posting, and demand response.
/// @notice
///     Feeders          limits per feeder, zones, lines
///     GridStates       grid and breaker state of each feeder
///     PostingBounds    price collar, volume, emergency stop; read by the settlement when a header is posted
///     DemandResponse   events, baselines, rewards for proven flexibility
/// It holds the budgets of its own events and no other money.
contract GridManagement is GridStates, PostingBounds, DemandResponse {
    /// @notice An address that must not be zero is zero.
    error ZeroAddress();

    /// @notice `authority_` is the AccessManager that says who may do what; prices are bound by `priceOracle_`, the
    /// energy of one header by `volumeLimitWh_`; rewards may be claimed for `claimPeriodS_` after an event.
    constructor(
        address authority_,
        IFinalHeaders settlement_,
        ICollar priceOracle_,
        uint64 volumeLimitWh_,
        uint256 claimPeriodS_
    ) AccessManaged(authority_) PostingBounds(priceOracle_, volumeLimitWh_) DemandResponse(settlement_, claimPeriodS_) {
        if (authority_ == address(0)) revert ZeroAddress();
    }
}
