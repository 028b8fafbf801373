// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PriceOracle} from "../src/PriceOracle.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {OracleCast} from "./OracleCast.sol";

contract QuorumOracleTest is OracleCast {
    // --- answers ---

    function test_an_answer_is_the_median_of_a_quorum() public {
        VM.expectEmit();
        emit QuorumOracle.Answered(1, 210_000, uint64(clock), 3);
        answer(list(190_000, 210_000, 260_000));
        (uint80 round, int256 value, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) = oracle.latestRoundData();
        assertEq(round, 1);
        assertEq(value, 210_000);
        assertEq(startedAt, clock);
        assertEq(updatedAt, clock);
        assertEq(answeredIn, 1);
        assertTrue(!oracle.isStale());
    }

    function test_of_an_even_number_the_lower_middle_counts() public {
        answer(list(1, 2, 3, 4));
        (, int256 value,,,) = oracle.latestRoundData();
        assertEq(value, 2);
    }

    function test_rounds_are_kept() public {
        answer(list(1, 2, 3));
        uint256 firstAt = clock;
        later(60);
        answer(list(4, 5, 6));
        (uint80 round, int256 value,, uint256 updatedAt,) = oracle.getRoundData(1);
        assertEq(round, 1);
        assertEq(value, 2);
        assertEq(updatedAt, firstAt);
        (round, value,,,) = oracle.getRoundData(2);
        assertEq(value, 5);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NoAnswer.selector, 3));
        oracle.getRoundData(3);
    }

    function test_a_round_started_with_its_oldest_observation() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        quotes[1].observedAtS -= 100;
        signatures[1] = signed(KEYS + 1, oracle.digestOf(quotes[1]));
        oracle.submit(quotes, signatures);
        (,, uint256 startedAt, uint256 updatedAt,) = oracle.latestRoundData();
        assertEq(startedAt, clock - 100);
        assertEq(updatedAt, clock);
        assertEq(oracle.lastObservedAtS(VM.addr(KEYS + 1)), clock - 100);
    }

    function test_before_a_first_answer_there_is_none_and_everything_is_stale() public {
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NoAnswer.selector, 0));
        oracle.latestRoundData();
        assertTrue(oracle.isStale());
    }

    /// @dev Against sorting nothing: counts how many quotes lie on either side of the answer.
    function testFuzz_half_of_the_quotes_lie_on_either_side(uint256 seed, uint8 many) public {
        uint256 count = QUORUM + many % 3;
        int128[] memory values = new int128[](count);
        int128 value = int128(int256(seed % 4_000_000)) - 500_000;
        for (uint256 i = 0; i < count; i++) {
            values[i] = value;
            value += int128(int256(uint256(keccak256(abi.encode(seed, i))) % 100_000));
        }
        answer(values);
        (, int256 median,,,) = oracle.latestRoundData();
        uint256 below;
        uint256 above;
        bool quoted;
        for (uint256 i = 0; i < count; i++) {
            if (values[i] < median) below++;
            if (values[i] > median) above++;
            quoted = quoted || values[i] == median;
        }
        assertTrue(quoted && 2 * below < count && 2 * above <= count);
    }

    // --- refusals ---

    function test_fewer_than_a_quorum_answer_nothing() public {
        int128[] memory values = new int128[](2);
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(values);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.QuorumMissed.selector, 2, 3));
        oracle.submit(quotes, signatures);
        (quotes, signatures) = quotesOf(new int128[](0));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.QuorumMissed.selector, 0, 3));
        oracle.submit(quotes, signatures);
    }

    function test_without_reporters_not_even_nothing_is_an_answer() public {
        oracle = new PriceOracle(address(manager), MINIMUM, MAXIMUM, terms());
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(new int128[](0));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.QuorumMissed.selector, 0, 0));
        oracle.submit(quotes, signatures);
    }

    function test_every_quote_has_its_signature() public {
        (QuorumOracle.Quote[] memory quotes,) = quotesOf(list(1, 2, 3));
        VM.expectRevert(QuorumOracle.SignatureMissing.selector);
        oracle.submit(quotes, new bytes[](2));
    }

    function test_quotes_ascend() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 3, 2));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotAscending.selector, 2));
        oracle.submit(quotes, signatures);
    }

    function test_a_quote_outside_the_range_is_refused() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(int128(MINIMUM) - 1, 1, 2));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.OutOfRange.selector, int128(MINIMUM) - 1));
        oracle.submit(quotes, signatures);
        (quotes, signatures) = quotesOf(list(1, 2, type(int128).max));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.OutOfRange.selector, type(int128).max));
        oracle.submit(quotes, signatures);
        answer(list(MINIMUM, 1, MAXIMUM));
    }

    function test_a_quote_is_neither_old_nor_of_the_future() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        uint64 observed = uint64(clock);
        warp(observed - 1);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.InFuture.selector, observed));
        oracle.submit(quotes, signatures);
        warp(observed + 601);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.TooOld.selector, observed));
        oracle.submit(quotes, signatures);
        warp(observed + 600);
        oracle.submit(quotes, signatures);
    }

    function test_only_reporters_sign() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        signatures[1] = signed(ADA_KEY, oracle.digestOf(quotes[1]));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotByReporter.selector, 1));
        oracle.submit(quotes, signatures);
        signatures[1] = hex"1234";
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotByReporter.selector, 1));
        oracle.submit(quotes, signatures);
    }

    function test_the_malleable_twin_of_a_signature_does_not_count() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(KEYS, oracle.digestOf(quotes[0]));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        signatures[0] = abi.encodePacked(r, order - uint256(s), v == 27 ? 28 : 27);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotByReporter.selector, 0));
        oracle.submit(quotes, signatures);
    }

    function test_a_quote_for_another_oracle_or_chain_does_not_count() public {
        PriceOracle first = oracle;
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        oracle = new PriceOracle(address(manager), MINIMUM, MAXIMUM, terms());
        name(5, QUORUM, WIDE);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotByReporter.selector, 0));
        oracle.submit(quotes, signatures);
        VM.chainId(block.chainid + 1);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotByReporter.selector, 0));
        first.submit(quotes, signatures);
    }

    function test_a_reporter_counts_once() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        signatures[2] = signed(KEYS + 1, oracle.digestOf(quotes[2]));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.ReporterTwice.selector, VM.addr(KEYS + 1)));
        oracle.submit(quotes, signatures);
    }

    function test_an_answer_is_not_repeated() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        oracle.submit(quotes, signatures);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotNewer.selector, VM.addr(KEYS)));
        oracle.submit(quotes, signatures);
    }

    function test_a_reporter_that_comes_back_is_not_quoted_from_before() public {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        oracle.submit(quotes, signatures);
        address[] memory others = new address[](1);
        others[0] = ADA;
        oracle.setReporters(others, 1, 1);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotByReporter.selector, 0));
        oracle.submit(quotes, signatures);
        name(5, QUORUM, WIDE);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.NotNewer.selector, VM.addr(KEYS)));
        oracle.submit(quotes, signatures);
    }

    function test_an_answer_never_goes_back_in_time() public {
        later(100);
        answer(list(1, 2, 3));
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 2, 3));
        later(50);
        for (uint256 i = 0; i < 3; i++) {
            // The reporters 2, 3 and 4: one has a newer quote, the other two were not in the last round.
            quotes[i].observedAtS = uint64(clock) - (i == 0 ? 0 : 50);
            signatures[i] = signed(KEYS + 2 + i, oracle.digestOf(quotes[i]));
        }
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.OlderThanAnswer.selector, clock - 50));
        oracle.submit(quotes, signatures);
    }

    // --- deviation ---

    function test_a_leap_needs_the_wide_quorum() public {
        answer(list(100_000, 100_000, 100_000));
        later(60);
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(1, 115_001, 115_001));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.DeviatesTooFar.selector, 115_001, 100_000));
        oracle.submit(quotes, signatures);
        (quotes, signatures) = quotesOf(list(84_999, 84_999, 200_000));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.DeviatesTooFar.selector, 84_999, 100_000));
        oracle.submit(quotes, signatures);
        answer(list(1, 115_000, 115_000));
        later(60);
        answer(list(500_000, 500_000, 500_000, 500_000));
        (, int256 value,,,) = oracle.latestRoundData();
        assertEq(value, 500_000);
    }

    function test_near_zero_the_slack_counts() public {
        answer(list(0, 0, 0));
        later(60);
        answer(list(-5_000, -5_000, -5_000));
        later(60);
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(501, 501, 501));
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.DeviatesTooFar.selector, 501, -5_000));
        oracle.submit(quotes, signatures);
        answer(list(500, 500, 500));
    }
}
