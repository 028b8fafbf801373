// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title How price feeds are read on EVM chains, so that whoever reads those can read ours.
interface AggregatorV3Interface {
    /// @notice Decimals of an answer.
    function decimals() external view returns (uint8);
    /// @notice What the answers are, in words.
    function description() external view returns (string memory);
    /// @notice Version of the contract behind the feed.
    function version() external view returns (uint256);
    /// @notice The round with that number: its answer, the oldest observation in it and when it was answered, in UTC
    /// seconds.
    function getRoundData(uint80 roundId)
        external
        view
        returns (uint80 roundId_, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    /// @notice The last round.
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}
