// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GridManagement} from "../src/GridManagement.sol";
import {DemandResponse} from "../src/grid/DemandResponse.sol";
import {Feeders} from "../src/grid/Feeders.sol";
import {FlexibilityCast} from "./FlexibilityCast.sol";

contract DemandResponseTest is FlexibilityCast {
    // --- events ---

    function test_an_event_holds_its_budget() public {
        uint256 id = create(REDUCE);
        DemandResponse.FlexibilityEvent memory found = grid.eventOf(id);
        assertEq(found.funder, COORDINATOR);
        assertEq(found.firstInterval, BEGIN);
        assertEq(found.intervals, LENGTH);
        assertEq(found.feeder, FEEDER);
        assertEq(found.priceNanoPerWh, PRICE);
        assertEq(found.budgetNano, BUDGET);
        assertEq(coin.balanceOf(address(grid)), uint256(BUDGET) * 10);
        assertEq(grid.eventCount(), 1);
        assertEq(address(grid.token()), address(coin));
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.UnknownEvent.selector, 1));
        grid.eventOf(1);
    }

    function test_an_event_is_announced() public {
        DemandResponse.FlexibilityEvent memory terms;
        terms.funder = COORDINATOR;
        terms.firstInterval = uint40(BEGIN);
        terms.intervals = LENGTH;
        terms.direction = INCREASE;
        terms.feeder = FEEDER;
        terms.priceNanoPerWh = PRICE;
        terms.budgetNano = BUDGET;
        VM.expectEmit();
        emit DemandResponse.EventCreated(0, FEEDER, COORDINATOR, terms);
        create(INCREASE);
    }

    function test_an_event_needs_intervals_a_price_and_a_budget() public {
        VM.startPrank(COORDINATOR);
        VM.expectRevert(DemandResponse.EventIllegal.selector);
        grid.createEvent(FEEDER, BEGIN, 0, REDUCE, PRICE, BUDGET);
        VM.expectRevert(DemandResponse.EventIllegal.selector);
        grid.createEvent(FEEDER, BEGIN, 97, REDUCE, PRICE, BUDGET);
        VM.expectRevert(DemandResponse.EventIllegal.selector);
        grid.createEvent(FEEDER, BEGIN, LENGTH, REDUCE, 0, BUDGET);
        VM.expectRevert(DemandResponse.EventIllegal.selector);
        grid.createEvent(FEEDER, BEGIN, LENGTH, REDUCE, PRICE, 0);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownFeeder.selector, uint32(1)));
        grid.createEvent(1, BEGIN, LENGTH, REDUCE, PRICE, BUDGET);
        grid.createEvent(FEEDER, BEGIN, 96, REDUCE, PRICE, BUDGET);
    }

    function test_an_event_begins_in_the_next_weeks() public {
        VM.startPrank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.BeginsOutsideWindow.selector, FIRST));
        grid.createEvent(FEEDER, FIRST, LENGTH, REDUCE, PRICE, BUDGET);
        uint64 last = FIRST + 35 * 96;
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.BeginsOutsideWindow.selector, last + 1));
        grid.createEvent(FEEDER, last + 1, LENGTH, REDUCE, PRICE, BUDGET);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.BeginsOutsideWindow.selector, type(uint64).max));
        grid.createEvent(FEEDER, type(uint64).max, LENGTH, REDUCE, PRICE, BUDGET);
        grid.createEvent(FEEDER, last, LENGTH, REDUCE, PRICE, BUDGET);
        grid.createEvent(FEEDER, FIRST + 1, LENGTH, REDUCE, PRICE, BUDGET);
    }

    function test_without_money_there_is_no_event() public {
        VM.startPrank(COORDINATOR);
        VM.expectRevert();
        grid.createEvent(FEEDER, BEGIN, LENGTH, REDUCE, PRICE, 1_000_001e9);
        coin.approve(address(grid), 0);
        VM.expectRevert();
        grid.createEvent(FEEDER, BEGIN, LENGTH, REDUCE, PRICE, 1);
        assertEq(grid.eventCount(), 0);
    }

    function test_a_claim_period_is_at_least_a_week() public {
        VM.expectRevert(DemandResponse.ClaimPeriodTooShort.selector);
        new GridManagement(address(manager), settlement, oracle, VOLUME_WH, 7 days - 1);
    }

    // --- enrolments ---

    function test_baselines_are_taken_before_an_event_only() public {
        uint256 id = create(REDUCE);
        warp(uint256(BEGIN) * 900 - 1);
        VM.expectEmit();
        emit DemandResponse.Enrolled(id, 1, -200, 500);
        enrol(id, 1, -200, 500);
        DemandResponse.Enrolment memory part = grid.enrolmentOf(id, 1);
        assertEq(part.baselineWh, -200);
        assertEq(part.capWh, 500);
        assertTrue(part.enrolled && !part.claimed);
        warp(uint256(BEGIN) * 900);
        VM.prank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.HasBegun.selector, id));
        grid.enrol(id, offer(2, 100, 500));
    }

    function test_only_who_pays_enrols() public {
        uint256 id = create(REDUCE);
        manager.grantRole(COORDINATOR_ROLE, BO, 0);
        VM.prank(BO);
        VM.expectRevert(DemandResponse.NotTheFunder.selector);
        grid.enrol(id, offer(1, 100, 500));
        VM.prank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.UnknownEvent.selector, 7));
        grid.enrol(7, offer(1, 100, 500));
    }

    function test_only_accounts_are_enrolled_and_something_is_asked_of_them() public {
        uint256 id = create(REDUCE);
        VM.startPrank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.OfferIllegal.selector, uint32(9)));
        grid.enrol(id, offer(9, 100, 500));
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.OfferIllegal.selector, uint32(1)));
        grid.enrol(id, offer(1, 100, 0));
    }

    function test_caps_stay_within_the_budget() public {
        uint256 id = create(REDUCE);
        uint64 most = uint64(BUDGET / PRICE);
        enrol(id, 1, 0, most - 1);
        VM.startPrank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.BudgetTooSmall.selector, uint256(most + 1) * PRICE));
        grid.enrol(id, offer(2, 0, 2));
        VM.expectRevert();
        grid.enrol(id, offer(2, 0, type(uint64).max));
        grid.enrol(id, offer(2, 0, 1));
        assertEq(grid.eventOf(id).reservedNano, uint256(most) * PRICE);
    }

    function test_an_account_sells_no_interval_twice() public {
        uint256 id = create(REDUCE);
        enrol(id, 1, 0, 10);
        uint256 other = createAt(BEGIN + LENGTH - 1, 2, INCREASE);
        VM.startPrank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.EngagedAlready.selector, uint32(1)));
        grid.enrol(id, offer(1, 0, 10));
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.EngagedAlready.selector, uint32(1)));
        grid.enrol(other, offer(1, 0, 10));
        grid.enrol(other, offer(2, 0, 10));
        VM.stopPrank();
        uint256 next = createAt(BEGIN + LENGTH, 1, INCREASE);
        uint256 before = createAt(BEGIN - 2, 2, REDUCE);
        enrol(next, 1, 0, 10);
        enrol(before, 1, 0, 10);
    }

    function test_the_first_interval_of_the_next_word_is_taken_as_well() public {
        uint64 border = FIRST + 256 - FIRST % 256;
        uint256 id = createAt(border - 3, 4, REDUCE);
        uint256 other = createAt(border, 1, REDUCE);
        enrol(id, 1, 0, 10);
        VM.prank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.EngagedAlready.selector, uint32(1)));
        grid.enrol(other, offer(1, 0, 10));
    }

    /// @dev Against a plain comparison of the two ranges, also across the borders of words.
    function testFuzz_events_of_one_account_never_overlap(uint16 one, uint16 other, uint8 oneCount, uint8 otherCount)
        public
    {
        uint64 first = FIRST + 1 + one % 700;
        uint64 second = FIRST + 1 + other % 700;
        uint8 firstCount = 1 + oneCount % 96;
        uint8 secondCount = 1 + otherCount % 96;
        uint256 id = createAt(first, firstCount, REDUCE);
        uint256 next = createAt(second, secondCount, REDUCE);
        enrol(id, 1, 0, 10);
        bool overlap = first < second + secondCount && second < first + firstCount;
        VM.prank(COORDINATOR);
        if (overlap) VM.expectRevert(abi.encodeWithSelector(DemandResponse.EngagedAlready.selector, uint32(1)));
        grid.enrol(next, offer(1, 0, 10));
        assertTrue(grid.enrolmentOf(next, 1).enrolled != overlap);
    }
}
