// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SmartMeter} from "../src/SmartMeter.sol";
import {Domain} from "../src/libraries/Domain.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {MeterProofs} from "../src/libraries/MeterProofs.sol";
import {SettledRegisters} from "../src/libraries/SettledRegisters.sol";
import {MeterReadings} from "../src/meter/MeterReadings.sol";
import {FinalHeaders, GridCast} from "./GridCast.sol";

contract ProvenRegistersTest is GridCast {
    uint32 internal constant DAY = 20_000;
    uint64 internal constant MIDNIGHT = uint64(DAY) * 96;

    SmartMeter internal meters;

    function setUp() public override {
        super.setUp();
        meters = new SmartMeter(address(manager), settlement);
    }

    function prove(uint64 interval, uint64 importWh, uint64 exportWh) internal {
        Settled memory settled = settle(interval, [importWh, 7], [exportWh, 8]);
        meters.proveRegisters(settled.header, settled.meters[0]);
    }

    // --- registers and days ---

    function test_registers_are_proven_for_the_interval_that_the_header_settles() public {
        Settled memory settled = settle(MIDNIGHT, [uint64(100), 300], [uint64(200), 400]);
        VM.expectEmit();
        emit SmartMeter.RegistersProven(2, MIDNIGHT, 300, 400);
        meters.proveRegisters(settled.header, settled.meters[1]);
        SmartMeter.Registers memory registers = meters.provenRegisters(2, MIDNIGHT);
        assertEq(registers.importWh, 300);
        assertEq(registers.exportWh, 400);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NotProven.selector, uint32(1), MIDNIGHT));
        meters.provenRegisters(1, MIDNIGHT);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NotProven.selector, uint32(2), MIDNIGHT + GRACE));
        meters.provenRegisters(2, MIDNIGHT + GRACE);
    }

    function test_a_day_is_the_difference_of_proven_registers() public {
        prove(MIDNIGHT - 1, 1_000, 500);
        prove(MIDNIGHT + 95, 1_300, 900);
        prove(MIDNIGHT + 191, 1_300, 901);
        (uint256 production, uint256 consumption) = meters.provenDay(1, DAY);
        assertEq(production, 400);
        assertEq(consumption, 300);
        (production, consumption) = meters.provenDay(1, DAY + 1);
        assertEq(production, 1);
        assertEq(consumption, 0);
    }

    function test_a_day_without_both_its_ends_is_not_proven() public {
        prove(MIDNIGHT, 1_000, 500);
        prove(MIDNIGHT + 95, 1_300, 900);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NotProven.selector, uint32(1), MIDNIGHT - 1));
        meters.provenDay(1, DAY);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NotProven.selector, uint32(1), MIDNIGHT + 191));
        meters.provenDay(1, DAY + 1);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NotProven.selector, uint32(1), 0));
        meters.provenDay(1, 0);
        VM.expectRevert(
            abi.encodeWithSelector(SmartMeter.NotProven.selector, uint32(1), uint256(type(uint32).max) * 96 - 1)
        );
        meters.provenDay(1, type(uint32).max);
    }

    function test_a_day_over_which_a_register_ran_backwards_is_refused() public {
        prove(MIDNIGHT - 1, 1_000, 500);
        prove(MIDNIGHT + 95, 999, 900);
        prove(MIDNIGHT + 191, 1_000, 899);
        VM.expectRevert(MeterReadings.RanBackwards.selector);
        meters.provenDay(1, DAY);
        VM.expectRevert(MeterReadings.RanBackwards.selector);
        meters.provenDay(1, DAY + 1);
    }

    function test_registers_are_proven_once() public {
        Settled memory settled = settle(MIDNIGHT, [uint64(100), 300], [uint64(200), 400]);
        meters.proveRegisters(settled.header, settled.meters[0]);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.AlreadyProven.selector, uint32(1), MIDNIGHT));
        meters.proveRegisters(settled.header, settled.meters[0]);
    }

    function test_only_a_final_header_proves() public {
        Settled memory settled = settle(MIDNIGHT, [uint64(100), 300], [uint64(200), 400]);
        settled.header.header.interval += 1;
        VM.expectRevert(FinalHeaders.NotFinal.selector);
        meters.proveRegisters(settled.header, settled.meters[0]);
    }

    function test_a_header_within_the_first_grace_settles_nothing() public {
        Settled memory settled = settle(0, [uint64(100), 300], [uint64(200), 400]);
        settled.header.header.interval = GRACE - 1;
        settled.header.index = settlement.makeFinal(settled.header.header);
        VM.expectRevert(abi.encodeWithSelector(SettledRegisters.SettlesNothing.selector, GRACE - 1));
        meters.proveRegisters(settled.header, settled.meters[0]);
    }

    function test_a_leaf_proves_only_what_is_in_the_tree() public {
        Settled memory settled = settle(MIDNIGHT, [uint64(100), 300], [uint64(200), 400]);
        MeterProofs.MeterProof memory proof = settled.meters[0];
        proof.leaf.exportRegisterWh += 1;
        expectNotInTree(1);
        meters.proveRegisters(settled.header, proof);
        proof.leaf.exportRegisterWh -= 1;
        proof.leaf.account = 3;
        expectNotInTree(3);
        meters.proveRegisters(settled.header, proof);
        proof.leaf.account = 1;
        proof.path[10] ^= 0x01;
        expectNotInTree(1);
        meters.proveRegisters(settled.header, proof);
        proof.path = settled.meters[1].path;
        expectNotInTree(1);
        meters.proveRegisters(settled.header, proof);
        proof.path = hex"00000002";
        VM.expectRevert(MerkleSum.WrongPath.selector);
        meters.proveRegisters(settled.header, proof);
        proof.path = "";
        VM.expectRevert(MerkleSum.WrongPath.selector);
        meters.proveRegisters(settled.header, proof);
    }

    function test_an_account_without_a_leaf_proves_nothing() public {
        Settled memory settled = settle(MIDNIGHT, [uint64(100), 300], [uint64(200), 400]);
        MeterProofs.MeterProof memory absent;
        absent.path = settled.meters[0].path;
        expectNotInTree(0);
        meters.proveRegisters(settled.header, absent);
    }

    function test_a_meter_that_was_never_read_proves_nothing() public {
        Settled memory settled;
        Messages.MeterLeaf[2] memory leaves;
        leaves[0].account = 1;
        leaves[1].account = 2;
        commit(settled, MIDNIGHT, leaves);
        VM.expectRevert(abi.encodeWithSelector(SettledRegisters.NeverRead.selector, uint32(1)));
        meters.proveRegisters(settled.header, settled.meters[0]);
    }

    function expectNotInTree(uint32 account) internal {
        VM.expectRevert(abi.encodeWithSelector(MeterProofs.MeterNotInTree.selector, account));
    }

    function testFuzz_days_add_up_to_what_the_registers_moved(uint64[3] memory imports, uint64[3] memory exports)
        public
    {
        sort(imports);
        sort(exports);
        for (uint64 i = 0; i < 3; i++) {
            prove(MIDNIGHT - 1 + 96 * i, imports[i], exports[i]);
        }
        (uint256 production, uint256 consumption) = meters.provenDay(1, DAY);
        (uint256 nextProduction, uint256 nextConsumption) = meters.provenDay(1, DAY + 1);
        assertEq(production + nextProduction, exports[2] - exports[0]);
        assertEq(consumption + nextConsumption, imports[2] - imports[0]);
    }

    function sort(uint64[3] memory values) internal pure {
        for (uint256 i = 0; i < 3; i++) {
            for (uint256 j = i + 1; j < 3; j++) {
                if (values[j] < values[i]) (values[i], values[j]) = (values[j], values[i]);
            }
        }
    }

    // --- contradictions ---

    function bothOf(uint64 importWh, uint64 otherImportWh)
        internal
        pure
        returns (Messages.SettlementReading memory one, Messages.SettlementReading memory other)
    {
        one = readingOf(1, FIRST, importWh, 0);
        other = readingOf(1, FIRST, otherImportWh, 0);
        (one.sequence, other.sequence) = (5, 5);
    }

    function sign(uint256 key, Messages.SettlementReading memory reading) internal view returns (bytes memory) {
        return signed(key, Domain.digest(settlement.domainSeparator(), Messages.hashStruct(reading)));
    }

    function test_two_readings_of_one_sequence_contradict_each_other() public {
        (Messages.SettlementReading memory one, Messages.SettlementReading memory other) = bothOf(10, 11);
        VM.expectEmit();
        emit SmartMeter.MeterContradicted(1, 0, 0, 5, Messages.hashStruct(one), Messages.hashStruct(other));
        VM.prank(BO);
        meters.proveEquivocation(one, sign(ADA_KEY, one), other, sign(ADA_KEY, other));
        assertTrue(meters.contradicted(1, 0) && !meters.contradicted(1, 1) && !meters.contradicted(2, 0));
        bytes memory signature = sign(ADA_KEY, one);
        bytes memory otherSignature = sign(ADA_KEY, other);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.AlreadyContradicted.selector, uint32(1), uint16(0)));
        meters.proveEquivocation(other, otherSignature, one, signature);
    }

    function test_the_same_reading_twice_is_no_contradiction() public {
        (Messages.SettlementReading memory one,) = bothOf(10, 11);
        bytes memory signature = sign(ADA_KEY, one);
        VM.expectRevert(SmartMeter.NoContradiction.selector);
        meters.proveEquivocation(one, signature, one, signature);
    }

    function test_readings_of_different_places_are_no_contradiction() public {
        for (uint256 which = 0; which < 4; which++) {
            (Messages.SettlementReading memory one, Messages.SettlementReading memory other) = bothOf(10, 11);
            if (which == 0) other.account = 2;
            if (which == 1) other.meter = 1;
            if (which == 2) other.epoch = 1;
            if (which == 3) other.sequence = 6;
            bytes memory signature = sign(ADA_KEY, one);
            bytes memory otherSignature = sign(ADA_KEY, other);
            VM.expectRevert(SmartMeter.NoContradiction.selector);
            meters.proveEquivocation(one, signature, other, otherSignature);
        }
    }

    function test_both_readings_are_signed_by_the_home() public {
        (Messages.SettlementReading memory one, Messages.SettlementReading memory other) = bothOf(10, 11);
        bytes memory own = sign(ADA_KEY, one);
        bytes memory ownOther = sign(ADA_KEY, other);
        bytes memory foreign = sign(BO_KEY, one);
        bytes memory foreignOther = sign(BO_KEY, other);
        VM.expectRevert(SmartMeter.NotByHome.selector);
        meters.proveEquivocation(one, foreign, other, ownOther);
        VM.expectRevert(SmartMeter.NotByHome.selector);
        meters.proveEquivocation(one, own, other, foreignOther);
        VM.expectRevert(SmartMeter.NotByHome.selector);
        meters.proveEquivocation(one, own, other, own);
    }

    function test_an_account_without_a_key_signs_nothing() public {
        (Messages.SettlementReading memory one, Messages.SettlementReading memory other) = bothOf(10, 11);
        (one.account, other.account) = (9, 9);
        VM.expectRevert(SmartMeter.NotByHome.selector);
        meters.proveEquivocation(one, new bytes(65), other, new bytes(65));
    }
}
