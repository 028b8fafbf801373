// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {QuorumOracle} from "./oracles/QuorumOracle.sol";

/// @title Forecast of the photovoltaic power that will be available.
/// @notice It bounds what forecasts may claim; no price is made of it.
contract WeatherOracle is QuorumOracle {
    /// @notice No answer is below `minimum_` or above `maximum_`, both in W; see `QuorumOracle`.
    constructor(address authority_, int64 minimum_, int64 maximum_, Terms memory terms)
        QuorumOracle(authority_, 0, minimum_, maximum_, terms)
    {}

    /// @notice What the answers are, in words.
    function description() external pure returns (string memory) {
        return "available photovoltaic power, W";
    }
}
