// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {QuorumOracle} from "./oracles/QuorumOracle.sol";

/// @title Frequency of the grid.
/// @notice It bounds what meters and operators may claim; no price is made of it.
contract GridOracle is QuorumOracle {
    /// @notice No answer is below `minimum_` or above `maximum_`, both in mHz; see `QuorumOracle`.
    constructor(address authority_, int64 minimum_, int64 maximum_, Terms memory terms)
        QuorumOracle(authority_, 3, minimum_, maximum_, terms)
    {}

    /// @notice What the answers are, in words.
    function description() external pure returns (string memory) {
        return "grid frequency, Hz";
    }
}
