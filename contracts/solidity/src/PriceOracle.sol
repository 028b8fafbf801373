// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {QuorumOracle} from "./oracles/QuorumOracle.sol";

/// @title Reference price of energy: the collar inside which the prices of headers must lie.
/// @notice It bounds prices and never sets one.
contract PriceOracle is QuorumOracle {
    /// @notice No answer is below `minimum_` or above `maximum_`, both in micro-currency per kWh; see `QuorumOracle`.
    constructor(address authority_, int64 minimum_, int64 maximum_, Terms memory terms)
        QuorumOracle(authority_, 6, minimum_, maximum_, terms)
    {}

    /// @notice What the answers are, in words.
    function description() external pure returns (string memory) {
        return "energy price, currency per kWh";
    }
}
