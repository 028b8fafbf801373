// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyAssetNFT} from "../src/EnergyAssetNFT.sol";
import {ProductionHistory} from "../src/asset/ProductionHistory.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {MeterProofs} from "../src/libraries/MeterProofs.sol";
import {SettledRegisters} from "../src/libraries/SettledRegisters.sol";
import {AssetCast, SettledStreet} from "./AssetCast.sol";

contract ProductionHistoryTest is AssetCast {
    function between(uint64 start, uint64 end) internal view returns (uint64 producedWh) {
        (producedWh,,) = assets.productionBetween(roof, start, end);
    }

    function test_production_is_what_the_register_moved_between_final_headers() public {
        prove(FIRST, 1_000);
        prove(FIRST + 10, 1_700);
        prove(FIRST + 11, 1_700);
        prove(FIRST + 96, 5_000);
        assertEq(assets.checkpointCount(roof), 4);
        assertEq(between(FIRST, FIRST + 96), 4_000);
        assertEq(between(FIRST + 10, FIRST + 11), 0);
        (uint64 producedWh, uint64 from, uint64 to) = assets.productionBetween(roof, FIRST + 9, FIRST + 95);
        assertEq(producedWh, 700);
        assertEq(from, FIRST);
        assertEq(to, FIRST + 11);
        ProductionHistory.Checkpoint memory last = assets.checkpointAt(roof, 3);
        assertEq(last.interval, FIRST + 96);
        assertEq(last.registerWh, 5_000);
        assertEq(last.producedWh, 4_000);
        assertEq(last.account, 1);
    }

    function test_nothing_is_said_of_the_time_before_the_first_checkpoint() public {
        VM.expectRevert(abi.encodeWithSelector(ProductionHistory.NoCheckpoint.selector, roof, FIRST));
        between(FIRST, FIRST + 1);
        prove(FIRST, 1_000);
        VM.expectRevert(abi.encodeWithSelector(ProductionHistory.NoCheckpoint.selector, roof, FIRST - 1));
        between(FIRST - 1, FIRST + 1);
        prove(FIRST + 5, 1_100);
        VM.expectRevert(abi.encodeWithSelector(ProductionHistory.NoCheckpoint.selector, roof, FIRST));
        between(FIRST + 5, FIRST);
    }

    function test_anybody_proves_but_the_first_register_is_the_owners_or_operators() public {
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) = settle(FIRST, leafOf(1, 5));
        VM.prank(BO);
        VM.expectRevert(lacks(OPERATOR, BO));
        assets.proveProduction(roof, header, meter);
        give(OPERATOR, CY);
        VM.prank(CY);
        assets.proveProduction(roof, header, meter);
        (header, meter) = settle(FIRST + 1, leafOf(1, 6));
        VM.prank(BO);
        MORE_VM.expectEmit();
        emit ProductionHistory.ProductionProven(roof, FIRST + 1, 6, 1, false);
        assets.proveProduction(roof, header, meter);
    }

    function refuse(ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter, bytes memory reason)
        internal
    {
        VM.prank(ADA);
        VM.expectRevert(reason);
        assets.proveProduction(roof, header, meter);
    }

    function test_only_final_headers_and_their_leaves_prove() public {
        Messages.MeterLeaf memory leaf = leafOf(1, 5);
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) = unsettled(FIRST, leaf);
        refuse(header, meter, abi.encodeWithSelector(SettledStreet.NotFinal.selector, 0));
        (header, meter) = settle(FIRST, leaf);
        bytes memory elsewhere = abi.encodeWithSelector(MeterProofs.MeterNotInTree.selector, 1);
        meter.leaf.exportRegisterWh++;
        refuse(header, meter, elsewhere);
        meter.leaf.exportRegisterWh--;
        meter.path[5] ^= 0x01;
        refuse(header, meter, elsewhere);
        meter.path[5] ^= 0x01;
        meter.path = abi.encodePacked(meter.path, uint8(0));
        refuse(header, meter, abi.encodeWithSelector(MerkleSum.WrongPath.selector));
        (header, meter) = settle(FIRST, leafOf(2, 5)); // Bo's
        refuse(header, meter, elsewhere);
        leaf.readingHash = 0;
        (header, meter) = settle(FIRST, leaf);
        refuse(header, meter, abi.encodeWithSelector(SettledRegisters.NeverRead.selector, 1));
    }

    function test_the_first_headers_settle_nothing() public {
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) = settle(0, leafOf(1, 5));
        header.header.interval = 3;
        street.finalise(header);
        refuse(header, meter, abi.encodeWithSelector(SettledRegisters.SettlesNothing.selector, 3));
    }

    function test_intervals_and_registers_never_run_backwards() public {
        prove(FIRST + 5, 1_000);
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) =
            settle(FIRST + 5, leafOf(1, 2_000));
        refuse(header, meter, abi.encodeWithSelector(ProductionHistory.NotLater.selector, FIRST + 5));
        (header, meter) = settle(FIRST + 4, leafOf(1, 2_000));
        refuse(header, meter, abi.encodeWithSelector(ProductionHistory.NotLater.selector, FIRST + 4));
        (header, meter) = settle(FIRST + 6, leafOf(1, 999));
        refuse(header, meter, abi.encodeWithSelector(ProductionHistory.RanBackwards.selector, 999));
    }

    function test_nothing_is_produced_before_the_commissioning() public {
        // Commissioned at the beginning of interval FIRST - 4, which is the end of FIRST - 5.
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) = settle(FIRST - 6, leafOf(1, 5));
        refuse(header, meter, abi.encodeWithSelector(ProductionHistory.BeforeCommissioning.selector, FIRST - 6));
        prove(FIRST - 5, 5);
    }

    function test_behind_another_meter_production_goes_on_from_its_register() public {
        prove(FIRST, 1_000);
        prove(FIRST + 1, 1_400);
        VM.prank(DI);
        assets.change(roof, roofOf(2));
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) = settle(FIRST + 8, leafOf(2, 70));
        VM.expectRevert(lacks(OPERATOR, address(this)));
        assets.proveProduction(roof, header, meter);
        VM.prank(ADA);
        assets.proveProduction(roof, header, meter);
        (header, meter) = settle(FIRST + 9, leafOf(2, 75));
        assets.proveProduction(roof, header, meter);
        assertEq(between(FIRST, FIRST + 9), 405);
        assertEq(between(FIRST + 1, FIRST + 8), 0);
    }

    function test_no_production_is_shown_by_two_assets() public {
        prove(FIRST, 1_000);
        prove(FIRST + 8, 1_400);
        VM.prank(ADA);
        assets.retire(roof);
        uint256 next = register(1);
        (ISettlement.HeaderProof memory header, MeterProofs.MeterProof memory meter) =
            settle(FIRST + 7, leafOf(1, 1_300));
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ProductionHistory.NotLater.selector, FIRST + 7));
        assets.proveProduction(next, header, meter);
        (header, meter) = settle(FIRST + 8, leafOf(1, 1_400));
        assets.proveProduction(next, header, meter);
        assertEq(assets.checkpointAt(next, 0).producedWh, 0);
    }

    function test_a_mere_alteration_leaves_the_register_open() public {
        prove(FIRST, 1_000);
        EnergyAssetNFT.Asset memory asset = roofOf(1);
        asset.capacityW = 5;
        VM.prank(DI);
        assets.change(roof, asset);
        prove(FIRST + 1, 1_007);
        asset.meter = 2;
        VM.prank(DI);
        assets.change(roof, asset);
        prove(FIRST + 2, 3);
        prove(FIRST + 3, 5);
        assertEq(between(FIRST, FIRST + 3), 9);
    }

    function testFuzz_production_is_additive(uint16[5] memory steps, uint8 low, uint8 middle, uint8 high) public {
        uint64 register;
        uint64[5] memory registers;
        for (uint64 i = 0; i < 5; i++) {
            register += steps[i];
            registers[i] = register;
            prove(FIRST + i * 3, register);
        }
        uint256 a = low % 5;
        uint256 b = bound(middle, a, 4);
        uint256 c = bound(high, b, 4);
        uint64 whole = between(FIRST + uint64(a) * 3, FIRST + uint64(c) * 3 + 2);
        assertEq(whole, registers[c] - registers[a]);
        assertEq(
            whole,
            between(FIRST + uint64(a) * 3, FIRST + uint64(b) * 3 + 1)
                + between(FIRST + uint64(b) * 3 + 1, FIRST + uint64(c) * 3)
        );
    }
}
