// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A smart meter's readings on chain. Every function speaks of the caller's own meter.
interface ISmartMeter {
    /// @notice Cumulative registers in Wh, UTC seconds, millihertz, millivolts.
    struct MeterReading {
        uint256 timestamp;
        uint256 consumption;
        uint256 production;
        uint256 gridFrequency;
        uint256 voltage;
    }

    /// @notice Stores a reading of the caller's meter.
    function submitReading(MeterReading calldata reading) external;
    /// @notice The last reading of the caller's meter.
    function getLatestReading() external view returns (MeterReading memory);
    /// @notice Wh produced on this UTC day, as far as it was read.
    function getDailyProduction() external view returns (uint256);
    /// @notice Wh consumed on this UTC day, as far as it was read.
    function getDailyConsumption() external view returns (uint256);
}
