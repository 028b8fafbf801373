// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PriceOracle} from "../src/PriceOracle.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {GridCast} from "./GridCast.sol";

/// @dev A price oracle with five reporters, of whom three answer and four may leap.
abstract contract OracleCast is GridCast {
    int64 internal constant MINIMUM = -500_000;
    int64 internal constant MAXIMUM = 4_000_000;
    uint256 internal constant KEYS = 0x0AC1E00;
    uint8 internal constant QUORUM = 3;
    uint8 internal constant WIDE = 4;

    PriceOracle internal oracle;

    function setUp() public virtual override {
        super.setUp();
        oracle = new PriceOracle(address(manager), MINIMUM, MAXIMUM, terms());
        name(5, QUORUM, WIDE);
    }

    function terms() internal pure returns (QuorumOracle.Terms memory) {
        return QuorumOracle.Terms({
            maxAgeS: 600, staleAfterS: 3_600, maxDeviationPermille: 100, deviationSlack: 5_000, width: 50_000
        });
    }

    function name(uint256 count, uint8 quorum, uint8 wide) internal {
        oracle.setReporters(reportersUpTo(count), quorum, wide);
    }

    function reportersUpTo(uint256 count) internal pure returns (address[] memory all) {
        all = new address[](count);
        for (uint256 i = 0; i < count; i++) {
            all[i] = VM.addr(KEYS + i);
        }
    }

    /// @dev Quotes of the reporters 0, 1, 2 … for these values, observed now.
    function quotesOf(int128[] memory values)
        internal
        view
        returns (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures)
    {
        quotes = new QuorumOracle.Quote[](values.length);
        signatures = new bytes[](values.length);
        for (uint256 i = 0; i < values.length; i++) {
            quotes[i] = QuorumOracle.Quote(values[i], uint64(clock));
            signatures[i] = signed(KEYS + i, oracle.digestOf(quotes[i]));
        }
    }

    function list(int128 a, int128 b, int128 c) internal pure returns (int128[] memory values) {
        values = new int128[](3);
        (values[0], values[1], values[2]) = (a, b, c);
    }

    function list(int128 a, int128 b, int128 c, int128 d) internal pure returns (int128[] memory values) {
        values = new int128[](4);
        (values[0], values[1], values[2], values[3]) = (a, b, c, d);
    }

    function answer(int128[] memory values) internal {
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(values);
        oracle.submit(quotes, signatures);
    }

    function later(uint256 seconds_) internal {
        warp(clock + seconds_);
    }

    function expectCollar(int256 floor, int256 cap) internal view {
        (int64 lowest, int64 highest,) = oracle.collar();
        assertEq(lowest, floor);
        assertEq(highest, cap);
    }
}
