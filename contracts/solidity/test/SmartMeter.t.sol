// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SmartMeter} from "../src/SmartMeter.sol";
import {IHomeKeys} from "../src/interfaces/IHomeKeys.sol";
import {ISmartMeter} from "../src/interfaces/ISmartMeter.sol";
import {MeterReadings} from "../src/meter/MeterReadings.sol";
import {GridCast} from "./GridCast.sol";

contract SmartMeterTest is GridCast {
    uint256 internal constant DAY = 1_800_057_600; // a midnight
    uint256 internal constant METER_KEY = 0x3E7E5;
    uint256 internal constant P256_KEY = 0x3E7E6;
    uint256 internal constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    address internal METER;
    SmartMeter internal meters;

    function setUp() public override {
        super.setUp();
        METER = VM.addr(METER_KEY);
        meters = new SmartMeter(address(manager), settlement);
        permit(address(meters), meters.registerMeter.selector, REGISTRAR_ROLE);
        permit(address(meters), meters.registerP256Meter.selector, REGISTRAR_ROLE);
        permit(address(meters), meters.removeMeter.selector, REGISTRAR_ROLE);
        VM.prank(REGISTRAR);
        meters.registerMeter(METER, 1, 77);
    }

    function readingAt(uint256 atS, uint256 consumption, uint256 production)
        internal
        pure
        returns (ISmartMeter.MeterReading memory)
    {
        return ISmartMeter.MeterReading(atS, consumption, production, 50_010, 231_400);
    }

    function submit(uint256 atS, uint256 consumption, uint256 production) internal {
        if (clock < atS) warp(atS);
        VM.prank(METER);
        meters.submitReading(readingAt(atS, consumption, production));
    }

    function p256Key() internal pure returns (bytes32 qx, bytes32 qy) {
        (uint256 x, uint256 y) = VM.publicKeyP256(P256_KEY);
        return (bytes32(x), bytes32(y));
    }

    function registerP256() internal returns (address meter) {
        (bytes32 qx, bytes32 qy) = p256Key();
        VM.prank(REGISTRAR);
        return meters.registerP256Meter(qx, qy, 2, 78);
    }

    /// @dev With low s, as the meter's firmware must sign.
    function signP256(bytes32 digest) internal pure returns (bytes32 r, bytes32 s) {
        (r, s) = VM.signP256(P256_KEY, digest);
        if (uint256(s) > P256_ORDER / 2) s = bytes32(P256_ORDER - uint256(s));
    }

    // --- registry ---

    function test_a_meter_belongs_to_an_account_an_owner_and_a_feeder() public view {
        MeterReadings.Installation memory found = meters.installationOf(METER);
        assertEq(found.account, 1);
        assertEq(found.feeder, 77);
        assertEq(found.owner, ADA);
        assertTrue(found.active && found.kind == MeterReadings.KeyKind.Secp256k1);
    }

    function test_a_p256_meter_is_known_by_the_hash_of_its_key() public {
        (bytes32 qx, bytes32 qy) = p256Key();
        address meter = address(uint160(uint256(keccak256(abi.encode(qx, qy)))));
        VM.expectEmit();
        emit MeterReadings.MeterRegistered(meter, 2, 78, MeterReadings.KeyKind.P256);
        assertEq(registerP256(), meter);
        assertEq(meters.meterOfKey(qx, qy), meter);
        MeterReadings.Installation memory found = meters.installationOf(meter);
        assertEq(found.owner, BO);
        assertTrue(found.active && found.kind == MeterReadings.KeyKind.P256);
    }

    function test_a_key_beside_the_curve_is_none() public {
        (bytes32 qx, bytes32 qy) = p256Key();
        VM.startPrank(REGISTRAR);
        VM.expectRevert(MeterReadings.NotAKey.selector);
        meters.registerP256Meter(qy, qx, 2, 78);
        VM.expectRevert(MeterReadings.NotAKey.selector);
        meters.registerP256Meter(0, 0, 2, 78);
    }

    function test_only_the_registrar_registers_and_removes() public {
        (bytes32 qx, bytes32 qy) = p256Key();
        expectUnauthorised(address(this));
        meters.registerMeter(ADA, 1, 77);
        expectUnauthorised(address(this));
        meters.registerP256Meter(qx, qy, 1, 77);
        expectUnauthorised(address(this));
        meters.removeMeter(METER);
        VM.startPrank(REGISTRAR);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.AlreadyRegistered.selector, METER));
        meters.registerMeter(METER, 1, 77);
        VM.expectRevert(MeterReadings.ZeroAddress.selector);
        meters.registerMeter(address(0), 1, 77);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownAccount.selector, uint32(9)));
        meters.registerMeter(ADA, 9, 77);
        meters.removeMeter(METER);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownMeter.selector, METER));
        meters.removeMeter(METER);
        VM.expectRevert(MeterReadings.ZeroAddress.selector);
        new SmartMeter(address(0), settlement);
        VM.expectRevert(MeterReadings.ZeroAddress.selector);
        new SmartMeter(address(manager), IHomeKeys(address(0)));
    }

    function test_an_unknown_meter_submits_nothing() public {
        warp(DAY);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownMeter.selector, address(this)));
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, 1, 1, 1));
    }

    function test_a_removed_meter_submits_nothing_and_keeps_its_readings() public {
        submit(DAY + 900, 10, 20);
        VM.prank(REGISTRAR);
        meters.removeMeter(METER);
        ISmartMeter.MeterReading memory reading = readingAt(DAY + 900, 11, 20);
        bytes memory signature = signed(METER_KEY, meters.digestOf(reading));
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownMeter.selector, METER));
        meters.submitSignedReading(METER, reading, signature);
        VM.prank(METER);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownMeter.selector, METER));
        meters.submitReading(reading);
        assertEq(meters.latestReadingOf(METER).consumption, 10);
    }

    // --- readings ---

    function test_the_latest_reading_is_the_callers_own() public {
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.NoReading.selector, address(this)));
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
        warp(DAY + 86_400);
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
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.InFuture.selector, DAY + 901));
        meters.submitReading(ISmartMeter.MeterReading(DAY + 901, 1_000, 500, 1, 1));
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.NotLater.selector, DAY + 900));
        meters.submitReading(ISmartMeter.MeterReading(DAY + 900, 1_000, 500, 1, 1));
        warp(DAY + 1_800);
        VM.expectRevert(MeterReadings.RanBackwards.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY + 1_800, 999, 500, 1, 1));
        VM.expectRevert(MeterReadings.RanBackwards.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY + 1_800, 1_000, 499, 1, 1));
    }

    function test_values_no_meter_has_are_refused() public {
        warp(DAY);
        VM.startPrank(METER);
        uint256 wide = uint256(type(uint64).max) + 1;
        VM.expectRevert(MeterReadings.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(0, 1, 1, 1, 1));
        VM.expectRevert(MeterReadings.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, wide, 1, 1, 1));
        VM.expectRevert(MeterReadings.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, wide, 1, 1));
        VM.expectRevert(MeterReadings.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, 1, wide, 1));
        VM.expectRevert(MeterReadings.Implausible.selector);
        meters.submitReading(ISmartMeter.MeterReading(DAY, 1, 1, 1, wide));
    }

    function testFuzz_a_day_never_exceeds_what_the_registers_moved(uint32 first, uint32 second, uint32 third) public {
        submit(DAY - 1, first, first);
        submit(DAY + 1, uint256(first) + second, uint256(first) + third);
        assertEq(meters.dailyConsumptionOf(METER), second);
        assertEq(meters.dailyProductionOf(METER), third);
    }

    // --- signed readings ---

    function test_anybody_relays_what_a_meter_signed() public {
        warp(DAY);
        ISmartMeter.MeterReading memory reading = readingAt(DAY, 10, 20);
        bytes memory signature = signed(METER_KEY, meters.digestOf(reading));
        VM.expectEmit();
        emit MeterReadings.ReadingSubmitted(METER, reading);
        VM.prank(BO);
        meters.submitSignedReading(METER, reading, signature);
        assertEq(meters.latestReadingOf(METER).production, 20);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.NotLater.selector, DAY));
        meters.submitSignedReading(METER, reading, signature);
    }

    function test_a_signature_of_another_key_or_reading_or_half_is_refused() public {
        warp(DAY);
        ISmartMeter.MeterReading memory reading = readingAt(DAY, 10, 20);
        bytes32 digest = meters.digestOf(reading);
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(METER, reading, signed(ADA_KEY, digest));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(METER_KEY, digest);
        bytes memory twin = abi.encodePacked(r, ORDER - uint256(s), v == 27 ? 28 : 27);
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(METER, reading, twin);
        reading.production = 21;
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(METER, reading, abi.encodePacked(r, s, v));
    }

    function test_a_signature_counts_for_one_contract_and_one_chain() public {
        warp(DAY);
        ISmartMeter.MeterReading memory reading = readingAt(DAY, 10, 20);
        SmartMeter other = new SmartMeter(address(manager), settlement);
        bytes memory signature = signed(METER_KEY, other.digestOf(reading));
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(METER, reading, signature);
        signature = signed(METER_KEY, meters.digestOf(reading));
        VM.chainId(block.chainid + 1);
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(METER, reading, signature);
    }

    function test_anybody_relays_what_a_p256_meter_signed() public {
        address meter = registerP256();
        warp(DAY);
        ISmartMeter.MeterReading memory reading = readingAt(DAY, 10, 20);
        (bytes32 qx, bytes32 qy) = p256Key();
        (bytes32 r, bytes32 s) = signP256(meters.digestOf(reading));
        VM.prank(ADA);
        meters.submitSignedReading(reading, r, s, qx, qy);
        assertEq(meters.latestReadingOf(meter).consumption, 10);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.NotLater.selector, DAY));
        meters.submitSignedReading(reading, r, s, qx, qy);
    }

    function test_a_p256_signature_has_low_s_and_covers_the_reading() public {
        registerP256();
        warp(DAY);
        ISmartMeter.MeterReading memory reading = readingAt(DAY, 10, 20);
        (bytes32 qx, bytes32 qy) = p256Key();
        (bytes32 r, bytes32 s) = signP256(meters.digestOf(reading));
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(reading, r, bytes32(P256_ORDER - uint256(s)), qx, qy);
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(reading, bytes32(uint256(r) ^ 1), s, qx, qy);
        reading.consumption = 11;
        VM.expectRevert(MeterReadings.NotByMeter.selector);
        meters.submitSignedReading(reading, r, s, qx, qy);
    }

    function test_a_key_of_one_kind_is_not_used_as_one_of_the_other() public {
        warp(DAY);
        ISmartMeter.MeterReading memory reading = readingAt(DAY, 10, 20);
        (bytes32 qx, bytes32 qy) = p256Key();
        address meter = meters.meterOfKey(qx, qy);
        (bytes32 r, bytes32 s) = signP256(meters.digestOf(reading));
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownMeter.selector, meter));
        meters.submitSignedReading(reading, r, s, qx, qy);
        VM.prank(REGISTRAR);
        meters.registerMeter(meter, 2, 78);
        VM.expectRevert(abi.encodeWithSelector(MeterReadings.UnknownMeter.selector, meter));
        meters.submitSignedReading(reading, r, s, qx, qy);
    }

    function testFuzz_a_signed_reading_is_stored_as_it_was_signed(uint64 consumption, uint64 production, uint32 mhz)
        public
    {
        warp(DAY);
        ISmartMeter.MeterReading memory reading = ISmartMeter.MeterReading(DAY, consumption, production, mhz, 230_000);
        meters.submitSignedReading(METER, reading, signed(METER_KEY, meters.digestOf(reading)));
        assertEq(keccak256(abi.encode(meters.latestReadingOf(METER))), keccak256(abi.encode(reading)));
    }
}
