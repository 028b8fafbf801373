// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SmartMeter} from "../src/SmartMeter.sol";
import {ISmartMeter} from "../src/interfaces/ISmartMeter.sol";
import {Cast} from "./Cast.sol";

contract SmartMeterTest is Cast {
    uint256 internal constant DAY = 1_800_057_600; // a midnight
    address internal constant METER = address(0x3E7E5);

    SmartMeter internal meters;

    function setUp() public override {
        meters = new SmartMeter(REGISTRAR);
        VM.prank(REGISTRAR);
        meters.registerMeter(METER, 1, 77);
    }

    function submit(uint256 atS, uint256 consumption, uint256 production) internal {
        if (block.timestamp < atS) VM.warp(atS);
        VM.prank(METER);
        meters.submitReading(ISmartMeter.MeterReading(atS, consumption, production, 50_010, 231_400));
    }

    function test_a_meter_belongs_to_an_account_and_a_feeder() public view {
        SmartMeter.Installation memory found = meters.installationOf(METER);
        assertEq(found.account, 1);
        assertEq(found.feeder, 77);
        assertTrue(found.active);
    }

    function test_only_the_registrar_registers_and_removes() public {
        VM.expectRevert(SmartMeter.NotAuthorised.selector);
        meters.registerMeter(ADA, 1, 77);
        VM.expectRevert(SmartMeter.NotAuthorised.selector);
        meters.removeMeter(METER);
        VM.startPrank(REGISTRAR);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.AlreadyRegistered.selector, METER));
        meters.registerMeter(METER, 1, 77);
        VM.expectRevert(SmartMeter.ZeroAddress.selector);
        meters.registerMeter(address(0), 1, 77);
        meters.removeMeter(METER);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.UnknownMeter.selector, METER));
        meters.removeMeter(METER);
        VM.expectRevert(SmartMeter.ZeroAddress.selector);
        new SmartMeter(address(0));
    }

    function test_an_unknown_meter_submits_nothing() public {
        VM.warp(DAY);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.UnknownMeter.selector, address(this)));
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, 1, 1, 1));
    }

    function test_the_latest_reading_is_the_callers_own() public {
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NoReading.selector, address(this)));
        meters.getLatestReading();
        submit(DAY + 900, 10, 20);
        VM.prank(METER);
        ISmartMeter.MeterReading memory reading = meters.getLatestReading();
        assertEq(reading.timestamp, DAY + 900);
        assertEq(reading.consumption, 10);
        assertEq(reading.production, 20);
        assertEq(reading.gridFrequency, 50_010);
        assertEq(reading.voltage, 231_400);
    }

    function test_a_day_is_the_difference_of_registers() public {
        submit(DAY - 900, 1_000, 500);
        submit(DAY - 1, 1_100, 600);
        submit(DAY + 900, 1_150, 620);
        submit(DAY + 1_800, 1_180, 690);
        VM.startPrank(METER);
        assertEq(meters.getDailyConsumption(), 80);
        assertEq(meters.getDailyProduction(), 90);
        VM.warp(DAY + 86_400);
        assertEq(meters.getDailyConsumption(), 0);
        assertEq(meters.getDailyProduction(), 0);
    }

    function test_the_first_reading_opens_its_day() public {
        submit(DAY + 900, 1_000, 500);
        submit(DAY + 1_800, 1_010, 500);
        assertEq(meters.dailyConsumptionOf(METER), 10);
        assertEq(meters.dailyProductionOf(METER), 0);
    }

    function test_readings_neither_run_backwards_nor_ahead() public {
        submit(DAY + 900, 1_000, 500);
        VM.startPrank(METER);
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.InFuture.selector, DAY + 901));
        meters.submitReading(ISmartMeter.MeterReading(DAY + 901, 1_000, 500, 1, 1));
        VM.expectRevert(abi.encodeWithSelector(SmartMeter.NotLater.selector, DAY + 900));
        meters.submitReading(ISmartMeter.MeterReading(DAY + 900, 1_000, 500, 1, 1));
        VM.warp(DAY + 1_800);
        VM.expectRevert(SmartMeter.RanBackwards.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY + 1_800, 999, 500, 1, 1));
        VM.expectRevert(SmartMeter.RanBackwards.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY + 1_800, 1_000, 499, 1, 1));
    }

    function test_values_no_meter_has_are_refused() public {
        VM.warp(DAY);
        VM.startPrank(METER);
        uint256 wide = uint256(type(uint64).max) + 1;
        VM.expectRevert(SmartMeter.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(0, 1, 1, 1, 1));
        VM.expectRevert(SmartMeter.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, wide, 1, 1, 1));
        VM.expectRevert(SmartMeter.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, wide, 1, 1));
        VM.expectRevert(SmartMeter.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, 1, wide, 1));
        VM.expectRevert(SmartMeter.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, 1, 1, wide));
    }

    function testFuzz_a_day_never_exceeds_what_the_registers_moved(uint32 first, uint32 second, uint32 third) public {
        submit(DAY - 1, first, first);
        submit(DAY + 1, uint256(first) + second, uint256(first) + third);
        assertEq(meters.dailyConsumptionOf(METER), second);
        assertEq(meters.dailyProductionOf(METER), third);
    }
}
