// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {IHomeKeys} from "../interfaces/IHomeKeys.sol";
import {ISmartMeter} from "../interfaces/ISmartMeter.sol";
import {Domain} from "../libraries/Domain.sol";
import {Signatures} from "../libraries/Signatures.sol";

/// @title Registry of meters and their last readings.
/// @notice A meter is the address of its key, on secp256k1 or P-256. Registers are cumulative and never run backwards;
/// what a day brought is the difference between its last reading and the last reading before it. These readings
/// inform; money follows only the meter leaves of the settlement.
abstract contract MeterReadings is ISmartMeter, AccessManaged {
    /// @notice The curve of a meter's key. A P-256 meter has no address of its own to send from: others relay for it.
    enum KeyKind {
        Secp256k1,
        P256
    }

    /// @notice Where a meter is installed and whose it is. `active` is false for one that is unknown or was removed.
    struct Installation {
        uint32 account;
        uint32 feeder;
        KeyKind kind;
        bool active;
        address owner;
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

    /// @notice EIP-712 type hash of a reading, signed under this contract's own domain.
    bytes32 public constant METER_READING_TYPE_HASH = keccak256(
        "MeterReading(uint256 timestamp,uint256 consumption,uint256 production,uint256 gridFrequency,uint256 voltage)"
    );

    /// @notice A meter was registered.
    event MeterRegistered(address indexed meter, uint32 indexed account, uint32 indexed feeder, KeyKind kind);
    /// @notice A meter was removed; its readings stay.
    event MeterRemoved(address indexed meter);
    /// @notice A meter was read.
    event ReadingSubmitted(address indexed meter, MeterReading reading);

    /// @notice An address that must not be zero is zero.
    error ZeroAddress();
    /// @notice The settlement has no such account.
    error UnknownAccount(uint32 account);
    /// @notice The key is no point of its curve.
    error NotAKey();
    /// @notice There is no such meter in use, or its key is of the other kind.
    error UnknownMeter(address meter);
    /// @notice The meter is registered already.
    error AlreadyRegistered(address meter);
    /// @notice The reading is not signed by the meter.
    error NotByMeter();
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

    /// @notice The settlement whose accounts the meters belong to.
    IHomeKeys public immutable settlement;

    mapping(address meter => Installation installation) private _installations;
    mapping(address meter => Stored reading) private _latest;
    mapping(address meter => Opening registers) private _openings;

    constructor(address authority_, IHomeKeys settlement_) AccessManaged(authority_) {
        if (authority_ == address(0) || address(settlement_) == address(0)) revert ZeroAddress();
        settlement = settlement_;
    }

    /// @notice Registers the meter whose secp256k1 key has the address `meter`, for an account at a feeder. Restricted.
    function registerMeter(address meter, uint32 account, uint32 feeder) external restricted {
        if (meter == address(0)) revert ZeroAddress();
        _register(meter, account, feeder, KeyKind.Secp256k1);
    }

    /// @notice Registers the meter with that P-256 key, for an account at a feeder. Restricted.
    function registerP256Meter(bytes32 qx, bytes32 qy, uint32 account, uint32 feeder)
        external
        restricted
        returns (address meter)
    {
        if (!P256.isValidPublicKey(qx, qy)) revert NotAKey();
        meter = meterOfKey(qx, qy);
        _register(meter, account, feeder, KeyKind.P256);
    }

    /// @notice Takes a meter out of use. Restricted.
    function removeMeter(address meter) external restricted {
        if (!_installations[meter].active) revert UnknownMeter(meter);
        _installations[meter].active = false;
        emit MeterRemoved(meter);
    }

    /// @inheritdoc ISmartMeter
    function submitReading(MeterReading calldata reading) external {
        if (!_installations[msg.sender].active) revert UnknownMeter(msg.sender);
        _store(msg.sender, reading);
    }

    /// @notice Stores a reading of the meter with that P-256 key, signed with low s. By anybody.
    function submitSignedReading(MeterReading calldata reading, bytes32 r, bytes32 s, bytes32 qx, bytes32 qy) external {
        address meter = meterOfKey(qx, qy);
        _requireActive(meter, KeyKind.P256);
        if (!P256.verify(digestOf(reading), r, s, qx, qy)) revert NotByMeter();
        _store(meter, reading);
    }

    /// @notice Stores a reading of a secp256k1 meter, signed with low s: 65 bytes r, s, v. By anybody.
    function submitSignedReading(address meter, MeterReading calldata reading, bytes calldata signature) external {
        _requireActive(meter, KeyKind.Secp256k1);
        if (!Signatures.isBy(meter, digestOf(reading), signature)) revert NotByMeter();
        _store(meter, reading);
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

    /// @notice Where `meter` is installed and whose it is.
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

    /// @notice The meter with that P-256 key.
    function meterOfKey(bytes32 qx, bytes32 qy) public pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode(qx, qy)))));
    }

    /// @notice What a meter signs for `reading`.
    function digestOf(MeterReading calldata reading) public view returns (bytes32) {
        return Domain.digest(
            Domain.separator(block.chainid, address(this)), keccak256(abi.encode(METER_READING_TYPE_HASH, reading))
        );
    }

    function _register(address meter, uint32 account, uint32 feeder, KeyKind kind) private {
        if (_installations[meter].active) revert AlreadyRegistered(meter);
        address owner = settlement.ownerOf(account);
        if (owner == address(0)) revert UnknownAccount(account);
        _installations[meter] = Installation(account, feeder, kind, true, owner);
        emit MeterRegistered(meter, account, feeder, kind);
    }

    function _requireActive(address meter, KeyKind kind) private view {
        Installation memory installation = _installations[meter];
        if (!installation.active || installation.kind != kind) revert UnknownMeter(meter);
    }

    function _store(address meter, MeterReading calldata reading) private {
        if (reading.timestamp > block.timestamp) revert InFuture(reading.timestamp);
        Stored memory next = _narrow(reading);
        Stored memory last = _latest[meter];
        if (last.timestamp == 0) {
            _openings[meter] = Opening(next.consumption, next.production);
        } else {
            if (next.timestamp <= last.timestamp) revert NotLater(reading.timestamp);
            if (next.consumption < last.consumption || next.production < last.production) revert RanBackwards();
            if (next.timestamp / DAY_S != last.timestamp / DAY_S) {
                _openings[meter] = Opening(last.consumption, last.production);
            }
        }
        _latest[meter] = next;
        emit ReadingSubmitted(meter, reading);
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
