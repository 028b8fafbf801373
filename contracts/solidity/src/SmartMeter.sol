// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISmartMeter} from "./interfaces/ISmartMeter.sol";

/// @title Registry of meters and their last readings.
/// @notice A meter is the address of its key. Registers are cumulative and never run backwards; what a day brought is
/// the difference between its last reading and the last reading before it. These readings inform; money follows only
/// the meter leaves of the settlement.
contract SmartMeter is ISmartMeter {
    /// @notice Where a meter is installed. `active` is false for a meter that is unknown or was removed.
    struct Installation {
        uint32 account;
        uint32 feeder;
        bool active;
    }

    struct Stored {
        uint64 timestamp;
        uint64 consumption;
        uint64 production;
        uint32 gridFrequency;
        uint32 voltage;
    }

    struct Opening {
        uint128 consumption;
        uint128 production;
    }

    uint256 private constant DAY_S = 86_400;

    /// @notice A meter was registered.
    event MeterRegistered(address indexed meter, uint32 indexed account, uint32 indexed feeder);
    /// @notice A meter was removed; its readings stay.
    event MeterRemoved(address indexed meter);
    /// @notice A meter was read.
    event ReadingSubmitted(address indexed meter, MeterReading reading);

    /// @notice The caller is not the registrar.
    error NotAuthorised();
    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice The caller is no registered meter.
    error UnknownMeter(address meter);
    /// @notice The meter is registered already.
    error AlreadyRegistered(address meter);
    /// @notice The meter has not been read yet.
    error NoReading(address meter);
    /// @notice The reading is of the future.
    error InFuture(uint256 timestamp);
    /// @notice The reading is not later than the last one.
    error NotLater(uint256 timestamp);
    /// @notice A register ran backwards.
    error RanBackwards();
    /// @notice A value is too large to be one of a meter.
    error Implausible();

    /// @notice Who registers and removes meters.
    address public immutable registrar;

    mapping(address meter => Installation installation) private _installations;
    mapping(address meter => Stored reading) private _latest;
    mapping(address meter => Opening registers) private _openings;

    /// @notice Meters are registered by `registrar_`.
    constructor(address registrar_) {
        if (registrar_ == address(0)) revert ZeroAddress();
        registrar = registrar_;
    }

    /// @notice Registers the meter with the key `meter` for an account at a feeder. By the registrar.
    function registerMeter(address meter, uint32 account, uint32 feeder) external {
        if (msg.sender != registrar) revert NotAuthorised();
        if (meter == address(0)) revert ZeroAddress();
        if (_installations[meter].active) revert AlreadyRegistered(meter);
        _installations[meter] = Installation(account, feeder, true);
        emit MeterRegistered(meter, account, feeder);
    }

    /// @notice Takes a meter out of use. By the registrar.
    function removeMeter(address meter) external {
        if (msg.sender != registrar) revert NotAuthorised();
        if (!_installations[meter].active) revert UnknownMeter(meter);
        _installations[meter].active = false;
        emit MeterRemoved(meter);
    }

    /// @inheritdoc ISmartMeter
    function submitReading(MeterReading calldata reading) external {
        if (!_installations[msg.sender].active) revert UnknownMeter(msg.sender);
        if (reading.timestamp > block.timestamp) revert InFuture(reading.timestamp);
        Stored memory next = _narrow(reading);
        Stored memory last = _latest[msg.sender];
        if (last.timestamp == 0) {
            _openings[msg.sender] = Opening(next.consumption, next.production);
        } else {
            if (next.timestamp <= last.timestamp) revert NotLater(reading.timestamp);
            if (next.consumption < last.consumption || next.production < last.production) revert RanBackwards();
            if (next.timestamp / DAY_S != last.timestamp / DAY_S) {
                _openings[msg.sender] = Opening(last.consumption, last.production);
            }
        }
        _latest[msg.sender] = next;
        emit ReadingSubmitted(msg.sender, reading);
    }

    /// @inheritdoc ISmartMeter
    function getLatestReading() external view returns (MeterReading memory) {
        return latestReadingOf(msg.sender);
    }

    /// @inheritdoc ISmartMeter
    function getDailyProduction() external view returns (uint256) {
        return dailyProductionOf(msg.sender);
    }

    /// @inheritdoc ISmartMeter
    function getDailyConsumption() external view returns (uint256) {
        return dailyConsumptionOf(msg.sender);
    }

    /// @notice Where `meter` is installed.
    function installationOf(address meter) external view returns (Installation memory) {
        return _installations[meter];
    }

    /// @notice The last reading of `meter`, for everybody else. Reverts where there is none.
    function latestReadingOf(address meter) public view returns (MeterReading memory) {
        Stored memory last = _latest[meter];
        if (last.timestamp == 0) revert NoReading(meter);
        return MeterReading(last.timestamp, last.consumption, last.production, last.gridFrequency, last.voltage);
    }

    /// @notice Wh that `meter` produced on this UTC day, as far as it was read.
    function dailyProductionOf(address meter) public view returns (uint256) {
        return _readToday(meter) ? _latest[meter].production - _openings[meter].production : 0;
    }

    /// @notice Wh that `meter` consumed on this UTC day, as far as it was read.
    function dailyConsumptionOf(address meter) public view returns (uint256) {
        return _readToday(meter) ? _latest[meter].consumption - _openings[meter].consumption : 0;
    }

    function _readToday(address meter) private view returns (bool) {
        return _latest[meter].timestamp / DAY_S == block.timestamp / DAY_S;
    }

    /// @dev One storage slot: 64 bits hold any register in Wh, 32 bits any frequency in mHz and voltage in mV.
    function _narrow(MeterReading calldata reading) private pure returns (Stored memory) {
        if (
            reading.timestamp == 0 || reading.consumption > type(uint64).max || reading.production > type(uint64).max
                || reading.gridFrequency > type(uint32).max || reading.voltage > type(uint32).max
        ) revert Implausible();
        // Casting: every value was compared with its type's maximum; the timestamp is not after this block's.
        return Stored(
            uint64(reading.timestamp),
            uint64(reading.consumption),
            uint64(reading.production),
            uint32(reading.gridFrequency),
            uint32(reading.voltage)
        );
    }
}
