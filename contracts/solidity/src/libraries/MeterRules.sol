// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Messages} from "./Messages.sol";

/// @title What a meter leaf must hold: a signed reading, registers that never run backwards, contracts, deviation.
/// @notice contracts/meter_rules.py is the same in Python; the faults stand in the same order, `None` first. Whatever a
/// leaf claims is judged in int256, so that no claim makes a judgement revert.
library MeterRules {
    /// @notice How the reading behind a meter leaf refutes it, in the order in which it is looked for.
    enum ReadingFault {
        None,
        AnotherAccount,
        LaterInterval,
        WrongRegisters,
        NotByKey
    }

    /// @notice How a meter leaf contradicts the one of the header before, in the order in which it is looked for.
    enum RegisterFault {
        None,
        Vanished,
        MovedWithoutReading,
        RanBackwards,
        WrongDeviation
    }

    /// @notice How a meter leaf contradicts the closing rounds of the products that deliver.
    enum ContractedFault {
        None,
        NotThePosition
    }

    /// @notice The meter number whose registers count for money; others are for information.
    uint16 internal constant SETTLEMENT_METER = 0;

    /// @notice What a meter leaf carries for a reading: the reading and its signature, both fixed.
    function commitment(Messages.SettlementReading memory reading, bytes memory signature)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(Messages.hashStruct(reading), keccak256(signature)));
    }

    /// @notice What is wrong with `leaf` under the reading that it commits to.
    function readingFault(
        Messages.MeterLeaf memory leaf,
        Messages.SettlementReading memory reading,
        int256 settled,
        bool isSigned
    ) internal pure returns (ReadingFault) {
        if (reading.account != leaf.account || reading.meter != SETTLEMENT_METER) {
            return ReadingFault.AnotherAccount;
        }
        if (int256(uint256(reading.interval)) > settled) return ReadingFault.LaterInterval;
        if (reading.importWh != leaf.importRegisterWh || reading.exportWh != leaf.exportRegisterWh) {
            return ReadingFault.WrongRegisters;
        }
        return isSigned ? ReadingFault.None : ReadingFault.NotByKey;
    }

    /// @notice What is wrong with `leaf` after `before`. A first reading meters nothing.
    function registerFault(
        bool hasLeaf,
        Messages.MeterLeaf memory leaf,
        bool hasBefore,
        Messages.MeterLeaf memory before
    ) internal pure returns (RegisterFault) {
        bytes32 readBefore = hasBefore ? before.readingHash : bytes32(0);
        bool wasRead = readBefore != bytes32(0);
        if (!hasLeaf) return wasRead ? RegisterFault.Vanished : RegisterFault.None;
        if (wasRead && leaf.readingHash == bytes32(0)) return RegisterFault.Vanished;
        int256 importWh = int256(uint256(leaf.importRegisterWh));
        int256 exportWh = int256(uint256(leaf.exportRegisterWh));
        if (wasRead) {
            importWh -= int256(uint256(before.importRegisterWh));
            exportWh -= int256(uint256(before.exportRegisterWh));
        }
        if (leaf.readingHash == readBefore && (importWh != 0 || exportWh != 0)) {
            return RegisterFault.MovedWithoutReading;
        }
        if (wasRead && (importWh < 0 || exportWh < 0)) return RegisterFault.RanBackwards;
        int256 meteredWh = wasRead ? importWh - exportWh : int256(0);
        bool isDeviation = leaf.deviationWh == meteredWh - contractedWh(leaf) - leaf.orderedWh;
        return isDeviation ? RegisterFault.None : RegisterFault.WrongDeviation;
    }

    /// @notice Contracted energy of all product lengths.
    function contractedWh(Messages.MeterLeaf memory leaf) internal pure returns (int256) {
        return int256(leaf.quarterWh) + leaf.hourWh + leaf.dayWh + leaf.weekWh;
    }

    /// @notice Cost of the contracted energy of all product lengths.
    function contractedCostNano(Messages.MeterLeaf memory leaf) internal pure returns (int256) {
        return int256(leaf.quarterCostNano) + leaf.hourCostNano + leaf.dayCostNano + leaf.weekCostNano;
    }

    /// @notice Contracted energy and cost of one product length: places 0 … 3 are quarter-hour, hour, day and week.
    function contractedAt(Messages.MeterLeaf memory leaf, uint256 place)
        internal
        pure
        returns (int64 energyWh, int128 costNano)
    {
        if (place == 0) return (leaf.quarterWh, leaf.quarterCostNano);
        if (place == 1) return (leaf.hourWh, leaf.hourCostNano);
        if (place == 2) return (leaf.dayWh, leaf.dayCostNano);
        return (leaf.weekWh, leaf.weekCostNano);
    }

    /// @notice Whether a leaf's contracted energy or cost of one product length is not the position of the closing round.
    function contractedFault(
        bool hasLeaf,
        Messages.MeterLeaf memory leaf,
        uint256 place,
        bool hasSlot,
        Messages.Slot memory slot
    ) internal pure returns (ContractedFault) {
        int64 energyWh;
        int128 costNano;
        if (hasLeaf) (energyWh, costNano) = contractedAt(leaf, place);
        bool isPosition =
            hasSlot ? energyWh == slot.positionWh && costNano == slot.positionCostNano : energyWh == 0 && costNano == 0;
        return isPosition ? ContractedFault.None : ContractedFault.NotThePosition;
    }
}
