// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GridOracle} from "../src/GridOracle.sol";
import {PriceOracle} from "../src/PriceOracle.sol";
import {WeatherOracle} from "../src/WeatherOracle.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {OracleCast} from "./OracleCast.sol";

contract OracleCollarTest is OracleCast {
    // --- collar ---

    function test_the_collar_is_the_whole_range_before_a_first_answer() public view {
        expectCollar(MINIMUM, MAXIMUM);
        (,, uint64 observedAt) = oracle.collar();
        assertEq(observedAt, 0);
    }

    function test_the_collar_opens_step_by_step_when_nobody_reports() public {
        answer(list(100_000, 100_000, 100_000));
        uint256 start = clock;
        expectCollar(50_000, 150_000);
        warp(start + 3_599);
        expectCollar(50_000, 150_000);
        assertTrue(!oracle.isStale());
        warp(start + 3_600);
        assertTrue(oracle.isStale());
        expectCollar(0, 200_000);
        warp(start + 7_200);
        expectCollar(-100_000, 300_000);
        warp(start + 4 * 3_600);
        expectCollar(MINIMUM, 900_000);
        warp(start + 7 * 3_600);
        expectCollar(MINIMUM, MAXIMUM);
        warp(start + 63 * 3_600);
        expectCollar(MINIMUM, MAXIMUM);
        warp(start + 64 * 3_600);
        expectCollar(MINIMUM, MAXIMUM);
        (,, uint64 observedAt) = oracle.collar();
        assertEq(observedAt, start);
    }

    function test_a_new_answer_closes_the_collar_again() public {
        answer(list(100_000, 100_000, 100_000));
        later(5 days);
        answer(list(105_000, 105_000, 105_000));
        expectCollar(55_000, 155_000);
    }

    function testFuzz_the_collar_contains_the_answer_and_never_narrows(uint64 width, uint32 first, uint32 second)
        public
    {
        QuorumOracle.Terms memory wider = terms();
        wider.width = width == 0 ? 1 : width;
        oracle.setTerms(wider);
        answer(list(100_000, 100_000, 100_000));
        uint256 start = clock;
        (uint256 early, uint256 late) = first < second ? (first, second) : (second, first);
        warp(start + early);
        (int64 floor, int64 cap,) = oracle.collar();
        warp(start + late);
        (int64 laterFloor, int64 laterCap,) = oracle.collar();
        assertTrue(MINIMUM <= laterFloor && laterFloor <= floor && floor <= 100_000);
        assertTrue(100_000 <= cap && cap <= laterCap && laterCap <= MAXIMUM);
    }

    /// @dev The formula by repeated doubling, for what the contract computes by a shift.
    function testFuzz_the_collar_is_the_answer_and_a_width_that_doubles(
        int64 answered,
        uint64 width,
        uint32 staleAfterS,
        uint40 ageS
    ) public {
        (int64 lowest, int64 highest) = (-3e18, 5e18);
        QuorumOracle.Terms memory other = terms();
        (other.width, other.staleAfterS) = (width == 0 ? 1 : width, staleAfterS == 0 ? 1 : staleAfterS);
        oracle = new PriceOracle(address(manager), lowest, highest, other);
        name(5, QUORUM, WIDE);
        int256 value = answered < lowest ? lowest : answered > highest ? highest : answered;
        answer(list(int128(value), int128(value), int128(value)));
        warp(clock + ageS);
        uint256 doubled = other.width;
        for (uint256 i = 0; i < ageS / other.staleAfterS && doubled < 2e19; i++) {
            doubled *= 2;
        }
        int256 floor = value - int256(doubled);
        int256 cap = value + int256(doubled);
        expectCollar(floor < lowest ? lowest : floor, cap > highest ? highest : cap);
    }

    // --- governance ---

    function test_only_the_authority_names_reporters_and_terms() public {
        VM.startPrank(ADA);
        expectUnauthorised(ADA);
        oracle.setReporters(new address[](0), 0, 0);
        expectUnauthorised(ADA);
        oracle.setTerms(terms());
    }

    function test_reporters_are_distinct_and_a_quorum_is_a_majority() public {
        address[] memory five = reportersUpTo(5);
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(five, 3, 6);
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(five, 4, 3);
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(five, 2, 4);
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(new address[](0), 0, 0);
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(reportersUpTo(33), 17, 32);
        five[4] = five[0];
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(five, 3, 4);
        five[4] = address(0);
        VM.expectRevert(QuorumOracle.ReportersIllegal.selector);
        oracle.setReporters(five, 3, 4);
    }

    function test_thirty_two_reporters_answer() public {
        name(32, 17, 31);
        int128[] memory values = new int128[](32);
        answer(values);
        (address[] memory all, uint8 quorum, uint8 wide) = oracle.reporters();
        assertEq(all.length, 32);
        assertEq(all[31], VM.addr(KEYS + 31));
        assertEq(quorum, 17);
        assertEq(wide, 31);
    }

    function test_terms_under_which_nothing_is_answered_are_refused() public {
        QuorumOracle.Terms memory bad = terms();
        bad.maxAgeS = 0;
        VM.expectRevert(QuorumOracle.TermsIllegal.selector);
        oracle.setTerms(bad);
        bad = terms();
        bad.staleAfterS = 0;
        VM.expectRevert(QuorumOracle.TermsIllegal.selector);
        oracle.setTerms(bad);
        bad = terms();
        bad.width = 0;
        VM.expectRevert(QuorumOracle.TermsIllegal.selector);
        oracle.setTerms(bad);
        VM.expectRevert(QuorumOracle.TermsIllegal.selector);
        new PriceOracle(address(manager), 1, 0, terms());
        VM.expectRevert(QuorumOracle.ZeroAddress.selector);
        new PriceOracle(address(0), 0, 1, terms());
    }

    function test_new_terms_are_in_force_at_once_and_keep_the_answer() public {
        answer(list(100_000, 100_000, 100_000));
        QuorumOracle.Terms memory other = QuorumOracle.Terms(1, 2, 3, 4, 5);
        VM.expectEmit();
        emit QuorumOracle.TermsSet(other);
        oracle.setTerms(other);
        assertEq(keccak256(abi.encode(oracle.termsInForce())), keccak256(abi.encode(other)));
        expectCollar(99_995, 100_005);
        (address[] memory all, uint8 quorum,) = oracle.reporters();
        assertEq(all.length, 5);
        assertEq(quorum, QUORUM);
    }

    function test_each_oracle_says_what_it_answers() public {
        WeatherOracle weather = new WeatherOracle(address(manager), 0, 1_000_000_000, terms());
        GridOracle grid = new GridOracle(address(manager), 45_000, 55_000, terms());
        assertEq(oracle.decimals(), 6);
        assertEq(weather.decimals(), 0);
        assertEq(grid.decimals(), 3);
        assertEq(oracle.version(), 1);
        assertEq(keccak256(bytes(oracle.description())), keccak256("energy price, currency per kWh"));
        assertEq(keccak256(bytes(weather.description())), keccak256("available photovoltaic power, W"));
        assertEq(keccak256(bytes(grid.description())), keccak256("grid frequency, Hz"));
        (int64 floor, int64 cap,) = grid.collar();
        assertEq(floor, 45_000);
        assertEq(cap, 55_000);
    }

    function test_a_range_of_all_numbers_does_not_overflow() public {
        oracle = new PriceOracle(address(manager), type(int64).min, type(int64).max, terms());
        name(5, QUORUM, WIDE);
        answer(list(type(int64).min, type(int64).min, type(int64).min));
        expectCollar(type(int64).min, int256(type(int64).min) + 50_000);
        later(60);
        answer(list(type(int64).max, type(int64).max, type(int64).max, type(int64).max));
        expectCollar(int256(type(int64).max) - 50_000, type(int64).max);
        later(63 * 3_600);
        expectCollar(type(int64).min, type(int64).max);
    }
}
