// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PriceOracle} from "../src/PriceOracle.sol";
import {PostingBounds} from "../src/grid/PostingBounds.sol";
import {ICollar} from "../src/interfaces/ICollar.sol";
import {ICollarListener} from "../src/interfaces/ICollarListener.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {GridSetting} from "./GridSetting.sol";

/// @dev An oracle of another make: its standing is whatever a test says, and it tells whatever a test says.
contract Teller is ICollar {
    struct Told {
        int64 answer;
        uint40 observedAtS;
        uint32 staleAfterS;
        uint64 width;
        int64 minimum;
        int64 maximum;
    }

    Told private _told;

    function become(Told calldata told) external {
        _told = told;
    }

    function tell(ICollarListener listener, Told calldata told) external {
        listener.onStanding(told.answer, told.observedAtS, told.staleAfterS, told.width, told.minimum, told.maximum);
    }

    function standing() external view returns (int64, uint40, uint32, uint64, int64, int64) {
        Told memory told = _told;
        return (told.answer, told.observedAtS, told.staleAfterS, told.width, told.minimum, told.maximum);
    }

    function collar() external view returns (int64, int64, uint64) {
        return (_told.minimum, _told.maximum, _told.observedAtS);
    }
}

contract PostingBoundsTest is GridSetting {
    Teller internal teller;

    function setUp() public override {
        super.setUp();
        teller = new Teller();
        name(oracle);
    }

    /// @dev Names the one reporter.
    function name(PriceOracle by) internal {
        address[] memory one = new address[](1);
        one[0] = VM.addr(ADA_KEY);
        by.setReporters(one, 1, 1);
    }

    /// @dev The reporter answers with `value`, observed now.
    function answer(PriceOracle by, int64 value) internal {
        QuorumOracle.Quote[] memory quotes = new QuorumOracle.Quote[](1);
        quotes[0] = QuorumOracle.Quote(value, uint64(clock));
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signed(ADA_KEY, by.digestOf(quotes[0]));
        by.submit(quotes, signatures);
    }

    function told() internal view returns (Teller.Told memory) {
        return Teller.Told(100, uint40(clock), 3_600, 10, -1_000, 1_000);
    }

    function bindTo(Teller.Told memory first) internal {
        teller.become(first);
        grid.setPostingBounds(teller, VOLUME_WH);
    }

    function expectSame(PriceOracle by) internal view {
        (int64 floor, int64 cap,) = by.collar();
        expectBounds(floor, cap, VOLUME_WH, true);
    }

    // --- the copy ---

    function test_posting_follows_the_oracle_at_once() public {
        expectSame(oracle);
        answer(oracle, 100_000);
        expectBounds(50_000, 150_000, VOLUME_WH, true);
        oracle.setTerms(QuorumOracle.Terms(600, 3_600, 100, 5_000, 7));
        expectBounds(99_993, 100_007, VOLUME_WH, true);
        warp(clock + 3_600);
        expectBounds(99_986, 100_014, VOLUME_WH, true);
    }

    /// @dev Whatever fits the copy: the bounds of posting are the oracle's own collar at every age.
    function testFuzz_the_bounds_are_the_collar_of_the_oracle(
        int64[3] memory prices,
        uint64 width,
        uint24 staleAfterS,
        uint40 ageS
    ) public {
        int64 low = int32(prices[0]);
        int64 high = int40(prices[1]);
        if (high < low) high = low;
        QuorumOracle.Terms memory terms =
            QuorumOracle.Terms(600, staleAfterS == 0 ? 1 : staleAfterS, 100, 5_000, width == 0 ? 1 : width);
        oracle = new PriceOracle(address(manager), low, high, terms);
        grid.setPostingBounds(oracle, VOLUME_WH);
        oracle.setListener(grid);
        name(oracle);
        expectSame(oracle);
        int64 value = int40(prices[2]);
        answer(oracle, value < low ? low : value > high ? high : value);
        expectSame(oracle);
        warp(clock + ageS);
        expectSame(oracle);
        // A copy that is read gives the same as one that was told.
        grid.setPostingBounds(oracle, VOLUME_WH);
        expectSame(oracle);
    }

    /// @dev A width of more bits is cut and reaches beyond the widest range all the same.
    function test_the_widest_range_and_width_are_kept_exactly() public {
        oracle = new PriceOracle(
            address(manager),
            type(int32).min,
            type(int40).max,
            QuorumOracle.Terms(600, type(uint24).max, 100, 5_000, type(uint40).max)
        );
        grid.setPostingBounds(oracle, VOLUME_WH);
        oracle.setListener(grid);
        name(oracle);
        answer(oracle, type(int40).max);
        expectBounds(type(int32).min, type(int40).max, VOLUME_WH, true);
        expectSame(oracle);
        oracle.setTerms(QuorumOracle.Terms(600, type(uint24).max, 100, 5_000, type(uint64).max));
        expectSame(oracle);
    }

    function testFuzz_a_staleness_of_years_is_cut_and_only_opens_sooner(uint32 staleAfterS, uint32 ageS) public {
        oracle.setTerms(QuorumOracle.Terms(600, staleAfterS == 0 ? 1 : staleAfterS, 100, 5_000, 50_000));
        answer(oracle, 100_000);
        warp(clock + ageS);
        if (ageS < type(uint24).max || staleAfterS <= type(uint24).max) expectSame(oracle);
        (int64 floor, int64 cap,) = oracle.collar();
        (int64 priceFloor, int64 priceCap,,) = grid.postingBounds();
        assertTrue(-500_000 <= priceFloor && priceFloor <= floor && cap <= priceCap && priceCap <= 4_000_000);
    }

    function test_an_oracle_that_never_tells_stops_nothing() public {
        oracle.setListener(ICollarListener(address(0)));
        answer(oracle, 100_000);
        expectBounds(-500_000, 4_000_000, VOLUME_WH, true);
        grid.setPostingBounds(oracle, VOLUME_WH);
        expectBounds(50_000, 150_000, VOLUME_WH, true);
        // Whatever is answered unheard, the copy opens with its own age.
        warp(clock + 7_200);
        answer(oracle, 105_000);
        expectBounds(-100_000, 300_000, VOLUME_WH, true);
        warp(clock + 10_000 days);
        expectBounds(-500_000, 4_000_000, VOLUME_WH, true);
    }

    function test_another_oracle_resets_the_copy() public {
        answer(oracle, 100_000);
        PriceOracle other = new PriceOracle(address(manager), 1, 2, QuorumOracle.Terms(600, 3_600, 100, 5_000, 50_000));
        VM.expectEmit();
        emit PostingBounds.PostingBoundsSet(other, 9);
        grid.setPostingBounds(other, 9);
        expectBounds(1, 2, 9, true);
        assertEq(address(grid.priceOracle()), address(other));
        // The old one is no longer heard, and goes on.
        warp(clock + 60);
        VM.expectEmit();
        emit QuorumOracle.ListenerFailed(grid);
        answer(oracle, 100_000);
        expectBounds(1, 2, 9, true);
    }

    function test_only_the_price_oracle_tells() public {
        VM.expectRevert(PostingBounds.NotThePriceOracle.selector);
        grid.onStanding(0, 0, 1, 1, 0, 1);
        VM.expectRevert(PostingBounds.NotThePriceOracle.selector);
        teller.tell(grid, told());
        bindTo(told());
        Teller.Told memory news = told();
        news.answer = 500;
        teller.tell(grid, news);
        expectBounds(490, 510, VOLUME_WH, true);
        VM.prank(address(oracle));
        VM.expectRevert(PostingBounds.NotThePriceOracle.selector);
        grid.onStanding(0, 0, 1, 1, 0, 1);
    }

    function test_what_is_told_changes_neither_the_volume_nor_the_stop() public {
        VM.prank(GUARDIAN);
        grid.stopPosting();
        answer(oracle, 100_000);
        expectBounds(50_000, 150_000, VOLUME_WH, false);
        grid.setPostingBounds(oracle, 9);
        expectBounds(50_000, 150_000, 9, false);
    }

    // --- refusals ---

    function test_what_has_no_standing_is_no_oracle() public {
        VM.expectRevert();
        grid.setPostingBounds(ICollar(address(0)), 9);
        VM.expectRevert();
        grid.setPostingBounds(ICollar(address(coin)), 9);
        expectBounds(-500_000, 4_000_000, VOLUME_WH, true);
    }

    function test_a_volume_beyond_what_is_kept_is_refused() public {
        grid.setPostingBounds(oracle, type(uint40).max);
        expectBounds(-500_000, 4_000_000, type(uint40).max, true);
        uint64 more = uint64(type(uint40).max) + 1;
        VM.expectRevert(abi.encodeWithSelector(PostingBounds.VolumeLimitTooLarge.selector, more));
        grid.setPostingBounds(oracle, more);
    }

    function expectRangeIllegal(int64 minimum, int64 maximum) internal {
        Teller.Told memory news = told();
        (news.observedAtS, news.minimum, news.maximum) = (0, minimum, maximum);
        VM.expectRevert(abi.encodeWithSelector(PostingBounds.PriceRangeIllegal.selector, minimum, maximum));
        teller.tell(grid, news);
        Teller other = new Teller();
        other.become(news);
        VM.expectRevert(abi.encodeWithSelector(PostingBounds.PriceRangeIllegal.selector, minimum, maximum));
        grid.setPostingBounds(other, VOLUME_WH);
        expectBounds(90, 110, VOLUME_WH, true);
    }

    function test_a_range_beyond_what_is_kept_is_refused() public {
        bindTo(told());
        expectRangeIllegal(2, 1);
        expectRangeIllegal(int64(type(int32).min) - 1, 0);
        expectRangeIllegal(int64(type(int32).max) + 1, type(int40).max);
        expectRangeIllegal(0, int64(type(int40).max) + 1);
        expectRangeIllegal(type(int64).min, type(int64).max);
    }

    function expectStandingIllegal(Teller.Told memory news) internal {
        VM.expectRevert(PostingBounds.StandingIllegal.selector);
        teller.tell(grid, news);
        expectBounds(90, 110, VOLUME_WH, true);
    }

    function test_a_standing_from_which_no_collar_follows_is_refused() public {
        bindTo(told());
        Teller.Told memory news = told();
        news.answer = 1_001;
        expectStandingIllegal(news);
        news.answer = -1_001;
        expectStandingIllegal(news);
        news = told();
        news.observedAtS++;
        expectStandingIllegal(news);
        news = told();
        news.staleAfterS = 0;
        expectStandingIllegal(news);
        news = told();
        news.width = 0;
        expectStandingIllegal(news);
    }

    function test_after_the_last_second_that_is_kept_the_copy_opens_and_posting_goes_on() public {
        warp(type(uint32).max);
        bindTo(told());
        warp(clock + 1);
        Teller.Told memory news = told();
        expectStandingIllegal(news);
        warp(clock + 10 * 3_600);
        expectBounds(-1_000, 1_000, VOLUME_WH, true);
    }

    function test_before_a_first_answer_whatever_stands_in_its_place_counts_for_nothing() public {
        Teller.Told memory news = told();
        (news.answer, news.observedAtS) = (type(int64).max, 0);
        bindTo(news);
        expectBounds(-1_000, 1_000, VOLUME_WH, true);
        teller.tell(grid, told());
        expectBounds(90, 110, VOLUME_WH, true);
    }
}
