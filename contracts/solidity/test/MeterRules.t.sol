// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Messages} from "../src/libraries/Messages.sol";
import {MeterRules} from "../src/libraries/MeterRules.sol";

contract MeterRulesTest {
    bytes32 private constant READ = keccak256("reading");
    bytes32 private constant READ_AGAIN = keccak256("another reading");

    function leafOf(uint64 importWh, uint64 exportWh, bytes32 readingHash)
        private
        pure
        returns (Messages.MeterLeaf memory leaf)
    {
        leaf.account = 3;
        (leaf.importRegisterWh, leaf.exportRegisterWh, leaf.readingHash) = (importWh, exportWh, readingHash);
        (leaf.quarterWh, leaf.hourWh, leaf.dayWh, leaf.weekWh) = (10, -20, 40, -80);
        leaf.orderedWh = 7;
        // Metered nothing, contracted -50, ordered 7.
        leaf.deviationWh = 43;
    }

    function none() private pure returns (Messages.MeterLeaf memory leaf) {}

    function judge(Messages.MeterLeaf memory leaf, Messages.MeterLeaf memory before)
        private
        pure
        returns (MeterRules.RegisterFault)
    {
        return MeterRules.registerFault(true, leaf, true, before);
    }

    function test_a_leaf_holds_the_registers_of_a_signed_reading() public pure {
        Messages.MeterLeaf memory leaf = leafOf(500, 100, READ);
        Messages.SettlementReading memory reading;
        (reading.account, reading.interval, reading.importWh, reading.exportWh) = (3, 8, 500, 100);
        MeterRules.ReadingFault fault = MeterRules.readingFault(leaf, reading, 8, true);
        require(fault == MeterRules.ReadingFault.None, "honest");
        fault = MeterRules.readingFault(leaf, reading, 8, false);
        require(fault == MeterRules.ReadingFault.NotByKey, "unsigned");
        fault = MeterRules.readingFault(leaf, reading, 7, true);
        require(fault == MeterRules.ReadingFault.LaterInterval, "later");
        fault = MeterRules.readingFault(leaf, reading, -1, true);
        require(fault == MeterRules.ReadingFault.LaterInterval, "before the first grace period is over");
        reading.interval = type(uint64).max;
        fault = MeterRules.readingFault(leaf, reading, 8, true);
        require(fault == MeterRules.ReadingFault.LaterInterval, "the last interval of all");
        (reading.interval, reading.importWh) = (0, 501);
        fault = MeterRules.readingFault(leaf, reading, 8, true);
        require(fault == MeterRules.ReadingFault.WrongRegisters, "import");
        (reading.importWh, reading.exportWh) = (500, 99);
        fault = MeterRules.readingFault(leaf, reading, 8, true);
        require(fault == MeterRules.ReadingFault.WrongRegisters, "export");
        reading.meter = 1;
        fault = MeterRules.readingFault(leaf, reading, 8, true);
        require(fault == MeterRules.ReadingFault.AnotherAccount, "another meter");
        (reading.meter, reading.account) = (0, 4);
        fault = MeterRules.readingFault(leaf, reading, 8, true);
        require(fault == MeterRules.ReadingFault.AnotherAccount, "another account");
    }

    function testFuzz_a_leaf_commits_to_reading_and_signature(
        Messages.SettlementReading memory reading,
        bytes memory signature
    ) public pure {
        bytes32 committed = MeterRules.commitment(reading, signature);
        require(
            committed == keccak256(bytes.concat(Messages.hashStruct(reading), keccak256(signature))), "not what is said"
        );
        require(committed != MeterRules.commitment(reading, abi.encodePacked(signature, uint8(0))), "no signature");
        reading.evidenceHash = keccak256(abi.encode(reading.evidenceHash));
        require(committed != MeterRules.commitment(reading, signature), "no reading");
    }

    function test_registers_that_were_read_do_not_vanish() public pure {
        MeterRules.RegisterFault vanished = MeterRules.RegisterFault.Vanished;
        MeterRules.RegisterFault kept = MeterRules.RegisterFault.None;
        require(MeterRules.registerFault(false, none(), true, leafOf(5, 5, READ)) == vanished, "the leaf is gone");
        require(judge(leafOf(5, 5, bytes32(0)), leafOf(5, 5, READ)) == vanished, "the reading is gone");
        require(MeterRules.registerFault(false, none(), true, leafOf(0, 0, bytes32(0))) == kept, "never read");
        require(MeterRules.registerFault(false, none(), false, none()) == kept, "never there");
    }

    function test_registers_move_only_with_a_new_reading_and_forwards() public pure {
        MeterRules.RegisterFault moved = MeterRules.RegisterFault.MovedWithoutReading;
        MeterRules.RegisterFault kept = MeterRules.RegisterFault.None;
        require(judge(leafOf(5, 6, READ), leafOf(5, 6, READ)) == kept, "the same reading");
        require(judge(leafOf(6, 6, READ), leafOf(5, 6, READ)) == moved, "import moved");
        require(judge(leafOf(5, 5, READ), leafOf(5, 6, READ)) == moved, "export moved back");
        require(MeterRules.registerFault(true, leafOf(0, 0, bytes32(0)), false, none()) == kept, "never read");
        require(MeterRules.registerFault(true, leafOf(1, 0, bytes32(0)), false, none()) == moved, "read by nobody");
        require(judge(leafOf(0, 1, bytes32(0)), leafOf(0, 0, bytes32(0))) == moved, "still read by nobody");
        MeterRules.RegisterFault back = MeterRules.RegisterFault.RanBackwards;
        require(judge(leafOf(4, 6, READ_AGAIN), leafOf(5, 6, READ)) == back, "import ran backwards");
        require(judge(leafOf(5, 5, READ_AGAIN), leafOf(5, 6, READ)) == back, "export ran backwards");
    }

    function test_a_first_reading_meters_nothing() public pure {
        Messages.MeterLeaf memory leaf = leafOf(5_000, 3_000, READ);
        require(MeterRules.registerFault(true, leaf, false, none()) == MeterRules.RegisterFault.None, "no leaf before");
        require(judge(leaf, leafOf(0, 0, bytes32(0))) == MeterRules.RegisterFault.None, "no reading before");
        leaf.deviationWh += 2_000;
        require(judge(leaf, leafOf(0, 0, bytes32(0))) == MeterRules.RegisterFault.WrongDeviation, "it meters something");
    }

    function testFuzz_the_deviation_is_metered_less_contracted_less_ordered(
        uint64[4] memory registers,
        int64[5] memory claims,
        int64 off
    ) public pure {
        Messages.MeterLeaf memory before = leafOf(registers[0], registers[1], READ);
        Messages.MeterLeaf memory leaf = leafOf(registers[2], registers[3], READ_AGAIN);
        (leaf.quarterWh, leaf.hourWh, leaf.dayWh, leaf.weekWh) = (claims[0], claims[1], claims[2], claims[3]);
        leaf.orderedWh = claims[4];
        int256 deviation = int256(uint256(registers[2])) - int256(uint256(registers[0]));
        deviation -= int256(uint256(registers[3])) - int256(uint256(registers[1]));
        for (uint256 i = 0; i < 5; i++) {
            deviation -= claims[i];
        }
        leaf.deviationWh = int64(deviation);
        bool isBack = registers[2] < registers[0] || registers[3] < registers[1];
        MeterRules.RegisterFault expected =
            leaf.deviationWh == deviation ? MeterRules.RegisterFault.None : MeterRules.RegisterFault.WrongDeviation;
        if (isBack) expected = MeterRules.RegisterFault.RanBackwards;
        require(judge(leaf, before) == expected, "judged otherwise");
        unchecked {
            leaf.deviationWh += off;
        }
        if (off == 0 || isBack) return;
        if (leaf.deviationWh == deviation) return;
        require(judge(leaf, before) == MeterRules.RegisterFault.WrongDeviation, "another deviation");
    }

    function test_contracted_is_the_position_of_the_closing_round() public pure {
        Messages.MeterLeaf memory leaf = leafOf(0, 0, READ);
        (leaf.quarterCostNano, leaf.hourCostNano, leaf.dayCostNano, leaf.weekCostNano) = (1, 2, 3, 4);
        int64[4] memory energies = [int64(10), -20, 40, -80];
        MeterRules.ContractedFault kept = MeterRules.ContractedFault.None;
        MeterRules.ContractedFault differs = MeterRules.ContractedFault.NotThePosition;
        for (uint256 place = 0; place < 4; place++) {
            Messages.Slot memory slot;
            (slot.positionWh, slot.positionCostNano) = (energies[place], int128(int256(place + 1)));
            require(MeterRules.contractedFault(true, leaf, place, true, slot) == kept, "the position");
            require(MeterRules.contractedFault(true, leaf, place, false, slot) == differs, "no slot");
            require(MeterRules.contractedFault(false, none(), place, true, slot) == differs, "no leaf");
            require(MeterRules.contractedFault(false, none(), place, false, slot) == kept, "neither");
            slot.positionWh += 1;
            require(MeterRules.contractedFault(true, leaf, place, true, slot) == differs, "another energy");
            slot.positionWh -= 1;
            slot.positionCostNano += 1;
            require(MeterRules.contractedFault(true, leaf, place, true, slot) == differs, "another cost");
        }
        Messages.Slot memory nothing;
        Messages.MeterLeaf memory dear = leafOf(0, 0, READ);
        (dear.quarterWh, dear.quarterCostNano) = (0, 1);
        require(MeterRules.contractedFault(true, dear, 0, false, nothing) == differs, "a cost of nothing");
    }

    function testFuzz_no_claim_of_a_leaf_makes_its_judgement_revert(
        Messages.MeterLeaf memory leaf,
        Messages.MeterLeaf memory before,
        uint8 mode
    ) public pure {
        if (mode & 1 == 0) {
            (leaf.quarterWh, leaf.hourWh, leaf.dayWh) = (type(int64).min, type(int64).min, type(int64).min);
            (leaf.weekWh, leaf.orderedWh) = (type(int64).min, type(int64).min);
            (leaf.importRegisterWh, leaf.exportRegisterWh) = (type(uint64).max, 0);
        }
        if (mode & 2 == 0) (before.importRegisterWh, before.exportRegisterWh) = (0, 0);
        if (mode & 4 == 0) leaf.readingHash = before.readingHash;
        MeterRules.registerFault(mode & 8 == 0, leaf, mode & 16 == 0, before);
    }
}
