// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IFinalHeaders} from "../interfaces/IFinalHeaders.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {MeterProofs} from "./MeterProofs.sol";
import {Messages} from "./Messages.sol";

/// @title Cumulative registers out of final headers.
/// @notice A leaf that is absent proves nothing, and neither does one of a meter that was never read. A leaf carries
/// the registers of the newest reading that came in time; where none came, those of an earlier interval. Whoever pays
/// for the registers of one interval exactly asks for the reading behind the leaf as well.
library SettledRegisters {
    /// @notice What a leaf's `readingHash` commits to: the reading, and keccak256 of its signature.
    struct ReadingEvidence {
        Messages.SettlementReading reading;
        bytes32 signatureHash;
    }

    /// @notice The header settles no interval: it is one of the first, within the grace.
    error SettlesNothing(uint64 interval);
    /// @notice The meter of the account has not been read yet.
    error NeverRead(uint32 account);
    /// @notice The leaf commits to another reading.
    error AnotherReading();
    /// @notice The registers are those of another interval: the reading of this one came too late or never.
    error ReadInAnotherInterval(uint64 interval);

    /// @notice The interval that a final header settles, and the registers of `account` that it settled it by. Reverts
    /// where the header is not final or proves no registers.
    function prove(
        IFinalHeaders settlement,
        uint32 account,
        ISettlement.HeaderProof calldata proof,
        MeterProofs.MeterProof calldata meter
    ) internal view returns (uint64 interval, uint64 importWh, uint64 exportWh) {
        settlement.requireFinal(proof);
        uint64 grace = settlement.graceIntervals();
        if (proof.header.interval < grace) revert SettlesNothing(proof.header.interval);
        MeterProofs.requireIn(proof.header.metersRoot, account, meter);
        if (meter.leaf.readingHash == bytes32(0)) revert NeverRead(account);
        return (proof.header.interval - grace, meter.leaf.importRegisterWh, meter.leaf.exportRegisterWh);
    }

    /// @notice Reverts unless the reading behind a proven leaf was taken at the end of `interval`.
    /// @dev That the reading is the account's own and holds the registers of the leaf was open to challenge.
    function requireReadIn(uint64 interval, bytes32 readingHash, ReadingEvidence calldata evidence) internal pure {
        bytes32 structHash = Messages.hashStruct(evidence.reading);
        if (keccak256(abi.encodePacked(structHash, evidence.signatureHash)) != readingHash) revert AnotherReading();
        if (evidence.reading.interval != interval) revert ReadInAnotherInterval(evidence.reading.interval);
    }
}
