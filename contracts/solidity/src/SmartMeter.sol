// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IHomeKeys} from "./interfaces/IHomeKeys.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Domain} from "./libraries/Domain.sol";
import {Messages} from "./libraries/Messages.sol";
import {MeterProofs} from "./libraries/MeterProofs.sol";
import {SettledRegisters} from "./libraries/SettledRegisters.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {MeterReadings} from "./meter/MeterReadings.sol";

/// @title Smart meters: what they say, what the settlement has proven of them, and whether they contradict themselves.
/// @notice
///     MeterReadings    the registry, and readings as the meters send or sign them; nobody vouches for them
///     proven           cumulative registers out of final headers, by anybody; a day is the difference of two
///     contradicted     a home signed two readings for one sequence: two signatures are all the proof it takes
contract SmartMeter is MeterReadings {
    struct Registers {
        uint64 importWh;
        uint64 exportWh;
        bool proven;
    }

    uint256 private constant INTERVALS_PER_DAY = 96;

    /// @notice The registers of an account at the end of `interval` are proven.
    event RegistersProven(uint32 indexed account, uint64 indexed interval, uint64 importWh, uint64 exportWh);
    /// @notice The home of `account` signed two different readings of `meter` for one sequence.
    event MeterContradicted(
        uint32 indexed account, uint16 indexed meter, uint32 epoch, uint64 sequence, bytes32 one, bytes32 other
    );

    /// @notice The registers are proven already.
    error AlreadyProven(uint32 account, uint64 interval);
    /// @notice The registers at the end of that interval are not proven.
    error NotProven(uint32 account, uint256 interval);
    /// @notice The two readings are not of one account, meter, epoch and sequence, or they are the same.
    error NoContradiction();
    /// @notice One of the readings is not signed by the account's home.
    error NotByHome();
    /// @notice The meter is known to contradict itself.
    error AlreadyContradicted(uint32 account, uint16 meter);

    /// @notice Whether the home of an account signed two different readings of that meter for one sequence.
    mapping(uint32 account => mapping(uint16 meter => bool)) public contradicted;
    mapping(uint32 account => mapping(uint256 interval => Registers)) private _registers;

    /// @notice `authority_` is the AccessManager that says who registers meters; accounts, their keys and final headers
    /// are those of `settlement_`.
    constructor(address authority_, IHomeKeys settlement_) MeterReadings(authority_, settlement_) {}

    /// @notice Keeps the registers of an account at the end of the interval that a final header settles. By anybody.
    /// @dev They are the registers the settlement went by: where no reading came in time, those of an earlier one.
    function proveRegisters(ISettlement.HeaderProof calldata header, MeterProofs.MeterProof calldata meter) external {
        uint32 account = meter.leaf.account;
        (uint64 interval, uint64 importWh, uint64 exportWh) = SettledRegisters.prove(settlement, account, header, meter);
        if (_registers[account][interval].proven) revert AlreadyProven(account, interval);

        _registers[account][interval] = Registers(importWh, exportWh, true);
        emit RegistersProven(account, interval, importWh, exportWh);
    }

    /// @notice Shows that a home signed two different readings of one meter for one sequence. By anybody, once a meter.
    function proveEquivocation(
        Messages.SettlementReading calldata one,
        bytes calldata signatureOfOne,
        Messages.SettlementReading calldata other,
        bytes calldata signatureOfOther
    ) external {
        bytes32 oneHash = Messages.hashStruct(one);
        bytes32 otherHash = Messages.hashStruct(other);
        if (
            one.account != other.account || one.meter != other.meter || one.epoch != other.epoch
                || one.sequence != other.sequence || oneHash == otherHash
        ) revert NoContradiction();
        if (contradicted[one.account][one.meter]) revert AlreadyContradicted(one.account, one.meter);
        address key = settlement.keyOf(one.account);
        bytes32 separator = settlement.domainSeparator();
        if (
            !Signatures.isBy(key, Domain.digest(separator, oneHash), signatureOfOne)
                || !Signatures.isBy(key, Domain.digest(separator, otherHash), signatureOfOther)
        ) revert NotByHome();

        contradicted[one.account][one.meter] = true;
        emit MeterContradicted(one.account, one.meter, one.epoch, one.sequence, oneHash, otherHash);
    }

    /// @notice Wh that an account produced and consumed on the UTC day with that number since 1970, by the registers
    /// proven at the end of the interval before it and of its last one. Reverts where one of them is not proven.
    function provenDay(uint32 account, uint32 day) external view returns (uint256 productionWh, uint256 consumptionWh) {
        // The registers before the first day of all are nobody's.
        if (day == 0) revert NotProven(account, 0);
        uint256 first = INTERVALS_PER_DAY * day;
        Registers memory before = provenRegisters(account, first - 1);
        Registers memory last = provenRegisters(account, first + INTERVALS_PER_DAY - 1);
        if (last.exportWh < before.exportWh || last.importWh < before.importWh) revert RanBackwards();
        return (last.exportWh - before.exportWh, last.importWh - before.importWh);
    }

    /// @notice The registers of an account proven at the end of `interval`. Reverts where they are not.
    function provenRegisters(uint32 account, uint256 interval) public view returns (Registers memory registers) {
        registers = _registers[account][interval];
        if (!registers.proven) revert NotProven(account, interval);
    }
}
