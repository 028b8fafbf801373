// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";

/// @title The map of the grid: feeders with their limits, zones of feeders, lines between zones.
/// @dev The operator's word, kept where everybody reads the same. No money depends on it.
abstract contract Feeders is AccessManaged {
    /// @notice State of a feeder's grid, after the system states of grid codes.
    enum GridState {
        Normal,
        Alert,
        Emergency,
        Restoring
    }

    /// @notice State of a feeder's breaker. Half open: closed on probation.
    enum BreakerState {
        Closed,
        Open,
        HalfOpen
    }

    /// @notice What a feeder carries: power into it and out of it in W, and energy traded in one interval in Wh.
    struct FeederLimits {
        uint64 importW;
        uint64 exportW;
        uint64 volumeWh;
    }

    /// @dev One slot.
    struct Feeder {
        FeederLimits limits;
        uint32 zone;
        GridState state;
        BreakerState breaker;
        bool known;
    }

    /// @notice A line between two zones: what it carries each way in one interval in Wh, and its fee in micro-currency
    /// per kWh.
    struct Line {
        uint32 fromZone;
        uint32 toZone;
        uint64 forwardWh;
        uint64 backwardWh;
        uint64 feePerKwh;
    }

    /// @notice A zone got its name.
    event ZoneDefined(uint32 indexed zone, bytes32 indexed nameHash);
    /// @notice A feeder got its limits and its zone.
    event FeederSet(uint32 indexed feeder, uint32 indexed zone, FeederLimits limits);
    /// @notice A line was set.
    event LineSet(uint32 indexed line, Line terms);
    /// @notice A line was removed.
    event LineRemoved(uint32 indexed line);

    /// @notice A name that must not be empty is empty.
    error NameMissing();
    /// @notice There is no such zone.
    error UnknownZone(uint32 zone);
    /// @notice There is no such feeder.
    error UnknownFeeder(uint32 feeder);
    /// @notice There is no such line.
    error UnknownLine(uint32 line);
    /// @notice A line leads from a zone to itself.
    error LineIsLoop(uint32 zone);

    /// @notice keccak256 of a zone's name; zero where there is no such zone.
    mapping(uint32 zone => bytes32 nameHash) public zoneNameHash;
    mapping(uint32 feeder => Feeder) internal _feeders;
    mapping(uint32 line => Line) private _lines;

    /// @notice Names a zone, or renames it. Restricted.
    function defineZone(uint32 zone, bytes32 nameHash) external restricted {
        if (nameHash == bytes32(0)) revert NameMissing();
        zoneNameHash[zone] = nameHash;
        emit ZoneDefined(zone, nameHash);
    }

    /// @notice Sets the limits of a feeder and the zone that it belongs to; its states stay. Restricted.
    function setFeeder(uint32 feeder, FeederLimits calldata limits, uint32 zone) external restricted {
        _requireZone(zone);
        Feeder storage place = _feeders[feeder];
        place.limits = limits;
        place.zone = zone;
        place.known = true;
        emit FeederSet(feeder, zone, limits);
    }

    /// @notice Sets a line between two zones. Restricted.
    function setLine(uint32 line, Line calldata terms) external restricted {
        _requireZone(terms.fromZone);
        _requireZone(terms.toZone);
        if (terms.fromZone == terms.toZone) revert LineIsLoop(terms.fromZone);
        _lines[line] = terms;
        emit LineSet(line, terms);
    }

    /// @notice Removes a line. Restricted.
    function removeLine(uint32 line) external restricted {
        lineOf(line);
        delete _lines[line];
        emit LineRemoved(line);
    }

    /// @notice Limits, zone and states of a feeder. Reverts where there is none.
    function feederOf(uint32 feeder) public view returns (Feeder memory place) {
        place = _feeders[feeder];
        if (!place.known) revert UnknownFeeder(feeder);
    }

    /// @notice The line with that number. Reverts where there is none.
    function lineOf(uint32 line) public view returns (Line memory terms) {
        terms = _lines[line];
        // No line is a loop, so the zones of one that was set differ.
        if (terms.fromZone == terms.toZone) revert UnknownLine(line);
    }

    function _requireZone(uint32 zone) private view {
        if (zoneNameHash[zone] == bytes32(0)) revert UnknownZone(zone);
    }
}
